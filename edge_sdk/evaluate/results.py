"""What a comparison says: the frozen records that text, page and JSON are made from."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sdk.artifact import Decision
from edge_sdk.benchmark.measure import Machine


@dataclass(frozen=True)
class DataInfo:
    """What was looked at. group_word: what a group is called (group, patient, slide); groups: 0
    where the data names none. counts: readable images per label."""

    name: str
    simulated: bool
    images: int
    unreadable: int
    counts: dict[str, int]
    groups: int
    group_word: str


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % interval; null where it is not defined or has none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Worst:
    """The worst tenth of the groups with at least metrics.MIN_GROUP images, and the worst one."""

    groups: int
    accuracy: float
    worst_group: str
    worst_accuracy: float


@dataclass(frozen=True)
class McNemar:
    """Against the first model: images only that one, and only this one, got right."""

    only_first: int
    only_this: int
    p: float
    test: str


@dataclass(frozen=True)
class Evaluation:
    """One model. figures: at the most probable label (for two classes a threshold of 0.5).
    at_threshold: the same figures when `decision` is used; its origin says where that is from.
    ece: of the probabilities as they are; ece_scaled: with the temperature. roc, pr: points.
    reliability: rows (images, mean top-1 probability, accuracy), a row per bin."""

    model: str
    sha256: str
    model_bytes: int
    runtime: str
    version: str
    threads: int
    invoke_ms: float
    figures: dict[str, Figure]
    confusion: tuple[tuple[int, ...], ...]
    ece: float
    ece_scaled: float | None
    decision: Decision | None
    decision_origin: str
    at_threshold: dict[str, Figure]
    worst: Worst | None
    mcnemar: McNemar | None
    roc: tuple[tuple[float, ...], ...]
    pr: tuple[tuple[float, ...], ...]
    reliability: tuple[tuple[float, ...], ...]
    reliability_scaled: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """All models on the same images; every figure is measured. positive: null for more classes.
    calibration: null without one."""

    data: DataInfo
    calibration: DataInfo | None
    labels: tuple[str, ...]
    positive: str | None
    interval_method: str
    machine: Machine
    python: str
    models: tuple[Evaluation, ...]
    notes: tuple[str, ...]
