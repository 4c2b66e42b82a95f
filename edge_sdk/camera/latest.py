"""The newest frame of a camera, read by a thread: no queue, no wait without end, reconnects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from edge_sdk.camera.base import CLOSE_S, Camera, Frame
from edge_sdk.errors import CameraError, EdgeError, UsageError


@dataclass(frozen=True)
class Counts:
    """taken: frames from the camera; dropped: of these, replaced by a newer one before they were
    read; reconnects: openings after the first that gave a frame; failures: errors of the camera,
    openings that failed included."""

    taken: int = 0
    dropped: int = 0
    reconnects: int = 0
    failures: int = 0


class LatestFrames:
    """Opens a camera in a thread and keeps its newest frame only.

        with LatestFrames(lambda: open_camera("picamera2")) as frames:
            frame = frames.read()

    opener: makes an opened camera; it is called again after the camera vanished, after the first
        wait of `backoff_s`, then twice as long each time up to the last one. Frames are numbered
        on across this.
    timeout_s: how long `read` waits for a frame.
    give_up_s: for how long it is tried again without a frame; None for as long as it takes.
    A camera that gives a wrong format is not tried again. The one that is missing at the start is
    waited for as is one that vanished."""

    def __init__(
        self,
        opener: Callable[[], Camera],
        *,
        timeout_s: float = 5.0,
        backoff_s: tuple[float, float] = (0.5, 30.0),
        give_up_s: float | None = None,
    ) -> None:
        if timeout_s <= 0 or not 0 < backoff_s[0] <= backoff_s[1]:
            raise UsageError(
                f"timeout_s {timeout_s} and backoff_s {backoff_s} must be above 0, and the first "
                "wait no longer than the last"
            )
        self._opener, self._timeout_s, self._backoff_s = opener, timeout_s, backoff_s
        self._give_up_s = give_up_s
        self._camera: Camera | None = None
        self._frame: Frame | None = None
        self._counts = Counts()
        self._trouble: EdgeError | None = None  # the newest, until a frame comes
        self._lost: BaseException | None = None  # that ended the thread
        self._done = False
        self._since_s = time.monotonic()  # the newest frame, or the beginning
        self._stop = threading.Event()
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        with self._change:
            return self._counts

    @property
    def camera(self) -> Camera | None:
        """The camera that is open now; for its name, size, format and notes."""
        return self._camera

    @property
    def trouble(self) -> EdgeError | None:
        """The newest error of the camera, until a frame comes."""
        with self._change:
            return self._trouble

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""
        with self._change:
            return self._done

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The newest frame that was not read yet, waited for at most `timeout_s` seconds; None
        when the source has ended or this was closed.

        Raises CameraError where no frame came in time: read again to go on waiting. Raises the
        camera's own error where trying again was given up."""
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        with self._change:
            self._change.wait_for(lambda: self._frame is not None or self._done, wait_s)
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            if self._lost is not None and not self._stop.is_set():
                raise self._lost
            if self._done:
                return None
            trouble = self._trouble
            silent_s = time.monotonic() - self._since_s
        text = f"no frame from the camera for {silent_s:.1f} s"
        if trouble is None:
            raise CameraError(f"{text}: it is open and silent")
        fault = trouble.fault if isinstance(trouble, CameraError) else "vanished"
        raise CameraError(f"{text}; it is tried again: {trouble}", fault)

    def __iter__(self) -> Iterator[Frame]:
        """Frames as `read` gives them, until the source ends."""
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """Ends the thread and closes the camera. One that hangs is left to its daemon thread."""
        self._stop.set()
        with self._change:
            self._done = True
            self._change.notify_all()
        if camera := self._camera:
            camera.close()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._keep_reading()
        except BaseException as e:
            # Raised where frames are read: an error that ends a thread is seen by nobody.
            self._lost = e
        with self._change:
            self._done = True
            self._change.notify_all()

    def _keep_reading(self) -> None:
        wait_s, last_s = self._backoff_s[0], time.monotonic()
        while not self._stop.is_set():
            before = self._counts.taken
            try:
                self._read_until_it_ends()
                return
            except CameraError as e:
                self._note_failure(e)
                if e.fault == "format":
                    raise
                if self._counts.taken > before:
                    wait_s, last_s = self._backoff_s[0], time.monotonic()
                if self._give_up_s is not None and time.monotonic() - last_s > self._give_up_s:
                    raise
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, self._backoff_s[1])

    def _read_until_it_ends(self) -> None:
        with self._opener() as camera:
            self._camera = camera
            if self._stop.is_set():  # closed while it was opened
                return
            again = self._counts.taken > 0
            try:
                for frame in camera:
                    self._keep(frame, again)
                    again = False
                    if self._stop.is_set():
                        return
            finally:
                self._camera = None

    def _note_failure(self, error: EdgeError) -> None:
        with self._change:
            self._trouble = error
            self._counts = replace(self._counts, failures=self._counts.failures + 1)

    def _keep(self, frame: Frame, reconnected: bool) -> None:
        with self._change:
            c = self._counts
            self._counts = replace(
                c,
                taken=c.taken + 1,
                dropped=c.dropped + (self._frame is not None),
                reconnects=c.reconnects + reconnected,
            )
            self._frame = replace(frame, index=c.taken)
            self._since_s = time.monotonic()
            self._trouble = None
            self._change.notify_all()
