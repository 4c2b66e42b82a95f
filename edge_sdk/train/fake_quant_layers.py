"""Keras layers whose kernels and inputs are rounded in the forward pass; gradients go straight
through. Imports Keras: import it inside functions only.

Kernels: symmetric per output channel, levels -top to top, top = 2^(bits-1) - 1. How the threshold
(the value of level top) of a kernel narrower than 8 bits is found:

min-max  max |w| of the channel, at every step.
lsq      learnt as a logarithm, with the gradient of Esser et al., "Learned Step Size
         Quantization", ICLR 2020; the logarithm makes a step of Adam a relative change.
dynamic  a variable that fake_quant.update_thresholds moves after the sampled weights.

None exceeds max |w|: the largest weight sits on the outermost level, so min-max quantisation of
the rounded kernel gives the same grid back.

Of a kernel on a compute-in-memory chip (`put_on_chip`) the sums have the errors of its cells, drawn
anew at every call, in training or not.

Activations: PACT (Choi et al., 2018) where nothing is below zero, levels 0 to 2^bits - 1; else
symmetric as kernels are, with a clip learnt as LSQ learns it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from edge_sdk.backends.cim.cells import Draws
from edge_sdk.train.chip_noise import CHIP_ERRORS, NoisyCells

Floats = npt.NDArray[np.float32]

# The smallest threshold as a share of max |w|, and the smallest clip of an activation.
SMALLEST_SHARE = 1 / 16
SMALLEST_CLIP = 1e-3
SAMPLED_PER_BATCH = 20_000


class RoundedKernel:
    """What the three layers share; `axes` are those that one output channel spans."""

    name: str
    axes: tuple[int, ...] = ()
    per_input = False  # whether each input channel has outputs of its own

    def set_up(self: Any, bits: int, thresholds: str) -> None:
        self.bits = bits
        self.thresholds = thresholds if bits < 8 else "min-max"
        self.threshold = None
        self.cells: NoisyCells | None = None

    def put_on_chip(self: Any, cells: NoisyCells) -> None:
        """Call it before the layer is."""
        self.cells = cells
        seed = zlib.crc32(self.name.encode())
        self.seed_generator = keras.random.SeedGenerator(seed, name=CHIP_ERRORS)

    def build(self: Any, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        if self.thresholds != "min-max":
            shape = [1 if a in self.axes else n for a, n in enumerate(self.kernel.shape)]
            self.threshold = self.add_weight(
                shape=shape,
                initializer="ones" if self.thresholds == "dynamic" else "zeros",
                trainable=self.thresholds == "lsq",
                name="threshold",
            )

    @property
    def top(self: Any) -> int:
        return int(2 ** (self.bits - 1) - 1)

    def step(self: Any, kernel: Any) -> Any:
        """The real size of one level, per channel, in kernel's rank."""
        largest = ops.stop_gradient(ops.max(ops.abs(kernel), axis=self.axes, keepdims=True))
        largest = ops.where(largest == 0, ops.ones_like(largest), largest)
        if self.threshold is None:
            return largest / self.top
        threshold = ops.cast(self.threshold, kernel.dtype)
        if self.thresholds == "dynamic":
            return ops.clip(threshold, SMALLEST_SHARE * largest, largest) / self.top
        threshold = ops.exp(threshold)
        per_channel = np.prod([kernel.shape[a] for a in self.axes])
        scaled = _scale_gradient(threshold, float(1 / np.sqrt(per_channel * self.top)))
        bounded = ops.clip(threshold, SMALLEST_SHARE * largest, largest)
        return (scaled + ops.stop_gradient(bounded - scaled)) / self.top

    def rounded(self: Any, kernel: Any) -> Any:
        """The kernel on its grid."""
        step = self.step(kernel)
        if self.thresholds == "lsq":
            return _round_through(ops.clip(kernel / step, -self.top, self.top)) * step
        grid = ops.clip(ops.round(kernel / step), -self.top, self.top) * step
        return kernel + ops.stop_gradient(grid - kernel)

    def sums(self: Any, product: Callable[[Any, Any], Any], inputs: Any, kernel: Any) -> Any:
        """product(inputs, rounded kernel), as the chip gives it where the kernel is on one."""
        rounded = self.rounded(kernel)
        if self.cells is None:
            return product(inputs, rounded)
        step = ops.stop_gradient(self.step(kernel))
        places = ops.cast(ops.round(rounded / step), "int32") + self.cells.top
        now, variance = self.cells.now(places, lambda: self._draws(kernel.shape), ops)
        sums = product(inputs, rounded + ops.stop_gradient(now * step - rounded))
        if isinstance(variance, float) and not variance:
            return sums
        deviation = ops.sqrt(self._read_variance(product, inputs, variance, kernel))
        # Even over +-sqrt(3), of variance 1: half the time of normal numbers, and sums of later
        # layers are normal all the same.
        width = float(np.sqrt(3.0))
        noise = keras.random.uniform(ops.shape(sums), -width, width, seed=self.seed_generator)
        return sums + ops.stop_gradient(noise * deviation * ops.reshape(step, (-1,)))

    def _draws(self: Any, shape: tuple[int, ...]) -> Draws:
        errors, seed = self.cells.profile.errors, self.seed_generator
        return Draws(
            programming=keras.random.normal(shape, seed=seed),
            drift=keras.random.normal(shape, seed=seed) if errors.drift.nu_sigma else 0.0,
            stuck=(
                keras.random.uniform(shape, seed=seed)
                if errors.stuck_on or errors.stuck_off
                else 0.5
            ),
        )

    def _read_variance(
        self: Any, product: Callable[[Any, Any], Any], inputs: Any, variance: Any, kernel: Any
    ) -> Any:
        """Of the sums: the sum of input^2 * variance. One channel stands for all where they
        have the same."""
        if isinstance(variance, float):
            channels = kernel.shape if self.per_input else (*kernel.shape[:-1], 1)
            variance = ops.full(channels, variance, dtype=kernel.dtype)
        return product(ops.square(ops.stop_gradient(inputs)), variance)

    def levels(self: Any) -> tuple[npt.NDArray[np.int8], Floats]:
        """The kernel as int8 levels, and the real size of one, (output channels,)."""
        kernel = ops.convert_to_tensor(self.kernel)
        step = self.step(kernel)
        levels = ops.clip(ops.round(kernel / step), -self.top, self.top)
        return (
            ops.convert_to_numpy(levels).astype(np.int8),
            ops.convert_to_numpy(step).reshape(-1).astype(np.float32),
        )


class RoundedConv2D(RoundedKernel, keras.layers.Conv2D):  # type: ignore[misc]
    axes = (0, 1, 2)

    def __init__(self, *, bits: int, thresholds: str, **config: Any) -> None:
        super().__init__(**config)
        self.set_up(bits, thresholds)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return self.sums(super().convolution_op, inputs, kernel)


class RoundedDepthwiseConv2D(RoundedKernel, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    axes = (0, 1)
    per_input = True

    def __init__(self, *, bits: int, thresholds: str, **config: Any) -> None:
        super().__init__(**config)
        self.set_up(bits, thresholds)

    def call(self, inputs: Any) -> Any:
        x = self.sums(self._product, inputs, ops.convert_to_tensor(self.kernel))
        return self.activation(x if self.bias is None else x + self.bias)

    def _product(self, inputs: Any, kernel: Any) -> Any:
        return ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


class RoundedDense(RoundedKernel, keras.layers.Dense):  # type: ignore[misc]
    axes = (0,)

    def __init__(self, *, bits: int, thresholds: str, **config: Any) -> None:
        super().__init__(**config)
        self.set_up(bits, thresholds)

    def call(self, inputs: Any, training: Any = None) -> Any:  # noqa: ARG002 (Keras's signature)
        x = self.sums(ops.matmul, inputs, ops.convert_to_tensor(self.kernel))
        return self.activation(x if self.bias is None else x + self.bias)


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Normalises by its moving statistics in training too, and moves them. A chip has constants in
    its place: statistics of the batch would take out the very shift that a chip's errors cause."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        normalised = super().call(inputs, training=False, mask=mask)
        if training:
            axes = [a for a in range(len(inputs.shape)) if a != len(inputs.shape) + self.axis]
            found = ops.moments(ops.stop_gradient(inputs), axes=axes)
            for moving, new in zip((self.moving_mean, self.moving_variance), found, strict=True):
                moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return normalised


class Samples:
    """Values that came by while a quantiser only watched, float32."""

    def __init__(self) -> None:
        self._drawn: list[Floats] = []
        self._rng = np.random.default_rng(0)

    def add(self, values: Any) -> None:
        flat = ops.convert_to_numpy(values).reshape(-1)
        drawn = flat[self._rng.integers(0, flat.size, min(flat.size, SAMPLED_PER_BATCH))]
        self._drawn.append(np.append(drawn, [flat.min(), flat.max()]).astype(np.float32))

    def all(self) -> Floats:
        return np.concatenate(self._drawn)


class RoundedActivation(keras.layers.Layer):  # type: ignore[misc]
    """Clips and rounds to `bits` bits. ceiling: what the layer before never exceeds, or None."""

    def __init__(self, *, bits: int, signed: bool, ceiling: float | None, **config: Any) -> None:
        super().__init__(**config)
        self.bits = bits
        self.signed = signed
        self.ceiling = ceiling
        self.samples: Samples | None = None

    def build(self, input_shape: Any) -> None:
        self.per_image = float(np.prod([n or 1 for n in input_shape[1:]]))
        self.clip = self.add_weight(shape=(), initializer="ones", name="clip")

    @property
    def top(self) -> int:
        return int(2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1)

    def bounded_clip(self) -> Any:
        """The clip that is in force: above zero and at most the ceiling."""
        highest = np.inf if self.ceiling is None else self.ceiling
        return ops.clip(ops.convert_to_tensor(self.clip), SMALLEST_CLIP, highest)

    def call(self, inputs: Any) -> Any:
        if self.samples is not None:
            self.samples.add(inputs)
            return inputs
        clip = ops.convert_to_tensor(self.clip)
        if self.signed:
            clip = _scale_gradient(clip, float(1 / np.sqrt(self.per_image * self.top)))
        clip = clip + ops.stop_gradient(self.bounded_clip() - clip)
        clip = ops.cast(clip, inputs.dtype)
        if self.signed:
            step = clip / self.top
            return _round_through(ops.clip(inputs / step, -self.top, self.top)) * step
        clipped = ops.minimum(ops.maximum(inputs, 0.0), clip)
        step = ops.stop_gradient(clip) / self.top
        return clipped + ops.stop_gradient(ops.round(clipped / step) * step - clipped)


def _round_through(x: Any) -> Any:
    return x + ops.stop_gradient(ops.round(x) - x)


def _scale_gradient(x: Any, factor: float) -> Any:
    return x * factor + ops.stop_gradient(x - x * factor)
