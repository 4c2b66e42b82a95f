"""Classified frames to disk, which never fills it."""

from __future__ import annotations

import io
import re
import time
from contextlib import suppress
from pathlib import Path

from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.files import write_whole
from edge_sdk.live.log import Log
from edge_sdk.live.outputs import Answer, time_text
from edge_sdk.live.sensors import disk_free
from edge_sdk.live.settings import SaveFrames

# Once stopped, it goes on when a tenth more than the limit is free: no switching at the edge.
AGAIN = 0.1
# After an error of the disk it is left alone for so long.
RETRY_S = 60.0
JPEG_QUALITY = 90


class FrameSaver:
    """A sink. saved, not_saved: how many frames were, and were kept from it by the guard or an
    error. The whole frame is saved, not the part that was classified.

    A name has the time, the frame's number and the answer; none is ever overwritten."""

    def __init__(self, settings: SaveFrames, log: Log) -> None:
        self._folder, self._log = Path(settings.folder), log
        self._every_s, self._format = settings.every_s, settings.format
        self._limit = settings.keep_free_mb * 1_000_000
        self._next_s = self._retry_s = float("-inf")
        self._stopped = False
        self.saved = self.not_saved = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for leftover in self._folder.glob(".*.partial"):  # of a run that lost its power
                leftover.unlink()
        except OSError as e:
            raise UsageError(f"--save-frames {self._folder} cannot be used: {e.strerror}") from e

    def write(self, answer: Answer) -> None:
        now = answer.frame.taken_s
        if now < self._next_s:
            return
        self._next_s = now + self._every_s
        if not self._may_write():
            self.not_saved += 1
            return
        try:
            write_whole(self._free_name(answer), self._encoded(answer))
        except EdgeError as e:
            self.not_saved += 1
            self._retry_s = time.monotonic() + RETRY_S
            self._log.warn(f"a frame was not saved; tried again in {RETRY_S:g} s: {e}")
            return
        self.saved += 1

    def _may_write(self) -> bool:
        if time.monotonic() < self._retry_s:
            return False
        free = disk_free(self._folder) or 0
        stop = free < self._limit + (round(self._limit * AGAIN) if self._stopped else 0)
        if stop != self._stopped:
            what = "no frames are saved until there is more" if stop else "frames are saved again"
            self._log.warn(f"{free // 1_000_000} MB are free in {self._folder}: {what}")
        self._stopped = stop
        return not stop

    def _encoded(self, answer: Answer) -> bytes:
        from PIL import Image

        made = io.BytesIO()
        image = Image.fromarray(answer.frame.pixels)
        if self._format == "png":
            image.save(made, "PNG", compress_level=1)
        else:
            image.save(made, "JPEG", quality=JPEG_QUALITY)
        return made.getvalue()

    def _free_name(self, answer: Answer) -> Path:
        when = re.sub("[:-]", "", time_text(answer.frame.wall_s))
        label = re.sub(r"[^\w.-]", "_", answer.prediction.label)[:60]
        mark = "-simulated" if answer.frame.metadata.get("simulated") else ""
        stem = f"{when}-{answer.frame.index:08d}-{label}{mark}"
        ending = "png" if self._format == "png" else "jpg"
        path, number = self._folder / f"{stem}.{ending}", 1
        with suppress(OSError):
            while path.exists():  # the clock went back
                number += 1
                path = self._folder / f"{stem}-{number}.{ending}"
        return path
