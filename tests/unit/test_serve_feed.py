"""Frames of an open slide: none is waited for, and how the camera is, is said."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from serve_slides import until

from edge_sdk.camera import CameraError, Frame
from edge_sdk.camera.base import Source
from edge_sdk.serve import feed
from edge_sdk.serve.feed import Newest, OneByOne


class Pictures(Source):
    """So many pictures, then what comes after them: an error, silence, or the end."""

    name = "v4l2"

    def __init__(self, count: int, then: CameraError | float | None = None) -> None:
        super().__init__()
        self._left, self._then = count, then

    def _grab(self) -> Any:
        if self._left > 0:
            self._left -= 1
            return np.full((4, 4, 3), self._left, np.uint8), {}
        if isinstance(self._then, CameraError):
            raise self._then
        if self._then is not None:
            self._closed.wait(self._then)
        return None


def test_pictures_come_one_by_one_until_there_are_no_more() -> None:
    found = OneByOne(lambda: Pictures(2))
    assert found.status == "starting"
    assert [f.index for f in (found.read(), found.read()) if f is not None] == [0, 1]
    assert found.status == "live"
    assert found.read() is None
    assert found.read() is None
    assert found.status == "ended"
    found.close()


def test_a_folder_that_is_missing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def opener() -> Source:
        tries.append(1)
        if len(tries) == 1:
            raise CameraError("the stick is out", "missing")
        return Pictures(1)

    found = OneByOne(opener)
    assert found.read() is None
    assert (found.status, found.message) == ("gone", "the stick is out")
    assert found.read() is None
    assert len(tries) == 1, "not at once"
    monkeypatch.setattr(found, "_again_s", 0.0)
    assert found.read() is not None
    assert (found.status, found.message) == ("live", "")
    found.close()


def test_the_newest_is_read_without_a_wait_and_silence_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "STALE_S", 0.3)
    found = Newest(lambda: Pictures(3, then=60.0))
    try:
        frame: Frame = until(found.read)
        assert found.status == "live"
        assert frame.pixels.shape == (4, 4, 3)
        started = time.monotonic()
        while found.read() is not None:
            pass
        assert time.monotonic() - started < 0.2
        until(lambda: (found.read(), found.status == "waiting")[1])
        assert "silent" in found.message
    finally:
        found.close()


def test_a_camera_that_is_gone_says_why_and_one_of_a_wrong_kind_too() -> None:
    for fault in ("vanished", "format"):
        error = CameraError("not that camera", fault)  # type: ignore[arg-type]
        found = Newest(lambda error=error: Pictures(0, then=error))  # type: ignore[misc]
        try:
            until(lambda found=found: (found.read(), found.status == "gone")[1])  # type: ignore[misc]
            assert "not that camera" in found.message
        finally:
            found.close()


def test_a_frame_from_before_a_pause_is_not_what_the_camera_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Newest(lambda: Pictures(1, then=60.0))
    try:
        until(lambda: found._frames.counts.taken == 1)
        old = found._frames._frame
        assert old is not None
        aged = replace(old, taken_s=old.taken_s - feed.STALE_S - 1)
        monkeypatch.setattr(found._frames, "_frame", aged)
        assert found.read() is None
    finally:
        found.close()
