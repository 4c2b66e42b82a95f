from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.backends.cim.fixed_point import (
    Rescale,
    divide_by_power,
    exponentials,
    half_away,
    high_product,
    multiply,
    multiply_once,
    quantised_multiplier,
    softmax,
)
from edge_sdk.backends.cim.sums import levels_of_sums

compiling = settings(deadline=None)  # the first call compiles
int32s = st.integers(-(2**31), 2**31 - 1)


def halves_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def halves_away(x: Fraction) -> int:
    return int(math.copysign(math.floor(abs(x) + Fraction(1, 2)), x))


@given(real=st.floats(1e-9, 1e6))
def test_a_multiplier_stands_for_its_factor(real: float) -> None:
    multiplier, exponent = quantised_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert math.ldexp(multiplier, exponent - 31) == pytest.approx(real, rel=2**-31)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.5, (2**30, 0)),
        (1.0, (2**30, 1)),
        (0.0, (0, 0)),
        (1 - 2**-40, (2**30, 1)),
        (1e-12, (0, 0)),
    ],
)
def test_multipliers_of_round_factors(real: float, expected: tuple[int, int]) -> None:
    assert quantised_multiplier(real) == expected


@given(a=int32s, b=st.integers(0, 2**31 - 1))
def test_the_high_product_rounds_halves_up(a: int, b: int) -> None:
    assert high_product(np.array([a]), b)[0] == halves_up(Fraction(a * b, 2**31))


@given(x=int32s, exponent=st.integers(0, 31))
def test_division_by_a_power_rounds_halves_away(x: int, exponent: int) -> None:
    found = divide_by_power(np.array([x], np.int64), exponent)[0]
    assert found == halves_away(Fraction(x, 2**exponent))


@given(x=st.integers(-(2**20), 2**20), real=st.floats(1e-6, 100))
def test_two_roundings_and_one(x: int, real: float) -> None:
    multiplier, exponent = quantised_multiplier(real)
    left, right = max(exponent, 0), max(-exponent, 0)
    top = halves_up(Fraction((x << left) * multiplier, 2**31))
    array = np.array([x], np.int64)
    assert multiply(array, multiplier, exponent)[0] == halves_away(Fraction(top, 2**right))
    product = Fraction(x * multiplier) * Fraction(2) ** (exponent - 31)
    assert multiply_once(array, multiplier, exponent)[0] == halves_up(product)


def test_they_differ_where_they_were_seen_to() -> None:
    """A sum of a dense layer of tests/data/tiny-w4a8.tflite: LiteRT answers 10 there."""
    real = 855 * 1686979198 * 2.0**-37
    assert 10 < real < 10.5
    assert multiply_once(np.array([855]), 1686979198, -6)[0] == 10
    assert multiply(np.array([855]), 1686979198, -6)[0] == 11


@pytest.mark.parametrize(("x", "expected"), [(0.5, 1), (-0.5, -1), (2.5, 3), (1.49, 1), (-7.0, -7)])
def test_halves_go_away_from_zero(x: float, expected: int) -> None:
    assert half_away(x) == expected


def rescale(rng: np.random.Generator, outputs: int, once: bool) -> Rescale:
    factors = [quantised_multiplier(r) for r in np.exp(rng.uniform(-8, 1, outputs))]
    multiplier, exponent = np.array(factors, np.int32).T
    left, right = (np.maximum(e, 0).astype(np.int32) for e in (exponent, -exponent))
    bias = rng.integers(-3000, 3000, outputs).astype(np.int32)
    return Rescale(
        bias, np.ascontiguousarray(multiplier), left, right, -7, -100, 120, np.dtype("int8"), once
    )


@pytest.mark.parametrize("once", [False, True])
@compiling
@given(seed=st.integers(0, 2**32 - 1), outputs=st.integers(1, 40))
def test_the_compiled_loop_is_the_formula(seed: int, outputs: int, once: bool) -> None:
    rng = np.random.default_rng(seed)
    scaled = rescale(rng, outputs, once)
    sums = rng.integers(-(2**18), 2**18, (3, 5, outputs))
    total = sums + scaled.bias
    exponent = scaled.left.astype(np.int64) - scaled.right
    rounded = [
        (multiply_once if once else multiply)(
            total[..., c].astype(np.int64), int(scaled.multiplier[c]), int(exponent[c])
        )
        for c in range(outputs)
    ]
    expected = np.clip(np.stack(rounded, -1) - 7, -100, 120)
    for dtype in (np.int32, np.int64, np.float32, np.float64):
        found = levels_of_sums(sums.astype(dtype), scaled)
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("once", [False, True])
def test_sums_that_are_no_whole_numbers_are_rounded_once(once: bool) -> None:
    multiplier, exponent = quantised_multiplier(1.0)
    one, none = np.array([multiplier], np.int32), np.zeros(1, np.int32)
    exact = Rescale(
        none, one, np.array([exponent], np.int32), none, 0, -128, 127, np.dtype("int8"), once
    )
    sums = np.array([[-2.5], [-1.5], [-0.4], [0.5], [1.5], [2.49], [2.51], [99.6]], np.float32)
    assert levels_of_sums(sums, exact)[:, 0].tolist() == [-2, -2, 0, 0, 2, 2, 3, 100]


@pytest.mark.parametrize("scale", [0.003, 0.02, 0.11, 0.3])
def test_exponentials_in_fixed_point_are_exponentials(scale: float) -> None:
    distance = np.arange(256)
    np.testing.assert_allclose(exponentials(scale) / 2**31, np.exp(-scale * distance), atol=1e-6)


def test_softmax_is_a_softmax() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 10, 1001):
        distance = rng.integers(0, 256, (20, classes)).astype(np.uint8)
        distance[:, 0] = 0
        real = np.exp(-0.05 * distance)
        real /= real.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(softmax(distance, exponentials(0.05)) / 256, real, atol=0.0021)
