"""The newest frame only, through cameras that vanish, hang, lie and end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_sdk.camera.base import Source
from edge_sdk.camera.latest import Counts, LatestFrames
from edge_sdk.errors import CameraError, UsageError

FAST = (0.001, 0.004)
PICTURE = np.zeros((4, 6, 3), np.uint8)


class Scripted(Source):
    """Does what each step of its script says: a number is a frame with that in its metadata, a
    float a pause, an error is raised, an event is waited for. Ends with the script."""

    name = "simulated"

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = list(steps)
        self.released = 0

    def _grab(self) -> tuple[Any, dict[str, Any]] | None:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, threading.Event):
                step.wait(30)
            elif isinstance(step, float):
                self._closed.wait(step)
            else:
                return PICTURE, {"step": step}
        return None

    def _release(self) -> None:
        self.released += 1


def openers(*made: Source | CameraError) -> Callable[[], Source]:
    """Gives each in turn, raising what is an error; then the last again."""
    left = list(made)

    def make() -> Source:
        item = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(item, CameraError):
            raise item
        return item

    return make


@pytest.fixture
def latest() -> Iterator[Callable[..., LatestFrames]]:
    opened: list[LatestFrames] = []

    def make(*cameras: Source | CameraError, **options: Any) -> LatestFrames:
        options = {"backoff_s": FAST, "timeout_s": 10.0, **options}
        opened.append(LatestFrames(openers(*cameras), **options))
        return opened[-1]

    yield make
    for frames in opened:
        frames.close()
    assert not any(f._thread.is_alive() for f in opened)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_only_the_newest_frame_is_kept_and_the_others_are_counted(latest: Any) -> None:
    gate, end = threading.Event(), threading.Event()
    frames = latest(Scripted(1, gate, 2, 3, 4, end))
    assert frames.read().metadata == {"step": 1}
    gate.set()
    until(lambda: frames.counts.taken == 4)
    newest = frames.read()
    assert (newest.metadata["step"], newest.index) == (4, 3)
    assert frames.counts == Counts(taken=4, dropped=2)
    end.set()
    assert frames.read() is None


def test_a_source_that_ends_ends_the_frames(latest: Any) -> None:
    camera = Scripted(1, 0.05, 2, 0.05, 3)
    assert [f.metadata["step"] for f in latest(camera)][-1] == 3
    assert camera.released


def test_it_reconnects_and_numbers_on(latest: Any) -> None:
    gone = CameraError("unplugged")
    missing = CameraError("no such device", "missing")
    busy = CameraError("in use", "busy")
    first, second = Scripted(1, 0.05, gone), Scripted(2, 0.05, 3)
    frames = latest(first, missing, busy, second)
    seen = [(f.index, f.metadata["step"]) for f in frames]
    assert seen[0] == (0, 1)
    assert seen[-1] == (2, 3)
    assert frames.counts.reconnects == 1
    assert frames.counts.failures == 3
    assert first.released  # what vanished was let go of before the next was opened


def test_the_waits_grow_and_are_bounded() -> None:
    tries: list[float] = []

    def opener() -> Source:
        tries.append(time.monotonic())
        raise CameraError("no such device", "missing")

    with LatestFrames(opener, backoff_s=(0.02, 0.08)):
        until(lambda: len(tries) >= 6)
    gaps = np.diff(tries)
    assert all(g >= w for g, w in zip(gaps, (0.02, 0.04, 0.08, 0.08, 0.08), strict=False))
    assert len(tries) < 50


def test_no_frame_in_time_is_an_error_that_says_why_and_reading_goes_on(latest: Any) -> None:
    frames = latest(CameraError("there is no camera 0", "missing"))
    until(lambda: frames.counts.failures > 0)
    with pytest.raises(CameraError, match=r"no frame .* for \d\.\d s; it is tried again: there"):
        frames.read(timeout_s=0.05)
    with pytest.raises(CameraError) as e:
        frames.read(timeout_s=0.01)
    assert e.value.fault == "missing"


def test_a_camera_that_hangs_holds_nobody_up(latest: Any) -> None:
    gate = threading.Event()
    frames = latest(Scripted(1, gate, 2), timeout_s=0.05)
    assert frames.read(timeout_s=10) is not None
    start = time.monotonic()
    with pytest.raises(CameraError, match=r"for \d+\.\d s: it is open and silent"):
        frames.read()
    assert time.monotonic() - start < 5
    gate.set()
    assert frames.read(timeout_s=10).metadata == {"step": 2}


def test_closing_while_it_hangs_returns_and_lets_go_later(
    latest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_sdk.camera.base.CLOSE_S", 0.05)
    monkeypatch.setattr("edge_sdk.camera.latest.CLOSE_S", 0.05)
    gate = threading.Event()
    camera = Scripted(1, gate, 2)
    frames = latest(camera)
    frames.read()
    start = time.monotonic()
    frames.close()
    assert time.monotonic() - start < 2
    assert not camera.released
    gate.set()
    until(lambda: camera.released > 0)
    assert frames.read() is None


def test_a_wrong_format_is_not_tried_again(latest: Any) -> None:
    wrong = CameraError("gives RAW10", "format")
    frames = latest(wrong)
    with pytest.raises(CameraError, match="gives RAW10"):
        frames.read()
    assert frames.counts.failures == 1
    with pytest.raises(CameraError, match="gives RAW10"):
        frames.read()


def test_other_errors_of_the_thread_reach_the_reader(latest: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        latest(Scripted(ZeroDivisionError())).read()


def test_it_gives_up_where_it_is_told_to(latest: Any) -> None:
    frames = latest(CameraError("none", "missing"), give_up_s=0.02)
    with pytest.raises(CameraError, match=r"^none$"):
        frames.read()


def test_closing_ends_a_read_that_waits(latest: Any) -> None:
    frames = latest(Scripted(60.0, 1))
    threading.Timer(0.05, frames.close).start()
    assert frames.read(timeout_s=20) is None
    frames.close()


@pytest.mark.parametrize(
    "options", [{"timeout_s": 0}, {"backoff_s": (0.0, 1.0)}, {"backoff_s": (2.0, 1.0)}]
)
def test_times_that_make_no_sense_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        LatestFrames(openers(Scripted()), **options)


def test_the_clock_that_jumps_back_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    walls = iter([1e9, 0.0, -5.0] + [0.0] * 50)
    monkeypatch.setattr(time, "time", lambda: next(walls))
    frames = list(Scripted(1, 2, 3))
    assert [f.wall_s for f in frames] == [1e9, 0.0, -5.0]
    assert frames[0].taken_s <= frames[1].taken_s <= frames[2].taken_s


SERVICE = """
import signal, sys
from edge_sdk.camera import open_camera
from edge_sdk.camera.latest import LatestFrames
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
opener = lambda: open_camera("simulated", size=(64, 48), cells=1, diameter=16.0, rate=100)
with LatestFrames(opener) as frames:
    for frame in frames:
        if frame.index < 3:
            print("frame", flush=True)
"""


def test_sigterm_ends_a_service_cleanly_and_soon() -> None:
    code = [sys.executable, "-W", "error", "-c", SERVICE]
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "frame\n"
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=20)
    assert (child.returncode, said) == (0, "")


def test_what_hung_while_it_was_closed_is_let_go_of_when_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_sdk.camera.base.CLOSE_S", 0.05)
    gate = threading.Event()
    camera = Scripted(gate, 1)
    thread = threading.Thread(target=lambda: list(camera))
    thread.start()
    until(lambda: not camera.steps[1:])
    camera.close()
    assert not camera.released
    gate.set()
    thread.join(10)
    assert camera.released
