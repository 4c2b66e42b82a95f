"""Operators without weights of a .tflite file as records that compute."""

from __future__ import annotations

import math

from edge_sdk.backends.cim import operators as ops
from edge_sdk.backends.cim.fixed_point import exponentials
from edge_sdk.backends.cim.place import Place


def pair(at: Place) -> ops.Operation:
    first, second = (at.grid(at.tensor(i)) for i in (0, 1))
    of = ops.add_values if at.op.name == "ADD" else ops.multiply_values
    constants = {i: at.constant(i) for i in (0, 1) if at.tensor(i).data is not None}
    return ops.PairTable(of(first, second, at.grid(at.output), at.clamp()), constants)


def pool(at: Place) -> ops.Operation:
    if at.grid(at.tensor(0)) != at.grid(at.output):
        raise at.error("changes its scale, which no pooling does")
    size = at.option("height"), at.option("width")
    stride, padding, positions = at.window(size)
    if at.shape != (*positions, at.tensor(0).shape[3]):
        raise at.error(f"has the output shape {at.shape}")
    largest = at.op.name == "MAX_POOL_2D"
    return ops.Pool(largest, size, stride, padding, at.clamp(), at.shape)


def mean(at: Place) -> ops.Operation:
    shape = at.tensor(0).shape
    axes = tuple(sorted({int(a) % len(shape) for a in at.constant(1).reshape(-1)}))
    if 0 in axes:
        raise at.error("takes a mean over the images")
    source, result = at.grid(at.tensor(0)), at.grid(at.output)
    count = math.prod(shape[a] for a in axes)
    factor = ops.mean_factor(source, result, count)
    return ops.Mean(axes, count, *factor, source, result, at.shape)


def pad(at: Place) -> ops.Operation:
    amounts = at.constant(1).reshape(-1, 2)
    if amounts[0].any() or (amounts < 0).any() or len(amounts) != len(at.tensor(0).shape):
        raise at.error(f"pads by {amounts.tolist()}")
    level = at.grid(at.output).zero
    if at.op.name == "PADV2":
        level = int(at.constant(2).reshape(-1)[0])
    before, after = (tuple(int(a) for a in side) for side in amounts.T)
    return ops.Pad(before, after, level)


def reshape(at: Place) -> ops.Operation:
    if at.tensor(0).shape[:1] != (1,) or at.output.shape[:1] != (1,):
        raise at.error("does not keep the images apart")
    return ops.Reshape(at.shape)


def softmax(at: Place) -> ops.Operation:
    beta = at.op.options["beta"]
    return ops.Softmax(exponentials(beta * at.grid(at.tensor(0)).scale), at.grid(at.output).dtype)


def logistic(at: Place) -> ops.Operation:
    return ops.logistic_table(at.grid(at.tensor(0)), at.grid(at.output))


def relu(at: Place) -> ops.Operation:
    activation = {"RELU": 1, "RELU6": 3}[at.op.name]
    source, result = at.grid(at.tensor(0)), at.grid(at.output)
    return ops.requantise_table(source, result, at.clamp_of(activation))


def quantise(at: Place) -> ops.Operation:
    if at.tensor(0).dtype == "float32":
        return ops.Quantise(at.grid(at.output))
    return ops.requantise_table(at.grid(at.tensor(0)), at.grid(at.output))


def dequantise(at: Place) -> ops.Operation:
    return ops.dequantise_table(at.grid(at.tensor(0)))


def concatenate(at: Place) -> ops.Operation:
    result, rank = at.grid(at.output), len(at.output.shape)
    axis = at.option("axis") % rank
    if axis == 0:
        raise at.error("joins along the images")
    sources = [at.grid(at.tensor(i)) for i in range(len(at.op.inputs))]
    return ops.Concatenate(axis, tuple(ops.rescale_table(s, result) for s in sources))
