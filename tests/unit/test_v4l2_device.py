"""The kernel's camera calls, against a stand-in for the kernel; tests/integration/test_arm_vm.py
has a real one."""

from __future__ import annotations

import ctypes
import errno
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_sdk.camera import open_camera
from edge_sdk.camera import v4l2_device as device
from edge_sdk.camera.formats import decode_frame
from edge_sdk.errors import CameraError

SIZE = (64, 48)
BYTES = {"YUYV": 2, "RGB3": 3, "BGR3": 3, "GREY": 1, "MJPG": 2}


class Kernel:
    """Answers the calls as a driver does. codes: that it offers, the first without being asked;
    script: of each picture, its bytes or the error that comes instead."""

    def __init__(self) -> None:
        self.codes = ["YUYV"]
        self.size = SIZE
        self.caps = 0x04000001
        self.space = 8  # sRGB, which means video's range
        self.script: list[bytes | OSError] = []
        self.flags: list[int] = []
        self.maps: list[bytearray] = []
        self.queue: list[int] = []
        self.streaming = self.silent = False
        self.rate: tuple[int, int] | None = None

    def picture_bytes(self) -> int:
        return self.size[0] * self.size[1] * BYTES[self.code]

    def ioctl(self, _: int, number: int, argument: Any) -> int:
        {
            device._QUERYCAP: self.querycap, device._ENUM_FMT: self.enum, device._S_FMT: self.set,
            device._REQBUFS: lambda _: None, device._QUERYBUF: self.query,
            device._QBUF: lambda a: self.queue.append(a.index), device._DQBUF: self.dequeue,
            device._STREAMON: lambda _: setattr(self, "streaming", True),
            device._STREAMOFF: lambda _: setattr(self, "streaming", False),
            device._S_PARM: lambda a: setattr(self, "rate", (a.numerator, a.denominator)),
        }[number](argument)  # fmt: skip
        return 0

    def querycap(self, a: Any) -> None:
        a.capabilities, a.device_caps = 0x80000000 | self.caps, self.caps

    def enum(self, a: Any) -> None:
        if a.index >= len(self.codes):
            raise OSError(errno.EINVAL, "Invalid argument")
        a.code = int.from_bytes(self.codes[a.index].encode(), "little")

    def set(self, a: Any) -> None:
        p = a.body.picture
        self.code = device._letters(p.code)
        p.width, p.height = self.size
        p.stride, p.space = self.size[0] * BYTES[self.code], self.space

    def query(self, a: Any) -> None:
        a.length, a.offset = self.picture_bytes(), a.index * 4096
        self.maps.append(bytearray(a.length))

    def dequeue(self, a: Any) -> None:
        given = self.script.pop(0)
        if isinstance(given, OSError):
            raise given
        a.index = self.queue.pop(0)
        a.flags = self.flags.pop(0) if self.flags else 0
        a.used = len(given)
        self.maps[a.index][: len(given)] = given

    def mmap(self, _: int, length: int, *, offset: int) -> Any:
        class Map(bytearray):
            def close(self) -> None: ...

        made = Map(length)
        self.maps[offset // 4096] = made
        return made

    def select(self, *_: Any) -> tuple[list[int], list[int], list[int]]:
        return ([] if self.silent else [1]), [], []


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr("edge_sdk.camera.v4l2._check_device", lambda _: None)
    real = device.os.open
    monkeypatch.setattr(
        device,
        "os",
        SimpleNamespace(
            open=lambda _, flags: real("/dev/null", flags), close=device.os.close,
            O_RDWR=2, O_CLOEXEC=device.os.O_CLOEXEC, O_NONBLOCK=device.os.O_NONBLOCK,
        ),
    )  # fmt: skip
    monkeypatch.setattr(device, "fcntl", SimpleNamespace(ioctl=made.ioctl))
    monkeypatch.setattr(device, "mmap", SimpleNamespace(mmap=made.mmap))
    monkeypatch.setattr(device, "select", SimpleNamespace(select=made.select))
    return made


def noise(count: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, count, np.uint8).tobytes()


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_long) != 8, reason="numbers of 64-bit systems")
def test_the_numbers_are_the_kernel_s() -> None:
    """As a C compiler makes them of linux/videodev2.h, on x86-64 and arm64 alike."""
    assert device._QUERYCAP == 0x80685600
    assert device._ENUM_FMT == 0xC0405602
    assert device._S_FMT == 0xC0D05605
    assert device._REQBUFS == 0xC0145608
    assert (device._QUERYBUF, device._QBUF, device._DQBUF) == (0xC0585609, 0xC058560F, 0xC0585611)
    assert (device._STREAMON, device._STREAMOFF) == (0x40045612, 0x40045613)
    assert device._S_PARM == 0xC0CC5616


@pytest.mark.parametrize(("code", "step"), [("BGR3", -1), ("RGB3", 1)])
def test_frames_are_rgb_and_their_buffers_go_back(kernel: Kernel, code: str, step: int) -> None:
    kernel.codes = ["YUYV", code]
    picture = noise(64 * 48 * 3)
    nothing = bytes(len(picture))
    kernel.script = [picture, nothing, nothing, OSError(errno.ENODEV, "No such device")]
    with open_camera("v4l2", size=SIZE) as camera:
        assert (camera.size, camera.format, camera.notes) == (SIZE, code, ())
        frames = iter(camera)
        first = next(frames).pixels
        wanted = np.frombuffer(picture, np.uint8).reshape(48, 64, 3)[:, :, ::step]
        assert np.array_equal(first, wanted)
        next(frames)
        next(frames)  # into the first one's buffer
        assert np.array_equal(first, wanted), "a frame that was kept does not change"
        assert sorted(kernel.queue) == [0, 1]
        with pytest.raises(CameraError, match="/dev/video0 gives no more frames: unplugged"):
            next(frames)
    assert not kernel.streaming


@pytest.mark.parametrize(("space", "name"), [(8, "SMPTE170M"), (3, "Rec709"), (7, "sYCC")])
def test_colours_by_the_space_that_the_camera_says(kernel: Kernel, space: int, name: str) -> None:
    kernel.space, picture = space, noise(64 * 48 * 2)
    kernel.script = [picture]
    with open_camera("v4l2", code="YUYV") as camera:
        assert camera.notes == ("no size was asked for, the camera gives 64x48",)
        found = next(iter(camera)).pixels
    assert np.array_equal(found, decode_frame(picture, "YUYV", SIZE, colour_space=name))


def test_what_is_asked_for_and_not_given_is_an_error(kernel: Kernel) -> None:
    with pytest.raises(CameraError, match="size 320x240 was asked for, it gives 64x48") as e:
        open_camera("v4l2", size=(320, 240))
    assert e.value.fault == "format"
    with pytest.raises(CameraError, match="code MJPG was asked for, it gives YUYV"):
        open_camera("v4l2", code="MJPG")
    kernel.codes = ["GREY"]
    with pytest.raises(CameraError, match="gives GREY; it takes one of RGB3") as e:
        open_camera("v4l2")
    assert e.value.fault == "format"
    kernel.caps = 0x2
    with pytest.raises(CameraError, match="/dev/video0 is no camera") as e:
        open_camera("v4l2")
    assert e.value.fault == "busy"
    assert not kernel.streaming


def test_a_rate_is_asked_for(kernel: Kernel) -> None:
    open_camera("v4l2", rate=7.5).close()
    assert kernel.rate == (1000, 7500)


def test_broken_pictures_are_skipped_but_not_for_ever(kernel: Kernel) -> None:
    kernel.codes, good = ["YUYV"], noise(64 * 48 * 2)
    kernel.script, kernel.flags = [good] * 3, [0x40, 0x40, 0]
    with open_camera("v4l2", size=SIZE) as camera:
        next(iter(camera))
        kernel.codes = ["MJPG"]
    with open_camera("v4l2", size=SIZE) as camera:
        kernel.script = [b"no picture"] * 10
        with pytest.raises(CameraError, match="10 broken pictures in a row: MJPEG") as e:
            next(iter(camera))
        assert e.value.fault == "vanished"


def test_a_silent_camera_is_an_error(kernel: Kernel) -> None:
    kernel.silent = True
    with open_camera("v4l2") as camera, pytest.raises(CameraError, match="no frame for 10 s"):
        next(iter(camera))
