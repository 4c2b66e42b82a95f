"""The NIH/NLM malaria cells: two folders of crops and an index with their patients."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edge_sdk.errors import UsageError
from edge_sdk.fetch.download import Patience, check_archive, download
from edge_sdk.fetch.sources import NIH_MALARIA, Source
from edge_sdk.fetch.unpack import Bounds, unpack
from edge_sdk.files import refuse_existing, whole_folder
from edge_sdk.progress import Progress, silent

LABELS = ("Parasitized", "Uninfected")
CELLS_PER_LABEL = 13_779  # Rajaraman et al. 2018
BOUNDS = Bounds(entries=100_000, bytes=1 << 30)
# In every folder that is made here: only such a folder is ever replaced.
MARK = "SOURCE.txt"
_PATIENT = re.compile(r"(C\d+.*?)_IMG_")
# The data sheet: the slides of patient C47P8 were photographed on two microscopes, under a name
# each. Kept apart they would put one person on both sides of a split.
_SAME_PATIENT = {"C47P8thinOriginalOlympusCX21": "C47P8thin_Original_Motic"}


@dataclass(frozen=True)
class Fetched:
    """What is in the folder. images: label -> count; notes: what is not as expected."""

    folder: Path
    images: dict[str, int]
    patients: int
    notes: tuple[str, ...]


def patient_of(name: str) -> str | None:
    """The patient in a crop's file name, as C33P1thinF in C33P1thinF_IMG_..._cell_179.png.

    What stands before `_IMG_` is the official patient-id files' key for every crop of the
    archive: 201 keys, of which two are one patient under two microscopes. Healthy patients have
    no P number (C5NThinF, C201ThinF). The name says nothing else about a patient, and a letter N
    in it does not say that somebody is healthy. None: the name has another form."""
    found = _PATIENT.match(name)
    return _SAME_PATIENT.get(found[1], found[1]) if found else None


def fetch(
    out: Path,
    *,
    source: Source = NIH_MALARIA,
    url: str | None = None,
    archive: Path | None = None,
    keep_archive: bool = False,
    replace_old: bool = False,
    progress: Progress = silent,
    patience: Patience | None = None,
) -> Fetched:
    """Fetches, checks and unpacks the cells into the folder `out`, which appears whole.

    The archive comes from `url`, a mirror, or the source's own address. It is OUT.zip beside
    `out`: gone on with when a part of it is there, removed in the end unless `keep_archive` or it
    was there before. `archive` is a file to use instead, checked alike and kept.
    Raises UsageError when `out` exists, and what `download` and `unpack` raise."""
    out = out.resolve()
    refuse_existing(out, replace=replace_old)
    if out.exists() and not (out / MARK).is_file():
        raise UsageError(
            f"{out} was not made by this command ({MARK} is missing): it is not replaced, choose "
            "another --out"
        )
    source = source if url is None else replace(source, url=url)
    zipped = archive or out.with_name(out.name + ".zip")
    passing = not (keep_archive or zipped.exists())
    if archive is None:
        download(source, zipped, progress=progress, patience=patience)
    else:
        check_archive(source, zipped, progress)
    with whole_folder(out, replace=replace_old) as partial:
        paths, others = unpack(zipped, partial, _place, BOUNDS, progress)
        (partial / "index.csv").write_text(index_csv(paths), encoding="utf-8")
        notes = _notes(paths, others)
        (partial / MARK).write_text(_provenance(source), encoding="utf-8")
    if passing:
        zipped.unlink()
    elif archive is None and not keep_archive:
        notes.append(f"{zipped} was there before and is kept")
    patients = {patient_of(p.name) for p in paths} - {None}
    return Fetched(
        out,
        {label: sum(p.parts[0] == label for p in paths) for label in LABELS},
        len(patients),
        tuple(notes),
    )


def index_csv(paths: Sequence[PurePosixPath]) -> str:
    """The index of LABEL/NAME paths: columns file, label and patient, sorted by file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "label", "patient"))
    writer.writerows((p, p.parts[0], patient_of(p.name) or "") for p in sorted(paths))
    return text.getvalue()


def _place(entry: PurePosixPath) -> PurePosixPath | None:
    wanted = len(entry.parts) == 3 and entry.parts[1] in LABELS and entry.suffix == ".png"
    return PurePosixPath(*entry.parts[1:]) if wanted else None


def _notes(paths: Sequence[PurePosixPath], others: Sequence[PurePosixPath]) -> list[str]:
    notes = []
    counts = Counter(p.parts[0] for p in paths)
    for label in LABELS:
        if counts[label] != CELLS_PER_LABEL:
            notes.append(f"{counts[label]} {label} crops, {CELLS_PER_LABEL} were published")
    if nameless := [p for p in paths if patient_of(p.name) is None]:
        notes.append(
            f"{len(nameless)} crops name no patient, the first is {nameless[0]}: a split takes "
            "each for a patient of its own"
        )
    if strange := [p for p in others if p.name != "Thumbs.db"]:
        notes.append(f"{len(strange)} other files were left out, the first is {strange[0]}")
    return notes


def _provenance(source: Source) -> str:
    return (
        f"{source.name}: cell crops of thin blood smears, as published.\n"
        f"Fetched from {source.url}\nDescribed at {source.page}\n"
        f"{source.bytes} bytes, SHA-256 {source.sha256}\n\n{source.terms}\n\n{source.citation}\n"
    )
