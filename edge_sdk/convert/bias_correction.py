"""Bias correction: takes the mean of the weights' rounding error out of each layer's output.

Rounding a kernel W to Wq shifts the layer's output by (Wq - W) * x, whose mean over the data is
(Wq - W) * E[x]: subtracted from the bias it is gone (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, here with the measured
E[x]). Per channel, with E[x] taken over the whole map, so padding at the border is neglected.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.calibrate import Statistics
from edge_sdk.convert.rewrite import rewrite
from edge_sdk.tflite_file import Graph, Operator, Tensor

Floats = npt.NDArray[np.float32]


def corrected(model: bytes, graph: Graph, statistics: Statistics, bits: dict[int, int]) -> bytes:
    """The float model with corrected biases. bits: weight bits of each layer by its output tensor.

    A layer without a bias is left as it is."""

    def edit(tree: Any, schema: Any) -> None:
        for op, kernel in graph.weights():
            means = statistics.channel_means.get(op.inputs[0])
            if not has_bias(op) or means is None:
                continue
            shift = output_shift(op, kernel, means, bits[op.outputs[0]])
            old = np.frombuffer(graph.tensors[op.inputs[2]].data or b"", np.float32)
            give_own_bias(tree, schema, graph, op, (old - shift).astype(np.float32))

    return rewrite(model, edit)


def output_shift(
    op: Operator, kernel: Tensor, means: npt.NDArray[np.float64], bits: int
) -> npt.NDArray[np.float64]:
    """The mean shift of each output channel, (output channels,), from rounding the kernel.

    means: E[x] per input channel."""
    weights = np.frombuffer(kernel.data or b"", np.float32).reshape(kernel.shape)
    depthwise = op.name == "DEPTHWISE_CONV_2D"
    error = (round_weights(weights, 3 if depthwise else 0, bits) - weights).astype(np.float64)
    if depthwise:  # (1, kh, kw, channels * multiplier)
        per_output = np.repeat(means, weights.shape[3] // len(means))
        return np.asarray(error.sum(axis=(0, 1, 2)) * per_output)
    if weights.ndim == 4:  # (out, kh, kw, in)
        return np.asarray(error.sum(axis=(1, 2)) @ means)
    return np.asarray(error @ means)  # (out, in)


def round_weights(weights: Floats, axis: int, bits: int) -> Floats:
    """Weights on the symmetric min-max grid of each slice along `axis`, as real values.

    The grid is TFLite's: levels -(2^(bits-1) - 1) to 2^(bits-1) - 1, zero point 0."""
    others = tuple(a for a in range(weights.ndim) if a != axis)
    levels = 2 ** (bits - 1) - 1
    scale = np.abs(weights).max(axis=others, keepdims=True) / levels
    scale = np.where(scale == 0, 1, scale)
    return np.asarray(np.clip(np.round(weights / scale), -levels, levels) * scale, np.float32)


def has_bias(op: Operator) -> bool:
    return len(op.inputs) > 2 and op.inputs[2] >= 0


def give_own_bias(tree: Any, schema: Any, graph: Graph, op: Operator, values: Floats) -> None:
    """Sets a layer's bias in the tree that `rewrite` edits.

    Equal biases (zeros, mostly) may share a tensor or a buffer: then this layer gets its own."""
    main = tree.subgraphs[0]
    bias = main.tensors[op.inputs[2]]
    if sum(o.inputs[2] == op.inputs[2] for o, _ in graph.weights() if has_bias(o)) > 1:
        bias = copy.copy(bias)
        # litert-quantizer knows tensors by name.
        bias.name = f"{_text(bias.name)};{_text(main.tensors[op.outputs[0]].name)}"
        main.tensors.append(bias)
        operator = main.operators[next(i for i, o in enumerate(graph.operators) if o is op)]
        operator.inputs = [*op.inputs[:2], len(main.tensors) - 1]
    if sum(t.buffer == bias.buffer for t in main.tensors) > 1:
        tree.buffers.append(schema.BufferT())
        bias.buffer = len(tree.buffers) - 1
    tree.buffers[bias.buffer].data = values.tobytes()


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
