"""What cameras deliver, as uint8 (H, W, 3) RGB.

Names are those of DRM, libcamera and picamera2. DRM spells a packed format from the most
significant byte of a little-endian word down, so the bytes in memory run the other way round:

    name       bytes in memory, per pixel       NumPy's view of it
    RGB888     B G R                            what OpenCV calls BGR
    BGR888     R G B                            what everyone else calls RGB
    XRGB8888   B G R x
    XBGR8888   R G B x
    YUYV       Y U Y V for two pixels
    NV12       all Y, then U V for two by two pixels
    YUV420     all Y, then all U, then all V, for two by two pixels
    MJPEG      one JPEG file

A camera that was asked for RGB888 therefore hands out blue first, and one that is only asked may
give NV12 all the same: convert by the format that was read back.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_sdk.camera.base import Size
from edge_sdk.errors import CameraError, unknown_name
from edge_sdk.preprocess import Pixels

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ColourSpace:
    """How Y, U, V become R, G, B. kr, kb: the standard's weights of red and blue in Y (ITU-R
    BT.601-7 and BT.709-6, section 2.5.1 and 3.2); full: Y takes 0..255, else 16..235 and colour
    differences 16..240."""

    kr: float
    kb: float
    full: bool


# By libcamera's names: sYCC is what JPEG and stills use, the others are video's.
COLOUR_SPACES = {
    "sYCC": ColourSpace(0.299, 0.114, True),
    "SMPTE170M": ColourSpace(0.299, 0.114, False),
    "Rec709": ColourSpace(0.2126, 0.0722, False),
}

# name -> bytes per pixel, and the colour that comes first in memory
PACKED = {"RGB888": (3, "B"), "BGR888": (3, "R"), "XRGB8888": (4, "B"), "XBGR8888": (4, "R")}
FORMATS = (*PACKED, "NV12", "YUV420", "YUYV", "MJPEG")
# Pixels of colour and light converted at a time: small enough that what lies between stays in the
# cache and that the C library need not map fresh memory for it.
_STRIP = 38_400


def decode_frame(
    data: Plane | bytes, name: str, size: Size, *, stride: int = 0, colour_space: str = "sYCC"
) -> Pixels:
    """One frame's bytes as uint8 (H, W, 3) RGB, contiguous; may share memory with `data`.

    data: uint8 of any shape, or bytes; name: one of FORMATS; size: (width, height); stride: bytes
    from one line to the next, 0 for no padding (YUV420's U and V have half of it).
    colour_space: one of COLOUR_SPACES, for NV12, YUV420 and YUYV; each colour sample serves the
    pixels it was taken from, without smoothing.
    Raises CameraError (`format`) for an unknown name and where the bytes do not fit the size,
    (`vanished`) for a JPEG that is broken."""
    if name not in FORMATS:
        raise CameraError(unknown_name("pixel format", name, FORMATS), "format")
    if name == "MJPEG":
        return _jpeg(data, size)
    if colour_space not in COLOUR_SPACES:
        message = unknown_name("colour space", colour_space, COLOUR_SPACES)
        raise CameraError(message, "format")
    flat = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1)
    space = COLOUR_SPACES[colour_space]
    width, height = size
    if name in PACKED:
        pixel, first = PACKED[name]
        (lines,) = _lines(flat, name, size, stride or width * pixel, (width * pixel, height, 1))
        pixels = lines.reshape(height, width, pixel)
        if (pixel, first) == (3, "R"):
            return np.ascontiguousarray(pixels)
        out = np.empty((height, width, 3), np.uint8)
        for channel in range(3):  # one by one: a third of the time of a reversed view's copy
            out[..., channel] = pixels[..., channel if first == "R" else 2 - channel]
        return out
    if width % 2 or (height % 2 and name != "YUYV"):
        raise CameraError(f"{name}: size {width}x{height} must be even", "format")
    step = stride or (2 * width if name == "YUYV" else width)
    if name == "YUYV":
        (lines,) = _lines(flat, name, size, step, (2 * width, height, 1))
        y, u, v = lines[:, 0::2], lines[:, 1::4], lines[:, 3::4]
    elif name == "NV12":
        y, uv = _lines(flat, name, size, step, (width, height, 1), (width, height // 2, 1))
        u, v = uv[:, 0::2], uv[:, 1::2]
    else:
        half = (width // 2, height // 2, 2)
        y, u, v = _lines(flat, name, size, step, (width, height, 1), half, half)
    return _ycc_to_rgb(np.ascontiguousarray(y), u, v, space)


def _lines(
    flat: Plane, name: str, size: Size, stride: int, *planes: tuple[int, int, int]
) -> list[Plane]:
    """Views of the planes, uint8 (lines, bytes) each. planes: bytes a line without padding, lines,
    and by what the stride is divided."""
    out, at = [], 0
    for used, lines, divisor in planes:
        step = stride // divisor
        # The last line of the last plane may lack its padding.
        if step < used or len(flat) < at + step * (lines - 1) + used:
            raise CameraError(
                f"{name}: {len(flat)} bytes at a stride of {stride} are no frame of "
                f"{size[0]}x{size[1]}: the camera gives another size or format than it says",
                "format",
            )
        rows = np.lib.stride_tricks.as_strided(flat[at:], (lines, used), (step, 1))
        out.append(rows)
        at += step * lines
    return out


def _ycc_to_rgb(y: Plane, u: Plane, v: Plane, space: ColourSpace) -> Pixels:
    """y: uint8 (H, W); u, v: uint8 (H or H/2, W/2). Rounds Y and the colour's part one by one:
    exact for the full range, within 1 of exact for video's."""
    kg = 1.0 - space.kr - space.kb
    gain = 1.0 if space.full else 255.0 / 224.0
    red, blue = 2 * (1 - space.kr) * gain, 2 * (1 - space.kb) * gain
    # The same line of colours serves one or two lines of Y.
    rows, lines, width = u.shape[0], y.shape[0] // u.shape[0], y.shape[1]
    out = np.empty((rows, lines, width, 3), np.uint8)
    y = y.reshape(rows, lines, width)
    step = max(1, _STRIP // width)
    for first in range(0, rows, step):
        strip = slice(first, first + step)
        light = y[strip] if space.full else _stretched()[y[strip]]
        cu = u[strip].astype(np.float32) - np.float32(128.0)
        cv = v[strip].astype(np.float32) - np.float32(128.0)
        green = cu * np.float32(-blue * space.kb / kg) + cv * np.float32(-red * space.kr / kg)
        parts = (cv * np.float32(red), green, cu * np.float32(blue))
        for channel, part in enumerate(parts):
            # clip(light + part) without a wider type: light is first held to where the sum fits,
            # then the bytes are added, wrapping where part is below 0.
            whole = np.rint(part).astype(np.int16)
            low = -whole & (whole >> 15)
            band = np.maximum(light, _twice(low))
            np.minimum(band, _twice(255 - (whole + low)), out=band)
            band += _twice(whole)
            out[strip, ..., channel] = band
    return out.reshape(rows * lines, width, 3)


def _twice(plane: npt.NDArray[np.int16]) -> Plane:
    """The low byte of each number twice: int16 (h, w) to uint8 (h, 1, 2 w)."""
    doubled = plane.astype(np.uint8).astype(np.uint16) * np.uint16(257)
    return doubled.view(np.uint8)[:, None, :]


@lru_cache(maxsize=1)
def _stretched() -> Plane:
    """Video's Y, 16..235, as 0..255, for each byte; what lies outside is clipped."""
    table = np.rint((np.arange(256) - 16) * (255.0 / 219.0))
    stretched: Plane = np.clip(table, 0, 255).astype(np.uint8)
    return stretched


def _jpeg(data: Plane | bytes, size: Size) -> Pixels:
    from PIL import Image

    raw = data if isinstance(data, bytes) else data.tobytes()
    try:
        with Image.open(io.BytesIO(raw), formats=["JPEG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as e:
        raise CameraError(f"MJPEG: the camera gave a broken picture: {e}") from e
    height, width = pixels.shape[:2]
    if (width, height) != size:
        raise CameraError(
            f"MJPEG: a picture of {width}x{height} where the camera says {size[0]}x{size[1]}",
            "format",
        )
    return pixels
