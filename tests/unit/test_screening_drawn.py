from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from edge_sdk.errors import UsageError
from edge_sdk.screening.drawn_slide import DrawnSlide

SMALL = {"size": (320, 240), "cells": 20, "blurred": 0.0, "repeated": 0.0}


def test_a_slide_goes_on_where_it_was_left() -> None:
    whole = [f.pixels for f in DrawnSlide(seed=3, fields=4, **SMALL)]  # type: ignore[arg-type]
    rest = [f.pixels for f in DrawnSlide(seed=3, first=2, fields=2, **SMALL)]  # type: ignore[arg-type]
    assert len(whole) == 4
    assert all(np.array_equal(a, b) for a, b in zip(whole[2:], rest, strict=True))
    assert len({p.tobytes() for p in whole}) == 4


def test_parasitaemia_is_that_of_the_slide_not_of_each_field() -> None:
    camera = DrawnSlide(parasitaemia=0.02, seed=1, **SMALL)  # type: ignore[arg-type]
    found = [f.metadata["field"] for f in islice(camera, 60)]
    cells = sum(len(f.cells) for f in found)
    infected = [sum(c.infected for c in f.cells) for f in found]
    assert 0 in infected
    assert 0.005 < sum(infected) / cells < 0.045
    clear = DrawnSlide(parasitaemia=0.0, seed=1, **SMALL)  # type: ignore[arg-type]
    assert not any(c.infected for f in islice(clear, 5) for c in f.metadata["field"].cells)


def test_every_frame_says_that_it_is_drawn() -> None:
    frame = next(iter(DrawnSlide(**SMALL)))  # type: ignore[arg-type]
    assert frame.metadata["simulated"] is True
    with pytest.raises(ValueError):
        frame.pixels[0, 0] = 0


def test_blurred_and_repeated_pictures_come_as_asked() -> None:
    blurred = DrawnSlide(seed=2, **(SMALL | {"blurred": 1.0}))  # type: ignore[arg-type]
    assert next(iter(blurred)).metadata["field"].defocus > 0
    repeated = DrawnSlide(seed=2, **(SMALL | {"repeated": 1.0}))  # type: ignore[arg-type]
    one, two = (f.metadata["seed"] for f in islice(repeated, 2))
    assert one == two


@pytest.mark.parametrize("option", [{"parasitaemia": 1.5}, {"seed": -1}, {"repeated": -0.1}])
def test_what_is_out_of_range_is_named(option: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        DrawnSlide(**option)  # type: ignore[arg-type]
