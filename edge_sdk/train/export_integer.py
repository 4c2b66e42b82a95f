"""A net trained with 4-bit inputs as an integer-only network.

Batch norm, ReLU and zero padding go into the layer with weights before or after them: the batch
norm's factor into the rescaling of the sums, its sign into the weights, its shift into the bias.
What feeds one quantiser and nothing else is written on its grid, also through a max pooling; what
is added or averaged stays wide, all tensors of one chain of additions on one grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.artifact import Activation
from edge_sdk.errors import ModelError, UsageError
from edge_sdk.integer_model.layers import (
    IMAGE,
    IMAGE_GRID,
    LARGEST_FRACTION,
    MANTISSA_BITS,
    WIDE_BITS,
    Convolution,
    Dense,
    Depthwise,
    Grid,
    IntegerModel,
    Layer,
    MaxPool,
    Pool,
    Requantise,
    Sum,
    rescaling,
)
from edge_sdk.preprocess import Preprocess
from edge_sdk.train.integer_steps import Doubles, Step, Tensor, gather, kind_of, refuse

# Wide grids hold this many standard deviations of a batch norm's output beside its mean, or the
# largest sum that can occur where that is less.
DEVIATIONS = 16.0
# A bias that is larger in its own unit belongs to a channel whose weights do nothing.
LARGEST_BIAS = 2**24
# Half the integers that float64 holds exactly, for the rounding term.
EXACT_BITS = 52


def to_integer(net: Any, preprocess: Preprocess, labels: tuple[str, ...] = ()) -> IntegerModel:
    """The integer network of a net from fake_quantised(model, a scheme with activation_bits).

    preprocess: what net was trained on; its mean, std and colour order go into the first layer.
    Raises UsageError for a net whose inputs are not rounded, ModelError for a layer or an order of
    layers that has no integer form here."""
    size = tuple(net.inputs[0].shape[1:3])
    if size != (preprocess.height, preprocess.width):
        raise UsageError(
            f"preprocess: {preprocess.height}x{preprocess.width} is not the model's input size "
            f"{size[0]}x{size[1]}"
        )
    steps = gather(net)
    _share_pooled(steps)
    _join_chains(steps)
    grids = _grids(steps)
    layers: list[Layer] = []
    for step in steps[:-1]:
        layers.append(_layer(step, grids, preprocess))
        if step.wide:
            layers += [_requantise(step, q, grids) for q in step.quantisers]
    layers.append(_dense(steps[-1], grids))
    return IntegerModel(preprocess, labels, _activation(steps[-1]), tuple(layers))


def _share_pooled(steps: list[Step]) -> None:
    """Puts what a max pooling reads on the grid that the pooling writes: rounding keeps order, so
    the largest of the rounded values is the largest one rounded. Both are wide where that grid is
    not the only one wanted."""
    for step in steps:
        if kind_of(step) == "MaxPooling2D":
            source = step.inputs[0].step
            assert source is not None
            readers = sum(x.step is source for other in steps for x in other.inputs)
            wide = step.wide or kind_of(source) == "Add"
            if readers == 1 and len(step.quantisers) == 1 and not wide:
                source.quantisers = step.quantisers
            else:
                source.wide = step.wide = True


def _join_chains(steps: list[Step]) -> None:
    """Says which steps are wide, and gives one chain to all that additions or poolings join."""
    for number, step in enumerate(steps[:-1]):
        step.chain = number
        step.wide = step.wide or len(step.quantisers) != 1 or kind_of(step) == "Add"
        if step.wide and kind_of(step) == "GlobalAveragePooling2D":
            refuse(step.head, "a layer with weights must read it, and nothing else")
    for step in steps[:-1]:
        if kind_of(step) in ("Add", "MaxPooling2D"):
            joined = {x.step.chain for x in step.inputs if x.step is not None} | {step.chain}
            for other in steps:
                if other.chain in joined:
                    other.chain = min(joined)


def _grids(steps: list[Step]) -> dict[str, Grid]:
    """The grid of every step but the last, and of every quantiser, by name."""
    bounds: dict[str, float] = {}
    for step in steps[:-1]:
        if step.wide:
            bounds[step.name] = min(max(_bound(step, bounds), 1e-6), max(step.high, -step.low))
    scales: dict[int, float] = {}
    for step in steps[:-1]:
        if step.wide:
            scale = bounds[step.name] / (2 ** (WIDE_BITS - 1) - 1)
            scales[step.chain] = max(scales.get(step.chain, 0.0), scale)
    grids = {q.name: _grid_of(q) for step in steps for q in step.quantisers}
    for step in steps[:-1]:
        grids[step.name] = (
            Grid(WIDE_BITS, True, scales[step.chain])
            if step.wide
            else grids[step.quantisers[0].name]
        )
    return grids


def _bound(step: Step, bounds: dict[str, float]) -> float:
    """The largest value of a wide step's output before its clamp."""
    if kind_of(step) in ("Add", "MaxPooling2D"):
        return sum(bounds[x.step.name] for x in step.inputs if x.step is not None)
    levels, size = step.head.levels()
    sums = np.abs(levels.astype(np.int64)).sum(axis=step.head.axes).reshape(-1)
    largest = sums * size * np.abs(step.factor) * _largest_input(step) + np.abs(step.shift)
    if step.mean is not None and step.deviation is not None:
        largest = np.minimum(largest, np.abs(step.mean) + DEVIATIONS * step.deviation)
    return float(largest.max())


def _largest_input(step: Step) -> float:
    quantiser = step.inputs[0].quantiser
    return 255.0 if quantiser is None else float(quantiser.bounded_clip())


def _grid_of(quantiser: Any) -> Grid:
    clip = float(quantiser.bounded_clip())
    return Grid(quantiser.bits, quantiser.signed, clip / quantiser.top)


def _layer(step: Step, grids: dict[str, Grid], preprocess: Preprocess) -> Layer:
    names = [_name_of(x) for x in step.inputs]
    output = grids[step.name]
    if kind_of(step) == "Add":
        if len(names) != 2:
            refuse(step.head, f"it must add two tensors, not {len(names)}")
        return Sum(step.name, names[0], names[1], output, *_clamp_levels(step, output))
    if kind_of(step) == "GlobalAveragePooling2D":
        size = int(np.prod(step.head.input.shape[1:3]))
        factor = grids[names[0]].scale / size / output.scale
        return Pool(step.name, names[0], output, *_scalars(factor))
    if kind_of(step) == "MaxPooling2D":
        return MaxPool(step.name, names[0], step.head.pool_size, step.head.strides, output)
    return _convolution(step, names[0], grids, preprocess)


def _convolution(
    step: Step, source: str, grids: dict[str, Grid], preprocess: Preprocess
) -> Convolution:
    output = grids[step.name]
    levels, size = step.head.levels()
    depthwise = kind_of(step) == "RoundedDepthwiseConv2D"
    if depthwise:
        levels = levels[..., 0]
    elif kind_of(step) == "RoundedDense":
        levels = levels.reshape(*_map_shape(step.inputs[0]), -1)
    channels_in = levels.shape[2]
    offset = np.zeros(channels_in)
    scale, bits = IMAGE_GRID.scale, step.head.bits
    if source == IMAGE:
        levels, size, offset = _on_pixels(levels, size, preprocess)
    else:
        scale = grids[source].scale
    unit = step.factor * scale * size
    levels = levels * np.where(unit < 0, -1, 1).astype(np.int8)
    unit = np.maximum(np.abs(unit), 1e-300)
    dead = np.abs(step.shift) / unit > LARGEST_BIAS
    levels = np.where(dead, 0, levels).astype(np.int8)
    unit = np.where(dead, output.scale, unit)
    bias = step.shift / unit
    fraction = _fraction(levels, depthwise, grids.get(source, IMAGE_GRID).high, bias)
    bias = np.clip(bias * 2**fraction, -(2**31) + 1, 2**31 - 1)
    return (Depthwise if depthwise else Convolution)(
        step.name,
        source,
        tuple(getattr(step.head, "strides", (1, 1))),
        _padding(step),
        bits,
        output,
        *_clamp_levels(step, output),
        fraction,
        levels,
        np.round(bias).astype(np.int32),
        *rescaling(unit / output.scale / 2**fraction),
        np.round(offset * 2**fraction).astype(np.int32),
    )


def _fraction(
    levels: npt.NDArray[np.int8], depthwise: bool, largest_input: int, bias: Doubles
) -> int:
    """The finest unit of the bias with which run.py's float64 products stay exact."""
    axes = (0, 1) if depthwise else (0, 1, 2)
    sums = np.abs(levels.astype(np.int64)).sum(axis=axes) * largest_input
    whole = int(np.ceil(np.log2(2 * sums.max() + np.abs(bias).max() + 1)))
    return int(np.clip(EXACT_BITS - MANTISSA_BITS - whole, 0, LARGEST_FRACTION))


def _on_pixels(
    levels: npt.NDArray[np.int8], size: npt.NDArray[np.float32], preprocess: Preprocess
) -> tuple[npt.NDArray[np.int8], Doubles, Doubles]:
    """The first kernel for raw RGB pixels: levels, the size of one, and the offset of pixels.

    One std for all colours only changes the size; several put the kernel on a new 8-bit grid."""
    mean, std = np.asarray(preprocess.mean), np.asarray(preprocess.std)
    new_size = size.astype(np.float64) / std[0]
    if len(set(preprocess.std)) > 1:
        if levels.ndim != 4:
            raise ModelError("preprocess: several std need a convolution as the first layer")
        real = levels * size.astype(np.float64) / std[:, None]
        new_size = np.maximum(np.abs(real).max(axis=(0, 1, 2)), 1e-300) / 127
        levels = np.round(real / new_size).astype(np.int8)
    if preprocess.colour == "BGR":
        levels, mean = levels[:, :, ::-1], mean[::-1]
    return levels, new_size, -mean


def _map_shape(tensor: Tensor) -> tuple[int, ...]:
    """(h, w, channels) of what a dense layer reads, before it was made flat."""
    assert tensor.step is not None
    shape = tuple(tensor.step.head.output.shape[1:])
    return shape if len(shape) == 3 else (1, 1, *shape)


def _requantise(step: Step, quantiser: Any, grids: dict[str, Grid]) -> Requantise:
    output = grids[quantiser.name]
    return Requantise(
        quantiser.name, step.name, output, *_scalars(grids[step.name].scale / output.scale)
    )


def _dense(step: Step, grids: dict[str, Grid]) -> Dense:
    source = _name_of(step.inputs[0])
    if source == IMAGE or step.low > -np.inf or any(step.inputs[0].padding):
        refuse(step.head, "the last layer must give plain scores from pooled features")
    levels, size = step.head.levels()
    return Dense(
        step.name,
        source,
        step.head.bits,
        levels.reshape(levels.shape[-2:]),
        np.asarray(step.factor * size * grids[source].scale, np.float32),
        step.shift.astype(np.float32),
    )


def _name_of(tensor: Tensor) -> str:
    if tensor.step is None:
        return IMAGE
    wide = tensor.step.wide and tensor.quantiser is not None
    return str(tensor.quantiser.name) if wide else tensor.step.name


def _scalars(factor: float) -> tuple[int, int]:
    mantissa, shift = rescaling(np.array([factor]))
    return int(mantissa[0]), int(shift[0])


def _clamp_levels(step: Step, grid: Grid) -> tuple[int, int]:
    low = max(step.low / grid.scale, grid.low)
    high = min(step.high / grid.scale, grid.high)
    return round(low), round(high)


def _padding(step: Step) -> tuple[int, int, int, int]:
    """(top, bottom, left, right): zero padding before the layer and what `same` adds."""
    pads = list(step.inputs[0].padding)
    if getattr(step.head, "padding", "valid") == "same":
        for axis in (0, 1):
            n = int(step.head.input.shape[1 + axis])
            stride, kernel = step.head.strides[axis], step.head.kernel_size[axis]
            total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            pads[2 * axis] += total // 2
            pads[2 * axis + 1] += total - total // 2
    return pads[0], pads[1], pads[2], pads[3]


def _activation(step: Step) -> Activation:
    known: dict[str, Activation] = {"softmax": "softmax", "sigmoid": "sigmoid"}
    return known.get(step.activation, "logits")
