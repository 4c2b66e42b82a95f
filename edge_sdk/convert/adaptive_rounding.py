"""Adaptive rounding of a whole network, layer after layer, without labels.

Each layer sees what the layers rounded before it really give. Its target stays the trained model's
output, so it also makes up for their errors: with x the trained model's input to the layer and x'
the rounded one's, W' minimises |W x - W' x'|^2 + lambda |W' - W|^2 over the calibration images and
is rounded by second_order.py; the bias takes up the difference of the means.

A kernel wider than 1x1 takes its second moment over all full windows of the map: stride and padding
are neglected, which changes which windows count, not what they look like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.bias_correction import give_own_bias, has_bias, round_weights
from edge_sdk.convert.calibrate import open_readable
from edge_sdk.convert.rewrite import rewrite
from edge_sdk.convert.second_order import round_second_order
from edge_sdk.progress import Progress, watched
from edge_sdk.tflite_file import Graph, Operator, Tensor

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# How firmly W' is held at W, as a share of the mean second moment.
HOLD = 0.05
WINDOWS_PER_IMAGE = 3000


@dataclass(frozen=True)
class _Inputs:
    """Of one layer: means of x and x' (channels or window,), and for a convolution the
    covariances cov(x') and cov(x, x') (window, window)."""

    mean: Doubles
    mean_rounded: Doubles
    covariance: Doubles | None
    cross: Doubles | None


def adapted(
    model: bytes,
    graph: Graph,
    samples: Callable[[], Iterator[Floats]],
    bits: dict[int, int],
    progress: Progress,
) -> bytes:
    """The float model with weights on their grid and biases that make up for it.

    samples(): the calibration inputs, each (1, H, W, 3), the same every time it is called.
    bits: weight bits of each layer by its output tensor. Convolutions are rounded adaptively, the
    rest min-max."""
    trained = open_readable(model)
    kernels: dict[int, Floats] = {}
    biases: dict[int, Floats] = {}

    def edit(tree: Any, schema: Any) -> None:
        main = tree.subgraphs[0]
        for index, values in kernels.items():
            tree.buffers[main.tensors[index].buffer].data = values.tobytes()
        for position, values in biases.items():
            give_own_bias(tree, schema, graph, graph.operators[position], values)

    layers = [(op, kernel) for op, kernel in graph.weights() if has_bias(op)]
    positions = {op.outputs[0]: i for i, op in enumerate(graph.operators)}
    for op, kernel in watched(layers, "round adaptively", progress):
        rounded = open_readable(rewrite(model, edit))
        inputs = _observe(trained, rounded, graph, op, kernel, samples())
        weights = np.frombuffer(kernel.data or b"", np.float32).reshape(kernel.shape)
        old_bias = graph.tensors[op.inputs[2]].data
        bias = np.frombuffer(old_bias or b"", np.float32).astype(np.float64)
        new, shift = _round_layer(op, weights, inputs, bits[op.outputs[0]])
        kernels[op.inputs[1]] = new
        biases[positions[op.outputs[0]]] = (bias - shift).astype(np.float32)
    return rewrite(model, edit)


def _round_layer(
    op: Operator, weights: Floats, inputs: _Inputs, bits: int
) -> tuple[Floats, Doubles]:
    """The rounded kernel and what its output's mean is off by, (output channels,)."""
    if op.name == "DEPTHWISE_CONV_2D":
        new = round_weights(weights, 3, bits)
        times = weights.shape[3] // len(inputs.mean)
        before = weights.sum(axis=(0, 1, 2), dtype=np.float64) * np.repeat(inputs.mean, times)
        after = new.sum(axis=(0, 1, 2), dtype=np.float64) * np.repeat(inputs.mean_rounded, times)
        return new, after - before
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    if inputs.covariance is None or inputs.cross is None:
        new = round_weights(weights, 0, bits)
    else:
        c = inputs.covariance
        hold = np.eye(len(c)) * (HOLD * np.diag(c).mean() + 1e-12)
        target = np.linalg.solve((c + hold).T, (flat @ (inputs.cross + hold)).T).T
        levels, scale = round_second_order(target, c, bits)
        new = (levels * scale[:, None]).reshape(weights.shape).astype(np.float32)
    flat_new = new.reshape(len(new), -1).astype(np.float64)
    return new, flat_new @ inputs.mean_rounded - flat @ inputs.mean


def _observe(
    trained: Any,
    rounded: Any,
    graph: Graph,
    op: Operator,
    kernel: Tensor,
    samples: Iterator[Floats],
) -> _Inputs:
    second = op.name == "CONV_2D"
    window = kernel.shape[1:3] if second else (1, 1)
    rng = np.random.default_rng(0)
    count = 0
    sums: list[Any] = [0.0, 0.0, 0.0, 0.0]
    for sample in samples:
        x, y = (_windows(_input_of(i, graph, op, sample), *window) for i in (trained, rounded))
        if len(x) > WINDOWS_PER_IMAGE:
            chosen = rng.integers(0, len(x), WINDOWS_PER_IMAGE)
            x, y = x[chosen], y[chosen]
        count += len(x)
        sums[0] = sums[0] + x.sum(axis=0, dtype=np.float64)
        sums[1] = sums[1] + y.sum(axis=0, dtype=np.float64)
        if second:
            sums[2] = sums[2] + y.T @ y
            sums[3] = sums[3] + x.T @ y
    mean, mean_rounded = sums[0] / count, sums[1] / count
    if not second:
        return _Inputs(mean, mean_rounded, None, None)
    return _Inputs(
        mean,
        mean_rounded,
        sums[2] / count - np.outer(mean_rounded, mean_rounded),
        sums[3] / count - np.outer(mean, mean_rounded),
    )


def _input_of(interpreter: Any, graph: Graph, op: Operator, sample: Floats) -> Floats:
    interpreter.set_tensor(graph.inputs[0], sample)
    interpreter.invoke()
    values: Floats = interpreter.get_tensor(op.inputs[0])
    return values


def _windows(x: Floats, height: int, width: int) -> Floats:
    """(1, H, W, C) as (windows, height * width * C); any other shape as (rows, C)."""
    if height == width == 1:
        return x.reshape(-1, x.shape[-1])
    cut = np.lib.stride_tricks.sliding_window_view(x[0], (height, width), axis=(0, 1))
    return cut.transpose(0, 1, 3, 4, 2).reshape(-1, height * width * x.shape[-1])
