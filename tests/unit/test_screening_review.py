"""A session's review: what is shown is the session's."""

from __future__ import annotations

from pathlib import Path

from screening_sessions import made, run_through

from edge_sdk.screening.review import review_cells
from edge_sdk.screening.store import Store


def test_a_review_shows_the_flagged_cells_and_their_fields(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_through(folder)
    with Store(folder, write=True) as store:
        shown = review_cells(store)
        assert {c.number for c in shown.cells} == {c.number for c in store.cells()}
        assert [c.probability for c in shown.cells] == sorted(
            (c.probability for c in store.cells()), reverse=True
        )
        assert shown.thumbnails.keys() == {c.number for c in shown.cells}
        assert all(data.startswith(b"\x89PNG") for data in shown.thumbnails.values())
        first = shown.cells[0]
        assert shown.sizes[first.field][0] >= first.box[0] + first.box[2]
        assert shown.field(first.field) is not None
        assert shown.field(999) is None
