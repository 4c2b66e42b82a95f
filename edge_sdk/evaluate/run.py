"""Artifacts over labelled images, gathered into one comparison: the flow from stage to stage."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk import metrics
from edge_sdk.artifact import MANIFEST_FILE, Decision, manifest_json, read_artifact
from edge_sdk.benchmark.measure import describe_machine
from edge_sdk.chips.choice import ChipChoice
from edge_sdk.dataset import refuse_twins
from edge_sdk.errors import DataError, UsageError
from edge_sdk.evaluate.answers import Labelled, read_labelled, run_all, some
from edge_sdk.evaluate.judge import SEED, fit_decision, judge
from edge_sdk.evaluate.results import Comparison, DataInfo, Evaluation
from edge_sdk.files import write_whole
from edge_sdk.progress import Progress, silent, watched
from edge_sdk.runtime import Classifier, Model, load_model


@dataclass(frozen=True)
class EvaluateRequest:
    """group: the index.csv column that holds the groups; None takes `group` or `patient`.
    positive: the label that counts as found, for two classes; None takes the stored one, else
    the first. calibrate: a folder to fit temperature and threshold on; store: keep them.
    split_file: a training's split.csv; judges the test part of `data`, and with `data` also as
    `calibrate` fits on the validation part. chip: of backend cim."""

    models: tuple[Path, ...]
    data: Path
    group: str | None = None
    positive: str | None = None
    calibrate: Path | None = None
    store: bool = False
    split_file: Path | None = None
    backend: str = "auto"
    threads: int = 1
    chip: ChipChoice | None = None


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
    stored = [m.decision for m in models]
    positive, notes = _positive(labels, request.positive, stored)
    notes += [f"{m.name}: {text}" for m in models for text in m.notes]
    judged = read_labelled(request.data, request.group, labels, request.split_file, "test")
    fitting = None
    if request.calibrate is not None:
        split = request.split_file if _same(request.calibrate, request.data) else None
        fitting = read_labelled(request.calibrate, request.group, labels, split, "validation")
        refuse_twins(
            fitting, judged, "a temperature or threshold fitted on them would flatter the result"
        )
    group, threads = request.group, request.threads
    # Probabilities as they are: a stored decision is judged beside them, or fitted anew.
    plain = [replace(m, decision=None) for m in models]
    opened = [
        Classifier(
            m,
            backend=request.backend,
            threads=threads,
            **(request.chip.options(m, (request.data, request.split_file)) if request.chip else {}),
        )
        for m in plain
    ]
    try:
        calibration: Labelled | None = None
        fitted: list[Decision | None] = [None] * len(models)
        if fitting is not None:
            calibration, answers = run_all(opened, fitting, labels, group, threads, progress)
            fitted = [fit_decision(a, calibration, labels, positive) for a in answers]
        data, answers = run_all(opened, judged, labels, group, threads, progress)
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
        found.append(judge(models[i], answer, data, positive, labels, decision, origin, first))
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


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _common_labels(models: Sequence[Model]) -> tuple[str, ...]:
    first = models[0]
    if twice := [label for label in first.labels if first.labels.count(label) > 1]:
        raise DataError(f"{first.name} has the label '{twice[0]}' twice: rename one of them")
    for m in models[1:]:
        if sorted(m.labels) != sorted(first.labels):
            raise DataError(
                f"{m.name} has other labels than {first.name}: {some(m.labels)} and "
                f"{some(first.labels)}; evaluate them one by one"
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


def _interval_method(info: DataInfo) -> str:
    what = f"whole {info.group_word}s ({info.groups})" if info.groups else "images: no groups known"
    return f"95 % percentile bootstrap over {what}, {metrics.DRAWS} draws, seed {SEED}"


def _warnings(data: Labelled, found: Sequence[Evaluation]) -> list[str]:
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
