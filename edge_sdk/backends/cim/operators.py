"""Operators without weights, on levels: what TensorFlow Lite's reference kernels compute.

Each is a record that is called with its input arrays, images first, and returns the output array.
An operator of one 8-bit input is a table of 256 levels, one of two a table of 65,536.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim import integer_loops as loops
from edge_sdk.backends.cim.fixed_point import (
    Ints,
    multiply,
    quantised_multiplier,
    softmax,
)

Array = npt.NDArray[Any]


class Operation(Protocol):
    def __call__(self, *inputs: Array) -> Array: ...


@dataclass(frozen=True)
class Grid:
    """What levels stand for: real = scale * (level - zero)."""

    scale: float
    zero: int
    dtype: np.dtype[np.generic]

    def levels(self) -> Ints:
        """All 256, in the order of their bytes."""
        return np.arange(256, dtype=np.uint8).view(self.dtype).astype(np.int64)

    def limits(self) -> tuple[int, int]:
        info = np.iinfo(self.dtype)  # type: ignore[type-var]
        return int(info.min), int(info.max)

    def clamp(self, levels: Array, limits: tuple[int, int] | None = None) -> Array:
        low, high = limits or self.limits()
        return np.clip(levels, low, high).astype(self.dtype)


@dataclass(frozen=True, eq=False)
class Table:
    """Any function of one 8-bit tensor. values: 256, in the order of the bytes."""

    values: Array

    def __call__(self, *inputs: Array) -> Array:
        taken: Array = self.values[inputs[0].view(np.uint8)]
        return taken


@dataclass(frozen=True, eq=False)
class PairTable:
    """Any function of two 8-bit tensors, elementwise. values: 65,536, the first input's byte high.
    constants: an input that the file holds, by its place."""

    values: Array
    constants: dict[int, Array]

    def __call__(self, *inputs: Array) -> Array:
        given = iter(inputs)
        both = [self.constants[i] if i in self.constants else next(given) for i in (0, 1)]
        a, b = np.broadcast_arrays(*both)
        out = np.empty(a.shape, self.values.dtype)
        first, second = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
        loops.pairs(first, second, self.values, out.reshape(-1))
        return out


@dataclass(frozen=True, eq=False)
class Quantise:
    """float32 to levels."""

    grid: Grid

    def __call__(self, *inputs: Array) -> Array:
        real = inputs[0] / np.float32(self.grid.scale)
        return self.grid.clamp(rounded(real) + self.grid.zero)


@dataclass(frozen=True, eq=False)
class Reshape:
    """shape: without the images."""

    shape: tuple[int, ...]

    def __call__(self, *inputs: Array) -> Array:
        return inputs[0].reshape(len(inputs[0]), *self.shape)


@dataclass(frozen=True, eq=False)
class Pad:
    """before, after: per axis, none of them along the images."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    level: int

    def __call__(self, *inputs: Array) -> Array:
        (x,) = inputs
        sizes = [b + d + a for b, d, a in zip(self.before, x.shape, self.after, strict=True)]
        out = np.full(sizes, self.level, x.dtype)
        inside = tuple(slice(b, b + d) for b, d in zip(self.before, x.shape, strict=True))
        out[inside] = x
        return out


@dataclass(frozen=True, eq=False)
class Pool:
    """largest: of the window, else its mean. padding: (top, bottom, left, right)."""

    largest: bool
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    limits: tuple[int, int]
    shape: tuple[int, ...]

    def __call__(self, *inputs: Array) -> Array:
        (x,) = inputs
        out = np.empty((len(x), *self.shape), x.dtype)
        loops.pool(x, self.size, self.stride, self.padding, self.largest, *self.limits, out)
        return out


@dataclass(frozen=True, eq=False)
class Mean:
    """axes: none of them the images'. count: elements of a mean. multiplier, exponent: for sums."""

    axes: tuple[int, ...]
    count: int
    multiplier: int
    exponent: int
    source: Grid
    grid: Grid
    shape: tuple[int, ...]

    def __call__(self, *inputs: Array) -> Array:
        sums = inputs[0].sum(axis=self.axes, dtype=np.int32).astype(np.int64)
        sums -= self.source.zero * self.count
        levels = multiply(sums, self.multiplier, self.exponent) + self.grid.zero
        return self.grid.clamp(levels).reshape(len(sums), *self.shape)


@dataclass(frozen=True, eq=False)
class Softmax:
    """exp: of every distance to a row's largest level, see `fixed_point.exponentials`."""

    exp: Ints
    dtype: np.dtype[np.generic]

    def __call__(self, *inputs: Array) -> Array:
        (x,) = inputs
        rows = x.reshape(-1, x.shape[-1]).astype(np.int16)
        distance = (rows.max(axis=-1, keepdims=True) - rows).astype(np.uint8)
        low = int(np.iinfo(self.dtype).min)  # type: ignore[type-var]
        levels = np.minimum(softmax(distance, self.exp), 255) + low
        return levels.astype(self.dtype).reshape(x.shape)


@dataclass(frozen=True, eq=False)
class Concatenate:
    """tables: an input's levels on the output's grid, 256 each."""

    axis: int
    tables: tuple[Array, ...]

    def __call__(self, *inputs: Array) -> Array:
        parts = [t[x.view(np.uint8)] for t, x in zip(self.tables, inputs, strict=True)]
        return np.concatenate(parts, axis=self.axis)


def rounded(x: Array) -> Array:
    """Halves away from zero, as C rounds; to int64. Exact for float32: the sum is in float64."""
    wide = np.asarray(x, np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide).astype(np.int64)


# --- tables ---------------------------------------------------------------------------------


def requantise_table(source: Grid, result: Grid, limits: tuple[int, int] | None = None) -> Table:
    """From one grid to another, then clamped: QUANTIZE, RELU and its kin."""
    factor = quantised_multiplier(source.scale / result.scale)
    levels = multiply(source.levels() - source.zero, *factor) + result.zero
    return Table(result.clamp(levels, limits))


def dequantise_table(source: Grid) -> Table:
    return Table((source.scale * (source.levels() - source.zero)).astype(np.float32))


def logistic_table(source: Grid, result: Grid) -> Table:
    real = np.float32(source.scale) * (source.levels() - source.zero).astype(np.float32)
    # Each step in float32, as the kernels' own table is made.
    share = np.float32(1) / (np.float32(1) + np.exp(-real.astype(np.float64)).astype(np.float32))
    levels = rounded(share * (np.float32(1) / np.float32(result.scale))) + result.zero
    return Table(result.clamp(levels))


def rescale_table(source: Grid, result: Grid) -> Array:
    """As CONCATENATION moves uint8 levels: in float32."""
    if (source.scale, source.zero) == (result.scale, result.zero):
        return result.clamp(source.levels())
    scale = np.float32(source.scale) * (np.float32(1) / np.float32(result.scale))
    bias = np.float32(-source.zero) * scale
    levels = rounded(source.levels().astype(np.float32) * scale + bias) + result.zero
    return result.clamp(levels)


def add_values(a: Grid, b: Grid, result: Grid, limits: tuple[int, int]) -> Array:
    """65,536 sums: both inputs on a common grid with 20 bits to spare."""
    widest = 2 * max(a.scale, b.scale)
    terms = [
        multiply((g.levels() - g.zero) << 20, *quantised_multiplier(g.scale / widest))
        for g in (a, b)
    ]
    factor = quantised_multiplier(widest / (2**20 * result.scale))
    levels = multiply(terms[0][:, None] + terms[1], *factor) + result.zero
    return result.clamp(levels, limits).reshape(-1)


def multiply_values(a: Grid, b: Grid, result: Grid, limits: tuple[int, int]) -> Array:
    """65,536 products. The factor is a float32, as the kernels compute it."""
    factor = np.float32(a.scale) * np.float32(b.scale) / np.float32(result.scale)
    products = (a.levels() - a.zero)[:, None] * (b.levels() - b.zero)
    levels = multiply(products, *quantised_multiplier(float(factor))) + result.zero
    return result.clamp(levels, limits).reshape(-1)


def mean_factor(source: Grid, result: Grid, count: int) -> tuple[int, int]:
    """The factor from a sum of `count` levels to their mean, with the division in it."""
    multiplier, exponent = quantised_multiplier(source.scale / result.scale)
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << shift) // count, exponent - shift
