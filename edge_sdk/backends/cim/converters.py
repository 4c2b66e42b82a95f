"""Levels to voltages and sums to codes: ranges, steps, converters that are not straight.

An array is driven with x - reference. Where a layer's input starts at its zero (after a ReLU) the
reference is that zero and levels are unsigned; else they have a sign, and the reference is the
level nearest to the zero for which all levels fit the DAC's two's complement, so that 8-bit levels
are exact on an 8-bit DAC. What lies between zero and reference is subtracted digitally.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.profile import Adc, Dac
from edge_sdk.errors import ProfileError

BINS = 1 << 14
_CANDIDATES = 100


@dataclass(frozen=True)
class Drive:
    """How a layer's levels reach the rows. reference: the level that drives nothing. signed: of
    levels - reference. largest: magnitude of levels - reference. step: levels of the file per
    level of the DAC, 1 where the DAC is as fine. digits: inputs of 1 bit and their sign that are
    read one after the other; 0: parallel."""

    reference: int
    signed: bool
    largest: int
    step: float
    digits: int


def drive(kernel: Kernel, dac: Dac) -> Drive:
    low, high, zero = kernel.input_low, kernel.input_high, kernel.input_zero
    signed = zero > low
    if signed:
        half = 1 << (max(dac.bits, _bits(high - low)) - 1)
        reference = min(max(zero, high - half + 1), low + half)
    else:
        reference = zero
    largest = max(high - reference, reference - low)
    finest = (1 << dac.bits) - 1
    step = max(1.0, (high - low) / finest) if high - low > finest else 1.0
    digits = _bits(round(largest / step)) if dac.mode == "serial" else 0
    return Drive(reference, signed, largest, step, digits)


def _bits(value: int) -> int:
    return max(1, int(value).bit_length())


@dataclass(frozen=True)
class Codes:
    """Codes that a converter can give, and the sum that the last one stands for."""

    low: int
    high: int
    bound: float

    @property
    def step(self) -> float:
        return self.bound / self.high


def codes(adc: Adc, bound: float, *, signed: bool) -> Codes:
    """Signed codes are symmetric: 2^bits - 1 of them, with a code for 0."""
    high = (1 << (adc.bits - 1)) - 1 if signed else (1 << adc.bits) - 1
    return Codes(-high if signed else 0, high, bound)


def check_adc(adc: Adc) -> None:
    """Raises ProfileError, naming the field, for a converter that there cannot be."""
    if adc.ideal:
        return
    if not 2 <= adc.bits <= 16:
        raise ProfileError(
            f"adc.bits is {adc.bits}; a converter has 2 to 16 bits (adc.ideal = true leaves "
            "conversion out)"
        )
    if adc.range == "percentile" and not 0 < adc.percentile <= 100:
        raise ProfileError(f"adc.percentile is {adc.percentile}; above 0, up to 100")
    for name in ("inl_lsb", "offset_lsb"):
        if not getattr(adc, name) >= 0:
            raise ProfileError(f"adc.{name} is {getattr(adc, name)}; it cannot be below 0")


# (layer, slice) -> the sum, in levels of the slice, that the last code stands for.
AdcRanges = Mapping[tuple[str, int], float]


class RangeMeter:
    """Histograms of what arrays without errors would hand to converters, per layer and slice."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
        self._bounds: dict[tuple[str, int], float] = {}

    def add(self, key: tuple[str, int], sums: npt.NDArray[Any], bound: float) -> None:
        """bound: no sum of this layer and slice can be larger."""
        bins = np.minimum(np.abs(sums.ravel()) * (BINS / bound), BINS - 1).astype(np.int32)
        counts = np.bincount(bins, minlength=BINS)
        self._bounds[key] = bound
        self._counts[key] = self._counts.get(key, 0) + counts

    def ranges(self, adc: Adc, signed: Mapping[str, bool]) -> AdcRanges:
        """signed: of layers, whether their sums have a sign."""
        found = {}
        for key, counts in self._counts.items():
            middles = (np.arange(BINS) + 0.5) * (self._bounds[key] / BINS)
            if adc.range == "percentile":
                found[key] = percentile_bound(middles, counts, adc.percentile)
            else:
                found[key] = mse_bound(middles, counts, adc, signed=signed[key[0]])
        return found


def percentile_bound(
    middles: npt.NDArray[Any], counts: npt.NDArray[np.int64], percentile: float
) -> float:
    """The magnitude that `percentile` per cent of sums do not exceed."""
    reached = np.cumsum(counts) >= percentile / 100 * counts.sum()
    return float(middles[int(np.argmax(reached))])


def mse_bound(
    middles: npt.NDArray[Any], counts: npt.NDArray[np.int64], adc: Adc, *, signed: bool
) -> float:
    """Of 100 bounds evenly up to the largest magnitude, that of the least squared error."""
    there = counts > 0
    values, weights = middles[there], counts[there]
    best, least = float(values[-1]), np.inf
    for share in range(1, _CANDIDATES + 1):
        bound = float(values[-1]) * share / _CANDIDATES
        given = codes(adc, bound, signed=signed)
        back = np.minimum(np.rint(values / given.step), given.high) * given.step
        error = float(np.sum(weights * (back - values) ** 2))
        if error < least:
            best, least = bound, error
    return best


def bends(
    adc: Adc, columns: int, converters: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Offset and bow, in codes, of the converters that columns of one array share, per column.
    Offsets are normal; the bow is a parabola over the range whose peak is uniform within
    inl_lsb."""
    used = min(converters, columns)
    offset = rng.standard_normal(used) * adc.offset_lsb
    bow = rng.uniform(-1, 1, used) * adc.inl_lsb
    shared = np.arange(columns) * used // columns
    return offset[shared].astype(np.float32), bow[shared].astype(np.float32)
