"""Frames for the loop: the newest of a camera that runs by itself, each of one that waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from edge_sdk.camera import Camera, Frame, open_camera
from edge_sdk.camera.latest import Counts, LatestFrames
from edge_sdk.live.settings import Settings

# Without a rate these give a frame whenever one is asked for: read ahead, most would be dropped.
WAITING = ("folder", "simulated")


class Frames(Protocol):
    """What the loop reads; LatestFrames is one."""

    @property
    def counts(self) -> Counts: ...
    @property
    def camera(self) -> Camera | None: ...
    def read(self, timeout_s: float | None = None) -> Frame | None: ...
    def close(self) -> None: ...


class EachFrame:
    """Every frame of a camera that waits until it is asked; none is dropped."""

    def __init__(self, camera: Camera) -> None:
        self.camera: Camera | None = camera
        self.counts = Counts()
        self._camera = camera
        self._frames: Iterator[Frame] = iter(camera)

    def read(self, timeout_s: float | None = None) -> Frame | None:
        del timeout_s
        frame = next(self._frames, None)
        if frame is not None:
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


def fresh(frames: Frames, timeout_s: float) -> Frame | None:
    """The newest frame, but none older than `timeout_s`: what was kept since a camera vanished
    during a long pause is not what it sees now. Raises CameraError as `read` does."""
    while True:
        frame = frames.read(timeout_s)
        if frame is None or time.monotonic() - frame.taken_s <= timeout_s:
            return frame
