"""What an experiment on chips finds: rows of single chips, and points over all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge_sdk.chips.settings import Setting


@dataclass(frozen=True)
class Row:
    """One chip at one setting. agreement: share of images called as by the exact arithmetic.
    roc_auc: of two classes, else None. seconds: of the run."""

    setting: Setting
    seed: int
    accuracy: float
    agreement: float
    roc_auc: float | None
    seconds: float


@dataclass(frozen=True)
class Point:
    """A setting over its chips: means, and standard deviations between chips (0 for one)."""

    setting: Setting
    chips: int
    accuracy: float
    accuracy_sd: float
    worst: float
    agreement: float
    roc_auc: float | None
    roc_auc_sd: float | None


@dataclass(frozen=True)
class Ideal:
    """The deployed file in exact arithmetic, on the same images."""

    accuracy: float
    roc_auc: float | None


@dataclass(frozen=True)
class ChipsResult:
    """An experiment. images_per_s: of one process, over all rows; sha256: of the model.
    simulated: the images are drawn, not photographed."""

    model: str
    sha256: str
    profile: str
    data: str
    simulated: bool
    images: int
    calibration_images: int
    chips: int
    ideal: Ideal
    points: tuple[Point, ...]
    images_per_s: float
    digital: tuple[str, ...]


def points_of(rows: Sequence[Row]) -> tuple[Point, ...]:
    """One point per setting, in the order the settings come."""
    return tuple(
        _point(setting, [r for r in rows if r.setting == setting])
        for setting in dict.fromkeys(r.setting for r in rows)
    )


def _point(setting: Setting, rows: Sequence[Row]) -> Point:
    accuracy = [r.accuracy for r in rows]
    areas = [r.roc_auc for r in rows if r.roc_auc is not None]
    return Point(
        setting=setting,
        chips=len(rows),
        accuracy=statistics.fmean(accuracy),
        accuracy_sd=_sd(accuracy),
        worst=min(accuracy),
        agreement=statistics.fmean(r.agreement for r in rows),
        roc_auc=statistics.fmean(areas) if areas else None,
        roc_auc_sd=_sd(areas) if areas else None,
    )


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
