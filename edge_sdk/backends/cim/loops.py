"""The inner loops that NumPy would take several passes for, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

# Adding and taking away 1.5 x 2^23 rounds a float32 below 2^22 half to even, and vectorises where
# a call of rint does not.
_ROUND = np.float32(12582912.0)
_ROUND_WIDE = 6755399441055744.0  # 1.5 x 2^52, for float64
_ONE = np.float32(1)


def compiled(function: F) -> F:
    """Kept on disk between runs where a folder for that can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder for the cache
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@compiled
def add(sums: Any, worth: Any, total: Any, start: int) -> None:
    """total, from column start: += worth * sums (M, N), unconverted."""
    for i in range(sums.shape[0]):
        into = total[i, start : start + sums.shape[1]]
        for j in range(sums.shape[1]):
            into[j] += sums[i, j] * worth


@compiled
def convert(
    sums: Any, inverse: Any, low: Any, high: Any, worth: Any, total: Any, start: int
) -> None:
    """total, from column start: += worth * code, codes of sums (M, N) rounded half to even and
    clipped. All float32."""
    for i in range(sums.shape[0]):
        into = total[i, start : start + sums.shape[1]]
        for j in range(sums.shape[1]):
            code = min(max(sums[i, j] * inverse, low), high)
            into[j] += ((code + _ROUND) - _ROUND) * worth


@compiled
def convert_bent(
    sums: Any,
    inverse: Any,
    low: Any,
    high: Any,
    worth: Any,
    offset: Any,
    bow: Any,
    total: Any,
    start: int,
) -> None:
    """As `convert`, by converters with an offset and a bow (N,), in codes."""
    middle, half = (high + low) * np.float32(0.5), (high - low) * np.float32(0.5)
    for i in range(sums.shape[0]):
        into = total[i, start : start + sums.shape[1]]
        for j in range(sums.shape[1]):
            code = sums[i, j] * inverse
            at = min(max((code - middle) / half, -_ONE), _ONE)
            code += offset[j] + bow[j] * (_ONE - at * at)
            code = min(max(code, low), high)
            into[j] += ((code + _ROUND) - _ROUND) * worth


@compiled
def finish(total: Any, constant: Any, result: Any) -> None:
    """result int32 (M, N) = total rounded half to even + constant (N,) int32."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            whole = (np.float64(total[i, j]) + _ROUND_WIDE) - _ROUND_WIDE
            result[i, j] = np.int32(whole) + constant[j]


@compiled
def diagonal(x: Any, weights: Any, sums: Any) -> None:
    """sums (M, C) = x (M, taps, C) * weights (taps, C), summed over taps."""
    for i in range(x.shape[0]):
        for j in range(x.shape[2]):
            sums[i, j] = x[i, 0, j] * weights[0, j]
        for t in range(1, x.shape[1]):
            for j in range(x.shape[2]):
                sums[i, j] += x[i, t, j] * weights[t, j]
