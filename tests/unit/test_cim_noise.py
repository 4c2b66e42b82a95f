"""Fast normal numbers against the normal distribution."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from edge_sdk.backends.cim import noise


def drawn(count: int, key: int = 0, columns: int = 1000) -> np.ndarray:
    values = np.zeros((count // columns, columns), np.float32)
    noise.Stream((1, key)).add(values, np.ones((len(values), 1), np.float32))
    return values.ravel().astype(np.float64)


def test_moments_quantiles_and_tails_are_normal() -> None:
    n = 4_000_000
    x = drawn(n)
    assert abs(x.mean()) < 5 / math.sqrt(n)
    assert abs(x.var() - 1) < 7e-5 + 5 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 5 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 2e-3 + 5 * math.sqrt(96 / n)
    # Kolmogorov-Smirnov at a significance of 1e-4, beside the strips' own 2e-5.
    at = np.linspace(-5, 5, 2001)
    wanted = np.array([NormalDist().cdf(v) for v in at])
    share = np.searchsorted(np.sort(x), at) / n
    assert np.abs(share - wanted).max() < 2e-5 + 2.23 / math.sqrt(n)
    for edge in (3.2, 3.6, 4.0, 4.5):
        p = 2 * NormalDist().cdf(-edge)
        assert abs((np.abs(x) > edge).mean() - p) < 5 * math.sqrt(p / n) + 2e-5


def test_neighbours_rows_and_keys_do_not_depend_on_each_other() -> None:
    n = 1_000_000
    x, other = drawn(n), drawn(n, key=1)
    limit = 5 / math.sqrt(n)
    for a, b in ((x[:-1], x[1:]), (x[:-2], x[2:]), (x[:-1000], x[1000:]), (x, other)):
        assert abs((a * b).mean()) < limit
        assert abs((a**2 * b**2).mean() - 1) < 4 * limit


def test_a_stream_goes_on_and_is_its_key() -> None:
    stream = noise.Stream((3, 4))
    one, whole = np.zeros((4, 7), np.float32), np.zeros((8, 7), np.float32)
    ones = np.ones((8, 1), np.float32)
    stream.add(one, ones[:4])
    two = np.zeros((4, 7), np.float32)
    stream.add(two, ones[:4])
    noise.Stream((3, 4)).add(whole, ones)
    np.testing.assert_array_equal(np.concatenate([one, two]), whole)
    assert len(np.unique(whole)) == whole.size


def test_sigma_is_per_sum_or_per_row() -> None:
    sums = np.zeros((3, 40_000), np.float32)
    noise.Stream((1,)).add(sums, np.array([[0.0], [2.0], [5.0]], np.float32))
    np.testing.assert_allclose(sums.std(axis=1), [0, 2, 5], rtol=0.02)
    sums[:] = 1
    sigma = np.zeros((3, 40_000), np.float32)
    sigma[:, ::2] = 3
    noise.Stream((1,)).add(sums, sigma)
    assert (sums[:, 1::2] == 1).all()
    np.testing.assert_allclose(sums[:, ::2].std(), 3, rtol=0.02)
