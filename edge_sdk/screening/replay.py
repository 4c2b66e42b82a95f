"""The result again from the stored pictures: what was counted must come out exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from edge_sdk.errors import DataError
from edge_sdk.files import sha256
from edge_sdk.screening.audit import canonical, text_hash
from edge_sdk.screening.gates import Gates
from edge_sdk.screening.gating import stored
from edge_sdk.screening.reader import FieldReader
from edge_sdk.screening.record import FieldRecord
from edge_sdk.screening.session import read_picture, result_of
from edge_sdk.screening.slide import SlideCounts
from edge_sdk.screening.state import after
from edge_sdk.screening.store import Store
from edge_sdk.strict import to_plain


@dataclass(frozen=True)
class Replay:
    """fields, cells, flagged: recomputed; differences: a line each, none where all agree.
    statement: of the result from the recomputed counts."""

    fields: int
    cells: int
    flagged: int
    statement: str
    differences: tuple[str, ...]


def replay(store: Store, reader: FieldReader) -> Replay:
    """Raises UsageError in a state that has no result yet."""
    after(store.state, "replay", store.settings.session)
    flagged = counted = 0
    gates = Gates(stain=store.settings.stain)
    differences: list[str] = list(store.problems())
    fields = store.fields()
    for field in fields:
        if field.accepted:
            cells, hits, wrong = _again(store, field, reader, gates)
            counted, flagged = counted + cells, flagged + hits
            differences += wrong
        gates.recall(store.sharpest(field.number), None)
    there = result_of(store)
    review = there.counts.review if flagged >= _reviewed(there.counts) else None
    found = result_of(store, SlideCounts(flagged, counted, review))
    if found != there:
        differences.append(f"result: '{found.statement}', stored is '{there.statement}'")
    differences += _as_reported(store)
    accepted = sum(f.accepted for f in fields)
    return Replay(accepted, counted, flagged, found.statement, tuple(differences))


def _reviewed(counts: SlideCounts) -> int:
    r = counts.review
    return 0 if r is None else r.confirmed + r.rejected + r.unsure


def _again(
    store: Store, field: FieldRecord, reader: FieldReader, gates: Gates
) -> tuple[int, int, list[str]]:
    path = store.folder / str(field.image)
    try:
        if sha256(path) != field.image_sha256:
            return 0, 0, [f"field {field.number}: its picture is another one: not recomputed"]
        pixels = read_picture(path)
    except (OSError, DataError) as e:
        return 0, 0, [f"field {field.number}: its picture cannot be read ({e})"]
    segmented = reader.segment(pixels)
    passed = stored(gates.check(pixels, segmented))
    reading = reader.read(pixels, segmented)
    found, there = (
        [(c.box, c.flags, c.probability) for c in cells]
        for cells in (
            reading.flagged,
            [c for c in store.cells() if c.field == field.number],
        )
    )
    wrong = []
    if passed != field.gates:
        off = [g.gate for g, was in zip(passed, field.gates, strict=False) if g != was]
        wrong.append(f"gates differ: {', '.join(off)}")
    if reading.cells != field.cells:
        wrong.append(f"{reading.cells} red cells, stored are {field.cells}")
    if found != there:
        wrong.append(f"{len(found)} flagged cells, not the {len(there)} that are stored")
    if not wrong and reading.sha256 != store.reading_sha256(field.number):
        wrong.append("probabilities or places of cells differ, none of the flagged ones")
    return reading.cells, len(found), [f"field {field.number}: {w}" for w in wrong]


def result_sha256(store: Store) -> str:
    return text_hash(canonical(to_plain(result_of(store))))


def _as_reported(store: Store) -> Iterator[str]:
    """Whether the last report said what the rows say now."""
    said = [json.loads(e.details) for e in store.entries() if e.event == "report"]
    if said and said[-1].get("result_sha256") != result_sha256(store):
        yield "the result is not the one that was reported"
