"""How far off a fit with few rows is: the same fit to a few rows of every table that has many.

An interval that comes from these is calibrated across devices: the device in question has no
rows to judge by. The shape a simulated fit is drawn to never comes from the table it is judged on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edge_sdk.benchmark.features import FEATURES, Array
from edge_sdk.benchmark.solve import Mask, conformal_quantile, fitted
from edge_sdk.benchmark.tables import Key, Table, drawn_to, mixed, shape_tables

# The error of an anchored fit grows with the distance from its anchors, a logarithm of
# Mult-Adds: about NEAR at an anchor, and another family counts as far as e to the FAMILY.
NEAR, FAMILY = 0.3, 1.0
CALIBRATION_ROWS = 5


@dataclass(frozen=True)
class Simulated:
    """One table's rows as a fit to few of them estimates them. ratio: estimate / measured and
    distance: from the anchors, of the rows not used, whose keys are `keys`."""

    table: str
    used: tuple[Key, ...]
    keys: tuple[Key, ...]
    ratio: Array
    distance: Array


def mult_adds(X: Array) -> Array:
    """Millions of Mult-Adds, with those a tile adds, from rows of FEATURES."""
    return np.asarray(X[:, :3].sum(axis=1), np.float64)


def distance(work: float, family: str | None, anchors: Sequence[tuple[str, float]]) -> float:
    """From a model with `work` Mult-Adds to the nearest of anchors (family, Mult-Adds), in
    logarithms; a family that no anchor has is FAMILY further."""
    own = [w for f, w in anchors if f == family]
    nearest = min(abs(math.log(work / w)) for w in (own or [w for _, w in anchors]))
    return nearest + (0.0 if own else FAMILY)


def simulate(table: Table, use: Sequence[bool] | Mask) -> Simulated:
    """Fits the rows `use` of a table and estimates the others."""
    mask = np.asarray(use, bool)
    few, rest = table.only(mask), table.only(~mask)
    fit = drawn_to(mixed(table.dtype_class, table.name), table.dtype_class)
    made = fitted(few.X, few.Z, few.y, fit)(rest.X, rest.Z)
    anchors = [(key[0], w) for key, w in zip(few.keys, mult_adds(few.X), strict=True)]
    apart = [
        distance(w, key[0], anchors) for key, w in zip(rest.keys, mult_adds(rest.X), strict=True)
    ]
    return Simulated(table.name, tuple(few.keys), tuple(rest.keys), made / rest.y, np.array(apart))


@lru_cache(maxsize=4)
def anchored(dtype_class: str) -> tuple[Simulated, ...]:
    """Every shape table, fitted to its rows of 1.0 at 224 alone (its largest, without those)."""
    made = []
    for table in shape_tables(dtype_class).values():
        use = np.array([(alpha, size) == (1.0, 224) for _, alpha, size in table.keys])
        made.append(simulate(table, use if use.any() else table.y == table.y.max()))
    return tuple(made)


@lru_cache(maxsize=4)
def anchored_rate(dtype_class: str) -> float:
    """The q of the 90 % interval exp(q (NEAR + distance)) either way: conformal, over every row
    of every shape table."""
    scores = [np.abs(np.log(s.ratio)) / (NEAR + s.distance) for s in anchored(dtype_class)]
    return conformal_quantile(np.concatenate(scores))


@lru_cache(maxsize=4)
def calibrated(dtype_class: str) -> tuple[Simulated, ...]:
    """Every shape table, fitted to the CALIBRATION_ROWS that `spread_out` picks."""
    return tuple(
        simulate(table, spread_out(table.X, CALIBRATION_ROWS))
        for table in shape_tables(dtype_class).values()
    )


@lru_cache(maxsize=4)
def calibrated_spread(dtype_class: str) -> float:
    """The logarithm of the 90 % interval after a calibration."""
    errors = [np.abs(np.log(s.ratio)) for s in calibrated(dtype_class)]
    return conformal_quantile(np.concatenate(errors))


def spread_out(X: Array, count: int) -> Mask:
    """`count` rows far from each other: those with the least and the most work, then each time
    the one farthest from those chosen in activations and parameters (logarithms). A mask."""
    columns = [FEATURES.index(name) for name in ("activations", "parameters")]
    at = np.log(X[:, columns] + 1e-6)
    chosen = [int(X[:, 0].argmin()), int(mult_adds(X).argmax())][:count]
    while len(chosen) < min(count, len(X)):
        apart = np.min([((at - at[i]) ** 2).sum(axis=1) for i in chosen], axis=0)
        apart[chosen] = -1.0
        chosen.append(int(apart.argmax()))
    mask = np.zeros(len(X), bool)
    mask[chosen] = True
    return mask
