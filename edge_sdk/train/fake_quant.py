"""A float Keras model as one that trains with rounded kernels and inputs, and back.

Batch norm stays as it is in training: kernels are rounded per output channel, which commutes with
folding it. The rounding itself is in fake_quant_layers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.profile import CimProfile
from edge_sdk.errors import ModelError, UsageError, unknown_name
from edge_sdk.train.chip_noise import NoisyCells
from edge_sdk.train.tensorflow import import_tensorflow

Floats = npt.NDArray[np.float32]

THRESHOLDS = ("dynamic", "min-max", "lsq")
# Shares of the largest value that are tried as threshold or clip.
SHARES = np.linspace(0.2, 1.0, 33)
# How much of the old threshold `update_thresholds` keeps.
MOMENTUM = 0.9
# Layers whose output stays within the range of their input.
PASSING = (
    "ZeroPadding2D", "GlobalAveragePooling2D", "AveragePooling2D", "MaxPooling2D", "Dropout",
    "Reshape", "Flatten",
)  # fmt: skip


@dataclass(frozen=True)
class QatScheme:
    """What is rounded in training. weight_bits: of Conv2D kernels but the first, which has 8 as
    the last Dense has. dense_bits: of Dense kernels before the last. activation_bits: of the inputs
    of all layers with kernels but the first; None: not rounded. thresholds: one of THRESHOLDS, see
    fake_quant_layers.py."""

    name: str
    weight_bits: int
    depthwise_bits: int
    activation_bits: int | None
    thresholds: str = "dynamic"
    dense_bits: int = 8


# The thresholds of each are what won on validation patients: docs/training.md has the comparison.
QAT_SCHEMES = {
    s.name: s
    for s in (
        QatScheme("w4a8", 4, 8, None),
        QatScheme("w4a8-dw4", 4, 4, None),
        QatScheme("w4a4", 4, 4, 4, "min-max", dense_bits=4),
    )
}


def qat_scheme(name: str, thresholds: str | None = None) -> QatScheme:
    """Raises UsageError, with the near misses, for a name that is in neither table."""
    if name not in QAT_SCHEMES:
        raise UsageError(unknown_name("training scheme", name, QAT_SCHEMES))
    if thresholds is not None and thresholds not in THRESHOLDS:
        raise UsageError(unknown_name("thresholds", thresholds, THRESHOLDS))
    scheme = QAT_SCHEMES[name]
    return scheme if thresholds is None else replace(scheme, thresholds=thresholds)


def fake_quantised(
    model: Any, scheme: QatScheme, chip: CimProfile | None = None, time_s: float = 0.0
) -> Any:
    """A keras.Model with model's layers, names and weights, that rounds as `scheme` says.

    model: a flat Keras model, functional or built Sequential. With activation_bits set, call
    calibrate_activations before training. chip: whose errors, time_s after programming, the layers
    that it holds on arrays have, drawn anew at every call (chip_noise.py). Raises ModelError for a
    model inside the model, or more than one input or output."""
    import_tensorflow(gpu=True)
    import keras

    model = _flat(model)
    rounding = _Rounding(model, scheme, chip, time_s)
    net = keras.models.clone_model(
        model, clone_function=rounding.clone, call_function=rounding.call
    )
    _copy_weights(model, net)
    update_thresholds(net, momentum=0.0)
    return net


class _Rounding:
    """The two functions with which keras.models.clone_model makes a rounding model."""

    def __init__(
        self, model: Any, scheme: QatScheme, chip: CimProfile | None, time_s: float
    ) -> None:
        import keras

        self._scheme, self._chip, self._time_s = scheme, chip, time_s
        convolutions = [x.name for x in model.layers if type(x) is keras.layers.Conv2D]
        dense = [x.name for x in model.layers if type(x) is keras.layers.Dense]
        self._ends = {*convolutions[:1], *dense[-1:]}
        self._first = convolutions[0] if convolutions else None
        self._rounded: dict[int, Any] = {}
        self._ranges: dict[int, tuple[float | None, float | None]] = {}
        self._kept: list[Any] = []  # tensors are known by id, which must stay their own

    def clone(self, layer: Any) -> Any:
        import keras

        from edge_sdk.train import fake_quant_layers as rounded

        kinds: dict[Any, tuple[Any, int]] = {
            keras.layers.Conv2D: (rounded.RoundedConv2D, self._scheme.weight_bits),
            keras.layers.DepthwiseConv2D: (
                rounded.RoundedDepthwiseConv2D,
                self._scheme.depthwise_bits,
            ),
            keras.layers.Dense: (rounded.RoundedDense, self._scheme.dense_bits),
        }
        if self._chip is not None and type(layer) is keras.layers.BatchNormalization:
            return rounded.BatchNormalization.from_config(layer.get_config())
        if type(layer) not in kinds:
            return layer.__class__.from_config(layer.get_config())
        kind, bits = kinds[type(layer)]
        bits = 8 if layer.name in self._ends else bits
        config = {"bits": bits, "thresholds": self._scheme.thresholds}
        made = kind.from_config(layer.get_config() | config)
        depthwise = kind is rounded.RoundedDepthwiseConv2D
        chip = self._chip
        if chip is not None and not (depthwise and chip.layers.depthwise == "digital"):
            made.put_on_chip(NoisyCells(chip, self._time_s, bits))
        return made

    def call(self, layer: Any, *inputs: Any, **options: Any) -> Any:
        from edge_sdk.train.fake_quant_layers import RoundedKernel

        before = inputs[0] if isinstance(inputs[0], (list, tuple)) else inputs[:1]
        ranges = [self._ranges.get(id(x), (None, None)) for x in before]
        rounds = layer.name != self._first and isinstance(layer, RoundedKernel)
        bits = self._scheme.activation_bits
        if rounds and bits is not None:
            inputs = (self._round(f"{layer.name}_input", inputs[0], bits), *inputs[1:])
        y = layer(*inputs, **options)
        self._ranges[id(y)] = _range(layer, ranges)
        self._kept.append(y)
        return y

    def _round(self, name: str, x: Any, bits: int) -> Any:
        """x through its quantiser, which the layers that it feeds share."""
        from edge_sdk.train.fake_quant_layers import RoundedActivation

        if id(x) not in self._rounded:
            low, high = self._ranges.get(id(x), (None, None))
            quantiser = RoundedActivation(bits=bits, signed=low is None, ceiling=high, name=name)
            self._rounded[id(x)] = quantiser(x)
            self._kept.append(x)
        return self._rounded[id(x)]


def _flat(model: Any) -> Any:
    """The model as a functional one of one input and one output, sharing its layers."""
    import keras

    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"model {model.name}: {len(model.inputs)} inputs and {len(model.outputs)} outputs must "
            "be one each"
        )
    model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    nested = [x.name for x in model.layers if isinstance(x, keras.Model)]
    if nested:
        raise ModelError(
            f"model {model.name}: layer '{nested[0]}' is a model itself, which training with "
            "rounding does not take: build it flat, for example with input_tensor="
        )
    return model


def _range(
    layer: Any, inputs: list[tuple[float | None, float | None]]
) -> tuple[float | None, float | None]:
    """(0 or None, highest value or None) of a layer's output, from those of its inputs."""
    kind = type(layer).__name__
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if kind == "ReLU":
        plain = not layer.negative_slope and not layer.threshold
        return (0.0, layer.max_value) if plain else (None, None)
    if activation in ("relu", "relu6"):
        return 0.0, 6.0 if activation == "relu6" else None
    if kind in PASSING:
        return inputs[0]
    if kind == "Add" and all(low is not None for low, _ in inputs):
        return 0.0, None
    return None, None


def _copy_weights(source: Any, target: Any) -> None:
    """Every weight but thresholds, between layers of the same name."""
    for layer in (x for x in source.layers if x.weights):
        if layer.name in {x.name for x in target.layers}:
            pairs = zip(
                _own_weights(layer), _own_weights(target.get_layer(layer.name)), strict=True
            )
            for old, new in pairs:
                new.assign(old)


def _own_weights(layer: Any) -> list[Any]:
    return [w for w in layer.weights if w is not getattr(layer, "threshold", None)]


def _with_kernels(net: Any) -> Iterator[Any]:
    from edge_sdk.train.fake_quant_layers import RoundedKernel

    return (x for x in net.layers if isinstance(x, RoundedKernel))


def _quantisers(net: Any) -> list[Any]:
    from edge_sdk.train.fake_quant_layers import RoundedActivation

    return [x for x in net.layers if isinstance(x, RoundedActivation)]


def update_thresholds(net: Any, momentum: float = MOMENTUM) -> None:
    """Samples the kernels and moves their thresholds: call it every few dozen steps.

    dynamic: towards the threshold of least squared rounding error, of which `momentum` keeps the
    old. lsq: learnt elsewhere; only brought back into its bounds (momentum 0: started at the same
    best threshold). min-max: nothing to do."""
    from edge_sdk.train.fake_quant_layers import SMALLEST_SHARE

    for layer in _with_kernels(net):
        if layer.threshold is None:
            continue
        kernel = layer.kernel.numpy()
        largest = np.abs(kernel).max(axis=layer.axes, keepdims=True)
        largest[largest == 0] = 1.0
        old = layer.threshold.numpy()
        if layer.thresholds == "lsq":
            new = np.exp(old) if momentum else best_clip(kernel, layer.axes, layer.top)
            layer.threshold.assign(np.log(np.clip(new, SMALLEST_SHARE * largest, largest)))
        else:
            best = best_clip(kernel, layer.axes, layer.top)
            layer.threshold.assign(momentum * old + (1 - momentum) * best)


def best_clip(values: Floats, axes: tuple[int, ...], top: int) -> Floats:
    """The value of level `top` with the least squared rounding error over `axes`, kept as 1s.

    Symmetric levels; a channel that is all zero gets 1."""
    largest = np.abs(values).max(axis=axes, keepdims=True)
    largest[largest == 0] = 1.0
    best, best_error = largest.copy(), np.full(largest.shape, np.inf)
    for share in SHARES:
        step = largest * share / top
        error = np.square(np.clip(np.round(values / step), -top, top) * step - values)
        total = error.sum(axis=axes, keepdims=True)
        better = total < best_error
        best[better], best_error[better] = (share * largest)[better], total[better]
    return np.asarray(best, np.float32)


def calibrate_activations(net: Any, batches: Iterable[Any]) -> None:
    """Sets every clip to that of least squared rounding error on real batches.

    batches: float32 (N, H, W, 3), normalised; a few hundred images are enough. While they are
    sampled inputs are not rounded."""
    from edge_sdk.train.fake_quant_layers import Samples

    quantisers = _quantisers(net)
    if not quantisers:
        return
    for layer in quantisers:
        layer.samples = Samples()
    try:
        for batch in batches:
            net(batch, training=False)
        for layer in quantisers:
            clip = best_clip(layer.samples.all(), (0,), layer.top)
            layer.clip.assign(clip[0])
    finally:
        for layer in quantisers:
            layer.samples = None


def activation_clips(net: Any) -> list[Any]:
    """The learnable clips, for a decay of their own: PACT adds lambda * clip^2 to the loss.

    They are in the units of the activations (0.5 to 6), so Adam takes them at the weights' rate or
    up to ten times it. lambda 1e-4 to 1e-3 suits a mean cross entropy."""
    return [layer.clip for layer in _quantisers(net)]


def snapped(net: Any, float_model: Any) -> Any:
    """A plain clone of float_model with net's weights, its kernels on their grids.

    Rounding is in the weights alone: activations are as wide as the clone computes them."""
    import keras

    model = _flat(float_model)
    plain = keras.models.clone_model(model)
    _copy_weights(net, plain)
    for trained in _with_kernels(net):
        levels, step = trained.levels()
        shape = [1 if a in trained.axes else n for a, n in enumerate(levels.shape)]
        plain.get_layer(trained.name).kernel.assign(levels * step.reshape(shape))
    return plain
