"""Review of flagged cells: a person confirms, rejects or is unsure. Raw counts stay as they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.ondevice import disk
from edge_sdk.screening.database import full_disk
from edge_sdk.screening.record import VERDICTS, FlaggedCell, Verdict
from edge_sdk.screening.session import encode_picture, read_picture
from edge_sdk.screening.state import after
from edge_sdk.screening.store import Store

_AROUND = 0.5  # of a cell's box, shown on each side of it


@dataclass(frozen=True)
class ReviewCells:
    """cells: the most probable first. thumbnails: PNG by cell number. sizes: (width, height) of
    fields' pictures by number, field: PNG of a field by number; None where it was purged."""

    cells: tuple[FlaggedCell, ...]
    thumbnails: Mapping[int, bytes]
    sizes: Mapping[int, tuple[int, int]]
    field: Callable[[int], bytes | None]


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


def review_cells(store: Store) -> ReviewCells:
    """What a page of the review shows. Raises as `to_review` does."""
    cells = to_review(store)
    images = {f.number: f.image for f in store.fields()}

    def field(number: int) -> bytes | None:
        name = images.get(number)
        path = store.folder / name if name else None
        return path.read_bytes() if path and path.is_file() else None

    return ReviewCells(
        cells=cells,
        thumbnails={c.number: (store.folder / c.thumbnail).read_bytes() for c in cells},
        sizes={n: size for n in {c.field for c in cells} if (size := _size(field(n)))},
        field=field,
    )


def _size(picture: bytes | None) -> tuple[int, int] | None:
    from PIL import Image

    return None if picture is None else Image.open(io.BytesIO(picture)).size


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
