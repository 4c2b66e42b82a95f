"""A session as one file to take away: zip, CSV or JSON; no identifier of a person is in any."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.files import write_whole
from edge_sdk.screening.audit import to_line
from edge_sdk.screening.make_record import make_record
from edge_sdk.screening.session import session_summary
from edge_sdk.screening.slide import DISCLAIMER
from edge_sdk.screening.state import after
from edge_sdk.screening.store import IMAGES, REPORT, THUMBNAILS, Store, bytes_hash
from edge_sdk.strict import to_plain

SUMS = "SHA256SUMS"
FORMATS = ("zip", "csv", "json")
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same session gives the same file


def export(store: Store, out: Path, form: str, *, pictures: bool = True) -> str:
    """Writes `out`, whole or not at all, and gives its SHA-256. csv: a line a field; json: all but
    the pictures; zip: fields.csv, session.json, audit.jsonl, reports, pictures, and SHA256SUMS.

    Raises UsageError for another form, a file that exists, a purged session."""
    after(store.state, "export", store.settings.session)
    if form not in FORMATS:
        raise UsageError(unknown_name("export format", form, FORMATS))
    if out.exists():
        raise UsageError(f"{out} exists: choose another --out, an export is never overwritten")
    if form == "csv":
        data = fields_csv(store).encode("utf-8")
    elif form == "json":
        data = session_json(store).encode("utf-8")
    else:
        data = _zip(store, pictures)
    write_whole(out, data)
    return bytes_hash(data)


def session_json(store: Store) -> str:
    """The record where counting ended, else what there is of it."""
    whole = store.state in ("review", "reported")
    data = {
        "label": DISCLAIMER,
        "simulated": store.settings.simulated,
        "state": store.state,
        "record": to_plain(make_record(store)) if whole else None,
        "summary": session_summary(store),
        "audit": [vars(e) for e in store.entries()],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def fields_csv(store: Store) -> str:
    label = ("SIMULATED. " if store.settings.simulated else "") + DISCLAIMER
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["field", "taken", "accepted", "cells", "flagged", "image", "image_sha256",
         "gates_failed", label]
    )  # fmt: skip
    for f in store.fields():
        failed = " ".join(g.gate for g in f.gates if not g.passed)
        writer.writerow(
            [f.number, f.taken, int(f.accepted), f.cells, f.flagged, f.image or "",
             f.image_sha256 or "", failed, "SIMULATED" if store.settings.simulated else ""]
        )  # fmt: skip
    return out.getvalue()


def _zip(store: Store, pictures: bool) -> bytes:
    made = {
        "fields.csv": fields_csv(store).encode(),
        "session.json": session_json(store).encode(),
        "audit.jsonl": "".join(to_line(e) + "\n" for e in store.entries()).encode(),
    }
    folders = (REPORT, IMAGES, THUMBNAILS) if pictures else (REPORT,)
    buffer = io.BytesIO()
    sums = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in (*made.items(), *_files(store.folder, folders)):
            z.writestr(zipfile.ZipInfo(name, _WHEN), data)
            sums.append(f"{bytes_hash(data)}  {name}\n")
        z.writestr(zipfile.ZipInfo(SUMS, _WHEN), "".join(sums))
    return buffer.getvalue()


def _files(root: Path, folders: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(root).as_posix(), path.read_bytes()
