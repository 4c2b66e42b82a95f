"""Weights as conductances, and what goes wrong with them.

Conductances are shares of the largest one. The noise functions take the array namespace (`numpy`,
`keras.ops`) and use operators, `clip`, `where` and `sqrt` of it only, so that noise-aware training
runs this very code on its tensors; times and temperatures are Python numbers.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.profile import Cells, CimProfile, Drift, Errors, Spread, Temperature
from edge_sdk.errors import UsageError

ERRORS = ("programming", "read", "drift", "temperature", "stuck", "wires")

_NO_SPREAD = Spread((0.0,), (0.0,), ((0.0,),))


@dataclass(frozen=True, eq=False)
class Slice:
    """Digits of weights that one cell, or pair, holds. levels: int32 (rows, columns), signed on
    pairs, 0 to full on single cells. full: the level of the largest conductance. worth: what a
    level of 1 is worth, a power of two. zero: the level of a weight of 0."""

    levels: npt.NDArray[np.int32]
    full: int
    worth: int
    zero: int


def slice_count(bits: int, cells: Cells) -> int:
    """Cells, or pairs, next to each other that hold a weight: a pair holds the sign for nothing."""
    held = bits - 1 if cells.mapping == "balanced" else bits
    return max(1, math.ceil(held / cells.bits))


def sliced(weights: npt.NDArray[Any], bits: int, cells: Cells) -> tuple[Slice, ...]:
    """Signed integer weights (rows, columns) cut into digits, the lowest first: of the magnitude,
    each with the sign, on pairs; of weight + 2^(bits-1) on single cells. A weight that needs no
    slicing spans the conductances with its own range; a digit spans them with 2^cells.bits - 1, as
    in CrossSim 3.2."""
    count = slice_count(bits, cells)
    balanced = cells.mapping == "balanced"
    values = weights.astype(np.int32)
    sign = np.sign(values) if balanced else np.int32(1)
    zero = 0 if balanced else 1 << (bits - 1)
    rest = np.abs(values) if balanced else values + zero
    if count == 1:
        largest = (1 << (bits - 1)) - 1 if balanced else (1 << bits) - 1
        # -2^(bits-1) is rare (old uint8 models), and widens the range of its layer by one level.
        return (Slice(rest * sign, max(largest, int(rest.max(initial=0))), 1, zero),)
    base = 1 << cells.bits
    parts = []
    for index in range(count):
        last = index == count - 1
        digit, low = (rest, zero) if last else (rest % base, zero % base)
        full = max(base - 1, int(digit.max(initial=0)))
        parts.append(Slice(digit * sign, full, base**index, low))
        rest, zero = rest // base, zero // base
    return tuple(parts)


def smallest(cells: Cells) -> float:
    """Smallest conductance."""
    return 1 / cells.on_off if cells.on_off else 0.0


def conductances(part: Slice, cells: Cells) -> tuple[npt.NDArray[Any], ...]:
    """One array of cells, or two: the weight is the first minus the second."""
    low = smallest(cells)
    share = (part.levels / part.full).astype(np.float32)
    if cells.mapping == "offset":
        return (low + (1 - low) * share,)
    if cells.sides == 2:
        return low + (1 - low) * (1 + share) / 2, low + (1 - low) * (1 - share) / 2
    zero = np.float32(0)
    return (
        low + (1 - low) * np.maximum(share, zero),
        low + (1 - low) * np.maximum(-share, zero),
    )


def level_scale(part: Slice, cells: Cells) -> float:
    """Levels per conductance of 1, of a cell or of the difference of a pair."""
    return part.full / (1 - smallest(cells))


def spread(g: Any, table: Spread, time_s: float, xp: Any) -> Any:
    """Standard deviation at conductances g, time_s after programming."""
    sigma = _at_time(table, time_s)
    total = g * 0 + sigma[0]
    for g0, g1, s0, s1 in zip(table.g, table.g[1:], sigma, sigma[1:], strict=False):
        total = total + (s1 - s0) / (g1 - g0) * (xp.clip(g, g0, g1) - g0)
    return total


def _at_time(table: Spread, time_s: float) -> list[float]:
    """The row of a table at a time: between two times above 0 linear in the logarithm."""
    times = table.times_s
    later = next((i for i, t in enumerate(times) if t >= time_s), len(times) - 1)
    if later == 0 or time_s >= times[later]:
        return list(table.sigma[later])
    early = later - 1
    if times[early] > 0:
        share = math.log(time_s / times[early]) / math.log(times[later] / times[early])
    else:
        share = time_s / times[later]
    pairs = zip(table.sigma[early], table.sigma[later], strict=True)
    return [a + share * (b - a) for a, b in pairs]


def programmed(g: Any, z: Any, table: Spread, time_s: float, xp: Any) -> Any:
    """g with the error of z standard deviations, the same z at every time: retention moves a cell
    further the way it went. A conductance is never below 0."""
    moved = g + z * spread(g, table, time_s, xp)
    return xp.where(moved > 0, moved, moved * 0)


def drifted(g: Any, z: Any, drift: Drift, time_s: float, xp: Any) -> Any:
    """g (t / t0)^-nu, nu of a cell z standard deviations from the mean, not below 0."""
    if time_s <= drift.t0_s or not (drift.nu or drift.nu_sigma):
        return g
    nu = drift.nu + drift.nu_sigma * z
    return g * (time_s / drift.t0_s) ** (-xp.where(nu > 0, nu, nu * 0))


def stuck(g: Any, u: Any, on: float, off: float, low: float, xp: Any) -> Any:
    """u: uniform in [0, 1), one draw a cell."""
    return xp.where(u < on, g * 0 + 1, xp.where(u >= 1 - off, g * 0 + low, g))


def gain(temperature: Temperature, celsius: float) -> float:
    return 1 + temperature.gain_per_k * (celsius - temperature.reference_c)


@dataclass(frozen=True, eq=False)
class Draws:
    """Of cells: programming, drift standard normal, stuck uniform in [0, 1)."""

    programming: Any
    drift: Any
    stuck: Any


def aged(g: Any, draws: Draws, errors: Errors, low: float, time_s: float, xp: Any) -> Any:
    """Cells programmed to g as they are time_s later. low: the smallest conductance."""
    g = programmed(g, draws.programming, errors.programming, time_s, xp)
    g = drifted(g, draws.drift, errors.drift, time_s, xp)
    return stuck(g, draws.stuck, errors.stuck_on, errors.stuck_off, low, xp)


def only(profile: CimProfile, *names: str) -> CimProfile:
    """The profile with the named errors, of ERRORS, and no others.

    Raises UsageError for a name that is none of them."""
    for name in names:
        if name not in ERRORS:
            raise UsageError(f"unknown error of cells '{name}'. Valid: {', '.join(ERRORS)}.")
    errors = profile.errors
    changes: dict[str, Any] = {
        "programming": {"programming": _NO_SPREAD},
        "read": {"read": _NO_SPREAD},
        "drift": {"drift": dataclasses.replace(errors.drift, nu=0.0, nu_sigma=0.0)},
        "temperature": {"temperature": dataclasses.replace(errors.temperature, gain_per_k=0.0)},
        "stuck": {"stuck_on": 0.0, "stuck_off": 0.0},
        "wires": {"row_ohm": 0.0, "column_ohm": 0.0},
    }
    off = {key: value for n in ERRORS if n not in names for key, value in changes[n].items()}
    return dataclasses.replace(profile, errors=dataclasses.replace(errors, **off))
