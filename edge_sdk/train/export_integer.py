"""A net trained with 4-bit inputs as an integer-only network.

Batch norm, ReLU and zero padding go into the layer with weights before or after them: the batch
norm's factor into the rescaling of the sums, its sign into the weights, its shift into the bias.
What feeds one quantiser and nothing else is written on its grid; what is added or pooled stays
wide, all tensors of one chain of additions on one grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

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
    Pool,
    Requantise,
    Sum,
    rescaling,
)
from edge_sdk.preprocess import Preprocess

Doubles = npt.NDArray[np.float64]

# Wide grids hold this many standard deviations of a batch norm's output beside its mean, or the
# largest sum that can occur where that is less.
DEVIATIONS = 16.0
# A bias that is larger in its own unit belongs to a channel whose weights do nothing.
LARGEST_BIAS = 2**24
# Half the integers that float64 holds exactly, for the rounding term.
EXACT_BITS = 52


@dataclass
class _Step:
    """One layer of the integer network while its surroundings are gathered.

    head: the Keras layer with weights, Add or pooling. factor, shift: what batch norm and bias do
    to its sums, (out,); mean, deviation: of what batch norm gives, (out,), None without one. low,
    high: the clamp. wide: its output is added, pooled, or read on several grids; chain: which wide
    tensors share a grid."""

    head: Any
    inputs: list[_Tensor]
    factor: Doubles = field(default_factory=lambda: np.ones(1))
    shift: Doubles = field(default_factory=lambda: np.zeros(1))
    mean: Doubles | None = None
    deviation: Doubles | None = None
    low: float = -np.inf
    high: float = np.inf
    quantisers: list[Any] = field(default_factory=list)
    wide: bool = False
    chain: int = -1
    activation: str = "linear"

    @property
    def name(self) -> str:
        return str(self.head.name)


@dataclass(frozen=True)
class _Tensor:
    """What a Keras tensor is: a step's output, perhaps zero-padded, perhaps through a quantiser.

    step None: the image."""

    step: _Step | None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    quantiser: Any = None


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
    steps = _gather(net)
    _join_chains(steps)
    grids = _grids(steps)
    layers: list[Layer] = []
    for step in steps[:-1]:
        layers.append(_layer(step, grids, preprocess))
        if step.wide:
            layers += [_requantise(step, q, grids) for q in step.quantisers]
    layers.append(_dense(steps[-1], grids))
    return IntegerModel(preprocess, labels, _activation(steps[-1]), tuple(layers))


def _gather(net: Any) -> list[_Step]:
    """The steps in the order in which they run."""
    steps: list[_Step] = []
    tensors: dict[int, _Tensor] = {id(net.inputs[0]): _Tensor(None)}
    readers = _readers(net)
    for layer in net.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        inputs = [tensors[id(x)] for x in given]
        if kind in ("RoundedConv2D", "RoundedDepthwiseConv2D", "RoundedDense"):
            step = _weighted(layer, inputs)
        elif kind in ("Add", "GlobalAveragePooling2D"):
            step = _Step(layer, inputs)
            _wants_wide(layer, inputs)
        else:
            tensors[id(layer.output)] = _absorb(layer, kind, inputs[0], readers[id(given[0])])
            continue
        steps.append(step)
        tensors[id(layer.output)] = _Tensor(step)
    last = tensors.get(id(net.outputs[0]))
    if last is None or last.step is not steps[-1] or not _is_last(steps[-1]):
        raise ModelError(f"model {net.name}: the last layer with weights must give the scores")
    return steps


def _readers(net: Any) -> dict[int, int]:
    """How many layers read each tensor."""
    count: dict[int, int] = {}
    for layer in net.layers:
        if type(layer).__name__ != "InputLayer":
            for x in layer.input if isinstance(layer.input, list) else [layer.input]:
                count[id(x)] = count.get(id(x), 0) + 1
    return count


def _weighted(layer: Any, inputs: list[_Tensor]) -> _Step:
    source = inputs[0]
    if source.step is not None and source.quantiser is None:
        raise UsageError(
            f"layer '{layer.name}' reads an input that is not rounded: only a net trained with "
            "4-bit inputs (w4a4) has an integer form; for w4a8 use snapped and edge-sdk convert"
        )
    if getattr(layer, "groups", 1) != 1 and type(layer).__name__ == "RoundedConv2D":
        _refuse(layer, "groups must be 1")
    if getattr(layer, "depth_multiplier", 1) != 1:
        _refuse(layer, "depth_multiplier must be 1")
    if tuple(getattr(layer, "dilation_rate", (1, 1))) != (1, 1):
        _refuse(layer, "dilation_rate must be 1")
    channels = layer.output.shape[-1]
    bias = np.zeros(channels) if layer.bias is None else np.asarray(layer.bias, np.float64)
    step = _Step(layer, inputs, np.ones(channels), bias)
    _clamp(step, layer, layer.activation.__name__)
    return step


def _absorb(layer: Any, kind: str, tensor: _Tensor, readers: int) -> _Tensor:
    """The tensor behind a layer that is no step of its own."""
    step = tensor.step
    if kind == "RoundedActivation" and step is not None:
        step.quantisers.append(layer)
        return _Tensor(step, tensor.padding, layer)
    if kind == "ZeroPadding2D":
        added = [n for pair in layer.padding for n in pair]
        t, b, left, right = (a + n for a, n in zip(tensor.padding, added, strict=True))
        return _Tensor(step, (t, b, left, right), tensor.quantiser)
    if kind == "Dropout" or (kind in ("Reshape", "Flatten") and _keeps_values(layer)):
        return tensor
    if step is None or readers > 1 or tensor.quantiser is not None or any(tensor.padding):
        _refuse(layer, "it has no integer form where it stands")
    weighted = _kind(step) not in ("Add", "GlobalAveragePooling2D")
    if kind == "BatchNormalization" and weighted and step.low == -np.inf:
        _fold(step, layer)
    elif kind in ("ReLU", "Activation", "Softmax"):
        name = layer.activation.__name__ if kind == "Activation" else kind.lower()
        _clamp(step, layer, name)
    else:
        _refuse(layer, f"{kind} has no integer form here")
    return tensor


def _keeps_values(layer: Any) -> bool:
    """Whether a Reshape or Flatten moves between (1, 1, C) and (C,) only."""
    shapes = (layer.input.shape, layer.output.shape)
    return all(int(np.prod(s[1:-1])) == 1 for s in shapes) and shapes[0][-1] == shapes[1][-1]


def _fold(step: _Step, norm: Any) -> None:
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    step.factor = step.factor * factor
    step.shift = (step.shift - mean) * factor + beta
    step.mean, step.deviation = beta, np.abs(gamma)


def _clamp(step: _Step, layer: Any, name: str) -> None:
    if name == "linear":
        return
    if name in ("relu", "relu6"):
        slanted = getattr(layer, "negative_slope", 0) or getattr(layer, "threshold", None)
        if type(layer).__name__ == "ReLU" and slanted:
            _refuse(layer, "only a plain ReLU has an integer form here")
        highest = getattr(layer, "max_value", None)
        if name == "relu6":
            highest = 6.0
        step.low = max(step.low, 0.0)
        step.high = min(step.high, np.inf if highest is None else float(highest))
    elif name in ("softmax", "sigmoid"):
        step.activation = name
    else:
        _refuse(layer, f"activation '{name}' has no integer form here")


def _wants_wide(layer: Any, inputs: list[_Tensor]) -> None:
    for x in inputs:
        if x.step is None or x.quantiser is not None or any(x.padding):
            _refuse(layer, "it must read the output of a layer with weights or an addition")
        x.step.wide = True


def _is_last(step: _Step) -> bool:
    """Whether it can be a Dense layer: scores of one position's features."""
    if _kind(step) not in ("RoundedDense", "RoundedConv2D"):
        return False
    sizes = (*step.head.input.shape[1:-1], *step.head.kernel.shape[:-2])
    return int(np.prod(sizes)) == 1


def _join_chains(steps: list[_Step]) -> None:
    """Says which steps are wide, and gives one chain to all that additions join."""
    for number, step in enumerate(steps[:-1]):
        step.chain = number
        step.wide = step.wide or len(step.quantisers) != 1 or _kind(step) == "Add"
        if step.wide and _kind(step) == "GlobalAveragePooling2D":
            _refuse(step.head, "a layer with weights must read it, and nothing else")
    for step in steps[:-1]:
        if _kind(step) == "Add":
            joined = {x.step.chain for x in step.inputs if x.step is not None} | {step.chain}
            for other in steps:
                if other.chain in joined:
                    other.chain = min(joined)


def _grids(steps: list[_Step]) -> dict[str, Grid]:
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


def _bound(step: _Step, bounds: dict[str, float]) -> float:
    """The largest value of a wide step's output before its clamp."""
    if _kind(step) == "Add":
        return sum(bounds[x.step.name] for x in step.inputs if x.step is not None)
    levels, size = step.head.levels()
    sums = np.abs(levels.astype(np.int64)).sum(axis=step.head.axes).reshape(-1)
    largest = sums * size * np.abs(step.factor) * _largest_input(step) + np.abs(step.shift)
    if step.mean is not None and step.deviation is not None:
        largest = np.minimum(largest, np.abs(step.mean) + DEVIATIONS * step.deviation)
    return float(largest.max())


def _largest_input(step: _Step) -> float:
    quantiser = step.inputs[0].quantiser
    return 255.0 if quantiser is None else float(quantiser.bounded_clip())


def _grid_of(quantiser: Any) -> Grid:
    clip = float(quantiser.bounded_clip())
    return Grid(quantiser.bits, quantiser.signed, clip / quantiser.top)


def _layer(step: _Step, grids: dict[str, Grid], preprocess: Preprocess) -> Layer:
    names = [_name_of(x) for x in step.inputs]
    output = grids[step.name]
    if _kind(step) == "Add":
        if len(names) != 2:
            _refuse(step.head, f"it must add two tensors, not {len(names)}")
        return Sum(step.name, names[0], names[1], output, *_clamp_levels(step, output))
    if _kind(step) == "GlobalAveragePooling2D":
        size = int(np.prod(step.head.input.shape[1:3]))
        factor = grids[names[0]].scale / size / output.scale
        return Pool(step.name, names[0], output, *_scalars(factor))
    return _convolution(step, names[0], grids, preprocess)


def _convolution(
    step: _Step, source: str, grids: dict[str, Grid], preprocess: Preprocess
) -> Convolution:
    output = grids[step.name]
    levels, size = step.head.levels()
    depthwise = _kind(step) == "RoundedDepthwiseConv2D"
    if depthwise:
        levels = levels[..., 0]
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
        tuple(step.head.strides),
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


def _requantise(step: _Step, quantiser: Any, grids: dict[str, Grid]) -> Requantise:
    output = grids[quantiser.name]
    return Requantise(
        quantiser.name, step.name, output, *_scalars(grids[step.name].scale / output.scale)
    )


def _dense(step: _Step, grids: dict[str, Grid]) -> Dense:
    source = _name_of(step.inputs[0])
    if source == IMAGE or step.low > -np.inf or any(step.inputs[0].padding):
        _refuse(step.head, "the last layer must give plain scores from pooled features")
    levels, size = step.head.levels()
    return Dense(
        step.name,
        source,
        step.head.bits,
        levels.reshape(levels.shape[-2:]),
        np.asarray(step.factor * size * grids[source].scale, np.float32),
        step.shift.astype(np.float32),
    )


def _kind(step: _Step) -> str:
    return type(step.head).__name__


def _name_of(tensor: _Tensor) -> str:
    if tensor.step is None:
        return IMAGE
    wide = tensor.step.wide and tensor.quantiser is not None
    return str(tensor.quantiser.name) if wide else tensor.step.name


def _scalars(factor: float) -> tuple[int, int]:
    mantissa, shift = rescaling(np.array([factor]))
    return int(mantissa[0]), int(shift[0])


def _clamp_levels(step: _Step, grid: Grid) -> tuple[int, int]:
    low = max(step.low / grid.scale, grid.low)
    high = min(step.high / grid.scale, grid.high)
    return round(low), round(high)


def _padding(step: _Step) -> tuple[int, int, int, int]:
    """(top, bottom, left, right): zero padding before the layer and what `same` adds."""
    pads = list(step.inputs[0].padding)
    if step.head.padding == "same":
        for axis in (0, 1):
            n = int(step.head.input.shape[1 + axis])
            stride, kernel = step.head.strides[axis], step.head.kernel_size[axis]
            total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            pads[2 * axis] += total // 2
            pads[2 * axis + 1] += total - total // 2
    return pads[0], pads[1], pads[2], pads[3]


def _activation(step: _Step) -> Activation:
    known: dict[str, Activation] = {"softmax": "softmax", "sigmoid": "sigmoid"}
    return known.get(step.activation, "logits")


def _refuse(layer: Any, why: str) -> NoReturn:
    raise ModelError(f"layer '{layer.name}' ({type(layer).__name__}): {why}")
