"""Adaptive rounding of a whole network, layer after layer, without labels.

Each layer sees what the layers rounded before it really give. Its target stays the trained model's
output, so it also makes up for their errors: with x the trained model's input to the layer and x'
the rounded one's, W' minimises |W x - W' x'|^2 + lambda |W' - W|^2 over the calibration images and
is rounded by second_order.py; the bias takes up the difference of the means.

A kernel wider than 1x1 takes its second moment over all full windows of the map: stride and padding
are neglected, which changes which windows count, not what they look like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.bias_correction import give_own_bias, has_bias, round_weights
from edge_sdk.convert.rewrite import rewrite
from edge_sdk.convert.second_order import round_second_order
from edge_sdk.convert.walk import Alive, Edit, Walk, no_edit
from edge_sdk.progress import Progress, watched
from edge_sdk.tflite_file import Graph, Operator

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# How firmly W' is held at W, as a share of the mean second moment.
HOLD = 0.05
WINDOWS_PER_IMAGE = 3000
# A depthwise channel's second moment has only 9 x 9 entries.
DEPTHWISE_WINDOWS_PER_IMAGE = 200
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class _Inputs:
    """Of one layer, per group of output channels that share inputs (a convolution has one group,
    a depthwise one a group per input channel): means of x and x' (groups, window) and, where the
    layer is rounded adaptively, the covariances cov(x') and cov(x, x') (groups, window, window)."""

    mean: Doubles
    mean_rounded: Doubles
    covariance: Doubles | None = None
    cross: Doubles | None = None


@dataclass(frozen=True)
class Memory:
    """Layers rounded in earlier calls for the same model and samples, each by the weight bits of
    itself and all before it: a call that starts with the same bits takes them from here."""

    layers: dict[tuple[int, ...], tuple[Floats, Floats]] = field(default_factory=dict)


def adapted(
    model: bytes,
    graph: Graph,
    samples: Callable[[], Iterator[Floats]],
    bits: dict[int, int],
    progress: Progress,
    memory: Memory | None = None,
) -> bytes:
    """The float model with weights on their grid and biases that make up for it.

    samples(): the calibration inputs, each (1, H, W, 3), the same every time it is called.
    bits: weight bits of each layer by its output tensor."""
    known = (memory or Memory()).layers
    rounded: dict[int, tuple[Floats, Floats]] = {}

    edit = _replace(graph, rounded)
    layers = [graph.operators.index(op) for op, _ in graph.weights() if has_bias(op)]
    trained = Walk(model, graph, samples, no_edit)
    given = Walk(model, graph, samples, edit)
    prefix: tuple[int, ...] = ()
    for position in watched(layers, "round adaptively", progress):
        prefix = (*prefix, bits[graph.operators[position].outputs[0]])
        if prefix not in known:
            pairs = zip(trained.before(position), given.before(position), strict=True)
            inputs = _observe(pairs, graph, position, prefix[-1])
            known[prefix] = _round_layer(graph, graph.operators[position], inputs, prefix[-1])
        rounded[position] = known[prefix]
    return rewrite(model, edit)


def rounded_alone(walk: Walk, graph: Graph, position: int, bits: int) -> Edit:
    """Rounds the layer at `position` of the model that `walk` goes through, and no other."""
    pairs = ((state, state) for state in walk.before(position))
    inputs = _observe(pairs, graph, position, bits)
    return _replace(graph, {position: _round_layer(graph, graph.operators[position], inputs, bits)})


def _replace(graph: Graph, layers: Mapping[int, tuple[Floats, Floats]]) -> Edit:
    """Gives layers, by their position, the kernels and biases that `layers` then holds."""

    def edit(tree: Any, schema: Any) -> None:
        main = tree.subgraphs[0]
        for position, (kernel, bias) in layers.items():
            op = graph.operators[position]
            tree.buffers[main.tensors[op.inputs[1]].buffer].data = kernel.tobytes()
            give_own_bias(tree, schema, graph, op, bias)

    return edit


def _round_layer(graph: Graph, op: Operator, inputs: _Inputs, bits: int) -> tuple[Floats, Floats]:
    """The layer's new kernel and bias."""
    kernel = graph.tensors[op.inputs[1]]
    weights = np.frombuffer(kernel.data or b"", np.float32).reshape(kernel.shape)
    groups = _grouped(op, weights, len(inputs.mean)).astype(np.float64)
    if inputs.covariance is not None and inputs.cross is not None:
        moments = zip(groups, inputs.covariance, inputs.cross, strict=True)
        new = np.stack([_round_group(w, c, cross, bits) for w, c, cross in moments])
    else:
        axis = 3 if op.name == "DEPTHWISE_CONV_2D" else 0
        new = _grouped(op, round_weights(weights, axis, bits), len(groups)).astype(np.float64)
    shift = np.einsum("goi,gi->go", new, inputs.mean_rounded)
    shift -= np.einsum("goi,gi->go", groups, inputs.mean)
    bias = np.frombuffer(graph.tensors[op.inputs[2]].data or b"", np.float32)
    if op.name == "DEPTHWISE_CONV_2D":
        new = new.reshape(-1, new.shape[2]).T
    return (
        np.ascontiguousarray(new.reshape(weights.shape), np.float32),
        (bias - shift.reshape(-1)).astype(np.float32),
    )


def _grouped(op: Operator, weights: Floats, groups: int) -> Floats:
    """(groups, output channels of each, window)."""
    if op.name == "DEPTHWISE_CONV_2D":  # (1, kh, kw, channels * multiplier)
        return weights.reshape(-1, weights.shape[3]).T.reshape(groups, -1, weights[0, :, :, 0].size)
    return weights.reshape(1, len(weights), -1)


def _round_group(weights: Doubles, covariance: Doubles, cross: Doubles, bits: int) -> Doubles:
    """weights: (out, window), real; the same on its grid."""
    hold = np.eye(len(covariance)) * (HOLD * np.diag(covariance).mean() + 1e-12)
    target = np.linalg.solve((covariance + hold).T, (weights @ (cross + hold)).T).T
    levels, scale = round_second_order(target, covariance, bits)
    return levels * scale[:, None]


def _observe(
    states: Iterator[tuple[Alive, Alive]], graph: Graph, position: int, bits: int
) -> _Inputs:
    """The layer's inputs, from what is alive before it in both models.

    Other layers than convolutions with 8 bits are rounded to nearest: their means suffice."""
    op = graph.operators[position]
    height, width = graph.tensors[op.inputs[1]].shape[1:3] if "CONV" in op.name else (1, 1)
    depthwise = op.name == "DEPTHWISE_CONV_2D"
    pairs = ((one[op.inputs[0]], two[op.inputs[0]]) for one, two in states)
    if op.name != "CONV_2D" and bits >= 8:
        means = np.mean([[_channel_means(x) for x in pair] for pair in pairs], axis=0)
        if depthwise:
            means = np.repeat(means[:, :, None], height * width, axis=2)
        else:
            means = means[:, None]
        return _Inputs(means[0], means[1])
    most = DEPTHWISE_WINDOWS_PER_IMAGE if depthwise else WINDOWS_PER_IMAGE
    windows = (
        # the same seed for both of a pair: they show the same windows
        tuple(_windows(v, height, width, most, seed, depthwise=depthwise) for v in pair)
        for seed, pair in enumerate(pairs)
    )
    rows = 0
    sums: list[Any] = [0.0, 0.0, 0.0, 0.0]
    for batch in _batches(windows):
        x, y = (np.concatenate(side, axis=1) for side in zip(*batch, strict=True))
        rows += x.shape[1]
        moments = (x.sum(axis=1, dtype=np.float64), y.sum(axis=1, dtype=np.float64))
        turned = y.transpose(0, 2, 1)
        products = (turned @ y, x.transpose(0, 2, 1) @ y)
        sums = [total + part for total, part in zip(sums, (*moments, *products), strict=True)]
    mean, mean_rounded = sums[0] / rows, sums[1] / rows
    return _Inputs(
        mean,
        mean_rounded,
        sums[2] / rows - mean_rounded[:, :, None] * mean_rounded[:, None, :],
        sums[3] / rows - mean[:, :, None] * mean_rounded[:, None, :],
    )


def _batches(windows: Iterator[tuple[Floats, ...]]) -> Iterator[list[tuple[Floats, ...]]]:
    """Of some images each: many small products take far longer than a few large ones."""
    batch: list[tuple[Floats, ...]] = []
    for pair in windows:
        batch.append(pair)
        if len(batch) * pair[0].shape[1] >= ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _channel_means(x: Floats) -> Doubles:
    return np.asarray(x.reshape(-1, x.shape[-1]).mean(axis=0, dtype=np.float64))


def _windows(
    x: Floats, height: int, width: int, most: int, seed: int, *, depthwise: bool
) -> Floats:
    """(1, H, W, C) as (1, windows, height * width * C), or depthwise as (C, windows, height *
    width); at most `most` windows, drawn with the seed."""
    cut = np.lib.stride_tricks.sliding_window_view(x[0], (height, width), axis=(0, 1))
    rows, columns = np.divmod(np.arange(cut.shape[0] * cut.shape[1]), cut.shape[1])
    if len(rows) > most:
        chosen = np.random.default_rng(seed).integers(0, len(rows), most)
        rows, columns = rows[chosen], columns[chosen]
    cut = cut[rows, columns]  # (windows, C, height, width)
    if depthwise:
        return cut.transpose(1, 0, 2, 3).reshape(x.shape[-1], len(rows), -1)
    return cut.transpose(0, 2, 3, 1).reshape(1, len(rows), -1)
