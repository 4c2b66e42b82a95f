"""Every format against a conversion written from the standard's formulas, pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_sdk.camera.formats import COLOUR_SPACES, FORMATS, PACKED, decode_frame
from edge_sdk.errors import CameraError

Bytes = npt.NDArray[np.uint8]
YCC = ("NV12", "YUV420", "YUYV")
# BT.601 and BT.709: how much red and blue count in Y.
WEIGHTS = {"sYCC": (0.299, 0.114), "SMPTE170M": (0.299, 0.114), "Rec709": (0.2126, 0.0722)}
# One pixel of R 10, G 20, B 30 as it lies in memory.
MEMORY = {
    "RGB888": bytes([30, 20, 10]),
    "BGR888": bytes([10, 20, 30]),
    "XRGB8888": bytes([30, 20, 10, 99]),
    "XBGR8888": bytes([10, 20, 30, 99]),
}


def exact(y: int, u: int, v: int, space: str) -> list[float]:
    kr, kb = WEIGHTS[space]
    light, pb, pr = float(y), float(u) - 128, float(v) - 128
    if space != "sYCC":
        light, pb, pr = (light - 16) * 255 / 219, pb * 255 / 224, pr * 255 / 224
    red, blue = light + 2 * (1 - kr) * pr, light + 2 * (1 - kb) * pb
    green = (light - kr * red - kb * blue) / (1 - kr - kb)
    return [min(255.0, max(0.0, c)) for c in (red, green, blue)]


def frame(seed: int, name: str, width: int, height: int, padding: int) -> tuple[Bytes, int]:
    """Random bytes that are one frame, and their stride."""
    pixel = PACKED[name][0] if name in PACKED else 2 if name == "YUYV" else 1
    # YUV420's half stride must be whole.
    stride = width * pixel + 2 * padding
    lines = height * 3 // 2 if name in ("NV12", "YUV420") else height
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, lines * stride, np.uint8), stride


def sample(data: Bytes, name: str, size: tuple[int, int], stride: int, x: int, y: int) -> list[int]:
    """Y, U and V of one pixel, by the format's definition."""
    height = size[1]
    if name == "YUYV":
        pair = y * stride + 4 * (x // 2)
        return [int(data[i]) for i in (y * stride + 2 * x, pair + 1, pair + 3)]
    light, start = y * stride + x, height * stride
    if name == "NV12":
        at = start + (y // 2) * stride + 2 * (x // 2)
        return [int(data[i]) for i in (light, at, at + 1)]
    at = start + (y // 2) * (stride // 2) + x // 2
    return [int(data[i]) for i in (light, at, at + (height // 2) * (stride // 2))]


@pytest.mark.parametrize("name", MEMORY)
def test_packed_bytes_are_in_drms_order(name: str) -> None:
    """picamera2's RGB888 is blue first in memory, as DRM spells it."""
    assert decode_frame(MEMORY[name], name, (1, 1)).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize("space", WEIGHTS)
@pytest.mark.parametrize("name", YCC)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    width=st.integers(1, 9).map(lambda n: 2 * n),
    height=st.integers(1, 9).map(lambda n: 2 * n),
    padding=st.integers(0, 5),
)
def test_colours_are_the_standards(
    name: str, space: str, seed: int, width: int, height: int, padding: int
) -> None:
    data, stride = frame(seed, name, width, height, padding)
    if space != "sYCC":  # video's bytes lie in its range
        data = 16 + data % 220
    got = decode_frame(data, name, (width, height), stride=stride, colour_space=space)
    assert (got.shape, got.dtype) == ((height, width, 3), np.uint8)
    wanted = np.array(
        [
            [exact(*sample(data, name, (width, height), stride, x, y), space) for x in range(width)]
            for y in range(height)
        ]
    )
    # Half a level of rounding for the full range, one and a little for video's two roundings.
    assert np.abs(got - wanted).max() <= (0.5001 if space == "sYCC" else 1.0001)


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "MJPEG"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), padding=st.integers(1, 20))
def test_padding_changes_nothing(name: str, seed: int, padding: int) -> None:
    size = (6, 4)
    data, stride = frame(seed, name, *size, 0)
    wide = frame(seed + 1, name, *size, padding)[1]
    planes = [data.reshape(-1, stride)]
    if name == "YUV420":  # U and V have lines of half the stride
        planes = [data.reshape(-1, stride)[:4], data[4 * stride :].reshape(-1, stride // 2)]
    more = [(wide - stride) * p.shape[1] // stride for p in planes]
    padded = [
        np.pad(p, ((0, 0), (0, m)), constant_values=77) for p, m in zip(planes, more, strict=True)
    ]
    flat = np.concatenate([p.reshape(-1) for p in padded])
    assert np.array_equal(
        decode_frame(flat, name, size, stride=wide), decode_frame(data, name, size)
    )


@pytest.mark.parametrize("width", [640, 1282, 38_402])
def test_frames_of_many_strips_are_converted_whole(width: int) -> None:
    data, _ = frame(3, "NV12", width, 124, 0)
    got = decode_frame(data, "NV12", (width, 124))
    for y in (0, 59, 60, 119, 123):
        wanted = exact(*sample(data, "NV12", (width, 124), width, width - 1, y), "sYCC")
        assert np.abs(got[y, -1] - np.array(wanted)).max() <= 0.5001


def test_every_shape_of_the_same_bytes_will_do() -> None:
    data, _ = frame(0, "NV12", 8, 4, 0)
    shapes = [data, data.reshape(6, 8), data.tobytes()]
    pictures = [decode_frame(d, "NV12", (8, 4)) for d in shapes]
    assert all(np.array_equal(p, pictures[0]) for p in pictures)


@pytest.mark.parametrize("name", FORMATS[:-1])
def test_another_size_than_said_is_an_error(name: str) -> None:
    data, stride = frame(0, name, 8, 4, 0)
    for size in ((8, 6), (16, 4)):
        with pytest.raises(CameraError, match=f"{name}: .* bytes .* no frame of") as e:
            decode_frame(data, name, size)
        assert e.value.fault == "format"
    with pytest.raises(CameraError, match="no frame of"):
        decode_frame(data, name, (8, 4), stride=stride - 2)


def test_odd_sizes_unknown_formats_and_colour_spaces_are_errors() -> None:
    data = np.zeros(100, np.uint8)
    with pytest.raises(CameraError, match="NV12: size 3x4 must be even"):
        decode_frame(data, "NV12", (3, 4))
    with pytest.raises(CameraError, match=r"unknown pixel format 'NV21'\. Did you mean NV12"):
        decode_frame(data, "NV21", (4, 4))
    with pytest.raises(CameraError, match=r"unknown colour space 'rec709'\. Did you mean Rec709"):
        decode_frame(data, "NV12", (4, 4), colour_space="rec709")
    assert set(WEIGHTS) == set(COLOUR_SPACES)


def jpeg(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(out, "JPEG", quality=100)
    return out.getvalue()


def test_mjpeg_is_decoded_and_a_broken_or_other_picture_is_an_error() -> None:
    raw = jpeg(16, 8)
    pixels = decode_frame(np.frombuffer(raw, np.uint8), "MJPEG", (16, 8))
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 3
    with pytest.raises(CameraError, match="a picture of 16x8 where the camera says 8x16") as e:
        decode_frame(raw, "MJPEG", (8, 16))
    assert e.value.fault == "format"
    for broken in (raw[:-40], b"", raw[:10]):
        with pytest.raises(CameraError, match="broken picture") as e:
            decode_frame(broken, "MJPEG", (16, 8))
        assert e.value.fault == "vanished"
