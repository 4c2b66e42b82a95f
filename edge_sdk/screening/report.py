"""A session's report: a page, its cells as CSV, all of it as JSON and as a FHIR bundle, and the
SHA-256 of each, signed where there is a key."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_sdk.errors import DataError, UsageError
from edge_sdk.files import sha256, whole_folder
from edge_sdk.screening.fhir import bundle
from edge_sdk.screening.record import SlideRecord
from edge_sdk.screening.report_cells import GALLERY, Pictures, by_probability
from edge_sdk.screening.report_html import page
from edge_sdk.screening.signature import SIGNATURE, Signer
from edge_sdk.screening.slide import DISCLAIMER
from edge_sdk.screening.texts import statement, text
from edge_sdk.strict import to_plain

PAGE, CELLS, RESULT, BUNDLE, SUMS = (
    "report.html",
    "cells.csv",
    "result.json",
    "bundle.fhir.json",
    "SHA256SUMS",
)


def write_report(record: SlideRecord, folder: Path, signer: Signer | None = None) -> Path:
    """Writes the folder, whole or not at all, and returns it; one that is there is replaced. The
    folder it lies in is the session's. Pictures that were purged are left out of the page, which
    says so. With a signer the list of hashes is signed, and with it every file; page and record
    say by which key, or that there was none.

    Raises UsageError for a folder that is a session itself, or a language without texts,
    DataError for a picture that is none or lies outside the folder, BundleError for a key that
    does not sign."""
    record = replace(record, signed_by=None if signer is None else signer.fingerprint)
    if (folder / "session.db").exists():
        raise UsageError(f"{folder} is a session: its report goes into a folder in it")
    pictures = read_pictures(record, folder.parent)
    with whole_folder(folder, replace=True) as new:
        (new / CELLS).write_text(cells_csv(record), encoding="utf-8", newline="")
        (new / RESULT).write_text(_json(result_json(record)), encoding="utf-8")
        (new / BUNDLE).write_text(_json(bundle(record)), encoding="utf-8")
        hashes = {name: sha256(new / name) for name in (CELLS, RESULT, BUNDLE)}
        (new / PAGE).write_text(page(record, pictures, hashes), encoding="utf-8")
        hashes[PAGE] = sha256(new / PAGE)
        sums = "".join(f"{h}  {name}\n" for name, h in hashes.items()).encode()
        (new / SUMS).write_bytes(sums)
        if signer is not None:
            (new / SIGNATURE).write_bytes(signer.sign(sums))
    return folder


def read_pictures(record: SlideRecord, folder: Path) -> Pictures:
    """From a session's folder: the thumbnails that the page shows, and the sizes of their fields'
    pictures."""
    from PIL import Image

    shown = by_probability(record.cells)[:GALLERY]
    thumbnails, sizes = {}, {}
    for cell in shown:
        path = _inside(folder, cell.thumbnail)
        if path.is_file():
            thumbnails[cell.number] = path.read_bytes()
            if not thumbnails[cell.number].startswith(b"\x89PNG"):
                raise DataError(f"{path} is no PNG: the session's folder was changed; restore it")
    images = {f.number: f.image for f in record.fields if f.image}
    for number in {c.field for c in shown} & set(images):
        path = _inside(folder, images[number])
        if path.is_file():
            try:
                with Image.open(path) as image:
                    sizes[number] = image.size
            except OSError as e:
                raise DataError(f"{path} cannot be read as an image: {e}") from e
    return Pictures(thumbnails, sizes)


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"picture '{name}' lies outside the session's folder {folder}: refused")
    return path


def result_json(record: SlideRecord) -> dict[str, Any]:
    """All of a record, with what has to be read first at its top."""
    return {
        "label": text("label", record.language),
        "simulated": text("simulated", record.language) if record.simulated else False,
        "statement": statement(record.result, record.rule, record.language),
        "record": to_plain(record),
    }


def cells_csv(record: SlideRecord) -> str:
    """A line a flagged cell, in the order they were found. The label is the heading of the last
    column, so that a file without a cell carries it too."""
    warning = text("simulated", "en") if record.simulated else ""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        [
            *("session", "cell", "field", "x", "y", "width", "height", "segmentation"),
            *("probability", "verdict", "thumbnail"),
            f"{warning} {DISCLAIMER}".strip(),
        ]
    )
    for c in record.cells:
        writer.writerow(
            [
                *(record.session, c.number, c.field, *c.box, " ".join(c.flags)),
                *(c.probability, c.verdict or "", c.thumbnail, warning),
            ]
        )
    return out.getvalue()


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
