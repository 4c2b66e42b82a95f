"""Review of flagged cells: a person confirms, rejects or is unsure. Raw counts stay as they are."""

from __future__ import annotations

from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.ondevice import disk
from edge_sdk.screening.database import full_disk
from edge_sdk.screening.record import VERDICTS, FlaggedCell, Verdict
from edge_sdk.screening.session import encode_picture, read_picture
from edge_sdk.screening.state import after
from edge_sdk.screening.store import Store

_AROUND = 0.5  # of a cell's box, shown on each side of it


def to_review(store: Store) -> tuple[FlaggedCell, ...]:
    """The flagged cells, the most probable first, their thumbnails made where they are missing.
    Raises UsageError before counting ended."""
    if store.state != "reported":
        after(store.state, "review", store.settings.session)
    make_thumbnails(store)
    return tuple(sorted(store.cells(), key=lambda c: (-c.probability, c.number)))


def set_verdict(store: Store, cell: int, verdict: str | None, operator: str) -> None:
    """A verdict of VERDICTS, or None to take it back. Raises UsageError for another word, a cell
    that is not there, and in a state where nothing is reviewed."""
    if verdict is not None and verdict not in VERDICTS:
        raise UsageError(unknown_name("verdict", verdict, VERDICTS))
    known: Verdict | None = next((v for v in VERDICTS if v == verdict), None)
    store.set_verdict(cell, known, operator)


def make_thumbnails(store: Store) -> None:
    """A PNG of each flagged cell with its surroundings, from its field's stored picture."""
    missing = [c for c in store.cells() if not (store.folder / c.thumbnail).is_file()]
    images = {f.number: f.image for f in store.fields()}
    for field in sorted({c.field for c in missing}):
        pixels = read_picture(store.folder / str(images[field]))
        for cell in (c for c in missing if c.field == field):
            x, y, width, height = cell.box
            dx, dy = round(_AROUND * width), round(_AROUND * height)
            part = pixels[max(0, y - dy) : y + height + dy, max(0, x - dx) : x + width + dx]
            data = encode_picture(part, simulated=store.settings.simulated)
            with full_disk(f"thumbnail of cell {cell.number}"):
                disk.write_whole(store.folder / cell.thumbnail, data, 0o600)
