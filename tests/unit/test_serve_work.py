"""The thread that works with the open slide: previews, commands, disks and cameras that fail."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.camera import CameraError
from edge_sdk.camera.base import Source
from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.ondevice import disk
from edge_sdk.screening.database import InUseError
from edge_sdk.screening.drawn_slide import DrawnSlide
from edge_sdk.screening.gates import Gates
from edge_sdk.screening.reader import FieldReader, pixels_hash
from edge_sdk.screening.session import begin, capture
from edge_sdk.screening.store import Store
from edge_sdk.serve import new_slide, open_slide
from edge_sdk.serve import work as works
from edge_sdk.serve.open_slide import ConflictError, OpenSlide
from edge_sdk.serve.work import BusyError, FaultError, Work

pytest.importorskip("cv2")
pytest.importorskip("starlette")

from screening_sessions import made
from serve_slides import DRAWN, body, serve_settings, until


@pytest.fixture
def start(tmp_path: Path, models: Path) -> Iterator[Callable[..., Work]]:
    settings = serve_settings(models, tmp_path)
    opened: list[Work] = []

    def begun(**changes: Any) -> Work:
        opened.append(Work(replace(settings, **changes)))
        return opened[-1]

    yield begun
    for work in opened:
        work.close()
        assert not work._thread.is_alive()


def done(future: Future[Any]) -> Any:
    return future.result(30)


def new(work: Work, **changes: Any) -> str:
    slide: str = done(work.new_slide(body(**changes)))[0]
    return slide


def live(work: Work, slide: str) -> dict[str, Any]:
    """The picture on the screen, once there is one."""

    def found() -> Any:
        snapshot = work.poll(slide)
        return snapshot and snapshot.state["live"]

    if work.poll(slide) is None:
        done(work.with_slide(slide, OpenSlide.snapshot))
    shown: dict[str, Any] = until(found)
    return shown


def take(work: Work, slide: str, number: int) -> None:
    done(work.with_slide(slide, lambda s: s.take(number)))


def fields(work: Work, slide: str) -> list[Any]:
    with Store(work.settings.sessions / slide, write=False) as store:
        return [(f.accepted, f.cells, f.flagged, f.gates, f.image_sha256) for f in store.fields()]


def test_a_slide_counted_here_is_the_one_that_capture_counts(start: Any) -> None:
    """To the digit: looking at a picture before it is taken leaves no trace."""
    work = start(camera_options={**DRAWN, "blurred": 0.3, "repeated": 0.2})
    slide = new(work, target=200)
    for _ in range(30):
        state = work.poll(slide)
        if state is not None and state.state["ready_to_finish"]:
            break
        take(work, slide, live(work, slide)["number"])
    else:
        pytest.fail("no end of fields")
    work.close()
    other = done((again := start(camera_options=work.settings.camera_options)).new_slide(
        body(target=200)))[0]  # fmt: skip
    again.close()
    settings = work.settings
    with Store(settings.sessions / other, write=True) as store:
        s = store.settings
        with FieldReader(s, backend="fake") as reader:
            begin(store, reader, "op", gates := Gates())
            camera = DrawnSlide(
                parasitaemia=0.01, seed=5, **{**settings.camera_options}
            )  # fmt: skip
            list(capture(store, camera, reader, gates, "op"))
    found = fields(work, slide)
    assert found == fields(work, other)
    assert {accepted for accepted, *_ in found} == {True, False}


def test_nothing_is_segmented_twice_and_a_preview_is_not_remembered(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented: list[str] = []
    real = FieldReader.segment

    def counted(self: FieldReader, pixels: Any) -> Any:
        segmented.append(pixels_hash(pixels))
        return real(self, pixels)

    monkeypatch.setattr(FieldReader, "segment", counted)
    work = start()
    slide = new(work)
    shown = live(work, slide)
    gates = done(work.with_slide(slide, lambda s: (s._gates.sharpest, len(s._gates._taken))))
    assert gates == (0.0, 0)
    assert shown["green"]
    take(work, slide, shown["number"])
    until(lambda: live(work, slide)["number"] != shown["number"])
    assert len(segmented) == len(set(segmented)) > 1
    assert done(work.with_slide(slide, lambda s: len(s._gates._taken))) == 1


def test_a_picture_is_counted_once_and_only_while_it_is_on_the_screen(start: Any) -> None:
    work = start()
    slide = new(work)
    shown = live(work, slide)
    take(work, slide, shown["number"])
    for number in (shown["number"], shown["number"] + 1000, 0, -1):
        with pytest.raises(ConflictError, match="no longer"):
            take(work, slide, number)
    assert len(fields(work, slide)) == 1
    snapshot = work.poll(slide)
    assert snapshot is not None
    assert snapshot.state["last"]["field"] == 1


def test_whoever_has_an_answer_sees_what_it_did(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = start()
    slide = new(work)
    number = live(work, slide)["number"]
    real = OpenSlide.snapshot

    def slow(self: OpenSlide) -> Any:
        threading.Event().wait(0.3)
        return real(self)

    monkeypatch.setattr(OpenSlide, "snapshot", slow)
    take(work, slide, number)
    assert work.poll(slide).state["counts"]["fields_accepted"] == 1


def test_numbers_of_another_run_are_nobodys(start: Any) -> None:
    first = start()
    slide = new(first)
    number = live(first, slide)["number"]
    first.close()
    second = start()
    live(second, slide)
    with pytest.raises(ConflictError):
        take(second, slide, number)
    assert fields(second, slide) == []


def test_a_skipped_picture_is_not_counted_and_the_next_one_comes(start: Any) -> None:
    work = start()
    slide = new(work)
    first = live(work, slide)["number"]
    done(work.with_slide(slide, lambda s: s.skip(first)))
    assert live(work, slide)["number"] != first
    with pytest.raises(ConflictError):
        done(work.with_slide(slide, lambda s: s.skip(first)))
    assert fields(work, slide) == []


def test_automatic_takes_green_pictures_alone_and_stops_at_the_target(start: Any) -> None:
    work = start(camera_options={**DRAWN, "blurred": 0.4})
    slide = new(work, target=150)
    done(work.with_slide(slide, lambda s: s.set_automatic(True)))
    state = until(lambda: (s := work.poll(slide)) and s.state["ready_to_finish"] and s.state)
    assert all(accepted for accepted, *_ in fields(work, slide))
    assert not state["automatic"]
    assert state["live"] is None
    assert state["camera"]["status"] == "ended"
    with pytest.raises(ConflictError, match="finish"):
        done(work.with_slide(slide, lambda s: s.set_automatic(True)))


def test_nobody_watching_nothing_is_looked_at_and_the_slide_is_closed(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(OpenSlide, "look", lambda _: looked.append(1) or 0.1)
    work = start()
    slide = new(work)
    done(work.with_slide(slide, lambda s: s.set_automatic(True)))
    until(lambda: looked)
    monkeypatch.setattr(works, "WATCHED_S", 0.0)
    done(work.with_slide(slide, OpenSlide.snapshot))
    threading.Event().wait(0.3)
    looked.clear()
    threading.Event().wait(0.7)
    assert looked == []
    monkeypatch.setattr(works, "IDLE_S", 0.0)
    until(lambda: work.snapshot is None)
    with Store(work.settings.sessions / slide, write=True) as store:
        assert store.state == "capturing"


def test_after_a_restart_what_was_taken_is_passed_over(start: Any) -> None:
    """A drawn slide goes on after as many pictures as are stored; one was skipped before."""
    first = start()
    slide = new(first, target=500)
    take(first, slide, live(first, slide)["number"])
    skipped = live(first, slide)["number"]
    done(first.with_slide(slide, lambda s: s.skip(skipped)))
    take(first, slide, live(first, slide)["number"])
    first.close()
    second = start()
    shown = live(second, slide)
    assert shown["green"]
    take(second, slide, shown["number"])
    assert len({digest for *_, digest in fields(second, slide)}) == 3


def test_a_full_disk_keeps_the_picture_on_the_screen_and_is_said(start: Any) -> None:
    work = start()
    slide = new(work)
    number = live(work, slide)["number"]

    def full(name: str, path: Path) -> None:
        if name == "sql begin":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    disk.before = full
    try:
        with pytest.raises(EdgeError, match="disk is full"):
            take(work, slide, number)
        snapshot = until(lambda: (s := work.poll(slide)) and s.state["error"] and s)
        assert "disk is full" in snapshot.state["error"]
        assert snapshot.state["live"]["number"] == number
        # Not known as taken: it would be refused as taken before when it is taken again.
        assert done(work.with_slide(slide, lambda s: len(s._gates._taken))) == 0
    finally:
        disk.before = disk._nothing
    take(work, slide, number)
    assert len(fields(work, slide)) == 1
    assert until(lambda: work.poll(slide)).state["error"] is None


def test_finish_is_said_with_the_count_and_done_once(start: Any) -> None:
    work = start()
    slide = new(work)
    take(work, slide, live(work, slide)["number"])
    counted = work.poll(slide).state["counts"]["counted"]
    with pytest.raises(ConflictError, match="look again"):
        done(work.with_slide(slide, lambda s: s.finish(counted + 1)))
    for _ in range(2):
        done(work.with_slide(slide, lambda s: s.finish(counted)))
    with Store(work.settings.sessions / slide, write=False) as store:
        assert store.state == "review"
        assert [e.event for e in store.entries()].count("finish") == 1
    assert work.poll(slide).state["statement"].startswith("insufficient")
    with pytest.raises(ConflictError, match="'review'"):
        done(work.with_slide(slide, lambda s: s.set_automatic(True)))


def test_the_same_request_makes_one_slide_also_after_a_kill_in_between(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = body()

    def killed(*_: Any, **__: Any) -> Path:
        raise RuntimeError("killed before the slide was made")

    work = start()
    with monkeypatch.context() as patch:
        patch.setattr(new_slide, "new_session", killed)
        with pytest.raises(FaultError):
            done(work.new_slide(asked))
    promised = next((work.settings.sessions / new_slide.REQUESTS).iterdir()).read_text()
    assert done(work.new_slide(asked)) == (promised, True)
    assert done(work.new_slide(asked)) == (promised, False)
    work.close()
    assert done(start().new_slide(asked)) == (promised, False)
    assert done(start().new_slide(body()))[0] != promised


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": "folder", "camera_options": {"path": "/etc"}}, "must be of type int"),
        ({"camera": "folder"}, "must be one of"),
        ({"camera_options": {"path": "/etc"}}, "slide.camera_options.path"),
        ({"camera_options": {"path": 3}}, "only the seed"),
        ({"camera_options": {"fields": 3}}, "only the seed"),
        ({"camera_options": {"seed": -1}}, "seed must be"),
        ({"camera_options": {"seed": True}}, "must be of type int"),
        ({"parasitaemia": 101}, "parasitaemia 101 must be"),
        ({"parasitaemia": float("nan")}, "parasitaemia"),
        ({"operator": " "}, "operator ' ' must be"),
        ({"operator": "a\nb"}, "operator"),
        ({"target": 0}, "target 0 must be"),
        ({"target": "9"}, "must be of type int"),
        ({"diameter": -1}, "diameter -1 must be"),
        ({"haematocrit": 0.4}, "haematocrit 0.4 must be"),
        ({"language": "xx"}, "unknown language"),
        ({"request": "../../x"}, "UUID"),
        ({"model": "/etc"}, "unknown key 'model'"),
        ({"session": "X"}, "unknown key 'session'"),
    ],
)
def test_what_a_page_may_not_say_of_a_new_slide(
    start: Any, changes: dict[str, Any], message: str
) -> None:
    work = start()
    with pytest.raises(UsageError, match=message):
        done(work.new_slide(body(**changes)))
    assert [p for p in work.settings.sessions.iterdir() if not p.name.startswith(".")] == []


def test_a_slide_that_another_program_holds_is_refused_by_name(start: Any) -> None:
    work = start()
    slide = new(work)
    with (
        Store(work.settings.sessions / slide, write=True),
        pytest.raises(InUseError, match="in use by another program"),
    ):
        done(work.with_slide(slide, OpenSlide.snapshot))
    live(work, slide)


def test_one_slide_is_open_at_a_time(start: Any) -> None:
    work = start()
    one, other = new(work), new(work)
    live(work, one)
    with pytest.raises(ConflictError, match=one):
        done(work.with_slide(other, OpenSlide.snapshot, polite=True))
    done(work.with_slide(other, OpenSlide.snapshot))
    assert work.poll(one) is None
    with Store(work.settings.sessions / one, write=True) as store:
        assert store.state == "capturing"


def test_what_was_counted_is_there_when_the_program_is_gone_without_a_word(start: Any) -> None:
    """As after a kill: nothing was closed; the lock goes with its process."""
    first = start()
    slide = new(first, target=200)
    for _ in range(2):
        take(first, slide, live(first, slide)["number"])
    before = fields(first, slide)
    done(first.do(lambda: first._slide.store._unlock()))  # type: ignore[union-attr]
    second = start()
    shown = live(second, slide)
    state = second.poll(slide).state
    assert state["counts"]["fields_accepted"] == 2
    take(second, slide, shown["number"])
    assert fields(second, slide)[:2] == before
    assert len(fields(second, slide)) == 3


def test_a_fault_of_the_program_is_in_the_log_and_the_thread_goes_on(
    start: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    work = start()
    slide = new(work)

    def broken(_: OpenSlide) -> None:
        raise ZeroDivisionError("secret words")

    with pytest.raises(FaultError) as caught:
        done(work.with_slide(slide, broken))
    assert "secret" not in str(caught.value)
    assert "secret words" in capsys.readouterr().err
    assert "ZeroDivisionError" in until(lambda: work.poll(slide)).state["error"]
    assert live(work, slide)["green"]


def test_too_many_at_once_and_after_the_end_are_told_so(start: Any) -> None:
    work = start()
    gate = threading.Event()
    work.do(gate.wait)
    asked = [work.do(lambda: 1) for _ in range(works.AT_ONCE + 5)]
    gate.set()
    answers = [f.exception(10) for f in asked]
    assert sum(isinstance(a, BusyError) for a in answers) >= 3
    assert sum(a is None for a in answers) >= works.AT_ONCE - 1
    work.close()
    with pytest.raises(BusyError, match="ending"):
        done(work.do(lambda: 1))


class Vanishing(Source):
    """A camera that runs by itself: gone after `frames` pictures."""

    name = "v4l2"
    opened = 0

    def __init__(self, frames: int) -> None:
        super().__init__()
        type(self).opened += 1
        self._left = frames
        self._slide = iter(DrawnSlide(seed=5, first=10 * self.opened, **DRAWN))  # type: ignore[arg-type]

    def _grab(self) -> Any:
        if self._left == 0:
            raise CameraError("the cable is out")
        self._left -= 1
        self._pace(5.0)
        return next(self._slide).pixels, {}


@pytest.fixture
def real(start: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, list[int]]:
    """A camera of its own; as many frames as the list says, each time it is opened."""
    lives = [2]

    def opened(*_: Any) -> Source:
        if not lives:
            raise CameraError("no such device", "missing")
        return Vanishing(lives.pop(0))

    monkeypatch.setattr(open_slide, "open_session_camera", opened)
    monkeypatch.setattr(open_slide, "WAITING", ())
    monkeypatch.setattr(open_slide, "EVERY_S", 0.05)
    return start(), lives


def test_a_camera_that_vanishes_is_said_and_comes_back(real: Any) -> None:
    work, lives = real
    slide = new(work)
    shown = live(work, slide)
    gone = until(
        lambda: (s := work.poll(slide)) and s.state["camera"]["status"] == "gone" and s.state
    )
    assert "no such device" in gone["camera"]["message"] or "cable" in gone["camera"]["message"]
    assert gone["error"] is None
    # What was seen can still be taken: just these pixels.
    take(work, slide, gone["live"]["number"])
    assert len(fields(work, slide)) == 1
    lives.append(1000)
    back = until(
        lambda: (s := work.poll(slide)) and s.state["camera"]["status"] == "live"
        and s.state["live"] and s.state
    )  # fmt: skip
    assert back["live"]["number"] > shown["number"]


def test_a_picture_of_a_moment_ago_can_be_taken_until_one_was(real: Any) -> None:
    work, lives = real
    lives[:] = [1000]
    slide = new(work, target=5000)
    first = live(work, slide)["number"]
    numbers = until(lambda: (s := work.poll(slide)) and len(s.pictures) == 3 and list(s.pictures))
    assert first <= numbers[0]
    with pytest.raises(ConflictError, match="only pictures of a folder"):
        done(work.with_slide(slide, lambda s: s.skip(numbers[-1])))

    def oldest(s: OpenSlide) -> list[int]:
        kept = [p.number for p in s._previews]
        s.take(kept[0])
        return kept

    kept = done(work.with_slide(slide, oldest))
    for number in kept:
        with pytest.raises(ConflictError):
            take(work, slide, number)
    # The same part of the slide again: judged anew, and refused by its gate.
    again = done(work.with_slide(slide, lambda s: s._gates._taken))
    assert len(again) == 1


def test_a_picture_that_is_none_is_a_red_light(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blank(Source):
        name = "folder"

        def _grab(self) -> Any:
            return np.zeros((8, 8, 3), np.uint8), {}

    monkeypatch.setattr(open_slide, "open_session_camera", lambda *_: Blank())
    work = start()
    slide = new(work)
    shown = live(work, slide)
    assert not shown["green"]
    assert "fail" in [light["verdict"] for light in shown["lights"]]
    take(work, slide, shown["number"])
    assert work.poll(slide).state["last"]["accepted"] is False


def test_the_list_has_the_slides_that_were_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        folder = made(tmp_path, session=f"AAAA-{i}", created=f"2026-03-0{i + 1}T10:00:00+00:00")
        for file in folder.glob("session.db*"):
            os.utime(file, (i, i))
    (tmp_path / "AAAA-3" / "session.db").write_bytes(b"SQLite format 3\0 damaged")
    os.utime(tmp_path / "AAAA-3" / "session.db", (9, 9))
    (tmp_path / "EMPTY").mkdir()
    monkeypatch.setattr(new_slide, "LISTED", 3)
    found, unreadable = new_slide.slide_list(tmp_path)
    assert [s["session"] for s in found] == ["AAAA-2", "AAAA-1"]
    assert [s["session"] for s in unreadable] == ["AAAA-3"]
    assert new_slide.slide_list(tmp_path / "nothing") == ([], [])
