"""Weights as conductances and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.backends.cim import cells
from edge_sdk.backends.cim.profile import Cells, Drift, Spread, Temperature
from edge_sdk.errors import UsageError

SONOS = Spread((0.0, 0.5, 1.0), (0.0, 86_400.0, 432_000.0), ((1, 2, 4), (2, 4, 8), (3, 6, 12)))
G = np.linspace(-0.2, 1.2, 57)


def test_spread_is_linear_between_conductances_and_held_beyond() -> None:
    for row, time in enumerate(SONOS.times_s):
        wanted = np.interp(G, SONOS.g, SONOS.sigma[row])
        np.testing.assert_allclose(cells.spread(G, SONOS, time, np), wanted)
    np.testing.assert_allclose(cells.spread(G, SONOS, 1e9, np), np.interp(G, SONOS.g, (3, 6, 12)))


def test_spread_is_linear_in_time_up_to_the_first_row_and_in_its_logarithm_above() -> None:
    assert cells.spread(0.0, SONOS, 43_200.0, np) == pytest.approx(1.5)
    between = float(np.sqrt(86_400.0 * 432_000.0))
    assert cells.spread(0.0, SONOS, between, np) == pytest.approx(2.5)


class Namespace:
    """What noise functions may use of an array namespace."""

    clip, where, sqrt = staticmethod(np.clip), staticmethod(np.where), staticmethod(np.sqrt)


def test_noise_needs_little_of_an_array_namespace() -> None:
    rng = np.random.default_rng(0)
    g = rng.random((30, 20)).astype(np.float32)
    z = rng.standard_normal((2, 30, 20)).astype(np.float32)
    u = rng.random((30, 20)).astype(np.float32)
    table = Spread((0.0, 1.0), (0.0,), ((0.01, 0.05),))
    programmed = cells.programmed(g, z[0], table, 5.0, Namespace)
    drifted = cells.drifted(programmed, z[1], Drift(0.05, 0.02, 20), 1e6, Namespace)
    stuck = cells.stuck(drifted, u, 0.1, 0.2, 0.05, Namespace)
    nu = np.maximum(0.05 + 0.02 * z[1], 0)
    wanted = np.maximum(g + z[0] * (0.01 + 0.04 * g), 0) * (1e6 / 20) ** -nu
    wanted = np.where(u < 0.1, 1, np.where(u >= 0.8, 0.05, wanted))
    np.testing.assert_allclose(stuck, wanted, rtol=1e-4)
    assert stuck.dtype == np.float32


def test_nothing_drifts_before_its_time() -> None:
    drift = Drift(0.05, 0.0, 20)
    assert cells.drifted(0.5, 0.0, drift, 20.0, np) == 0.5
    assert cells.drifted(0.5, 0.0, drift, 2000.0, np) == pytest.approx(0.5 * 100**-0.05)
    assert cells.gain(Temperature(-0.002, 25, 0, 85), 75) == pytest.approx(0.9)


@pytest.mark.parametrize("mapping", ["balanced", "offset"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("held", [1, 2, 3, 4, 8])
def test_digits_make_up_the_weight_and_fit_their_cells(mapping, bits, held) -> None:
    made = Cells(mapping, 1, held, 0)
    weights = np.arange(-(1 << (bits - 1)), 1 << (bits - 1)).reshape(-1, 2)
    parts = cells.sliced(weights, bits, made)
    assert len(parts) == cells.slice_count(bits, made)
    back = sum(p.levels * p.worth for p in parts)
    zero = sum(p.zero * p.worth for p in parts)
    np.testing.assert_array_equal(back - zero, weights)
    for part in parts:
        assert np.abs(part.levels).max() <= part.full


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("mapping", ["balanced", "offset"])
def test_conductances_lie_between_the_ends_and_give_levels_back(mapping, sides) -> None:
    made = Cells(mapping, sides, 8, 10.0)
    (part,) = cells.sliced(np.arange(-7, 8).reshape(-1, 1), 4, made)
    pair = cells.conductances(part, made)
    for g in pair:
        assert g.min() >= 0.1 - 1e-6
        assert g.max() <= 1 + 1e-6
    if mapping == "balanced":
        assert (pair[0] == 0.1).any() == (sides == 1) or sides == 2
        back = (pair[0] - pair[1]) * cells.level_scale(part, made)
    else:
        back = (pair[0] - 0.1) * cells.level_scale(part, made)
    np.testing.assert_allclose(back, part.levels, atol=1e-5)


def test_an_unknown_error_is_named() -> None:
    with pytest.raises(UsageError, match=r"'noise'.*programming, read"):
        cells.only(None, "noise")  # type: ignore[arg-type]
