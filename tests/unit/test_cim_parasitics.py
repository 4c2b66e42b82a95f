"""Wires with a resistance."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.backends.cim import parasitics

BOTH = [parasitics.first_order, parasitics.reference]


@pytest.mark.parametrize("solve", BOTH)
def test_free_wires_change_nothing(solve) -> None:
    g = np.random.default_rng(0).random((7, 5))
    np.testing.assert_allclose(solve(g, 0.0, 0.0), g, rtol=1e-6)


@pytest.mark.parametrize("solve", BOTH)
def test_one_cell_is_three_resistances_in_a_row(solve) -> None:
    found = solve(np.array([[0.5]]), 0.1, 0.3)
    # First order multiplies what either wire leaves; the network adds up their resistances.
    wanted = 1 / (2 + 0.4) if solve is parasitics.reference else 0.5 / (1.05 * 1.15)
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_single_wire_is_solved_exactly_in_first_order(axis: int) -> None:
    g = np.random.default_rng(1).random((12, 1) if axis == 0 else (1, 12))
    ohms = (0.0, 0.02) if axis == 0 else (0.02, 0.0)
    first, whole = (solve(g, *ohms) for solve in BOTH)
    np.testing.assert_allclose(first, whole, rtol=1e-6)
    assert np.abs(whole - g).max() > 0.05


def test_first_order_is_close_where_wires_take_a_tenth() -> None:
    g = np.random.default_rng(2).random((64, 48))
    first, whole = (solve(g, 1.2e-4, 1.2e-4) for solve in BOTH)
    assert 0.08 < 1 - whole.sum() / g.sum() < 0.2
    assert np.sqrt(((first - whole) ** 2).mean() / (whole**2).mean()) < 0.01


def test_the_network_obeys_its_nodes() -> None:
    """Currents from an iteration over voltages that knows nothing of the sparse system."""
    rng = np.random.default_rng(3)
    g, x = rng.random((6, 4)), rng.random(6)
    row, column = 0.02, 0.03
    over = np.tile(x[:, None], (1, 4))
    for _ in range(2000):
        current = g * over
        along = row * np.cumsum(np.cumsum(current[:, ::-1], axis=1)[:, ::-1], axis=1)
        down = column * np.cumsum(np.cumsum(current, axis=0)[::-1], axis=0)[::-1]
        over += 0.3 * (x[:, None] - along - down - over)
    np.testing.assert_allclose(x @ parasitics.reference(g, row, column), (g * over).sum(axis=0))
