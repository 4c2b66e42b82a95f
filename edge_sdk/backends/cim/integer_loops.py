"""The inner loops of the exact executor, compiled: sums to levels, windows, look-ups, pooling.

Levels are int8 or uint8, contiguous, images first. Nothing here checks anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

# Adding and taking away 1.5 x 2^52 rounds a float64 half to even, and vectorises as rint does not.
_ROUND = 6755399441055744.0


def _compiled(function: F) -> F:
    """Kept on disk between runs where a folder for that can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder for the cache
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@_compiled
def _level(
    total: Any, multiplier: Any, left: Any, right: Any, zero: Any, low: Any, high: Any
) -> Any:
    # 32 bits throughout but for the product: that is what makes it fit vector instructions.
    product = np.int64(np.int32(total << left)) * np.int64(multiplier)
    top = np.int32((product + np.int64(1 << 30)) >> np.int64(31))
    half = (np.int32(1) << right) >> np.int32(1)
    # Halves away from zero; nothing to round when right is 0.
    below = np.int32(1) if top < np.int32(0) and right > np.int32(0) else np.int32(0)
    level = np.int32(np.int32(np.int32(top + half) - below) >> right) + zero
    return min(max(np.int32(level), low), high)


@_compiled
def levels_of_sums(
    sums: Any, bias: Any, multiplier: Any, left: Any, right: Any, zero: int, low: int, high: int,
    out: Any,
) -> None:  # fmt: skip
    """sums: integers in any type, or floats, rounded once (halves to even); (rows, out)."""
    zero, low, high = np.int32(zero), np.int32(low), np.int32(high)  # type: ignore[assignment]
    for r in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            whole = np.int32((np.float64(sums[r, c]) + _ROUND) - _ROUND)
            total = np.int32(whole + bias[c])
            out[r, c] = _level(total, multiplier[c], left[c], right[c], zero, low, high)


@_compiled
def _depthwise_sums(
    x: Any, weights: Any, input_zero: int, top: int, left: int, kw: int, sums: Any
) -> None:
    """One image, one output position: its sums over the part of the window inside the map."""
    zero = np.int32(input_zero)
    sums[:] = 0
    for t in range(weights.shape[0]):
        iy, ix = top + t // kw, left + t % kw
        if 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]:
            for c in range(x.shape[2]):
                sums[c] += np.int32(np.int32(np.int32(x[iy, ix, c]) - zero) * weights[t, c])


@_compiled
def depthwise_sums(
    x: Any, weights: Any, input_zero: int, stride: Any, padding: Any, kw: int, out: Any
) -> None:
    """weights: int32 (kh * kw, channels), less their zero. out: int32 (N, oh, ow, channels)."""
    for n in range(x.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                top, left = oy * stride[0] - padding[0], ox * stride[1] - padding[2]
                _depthwise_sums(x[n], weights, input_zero, top, left, kw, out[n, oy, ox])


@_compiled
def depthwise_levels(
    x: Any, weights: Any, input_zero: int, stride: Any, padding: Any, kw: int, bias: Any,
    multiplier: Any, left: Any, right: Any, zero: int, low: int, high: int, out: Any,
) -> None:  # fmt: skip
    """As depthwise_sums, then levels_of_sums, without a tensor of sums between."""
    zero, low, high = np.int32(zero), np.int32(low), np.int32(high)  # type: ignore[assignment]
    sums = np.empty(x.shape[3], np.int32)
    for n in range(x.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                y, column = oy * stride[0] - padding[0], ox * stride[1] - padding[2]
                _depthwise_sums(x[n], weights, input_zero, y, column, kw, sums)
                row = out[n, oy, ox]
                for c in range(x.shape[3]):
                    total = np.int32(sums[c] + bias[c])
                    row[c] = _level(total, multiplier[c], left[c], right[c], zero, low, high)


@_compiled
def less_zero(x: Any, zero: int, out: Any) -> None:
    """x: levels, out: their distance to zero in another type; one axis."""
    for i in range(x.size):
        out[i] = np.int32(x[i]) - np.int32(zero)


@_compiled
def windows(x: Any, zero: int, fill: int, size: Any, stride: Any, padding: Any, out: Any) -> None:
    """out: (N, oh, ow, kh * kw * in), every output's inputs less `zero`, `fill` in padding."""
    width, channels = x.shape[2], x.shape[3]
    run = size[1] * channels
    for n in range(x.shape[0]):
        for oy in range(out.shape[1]):
            for ky in range(size[0]):
                iy = oy * stride[0] - padding[0] + ky
                if not 0 <= iy < x.shape[1]:
                    out[n, oy, :, ky * run : (ky + 1) * run] = fill
                    continue
                line = x[n, iy].reshape(-1)
                for ox in range(out.shape[2]):
                    # A row of a window is one run of the line, but for its ends in the padding.
                    row = out[n, oy, ox, ky * run : (ky + 1) * run]
                    left = ox * stride[1] - padding[2]
                    first = max(-left, 0) * channels
                    last = min(width - left, size[1]) * channels
                    start = left * channels
                    # Slices, so that no index can be below 0: that is what lets it vectorise.
                    taken, into = line[start + first : start + last], row[first:last]
                    for i in range(last - first):
                        into[i] = np.int32(taken[i]) - np.int32(zero)
                    if last - first < run:
                        row[:first] = fill
                        row[max(last, 0) :] = fill


@_compiled
def pairs(a: Any, b: Any, table: Any, out: Any) -> None:
    """out[i] = table[a[i], b[i]]; a, b: bytes."""
    for i in range(a.size):
        out[i] = table[(np.int64(a[i]) << 8) | np.int64(b[i])]


@_compiled
def pool(
    x: Any, size: Any, stride: Any, padding: Any, largest: bool, low: int, high: int, out: Any
) -> None:
    """The largest or the mean (halves away from zero) of each window's part inside the map."""
    channels = x.shape[3]
    best = np.empty(channels, np.int32)
    for n in range(x.shape[0]):
        for oy in range(out.shape[1]):
            top = oy * stride[0] - padding[0]
            y0, y1 = max(top, 0), min(top + size[0], x.shape[1])
            for ox in range(out.shape[2]):
                left = ox * stride[1] - padding[2]
                x0, x1 = max(left, 0), min(left + size[1], x.shape[2])
                best[:] = -256 if largest else 0
                for iy in range(y0, y1):
                    for ix in range(x0, x1):
                        for c in range(channels):
                            level = np.int32(x[n, iy, ix, c])
                            best[c] = max(best[c], level) if largest else best[c] + level
                count = 1 if largest else (y1 - y0) * (x1 - x0)
                for c in range(channels):
                    magnitude = (abs(np.int64(best[c])) + count // 2) // count
                    value = magnitude if best[c] >= 0 else -magnitude
                    out[n, oy, ox, c] = min(max(value, low), high)
