"""Wires that are not free: what the resistance between cells leaves of each weight.

A linear network's currents are linear in its inputs, so the drop of voltage along wires is a change
of each cell's conductance and costs nothing when an image is computed. The circuit is CrossSim
3.2's: inputs enter at the first column, columns are sensed behind the last row, and there is a
segment of wire before the first cell and behind the last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]

# Stands for a wire without resistance, whose nodes would otherwise be one.
_SHORT = 1e-9


def first_order(g: Matrix, row: float, column: float) -> Matrix:
    """Effective conductances of an array g (rows, columns), shares of the largest; row, column:
    resistance of a segment times the largest conductance.

    Every wire is solved as the ladder that it is, alone: a cell sees the voltage that its row has
    left there with all columns at ground, and gives its column what that passes on. What is left
    out is how columns lift rows, so it is of first order in row x column."""
    down = _ladder(g[::-1], column)[::-1]
    along = _ladder(g.T, row).T
    return (g * down * along).astype(g.dtype)


def _ladder(g: Matrix, resistance: float) -> Matrix:
    """Voltages at the nodes of ladders driven with 1 before their first node, g (nodes, ladders) to
    ground, open at the end. From the end: the admittance behind each node; then forward."""
    if not resistance:
        return np.ones(g.shape)
    behind = np.zeros(g.shape[1])
    passed = np.empty(g.shape)
    for i in range(len(g) - 1, -1, -1):
        total = g[i] + behind
        passed[i] = 1 / (1 + resistance * total)
        behind = total * passed[i]
    return np.cumprod(passed, axis=0)


def reference(g: Matrix, row: float, column: float) -> Matrix:
    """Effective conductances of the whole network, solved exactly as a sparse system with all its
    nodes: seconds for 256 x 256. As `first_order`."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    row, column = max(row, _SHORT), max(column, _SHORT)
    rows, columns = g.shape
    cells = rows * columns
    upper = np.arange(cells).reshape(rows, columns)
    lower = upper + cells
    matrix = coo_matrix((2 * cells, 2 * cells))
    for a, b, conductance in (
        (upper.ravel(), lower.ravel(), g.astype(np.float64).ravel()),
        (upper[:, 1:].ravel(), upper[:, :-1].ravel(), np.full(rows * (columns - 1), 1 / row)),
        (lower[1:].ravel(), lower[:-1].ravel(), np.full((rows - 1) * columns, 1 / column)),
    ):
        matrix = matrix + _between(a, b, conductance, 2 * cells)
    ends = np.concatenate([upper[:, 0], lower[-1]])
    values = np.concatenate([np.full(rows, 1 / row), np.full(columns, 1 / column)])
    matrix = matrix + coo_matrix((values, (ends, ends)), matrix.shape)
    # A column's sensed current is the voltage of its last node over a segment; by the symmetry of
    # the matrix one solution per column gives its answer to every input.
    sensed = np.zeros((2 * cells, columns))
    sensed[lower[-1], np.arange(columns)] = 1 / column
    answer = splu(matrix.tocsc()).solve(sensed)
    effective: Matrix = (answer[upper[:, 0]] / row).astype(g.dtype)
    return effective


def _between(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], value: Matrix, nodes: int
) -> object:
    from scipy.sparse import coo_matrix

    at = (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a]))
    return coo_matrix((np.concatenate([value, value, -value, -value]), at), (nodes, nodes))
