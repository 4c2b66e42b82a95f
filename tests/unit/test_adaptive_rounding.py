"""Layers rounded on inputs made up here, without an interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.convert.adaptive_rounding import _observe, _round_layer, _windows
from edge_sdk.convert.bias_correction import round_weights
from edge_sdk.tflite_file import Graph, Operator, Tensor

NONE = np.zeros(0, np.float32)
CHANNELS, OUT = 6, 8


def layer(kind: str, weights: np.ndarray, outputs: int) -> Graph:
    def tensor(index: int, shape: tuple[int, ...], values: np.ndarray | None) -> Tensor:
        data = None if values is None else memoryview(values.astype(np.float32).tobytes())
        return Tensor(index, str(index), shape, "float32", NONE, NONE.astype(np.int64), 0, data)

    tensors = (
        tensor(0, (1, 12, 12, CHANNELS), None),
        tensor(1, weights.shape, weights),
        tensor(2, (outputs,), np.zeros(outputs)),
        tensor(3, (1, 10, 10, outputs), None),
    )
    return Graph(0, 1, tensors, (Operator(kind, (0, 1, 2), (3,)),), (0,), (3,), ())


def images(count: int = 20) -> list[np.ndarray]:
    """Smooth maps with channels that depend on each other and do not average to zero."""
    rng = np.random.default_rng(4)
    mix = rng.standard_normal((CHANNELS, CHANNELS)) / 2
    rough = rng.standard_normal((count, 12, 12, CHANNELS)).cumsum(axis=1).cumsum(axis=2) / 6
    return [(1 + x[None] @ mix).astype(np.float32) for x in rough]


def outputs(kind: str, weights: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    cut = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(0, 1))
    if kind == "CONV_2D":
        return np.einsum("hwcij,oijc->hwo", cut, weights) + bias
    return np.einsum("hwcij,ijc->hwc", cut, weights[0]) + bias


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_four_bits_change_the_output_less_than_to_nearest_with_bias_correction(kind: str) -> None:
    depthwise = kind == "DEPTHWISE_CONV_2D"
    shape = (1, 3, 3, CHANNELS) if depthwise else (OUT, 3, 3, CHANNELS)
    weights = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    graph = layer(kind, weights, CHANNELS if depthwise else OUT)
    states = ({0: x} for x in images())
    inputs = _observe(((s, s) for s in states), graph, 0, 4)
    kernel, bias = _round_layer(graph, graph.operators[0], inputs, 4)
    assert kernel.shape == weights.shape
    axis = 3 if depthwise else 0
    np.testing.assert_allclose(round_weights(kernel, axis, 4), kernel, atol=1e-5)
    plain = round_weights(weights, axis, 4)
    nothing = np.zeros(len(bias))
    target, ours, nearest = (
        np.stack([outputs(kind, w, b, x) for x in images()])
        for w, b in ((weights, nothing), (kernel, bias), (plain, nothing))
    )
    nearest -= (nearest - target).mean(axis=(0, 1, 2))  # as bias correction would
    assert np.square(ours - target).mean() < 0.7 * np.square(nearest - target).mean()


def test_eight_depthwise_bits_ask_for_the_means_only() -> None:
    weights = np.random.default_rng(6).standard_normal((1, 3, 3, CHANNELS)).astype(np.float32)
    graph = layer("DEPTHWISE_CONV_2D", weights, CHANNELS)
    first, second = images(4), [x + 1 for x in images(4)]
    pairs = (({0: x}, {0: y}) for x, y in zip(first, second, strict=True))
    inputs = _observe(pairs, graph, 0, 8)
    assert inputs.covariance is None
    assert inputs.mean.shape == (CHANNELS, 9)
    np.testing.assert_allclose(inputs.mean_rounded - inputs.mean, 1, atol=1e-5)
    kernel, bias = _round_layer(graph, graph.operators[0], inputs, 8)
    np.testing.assert_array_equal(kernel, round_weights(weights, 3, 8))
    # x' is one too large everywhere: the bias takes the sum of each channel's weights back.
    means = np.mean(first, axis=(0, 1, 2, 3))
    expected = -(kernel.sum(axis=(0, 1, 2)) * (means + 1) - weights.sum(axis=(0, 1, 2)) * means)
    np.testing.assert_allclose(bias, expected, atol=1e-3)


def test_windows_are_whole_and_drawn_alike_for_both_of_a_pair() -> None:
    x = np.arange(1 * 5 * 4 * 2, dtype=np.float32).reshape(1, 5, 4, 2)
    whole = _windows(x, 3, 3, 100, 0, depthwise=False)
    assert whole.shape == (1, 6, 18)
    np.testing.assert_array_equal(whole[0, 0], x[0, :3, :3].reshape(-1))
    apart = _windows(x, 3, 3, 100, 0, depthwise=True)
    assert apart.shape == (2, 6, 9)
    np.testing.assert_array_equal(apart[1, 5], x[0, 2:5, 1:4, 1].reshape(-1))
    few = _windows(x, 3, 3, 4, 7, depthwise=False)
    assert few.shape == (1, 4, 18)
    np.testing.assert_array_equal(few + 1, _windows(x + 1, 3, 3, 4, 7, depthwise=False))
