from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_sdk.errors import DataError, UsageError
from edge_sdk.preprocess import Preprocess
from edge_sdk.screening.crop import crop_cell, crop_cells
from edge_sdk.screening.seeds import split
from edge_sdk.screening.segment import MAX_PIXELS, Field, segment
from edge_sdk.simulate_field import SimulatedField, draw_field

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def drawn() -> SimulatedField:
    return draw_field(7, 3, (960, 720), cells=60, clumped=0.4, white_cells=1)


@pytest.fixture(scope="module")
def found(drawn: SimulatedField) -> Field:
    return segment(drawn.pixels)


def missed(drawn: SimulatedField, found: Field) -> int:
    """Whole drawn cells without a found one of their own within half a radius."""
    free = [c.centre for c in found.cells]
    missing = 0
    for cell in (c for c in drawn.cells if c.whole):
        near = [p for p in free if math.hypot(p[0] - cell.x, p[1] - cell.y) < cell.radius / 2]
        if near:
            free.remove(near[0])
        missing += not near
    return missing


def test_drawn_cells_are_found_counted_and_measured(drawn: SimulatedField, found: Field) -> None:
    assert missed(drawn, found) <= 1
    assert abs(len(found.cells) - len(drawn.cells)) <= 3
    diameter = 2 * float(np.median([c.radius for c in drawn.cells]))
    assert found.diameter == pytest.approx(diameter, rel=0.15)


def test_clumps_borders_and_white_cells_are_told(drawn: SimulatedField, found: Field) -> None:
    for cell in drawn.cells:
        place = (cell.x, cell.y)
        near = [c for c in found.cells if math.dist(c.centre, place) < cell.radius / 2]
        if near and cell.clump is None and cell.whole:
            assert "unsplit" not in near[0].flags
    assert any("clump" in c.flags for c in found.cells)
    for cell in found.cells:
        x, y, w, h = cell.box
        cut = x == 0 or y == 0 or x + w == 960 or y + h == 720
        assert cut == ("border" in cell.flags)
    assert not any("border" in c.flags for c in found.counted)
    (white,) = [a for a in found.aside if a.why == "white cell"]
    wx, wy, _ = drawn.white_cells[0]
    assert white.box[0] <= wx <= white.box[0] + white.box[2]
    assert white.box[1] <= wy <= white.box[1] + white.box[3]


def test_masks_do_not_share_pixels_and_touch_their_box(found: Field) -> None:
    owners = np.zeros((720, 960), np.int64)
    for cell in found.cells:
        x, y, w, h = cell.box
        assert cell.mask.shape == (h, w)
        assert cell.mask[0].any()
        assert cell.mask[-1].any()
        assert cell.mask[:, 0].any()
        assert cell.mask[:, -1].any()
        owners[y : y + h, x : x + w] += cell.mask
    assert (owners > 1).mean() < 1e-3  # rounding to whole pixels at shared edges


def test_the_same_pixels_give_the_same_cells(drawn: SimulatedField, found: Field) -> None:
    again = segment(drawn.pixels.copy())
    assert [c.box for c in again.cells] == [c.box for c in found.cells]
    assert all(
        np.array_equal(a.mask, b.mask) for a, b in zip(again.cells, found.cells, strict=True)
    )


def test_a_set_diameter_is_used(drawn: SimulatedField) -> None:
    assert segment(drawn.pixels, diameter=60.0).diameter == 60.0
    with pytest.raises(UsageError, match="from 8 to 2000"):
        segment(drawn.pixels, diameter=2.0)


def test_crops_are_the_cells_on_black_at_the_models_size(
    drawn: SimulatedField, found: Field
) -> None:
    cell = found.counted[0]
    x, y, w, h = cell.box
    crop = crop_cell(drawn.pixels, cell)
    assert crop.shape == (h, w, 3)
    assert not crop[~cell.mask].any()
    assert np.array_equal(crop[cell.mask], drawn.pixels[y : y + h, x : x + w][cell.mask])
    batch = crop_cells(drawn.pixels, found.counted, Preprocess(96, 96, fit="pad"))
    assert batch.shape == (len(found.counted), 96, 96, 3)
    assert batch[0].any()
    assert crop_cells(drawn.pixels, [], Preprocess(96, 96)).shape == (0, 96, 96, 3)


@pytest.mark.parametrize("level", [0, 7, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (15, 15), (240, 320)])
def test_an_even_picture_has_no_cells(level: int, size: tuple[int, int]) -> None:
    found = segment(np.full((*size, 3), level, np.uint8))
    assert (found.cells, found.diameter, found.channel) == ((), None, None)
    assert found.background == (level, level, level)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(0, 2**32 - 1),
    st.sampled_from(["noise", "grey noise", "blobs", "half"]),
)  # fmt: skip
def test_any_picture_gives_cells_inside_it(w: int, h: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (h, w, 3), np.uint8)
    if kind == "grey noise":
        pixels[:] = pixels[..., :1]
    elif kind == "blobs":
        pixels = (pixels // 64 * 64).repeat(4, 0).repeat(4, 1)[:h, :w]
    elif kind == "half":
        pixels[: h // 2] = 30
    found = segment(pixels)
    for cell in found.cells:
        x, y, bw, bh = cell.box
        assert min(x, y) >= 0
        assert x + bw <= w
        assert y + bh <= h
        assert cell.mask.any()


def test_one_giant_clump_is_not_one_cell() -> None:
    pixels = np.full((600, 800, 3), (210, 205, 200), np.uint8)
    pixels[100:500, 100:700] = (190, 110, 130)
    found = segment(pixels, diameter=60.0)
    assert all("clump" in c.flags or "unsplit" in c.flags for c in found.cells)


def test_what_is_no_field_is_refused() -> None:
    for wrong in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        "field.jpg",
    ):
        with pytest.raises(DataError, match=r"uint8 \(H, W, 3\)"):
            segment(wrong)  # type: ignore[arg-type]
    huge = np.broadcast_to(np.uint8(0), (MAX_PIXELS // 1000 + 1, 1000, 3))
    with pytest.raises(DataError, match="shrink"):
        segment(huge)


def test_a_small_cell_beside_a_large_one_keeps_its_seed() -> None:
    parts = np.ones((60, 60), np.int32)
    seeds = [(30, 30, 20.0), (44, 30, 12.0)]  # the second lies deep in the power of the first
    owner = split(parts, seeds, 20.0)
    assert [int(owner[y, x]) for x, y, _ in seeds] == [1, 2]


@pytest.mark.shared
def test_real_fields_cells_are_found(shared: Path) -> None:
    folder = shared / "data" / "iml-fields"
    records = sorted(json.loads((folder / "boxes.json").read_text()), key=lambda r: r["image"])
    found = boxed = 0
    for record in records[1::30]:
        pixels = np.asarray(Image.open(folder / "images" / record["image"]).convert("RGB"))
        centres = [c.centre for c in segment(pixels).cells]
        for b in record["boxes"]:
            if 2 < b["x"] < 1278 - b["w"] and 2 < b["y"] < 958 - b["h"]:
                boxed += 1
                found += any(
                    abs(x - b["x"] - b["w"] / 2) <= b["w"] / 4
                    and abs(y - b["y"] - b["h"] / 2) <= b["h"] / 4
                    for x, y in centres
                )
    assert boxed > 300
    assert found / boxed > 0.97
