"""Exact sums of a layer with weights: what an ideal array, or digital logic, would give."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim import integer_loops as loops
from edge_sdk.backends.cim.fixed_point import Rescale, multiply_once
from edge_sdk.backends.cim.kernel import Kernel, Levels

_prepared: WeakKeyDictionary[Kernel, npt.NDArray[Any]] = WeakKeyDictionary()


def exact_sums(kernel: Kernel, levels: Levels) -> Levels:
    """The default Accumulate: int32 for depthwise, else whole numbers in float32 or float64.

    float32 holds every whole number below 2^24, so no order of summing changes a sum whose terms'
    magnitudes add up to less; layers beyond that are summed in float64 (below 2^53)."""
    weights = prepared_weights(kernel)
    if kernel.kind == "depthwise":
        out = np.empty((len(levels), *kernel.positions, kernel.outputs), np.int32)
        loops.depthwise_sums(
            levels, weights, kernel.input_zero, kernel.stride, kernel.padding,
            kernel.weights.shape[1], out,
        )  # fmt: skip
        return out
    shape = (len(levels), *kernel.positions) if kernel.kind == "convolution" else (len(levels),)
    rows = np.empty((math.prod(shape), kernel.rows), weights.dtype)
    window_rows(kernel, levels, kernel.input_zero, rows)
    sums: Levels = (rows @ weights).reshape(*shape, kernel.outputs)
    return sums


def window_rows(kernel: Kernel, levels: Levels, reference: int, out: Levels) -> None:
    """out (N * oh * ow, kh * kw * in) = the inputs of every output position less `reference`,
    padding at the inputs' zero. levels: contiguous."""
    if kernel.kind == "dense" or _is_pointwise(kernel):
        loops.less_zero(levels.reshape(-1), reference, out.reshape(-1))
    else:
        shape = (len(levels), *kernel.positions, out.shape[1])
        loops.windows(
            levels, reference, kernel.input_zero - reference, kernel.weights.shape[:2],
            kernel.stride, kernel.padding, out.reshape(shape),
        )  # fmt: skip


def depthwise_levels(kernel: Kernel, levels: Levels, rescale: Rescale) -> Levels:
    """Output levels of a depthwise layer with exact sums, in one pass."""
    out = np.empty((len(levels), *kernel.positions, kernel.outputs), rescale.dtype)
    loops.depthwise_levels(
        levels, prepared_weights(kernel), kernel.input_zero, kernel.stride, kernel.padding,
        kernel.weights.shape[1], rescale.bias, rescale.multiplier, rescale.left, rescale.right,
        rescale.zero, rescale.low, rescale.high, out,
    )  # fmt: skip
    return out


def levels_of_sums(sums: Levels, rescale: Rescale) -> Levels:
    """Bias, rescaling, output zero and clamp; sums that are floats are first rounded once."""
    if rescale.once:
        total = np.rint(sums).astype(np.int64) + rescale.bias
        exponent = rescale.left.astype(np.int64) - rescale.right
        levels = multiply_once(total, rescale.multiplier.astype(np.int64), exponent)
        return np.clip(levels + rescale.zero, rescale.low, rescale.high).astype(rescale.dtype)
    out = np.empty(sums.shape, rescale.dtype)
    flat = np.ascontiguousarray(sums).reshape(-1, sums.shape[-1])
    loops.levels_of_sums(
        flat, rescale.bias, rescale.multiplier, rescale.left, rescale.right, rescale.zero,
        rescale.low, rescale.high, out.reshape(flat.shape),
    )  # fmt: skip
    return out


def prepared_weights(kernel: Kernel) -> npt.NDArray[Any]:
    """Weights less their zero as (rows, out): int32 for depthwise, else a float type that is exact.

    Kept for as long as the kernel is."""
    found = _prepared.get(kernel)
    if found is None:
        weights = kernel.weights.astype(np.int32) - kernel.zero
        weights = weights.reshape(-1, kernel.outputs)
        found = weights if kernel.kind == "depthwise" else weights.astype(_exact(kernel, weights))
        _prepared[kernel] = found
    return found


def _exact(kernel: Kernel, weights: npt.NDArray[np.int32]) -> type[np.float32] | type[np.float64]:
    farthest = max(kernel.input_high - kernel.input_zero, kernel.input_zero - kernel.input_low)
    most = int(np.abs(weights).sum(axis=0, dtype=np.int64).max(initial=0)) * farthest
    return np.float32 if most < 2**24 else np.float64


def _is_pointwise(kernel: Kernel) -> bool:
    return (
        kernel.weights.shape[:2] == (1, 1)
        and kernel.stride == (1, 1)
        and kernel.padding == (0, 0, 0, 0)
    )
