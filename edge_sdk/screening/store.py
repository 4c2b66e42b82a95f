"""A session on the disk: a folder with `session.db` (SQLite), `images/` and what is made of them.

Nothing that was committed is lost, whenever the power fails: WAL with synchronous=FULL, one
transaction a field with its cells and its audit entry, and a picture is synced and renamed before
its row is written. A picture without a row is no field; `tidy` takes it away. Every change of the
disk goes through `ondevice.disk`, whose `before` the tests use.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_sdk.errors import DataError, UsageError
from edge_sdk.ondevice import disk
from edge_sdk.screening.audit import Entry, canonical, chain_problems, origin, text_hash
from edge_sdk.screening.database import (
    SCHEMA,
    TABLES,
    append_entry,
    connect,
    damaged,
    full_disk,
    lock,
    raw_connection,
    transaction,
)
from edge_sdk.screening.identity import Sealed
from edge_sdk.screening.record import FieldRecord, FlaggedCell, GateResult, Verdict
from edge_sdk.screening.settings import Settings
from edge_sdk.screening.state import STATES, State, after
from edge_sdk.strict import from_plain, to_plain

DATABASE = "session.db"
IMAGES = "images"
THUMBNAILS = "cells"
REPORT = "report"


@dataclass(frozen=True)
class NewCell:
    """A flagged cell that is about to be stored; see record.FlaggedCell."""

    box: tuple[int, int, int, int]
    flags: tuple[str, ...]
    probability: float


@dataclass(frozen=True)
class NewField:
    """A field that is about to be stored. image: PNG bytes, None for a rejected one; pixels_sha256:
    of the picture as it came; reading_sha256: of every cell's place and probability, None where
    none was read. sharpest: what the focus gate remembers after it."""

    gates: tuple[GateResult, ...]
    accepted: bool
    cells: int
    flagged: tuple[NewCell, ...]
    image: bytes | None
    pixels_sha256: str
    reading_sha256: str | None
    sharpest: float


def utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """One open session. `write`: holds its lock, so that one process at a time changes it."""

    def __init__(
        self, folder: Path, *, write: bool, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._lock = lock(folder) if write else None
        try:
            self._db = connect(folder / DATABASE)
            self.settings_text = self._value("settings")
            data = json.loads(self.settings_text)
            self.settings = from_plain(Settings, data, str(folder / DATABASE), DataError)
        except BaseException:
            self._unlock()
            raise

    # --- what is there

    @property
    def state(self) -> State:
        found = self._value("state")
        if found not in STATES:
            raise DataError(f"{self.folder / DATABASE}: state '{found}' is none of {STATES}")
        return found  # type: ignore[no-any-return]

    @property
    def finished(self) -> str | None:
        found: str | None = self._value("finished")
        return found

    @property
    def audit_end(self) -> tuple[int, str]:
        """Length and last hash of the audit chain."""
        return self._value("audit_entries"), self._value("audit_head")

    def counts(self) -> tuple[int, int]:
        """Red cells flagged and counted, of the accepted fields."""
        row = self._rows("SELECT TOTAL(flagged), TOTAL(cells) FROM fields WHERE accepted")[0]
        return int(row[0]), int(row[1])

    def fields(self) -> tuple[FieldRecord, ...]:
        rows = self._rows(
            "SELECT number, taken, accepted, gates, cells, flagged, image, image_sha256 FROM fields"
            " ORDER BY number"
        )
        return tuple(self._field(row) for row in rows)

    def _field(self, row: Sequence[Any]) -> FieldRecord:
        number, taken, accepted, gates, cells, flagged, image, image_sha256 = row
        where = f"{self.folder / DATABASE} field {number}"
        found = from_plain(tuple[GateResult, ...], _json(gates, where), where, DataError)
        return FieldRecord(
            number, taken, bool(accepted), found, cells, flagged, image, image_sha256
        )

    def reading_sha256(self, number: int) -> str | None:
        rows = self._rows("SELECT reading_sha256 FROM fields WHERE number = ?", number)
        return rows[0][0] if rows else None

    def sharpest(self, number: int) -> float:
        """What the focus gate remembered after this field, 0 before the first."""
        rows = self._rows("SELECT sharpest FROM fields WHERE number = ?", number)
        return float(rows[0][0]) if rows else 0.0

    def knows(self, pixels_sha256: str) -> bool:
        """Whether a picture with just these pixels was taken, accepted or not."""
        return bool(self._rows("SELECT 1 FROM fields WHERE pixels_sha256 = ?", pixels_sha256))

    def cells(self) -> tuple[FlaggedCell, ...]:
        rows = self._rows(
            "SELECT number, field, box, flags, probability, verdict FROM cells ORDER BY number"
        )
        out = []
        for number, field, box, flags, probability, verdict in rows:
            where = f"{self.folder / DATABASE} cell {number}"
            x, y, width, height = _json(box, where)
            thumbnail = f"{THUMBNAILS}/{number:06d}.png"
            out.append(
                FlaggedCell(
                    number, field, (x, y, width, height), tuple(_json(flags, where)), probability,
                    verdict, thumbnail,
                )
            )  # fmt: skip
        return tuple(out)

    def entries(self) -> tuple[Entry, ...]:
        rows = self._rows(
            "SELECT seq, time, event, operator, details, previous, hash FROM audit ORDER BY seq"
        )
        return tuple(Entry(*row) for row in rows)

    def sealed(self) -> tuple[Sealed, ...]:
        rows = self._rows("SELECT name, nonce, data, key FROM identifiers ORDER BY name")
        return tuple(Sealed(*row) for row in rows)

    # --- changes

    def act(self, action: str, operator: str, details: dict[str, Any]) -> State:
        """Does an action of state.ACTIONS and logs it, in one transaction."""
        then = after(self.state, action, self.settings.session)
        with self._transaction(f"{action} of session {self.settings.session}"):
            self._set_state(then)
            if action == "finish":
                self._db.execute("UPDATE session SET finished = ?", (self._now(),))
            self._log(action, operator, details | {"state": then})
        return then

    def note(self, event: str, operator: str, details: dict[str, Any]) -> None:
        """Logs what changes nothing here, as a capture that begins again."""
        with self._transaction(event):
            self._log(event, operator, details)

    def add_field(self, field: NewField, operator: str) -> FieldRecord:
        """The picture first, then field, cells and audit entry at once. Raises UsageError in a
        state where nothing is captured, EdgeError where the disk is full: then nothing of this
        field is kept, and everything before it is."""
        then = after(self.state, "capture", self.settings.session)
        rows = self._rows("SELECT COALESCE(MAX(number), 0) + 1 FROM fields")
        number, taken = int(rows[0][0]), self._now()
        image = image_sha256 = None
        if field.image is not None:
            image = f"{IMAGES}/{number:06d}.png"
            image_sha256 = bytes_hash(field.image)
            with full_disk(f"field {number}"):
                disk.write_whole(self.folder / image, field.image, 0o600)
        record = FieldRecord(
            number, taken, field.accepted, field.gates, field.cells, len(field.flagged), image,
            image_sha256,
        )  # fmt: skip
        with self._transaction(f"field {number}"):
            self._db.execute(
                "INSERT INTO fields VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, taken, field.accepted, canonical(to_plain(field.gates)), field.cells,
                 len(field.flagged), image, image_sha256, field.pixels_sha256,
                 field.reading_sha256, field.sharpest),
            )  # fmt: skip
            first = self._rows("SELECT COALESCE(MAX(number), 0) + 1 FROM cells")[0][0]
            self._db.executemany(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, NULL)",
                [
                    (first + i, number, canonical(c.box), canonical(c.flags), c.probability)
                    for i, c in enumerate(field.flagged)
                ],
            )
            self._set_state(then)
            self._log("field", operator, self.field_fact(record))
        return record

    def field_fact(self, field: FieldRecord) -> dict[str, Any]:
        """What the audit log keeps of a field and its cells, from their rows."""
        rows = self._rows(
            "SELECT number, box, flags, probability FROM cells WHERE field = ? ORDER BY number",
            field.number,
        )
        return to_plain(field) | {  # type: ignore[no-any-return]
            "reading_sha256": self.reading_sha256(field.number),
            "cells_sha256": text_hash(canonical([list(r) for r in rows])),
        }

    def set_verdict(self, cell: int, verdict: Verdict | None, operator: str) -> None:
        """Raises UsageError for a cell that is not there."""
        then = after(self.state, "review", self.settings.session)
        rows = self._rows("SELECT verdict FROM cells WHERE number = ?", cell)
        if not rows:
            last = self._rows("SELECT COALESCE(MAX(number), 0) FROM cells")[0][0]
            raise UsageError(f"flagged cell {cell} does not exist: they are numbered 1 to {last}")
        was = rows[0][0]
        if was == verdict:
            return
        with self._transaction(f"verdict on cell {cell}"):
            self._db.execute("UPDATE cells SET verdict = ? WHERE number = ?", (verdict, cell))
            self._set_state(then)
            self._log("verdict", operator, {"cell": cell, "was": was, "now": verdict})

    def seal_identifiers(self, sealed: Sequence[Sealed], operator: str) -> None:
        """The audit log keeps their names, not what they are."""
        with self._transaction("identifiers"):
            self._db.executemany(
                "INSERT OR REPLACE INTO identifiers VALUES (?, ?, ?, ?)",
                [(s.name, s.nonce, s.data, s.key) for s in sealed],
            )
            names = [s.name for s in sealed]
            self._log("identifiers", operator, {"names": names, "key": sealed[0].key})

    def tidy(self) -> tuple[str, ...]:
        """Removes pictures that have no row: a field that was never committed."""
        kept = {f.image for f in self.fields()}
        stray = [
            path
            for path in sorted((self.folder / IMAGES).glob("*"))
            if f"{IMAGES}/{path.name}" not in kept
        ]
        for path in stray:
            disk.remove(path)
        return tuple(path.name for path in stray)

    def purge(self, operator: str) -> None:
        """Removes pictures, rows, identifiers and reports; the audit log stays, and says so. May be
        cut short and done again."""
        if self.state != "purged":
            fields, (flagged, counted) = len(self.fields()), self.counts()
            after(self.state, "purge", self.settings.session)
            with self._transaction("purge"):
                for table in ("cells", "fields", "identifiers"):
                    self._db.execute(f"DELETE FROM {table}")
                self._set_state("purged")
                self._log(
                    "purge", operator, {"fields": fields, "flagged": flagged, "counted": counted}
                )
        for path in sorted(self.folder.iterdir()):
            if not path.name.startswith(DATABASE):
                disk.remove(path)
        disk.before("sql vacuum", self.folder / DATABASE)
        with full_disk("purge"):
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- SQLite

    def _now(self) -> str:
        return self.clock().astimezone(UTC).isoformat(timespec="milliseconds")

    def _value(self, column: str) -> Any:
        rows = self._rows(f"SELECT {column} FROM session")
        if len(rows) != 1:
            raise DataError(f"{self.folder / DATABASE} holds no session: it was never whole")
        return rows[0][0]

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as e:
            raise damaged(self.folder / DATABASE, e) from e

    def _set_state(self, state: State) -> None:
        self._db.execute("UPDATE session SET state = ?", (state,))

    def _log(self, event: str, operator: str, details: dict[str, Any]) -> None:
        append_entry(self._db, self._now(), event, operator, details)

    @contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        if self._lock is None:
            raise UsageError(f"{what}: session {self.settings.session} is open for reading only")
        with full_disk(what), transaction(self._db, self.folder / DATABASE):
            yield

    def problems(self) -> tuple[str, ...]:
        """What is not as it was written (see verify.py); nothing for a whole session."""
        from edge_sdk.screening.verify import store_problems

        return store_problems(self)

    def structure_problems(self) -> tuple[str, ...]:
        """SQLite's own integrity check."""
        rows = [str(r[0]) for r in self._rows("PRAGMA integrity_check")]
        return () if rows == ["ok"] else tuple(f"database: {r}" for r in rows)

    def chain_problems(self) -> tuple[str, ...]:
        return chain_problems(self.settings.session, self.entries(), *self.audit_end)

    def close(self) -> None:
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def create(folder: Path, settings: Settings) -> None:
    """Makes a session's folder. Raises UsageError where it exists. What a kill leaves half made has
    another name and is no session."""
    if folder.exists():
        raise UsageError(f"{folder} exists: a session is never made over another one")
    temporary = folder.with_name(f".{folder.name}.new")
    with full_disk(f"session {settings.session}"):
        disk.remove(temporary)
        disk.make_folder(temporary)
        temporary.chmod(0o700)
        disk.make_folder(temporary / IMAGES)
        path = temporary / DATABASE
        disk.before("sql create", path)
        with closing(raw_connection(path)) as db:
            db.executescript(TABLES)
            with transaction(db, path):
                text = canonical(to_plain(settings))
                db.execute(
                    "INSERT INTO session VALUES (1, ?, 'new', NULL, 0, ?)",
                    (text, origin(settings.session)),
                )
                details = {"settings_sha256": text_hash(text), "state": "new"}
                append_entry(db, settings.created, "new", settings.operator, details)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        disk.sync_all()
        disk.rename(temporary, folder)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as e:
        raise DataError(f"{where} is damaged: {e}") from e


def bytes_hash(data: bytes) -> str:
    return sha256(data).hexdigest()
