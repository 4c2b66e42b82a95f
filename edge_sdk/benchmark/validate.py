"""How good the latency models are, on rows that they have not seen: `edge-sdk profiles validate`.

Everything is computed anew from the shipped tables; nothing is read from the fits. Beside the
model stand two simpler ones: latency in proportion to Mult-Adds, and a published row of the same
family scaled by Mult-Adds, which is what people do by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.benchmark.executed import CountScore, count_model, counted
from edge_sdk.benchmark.features import Array
from edge_sdk.benchmark.fit import TABLE_ROWS, UNCALIBRATED, shape_for
from edge_sdk.benchmark.ratios import both_timed, left_out_errors
from edge_sdk.benchmark.simulations import (
    NEAR,
    anchored_rate,
    calibrated,
    distance,
    mult_adds,
)
from edge_sdk.benchmark.solve import (
    Solver,
    conformal_quantile,
    correction_helps,
    fitted,
    jackknife_coverage,
    left_out,
    level,
)
from edge_sdk.benchmark.tables import (
    Key,
    Shape,
    Table,
    counts_help,
    drawn_to,
    fixed,
    held_out,
    mixed,
    shares_of_relatives,
    shipped_tables,
    usual_shares,
)
from edge_sdk.cost import cost_of_architecture
from edge_sdk.profiles import load_profile

V1, V2 = "mobilenet_v1", "mobilenet_v2"


@dataclass(frozen=True)
class Errors:
    """Of rows not seen: the mean of |estimate / measured - 1|, and the shares within 5, 10 and
    15 %. rows: how many."""

    rows: int
    mean: float
    within_5: float
    within_10: float
    within_15: float
    worst: float


@dataclass(frozen=True)
class Point:
    """One row: milliseconds measured, and estimated by a fit that has not seen it."""

    key: Key
    measured_ms: float
    estimate_ms: float
    low_ms: float
    high_ms: float

    @property
    def inside(self) -> bool:
        return self.low_ms <= self.measured_ms <= self.high_ms


@dataclass(frozen=True)
class TableScore:
    """One table and dtype class. one_out: each row left out; group_out: each (model, alpha);
    v1_to_v2: V2 by V1's rows alone, and rescaled: with V2's largest row for the level. coverage:
    share of rows inside the interval that the other rows' errors state. corrected: whether
    neighbours' residuals help. counts: whether executed instructions are a feature; without_counts,
    with_counts: a row left out, either way. macs, scaling: the two simpler models, likewise."""

    table: str
    dtype_class: str
    tier: str
    device: str
    runtime: str
    corrected: bool
    counts: bool
    without_counts: Errors
    with_counts: Errors
    one_out: Errors
    group_out: Errors
    v1_to_v2: Errors | None
    rescaled: Errors | None
    coverage: float
    macs: Errors
    scaling: Errors
    points: tuple[Point, ...]
    held_out: tuple[Point, ...]


@dataclass(frozen=True)
class AnchorScore:
    """A profile of a few rows, each left out in turn. strict: with no table of the same device
    among those that give the shape."""

    profile: str
    dtype_class: str
    strict: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class CalibrationScore:
    """A calibration simulated: `used` rows of a table, and the error on its others."""

    table: str
    dtype_class: str
    tier: str
    used: tuple[Key, ...]
    errors: Errors


@dataclass(frozen=True)
class RatioScore:
    """A table that times int8 and float on a counted core: their ratio in latency and in executed
    instructions, means over its models. by_instructions, by_latency: how far off int8 is from
    float with the table left out, by instructions and by the plain ratio of the others."""

    table: str
    cpu: str
    models: int
    latency: float
    instructions: float
    by_instructions: float
    by_latency: float


@dataclass(frozen=True)
class Validation:
    tables: tuple[TableScore, ...]
    anchors: tuple[AnchorScore, ...]
    calibrations: tuple[CalibrationScore, ...]
    ratios: tuple[RatioScore, ...]
    counts: tuple[CountScore, ...]


def errors_of(ratio: Array) -> Errors:
    """ratio: estimate / measured; NaN rows (nothing was left to fit to) do not count."""
    off = np.abs(ratio[np.isfinite(ratio)] - 1)
    w5, w10, w15 = (float((off <= limit).mean()) for limit in (0.05, 0.10, 0.15))
    return Errors(len(off), float(off.mean()), w5, w10, w15, float(off.max()))


def validate() -> Validation:
    """Everything above, from the shipped tables. Takes some seconds."""
    found = [
        table
        for table in shipped_tables().values()
        if len(table.rows) >= TABLE_ROWS and len({key[:2] for key in table.keys}) > 2
    ]
    return Validation(
        tables=tuple(score_table(table) for table in found),
        anchors=tuple(_anchors()),
        calibrations=tuple(_calibrations()),
        ratios=tuple(
            RatioScore(b.table, b.cpu, b.models, b.latency, b.instructions, *left_out_errors(b))
            for b in both_timed()
        ),
        counts=tuple(count_model(*key).score for key in counted()),
    )


def score_table(whole: Table) -> TableScore:
    """Leaves rows, widths and families of a table out in turn; the hold-out is out always."""
    hidden = held_out(whole)
    table, unseen = whole.only(~hidden), whole.only(hidden)
    X, Z, y = table.X, table.Z, table.y
    counts, without, with_them = counts_help(table)
    shape = mixed(whole.dtype_class, whole.name, counts=counts)
    solve = drawn_to(shape, whole.dtype_class, counts=counts)
    correct = correction_helps(X, Z, y, solve)
    one_out = left_out(X, Z, y, range(len(y)), solve, correct=correct)
    group_out = left_out(X, Z, y, [key[:2] for key in table.keys], solve, correct=correct)
    off = np.abs(np.log(one_out))
    spread = math.exp(conformal_quantile(off))
    fit = fitted(X, Z, y, solve, correct=correct)
    v1_to_v2, rescaled = _v1_to_v2(table, solve)
    return TableScore(
        table=whole.name,
        dtype_class=whole.dtype_class,
        tier=max(row.tier for row in whole.rows),
        device=whole.rows[0].device,
        runtime=whole.rows[0].runtime,
        corrected=correct,
        counts=counts,
        without_counts=errors_of(without),
        with_counts=errors_of(with_them),
        one_out=errors_of(one_out),
        group_out=errors_of(group_out),
        v1_to_v2=v1_to_v2,
        rescaled=rescaled,
        coverage=float(jackknife_coverage(off).mean()),
        macs=errors_of(_left_out_simply(table, _by_mult_adds)),
        scaling=errors_of(_left_out_simply(table, _by_published_row)),
        points=_points(table, one_out * y, spread),
        held_out=_points(unseen, fit(unseen.X, unseen.Z), spread) if len(unseen.rows) else (),
    )


def _points(table: Table, made: Array, spread: float) -> tuple[Point, ...]:
    return tuple(
        Point(key, float(y), float(e), float(e) / spread, float(e) * spread)
        for key, y, e in zip(table.keys, table.y, made, strict=True)
    )


def _v1_to_v2(table: Table, solve: Solver) -> tuple[Errors | None, Errors | None]:
    v1 = np.array([key[0] == V1 for key in table.keys])
    v2 = np.array([key[0] == V2 for key in table.keys])
    if v1.sum() < TABLE_ROWS or not v2.any():
        return None, None
    a, b = table.only(v1), table.only(v2)
    ratio = fitted(a.X, a.Z, a.y, solve)(b.X, b.Z) / b.y
    largest = int(b.y.argmax())
    others = np.delete(ratio / ratio[largest], largest)
    return errors_of(ratio), errors_of(others) if len(others) else None


def _left_out_simply(table: Table, predict: Callable[[Table, Table], float]) -> Array:
    """Estimate / measured of each row by `predict` from the others; NaN where it cannot."""
    index = np.arange(len(table.y))
    return np.array(
        [predict(table.only(index != i), table.only(index == i)) / table.y[i] for i in index]
    )


def _work(table: Table) -> Array:
    """Mult-Adds as published, without tiles, one column."""
    dtype = "float32" if table.dtype_class == "float" else "int8"
    counts = [cost_of_architecture(*key, dtype=dtype).mult_adds for key in table.keys]
    return np.array(counts, np.float64)[:, None]


def _by_mult_adds(others: Table, one: Table) -> float:
    work = _work(others)
    return float(_work(one)[0, 0]) * level(work, others.y, np.ones(1))


def _by_published_row(others: Table, one: Table) -> float:
    """The family's row with the most Mult-Adds (1.0 at 224 wherever it is published), scaled."""
    family = others.only([key[0] == one.keys[0][0] for key in others.keys])
    if not family.rows:
        return math.nan
    work = _work(family)[:, 0]
    anchor = int(work.argmax())
    return float(family.y[anchor] * _work(one)[0, 0] / work[anchor])


# --- few rows ------------------------------------------------------------------------------

# Profiles with an own row of each family under a modern runtime.
_ANCHORED = (("rpi4", "float"), ("rpi4", "int8"), ("rpi3b+", "float"), ("pixel1", "float"),
             ("pixel2", "float"), ("pixel3a", "float"))  # fmt: skip


def _anchors() -> list[AnchorScore]:
    made = []
    tables = shipped_tables()
    for name, dtype_class in _ANCHORED:
        profile = load_profile(name)
        latency = profile.latency[dtype_class]
        own = tables[latency.table, dtype_class]
        shape = shape_for(profile, latency, dtype_class)
        made.append(AnchorScore(name, dtype_class, False, _each_left_out(own, shape)))
        strangers = [
            table
            for (other, kind), table in tables.items()
            if kind == dtype_class and "-xnnpack-" in other
            if table.rows[0].device != own.rows[0].device
        ]
        usual = usual_shares(dtype_class, own.name)
        strict = shares_of_relatives(strangers, usual, dtype_class)
        made.append(AnchorScore(name, dtype_class, True, _each_left_out(own, fixed(strict))))
    return made


def _each_left_out(own: Table, shape: Shape) -> tuple[Point, ...]:
    solve = drawn_to(shape, own.dtype_class)
    ratio = left_out(own.X, own.Z, own.y, range(len(own.y)), solve)
    work = mult_adds(own.X)
    points: list[Point] = []
    for i, key in enumerate(own.keys):
        anchors = [(k[0], w) for j, (k, w) in enumerate(zip(own.keys, work, strict=True)) if j != i]
        width = anchored_rate(own.dtype_class) * (NEAR + distance(work[i], key[0], anchors))
        spread = math.exp(max(width, math.log1p(UNCALIBRATED)))
        only = own.only([j == i for j in range(len(own.y))])
        points += _points(only, np.array([ratio[i] * own.y[i]]), spread)
    return tuple(points)


def _calibrations() -> list[CalibrationScore]:
    tables = shipped_tables()
    return [
        CalibrationScore(
            s.table,
            dtype_class,
            max(row.tier for row in tables[s.table, dtype_class].rows),
            s.used,
            errors_of(s.ratio),
        )
        for dtype_class in ("float", "int8")
        for s in calibrated(dtype_class)
    ]


def pooled(points: Sequence[Point]) -> Errors:
    """The errors of rows of several tables."""
    return errors_of(np.array([p.estimate_ms / p.measured_ms for p in points]))
