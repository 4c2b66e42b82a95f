"""Labelled images in, every model's probabilities out; each image is decoded once."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_sdk import metrics
from edge_sdk.dataset import Dataset, Item, check_unreadable, open_image, read_dataset, read_part
from edge_sdk.errors import DataError
from edge_sdk.evaluate.results import DataInfo
from edge_sdk.metrics import Floats, Ints
from edge_sdk.progress import Progress, watched
from edge_sdk.runtime import Classifier, as_probabilities


@dataclass(frozen=True)
class Labelled:
    """A data folder's readable images. groups: a number per image; names: what they stand for."""

    info: DataInfo
    truth: Ints
    groups: Ints
    names: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """One model's probabilities, rows as the images, columns as the first model's labels."""

    p: Floats
    floor: float
    runtime: str
    version: str
    threads: int
    invoke_ms: float


def read_labelled(
    root: Path, group: str | None, labels: tuple[str, ...], split: Path | None, part: str
) -> Dataset:
    """The images of a folder, with `split` those of a part of it. group: see EvaluateRequest.

    Raises DataError for no labels, or one that is not in `labels`."""
    data = read_dataset(root)
    if not data.labels:
        raise DataError(
            f"{root} has no labels: give a folder per class, or an index.csv with file and label"
        )
    if unknown := [label for label in data.labels if label not in labels]:
        raise DataError(
            f"{root}: label '{unknown[0]}' is not one of the model's: {some(labels)}; rename the "
            "folder or the label"
        )
    if group is not None:
        data = _regroup(data, group)
    return data if split is None else read_part(data, split, part)


def _regroup(data: Dataset, column: str) -> Dataset:
    """The groups from another column of index.csv."""
    index = data.root / "index.csv"
    if not index.is_file():
        raise DataError(f"--group {column}: {data.root} has no index.csv with such a column")
    with index.open(newline="", encoding="utf-8-sig") as f:
        reader = csv.DictReader(f)
        if column not in (columns := reader.fieldnames or []):
            raise DataError(f"--group {column}: {index} has the columns {', '.join(columns)}")
        groups = {data.root / row["file"]: row[column] or None for row in reader}
    return data.subset([replace(item, group=groups[item.path]) for item in data.items])


def run_all(
    opened: Sequence[Classifier],
    dataset: Dataset,
    labels: tuple[str, ...],
    group: str | None,
    threads: int,
    progress: Progress,
) -> tuple[Labelled, list[Answers]]:
    """Every model's answer to every readable image; each image is decoded once."""
    order = [[c.model.labels.index(label) for label in labels] for c in opened]
    rows: list[list[Floats]] = [[] for _ in opened]
    times: list[list[float]] = [[] for _ in opened]
    kept: list[Item] = []
    bad = []
    for item in watched(dataset.items, f"run on {dataset.name[:20]}", progress):
        try:
            image = open_image(item.path)
        except DataError:
            bad.append(item.path)
            continue
        kept.append(item)
        for i, classifier in enumerate(opened):
            prediction = classifier.classify(image)
            rows[i].append(prediction.probabilities[order[i]].astype(np.float64))
            times[i].append(prediction.invoke_ms)
    check_unreadable(bad, len(dataset))
    answers = []
    for i, classifier in enumerate(opened):
        p = as_probabilities(rows[i])
        b = classifier.backend
        median = float(np.median(times[i]))
        answers.append(Answers(p, classifier.floor, b.name, b.version, threads, median))
    data = _describe(dataset, kept, len(bad), labels, group)
    if len(labels) == 2:
        metrics.check_two_classes(data.truth, labels)
    return data, answers


def _describe(
    dataset: Dataset, kept: Sequence[Item], bad: int, labels: tuple[str, ...], group: str | None
) -> Labelled:
    named = {i.group for i in kept if i.group is not None}
    # An image without a group is one of its own, as when groups are split.
    keys = [i.group if i.group is not None else f"image {dataset.name_of(i)}" for i in kept]
    names = tuple(sorted(set(keys)))
    place = {name: n for n, name in enumerate(names)}
    truth = np.array([labels.index(i.label or "") for i in kept], np.int64)
    counts = {label: int((truth == n).sum()) for n, label in enumerate(labels)}
    info = DataInfo(
        name=dataset.name,
        simulated=dataset.simulated,
        images=len(kept),
        unreadable=bad,
        counts=counts,
        groups=len(names) if named else 0,
        group_word=group or "group",
    )
    return Labelled(info, truth, np.array([place[k] for k in keys], np.int64), names)


def some(labels: Sequence[str]) -> str:
    """The first labels, for a message."""
    return ", ".join(labels[:5]) + (f", ... ({len(labels)})" if len(labels) > 5 else "")
