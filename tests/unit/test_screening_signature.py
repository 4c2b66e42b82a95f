"""Reports signed with a site's key: what was changed afterwards is named, by whatever way."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from screening_sessions import Clock, made, run_through

from edge_sdk.errors import BundleError, UsageError
from edge_sdk.keys import Key, new_key, sign
from edge_sdk.screening.audit import Entry, next_entry, origin
from edge_sdk.screening.make_record import report
from edge_sdk.screening.signature import NAMESPACE, SIGNATURE, Signer, signature_problems
from edge_sdk.screening.store import DATABASE, REPORT, Store

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return new_key("clinic")


def signer(key: Key) -> Signer:
    return Signer(key.fingerprint, lambda data: sign(data, key, NAMESPACE))


@pytest.fixture
def session(tmp_path: Path, key: Key) -> Path:
    folder = made(tmp_path)
    run_through(folder)
    with Store(folder, write=True, clock=Clock()) as store:
        report(store, "op-1", signer(key))
    return folder


def problems(session: Path, public_key: Path) -> tuple[str, ...]:
    with Store(session, write=False) as store:
        return (*store.problems(), *signature_problems(store, public_key))


def test_a_signed_report_is_whole_and_names_its_key(session: Path, key: Key) -> None:
    assert problems(session, key.public) == ()
    said = json.loads((session / REPORT / "result.json").read_text())["record"]
    assert said["signed_by"] == key.fingerprint
    assert key.fingerprint in (session / REPORT / "report.html").read_text()
    with Store(session, write=False) as store:
        logged = json.loads(store.entries()[-1].details)["files"]
    assert f"{REPORT}/{SIGNATURE}" in logged


def test_openssh_alone_checks_it(session: Path, key: Key, tmp_path: Path) -> None:
    (tmp_path / "allowed").write_text(f"clinic {key.line}\n")
    folder = session / REPORT
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "clinic"]
    command += ["-n", NAMESPACE, "-s", str(folder / SIGNATURE)]
    sums = (folder / "SHA256SUMS").read_bytes()
    assert subprocess.run(command, input=sums, capture_output=True, check=False).returncode == 0
    found = subprocess.run(command, input=sums + b" ", capture_output=True, check=False)
    assert found.returncode != 0


def test_without_a_key_the_report_says_unsigned(tmp_path: Path, key: Key) -> None:
    folder = made(tmp_path)
    run_through(folder)
    with Store(folder, write=True, clock=Clock()) as store:
        report(store, "op-1")
    assert "none, unsigned" in (folder / REPORT / "report.html").read_text()
    assert problems(folder, key.public) == ("the report is unsigned, or there is none",)


def test_another_key_did_not_sign_it(session: Path) -> None:
    (found,) = problems(session, new_key("other").public)
    assert "was not signed by" in found


def test_a_signature_made_for_a_bundle_is_none_of_a_report(session: Path, key: Key) -> None:
    folder = session / REPORT
    (folder / SIGNATURE).write_bytes(sign((folder / "SHA256SUMS").read_bytes(), key))
    assert any("was not signed by" in p for p in problems(session, key.public))


@pytest.mark.parametrize("name", ["report.html", "cells.csv", "result.json", "bundle.fhir.json"])
def test_a_changed_file_is_named(session: Path, key: Key, name: str) -> None:
    path = session / REPORT / name
    path.write_bytes(path.read_bytes().replace(b"30", b"31") + b" ")
    assert any(f"{name} was changed" in p for p in problems(session, key.public))


def test_a_changed_list_a_missing_and_a_new_file_are_named(session: Path, key: Key) -> None:
    folder = session / REPORT
    (folder / "cells.csv").unlink()
    (folder / "more.html").write_text("<p>")
    found = problems(session, key.public)
    assert any("cells.csv was signed and is missing" in p for p in found)
    assert any("more.html is not in the signed list" in p for p in found)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(b'').hexdigest()}  more.html\n")
    assert any("was not signed by" in p for p in problems(session, key.public))


def test_a_log_written_anew_under_a_signed_report_is_found(session: Path, key: Key) -> None:
    """The chain alone would hold: every hash is made again, its length and head too."""
    with Store(session, write=False) as store:
        entries = store.entries()
    with sqlite3.connect(session / DATABASE) as db:
        db.execute("DROP TRIGGER audit_unchanged")
        head = origin(session.name)
        for e in entries:
            made_up = _as(e, head, "op-9")
            db.execute(
                "UPDATE audit SET operator = ?, previous = ?, hash = ? WHERE seq = ?",
                (made_up.operator, made_up.previous, made_up.hash, e.seq),
            )
            head = made_up.hash
        db.execute("UPDATE session SET audit_head = ?", (head,))
    db.close()
    with Store(session, write=False) as store:
        assert store.chain_problems() == ()
        found = signature_problems(store, key.public)
    assert any("audit log is not the one that was signed" in p for p in found)


def _as(e: Entry, previous: str, operator: str) -> Entry:
    return next_entry(previous, e.seq, e.time, e.event, operator, json.loads(e.details))


def test_a_signed_report_of_another_session_is_not_this_one_s(
    session: Path, key: Key, tmp_path: Path
) -> None:
    other = made(tmp_path, session="AAAA-BBBB")
    run_through(other)
    with Store(other, write=True, clock=Clock()) as store:
        report(store, "op-1")
    shutil.rmtree(other / REPORT)
    shutil.copytree(session / REPORT, other / REPORT)
    assert any("not the one that was signed" in p for p in problems(other, key.public))


def test_what_is_no_public_key_is_refused(session: Path, key: Key, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        problems(session, tmp_path / "nowhere.pub")
    with pytest.raises(BundleError, match="no Ed25519"):
        problems(session, key.private)


def test_a_key_that_others_can_read_does_not_sign_and_nothing_is_written(
    tmp_path: Path, key: Key
) -> None:
    folder = made(tmp_path)
    run_through(folder)
    key.private.chmod(0o644)
    with (
        Store(folder, write=True, clock=Clock()) as store,
        pytest.raises(BundleError, match="read by others"),
    ):
        report(store, "op-1", signer(key))
    assert not (folder / REPORT).exists()
