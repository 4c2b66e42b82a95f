"""A quantised .tflite file as steps: layers with weights as integers, operators as their tables.

Everything that does not depend on the input is computed here, once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.base import TensorSpec, classifier_specs
from edge_sdk.backends.cim import operators as ops
from edge_sdk.backends.cim.fixed_point import (
    Rescale,
    exponentials,
    half_away,
    quantised_multiplier,
)
from edge_sdk.backends.cim.kernel import Kernel, Kind
from edge_sdk.errors import ModelError
from edge_sdk.tflite_file import Graph, Operator, Tensor

LEVELS = ("int8", "uint8")


@dataclass(frozen=True, eq=False)
class Layer:
    """An operator with weights: sums of `kernel`, brought to levels by `rescale`.

    shape: of its output, without the images. flatten: its input becomes rows of inputs."""

    kernel: Kernel
    rescale: Rescale
    shape: tuple[int, ...]
    flatten: bool


@dataclass(frozen=True, eq=False)
class Step:
    """name: the output tensor's. inputs, output: tensor indices, constants left out.
    spent: the tensors that no later step needs."""

    op: str
    name: str
    inputs: tuple[int, ...]
    output: int
    work: Layer | ops.Operation
    spent: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Network:
    """input, output: as in the file, with a batch of 1. source, result: their tensor indices.
    names: of all tensors, by index."""

    input: TensorSpec
    output: TensorSpec
    source: int
    result: int
    steps: tuple[Step, ...]
    names: tuple[str, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The layers with weights, in the order they run."""
        return tuple(s.work.kernel for s in self.steps if isinstance(s.work, Layer))


def read_network(path: Path) -> Network:
    """The steps of a quantised classifier.

    Raises ModelError, naming operator, layer or tensor, for a file that is damaged, is not
    quantised to 8 bits or less, or holds what is not executed here."""
    graph, source, result = classifier_specs(path)
    try:
        steps = _Reader(graph, path).steps()
    except (IndexError, ValueError, KeyError, OverflowError, ZeroDivisionError) as e:
        raise ModelError(f"{path} is damaged: {e}") from e
    return Network(
        input=source,
        output=result,
        source=graph.inputs[0],
        result=graph.outputs[0],
        steps=_with_spent(steps, graph.outputs[0]),
        names=tuple(t.name for t in graph.tensors),
    )


def _with_spent(steps: list[Step], result: int) -> tuple[Step, ...]:
    last = {i: n for n, step in enumerate(steps) for i in (step.output, *step.inputs)}
    last.pop(result, None)
    return tuple(
        replace(step, spent=tuple(i for i in sorted(last) if last[i] == n))
        for n, step in enumerate(steps)
    )


@dataclass(frozen=True, eq=False)
class _Reader:
    graph: Graph
    path: Path

    def steps(self) -> list[Step]:
        # What a tensor can hold is narrower than its type behind a ReLU.
        limits: dict[int, tuple[int, int]] = {}
        made = []
        names = Counter[str]()
        for number, op in enumerate(self.graph.operators):
            if op.name not in _WORK:
                raise ModelError(
                    f"{self.path}: operator {number}, {op.name} ('{self._layer(op)}'), is not "
                    f"executed by the compute-in-memory emulator; it knows {', '.join(_WORK)}"
                )
            name = self._layer(op)
            names[name] += 1
            name = name if names[name] == 1 else f"{name}#{number}"
            place = _Place(self, op, name, limits)
            work = _WORK[op.name](place)
            limits[op.outputs[0]] = place.output_limits(work)
            inputs = tuple(i for i in op.inputs if i >= 0 and self.graph.tensors[i].data is None)
            made.append(Step(op.name, name, inputs, op.outputs[0], work))
        return made

    def _layer(self, op: Operator) -> str:
        return self.graph.tensors[op.outputs[0]].name if op.outputs else "no output"


@dataclass(frozen=True, eq=False)
class _Place:
    """An operator among its tensors."""

    reader: _Reader
    op: Operator
    name: str
    limits: dict[int, tuple[int, int]]

    def error(self, what: str) -> ModelError:
        return ModelError(f"{self.reader.path}: {self.op.name} '{self.name}' {what}")

    def tensor(self, place: int) -> Tensor:
        if place >= len(self.op.inputs) or self.op.inputs[place] < 0:
            raise self.error(f"lacks its input {place}")
        return self.reader.graph.tensors[self.op.inputs[place]]

    @property
    def output(self) -> Tensor:
        return self.reader.graph.tensors[self.op.outputs[0]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output, without the images."""
        return self.output.shape[1:]

    def option(self, name: str) -> int:
        return int(self.op.options[name])

    def grid(self, tensor: Tensor) -> ops.Grid:
        if tensor.dtype not in LEVELS:
            raise self.error(
                f"has the tensor '{tensor.name}' of type {tensor.dtype}; the emulator runs "
                f"{' and '.join(LEVELS)} only: convert the model with --to int8 or --to w4a8"
            )
        if len(tensor.scales) != 1 or not 0 < tensor.scales[0] < np.inf:
            raise self.error(f"has the tensor '{tensor.name}' without one scale above 0")
        zero = int(tensor.zero_points[0]) if len(tensor.zero_points) else 0
        return ops.Grid(float(tensor.scales[0]), zero, np.dtype(tensor.dtype))

    def constant(self, place: int) -> npt.NDArray[Any]:
        tensor = self.tensor(place)
        if tensor.data is None:
            raise self.error(f"computes its input '{tensor.name}', which must be a constant here")
        return np.frombuffer(tensor.data, np.dtype(tensor.dtype)).reshape(tensor.shape)

    def clamp(self) -> tuple[int, int]:
        """The output's levels within its fused activation."""
        return _clamp(self, self.option("activation"))

    def input_limits(self) -> tuple[int, int]:
        index = self.op.inputs[0]
        return self.limits.get(index) or self.grid(self.tensor(0)).limits()

    def output_limits(self, work: Layer | ops.Operation) -> tuple[int, int]:
        if isinstance(work, Layer):
            return work.rescale.low, work.rescale.high
        if isinstance(work, (ops.Reshape, ops.Pad)):
            return self.input_limits()
        if self.output.dtype not in LEVELS:
            return 0, 0
        return self.grid(self.output).limits()


def _clamp(at: _Place, activation: int) -> tuple[int, int]:
    grid = at.grid(at.output)
    low, high = grid.limits()
    if activation not in (0, 1, 2, 3):
        raise at.error(f"has the fused activation {activation}; executed are none, ReLU and ReLU6")

    def level(real: float) -> int:
        return grid.zero + half_away(float(np.float32(real) / np.float32(grid.scale)))

    if activation in (1, 3):
        low = max(low, level(0))
    if activation == 2:
        low, high = max(low, level(-1)), min(high, level(1))
    if activation == 3:
        high = min(high, level(6))
    return low, high


# --- layers with weights ----------------------------------------------------------------------


def _convolution(at: _Place) -> Layer:
    weights, bits, zero = _weights(at)
    # (out, kh, kw, in) in the file.
    if weights.shape[3] != at.tensor(0).shape[3]:
        raise at.error(
            f"takes {at.tensor(0).shape[3]} channels with kernels of {weights.shape[3]}: grouped "
            "convolutions are not executed"
        )
    return _windowed(at, "convolution", weights.transpose(1, 2, 3, 0), bits, zero)


def _depthwise(at: _Place) -> Layer:
    weights, bits, zero = _weights(at)
    channels = at.tensor(0).shape[3]
    if channels == 1:  # a convolution by another name
        return _windowed(at, "convolution", weights.transpose(1, 2, 0, 3), bits, zero)
    if weights.shape[3] != channels:
        raise at.error(
            f"makes {weights.shape[3]} channels of {channels}: a depth multiplier above 1 is not "
            "executed"
        )
    return _windowed(at, "depthwise", weights[0], bits, zero)


def _windowed(at: _Place, kind: Kind, weights: npt.NDArray[np.int8], bits: int, zero: int) -> Layer:
    if (at.option("dilation_y"), at.option("dilation_x")) != (1, 1):
        raise at.error("is dilated, which is not executed")
    stride, padding, positions = _window(at, (weights.shape[0], weights.shape[1]))
    low, high = at.input_limits()
    kernel = Kernel(
        name=at.name,
        kind=kind,
        weights=np.ascontiguousarray(weights),
        bits=bits,
        zero=zero,
        input_zero=at.grid(at.tensor(0)).zero,
        input_low=low,
        input_high=high,
        stride=stride,
        padding=padding,
        positions=positions,
    )
    if at.shape != (*positions, kernel.outputs):
        raise at.error(f"has the output shape {at.shape}, not {(*positions, kernel.outputs)}")
    return Layer(kernel, _rescale(at, kernel.outputs), at.shape, flatten=False)


def _dense(at: _Place) -> Layer:
    weights, bits, zero = _weights(at)
    low, high = at.input_limits()
    kernel = Kernel(
        name=at.name,
        kind="dense",
        weights=np.ascontiguousarray(weights.T),
        bits=bits,
        zero=zero,
        input_zero=at.grid(at.tensor(0)).zero,
        input_low=low,
        input_high=high,
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        positions=(1, 1),
    )
    if math.prod(at.tensor(0).shape[1:]) != kernel.rows or math.prod(at.shape) != kernel.outputs:
        raise at.error(f"is not one row of {kernel.rows} inputs for each image")
    return Layer(kernel, _rescale(at, kernel.outputs), at.shape, flatten=True)


def _weights(at: _Place) -> tuple[npt.NDArray[np.int8], int, int]:
    """Levels as in the file's shape, their bits, and the level of a weight of 0."""
    tensor = at.tensor(1)
    if tensor.data is None or tensor.dtype not in ("int8", "uint8", "int4") or not tensor.shape:
        raise at.error(
            f"has weights '{tensor.name}' of type {tensor.dtype}"
            f"{' computed at run time' if tensor.data is None else ''}; the emulator runs constant "
            "int8, uint8 and int4: convert the model with --to int8 or --to w4a8"
        )
    zero = int(tensor.zero_points[0]) if len(tensor.zero_points) else 0
    if len(tensor.zero_points) > 1 and tensor.zero_points.any():
        raise at.error(f"has weights '{tensor.name}' with zero points per channel")
    raw = np.frombuffer(tensor.data, np.uint8)
    if tensor.dtype == "int4":
        nibbles = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[: tensor.elements]
        return ((nibbles ^ 8).view(np.int8) - np.int8(8)).reshape(tensor.shape), 4, zero
    if tensor.dtype == "uint8":
        return (raw ^ 128).view(np.int8).reshape(tensor.shape), 8, zero - 128
    return raw.view(np.int8).reshape(tensor.shape), 8, zero


def _window(
    at: _Place, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """Stride, padding and positions; SAME padding puts the odd one behind."""
    stride = at.option("stride_y"), at.option("stride_x")
    height, width = at.tensor(0).shape[1:3]
    sides: list[int] = []
    positions: list[int] = []
    for length, window, step in zip((height, width), size, stride, strict=True):
        if at.option("padding") == 0:
            count = -(-length // step)
            missing = max((count - 1) * step + window - length, 0)
        else:
            count, missing = (length - window + step) // step, 0
        positions.append(count)
        sides += [missing // 2, missing - missing // 2]
    top, bottom, left, right = sides
    return stride, (top, bottom, left, right), (positions[0], positions[1])


def _rescale(at: _Place, outputs: int) -> Rescale:
    source, result, weights = at.grid(at.tensor(0)), at.grid(at.output), at.tensor(1)
    if len(weights.scales) not in (1, outputs) or not (weights.scales > 0).all():
        raise at.error(f"has weights '{weights.name}' without scales above 0")
    if len(weights.scales) == 1 and (at.op.name == "FULLY_CONNECTED" or weights.dtype == "uint8"):
        # One factor for all channels: the kernels multiply these two scales as float32.
        products = [float(np.float32(source.scale) * weights.scales[0])]
    else:
        products = [source.scale * float(s) for s in weights.scales]
    factors = [quantised_multiplier(p / result.scale) for p in products]
    multiplier, exponent = np.array(factors * (outputs // len(factors)), np.int32).T
    bias = np.zeros(outputs, np.int32)
    if len(at.op.inputs) > 2 and at.op.inputs[2] >= 0:
        if at.tensor(2).dtype != "int32":
            raise at.error(f"has a bias of type {at.tensor(2).dtype}, not int32")
        bias = at.constant(2).reshape(outputs).astype(np.int32)
    low, high = at.clamp()
    left, right = (np.maximum(e, 0).astype(np.int32) for e in (exponent, -exponent))
    multiplier = np.ascontiguousarray(multiplier)
    once = at.op.name == "FULLY_CONNECTED"
    return Rescale(bias, multiplier, left, right, result.zero, low, high, result.dtype, once)


# --- operators without weights ------------------------------------------------------------------


def _pair(at: _Place) -> ops.Operation:
    first, second = (at.grid(at.tensor(i)) for i in (0, 1))
    of = ops.add_values if at.op.name == "ADD" else ops.multiply_values
    constants = {i: at.constant(i) for i in (0, 1) if at.tensor(i).data is not None}
    return ops.PairTable(of(first, second, at.grid(at.output), at.clamp()), constants)


def _pool(at: _Place) -> ops.Operation:
    if at.grid(at.tensor(0)) != at.grid(at.output):
        raise at.error("changes its scale, which no pooling does")
    size = at.option("height"), at.option("width")
    stride, padding, positions = _window(at, size)
    if at.shape != (*positions, at.tensor(0).shape[3]):
        raise at.error(f"has the output shape {at.shape}")
    largest = at.op.name == "MAX_POOL_2D"
    return ops.Pool(largest, size, stride, padding, at.clamp(), at.shape)


def _mean(at: _Place) -> ops.Operation:
    shape = at.tensor(0).shape
    axes = tuple(sorted({int(a) % len(shape) for a in at.constant(1).reshape(-1)}))
    if 0 in axes:
        raise at.error("takes a mean over the images")
    source, result = at.grid(at.tensor(0)), at.grid(at.output)
    count = math.prod(shape[a] for a in axes)
    factor = ops.mean_factor(source, result, count)
    return ops.Mean(axes, count, *factor, source, result, at.shape)


def _pad(at: _Place) -> ops.Operation:
    amounts = at.constant(1).reshape(-1, 2)
    if amounts[0].any() or (amounts < 0).any() or len(amounts) != len(at.tensor(0).shape):
        raise at.error(f"pads by {amounts.tolist()}")
    level = at.grid(at.output).zero
    if at.op.name == "PADV2":
        level = int(at.constant(2).reshape(-1)[0])
    before, after = (tuple(int(a) for a in side) for side in amounts.T)
    return ops.Pad(before, after, level)


def _reshape(at: _Place) -> ops.Operation:
    if at.tensor(0).shape[:1] != (1,) or at.output.shape[:1] != (1,):
        raise at.error("does not keep the images apart")
    return ops.Reshape(at.shape)


def _softmax(at: _Place) -> ops.Operation:
    beta = at.op.options["beta"]
    return ops.Softmax(exponentials(beta * at.grid(at.tensor(0)).scale), at.grid(at.output).dtype)


def _logistic(at: _Place) -> ops.Operation:
    return ops.logistic_table(at.grid(at.tensor(0)), at.grid(at.output))


def _relu(at: _Place) -> ops.Operation:
    activation = {"RELU": 1, "RELU6": 3}[at.op.name]
    source, result = at.grid(at.tensor(0)), at.grid(at.output)
    return ops.requantise_table(source, result, _clamp(at, activation))


def _quantise(at: _Place) -> ops.Operation:
    if at.tensor(0).dtype == "float32":
        return ops.Quantise(at.grid(at.output))
    return ops.requantise_table(at.grid(at.tensor(0)), at.grid(at.output))


def _dequantise(at: _Place) -> ops.Operation:
    return ops.dequantise_table(at.grid(at.tensor(0)))


def _concatenate(at: _Place) -> ops.Operation:
    result, rank = at.grid(at.output), len(at.output.shape)
    axis = at.option("axis") % rank
    if axis == 0:
        raise at.error("joins along the images")
    sources = [at.grid(at.tensor(i)) for i in range(len(at.op.inputs))]
    return ops.Concatenate(axis, tuple(ops.rescale_table(s, result) for s in sources))


_WORK: dict[str, Callable[[_Place], Layer | ops.Operation]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "ADD": _pair,
    "MUL": _pair,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "SOFTMAX": _softmax,
    "LOGISTIC": _logistic,
    "RELU": _relu,
    "RELU6": _relu,
    "QUANTIZE": _quantise,
    "DEQUANTIZE": _dequantise,
    "CONCATENATION": _concatenate,
}
