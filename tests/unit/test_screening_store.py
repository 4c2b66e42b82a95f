from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from screening_sessions import Clock, StubGates, StubReader, frames, made, run_through, settings

from edge_sdk.errors import DataError, UsageError
from edge_sdk.screening.identity import seal, unseal
from edge_sdk.screening.session import begin, capture
from edge_sdk.screening.store import Store, create


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A session whose counting has ended."""
    made_here = made(tmp_path)
    run_through(made_here)
    return made_here


def change(folder: Path, *queries: str) -> None:
    """As somebody would who opens the database with a tool of their own."""
    with closing(sqlite3.connect(folder / "session.db")) as db:
        for query in queries:
            db.execute(query)
        db.commit()


def problems(folder: Path) -> str:
    with Store(folder, write=False) as store:
        return "\n".join(store.problems())


def test_what_was_stored_is_there_again(folder: Path) -> None:
    with Store(folder, write=False) as store:
        assert store.settings == settings()
        assert store.state == "review"
        assert store.counts() == (4, 600)
        assert [f.accepted for f in store.fields()] == [True, True, False, True, True, True]
        assert store.fields()[2].gates[0].instruction == "Focus."
        assert store.fields()[2].image is None
        assert [c.field for c in store.cells()] == [2, 5, 6, 6]
        assert store.problems() == ()


def test_the_database_waits_for_the_disk(folder: Path) -> None:
    with Store(folder, write=True) as store:
        assert store._rows("PRAGMA journal_mode") == [("wal",)]
        assert store._rows("PRAGMA synchronous") == [(2,)]  # FULL


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("UPDATE fields SET flagged = 0 WHERE number = 2", "field 2: flagged not as logged"),
        ("UPDATE fields SET cells = 900 WHERE number = 1", "field 1: cells not as logged"),
        ("UPDATE fields SET accepted = 1 WHERE number = 3", "field 3: accepted not as logged"),
        ("UPDATE fields SET taken = 'x' WHERE number = 1", "field 1: taken not as logged"),
        ("UPDATE cells SET probability = 0.1 WHERE number = 1", "cells_sha256 not as logged"),
        ("DELETE FROM cells WHERE number = 2", "cells_sha256 not as logged"),
        ("UPDATE cells SET verdict = 'rejected' WHERE number = 1", "cell 1: its verdict is"),
        ("UPDATE session SET state = 'reported'", "the state is 'reported'"),
        ("UPDATE session SET settings = replace(settings, '\"target\":600', '\"target\":60')",
         "settings are not those"),
        ("UPDATE session SET audit_entries = 3", "entries, 3 were written"),
        ("UPDATE session SET audit_head = 'x'", "last hash"),
    ],
)  # fmt: skip
def test_a_changed_row_is_found(folder: Path, query: str, found: str) -> None:
    change(folder, query)
    assert found in problems(folder)


def test_a_removed_field_is_found(folder: Path) -> None:
    change(folder, "DELETE FROM cells WHERE field = 2", "DELETE FROM fields WHERE number = 2")
    assert "field 2 was logged, its row is missing" in problems(folder)


def test_the_audit_log_cannot_be_changed_by_the_way(folder: Path) -> None:
    for query in ("UPDATE audit SET event = 'x'", "DELETE FROM audit WHERE seq = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            change(folder, query)


def test_a_changed_audit_entry_is_found(folder: Path) -> None:
    change(
        folder,
        "DROP TRIGGER audit_unchanged",
        "UPDATE audit SET details = replace(details, '\"flagged\":1', '\"flagged\":0')",
    )
    assert "was changed: its hash does not fit" in problems(folder)


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_picture_that_is_not_the_one_is_found(folder: Path, what: str) -> None:
    image = folder / "images" / "000002.png"
    if what == "changed":
        data = bytearray(image.read_bytes())
        data[-1] ^= 1
        image.write_bytes(data)
        assert "field 2: images/000002.png was changed" in problems(folder)
    else:
        image.unlink()
        assert "field 2: images/000002.png cannot be read" in problems(folder)


def test_one_program_at_a_time_writes_a_session(folder: Path) -> None:
    with Store(folder, write=True):
        with pytest.raises(UsageError, match="is in use by another program"):
            Store(folder, write=True)
        with Store(folder, write=False) as reader:
            assert reader.state == "review"
    with Store(folder, write=True) as again:
        assert again.state == "review"


def test_what_is_open_for_reading_is_not_written(folder: Path) -> None:
    with Store(folder, write=False) as store, pytest.raises(UsageError, match="reading only"):
        store.set_verdict(1, "confirmed", "op")


def test_a_clock_that_goes_back_is_logged_and_harms_nothing(tmp_path: Path) -> None:
    folder, clock, reader = made(tmp_path), Clock(), StubReader()
    with Store(folder, write=True, clock=clock) as store:
        begin(store, reader, "op", StubGates())  # type: ignore[arg-type]
        for step in capture(store, frames(), reader, StubGates(), "op"):  # type: ignore[arg-type]
            if step.field.number == 2:
                clock.now -= timedelta(days=400)
        assert store.counts() == (4, 600)
        assert [f.number for f in store.fields()] == [1, 2, 3, 4, 5, 6]
        back = [e.seq for e in store.entries() if "clock_went_back_from" in e.details]
        assert len(back) == 1
        assert store.problems() == ()


def test_a_session_of_a_newer_version_is_left_alone(folder: Path) -> None:
    change(folder, "PRAGMA user_version = 2")
    with pytest.raises(DataError, match="newer version"):
        Store(folder, write=True)
    with pytest.raises(DataError, match="newer version"):  # and its lock was let go of
        Store(folder, write=True)


@pytest.mark.parametrize("data", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_session_is_an_error(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "BAD"
    folder.mkdir()
    (folder / "session.db").write_bytes(data)
    with pytest.raises(DataError, match=r"no session|cannot be read"):
        Store(folder, write=False)


def test_a_torn_database_is_an_error(folder: Path) -> None:
    file = folder / "session.db"
    data = bytearray(file.read_bytes())
    data[4096:12288] = os.urandom(8192)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        Store(folder, write=False).problems()


def test_a_folder_without_a_session_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no session\.db"):
        Store(tmp_path, write=False)
    with pytest.raises(DataError, match="does not exist"):
        Store(tmp_path / "gone", write=True)


def test_a_session_is_never_made_over_another(folder: Path) -> None:
    with pytest.raises(UsageError, match="never made over"):
        create(folder, settings())


def test_nothing_is_readable_for_others(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in (folder / "session.db", folder / "images" / "000001.png"):
        assert path.stat().st_mode & 0o077 == 0


def test_identifiers_are_sealed_apart_and_go_with_a_purge(folder: Path) -> None:
    pytest.importorskip("cryptography")
    key, secret = bytes(32), "Ada of Nowhere"
    with Store(folder, write=True, clock=Clock()) as store:
        store.seal_identifiers(seal(store.settings.session, {"name": secret}, key), "op")
        assert unseal(store.settings.session, store.sealed(), key) == {"name": secret}
        assert "Ada" not in "".join(e.details for e in store.entries())
        for path in folder.glob("session.db*"):
            assert secret.encode() not in path.read_bytes()
        store.purge("op")
        assert store.sealed() == ()


def test_a_purge_takes_all_but_the_fact(folder: Path) -> None:
    with Store(folder, write=True, clock=Clock()) as store:
        place = bytes(store.fields()[0].taken, "ascii")
        store.purge("op-9")
        store.purge("op-9")
        assert store.state == "purged"
        assert store.fields() == store.cells() == ()
        last = store.entries()[-1]
        assert (last.event, last.operator) == ("purge", "op-9")
        assert '"counted":600' in last.details
        assert store.problems() == ()
        with pytest.raises(UsageError, match="state 'purged'"):
            store.act("report", "op", {})
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("session")) == []
    assert place  # its time stays in the audit log, which says what was done when


def test_a_second_verdict_overrules_the_first_and_both_are_logged(folder: Path) -> None:
    with Store(folder, write=True, clock=Clock()) as store:
        store.set_verdict(1, "confirmed", "op-1")
        store.set_verdict(1, "rejected", "op-2")
        store.set_verdict(1, "rejected", "op-2")
        said = [json.loads(e.details) for e in store.entries() if e.event == "verdict"]
        assert [(d["cell"], d["was"], d["now"]) for d in said] == [
            (1, None, "confirmed"),
            (1, "confirmed", "rejected"),
        ]
        with pytest.raises(UsageError, match="numbered 1 to 4"):
            store.set_verdict(99, "confirmed", "op-1")
