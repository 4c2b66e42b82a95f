"""USB cameras by the kernel's own calls; videos through OpenCV, which gives blue, green, red."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_sdk.camera.base import DEFAULT_SIZE, Size, Source
from edge_sdk.camera.formats import decode_frame
from edge_sdk.camera.v4l2_device import DeviceReader
from edge_sdk.errors import CameraError, UsageError
from edge_sdk.preprocess import Pixels

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm"})
FOURCC = ("MJPG", "YUYV")


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as e:
        raise CameraError(
            f"OpenCV is not installed, which videos need: pip install 'edge-sdk[opencv]' ({e})",
            "missing",
        ) from e
    return cv2


class VideoReader:
    """An opened file, `%d.jpg` sequence or address. size: (width, height); format: the four letters
    of its code."""

    def __init__(self, source: str) -> None:
        self._cv2 = _opencv()
        cv2 = self._cv2
        self._source = source
        if "://" not in source and "%" not in source and not Path(source).is_file():
            raise CameraError(f"video '{source}' does not exist", "missing")
        self._capture = cv2.VideoCapture(source, cv2.CAP_ANY)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(f"video '{source}' cannot be read by OpenCV", "missing")
        self.size: Size = (
            int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        letters = int(self._capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        self.format = letters.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")

    def read(self) -> Pixels | None:
        """uint8 (H, W, 3) RGB, or None at the end.

        Raises CameraError for what is no colour picture."""
        try:
            good, pixels = self._capture.read()
        except self._cv2.error as e:
            raise CameraError(
                f"'{self._source}' gave a frame that OpenCV cannot decode: {e}"
            ) from e
        if not good or pixels is None:
            return None
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise CameraError(
                f"'{self._source}' gave frames of shape {pixels.shape}, {pixels.dtype}: (H, W, 3) "
                "of uint8 is needed",
                "format",
            )
        height, width = pixels.shape[:2]
        return decode_frame(pixels, "RGB888", (width, height))

    def rewind(self) -> None:
        self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)

    def release(self) -> None:
        self._capture.release()


class V4L2Camera(Source):
    """A USB camera, or a video, a `%d.jpg` sequence or an address that OpenCV reads as one.

    device: /dev/video0, or its number. size: (width, height) that the camera must give; without,
    640x480 is asked for and `size` says what came. rate: frames a second to ask for; code: MJPG or
    YUYV, an error where the camera gives another. Only a device can be asked."""

    name = "v4l2"

    def __init__(
        self,
        device: str | int = "/dev/video0",
        *,
        size: Size | None = None,
        rate: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__()
        self._source = f"/dev/video{device}" if str(device).isdigit() else str(device)
        self._is_device = is_device(self._source)
        if code and code not in FOURCC:
            raise UsageError(f"camera 'v4l2': code '{code}' must be one of {', '.join(FOURCC)}")
        if not self._is_device and (rate or code):
            raise UsageError(f"camera 'v4l2': '{device}' is no device: it takes no rate or code")
        self._reader: VideoReader | DeviceReader
        if self._is_device:
            _check_device(self._source)
            self._reader = DeviceReader(self._source, size=size, rate=rate, code=code)
        else:
            self._reader = VideoReader(self._source)
        self.size, self.format = self._reader.size, self._reader.format
        given = "x".join(map(str, self.size))
        wrong = []
        if size and self.size != tuple(size):
            wrong.append(f"size {size[0]}x{size[1]} was asked for, it gives {given}")
        if code and self.format != code:
            wrong.append(f"code {code} was asked for, it gives {self.format}")
        if wrong:
            self._reader.release()
            raise CameraError(f"{self._source}: {'; '.join(wrong)}: ask for that", "format")
        if not size and self._is_device and self.size != DEFAULT_SIZE:
            self.notes = (f"no size was asked for, the camera gives {given}",)

    def _grab(self) -> tuple[Pixels, dict[str, Any]] | None:
        pixels = self._reader.read()
        if pixels is None:
            if "://" in self._source:
                raise CameraError(f"{self._source} gives no more frames: unplugged, or reset")
            return None
        return pixels, {"device": self._source}

    def _release(self) -> None:
        self._reader.release()


def is_device(source: str) -> bool:
    return source.startswith("/dev/")


def _check_device(source: str) -> None:
    if not Path(source).exists():
        there = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
        raise CameraError(f"camera {source} does not exist; there are: {there}", "missing")
    if not os.access(source, os.R_OK | os.W_OK):
        raise CameraError(
            f"camera {source} may not be opened by this user: add it to the group 'video'", "busy"
        )
