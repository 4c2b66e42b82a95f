"""What a compute-in-memory chip does to the sums of a layer, for training that learns to bear it.

The errors are those of the emulator, by its own functions (backends/cim/cells.py), on NumPy arrays
or on tensors. Modelled: programming error with its growth over time; drift, its mean scaled away as
by a chip that compensates drift; stuck cells; read noise, at the output, with the variance of the
reads. Not modelled: converters, wires, temperature, bits of an input that are read one after the
other, cells of weight 0 outside of a depthwise kernel, and inputs that an array sees shifted from
their zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_sdk.backends.cim import cells
from edge_sdk.backends.cim.cells import Draws, Slice
from edge_sdk.backends.cim.profile import CimProfile, Spread, load_cim_profile
from edge_sdk.errors import UsageError
from edge_sdk.train.settings import ChipNoise

CHIP_ERRORS = "chip_errors"  # the name of the generators that draw them


def noisy_profile(noise: ChipNoise) -> CimProfile:
    """Raises UsageError for an unknown profile or one without errors, ProfileError for a damaged
    file."""
    profile = load_cim_profile(noise.profile)
    if profile.chip.paradigm == "digital":
        raise UsageError(
            f"--cim {noise.profile}: its arrays are digital and compute exactly, so there is no "
            "error to learn: leave --cim out"
        )
    if not has_errors(profile, noise.time_s):
        raise UsageError(
            f"--cim {noise.profile}: the profile's cells have no error at {noise.time_s:g} s, so "
            "there is nothing to learn: leave --cim out"
        )
    return profile


def has_errors(profile: CimProfile, time_s: float) -> bool:
    """Whether any error that is modelled here is there at that time."""
    errors = profile.errors
    return bool(
        any(map(any, (*errors.programming.sigma, *errors.read.sigma)))
        or drifts(profile, time_s)
        or errors.stuck_on
        or errors.stuck_off
    )


def drifts(profile: CimProfile, time_s: float) -> bool:
    drift = profile.errors.drift
    return time_s > drift.t0_s and bool(drift.nu or drift.nu_sigma)


class NoisyCells:
    """The cells of a kernel of `bits` bits, levels -top to top, time_s after programming."""

    def __init__(self, profile: CimProfile, time_s: float, bits: int) -> None:
        self.profile, self._time_s = profile, time_s
        self.top = (1 << (bits - 1)) - 1
        every = np.arange(-self.top, self.top + 1)[:, None]
        self._slices = [
            (part, [g[:, 0] for g in cells.conductances(part, profile.cells)])
            for part in cells.sliced(every, bits, profile.cells)
        ]
        self._drifts = drifts(profile, time_s)
        # What single cells hold of a weight of 0; it is subtracted digitally.
        self._zero = 0.0
        if profile.cells.mapping == "offset":
            low = cells.smallest(profile.cells)
            self._zero = (1 << (bits - 1)) + sum(low * self._worth(p) for p, _ in self._slices)

    def now(self, places: Any, draw: Callable[[], Draws], xp: Any) -> tuple[Any, Any]:
        """Levels that the cells stand for, and the variance of one read of each in levels squared;
        the variance is a number where every cell has the same.

        places: integers, level + top. draw: draws for as many cells, called for each array of
        them. xp: numpy or keras.ops."""
        levels, variance = -self._zero, 0.0
        for part, tables in self._slices:
            before = [xp.take(table, places) for table in tables]
            now = [self._aged(g, draw(), xp) for g in before]
            worth = self._worth(part) * self._compensation(before, now, xp)
            levels = levels + worth * (now[0] - now[1] if len(now) == 2 else now[0])
            variance = variance + worth**2 * sum(self._variance(g, xp) for g in now)
        return levels, variance

    def _worth(self, part: Slice) -> float:
        return part.worth * cells.level_scale(part, self.profile.cells)

    def _aged(self, g: Any, draws: Draws, xp: Any) -> Any:
        low = cells.smallest(self.profile.cells)
        return cells.aged(g, draws, self.profile.errors, low, self._time_s, xp)

    def _compensation(self, before: Sequence[Any], now: Sequence[Any], xp: Any) -> Any:
        """As of a Chip with compensate_drift."""
        if not self._drifts:
            return 1.0
        return sum(xp.sum(g) for g in before) / sum(xp.sum(g) for g in now)

    def _variance(self, g: Any, xp: Any) -> Any:
        table = self.profile.errors.read
        if _constant(table):
            return float(cells.spread(0.0, table, self._time_s, np)) ** 2
        return cells.spread(g, table, self._time_s, xp) ** 2


def _constant(table: Spread) -> bool:
    """Whether all conductances have the same spread."""
    return all(len(set(row)) == 1 for row in table.sigma)
