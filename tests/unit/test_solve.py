import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_sdk.benchmark.solve import (
    conformal_quantile,
    correction,
    correction_helps,
    jackknife_coverage,
    kernel,
    left_out,
    nnls,
    relative_nnls,
)

# --- non-negative least squares ------------------------------------------------------------

# Columns that resemble each other, as Mult-Adds and bytes do: with independent ones the solver
# hardly ever has to take a variable back.
SEEDS = st.integers(0, 2**32 - 1)


def alike(seed):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.2, 1.0, (9, 1)) + rng.uniform(0.0, 0.5, (9, 6))
    return A, A @ rng.normal(size=6) + rng.normal(scale=0.05, size=9), rng


@settings(max_examples=200)
@given(seed=SEEDS)
def test_nnls_meets_the_conditions_of_karush_kuhn_and_tucker(seed):
    A, b, _ = alike(seed)
    x = nnls(A, b)
    gradient = A.T @ (A @ x - b)
    assert (x >= 0).all()
    assert (gradient >= -1e-7).all()
    assert np.abs(gradient * x).max() <= 1e-7


@settings(max_examples=100)
@given(seed=SEEDS)
def test_no_other_non_negative_point_is_better(seed):
    A, b, rng = alike(seed)
    least = np.linalg.norm(A @ nnls(A, b) - b)
    for other in rng.exponential(size=(20, 6)):
        assert least <= np.linalg.norm(A @ other - b) + 1e-9


@given(
    A=arrays(float, (5, 3), elements=st.sampled_from([-2.0, 0.0, 0.5, 1.0])),
    b=arrays(float, 5, elements=st.floats(-8, 8)),
)
def test_nnls_ends_on_columns_that_are_zero_or_the_same(A, b):
    x = nnls(A, b)
    assert (x >= 0).all()
    assert np.isfinite(x).all()
    assert np.linalg.norm(A @ x - b) <= np.linalg.norm(b) + 1e-9


def test_nnls_holds_back_what_would_be_negative():
    A = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert nnls(A, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])
    assert nnls(A, np.array([-1.0, -1.0, -1.0])) == pytest.approx([0.0, 0.0])
    assert nnls(np.zeros((3, 2)), np.ones(3)) == pytest.approx([0.0, 0.0])


def test_a_fit_with_few_rows_is_drawn_to_the_usual_shares():
    at, shares = np.array([10.0, 5.0, 1.0]), np.array([0.6, 0.3, 0.1])
    shape = shares / at
    rng = np.random.default_rng(3)
    X = rng.uniform(0.5, 2, (2, 3)) * at
    assert relative_nnls(X, 7 * X @ shape, shares, at) == pytest.approx(7 * shape)
    # What the rows say still counts, and the more of them the more.
    other = np.array([0.2, 0.7, 0.1]) / at
    many = rng.uniform(0.5, 2, (200, 3)) * at
    few_off, many_off = (
        np.abs(relative_nnls(x, x @ other, shares, at) - other).sum() for x in (X, many)
    )
    assert many_off < 0.1 * few_off
    plain = relative_nnls(many, many @ other, shares, at, shrink=0)
    assert plain == pytest.approx(other)


# --- the correction ------------------------------------------------------------------------


def test_a_correction_meets_rows_nearly_and_fades_away_from_them():
    Z = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.7, 0.0, 0.0]])
    left = np.array([0.05, -0.05, 0.02])
    weights = correction(Z, left)
    made = kernel(Z, Z) @ weights
    assert made == pytest.approx(left, abs=0.02)
    far = np.array([[5.0, 9.0, 3.0]])
    assert np.abs(kernel(far, Z) @ weights).max() < 1e-6


def test_neighbours_help_where_they_are_off_alike_and_not_where_they_scatter():
    rng = np.random.default_rng(1)
    width, size = np.meshgrid(np.arange(4.0), np.log([96, 128, 160, 192, 224]) * 2)
    Z = np.stack([size.ravel(), width.ravel(), np.zeros(20)], axis=1)
    X = np.exp(Z[:, :1] + 0.3 * Z[:, 1:2])
    alike = X[:, 0] * np.exp(0.08 * np.sin(3 * Z[:, 1]))
    apart = X[:, 0] * np.exp(rng.normal(scale=0.2, size=20))
    assert correction_helps(X, Z, alike, relative_nnls)
    assert not correction_helps(X, Z, apart, relative_nnls)


def test_what_is_left_out_is_not_seen():
    rng = np.random.default_rng(2)
    X, Z = rng.uniform(1, 2, (6, 1)), rng.normal(size=(6, 3))
    y = X[:, 0] * 3
    y[2] *= 10  # only its own estimate is off by it when it alone is left out
    ratio = left_out(X, Z, y, [0, 1, 2, 3, 4, 5], relative_nnls, correct=False)
    assert ratio[2] == pytest.approx(0.1)
    assert np.isnan(left_out(X, Z, y, ["all"] * 6, relative_nnls)).all()


# --- intervals -----------------------------------------------------------------------------


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_the_quantile_is_one_of_the_errors_and_covers_nine_in_ten(errors):
    q = conformal_quantile(np.array(errors))
    assert q in errors
    assert sum(e <= q for e in errors) >= 0.9 * len(errors)


def test_the_quantile_has_the_conformal_rank():
    assert conformal_quantile(np.arange(1.0, 20.0)) == 18.0  # ceil(20 * 0.9)
    assert conformal_quantile(np.arange(1.0, 5.0)) == 4.0


def test_coverage_is_of_each_error_by_the_others():
    errors = np.array([0.01] * 18 + [0.5, 0.6])
    assert jackknife_coverage(errors).tolist() == [True] * 18 + [False, False]
