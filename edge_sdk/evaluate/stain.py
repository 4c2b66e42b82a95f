"""The stain range of a model: the colours of the patients that it was trained and set up with."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from edge_sdk.dataset import Dataset, Item, open_image
from edge_sdk.errors import DataError
from edge_sdk.preprocess import Pixels
from edge_sdk.progress import Progress, watched
from edge_sdk.screening.gates import crop_colour
from edge_sdk.stain_range import StainRange

CELLS = 40  # of each patient are enough for the median colour
_NEAR_BLACK = 24  # grey levels: a lossy file does not keep black black
_LEAST_BLACK = 0.05  # of a picture: a cell fills pi / 4 of its box


def measure_stain(data: Dataset, progress: Progress) -> StainRange | None:
    """From cells cut out on black, as `crop_cell` cuts them; None where they are not, for the
    background's colour would be in it. A picture without a group is left out.

    Raises DataError for fewer than three groups."""
    by_group: dict[str, list[Item]] = defaultdict(list)
    for item in data.items:
        if item.group is not None:
            by_group[item.group].append(item)
    picked = {g: found[:: max(1, len(found) // CELLS)] for g, found in sorted(by_group.items())}
    crops: dict[str, list[Pixels]] = defaultdict(list)
    colours, black = [], []
    for group, found in watched(list(picked.items()), "colours of the cells", progress):
        for item in found:
            if (crop := _read(item)) is not None:
                crops[group].append(crop)
                black.append(float((crop.max(axis=2) == 0).mean()))
        if crops[group]:
            colours.append(crop_colour(crops.pop(group)))
    if not black or float(np.median(black)) < _LEAST_BLACK:
        return None
    return StainRange.around(colours, data=data.name, simulated=data.simulated, cells=len(black))


def _read(item: Item) -> Pixels | None:
    try:
        pixels = np.asarray(open_image(item.path)).copy()
    except DataError:
        return None  # the scores' own reading counts and reports these
    pixels[pixels.max(axis=2) < _NEAR_BLACK] = 0
    return pixels
