"""What every camera promises, asked of each that can run here.

picamera2 is asked twice: through a stand-in, which shows what edge_sdk does with what it is given,
and (marker `libcamera`) with the real picamera2 on the real libcamera, whose virtual pipeline takes
the sensor's place; for that, this file runs once more in the environment of tools/camera_stack,
which REAL tells it."""

from __future__ import annotations

import os
import re
import subprocess
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

from edge_sdk.camera import CAMERAS, Camera, Frame, camera_options, open_camera
from edge_sdk.errors import CameraError, UsageError
from edge_sdk.preprocess import Preprocess, fit_image

Opener = Callable[[], Camera]
REAL = os.environ.get("EDGE_SDK_TEST_REAL_PICAMERA2") == "1"
ROOT = Path(__file__).parents[2]


def pictures(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:, :32], pixels[:, 32:] = (200, 10, 40 * number), (20, 180, 40)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95, subsampling=0)
    return folder


def video(path: Path) -> Path:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: the extra opencv")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(4):
        writer.write(np.full((48, 64, 3), (40 * number, 10, 200), np.uint8))
    writer.release()
    return path


@pytest.fixture(
    params=["folder", "folder-video", "simulated", "v4l2-avi", "v4l2-sequence", "picamera2"]
)
def opener(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Opener:
    """Opens a camera of at least four frames."""
    kind = request.param
    if kind == "folder":
        path = pictures(tmp_path / "pictures")
        return lambda: open_camera("folder", path=path)
    if kind == "folder-video":
        path = video(tmp_path / "v.avi")
        return lambda: open_camera("folder", path=path)
    if kind == "simulated":
        return lambda: open_camera("simulated", size=(64, 48), cells=2, diameter=16.0, fields=2)
    if kind == "v4l2-avi":
        path = video(tmp_path / "v.avi")
        return lambda: open_camera("v4l2", device=str(path))
    if kind == "v4l2-sequence":
        pytest.importorskip("cv2", reason="OpenCV is not installed: the extra opencv")
        path = pictures(tmp_path / "pictures")
        return lambda: open_camera("v4l2", device=str(path / "%d.jpg"))
    if not REAL:
        stand_in_picamera2.install(monkeypatch)
    return lambda: open_camera("picamera2")


def four(camera: Camera) -> list[Frame]:
    return list(islice(camera, 4))


def test_frames_are_rgb_with_times_that_do_not_go_back(opener: Opener) -> None:
    start, wall = time.monotonic(), time.time()
    with opener() as camera:
        frames = four(camera)
        assert camera.name in CAMERAS
        assert camera.format
        assert camera.size == frames[-1].pixels.shape[1::-1]
    assert [f.index for f in frames] == [0, 1, 2, 3]
    for frame in frames:
        assert (frame.pixels.dtype, frame.pixels.ndim, frame.pixels.shape[2]) == (np.uint8, 3, 3)
    taken = [f.taken_s for f in frames]
    assert taken == sorted(taken)
    assert start <= taken[0] <= taken[-1] <= time.monotonic()
    assert abs(frames[0].wall_s - wall) < 60


def test_a_frame_that_was_kept_does_not_change(opener: Opener) -> None:
    with opener() as camera:
        frames = iter(camera)
        first = next(frames)
        copy = first.pixels.copy()
        for _ in range(3):
            next(frames)
        assert np.array_equal(first.pixels, copy)


def test_going_on_after_a_pause_numbers_on(opener: Opener) -> None:
    with opener() as camera:
        assert next(iter(camera)).index == 0
        assert next(iter(camera)).index == 1


def test_ten_times_opened_and_closed_leaves_nothing(opener: Opener) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    for number in range(10):
        with opener() as camera:
            next(iter(camera))
        if number == 1:
            before = held()
    assert held() <= before


def test_closing_twice_is_no_error_and_a_closed_camera_says_so(opener: Opener) -> None:
    camera = opener()
    four(camera)
    camera.close()
    camera.close()
    with pytest.raises(CameraError, match=f"camera '{camera.name}' is closed"):
        next(iter(camera))


def test_closing_from_another_thread_ends_the_frames(opener: Opener) -> None:
    camera, seen = opener(), []
    started = threading.Event()

    def watch() -> None:
        for frame in camera:
            seen.append(frame.index)
            started.set()
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    assert started.wait(20)
    camera.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_frame_becomes_a_tensor_by_preprocess_alone(opener: Opener) -> None:
    with opener() as camera:
        pixels = next(iter(camera)).pixels
    assert fit_image(pixels, Preprocess(32, 32)).shape == (32, 32, 3)


def test_unknown_options_suggest_near_misses(opener: Opener) -> None:
    with opener() as camera:
        name = camera.name
    option = next(iter(camera_options(name)))
    with pytest.raises(UsageError, match=rf"camera '{name}' '{option}x'\. Did you mean {option}"):
        open_camera(name, **{f"{option}x": 1})


def test_unknown_cameras_suggest_near_misses() -> None:
    with pytest.raises(UsageError, match=r"unknown camera 'picamera'\. Did you mean picamera2"):
        open_camera("picamera")
    with pytest.raises(UsageError, match="needs the option 'path'"):
        open_camera("folder")


@pytest.mark.libcamera
@pytest.mark.slow
@pytest.mark.skipif(REAL, reason="this is the run inside")
def test_this_contract_on_a_real_libcamera() -> None:
    # picamera2's own remark, on the Python in there.
    quiet = ["-W", "ignore:setDaemon:DeprecationWarning", "-p", "no:cacheprovider"]
    command = ["sh", "tools/camera_stack/run.sh", "-m", "pytest", "-q", *quiet]
    done = subprocess.run(
        [*command, "tests/contract/test_cameras.py", "-k", "picamera2 or real_frames"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "EDGE_SDK_TEST_REAL_PICAMERA2": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert re.search(r"\b9 passed", done.stdout), done.stdout[-4000:]
    assert "failed" not in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.skipif(not REAL, reason="needs the environment of tools/camera_stack")
def test_real_frames_are_converted_from_what_libcamera_gives() -> None:
    """The virtual pipeline shows colour bars and gives NV12 to whoever asks for RGB888."""
    with open_camera("picamera2", size=(640, 480)) as camera:
        frame = next(iter(camera))
        assert camera.format == "NV12"
        assert camera.notes == ("RGB888 was asked for, the camera gives NV12: converted",)
        assert frame.pixels.shape == (480, 640, 3)
        assert frame.metadata
    # From left to right, as television shows them: a swap of red and blue would not.
    white, yellow, cyan, green, magenta, red, blue, black = (
        tuple(c) for c in (frame.pixels[10, 40::80] // 128).tolist()
    )
    assert (white, black) == ((1, 1, 1), (0, 0, 0))
    assert (yellow, cyan, magenta) == ((1, 1, 0), (0, 1, 1), (1, 0, 1))
    assert (red, green, blue) == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    with pytest.raises(CameraError, match="there is no camera 7; libcamera finds: 0: "):
        open_camera("picamera2", camera=7)
