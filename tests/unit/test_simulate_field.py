from __future__ import annotations

import math

import numpy as np
import pytest

from edge_sdk.errors import UsageError
from edge_sdk.simulate import slide_of
from edge_sdk.simulate_field import draw_field


def test_a_field_is_seeded_and_knows_where_its_cells_are() -> None:
    field, same = draw_field(3, 2, (320, 240), cells=12), draw_field(3, 2, (320, 240), cells=12)
    assert np.array_equal(field.pixels, same.pixels)
    assert field.cells == same.cells
    assert not np.array_equal(field.pixels, draw_field(4, 2, (320, 240), cells=12).pixels)
    assert (field.pixels.shape, field.pixels.dtype) == ((240, 320, 3), np.uint8)
    light = slide_of(2).background[1]
    green = field.pixels[..., 1].astype(float)
    for cell in field.cells:  # a red cell takes away green light at its place
        if cell.whole:
            y, x, r = round(cell.y), round(cell.x), round(cell.radius / 2)
            assert green[y - r : y + r, x - r : x + r].mean() < 0.93 * light


def test_the_infected_share_is_met_and_parasites_lie_in_their_cells() -> None:
    field = draw_field(1, 0, infected=0.5, cells=30)
    assert sum(c.infected for c in field.cells) == round(0.5 * len(field.cells))
    assert all((c.kind == "uninfected") == (not c.infected) for c in field.cells)
    for cell in field.cells:
        for x, y, _ in cell.parasites:
            assert math.hypot(x - cell.x, y - cell.y) < 1.2 * cell.radius


def test_parasites_are_where_they_are_said_to_be() -> None:
    """Chromatin takes green away: a parasite's place is darker than its cell is elsewhere."""
    darker = []
    for seed in range(3):
        field = draw_field(seed, 2, infected=1.0, clumped=0.0, white_cells=0, cells=20)
        green = field.pixels[..., 1].astype(float)
        for cell in (c for c in field.cells if c.whole):
            y, x, r = round(cell.y), round(cell.x), round(cell.radius)
            body = np.median(green[y - r // 2 : y + r // 2, x - r // 2 : x + r // 2])
            for px, py, pr in cell.parasites:
                n = max(2, round(pr))
                spot = green[round(py) - n : round(py) + n, round(px) - n : round(px) + n]
                darker.append(spot.min() < body - 8)
    assert len(darker) > 20
    assert np.mean(darker) > 0.95


def test_clumps_touch_and_cells_alone_do_not() -> None:
    field = draw_field(5, 1, clumped=0.6, diameter=40.0)
    clumps: dict[int, int] = {}
    for cell in field.cells:
        near = min(math.hypot(cell.x - c.x, cell.y - c.y) for c in field.cells if c is not cell)
        if cell.clump is None:
            assert near > 1.1 * 40
        else:
            clumps[cell.clump] = clumps.get(cell.clump, 0) + 1
            assert near < 40
    assert clumps
    assert min(clumps.values()) >= 2
    assert all(c.clump is None for c in draw_field(5, 1, clumped=0.0).cells)


def test_defocus_blurs_and_white_cells_are_dark() -> None:
    def detail(defocus: float) -> float:
        pixels = draw_field(2, 0, (320, 240), defocus=defocus).pixels[..., 1].astype(float)
        return float(np.abs(pixels[:, 8:] - pixels[:, :-8]).mean())

    assert detail(6.0) < detail(2.0) < detail(0.0)
    field = draw_field(2, 0, white_cells=2)
    assert len(field.white_cells) == 2
    for x, y, r in field.white_cells:
        part = field.pixels[
            max(0, round(y - r)) : round(y + r), max(0, round(x - r)) : round(x + r)
        ]
        assert part[..., 0].min() < 110


@pytest.mark.parametrize(
    "options",
    [{"infected": 1.1}, {"clumped": -0.1}, {"diameter": 2.0}, {"defocus": -1.0}, {"cells": -1}],
)
def test_numbers_out_of_range_are_usage_errors(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        draw_field(0, **options)  # type: ignore[arg-type]
