"""Runs artifacts over labelled images and gathers what they got right into one comparison."""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_sdk import metrics
from edge_sdk.artifact import MANIFEST_FILE, Decision, manifest_json, read_artifact
from edge_sdk.benchmark.measure import Machine, describe_machine
from edge_sdk.dataset import Dataset, Item, check_unreadable, open_image, read_dataset
from edge_sdk.errors import DataError, UsageError
from edge_sdk.files import sha256, write_whole
from edge_sdk.metrics import Bools, Floats, Ints
from edge_sdk.progress import Progress, silent, watched
from edge_sdk.runtime import Classifier, Model, load_model

FLOAT_FLOOR = 1e-7
SEED = 0
CURVE_POINTS = 400


@dataclass(frozen=True)
class EvaluateRequest:
    """group: the index.csv column that holds the groups; None takes `group` or `patient`.
    positive: the label that counts as found, for two classes; None takes the stored one, else
    the first. calibrate: a folder to fit temperature and threshold on; store: keep them."""

    models: tuple[Path, ...]
    data: Path
    group: str | None = None
    positive: str | None = None
    calibrate: Path | None = None
    store: bool = False
    backend: str = "auto"
    threads: int = 1


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


@dataclass(frozen=True)
class _Data:
    """A data folder's readable images. groups: a number per image; names: what they stand for."""

    info: DataInfo
    truth: Ints
    groups: Ints
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Answers:
    """One model's probabilities, rows as the images, columns as the first model's labels."""

    p: Floats
    floor: float
    runtime: str
    version: str
    threads: int
    invoke_ms: float


def evaluate(request: EvaluateRequest, progress: Progress = silent) -> Comparison:
    """Evaluates every model on the labelled images of `data`; with `calibrate` fits each model's
    decision on that folder alone first.

    Raises DataError for data without labels, labels that are not the models', a class of two
    without images, or calibration images or groups that are also judged; UsageError for options
    that do not fit; what loading and running a model raises."""
    if not request.models:
        raise UsageError("no model given: name artifact folders or .tflite files")
    if request.store and request.calibrate is None:
        raise UsageError("--store keeps what --calibrate fits: give --calibrate DIR too")
    if request.store and (bare := [m for m in request.models if not m.is_dir()]):
        raise UsageError(f"--store: {bare[0]} is no artifact folder and has no manifest")
    models = [load_model(path) for path in request.models]
    labels = _common_labels(models)
    stored = [read_artifact(m).manifest.decision if m.is_dir() else None for m in request.models]
    positive, notes = _positive(labels, request.positive, stored)
    notes += [f"{m.name}: {text}" for m in models for text in m.notes]
    judged = _read(request.data, request.group, labels)
    fitting = None
    if request.calibrate is not None:
        fitting = _read(request.calibrate, request.group, labels)
        _refuse_overlap(fitting, judged)
    opened = [Classifier(m, backend=request.backend, threads=request.threads) for m in models]
    try:
        calibration: _Data | None = None
        fitted: list[Decision | None] = [None] * len(models)
        if fitting is not None:
            calibration, answers = _answer(opened, fitting, labels, request, progress)
            fitted = [_fit(a, calibration, labels, positive) for a in answers]
        data, answers = _answer(opened, judged, labels, request, progress)
    finally:
        for classifier in opened:
            classifier.close()
    found = []
    for i, answer in enumerate(watched(answers, "intervals", progress)):
        decision, origin = fitted[i] or stored[i], "fitted now" if fitted[i] else "stored"
        if decision is not None and decision.positive != positive:
            notes.append(
                f"{models[i].name}: its {origin} decision finds {decision.positive}: unused"
            )
            decision = None
        first = answers[0] if i else None
        found.append(_judge(models[i], answer, data, positive, labels, decision, origin, first))
    notes += _warnings(data, found)
    if request.store:
        for path, decision in zip(request.models, fitted, strict=True):
            store_decision(path, decision)
    return Comparison(
        data=data.info,
        calibration=calibration.info if calibration else None,
        labels=labels,
        positive=positive,
        interval_method=_interval_method(data.info),
        machine=describe_machine(),
        python=platform.python_version(),
        models=tuple(found),
        notes=tuple(dict.fromkeys(notes)),
    )


def store_decision(artifact: Path, decision: Decision | None) -> None:
    """Rewrites an artifact's manifest with this decision, whole or not at all."""
    manifest = replace(read_artifact(artifact).manifest, decision=decision)
    write_whole(artifact / MANIFEST_FILE, manifest_json(manifest).encode("utf-8"))


def _common_labels(models: Sequence[Model]) -> tuple[str, ...]:
    first = models[0]
    if twice := [label for label in first.labels if first.labels.count(label) > 1]:
        raise DataError(f"{first.name} has the label '{twice[0]}' twice: rename one of them")
    for m in models[1:]:
        if sorted(m.labels) != sorted(first.labels):
            raise DataError(
                f"{m.name} has other labels than {first.name}: {_some(m.labels)} and "
                f"{_some(first.labels)}; evaluate them one by one"
            )
    return first.labels


def _positive(
    labels: tuple[str, ...], given: str | None, stored: Sequence[Decision | None]
) -> tuple[str | None, list[str]]:
    if len(labels) != 2:
        if given is not None:
            raise UsageError(f"--positive {given}: only for two classes, the model has others")
        return None, []
    if given is not None:
        if given not in labels:
            raise UsageError(f"--positive {given} is not one of {', '.join(labels)}")
        return given, []
    for decision in stored:
        if decision is not None and decision.positive is not None:
            return decision.positive, []
    return labels[0], [f"'{labels[0]}' is taken as what is looked for: --positive names another"]


def _read(root: Path, group: str | None, labels: tuple[str, ...]) -> Dataset:
    data = read_dataset(root)
    if not data.labels:
        raise DataError(
            f"{root} has no labels: give a folder per class, or an index.csv with file and label"
        )
    if unknown := [label for label in data.labels if label not in labels]:
        raise DataError(
            f"{root}: label '{unknown[0]}' is not one of the model's: {_some(labels)}; rename the "
            "folder or the label"
        )
    return data if group is None else _regroup(data, group)


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


def _refuse_overlap(fitting: Dataset, judged: Dataset) -> None:
    groups = {i.group for i in judged.items if i.group is not None}
    if both := sorted({i.group for i in fitting.items if i.group in groups and i.group}):
        raise DataError(
            f"calibration and judged images share {len(both)} groups, the first is '{both[0]}': "
            "a temperature or threshold fitted on them would flatter the result"
        )
    known = {sha256(i.path): i.path for i in judged.items}
    for item in fitting.items:
        if twin := known.get(sha256(item.path)):
            raise DataError(
                f"{item.path} is the same image as the judged {twin}: calibrate on other images"
            )


def _answer(
    opened: Sequence[Classifier],
    dataset: Dataset,
    labels: tuple[str, ...],
    request: EvaluateRequest,
    progress: Progress,
) -> tuple[_Data, list[_Answers]]:
    """Every model's answer to every readable image; each image is decoded once."""
    order = [[c.model.labels.index(label) for label in labels] for c in opened]
    rows: list[list[Floats]] = [[] for _ in opened]
    times: list[list[float]] = [[] for _ in opened]
    kept: list[Item] = []
    bad = []
    for item in watched(dataset.items, f"run on {dataset.root.name[:20]}", progress):
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
        p = np.maximum(np.asarray(rows[i]), 0.0)
        # Sigmoids do not sum to 1, nor do rounded probabilities; all zeros say nothing.
        total = p.sum(1, keepdims=True)
        p = np.where(total > 0, p / np.where(total > 0, total, 1.0), 1 / len(labels))
        step = classifier.backend.output.quantisation
        logits = classifier.model.activation == "logits"
        floor = FLOAT_FLOOR if step is None or logits else step.scale / 2
        b = classifier.backend
        median = float(np.median(times[i]))
        answers.append(_Answers(p, floor, b.name, b.version, request.threads, median))
    data = _describe(dataset, kept, len(bad), labels, request.group)
    if len(labels) == 2:
        metrics.check_two_classes(data.truth, labels)
    return data, answers


def _describe(
    dataset: Dataset, kept: Sequence[Item], bad: int, labels: tuple[str, ...], group: str | None
) -> _Data:
    named = {i.group for i in kept if i.group is not None}
    # An image without a group is one of its own, as when groups are split.
    keys = [i.group if i.group is not None else f"image {dataset.name_of(i)}" for i in kept]
    names = tuple(sorted(set(keys)))
    place = {name: n for n, name in enumerate(names)}
    truth = np.array([labels.index(i.label or "") for i in kept], np.int64)
    counts = {label: int((truth == n).sum()) for n, label in enumerate(labels)}
    info = DataInfo(
        name=dataset.root.resolve().name,
        simulated=dataset.simulated,
        images=len(kept),
        unreadable=bad,
        counts=counts,
        groups=len(names) if named else 0,
        group_word=group or "group",
    )
    return _Data(info, truth, np.array([place[k] for k in keys], np.int64), names)


def _fit(
    answers: _Answers, data: _Data, labels: tuple[str, ...], positive: str | None
) -> Decision | None:
    temperature = metrics.fit_temperature(answers.p, data.truth, answers.floor)
    threshold = None
    if positive is not None:
        at = labels.index(positive)
        score = metrics.scaled(answers.p, temperature, answers.floor)[:, at]
        threshold = metrics.fit_threshold(score, data.truth == at)
    i = data.info
    return Decision(temperature, threshold, positive, i.name, i.simulated, i.images, i.groups)


def _judge(
    model: Model,
    answers: _Answers,
    data: _Data,
    positive: str | None,
    labels: tuple[str, ...],
    decision: Decision | None,
    origin: str,
    first: _Answers | None,
) -> Evaluation:
    p, truth, classes = answers.p, data.truth, len(labels)
    called = p.argmax(1)
    at = labels.index(positive) if positive is not None else None
    score = p[:, at] if at is not None else None
    right = called == truth
    tempered = metrics.scaled(p, decision.temperature, answers.floor) if decision else None
    at_threshold = {}
    if at is not None and decision and decision.threshold is not None and tempered is not None:
        calls = np.where(tempered[:, at] >= decision.threshold, at, 1 - at)
        at_threshold = _figures(data, calls, classes, at, None)
    roc, pr = ((), ()) if score is None else map(_points, metrics.curves(score, truth == at))
    return Evaluation(
        model=model.name,
        sha256=sha256(model.path),
        model_bytes=model.path.stat().st_size,
        runtime=answers.runtime,
        version=answers.version,
        threads=answers.threads,
        invoke_ms=answers.invoke_ms,
        figures=_figures(data, called, classes, at, score),
        confusion=tuple(map(tuple, metrics.confusion(truth, called, classes).tolist())),
        ece=metrics.calibration_error(p, truth),
        ece_scaled=None if tempered is None else metrics.calibration_error(tempered, truth),
        decision=decision,
        decision_origin=origin if decision else "",
        at_threshold=at_threshold,
        worst=_worst(right, data),
        mcnemar=None if first is None else _mcnemar(first.p.argmax(1) == truth, right),
        roc=roc,
        pr=pr,
        reliability=_rows(metrics.reliability(p, truth)),
        reliability_scaled=() if tempered is None else _rows(metrics.reliability(tempered, truth)),
    )


def _figures(
    data: _Data, called: Ints, classes: int, positive: int | None, score: Floats | None
) -> dict[str, Figure]:
    truth = data.truth
    table = metrics.confusion(truth, called, classes).astype(np.float64)
    values = metrics.figures(table.diagonal(), table.sum(1), table.sum(0), positive)
    if score is not None:
        roc, pr = metrics.areas(score, truth == positive, np.ones((1, len(score))))
        values |= {"roc_auc": roc[0], "pr_auc": pr[0]}
    ranges = metrics.intervals(
        truth, called, classes, data.groups, positive=positive, score=score, seed=SEED
    )
    return {
        name: Figure(_known(value), *map(_known, ranges[name])) for name, value in values.items()
    }


def _known(value: float | Floats) -> float | None:
    return None if math.isnan(value) else float(value)


def _worst(right: Bools, data: _Data) -> Worst | None:
    found = metrics.worst_groups(right, data.groups) if data.info.groups else None
    if found is None:
        return None
    accuracy, groups, worst_accuracy, worst = found
    return Worst(groups, accuracy, data.names[worst], worst_accuracy)


def _mcnemar(first: Bools, this: Bools) -> McNemar:
    b, c = int((first & ~this).sum()), int((this & ~first).sum())
    test = "exact binomial" if b + c < metrics.EXACT_BELOW else "chi-square, continuity corrected"
    return McNemar(b, c, metrics.mcnemar(b, c), test)


def _points(curve: Floats) -> tuple[tuple[float, ...], ...]:
    """At most CURVE_POINTS of a curve's points, the ends among them."""
    if len(curve) > CURVE_POINTS:
        curve = curve[np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(np.int64)]
    return _rows(curve)


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(v, 6) for v in row) for row in values.tolist())


def _interval_method(info: DataInfo) -> str:
    what = f"whole {info.group_word}s ({info.groups})" if info.groups else "images: no groups known"
    return f"95 % percentile bootstrap over {what}, {metrics.DRAWS} draws, seed {SEED}"


def _warnings(data: _Data, found: Sequence[Evaluation]) -> list[str]:
    notes = []
    if data.info.unreadable:
        notes.append(f"{data.info.unreadable} unreadable images of {data.info.name} were skipped")
    missing = [label for label, count in data.info.counts.items() if not count]
    if missing:
        notes.append(
            f"no image of {len(missing)} of {len(data.info.counts)} classes, as {missing[0]}: "
            "averages are over the others"
        )
    if not data.info.groups:
        notes.append("no groups: intervals take images as independent, which cells of one "
                     "patient are not, and are then too narrow")  # fmt: skip
    for e in found:
        if e.decision and e.decision.temperature < metrics.TEMPERATURES[0] * 1.01:
            notes.append(
                f"{e.model}: its temperature is at the limit of the search: the data it was "
                "fitted on is too easy to fit one"
            )
        if e.decision and e.decision.simulated and not data.info.simulated:
            notes.append(f"{e.model}: its decision was fitted on simulated images")
    return notes


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f", ... ({len(labels)})" if len(labels) > 5 else "")
