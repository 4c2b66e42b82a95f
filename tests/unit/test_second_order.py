from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.convert.second_order import round_second_order


def problem(seed: int, out: int = 6, inputs: int = 20, samples: int = 200):
    """Weights, and the second moment of inputs that depend on each other."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, inputs)) @ rng.standard_normal((inputs, inputs))
    return rng.standard_normal((out, inputs)), x.T @ x / samples


def loss(weights, levels, scale, moment) -> float:
    error = levels * scale[:, None] - weights
    return float(np.einsum("oi,ij,oj->", error, moment, error))


def nearest(weights, bits):
    top = 2 ** (bits - 1) - 1
    scale = np.abs(weights).max(axis=1) / top
    return np.round(weights / scale[:, None]), scale


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4, 8]))
def test_levels_are_whole_within_range_and_reach_the_outermost(seed, bits) -> None:
    weights, moment = problem(seed)
    levels, scale = round_second_order(weights, moment, bits)
    top = 2 ** (bits - 1) - 1
    assert np.array_equal(levels, np.round(levels))
    assert np.array_equal(np.abs(levels).max(axis=1), np.full(len(weights), top))
    assert (scale > 0).all()


@pytest.mark.parametrize("bits", [3, 4])
def test_it_changes_the_output_far_less_than_rounding_to_nearest(bits) -> None:
    ours, plain = 0.0, 0.0
    for seed in range(10):
        weights, moment = problem(seed)
        ours += loss(weights, *round_second_order(weights, moment, bits), moment)
        plain += loss(weights, *nearest(weights, bits), moment)
    assert ours < 0.5 * plain


def test_independent_inputs_leave_little_to_gain() -> None:
    """With H the identity each weight stands alone: nearest, on the best scale, is the optimum."""
    weights, _ = problem(3)
    levels, scale = round_second_order(weights, np.eye(20), 4)
    assert np.array_equal(levels, np.clip(np.round(weights / scale[:, None]), -7, 7))


def test_all_zero_channels_and_dead_inputs() -> None:
    weights, moment = problem(1)
    weights[2] = 0
    moment[5] = moment[:, 5] = 0
    levels, _ = round_second_order(weights, moment, 4)
    assert not levels[2].any()
    assert np.isfinite(levels).all()
