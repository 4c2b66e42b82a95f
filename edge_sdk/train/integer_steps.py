"""A rounding net's Keras layers as the steps of an integer network, before any number is chosen.

Batch norm, ReLU and zero padding become part of the step before them or of the one that reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import ModelError, UsageError

Doubles = npt.NDArray[np.float64]

WEIGHTED = ("RoundedConv2D", "RoundedDepthwiseConv2D", "RoundedDense")


@dataclass
class Step:
    """One layer of the integer network while its surroundings are gathered.

    head: the Keras layer with weights, Add or pooling. factor, shift: what batch norm and bias do
    to its sums, (out,); mean, deviation: of what batch norm gives, (out,), None without one. low,
    high: the clamp. wide: its output is added, pooled, or read on several grids; chain: which wide
    tensors share a grid."""

    head: Any
    inputs: list[Tensor]
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
class Tensor:
    """What a Keras tensor is: a step's output, perhaps zero-padded, perhaps through a quantiser.

    step None: the image."""

    step: Step | None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    quantiser: Any = None


def gather(net: Any) -> list[Step]:
    """The steps in the order in which they run."""
    steps: list[Step] = []
    tensors: dict[int, Tensor] = {id(net.inputs[0]): Tensor(None)}
    readers = _readers(net)
    for layer in net.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        inputs = [tensors[id(x)] for x in given]
        if kind in WEIGHTED:
            step = _weighted(layer, inputs)
        elif kind in ("Add", "GlobalAveragePooling2D"):
            step = Step(layer, inputs)
            _wants_wide(layer, inputs)
        elif kind == "MaxPooling2D":
            step = _max_pooling(layer, inputs[0])
        else:
            tensors[id(layer.output)] = _absorb(layer, kind, inputs[0], readers[id(given[0])])
            continue
        steps.append(step)
        tensors[id(layer.output)] = Tensor(step)
    last = tensors.get(id(net.outputs[0]))
    if last is None or last.step is not steps[-1] or not _is_last(steps[-1]):
        raise ModelError(f"model {net.name}: the last layer with weights must give the scores")
    for step in steps[:-1]:
        if step.activation != "linear":
            refuse(step.head, "only the last layer may give probabilities")
        if kind_of(step) == "RoundedDense" and len(step.head.input.shape) != 2:
            refuse(step.head, "a Dense layer before the last must read flat features")
    return steps


def _readers(net: Any) -> dict[int, int]:
    """How many layers read each tensor."""
    count: dict[int, int] = {}
    for layer in net.layers:
        if type(layer).__name__ != "InputLayer":
            for x in layer.input if isinstance(layer.input, list) else [layer.input]:
                count[id(x)] = count.get(id(x), 0) + 1
    return count


def _weighted(layer: Any, inputs: list[Tensor]) -> Step:
    source = inputs[0]
    if source.step is not None and source.quantiser is None:
        raise UsageError(
            f"layer '{layer.name}' reads an input that is not rounded: only a net trained with "
            "4-bit inputs (w4a4) has an integer form; for w4a8 use snapped and edge-sdk convert"
        )
    if getattr(layer, "groups", 1) != 1 and type(layer).__name__ == "RoundedConv2D":
        refuse(layer, "groups must be 1")
    if getattr(layer, "depth_multiplier", 1) != 1:
        refuse(layer, "depth_multiplier must be 1")
    if tuple(getattr(layer, "dilation_rate", (1, 1))) != (1, 1):
        refuse(layer, "dilation_rate must be 1")
    channels = layer.output.shape[-1]
    bias = np.zeros(channels) if layer.bias is None else layer.bias.numpy().astype(np.float64)
    step = Step(layer, inputs, np.ones(channels), bias)
    _clamp(step, layer, layer.activation.__name__)
    return step


def _max_pooling(layer: Any, tensor: Tensor) -> Step:
    source = tensor.step
    if source is None or kind_of(source) not in (*WEIGHTED, "Add") or any(tensor.padding):
        refuse(layer, "it must read the output of a layer with weights or an addition")
    if layer.padding != "valid":
        refuse(layer, "padding must be valid")
    return Step(layer, [tensor])


def _absorb(layer: Any, kind: str, tensor: Tensor, readers: int) -> Tensor:
    """The tensor behind a layer that is no step of its own."""
    step = tensor.step
    if kind == "RoundedActivation" and step is not None:
        step.quantisers.append(layer)
        return Tensor(step, tensor.padding, layer)
    if kind == "ZeroPadding2D":
        added = [n for pair in layer.padding for n in pair]
        t, b, left, right = (a + n for a, n in zip(tensor.padding, added, strict=True))
        return Tensor(step, (t, b, left, right), tensor.quantiser)
    if kind == "Dropout" or (kind == "Reshape" and _keeps_values(layer)):
        return tensor
    if kind == "Flatten" and not any(tensor.padding):
        return tensor
    used = step is None or step.activation != "linear" or tensor.quantiser is not None
    if step is None or used or readers > 1 or any(tensor.padding):
        refuse(layer, "it has no integer form where it stands")
    if kind_of(step) == "MaxPooling2D":
        refuse(layer, "it comes after a max pooling: put it before, where it is part of a sum")
    folds = kind_of(step) in WEIGHTED and layer.input.shape[-1] == step.factor.size
    if kind == "BatchNormalization" and folds and step.low == -np.inf:
        _fold(step, layer)
    elif kind in ("ReLU", "Activation", "Softmax"):
        name = layer.activation.__name__ if kind == "Activation" else kind.lower()
        _clamp(step, layer, name)
    else:
        refuse(layer, f"{kind} has no integer form here")
    return tensor


def _keeps_values(layer: Any) -> bool:
    """Whether a Reshape moves between (1, 1, C) and (C,) only."""
    shapes = (layer.input.shape, layer.output.shape)
    return all(int(np.prod(s[1:-1])) == 1 for s in shapes) and shapes[0][-1] == shapes[1][-1]


def _fold(step: Step, norm: Any) -> None:
    mean, variance = (
        v.numpy().astype(np.float64) for v in (norm.moving_mean, norm.moving_variance)
    )
    gamma = norm.gamma.numpy().astype(np.float64) if norm.scale else np.ones_like(mean)
    beta = norm.beta.numpy().astype(np.float64) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    step.factor = step.factor * factor
    step.shift = (step.shift - mean) * factor + beta
    step.mean, step.deviation = beta, np.abs(gamma)


def _clamp(step: Step, layer: Any, name: str) -> None:
    if name == "linear":
        return
    if name in ("relu", "relu6"):
        slanted = getattr(layer, "negative_slope", 0) or getattr(layer, "threshold", None)
        if type(layer).__name__ == "ReLU" and slanted:
            refuse(layer, "only a plain ReLU has an integer form here")
        highest = getattr(layer, "max_value", None)
        if name == "relu6":
            highest = 6.0
        step.low = max(step.low, 0.0)
        step.high = min(step.high, np.inf if highest is None else float(highest))
    elif name in ("softmax", "sigmoid"):
        step.activation = name
    else:
        refuse(layer, f"activation '{name}' has no integer form here")


def _wants_wide(layer: Any, inputs: list[Tensor]) -> None:
    for x in inputs:
        if x.step is None or x.quantiser is not None or any(x.padding):
            refuse(layer, "it must read the output of a layer with weights or an addition")
        x.step.wide = True


def _is_last(step: Step) -> bool:
    """Whether it can be a Dense layer: scores of one position's features."""
    if kind_of(step) not in ("RoundedDense", "RoundedConv2D"):
        return False
    sizes = (*step.head.input.shape[1:-1], *step.head.kernel.shape[:-2])
    return int(np.prod(sizes)) == 1


def kind_of(step: Step) -> str:
    return type(step.head).__name__


def refuse(layer: Any, why: str) -> NoReturn:
    raise ModelError(f"layer '{layer.name}' ({type(layer).__name__}): {why}")
