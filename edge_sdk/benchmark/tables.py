"""Measurement tables as arrays, the rows that no fit may see, and the shape tables share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files

import numpy as np

from edge_sdk.benchmark.features import COUNTS, Array, coordinates, features, reference
from edge_sdk.benchmark.published import Published, read_shipped, read_table
from edge_sdk.benchmark.solve import (
    Mask,
    Solver,
    left_out,
    level,
    mixture,
    nearer,
    nnls,
    relative_nnls,
)
from edge_sdk.cost import ARCHITECTURES, cost_of_architecture
from edge_sdk.errors import ProfileError
from edge_sdk.profiles import DTYPE_CLASSES, DeviceProfile

# A table with as many rows shows a shape of its own; one with fewer gives a level.
SHAPE_ROWS = 9
# The rule of the hold-out: in tables with so many rows of a dtype class, a row whose SHA-256 of
# `table|model|alpha|resolution|class` starts with a byte below the limit (one row in ten).
HOLD_OUT_ROWS, HOLD_OUT_BELOW = 12, 26

Key = tuple[str, float, int]


@dataclass(frozen=True)
class Table:
    """Rows of one measurement file and dtype class, a model that was measured twice averaged
    (geometric mean). X: FEATURES, Z: coordinates, y: milliseconds, a row each."""

    name: str
    dtype_class: str
    rows: tuple[Published, ...]
    X: Array
    Z: Array
    y: Array

    @property
    def keys(self) -> list[Key]:
        return [row.key for row in self.rows]

    def only(self, chosen: Sequence[bool] | Mask) -> Table:
        mask = np.asarray(chosen, bool)
        rows = tuple(r for r, keep in zip(self.rows, mask, strict=True) if keep)
        return replace(self, rows=rows, X=self.X[mask], Z=self.Z[mask], y=self.y[mask])


def as_table(name: str, dtype_class: str, published: Sequence[Published]) -> Table:
    """The rows of `dtype_class` whose architecture is known. May be empty."""
    same: dict[tuple[Key, int], list[Published]] = {}
    for row in published:
        if row.dtype_class == dtype_class and row.model in ARCHITECTURES:
            same.setdefault((row.key, row.classes), []).append(row)
    rows = [
        replace(each[0], latency_ms=math.exp(math.fsum(math.log(r.latency_ms) for r in each) / n))
        if (n := len(each)) > 1
        else each[0]
        for each in same.values()
    ]
    dtype = "float32" if dtype_class == "float" else "int8"
    X, Z = [], []
    for r in rows:
        cost = cost_of_architecture(r.model, r.alpha, r.resolution, r.classes, dtype)
        X.append(features(cost, dtype_class))
        Z.append(coordinates(cost, X[-1]))
    y = np.array([r.latency_ms for r in rows])
    return Table(name, dtype_class, tuple(rows), np.array(X), np.array(Z), y)


def profile_table(profile: DeviceProfile, name: str, dtype_class: str) -> Table:
    """A table that a profile names. Raises ProfileError if it has no row that can serve."""
    table = as_table(name, dtype_class, read_table(profile, name))
    if not table.rows:
        raise ProfileError(
            f"profile {profile.name}: measurements/{name}.csv has no {dtype_class} row of "
            f"{' or '.join(ARCHITECTURES)}"
        )
    return table


def held_out(table: Table) -> Mask:
    """Which rows no fit may see, by the rule above: a mask."""
    if len(table.rows) < HOLD_OUT_ROWS:
        return np.zeros(len(table.rows), bool)
    texts = (f"{table.name}|{m}|{a:g}|{r}|{table.dtype_class}" for m, a, r in table.keys)
    return np.array([hashlib.sha256(t.encode()).digest()[0] < HOLD_OUT_BELOW for t in texts])


@lru_cache(maxsize=1)
def shipped_tables() -> dict[tuple[str, str], Table]:
    """Every shipped table with rows that can serve, by (name, dtype class), hold-out included."""
    folder = files("device_profiles") / "measurements"
    names = sorted(f.name.removesuffix(".csv") for f in folder.iterdir() if f.name.endswith(".csv"))
    found = {}
    for name in names:
        published = read_shipped(name)
        for dtype_class in DTYPE_CLASSES:
            table = as_table(name, dtype_class, published)
            if table.rows:
                found[name, dtype_class] = table
    return found


def shape_tables(dtype_class: str) -> dict[str, Table]:
    """The shipped tables that show a shape, by name, without their hold-out."""
    return {
        name: table.only(~held_out(table))
        for (name, kind), table in shipped_tables().items()
        if kind == dtype_class and len(table.rows) >= SHAPE_ROWS
    }


# The shares that a fit to these rows (X, y) is drawn to.
Shape = Callable[[Array, Array], Array]


@lru_cache(maxsize=4)
def _shares(dtype_class: str, counts: bool) -> dict[str, Array]:
    at = reference(dtype_class)
    found = {}
    for name, table in shape_tables(dtype_class).items():
        part = relative_nnls(_with(table.X, counts), table.y) * at
        found[name] = part / part.sum()
    return found


def _with(X: Array, counts: bool) -> Array:
    """FEATURES with or without the executed instructions: where these are 0, so is their cost."""
    if counts:
        return X
    without = X.copy()
    without[:, COUNTS] = 0.0
    return without


def usual_shares(dtype_class: str, without: str, *, counts: bool = False) -> Array:
    """Each feature's mean share of the latency of the reference over the shape tables, but for
    the table `without`. counts: with the executed instructions as a feature."""
    rows = [s for name, s in _shares(dtype_class, counts).items() if name != without]
    mean = np.mean(rows, axis=0)
    return np.asarray(mean / mean.sum(), np.float64)


def mixed(
    dtype_class: str, without: str, *, counts: bool = False, base: Array | None = None
) -> Shape:
    """The mixture of the shape tables' shares, but for the table `without`, that is nearest to
    the rows: devices that are alike lend each other most. base: shares that count, before any row,
    as much as all the others."""
    others = [s for name, s in _shares(dtype_class, counts).items() if name != without]
    parts = np.full(len(others), 1 / len(others))
    shapes = np.array(others)
    if base is not None:
        shapes, parts = np.vstack([shapes, base]), np.append(parts / 2, 0.5)
    at = reference(dtype_class)
    return lambda X, y: mixture(X, y, shapes, at, parts)


def fixed(shares: Array) -> Shape:
    """These shares, whatever the rows."""
    return lambda *_: shares


def shares_of_relatives(
    relatives: Sequence[Table], shares: Array, dtype_class: str, shrink: float = 0.1
) -> Array:
    """The shares of one fit to several tables of unlike level, drawn to `shares`. Levels and
    shares are found in turn."""
    at = reference(dtype_class)
    now = shares
    for _ in range(5):
        scaled = [_with(t.X, False) * level(t.X, t.y, now / at) / t.y[:, None] for t in relatives]
        A = np.concatenate([*scaled, math.sqrt(shrink) * np.diag(at)])
        b = np.concatenate([np.ones(len(A) - len(at)), math.sqrt(shrink) * shares])
        now = nnls(A, b) * at
        now = now / now.sum()
    return now


def drawn_to(shape: Shape, dtype_class: str, *, counts: bool = False) -> Solver:
    """A fit that is drawn to the shares `shape` gives for its rows."""
    at = reference(dtype_class)

    def solve(X: Array, y: Array) -> Array:
        used = _with(X, counts)
        return relative_nnls(used, y, shape(used, y), at)

    return solve


def counts_help(table: Table) -> tuple[bool, Array, Array]:
    """Whether the rows left out of a table of many rows are nearer with the executed instructions
    as a feature (solve.nearer); estimate / measured of each row without and with them."""
    off = []
    for counts in (False, True):
        shape = mixed(table.dtype_class, table.name, counts=counts)
        solve = drawn_to(shape, table.dtype_class, counts=counts)
        off.append(left_out(table.X, table.Z, table.y, range(len(table.y)), solve))
    without, with_them = off
    return nearer(np.abs(np.log(with_them)), np.abs(np.log(without))), without, with_them
