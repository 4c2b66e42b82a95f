"""Frames of an open slide: the newest of a camera that runs by itself, one at a time of one that
waits. Neither waits itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from edge_sdk.camera import Camera, Frame
from edge_sdk.camera.latest import LatestFrames
from edge_sdk.errors import EdgeError

Status = Literal["starting", "live", "waiting", "gone", "ended"]
STALE_S = 5.0  # an older frame is not what the camera sees
AGAIN_S = 5.0  # between two tries to open a camera that waits


class Feed(Protocol):
    """waits: gives the next picture when it is asked; the others go on by themselves. status,
    message: how it is, and why where that is not well."""

    waits: bool
    status: Status
    message: str

    def read(self) -> Frame | None:
        """The next picture, or the newest that was not read yet; None where there is none now."""

    def close(self) -> None: ...


class OneByOne:
    """Every picture of a camera that waits until it is asked."""

    waits = True

    def __init__(self, opener: Callable[[], Camera]) -> None:
        self._opener = opener
        self._camera: Camera | None = None
        self._frames: Iterator[Frame] = iter(())
        self._again_s = 0.0
        self.status: Status = "starting"
        self.message = ""

    def read(self) -> Frame | None:
        if self.status == "ended" or time.monotonic() < self._again_s:
            return None
        try:
            if self._camera is None:
                self._camera = self._opener()
                self._frames = iter(self._camera)
            frame = next(self._frames, None)
        except EdgeError as e:
            self.close()
            self.status, self.message = "gone", str(e)
            self._again_s = time.monotonic() + AGAIN_S
            return None
        self.status, self.message = (
            ("live", "") if frame else ("ended", "there are no more pictures")
        )
        return frame

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None


class Newest:
    """The newest frame of a camera that runs by itself and may vanish."""

    waits = False

    def __init__(self, opener: Callable[[], Camera]) -> None:
        self._frames = LatestFrames(opener, backoff_s=(0.5, 10.0))
        self._last_s = time.monotonic()
        self.status: Status = "starting"
        self.message = ""

    def read(self) -> Frame | None:
        try:
            frame = self._frames.read(0.0)
        except EdgeError as e:
            self._silent(e)
            return None
        if frame is None:
            self.status, self.message = "ended", "there are no more pictures"
            return None
        if time.monotonic() - frame.taken_s > STALE_S:
            return None
        self._last_s = frame.taken_s
        self.status, self.message = "live", ""
        return frame

    def _silent(self, error: EdgeError) -> None:
        trouble = self._frames.trouble
        if trouble is not None:
            self.status, self.message = "gone", f"{trouble}; it is tried again"
        elif self._frames.ended:
            self.status, self.message = "gone", str(error)
        elif self.status != "starting" and time.monotonic() - self._last_s > STALE_S:
            self.status = "waiting"
            self.message = f"no frame from the camera for {STALE_S:g} s: it is open and silent"

    def close(self) -> None:
        self._frames.close()
