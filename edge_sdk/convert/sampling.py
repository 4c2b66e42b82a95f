"""Which images calibrate and which judge: drawn with a seed, never the same, never of one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.artifact import ImageRecord, Sample
from edge_sdk.dataset import (
    Dataset,
    Item,
    check_unreadable,
    draw,
    open_image,
    read_part,
    split_groups,
)
from edge_sdk.errors import DataError
from edge_sdk.files import sha256
from edge_sdk.preprocess import Pixels, Preprocess, fit_image
from edge_sdk.progress import Progress, watched

CALIBRATION = 200
JUDGED = 500
# Of a training's split. The test part is for the judgement that nothing is chosen by.
CALIBRATES, JUDGES = "train", "validation"


@dataclass(frozen=True)
class Loaded:
    """Images ready for a model. pixels: uint8 (N, H, W, 3). items: the N that were readable."""

    pixels: Pixels
    items: tuple[Item, ...]
    unreadable: tuple[Path, ...]


def choose(
    data: Dataset, calibration: int | None, judged: int | None, seed: int, split: Path | None = None
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Calibration and judged items; a count of None means the default, or half of a small folder.
    With the file of a `split` they come from its parts CALIBRATES and JUDGES.

    Raises DataError when a count that was asked for is not there, or one group holds it all."""
    count = len(data)
    wanted = (
        ("--calibration", calibration, CALIBRATION),
        ("--samples", judged, JUDGED),
    )
    shares = (calibration or CALIBRATION, judged or JUDGED)
    if sum(shares) > count:  # a count that was asked for comes before a default
        shares = (
            calibration or max(1, count - (judged or count // 2)),
            judged or max(1, count - (calibration or count // 2)),
        )
    if split is None:
        pools = split_groups(data.items, shares, seed)
    else:
        pools = [read_part(data, split, part).items for part in (CALIBRATES, JUDGES)]
    for (option, asked, _), pool in zip(wanted, pools, strict=True):
        if asked is not None and asked > len(pool):
            raise DataError(
                f"{option} {asked}: of its {count} images {data.root} leaves {len(pool)} for it "
                "when groups are kept together; add images or ask for fewer"
            )
    if not all(pools):
        raise DataError(
            f"{data.root}: its {len(data)} images cannot be split into calibration and judged "
            "images: at least two images, of two different groups, are needed"
        )
    picked = [
        draw(pool, asked or min(default, len(pool)), seed)
        for pool, (_, asked, default) in zip(pools, wanted, strict=True)
    ]
    return picked[0], picked[1]


def load(items: Sequence[Item], spec: Preprocess, step: str, progress: Progress) -> Loaded:
    """Opens and fits images; unreadable ones are left out and named.

    Raises DataError when more than a tenth, or all, are unreadable."""
    pixels, kept, bad = [], [], []
    for item in watched(items, step, progress):
        try:
            pixels.append(fit_image(open_image(item.path), spec))
            kept.append(item)
        except DataError:
            bad.append(item.path)
    check_unreadable(bad, len(items))
    return Loaded(np.stack(pixels), tuple(kept), tuple(bad))


def record(data: Dataset, items: Sequence[Item], seed: int) -> Sample:
    images = tuple(ImageRecord(data.name_of(i), sha256(i.path), i.group) for i in items)
    return Sample(data.name, data.simulated, seed, images)
