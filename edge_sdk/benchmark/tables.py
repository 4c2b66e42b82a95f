"""Measurement tables as arrays, the rows that no fit may see, and the shape tables share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files

import numpy as np

from edge_sdk.benchmark.features import Array, coordinates, features, reference
from edge_sdk.benchmark.published import Published, read_shipped, read_table
from edge_sdk.benchmark.solve import Mask, level, nnls, relative_nnls
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


@lru_cache(maxsize=4)
def _shares(dtype_class: str) -> dict[str, Array]:
    at = reference(dtype_class)
    found = {}
    for name, table in shape_tables(dtype_class).items():
        part = relative_nnls(table.X, table.y) * at
        found[name] = part / part.sum()
    return found


def usual_shares(dtype_class: str, without: str) -> Array:
    """Each feature's mean share of the latency of the reference over the shape tables, but for
    the table `without`."""
    rows = [share for name, share in _shares(dtype_class).items() if name != without]
    mean = np.mean(rows, axis=0)
    return np.asarray(mean / mean.sum(), np.float64)


def shares_of_relatives(
    relatives: Sequence[Table], shares: Array, dtype_class: str, shrink: float = 0.1
) -> Array:
    """The shares of one fit to several tables of unlike level, drawn to `shares`. Levels and
    shares are found in turn."""
    at = reference(dtype_class)
    now = shares
    for _ in range(5):
        scaled = [t.X * level(t.X, t.y, now / at) / t.y[:, None] for t in relatives]
        A = np.concatenate([*scaled, math.sqrt(shrink) * np.diag(at)])
        b = np.concatenate([np.ones(len(A) - len(at)), math.sqrt(shrink) * shares])
        now = nnls(A, b) * at
        now = now / now.sum()
    return now


def drawn_to(shares: Array, dtype_class: str) -> Callable[[Array, Array], Array]:
    """A fit that is drawn to `shares`."""
    at = reference(dtype_class)
    return lambda X, y: relative_nnls(X, y, shares, at)
