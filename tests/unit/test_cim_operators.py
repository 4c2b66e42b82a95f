"""Operators on levels against the same in real numbers; that they are LiteRT's to the byte is
tested in tests/integration/test_cim_exact.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from edge_sdk.backends.cim import operators as ops
from edge_sdk.backends.cim.fixed_point import exponentials

INT8, UINT8 = np.dtype("int8"), np.dtype("uint8")
A, B = ops.Grid(0.05131, -20, INT8), ops.Grid(0.03173, 7, INT8)
RESULT = ops.Grid(0.07193, 3, INT8)
RNG = np.random.default_rng(0)
X, Y = RNG.integers(-128, 128, (2, 3, 8, 8, 5)).astype(np.int8)


def real(levels: np.ndarray, grid: ops.Grid) -> np.ndarray:
    return grid.scale * (levels.astype(float) - grid.zero)


def nearest(values: np.ndarray, grid: ops.Grid) -> np.ndarray:
    return np.clip(np.round(values / grid.scale) + grid.zero, *grid.limits())


def close(found: np.ndarray, values: np.ndarray, grid: ops.Grid, seldom: float = 0.01) -> None:
    """At most a level apart, and that seldom: rounding twice moves a few."""
    assert found.dtype == grid.dtype
    apart = np.abs(found - nearest(values, grid))
    assert apart.max() <= 1
    assert (apart > 0).mean() < seldom


@pytest.mark.parametrize(
    ("values", "formula"),
    [(ops.add_values, np.add), (ops.multiply_values, np.multiply)],
)
def test_two_tensors(values: Callable[..., np.ndarray], formula: np.ufunc) -> None:
    table = ops.PairTable(values(A, B, RESULT, RESULT.limits()), {})
    close(table(X, Y), formula(real(X, A), real(Y, B)), RESULT)


@pytest.mark.parametrize("place", [0, 1])
def test_a_constant_stands_in_for_an_input(place: int) -> None:
    constant = Y[0, 0, 0]
    table = ops.PairTable(ops.add_values(A, B, RESULT, (-60, 50)), {place: constant})
    both = [X, constant] if place else [constant, X]
    found = table(X)
    expected = np.add(real(both[0], A), real(both[1], B))
    close(found, np.clip(expected, real(np.array(-60), RESULT), real(np.array(50), RESULT)), RESULT)
    assert (found.min(), found.max()) == (-60, 50)


def test_tables_of_one_tensor() -> None:
    close(ops.requantise_table(A, RESULT)(X), real(X, A), RESULT)
    unsigned = ops.Grid(0.04079, 130, UINT8)
    close(ops.requantise_table(A, unsigned)(X), real(X, A), unsigned)
    close(ops.requantise_table(A, RESULT, (3, 127))(X), np.maximum(real(X, A), 0), RESULT)
    share = ops.Grid(1 / 256, -128, INT8)
    close(ops.logistic_table(A, share)(X), 1 / (1 + np.exp(-real(X, A))), share)
    np.testing.assert_allclose(ops.dequantise_table(A)(X), real(X, A), rtol=1e-6)
    assert ops.dequantise_table(A)(X).dtype == np.float32


def test_real_numbers_become_levels() -> None:
    values = RNG.normal(0, 4, (2, 9)).astype(np.float32)
    close(ops.Quantise(A)(values), values, A)


def test_means() -> None:
    levels = RNG.integers(-128, 128, (20, 4, 4, 100)).astype(np.int8)
    mean = ops.Mean((1, 2), 16, *ops.mean_factor(A, RESULT, 16), A, RESULT, (100,))
    found = mean(levels)
    assert found.shape == (20, 100)
    # The first rounding is to a 32nd of a level.
    close(found, real(levels, A).mean(axis=(1, 2)), RESULT, seldom=1 / 16)


@pytest.mark.parametrize("largest", [True, False])
def test_pools_leave_padding_out(largest: bool) -> None:
    pool = ops.Pool(largest, (3, 2), (2, 1), (1, 1, 0, 1), (-128, 127), (4, 8, 5))
    padded = np.pad(X.astype(float), ((0, 0), (1, 1), (0, 1), (0, 0)), constant_values=np.nan)
    parts = sliding_window_view(padded, (3, 2), (1, 2))[:, ::2]
    expected = (np.nanmax if largest else np.nanmean)(parts, axis=(-1, -2))
    rounded = np.copysign(np.floor(np.abs(expected) + 0.5), expected)
    np.testing.assert_array_equal(pool(X), rounded)


def test_shapes_only() -> None:
    padded = ops.Pad((0, 1, 0, 2), (0, 0, 3, 0), -5)(X)
    np.testing.assert_array_equal(
        padded, np.pad(X, ((0, 0), (1, 0), (0, 3), (2, 0)), constant_values=-5)
    )
    np.testing.assert_array_equal(ops.Reshape((320,))(X), X.reshape(3, 320))
    same = ops.rescale_table(A, A)
    joined = ops.Concatenate(3, (same, same))(X, Y)
    np.testing.assert_array_equal(joined, np.concatenate([X, Y], axis=3))


def test_softmax_sums_to_one() -> None:
    rows = RNG.integers(0, 256, (50, 10)).astype(np.uint8)
    shares = ops.Softmax(exponentials(0.03), UINT8)(rows) / 256
    expected = np.exp(0.03 * rows)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, np.minimum(expected, 255 / 256), atol=0.003)
