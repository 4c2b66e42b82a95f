"""What is particular to the folder, the simulated, the USB and the Raspberry Pi camera."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in_picamera2
from PIL import Image
from stand_in_picamera2 import Picamera2

from edge_sdk.camera import open_camera
from edge_sdk.camera.formats import decode_frame
from edge_sdk.camera.latest import LatestFrames
from edge_sdk.dataset import open_image
from edge_sdk.errors import CameraError, UsageError
from edge_sdk.preprocess import Encoder, Preprocess, Quantisation, fit_image

MakeImages = Callable[..., Path]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    return stand_in_picamera2.install(monkeypatch)


# folder


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_picture_gives_the_same_tensor_from_a_camera_and_from_a_file(
    make_images: MakeImages, fit: Any
) -> None:
    folder = make_images(["a.png", "b.jpg", "c.bmp"])
    spec = Preprocess(16, 16, fit=fit)
    encode = Encoder(spec, np.int8, Quantisation(2 / 255, -1))
    with open_camera("folder", path=folder) as camera:
        frames = list(camera)
    assert [Path(f.metadata["file"]).name for f in frames] == ["a.png", "b.jpg", "c.bmp"]
    for frame in frames:
        # As Classifier.classify does it, with what classify opens and what the camera gives.
        of_file = encode(fit_image(open_image(Path(frame.metadata["file"])), spec))
        assert encode(fit_image(frame.pixels, spec)).tobytes() == of_file.tobytes()


@pytest.mark.parametrize("name", ["RGB888", "XBGR8888"])
def test_colour_order_does_not_reach_the_tensor(make_images: MakeImages, name: str) -> None:
    file = make_images(["a.png"]) / "a.png"
    rgb = np.asarray(open_image(file))
    raw = rgb[..., ::-1] if name == "RGB888" else np.pad(rgb, ((0, 0), (0, 0), (0, 1)))
    pixels = decode_frame(np.ascontiguousarray(raw), name, (rgb.shape[1], rgb.shape[0]))
    spec = Preprocess(16, 16)
    assert np.array_equal(fit_image(pixels, spec), fit_image(open_image(file), spec))


def test_a_folder_is_looped_paced_and_its_sizes_followed(make_images: MakeImages) -> None:
    folder = make_images(["1.png", "2.png"])
    Image.new("RGB", (9, 5)).save(folder / "3.png")
    start = time.monotonic()
    with open_camera("folder", path=folder, rate=50, loop=True) as camera:
        sizes = [(camera.size, f.pixels.shape[1::-1]) for f in islice(camera, 6)]
    assert time.monotonic() - start >= 5 / 50
    assert all(said == is_ for said, is_ in sizes)
    assert sizes[2][0] == sizes[5][0] == (9, 5)
    with open_camera("folder", path=folder / "3.png") as camera:
        assert len(list(camera)) == 1


def test_unreadable_pictures_are_skipped_counted_and_named(make_images: MakeImages) -> None:
    folder = make_images({"1.png": "good", "2.png": "broken", "3.png": "good"})
    with open_camera("folder", path=folder) as camera:
        assert len(list(camera)) == 2
        assert "1 pictures skipped" in camera.notes[0]
        assert "2.png" in camera.notes[0]
    (folder / "1.png").unlink()
    (folder / "3.png").unlink()
    with (
        open_camera("folder", path=folder, loop=True) as camera,
        pytest.raises(CameraError, match="holds no picture that can be read"),
    ):
        list(camera)


def test_a_folder_without_pictures_and_a_bad_rate(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "none.avi"):
        with pytest.raises(CameraError) as e:
            open_camera("folder", path=path)
        assert e.value.fault == "missing"
    with pytest.raises(UsageError, match="rate 0 must be above 0"):
        open_camera("folder", path=tmp_path, rate=0)


# simulated

SMALL: dict[str, Any] = {"size": (96, 64), "cells": 3, "diameter": 20.0, "fields": 2}


def test_drawn_frames_are_seeded_labelled_and_know_their_truth() -> None:
    def shot(seed: int) -> list[Any]:
        with open_camera("simulated", seed=seed, infected=1.0, frames=3, **SMALL) as camera:
            assert camera.notes == ("simulated: every frame is a drawing",)
            return list(camera)

    one, same, other = shot(5), shot(5), shot(6)
    assert len(one) == 3
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0].pixels, other[0].pixels)
    assert not np.array_equal(one[0].pixels, one[1].pixels)
    assert np.array_equal(one[0].pixels, one[2].pixels)  # the fields take turns
    for frame in one:
        assert frame.metadata["simulated"] is True
        assert frame.metadata["field"].cells
        assert all(c.infected for c in frame.metadata["field"].cells)


def test_options_out_of_range_are_usage_errors_at_opening() -> None:
    for option in ({"frames": 0}, {"fields": 0}, {"infected": 1.5}, {"cells": -1}, {"rate": -1}):
        with pytest.raises(UsageError, match=next(iter(option))):
            open_camera("simulated", **option)


def held() -> tuple[int, int, int]:
    """Resident bytes, descriptors and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return pages * os.sysconf("SC_PAGE_SIZE"), descriptors, threading.active_count()


@pytest.mark.slow
def test_ten_thousand_frames_grow_nothing() -> None:
    """Through the reader's thread, a conversion and preprocessing, as on the device."""
    spec = Preprocess(96, 96)
    encode = Encoder(spec, np.int8, Quantisation(2 / 255, -1))
    raw = np.random.default_rng(0).integers(0, 256, 160 * 120 * 3 // 2, np.uint8)
    done, before = 0, (0, 0, 0)
    with open_camera("simulated", size=(160, 120), cells=4, fields=2) as camera:
        for frame in camera:
            encode(fit_image(frame.pixels, spec))
            encode(fit_image(decode_frame(raw, "NV12", (160, 120)), spec))
            done += 1
            if done == 500:
                before = held()
            if done == 10_000:
                break
    with LatestFrames(lambda: open_camera("simulated", frames=10_000, **SMALL)) as frames:
        read = sum(1 for _ in frames)
        counts = frames.counts
    assert (counts.taken, counts.dropped + read) == (10_000, 10_000)
    after = held()
    assert after[0] - before[0] < 4 << 20
    assert after[1:] <= before[1:]


# v4l2


def test_a_device_that_is_missing_or_no_camera() -> None:
    with pytest.raises(CameraError, match="/dev/video99 does not exist; there are: ") as e:
        open_camera("v4l2", device=99)
    assert e.value.fault == "missing"
    with pytest.raises(CameraError, match="/dev/null cannot be opened: it is no camera") as e:
        open_camera("v4l2", device="/dev/null")
    assert e.value.fault == "busy"
    with pytest.raises(UsageError, match="is no device: it takes no rate or code"):
        open_camera("v4l2", device="x.avi", rate=3)
    with pytest.raises(UsageError, match="code 'H264' must be one of"):
        open_camera("v4l2", code="H264")


def test_a_missing_opencv_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CameraError, match=r"pip install 'edge-sdk\[opencv\]'"):
        open_camera("v4l2", device="%d.jpg")


# picamera2, through the stand-in


@pytest.mark.parametrize("given", ["RGB888", "BGR888", "NV12"])
def test_what_is_given_is_converted_whatever_was_asked_for(
    stand_in: type[Picamera2], given: str
) -> None:
    stand_in.gives = given
    with open_camera("picamera2", size=(64, 48)) as camera:
        pixels = next(iter(camera)).pixels
        assert camera.format == given
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 3
    assert pixels.shape == (48, 64, 3)
    assert any("RGB888 was asked for" in n for n in camera.notes) == (given != "RGB888")
    assert stand_in.opened == []


def test_exposure_gain_and_white_balance_are_held_still(stand_in: type[Picamera2]) -> None:
    with open_camera("picamera2") as camera:
        controls = stand_in.opened[0].set
        assert controls["AeEnable"] is False
        assert controls["AwbEnable"] is False
        assert controls["ExposureTime"] == 9000
        assert controls["AnalogueGain"] == 2.0
        assert controls["ColourGains"] == (1.5, 1.75)
        assert any("exposure locked" in n for n in camera.notes)
    with open_camera("picamera2", exposure_us=500, gain=1.0, white_balance=(2.0, 1.0)):
        controls = stand_in.opened[0].set
        assert (controls["ExposureTime"], controls["AnalogueGain"]) == (500, 1.0)
        assert (controls["ColourGains"], controls["AwbEnable"]) == ((2.0, 1.0), False)
    with open_camera("picamera2", lock=False, rate=10):
        assert stand_in.opened[0].set == {"FrameDurationLimits": (100_000, 100_000)}


def test_a_control_that_the_camera_lacks_is_an_error(stand_in: type[Picamera2]) -> None:
    stand_in.controls_there = ("ExposureTime",)
    with pytest.raises(UsageError, match="no control 'AnalogueGain'; it has: ExposureTime"):
        open_camera("picamera2", gain=2.0)
    with pytest.raises(UsageError, match="no control 'AfMode'"):
        open_camera("picamera2", focus="auto")
    assert stand_in.opened == []


def test_focus_where_there_is_a_lens(stand_in: type[Picamera2]) -> None:
    stand_in.controls_there = (*Picamera2.controls_there, "AfMode", "LensPosition")
    modes = stand_in_picamera2.AfModeEnum
    with open_camera("picamera2", focus="auto"):
        assert stand_in.opened[0].set["AfMode"] is modes.Continuous
    with open_camera("picamera2", focus=2.5):
        assert stand_in.opened[0].set["LensPosition"] == 2.5
    with pytest.raises(UsageError, match="focus 'near' must be once, auto"):
        open_camera("picamera2", focus="near")


def test_cameras_that_are_missing_busy_or_give_what_nobody_knows(
    stand_in: type[Picamera2],
) -> None:
    def fault(says: str, **options: Any) -> str:
        with pytest.raises(CameraError, match=says) as e:
            open_camera("picamera2", **options)
        assert stand_in.opened == []
        return e.value.fault

    assert fault("there is no camera 3; libcamera finds: 0: stand-in", camera=3) == "missing"
    assert fault("width and height should be even", size=(63, 48)) == "format"
    stand_in.gives_size = (800, 600)
    assert fault("64x48 was asked for, the camera gives 800x600", size=(64, 48)) == "format"
    stand_in.gives, stand_in.gives_size = "SRGGB10", None
    assert fault("unknown pixel format of the camera 'SRGGB10'") == "format"
    stand_in.busy = True
    assert fault("another program may have it") == "busy"
    stand_in.cameras = []
    assert fault("libcamera finds: none") == "missing"


def test_a_camera_that_falls_silent_has_vanished(stand_in: type[Picamera2]) -> None:
    stand_in.silent_after = 1
    with open_camera("picamera2", lock=False, timeout_s=0.05) as camera:
        frames = iter(camera)
        next(frames)
        with pytest.raises(CameraError, match=r"gave no frame within 0\.05 s") as e:
            next(frames)
        assert e.value.fault == "vanished"
        assert stand_in.opened[0].cancelled


def test_a_colour_space_that_nobody_knows_is_said(stand_in: type[Picamera2]) -> None:
    stand_in.gives_colours = "Rec2020"
    with open_camera("picamera2") as camera:
        assert any("'Rec2020': taken for sYCC" in n for n in camera.notes)


def test_a_missing_picamera2_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="sudo apt install python3-picamera2") as e:
        open_camera("picamera2")
    assert e.value.fault == "missing"
