"""kill -9 at every step of a session: nothing committed is lost, nothing counted twice."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from screening_sessions import Clock, made, run_through, settings

from edge_sdk.errors import EdgeError
from edge_sdk.ondevice import disk
from edge_sdk.screening.store import Store, create

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
# For the long run: EDGE_SDK_KILLS=500 EDGE_SDK_KILL_STRIDE=1.
KILLS = int(os.environ.get("EDGE_SDK_KILLS", "20"))
STRIDE = int(os.environ.get("EDGE_SDK_KILL_STRIDE", "6"))


def whole_session(root: Path) -> None:
    """Makes a session where it is not there yet, and does all that is left to do in it."""
    folder = root / settings().session
    if not folder.exists():
        create(folder, settings())
    run_through(folder)
    with Store(folder, write=True, clock=Clock()) as store:
        if store.state == "review":
            for cell in store.cells():
                store.set_verdict(cell.number, "confirmed", "op-2")
            store.act("report", "op-2", {})


def in_child(work: Callable[[], None]) -> int:
    """Runs it in a process of its own and gives its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def killed_at(step: int) -> Callable[[str, Path], None]:
    left = step

    def count(name: str, path: Path) -> None:
        nonlocal left
        del name, path
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def facts(folder: Path) -> tuple[object, ...]:
    """What has to come out alike, however often the session was cut short."""
    with Store(folder, write=False) as store:
        fields = [
            (f.number, f.accepted, f.cells, f.flagged, f.image_sha256) for f in store.fields()
        ]
        cells = [(c.number, c.field, c.box, c.probability, c.verdict) for c in store.cells()]
        assert store.problems() == ()
        return store.state, store.counts(), fields, cells


def steps_of(work: Callable[[], None]) -> int:
    seen = []
    disk.before = lambda name, path: seen.append((name, path))
    try:
        work()
    finally:
        disk.before = disk._nothing
    return len(seen)


def committed(folder: Path) -> int:
    if not folder.exists():
        return 0
    with Store(folder, write=False) as store:
        return len(store.fields())


def test_a_session_killed_at_any_step_goes_on_and_ends_alike(tmp_path: Path) -> None:
    steps = steps_of(lambda: whole_session(tmp_path / "whole"))
    expected = facts(tmp_path / "whole" / settings().session)
    assert expected[1] == (4, 600)
    assert steps > 70
    for step in range(1, steps + 1, STRIDE):
        root = tmp_path / f"killed-{step}"

        def dies(root: Path = root, step: int = step) -> None:
            disk.before = killed_at(step)
            whole_session(root)

        _, status = os.waitpid(in_child(dies), 0)
        assert os.WIFSIGNALED(status), f"step {step} was never reached"
        folder = root / settings().session
        if folder.exists():
            with Store(folder, write=False) as store:
                assert store.problems() == (), f"after step {step}"
        whole_session(root)
        assert facts(folder) == expected, f"after step {step}"
        with Store(folder, write=False) as store:
            left = {p.name for p in (folder / "images").iterdir()}
            assert left == {Path(f.image).name for f in store.fields() if f.image}


def test_kills_at_random_moments_lose_no_committed_field(tmp_path: Path) -> None:
    """Also within SQLite's own writing, where no step of ours is."""
    dice, kills, number = random.Random(7), 0, 0
    whole_session(tmp_path / "whole")
    expected = facts(tmp_path / "whole" / settings().session)
    while kills < KILLS:
        root, before = tmp_path / f"run-{number}", 0
        number += 1
        while True:
            child = in_child(lambda root=root: whole_session(root))  # type: ignore[misc]
            time.sleep(dice.uniform(0.0, 0.08))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            kills += os.WIFSIGNALED(status)
            there = committed(root / settings().session)
            assert there >= before, "a committed field is gone"
            before = there
            if not os.WIFSIGNALED(status) or kills >= KILLS:
                break
        whole_session(root)
        assert facts(root / settings().session) == expected


def test_a_kill_in_the_middle_of_a_purge_is_finished_by_the_next(tmp_path: Path) -> None:
    def purge(root: Path) -> None:
        with Store(root / settings().session, write=True, clock=Clock()) as store:
            store.purge("op-1")

    whole_session(tmp_path / "whole")
    steps = steps_of(lambda: purge(tmp_path / "whole"))
    for step in range(1, steps + 1, STRIDE):
        root = tmp_path / f"killed-{step}"
        whole_session(root)

        def dies(root: Path = root, step: int = step) -> None:
            disk.before = killed_at(step)
            purge(root)

        os.waitpid(in_child(dies), 0)
        purge(root)
        folder = root / settings().session
        with Store(folder, write=False) as store:
            assert store.state == "purged"
            assert store.problems() == ()
            assert [e.event for e in store.entries()].count("purge") == 1
        assert [p.name for p in folder.iterdir() if not p.name.startswith("session.db")] == []


def test_a_full_disk_at_any_step_loses_nothing_and_says_so(tmp_path: Path) -> None:
    run_through(made(tmp_path, session="WHOLE"), end=False)
    expected = facts(tmp_path / "WHOLE")
    counted = made(tmp_path, session="COUNT")
    steps = steps_of(lambda: run_through(counted, end=False))
    for step in range(1, steps, 4):
        folder = made(tmp_path, session=f"FULL-{step}")
        left = step

        def full(name: str, path: Path) -> None:
            nonlocal left
            left -= 1
            if left <= 0 and name != "sql done":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))

        disk.before = full
        try:
            with pytest.raises(EdgeError, match="disk is full") as caught:
                run_through(folder, end=False)
        finally:
            disk.before = disk._nothing
        assert "Everything before it is safe" in str(caught.value)
        with Store(folder, write=False) as store:
            assert store.problems() == ()
        run_through(folder, end=False)
        assert facts(folder)[1:] == expected[1:]
