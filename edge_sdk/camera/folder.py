"""Pictures or a video from disk in the place of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.camera.base import Source
from edge_sdk.camera.v4l2 import VIDEO_SUFFIXES, VideoReader
from edge_sdk.dataset import IMAGE_SUFFIXES, open_image
from edge_sdk.errors import CameraError, DataError, UsageError
from edge_sdk.preprocess import Pixels

Grab = tuple[Pixels, dict[str, Any]]


class FolderCamera(Source):
    """Replays a picture, a folder of pictures (walked through, by name) or a video.

    path: a video needs OpenCV. rate: frames a second, None for as fast as they are read;
    loop: starts again at the end. A picture may have any size, and `size` follows it. One that
    cannot be read is skipped, counted in `unreadable` and named in `notes`."""

    name = "folder"

    def __init__(self, path: str | Path, *, rate: float | None = None, loop: bool = False) -> None:
        super().__init__()
        check_rate(rate)
        self._path, self._rate, self._loop = Path(path), rate, loop
        self.unreadable = 0
        self._video: VideoReader | None = None
        self._files: list[Path] = []
        if self._path.suffix.lower() in VIDEO_SUFFIXES:
            self._video = VideoReader(str(self._path))
            self.size, self.format = self._video.size, self._video.format
        else:
            self._files = _pictures(self._path)
        self._next = self._passes()

    def _passes(self) -> Iterator[Grab]:
        """All pictures, again and again where it loops; ends after a pass without any."""
        while True:
            found = False
            for grab in self._video_frames() if self._video else self._pictures():
                found = True
                yield grab
            if not found:
                why = "".join(f": {note}" for note in self.notes)
                raise CameraError(f"{self._path} holds no picture that can be read{why}", "format")
            if not self._loop:
                return

    def _pictures(self) -> Iterator[Grab]:
        for file in self._files:
            try:
                image = open_image(file)
            except DataError as e:
                self.unreadable += 1
                self.notes = (f"{self.unreadable} pictures skipped, the last: {e}",)
                continue
            yield np.asarray(image), {"file": str(file)}

    def _video_frames(self) -> Iterator[Grab]:
        assert self._video is not None
        self._video.rewind()
        position = 0
        while (pixels := self._video.read()) is not None:
            yield pixels, {"file": str(self._path), "position": position}
            position += 1

    def _grab(self) -> Grab | None:
        self._pace(self._rate)
        return next(self._next, None)

    def _release(self) -> None:
        if self._video:
            self._video.release()


def check_rate(rate: float | None) -> None:
    if rate is not None and not 0.0 < rate <= 1000.0:
        raise UsageError(f"rate {rate} must be above 0 and at most 1000 frames a second, or None")


def _pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise CameraError(
            f"'{path}' is no picture, no video ({', '.join(sorted(VIDEO_SUFFIXES))}) and no folder "
            "with pictures",
            "missing",
        )
    return found
