"""One model's answers to its figures, with intervals; and the decision fitted to them."""

from __future__ import annotations

import math

import numpy as np

from edge_sdk import metrics
from edge_sdk.artifact import Decision
from edge_sdk.evaluate.answers import Answers, Labelled
from edge_sdk.evaluate.results import Evaluation, Figure, McNemar, Worst
from edge_sdk.files import sha256
from edge_sdk.metrics import Bools, Floats, Ints
from edge_sdk.runtime import Model

SEED = 0
CURVE_POINTS = 400


def fit_decision(
    answers: Answers, data: Labelled, labels: tuple[str, ...], positive: str | None
) -> Decision:
    """The temperature, and with a positive class the threshold, of these images alone."""
    temperature = metrics.fit_temperature(answers.p, data.truth, answers.floor)
    threshold = None
    if positive is not None:
        at = labels.index(positive)
        score = metrics.scaled(answers.p, temperature, answers.floor)[:, at]
        threshold = metrics.fit_threshold(score, data.truth == at)
    i = data.info
    return Decision(temperature, threshold, positive, i.name, i.simulated, i.images, i.groups)


def judge(
    model: Model,
    answers: Answers,
    data: Labelled,
    positive: str | None,
    labels: tuple[str, ...],
    decision: Decision | None,
    origin: str,
    first: Answers | None,
) -> Evaluation:
    """Every figure of one model. origin: where the decision is from, in words. first: the first
    model's answers, to test against; None for the first itself."""
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
    data: Labelled, called: Ints, classes: int, positive: int | None, score: Floats | None
) -> dict[str, Figure]:
    truth = data.truth
    values = metrics.all_figures(truth, called, classes, positive, score)
    ranges = metrics.intervals(
        truth, called, classes, data.groups, positive=positive, score=score, seed=SEED
    )
    return {
        name: Figure(_known(value), *map(_known, ranges[name])) for name, value in values.items()
    }


def _known(value: float | Floats) -> float | None:
    return None if math.isnan(value) else float(value)


def _worst(right: Bools, data: Labelled) -> Worst | None:
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
