"""The fixed-point arithmetic of TensorFlow Lite's reference kernels, as LiteRT is built.

A real factor is a 31-bit multiplier and a power of two, and a product is rounded twice: to a 32-bit
high half (halves up), then by the power of two (halves away from zero). Formulas: gemmlowp's
fixedpoint.h and TensorFlow Lite's quantization_util.cc. That LiteRT 2.3 rounds twice was measured:
rounding once differs in 2,033 of 1,516,256 convolution outputs of a MobileNet V2, twice in none.
Its fully connected layers round once (halves up): twice differs in 23 of 6,000 outputs, once in
none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
ONE = 2**31 - 1


def quantised_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, exponent): real ~ multiplier * 2^(exponent - 31)."""
    fraction, exponent = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, exponent)


def high_product(a: Ints, b: Ints | int) -> Ints:
    """a * b / 2^31, halves up, of 32-bit values."""
    product: Ints = (np.asarray(a, np.int64) * b + 2**30) >> 31
    return product


def divide_by_power(x: Ints, exponent: int) -> Ints:
    """x / 2^exponent, halves away from zero."""
    if exponent == 0:
        return x
    quotient: Ints = (x + (1 << (exponent - 1)) - (x < 0)) >> exponent
    return quotient


def multiply(x: Ints, multiplier: int, exponent: int) -> Ints:
    """x times a quantised multiplier; x: 32-bit values held in 64 bits."""
    x = np.asarray(x, np.int64) << max(exponent, 0)
    return divide_by_power(high_product(x, multiplier), max(-exponent, 0))


def multiply_once(x: Ints, multiplier: Ints | int, exponent: Ints | int) -> Ints:
    """The same with one rounding, halves up."""
    shift = 31 - np.asarray(exponent, np.int64)
    product: Ints = (np.asarray(x, np.int64) * multiplier + (np.int64(1) << (shift - 1))) >> shift
    return product


def half_away(x: float) -> int:
    """To the nearest integer, halves away from zero: C's round."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


@dataclass(frozen=True, eq=False)
class Rescale:
    """From sums to levels: clamp(zero + (sum + bias) * multiplier * 2^(left - right - 31)).

    bias, multiplier, left, right: int32 (out,). dtype: of the levels. once: rounded once."""

    bias: npt.NDArray[np.int32]
    multiplier: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    zero: int
    low: int
    high: int
    dtype: np.dtype[np.generic]
    once: bool


# --- softmax: exponentials and a reciprocal in fixed point -----------------------------------

_DIFFERENCE_BITS = 5  # integer bits of a scaled difference: Q5.26
_SUM_BITS = 12  # integer bits of a sum of exponentials: Q12.19
# exp(-2^k) in Q0.31 for the bits k of the integer and fraction part from -2 up.
_EXPONENTIALS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def exponentials(scale: float) -> Ints:
    """exp(-scale * d) in Q0.31 for d = 0 to 255; 0 where the kernels take it for nothing."""
    factor = min(scale * 2 ** (31 - _DIFFERENCE_BITS), 2.0**31 - 1)
    multiplier, exponent = quantised_multiplier(factor)
    largest = (2**_DIFFERENCE_BITS - 1) * 2.0 ** (31 - _DIFFERENCE_BITS - exponent)
    return np.array(
        [
            _exponential(_high(-d << exponent, multiplier)) if d <= math.floor(largest) else 0
            for d in range(256)
        ],
        np.int64,
    )


def softmax(distance: npt.NDArray[np.uint8], exp: Ints) -> Ints:
    """Shares of 256 from distances to the largest level of each row (N, classes)."""
    kept = exp[distance]
    sums = divide_by_power(exp, _SUM_BITS)[distance].sum(axis=-1)
    scale, over = np.array([_reciprocal(int(s)) for s in sums], np.int64).T[..., None]
    exponent = over + 31 - 8
    product = high_product(kept, scale)
    shares: Ints = (product + (1 << (exponent - 1)) - (product < 0)) >> exponent
    return np.where(kept > 0, shares, 0)


def _high(a: int, b: int) -> int:
    return (a * b + 2**30) >> 31


def _rounded_shift(x: int, exponent: int) -> int:
    return (x + (1 << (exponent - 1)) - (x < 0)) >> exponent


def _saturated(x: int) -> int:
    return min(max(x, -(2**31)), ONE)


def _exponential(a: int) -> int:
    """exp of a Q5.26 value of at most 0, in Q0.31."""
    if a == 0:
        return ONE
    quarter = 1 << 24
    part = (a & (quarter - 1)) - quarter
    remainder = part - a
    result = _exponential_of_quarter(part << _DIFFERENCE_BITS)
    for bit, factor in enumerate(_EXPONENTIALS):
        if remainder & (quarter << bit):
            result = _high(result, factor)
    return result


def _exponential_of_quarter(a: int) -> int:
    """exp on [-1/4, 0) in Q0.31: a Taylor series about -1/8."""
    x = a + (1 << 28)
    x2 = _high(x, x)
    x3, x4 = _high(x2, x), _high(x2, x2)
    tail = _rounded_shift(_high(_rounded_shift(x4, 2) + x3, 715827883) + x2, 1)
    return 1895147668 + _high(1895147668, x + tail)


def _reciprocal(x: int) -> tuple[int, int]:
    """1 / x of a Q12.19 value: Q0.31 of the reciprocal scaled to [1/2, 1), and by how many bits."""
    headroom = 32 - x.bit_length()
    half = ((x << headroom) - 2**31 + ONE + 1) // 2
    estimate = 1515870810 + _high(half, -1010580540)
    for _ in range(3):
        error = 2**29 - _high(half, estimate)
        estimate += _saturated(_high(estimate, error) << 2)
    return _saturated(estimate << 1), _SUM_BITS - headroom
