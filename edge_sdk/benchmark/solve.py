"""The mathematics of a fit: non-negative least squares, drawn to a shape; what neighbours add;
conformal quantiles. Arrays in, arrays out; nothing here knows of models or devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# How strongly a fit is drawn to the shape of other tables: as much as a row counts, for a share
# that is wholly off. With 0.3 a table of 5 rows keeps its own level and takes a usual shape.
SHRINK = 0.3
# The correction: standard deviations of what the width and the input size add (logarithms), the
# noise of a measurement, and the distances over which it fades: (input size, width, family).
DEVIATION, NOISE = 0.06, 0.03
BY_INPUT, BY_WIDTH = (0.3, 2.0, 1.0), (1.0, 0.2, 1.0)


def nnls(A: Array, b: Array) -> Array:
    """The x >= 0 that makes |A x - b| smallest: the active-set method of Lawson and Hanson,
    Solving Least Squares Problems (1974), chapter 23."""
    norms = np.linalg.norm(A, axis=0)
    scaled = A / np.where(norms > 0, norms, 1.0)
    x = np.zeros(A.shape[1])
    free = np.zeros(A.shape[1], bool)
    tolerance = 1e-10 * max(1e-300, float(np.abs(scaled.T @ b).max(initial=0.0)))
    for _ in range(10 * A.shape[1]):
        gradient = np.where(free, -np.inf, scaled.T @ (b - scaled @ x))
        if gradient.max(initial=-np.inf) <= tolerance:
            break
        free[gradient.argmax()] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(scaled[:, free], b, rcond=None)[0]
            out = free & (trial <= 0)
            if not out.any():
                x = trial
                break
            # Go towards the trial until the first variable is 0, and hold that one there.
            step = (x[out] / np.maximum(x[out] - trial[out], 1e-300)).min()
            x = np.where(free, x + step * (trial - x), 0.0)
            free &= x > 1e-12 * max(1e-300, float(x.max()))
            x = np.where(free, x, 0.0)
    return np.asarray(x / np.where(norms > 0, norms, 1.0), np.float64)


def level(X: Array, y: Array, shape: Array) -> float:
    """The factor that brings X . shape nearest to y, relative to y."""
    u = X @ shape / y
    return float(u.sum() / (u @ u))


def relative_nnls(
    X: Array, y: Array, shares: Array | None = None, at: Array | None = None, shrink: float = SHRINK
) -> Array:
    """Non-negative coefficients with the least squared relative error.

    shares: each feature's usual part of the latency of a model with the features `at`, in sum 1;
    what departs from them, at the level of the rows, is punished by `shrink`."""
    if shares is None or at is None or shrink == 0:
        return nnls(X / y[:, None], np.ones(len(y)))
    pull = math.sqrt(shrink)
    punished = pull * np.diag(at / level(X, y, shares / at))
    A = np.concatenate([X / y[:, None], punished])
    return nnls(A, np.concatenate([np.ones(len(y)), pull * shares]))


def mixture(
    X: Array, y: Array, shapes: Array, at: Array, parts: Array, shrink: float = SHRINK
) -> Array:
    """The shares, mixed of `shapes` (rows of shares, each in sum 1, of a model with the features
    `at`), that come nearest to the rows; drawn by `shrink` to the mixture of `parts`, in sum 1."""
    pull = math.sqrt(shrink)
    each = X @ (shapes / at).T * level(X, y, parts @ shapes / at) / y[:, None]
    A = np.concatenate([each, pull * np.eye(len(shapes))])
    mixed = nnls(A, np.concatenate([np.ones(len(y)), pull * parts])) @ shapes
    return np.asarray(mixed / mixed.sum(), np.float64)


def kernel(A: Array, B: Array) -> Array:
    """How much the residuals of models at coordinates A (n, 3) and B (m, 3) have in common."""
    apart = A[:, None, :] - B[None, :, :]
    return np.asarray(
        DEVIATION**2
        * sum(
            np.exp(-0.5 * ((apart / np.array(lengths)) ** 2).sum(axis=-1))
            for lengths in (BY_INPUT, BY_WIDTH)
        ),
        np.float64,
    )


def correction(Z: Array, residuals: Array) -> Array:
    """Weights w so that exp(kernel(z, Z) . w) is what a model at z differs by from the sum of
    features: kriging (a Gaussian process) over the rows' log residuals. Far from all rows: 1."""
    solved = np.linalg.solve(kernel(Z, Z) + NOISE**2 * np.eye(len(Z)), residuals)
    return np.asarray(solved, np.float64)


class Predictor:
    """latency = coefficients . features x exp(kernel . weights)."""

    def __init__(self, coefficients: Array, Z: Array, weights: Array) -> None:
        self.coefficients, self.Z, self.weights = coefficients, Z, weights

    def factor(self, Z: Array) -> Array:
        return np.asarray(np.exp(kernel(Z, self.Z) @ self.weights), np.float64)

    def __call__(self, X: Array, Z: Array) -> Array:
        return np.maximum(X @ self.coefficients, 1e-9) * self.factor(Z)


Solver = Callable[[Array, Array], Array]


def fitted(X: Array, Z: Array, y: Array, solve: Solver, *, correct: bool = True) -> Predictor:
    """Coefficients by `solve`, and the correction of what they leave (correct=False: none)."""
    coefficients = solve(X, y)
    left = np.log(y / np.maximum(X @ coefficients, 1e-9))
    return Predictor(coefficients, Z, correction(Z, left) if correct else np.zeros(len(y)))


def left_out(
    X: Array, Z: Array, y: Array, groups: Sequence[object], solve: Solver, *, correct: bool = True
) -> Array:
    """Estimate / measured of every row, by a fit that has not seen the row's group. A group that
    is all there is gives NaN: nothing is left to fit to."""
    ratio = np.full(len(y), np.nan)
    for group in dict.fromkeys(groups):
        out = np.array([g == group for g in groups])
        if not out.all():
            made = fitted(X[~out], Z[~out], y[~out], solve, correct=correct)
            ratio[out] = made(X[out], Z[out]) / y[out]
    return ratio


def correction_helps(X: Array, Z: Array, y: Array, solve: Solver) -> bool:
    """Whether rows left out are nearer with the correction: on a scattered table they are not."""
    with_it, without = (
        np.abs(np.log(left_out(X, Z, y, range(len(y)), solve, correct=c))).mean()
        for c in (True, False)
    )
    return bool(with_it < without)


def nearer(errors: Array, others: Array) -> bool:
    """Whether the first errors (one a row, none negative) are the smaller ones by more than one
    standard error of their mean difference. Of models as good as each other the simpler is taken
    (Breiman et al., Classification and Regression Trees, 1984, chapter 3)."""
    less = others - errors
    return bool(less.mean() > less.std(ddof=1) / math.sqrt(len(less)))


def conformal_quantile(errors: Array, level: float = 0.90) -> float:
    """The ceil((n + 1) level)-th smallest of n errors, the largest if there are too few
    (split conformal prediction, Lei et al. 2018)."""
    rank = min(len(errors), math.ceil((len(errors) + 1) * level))
    return float(np.sort(errors)[rank - 1])


def jackknife_coverage(errors: Array) -> Mask:
    """Whether each error lies within the conformal quantile of the others."""
    inside = [e <= conformal_quantile(np.delete(errors, i)) for i, e in enumerate(errors)]
    return np.array(inside, bool)
