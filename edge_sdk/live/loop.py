"""Camera -> part of the frame -> Classifier -> smoothing -> outputs, frame after frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from edge_sdk.errors import EdgeError
from edge_sdk.live.outputs import Answer, Sink
from edge_sdk.live.settings import Settings, parse_roi
from edge_sdk.live.smoothing import Smoother
from edge_sdk.live.source import SLICE_S, Frames, fresh
from edge_sdk.runtime import Classifier

End = Literal["ended", "stopped", "reload"]
# What a frame that is read or a camera that is closed may take beyond its own limit.
MARGIN_S = 5.0


class Loop:
    """One run. between: called after each answer and, in long pauses, each SLICE_S. waiting: called
    each SLICE_S without a frame. within: told how soon the loop will be heard of again.

    run() ends with the source, at `frames`, with stop(), or to `reload` when reload() was called;
    stop and reload may be called from any thread. answers: how many were given."""

    def __init__(
        self,
        settings: Settings,
        classifier: Classifier,
        frames: Frames,
        sinks: Sequence[Sink],
        *,
        between: Callable[[], None] = lambda: None,
        waiting: Callable[[], None] = lambda: None,
        within: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._settings, self._classifier, self._frames = settings, classifier, frames
        self._sinks, self._within = sinks, within
        self._between, self._waiting = between, waiting
        self._roi = parse_roi(settings.roi) if settings.roi else None
        self._smooth = Smoother(
            settings.smooth, classifier.model.decision, max(10.0, 3 * settings.interval_s)
        )
        self._stopped = threading.Event()
        self._wake = threading.Event()  # set by whatever ends a pause
        self.answers = 0

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._frames.close()

    def reload(self) -> None:
        self._wake.set()

    def run(self) -> End:
        """Raises CameraError without a frame for watchdog_s, or for a frame that does not fit."""
        s = self._settings
        due_s = time.monotonic()
        waiting: Answer | None = None  # with `once`, until the window is full
        while True:
            self._pause(due_s)
            if self._stopped.is_set():
                return "stopped"
            if self._wake.is_set():
                return "reload"
            self._within(s.watchdog_s + MARGIN_S)
            try:
                frame = fresh(self._frames, s.watchdog_s, self._waiting)
            except EdgeError:
                if self._stopped.is_set():  # it was closed under the reader
                    return "stopped"
                raise
            if frame is None:
                if waiting is not None:
                    self._write(waiting)
                return "stopped" if self._stopped.is_set() else "ended"
            due_s += s.interval_s
            if (now := time.monotonic()) >= due_s:  # it fell behind: no burst to catch up
                due_s = now + s.interval_s
            self._within(s.watchdog_s)
            pixels = frame.pixels if self._roi is None else self._roi.cut(frame.pixels)
            own = self._classifier.classify(pixels)
            answer = Answer(frame, own, self._smooth.add(own, frame.taken_s))
            self.answers += 1
            last = self._smooth.full if s.once else self.answers == s.frames
            if s.once and not last:
                waiting = answer
            else:
                waiting = None
                self._write(answer)
            self._between()
            if last:
                return "ended"

    def _write(self, answer: Answer) -> None:
        for sink in self._sinks:
            sink.write(answer)

    def _pause(self, until_s: float) -> None:
        while (left := until_s - time.monotonic()) > 0:
            self._within(SLICE_S + MARGIN_S)
            if self._wake.wait(min(left, SLICE_S)):
                return
            self._between()
