"""What every camera is: an iterable of frames with their times, closed when done.

Sizes are (width, height), as Pillow and libcamera write them.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from edge_sdk.errors import CameraError
from edge_sdk.preprocess import Pixels

Size = tuple[int, int]
DEFAULT_SIZE: Size = (640, 480)
CLOSE_S = 2.0  # how long close() waits for a read that is under way


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a camera.

    pixels: uint8 (H, W, 3) RGB; index: number since the camera was opened, from 0.
    taken_s: seconds of time.monotonic() when the picture arrived: take every interval from it.
    wall_s: seconds since 1970 by the wall clock, which may jump: for people and file names only.
    metadata: what the camera says of this picture; keys differ from camera to camera."""

    pixels: Pixels
    index: int
    taken_s: float
    wall_s: float
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Camera(Protocol):
    """name: in the table of cameras; size: of the newest frame, before one of what is set up;
    format: of what the source delivers, read back from it; notes: what differs from what was
    asked for, or was assumed. Iterating ends where the source does or where it is closed, and
    raises CameraError where frames stop coming. After an error, iterate again or close."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> Size: ...
    @property
    def format(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def close(self) -> None: ...


class Source(ABC):
    """The part of a camera that all share: numbering, time stamps, closing from any thread.

    A camera gives `_grab` and, where it holds something, `_release`; neither runs beside itself or
    the other."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.size: Size = DEFAULT_SIZE
        self.format = "RGB"
        self.notes: tuple[str, ...] = ()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._index = 0
        self._due_s = 0.0

    @abstractmethod
    def _grab(self) -> tuple[Pixels, dict[str, Any]] | None:
        """The next picture with its metadata, or None at the source's end."""

    def _release(self) -> None:  # noqa: B027
        """Lets go of what the source holds; called more than once."""

    def _pace(self, rate: float | None) -> None:
        """Waits until the next frame is due at `rate` frames a second, or the camera is closed."""
        if rate is None:
            return
        now = time.monotonic()
        self._closed.wait(max(0.0, self._due_s - now))
        # A source that fell behind goes on from now: no burst to catch up.
        self._due_s = max(self._due_s, now) + 1.0 / rate

    def __iter__(self) -> Iterator[Frame]:
        if self._closed.is_set():
            raise CameraError(f"camera '{self.name}' is closed: open it again")
        while True:
            with self._lock:
                got = None if self._closed.is_set() else self._grab()
                if self._closed.is_set():
                    self._release()
                    return
            if got is None:
                return
            pixels, metadata = got
            height, width = pixels.shape[:2]
            self.size = (width, height)
            frame = Frame(pixels, self._index, time.monotonic(), time.time(), metadata)
            self._index += 1
            yield frame

    def close(self) -> None:
        """Ends every iteration. A read that hangs is waited for CLOSE_S seconds; what it holds is
        then let go of when it returns."""
        self._closed.set()
        if self._lock.acquire(timeout=CLOSE_S):
            try:
                self._release()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
