"""Frames for the loop: the newest of a camera that runs by itself, each of one that waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from edge_sdk.camera import Camera, Frame, open_camera
from edge_sdk.camera.latest import Counts, LatestFrames
from edge_sdk.errors import CameraError, EdgeError
from edge_sdk.live.settings import Settings

# Without a rate these give a frame whenever one is asked for: read ahead, most would be dropped.
WAITING = ("folder", "simulated")
SLICE_S = 1.0


class Frames(Protocol):
    """What the loop reads; LatestFrames is one. trouble: why there is no frame now; ended: none
    will come any more."""

    @property
    def counts(self) -> Counts: ...
    @property
    def camera(self) -> Camera | None: ...
    @property
    def trouble(self) -> EdgeError | None: ...
    @property
    def ended(self) -> bool: ...
    def read(self, timeout_s: float | None = None) -> Frame | None: ...
    def close(self) -> None: ...


class EachFrame:
    """Every frame of a camera that waits until it is asked; none is dropped."""

    def __init__(self, camera: Camera) -> None:
        self.camera: Camera | None = camera
        self.counts = Counts()
        self.trouble: EdgeError | None = None
        self.ended = False
        self._camera = camera
        self._frames: Iterator[Frame] = iter(camera)

    def read(self, timeout_s: float | None = None) -> Frame | None:
        del timeout_s
        self.ended = True  # unless there is a frame: what it raises is final
        frame = next(self._frames, None)
        if frame is not None:
            self.ended = False
            self.counts = replace(self.counts, taken=self.counts.taken + 1)
        return frame

    def close(self) -> None:
        self._camera.close()


def open_frames(settings: Settings) -> Frames:
    """Raises CameraError at once for a camera that waits; the others are opened by a thread."""
    name, options = settings.camera, settings.camera_options
    if name in WAITING and options.get("rate") is None:
        return EachFrame(open_camera(name, **options))
    return LatestFrames(
        lambda: open_camera(name, **options),
        timeout_s=settings.watchdog_s,
        give_up_s=0.0 if settings.once else None,
    )


def fresh(
    frames: Frames, timeout_s: float, waiting: Callable[[], None] = lambda: None
) -> Frame | None:
    """The newest frame, but none older than `timeout_s`: what was kept since a camera vanished
    during a long pause is not what it sees now. waiting: called each SLICE_S without a frame.
    Raises CameraError as `read` does, after `timeout_s`."""
    until_s = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, until_s - time.monotonic())
        try:
            frame = frames.read(min(left_s, SLICE_S))
        except CameraError:
            if frames.ended or left_s <= SLICE_S:
                raise
            waiting()
            continue
        if frame is None or time.monotonic() - frame.taken_s <= timeout_s:
            return frame
