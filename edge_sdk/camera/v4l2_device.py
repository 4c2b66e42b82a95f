"""A camera of the kernel (V4L2), by its own calls: no OpenCV, which is larger than all the rest.

Structures and numbers are those of the kernel's <linux/videodev2.h>, described in its "Video for
Linux API"; ctypes lays them out as this machine's C does. Single-planar capture into mapped
buffers.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
from contextlib import suppress

import numpy as np

from edge_sdk.camera.base import DEFAULT_SIZE, Size
from edge_sdk.camera.formats import decode_frame
from edge_sdk.errors import CameraError
from edge_sdk.preprocess import Pixels

# The camera's code -> our name of it, the cheapest to convert first.
CODES = {
    "RGB3": "BGR888", "BGR3": "RGB888", "YUYV": "YUYV", "NV12": "NV12", "YU12": "YUV420",
    "MJPG": "MJPEG",
}  # fmt: skip
SILENT_S = 10.0
BUFFERS = 2  # one is filled while the other is read
BROKEN = 10  # pictures in a row that the camera marks as broken, or that are no JPEG
_CAPTURE, _MMAP, _FIELD_NONE = 1, 1, 1
_CAP_CAPTURE, _CAP_STREAMING, _CAP_DEVICE = 0x1, 0x04000000, 0x80000000
_BROKEN_FLAG = 0x40
_JPEG_SPACE, _REC709_SPACE, _REC709_ENCODING, _FULL_RANGE = 7, 3, 2, 1
_U8, _U32 = ctypes.c_uint8, ctypes.c_uint32


class _Capability(ctypes.Structure):
    _fields_ = [
        ("driver", _U8 * 16), ("card", _U8 * 32), ("bus_info", _U8 * 32), ("version", _U32),
        ("capabilities", _U32), ("device_caps", _U32), ("reserved", _U32 * 3),
    ]  # fmt: skip


class _Description(ctypes.Structure):
    _fields_ = [
        ("index", _U32), ("type", _U32), ("flags", _U32), ("description", _U8 * 32),
        ("code", _U32), ("mbus_code", _U32), ("reserved", _U32 * 3),
    ]  # fmt: skip


class _Picture(ctypes.Structure):
    _fields_ = [
        (name, _U32) for name in (
            "width", "height", "code", "field", "stride", "bytes", "space", "priv", "flags",
            "encoding", "range", "transfer",
        )
    ]  # fmt: skip


class _Body(ctypes.Union):
    # One of the real union's members has pointers, which decide its alignment.
    _fields_ = [("picture", _Picture), ("raw", _U8 * 200), ("aligned", ctypes.c_void_p)]


class _Format(ctypes.Structure):
    _fields_ = [("type", _U32), ("body", _Body)]


class _Rate(ctypes.Structure):
    _fields_ = [
        ("type", _U32), ("capability", _U32), ("mode", _U32), ("numerator", _U32),
        ("denominator", _U32), ("rest", _U8 * 184),
    ]  # fmt: skip


class _Request(ctypes.Structure):
    _fields_ = [
        ("count", _U32), ("type", _U32), ("memory", _U32), ("capabilities", _U32),
        ("flags", _U8), ("reserved", _U8 * 3),
    ]  # fmt: skip


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("index", _U32), ("type", _U32), ("used", _U32), ("flags", _U32), ("field", _U32),
        ("seconds", ctypes.c_long), ("microseconds", ctypes.c_long), ("timecode", _U8 * 16),
        ("sequence", _U32), ("memory", _U32), ("offset", ctypes.c_ulong), ("length", _U32),
        ("reserved", _U32), ("request", _U32),
    ]  # fmt: skip


def _number(direction: int, number: int, kind: type[ctypes._CData]) -> int:
    """<asm-generic/ioctl.h>: 1 writes to the kernel, 2 reads, 3 both."""
    return direction << 30 | ctypes.sizeof(kind) << 16 | ord("V") << 8 | number


_QUERYCAP = _number(2, 0, _Capability)
_ENUM_FMT = _number(3, 2, _Description)
_S_FMT = _number(3, 5, _Format)
_REQBUFS = _number(3, 8, _Request)
_QUERYBUF, _QBUF, _DQBUF = (_number(3, n, _Buffer) for n in (9, 15, 17))
_STREAMON, _STREAMOFF = (_number(1, n, ctypes.c_int) for n in (18, 19))
_S_PARM = _number(3, 22, _Rate)


class DeviceReader:
    """An opened camera. size: (width, height) and format: its four-letter code, as the camera has
    set them."""

    def __init__(
        self, path: str, *, size: Size | None = None, rate: float | None = None, code: str = ""
    ) -> None:
        self._path = path
        self._maps: list[mmap.mmap] = []
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as e:
            raise self._cannot(e) from e
        try:
            self._set_up(size or DEFAULT_SIZE, rate, code)
        except BaseException as e:
            self.release()
            if isinstance(e, OSError):
                raise self._cannot(e) from e
            raise

    def _set_up(self, size: Size, rate: float | None, code: str) -> None:
        able = _Capability()
        fcntl.ioctl(self._file, _QUERYCAP, able)
        caps = able.device_caps if able.capabilities & _CAP_DEVICE else able.capabilities
        if not (caps & _CAP_CAPTURE and caps & _CAP_STREAMING):
            raise CameraError(
                f"{self._path} is no camera (v4l2-ctl --list-devices shows which are)", "busy"
            )
        codes = self._codes()
        chosen = code if code in codes else next((c for c in CODES if c in codes), "")
        if not chosen:
            raise CameraError(
                f"{self._path} gives {', '.join(codes) or 'nothing'}; it takes one of "
                f"{', '.join(CODES)}",
                "format",
            )
        asked = _Format(type=_CAPTURE)
        p = asked.body.picture
        p.width, p.height = size
        p.code, p.field = int.from_bytes(chosen.encode(), "little"), _FIELD_NONE
        fcntl.ioctl(self._file, _S_FMT, asked)
        self.size: Size = (p.width, p.height)
        self.format = _letters(p.code)
        self._stride = p.stride
        full = p.range == _FULL_RANGE or (p.range == 0 and p.space == _JPEG_SPACE)
        rec709 = p.encoding == _REC709_ENCODING or (p.encoding == 0 and p.space == _REC709_SPACE)
        self._space = "sYCC" if full else "Rec709" if rec709 else "SMPTE170M"
        if rate:
            wanted = _Rate(type=_CAPTURE, numerator=1000, denominator=round(rate * 1000))
            with suppress(OSError):  # a camera of one rate keeps it
                fcntl.ioctl(self._file, _S_PARM, wanted)
        self._start()

    def _codes(self) -> list[str]:
        codes: list[str] = []
        with suppress(OSError):  # EINVAL ends the list
            while True:
                found = _Description(index=len(codes), type=_CAPTURE)
                fcntl.ioctl(self._file, _ENUM_FMT, found)
                codes.append(_letters(found.code))
        return codes

    def _start(self) -> None:
        request = _Request(count=BUFFERS, type=_CAPTURE, memory=_MMAP)
        fcntl.ioctl(self._file, _REQBUFS, request)
        for index in range(request.count):
            b = _Buffer(index=index, type=_CAPTURE, memory=_MMAP)
            fcntl.ioctl(self._file, _QUERYBUF, b)
            # Mapped writable by videobuf's rule, only read here.
            self._maps.append(mmap.mmap(self._file, b.length, offset=b.offset))
            fcntl.ioctl(self._file, _QBUF, b)
        fcntl.ioctl(self._file, _STREAMON, ctypes.c_int(_CAPTURE))

    def read(self) -> Pixels:
        """uint8 (H, W, 3) RGB. Raises CameraError where the camera is gone or silent."""
        trouble = "it marks its pictures as broken"
        for _ in range(BROKEN):
            ready, _, _ = select.select([self._file], [], [], SILENT_S)
            if not ready:
                raise CameraError(f"{self._path} gave no frame for {SILENT_S:g} s: it hangs")
            b = _Buffer(type=_CAPTURE, memory=_MMAP)
            try:
                fcntl.ioctl(self._file, _DQBUF, b)
                pixels = None
                if not b.flags & _BROKEN_FLAG:
                    try:
                        pixels = self._decoded(b)
                    except CameraError as e:
                        if e.fault == "format":
                            raise
                        trouble = str(e)
                fcntl.ioctl(self._file, _QBUF, b)
            except OSError as e:
                if e.errno == errno.EAGAIN:
                    continue
                raise CameraError(
                    f"{self._path} gives no more frames: unplugged, or reset ({e.strerror})"
                ) from e
            if pixels is not None:
                return pixels
        raise CameraError(f"{self._path} gave {BROKEN} broken pictures in a row: {trouble}")

    def _decoded(self, b: _Buffer) -> Pixels:
        # A copy: the buffer goes back to the camera, and what is decoded may be a view of it.
        data = np.frombuffer(self._maps[b.index], np.uint8, b.used or b.length).copy()
        name = CODES[self.format]
        if name == "MJPEG":
            return decode_frame(data, name, self.size)
        return decode_frame(data, name, self.size, stride=self._stride, colour_space=self._space)

    def release(self) -> None:
        if self._file < 0:
            return
        with suppress(OSError):
            fcntl.ioctl(self._file, _STREAMOFF, ctypes.c_int(_CAPTURE))
        for mapped in self._maps:
            mapped.close()
        self._maps.clear()
        os.close(self._file)
        self._file = -1

    def _cannot(self, e: OSError) -> CameraError:
        if e.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            return CameraError(f"camera {self._path} is not there: unplugged, or reset", "missing")
        said = {errno.EBUSY: "another program has it", errno.ENOTTY: "it is no camera"}
        what = said.get(e.errno or 0, "it does not start")
        return CameraError(
            f"{self._path} cannot be opened: {what} ({e.strerror}; v4l2-ctl --list-devices shows "
            "which are)",
            "busy",
        )


def _letters(code: int) -> str:
    return code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
