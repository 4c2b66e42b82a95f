"""The matrix-vector multiplication of one layer: row blocks, conversion, digital accumulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim import loops, noise
from edge_sdk.backends.cim.converters import Codes, Drive, RangeMeter
from edge_sdk.backends.cim.kernel import Kernel, Levels
from edge_sdk.backends.cim.sums import window_rows

Floats = npt.NDArray[np.floating[Any]]

# Sums at a time: they stay in the second-level cache between multiplication and conversion.
_CHUNK = 1 << 17
# Inputs at a time, for the same reason.
_INPUTS = 1 << 18


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one slice on an array, for one matrix-vector multiplication.

    rows, columns: of the layer's matrix. weights (rows, columns): levels that cells stand for now;
    of a diagonal layer (taps, channels). variance: of one read, in levels squared, one column
    where all are alike, or None. codes:
    None where nothing is converted. offset, bow: of converters, in codes, or None. worth: of one
    level. limit: no sum without errors is larger. part: index of the slice."""

    rows: slice
    columns: slice
    weights: Floats
    variance: Floats | None
    codes: Codes | None
    offset: npt.NDArray[np.float32] | None
    bow: npt.NDArray[np.float32] | None
    worth: float
    limit: float
    part: int


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer on arrays. layout: of its inputs; matrix (M, rows), diagonal (M, taps, channels),
    grouped (M, channels * taps). own, driven: digital factors of the sum of the inputs under a
    column's weights, and of all inputs of its array. group: channels on one array of a grouped
    layer. constant: added to each column, int32."""

    kernel: Kernel
    drive: Drive
    blocks: tuple[Block, ...]
    layout: str
    group: int
    own: float
    driven: float
    constant: npt.NDArray[np.int32]
    dtype: type[np.floating[Any]]


def row_blocks(rows: int, limit: int) -> list[slice]:
    """Rows over as few arrays as hold them, as evenly as CrossSim 3.2 splits them: rounded equal
    shares, the last takes the rest."""
    count = -(-rows // limit)
    size = round(rows / count)
    if rows - (count - 1) * size > limit:
        size += 1
    starts = [i * size for i in range(count)] + [rows]
    return [slice(a, b) for a, b in pairwise(starts)]


class Desk:
    """What one computation after the other uses: the chip's stream of read noise, a meter of what
    reaches converters, memory that is not given back in between. Not thread-safe."""

    def __init__(self, reads: noise.Stream, meter: RangeMeter | None = None) -> None:
        self.reads, self.meter = reads, meter
        self._memory: dict[tuple[str, type], npt.NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, int], dtype: type) -> Floats:
        """Of any content."""
        size = shape[0] * shape[1]
        held = self._memory.get((name, dtype))
        if held is None or len(held) < size:
            held = self._memory[name, dtype] = np.empty(size, dtype)
        return held[:size].reshape(shape)


def inputs(kernel: Kernel, levels: Levels, reference: int, desk: Desk, dtype: Any) -> Floats:
    """Levels - reference of images (N, h, w, in) or (N, in) as (N * positions, taps, in), in the
    desk's memory."""
    taps = kernel.rows if kernel.kind == "depthwise" else kernel.rows // kernel.inputs
    rows = desk.take(
        "inputs", (len(levels) * math.prod(kernel.positions), taps * kernel.inputs), dtype
    )
    window_rows(kernel, np.ascontiguousarray(levels), reference, rows)
    return rows.reshape(len(rows), taps, kernel.inputs)


def per_pass(kernel: Kernel) -> int:
    """Images whose inputs stay in the cache together."""
    taps = kernel.rows if kernel.kind == "depthwise" else kernel.rows // kernel.inputs
    return max(1, _INPUTS // (math.prod(kernel.positions) * taps * kernel.inputs))


def multiply(layer: Layer, x: Floats, desk: Desk, result: npt.NDArray[np.int32]) -> None:
    """Inputs (positions, taps, in), minus the reference -> the layer's sums (positions, out)."""
    step = max(64, _CHUNK // max(1, layer.kernel.outputs))
    for start in range(0, len(x), step):
        total = accumulate(layer, x[start : start + step], desk)
        loops.finish(total, layer.constant, result[start : start + step])


def accumulate(layer: Layer, x: Floats, desk: Desk) -> Floats:
    """As `multiply`, the constant left out and not rounded; the result is the desk's memory."""
    total = desk.take("total", (len(x), layer.kernel.outputs), layer.dtype)
    total[:] = 0
    drive = layer.drive
    if drive.step != 1:
        x = np.rint(x / layer.dtype(drive.step))
    shaped = _shaped(layer, x)
    noisy = any(b.variance is not None for b in layer.blocks)
    for worth, part in _digits(shaped, drive):
        squared = part * part if noisy else part
        for block in layer.blocks:
            _read(layer, block, part, squared, worth * drive.step, total, desk)
    if layer.driven or layer.own:
        total += drive.step * _digital(layer, x, shaped)
    return total


def _shaped(layer: Layer, x: Floats) -> Floats:
    if layer.layout == "diagonal":
        return x
    if layer.kernel.kind == "depthwise":
        x = np.ascontiguousarray(x.transpose(0, 2, 1))
    return x.reshape(len(x), -1)


def _digits(x: Floats, drive: Drive) -> list[tuple[int, Floats]]:
    """What is read one after the other, with its worth: all of it, or bits of the magnitude with
    the sign."""
    if not drive.digits:
        return [(1, x)]
    sign, magnitude = np.sign(x), np.abs(x).astype(np.int32)
    return [(1 << k, sign * ((magnitude >> k) & 1).astype(x.dtype)) for k in range(drive.digits)]


def _read(
    layer: Layer,
    block: Block,
    x: Floats,
    squared: Floats,
    worth: float,
    total: Floats,
    desk: Desk,
) -> None:
    sums = _sums(layer, x, block, block.weights, desk.take)
    if desk.meter is not None:
        desk.meter.add((layer.kernel.name, block.part), sums, block.limit)
    if block.variance is not None:
        sigma = _sums(layer, squared, block, block.variance, desk.take)
        desk.reads.add(sums, np.sqrt(sigma, out=sigma))
    first, number = block.columns.start, sums.dtype.type
    codes = block.codes
    if codes is None:
        loops.add(sums, number(worth * block.worth), total, first)
        return
    inverse, value = number(1 / codes.step), number(worth * block.worth * codes.step)
    low, high = number(codes.low), number(codes.high)
    if block.offset is None or block.bow is None:
        loops.convert(sums, inverse, low, high, value, total, first)
    else:
        bend = (block.offset, block.bow)
        loops.convert_bent(sums, inverse, low, high, value, *bend, total, first)


def _sums(
    layer: Layer, x: Floats, block: Block, weights: Floats, take: Callable[..., Floats]
) -> Floats:
    name = "sums" if weights is block.weights else "variance"
    sums = take(name, (len(x), weights.shape[1]), weights.dtype.type)
    if layer.layout == "diagonal":
        loops.diagonal(x[:, block.rows], weights, sums)
        return sums
    return np.matmul(x[:, block.rows], weights, out=sums)


def _digital(layer: Layer, x: Floats, shaped: Floats) -> Any:
    """Terms of the sums of inputs, (positions, 1) or (positions, out)."""
    if layer.kernel.kind != "depthwise":
        return (layer.own + layer.driven) * shaped.sum(axis=1, keepdims=True)
    own = x.sum(axis=1)
    if layer.layout == "diagonal":
        return (layer.own + layer.driven) * own
    starts = np.arange(0, own.shape[1], layer.group)
    driven = np.repeat(np.add.reduceat(own, starts, axis=1), layer.group, axis=1)
    return layer.own * own + layer.driven * driven[:, : own.shape[1]]
