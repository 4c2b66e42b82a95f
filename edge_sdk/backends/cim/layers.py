"""Layers with weights of a .tflite file: levels as int8, factors as fixed-point multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.fixed_point import Rescale, quantised_multiplier
from edge_sdk.backends.cim.kernel import Kernel, Kind
from edge_sdk.backends.cim.place import Place


@dataclass(frozen=True, eq=False)
class Layer:
    """An operator with weights: sums of `kernel`, brought to levels by `rescale`.

    shape: of its output, without the images. flatten: its input becomes rows of inputs."""

    kernel: Kernel
    rescale: Rescale
    shape: tuple[int, ...]
    flatten: bool


def convolution(at: Place) -> Layer:
    weights, bits, zero = _weights(at)
    # (out, kh, kw, in) in the file.
    if weights.shape[3] != at.tensor(0).shape[3]:
        raise at.error(
            f"takes {at.tensor(0).shape[3]} channels with kernels of {weights.shape[3]}: grouped "
            "convolutions are not executed"
        )
    return _windowed(at, "convolution", weights.transpose(1, 2, 3, 0), bits, zero)


def depthwise(at: Place) -> Layer:
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


def _windowed(at: Place, kind: Kind, weights: npt.NDArray[np.int8], bits: int, zero: int) -> Layer:
    if (at.option("dilation_y"), at.option("dilation_x")) != (1, 1):
        raise at.error("is dilated, which is not executed")
    stride, padding, positions = at.window((weights.shape[0], weights.shape[1]))
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


def dense(at: Place) -> Layer:
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


def _weights(at: Place) -> tuple[npt.NDArray[np.int8], int, int]:
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


def _rescale(at: Place, outputs: int) -> Rescale:
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
