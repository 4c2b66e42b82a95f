"""Rounds one layer's weights so that its output changes least: second-order adaptive rounding.

Rounding W to Wq changes the output, in mean square over the data, by tr((Wq - W) H (Wq - W)^T)
with H the second moment of the layer's inputs (Nagel et al., "Up or Down? Adaptive Rounding for
Post-Training Quantization", ICML 2020, eq. 13). The problem is quadratic, so it needs no training:
columns are rounded one after another and each one's error is spread over those still to come
(Frantar et al., "GPTQ", ICLR 2023), then single weights move a step wherever that lowers the sum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

# Added to H's diagonal, as a share of its mean: inputs that never occurred must not be free.
DAMPING = 0.01
CLIPS = np.linspace(0.4, 1.0, 25)
BLOCK = 64
SWEEPS = 3


def round_second_order(weights: Doubles, moment: Doubles, bits: int) -> tuple[Doubles, Doubles]:
    """Levels (out, in) and scale per output channel (out,).

    weights: (out, in). moment: H, (in, in). Every channel that is not all zero reaches the
    outermost level, so that min-max quantisation of levels * scale gives these levels back."""
    top = 2 ** (bits - 1) - 1
    h = moment + np.eye(len(moment)) * (DAMPING * np.diag(moment).mean() + 1e-12)
    scale = _scales(weights, np.diag(h), top)
    levels = np.zeros_like(weights)
    rows = np.flatnonzero(np.abs(weights).max(axis=1) > 0)
    while len(rows):
        part = _spread_errors(weights[rows], h, scale[rows], top)
        levels[rows] = _refine(weights[rows], part, h, scale[rows], top)
        rows = rows[np.abs(levels[rows]).max(axis=1) < top]
        scale[rows] *= 0.9
    return levels, scale


def _scales(weights: Doubles, importance: Doubles, top: int) -> Doubles:
    """Per output channel the scale with the least error, weighted by H's diagonal (in,)."""
    largest = np.abs(weights).max(axis=1)
    largest[largest == 0] = 1.0
    best: Doubles = largest / top
    best_error = np.full(len(weights), np.inf)
    for clip in CLIPS:
        scale = largest * clip / top
        rounded = np.clip(np.round(weights / scale[:, None]), -top, top) * scale[:, None]
        error = np.square(rounded - weights) @ importance
        better = error < best_error
        best[better], best_error[better] = scale[better], error[better]
    return best


def _spread_errors(weights: Doubles, h: Doubles, scale: Doubles, top: int) -> Doubles:
    order = np.argsort(-np.diag(h))
    left = weights[:, order].copy()
    factor = np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T
    levels = np.zeros_like(left)
    for start in range(0, left.shape[1], BLOCK):
        stop = min(start + BLOCK, left.shape[1])
        errors = np.zeros((len(left), stop - start))
        for j in range(start, stop):
            levels[:, j] = np.clip(np.round(left[:, j] / scale), -top, top)
            error = (left[:, j] - levels[:, j] * scale) / factor[j, j]
            left[:, j:stop] -= np.outer(error, factor[j, j:stop])
            errors[:, j - start] = error
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return levels[:, np.argsort(order)]


def _refine(weights: Doubles, levels: Doubles, h: Doubles, scale: Doubles, top: int) -> Doubles:
    levels = levels.copy()
    gradient = (levels * scale[:, None] - weights) @ h
    for _ in range(SWEEPS):
        moved = False
        for j in range(len(h)):
            best = np.clip(np.round(levels[:, j] - gradient[:, j] / (h[j, j] * scale)), -top, top)
            rows = np.flatnonzero(best != levels[:, j])
            if len(rows):
                step = (best[rows] - levels[rows, j]) * scale[rows]
                gradient[rows] += np.outer(step, h[j])
                levels[rows, j] = best[rows]
                moved = True
        if not moved:
            break
    return levels
