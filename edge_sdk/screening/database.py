"""SQLite as a session uses it: its tables, transactions, errors in words, and the folder's lock."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_sdk.errors import DataError, EdgeError, UsageError
from edge_sdk.ondevice import disk
from edge_sdk.screening.audit import next_entry

SCHEMA = 1
BUSY_S = 10.0

TABLES = """
CREATE TABLE session (
  id INTEGER PRIMARY KEY CHECK (id = 1), settings TEXT NOT NULL, state TEXT NOT NULL,
  finished TEXT, audit_entries INTEGER NOT NULL, audit_head TEXT NOT NULL);
CREATE TABLE fields (
  number INTEGER PRIMARY KEY, taken TEXT NOT NULL, accepted INTEGER NOT NULL, gates TEXT NOT NULL,
  cells INTEGER NOT NULL, flagged INTEGER NOT NULL, image TEXT, image_sha256 TEXT,
  pixels_sha256 TEXT NOT NULL UNIQUE, reading_sha256 TEXT,
  sharpest REAL NOT NULL);
CREATE TABLE cells (
  number INTEGER PRIMARY KEY, field INTEGER NOT NULL REFERENCES fields (number),
  box TEXT NOT NULL, flags TEXT NOT NULL, probability REAL NOT NULL, verdict TEXT);
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, time TEXT NOT NULL, event TEXT NOT NULL, operator TEXT NOT NULL,
  details TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
  BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
  BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;
CREATE TABLE identifiers (
  name TEXT PRIMARY KEY, nonce BLOB NOT NULL, data BLOB NOT NULL, key TEXT NOT NULL);
"""


def append_entry(
    db: sqlite3.Connection,
    time: str,
    event: str,
    operator: str,
    details: dict[str, Any],
) -> None:
    length, head = db.execute("SELECT audit_entries, audit_head FROM session").fetchone()
    last = db.execute("SELECT time FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    if last and time < last[0]:
        details = details | {"clock_went_back_from": last[0]}
    entry = next_entry(head, length + 1, time, event, operator, details)
    db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", tuple(asdict(entry).values()))
    db.execute("UPDATE session SET audit_entries = ?, audit_head = ?", (entry.seq, entry.hash))


class InUseError(UsageError):
    """Another program has the session open for writing."""


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    disk.before("sql begin", path)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        disk.before("sql commit", path)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    disk.before("sql done", path)


def raw_connection(path: Path) -> sqlite3.Connection:
    # Not the module's own transactions: it would begin and commit where it sees fit.
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    path.chmod(0o600)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON",
                   "secure_delete = ON", "trusted_schema = OFF"):  # fmt: skip
        db.execute(f"PRAGMA {pragma}")
    return db


def connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise DataError(f"{path.parent} is no session: it has no {path.name}")
    db = None
    try:
        db = raw_connection(path)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise DataError(
                f"{path} was written by a newer version (schema {version}, this one knows "
                f"{SCHEMA}): use that version"
            )
        if version < 1:
            raise DataError(f"{path} is no session of this program (schema {version})")
        checked = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if checked != "ok":
            raise DataError(f"{path} is damaged: {checked}")
    except sqlite3.DatabaseError as e:
        if db is not None:
            db.close()
        raise damaged(path, e) from e
    except BaseException:
        if db is not None:
            db.close()
        raise
    return db


def damaged(path: Path, error: sqlite3.DatabaseError) -> EdgeError:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return EdgeError(f"{path} is being written by another program: try again")
    return DataError(f"{path} cannot be read ({error}): restore it from an export or a copy")


@contextmanager
def full_disk(what: str) -> Iterator[None]:
    """Gives a disk's errors words: what was not written, and that the rest is safe."""
    try:
        yield
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        raise _unwritten(what, "the disk is full" if full else f"{e.strerror or e}", full) from e
    except sqlite3.OperationalError as e:
        full = "full" in str(e)
        raise _unwritten(what, "the disk is full" if full else str(e), full) from e


def _unwritten(what: str, why: str, full: bool) -> EdgeError:
    todo = "free some space and run the command again" if full else "run the command again"
    return EdgeError(f"{what} was not written: {why}. Everything before it is safe; {todo}")


def lock(folder: Path) -> int:
    """The folder itself, locked until the process ends, however it ends."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise DataError(f"session {folder.name} does not exist in {folder.parent}") from e
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InUseError(
            f"session {folder.name} is in use by another program: wait until it ends"
        ) from None
    return descriptor
