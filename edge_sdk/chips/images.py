"""Images as the levels a deployed model takes, decoded once for all chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.base import TensorSpec
from edge_sdk.dataset import (
    Item,
    check_unreadable,
    draw,
    open_image,
    read_dataset,
    read_part,
    refuse_twins,
)
from edge_sdk.errors import DataError, UsageError
from edge_sdk.metrics import Ints
from edge_sdk.preprocess import Encoder, dequantise, fit_image
from edge_sdk.progress import Progress, silent, watched
from edge_sdk.runtime import Model, as_probabilities

Levels = npt.NDArray[Any]
SEED = 0


@dataclass(frozen=True, eq=False)
class Judged:
    """levels: (N, height, width, 3) in the model's input type. truth: class numbers (N,)."""

    name: str
    simulated: bool
    levels: Levels
    truth: Ints


def judged_images(
    model: Model,
    spec: TensorSpec,
    data: Path,
    split_file: Path | None,
    count: int,
    progress: Progress = silent,
    part: str = "test",
) -> Judged:
    """Labelled images; count 0: all. part: of a split file. Raises DataError for labels that are
    not the model's."""
    found = read_dataset(data)
    if not found.labels:
        raise DataError(f"{data} has no labels: give a folder per class, or an index.csv")
    if unknown := [label for label in found.labels if label not in model.labels]:
        raise DataError(f"{data}: label '{unknown[0]}' is not one of {', '.join(model.labels[:5])}")
    if split_file is not None:
        found = read_part(found, split_file, part)
    items: Sequence[Item] = found.items
    if 0 < count < len(items):
        items = draw(items, count, SEED)
    levels, kept = _levels(model, spec, items, "read images", progress)
    truth = np.array([model.labels.index(i.label or "") for i in kept], np.int64)
    return Judged(found.name, found.simulated, levels, truth)


def calibration_images(
    model: Model,
    spec: TensorSpec,
    calibration: Path | None,
    judged: tuple[Path, Path | None] | None,
    count: int,
    progress: Progress = silent,
    part: str = "test",
) -> Levels | None:
    """Levels to calibrate converters on: of a folder, or of the training part of what is judged.

    judged: a data folder and its split file; None: nothing is. None where there are neither.
    Raises DataError for images or groups that are judged too."""
    data, split_file = judged or (None, None)
    if calibration is not None:
        found = read_dataset(calibration)
    elif data is not None and split_file is not None:
        found = read_part(read_dataset(data), split_file, "train")
    else:
        return None
    items = draw(found.items, min(count, len(found.items)), SEED)
    if calibration is not None and data is not None:
        rest = read_dataset(data)
        rest = rest if split_file is None else read_part(rest, split_file, part)
        refuse_twins(found.subset(items), rest, "converters must not be calibrated on them")
    return _levels(model, spec, items, "read calibration images", progress)[0]


def probabilities(model: Model, spec: TensorSpec, raw: Levels) -> npt.NDArray[np.float64]:
    """Rows that sum to 1 of output levels (N, ...)."""
    scores = dequantise(raw.reshape(len(raw), -1), spec.quantisation).astype(np.float64)
    if model.activation == "logits":
        scores = np.exp(scores - scores.max(1, keepdims=True))
    return as_probabilities(scores)


def _levels(
    model: Model, spec: TensorSpec, items: Sequence[Item], step: str, progress: Progress
) -> tuple[Levels, list[Item]]:
    if not items:
        raise UsageError("no images to read")
    encode = Encoder(model.preprocess, spec.dtype, spec.quantisation)
    levels = np.empty((len(items), *spec.shape[1:]), spec.dtype)
    kept: list[Item] = []
    bad = []
    for item in watched(items, step, progress):
        try:
            image = open_image(item.path)
        except DataError:
            bad.append(item.path)
            continue
        levels[len(kept)] = encode(fit_image(image, model.preprocess))
        kept.append(item)
    check_unreadable(bad, len(items))
    return levels[: len(kept)], kept
