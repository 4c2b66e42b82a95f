"""The layers of an integer-only network and what they compute, exactly.

A tensor holds levels on a Grid: real = scale * level. A layer with weights sums weight * level
over its window, padding being level 0, and rescales the sum per output channel with integers only:

    v     = sum * 2^fraction + border + bias
    level = clamp((v * mantissa + 2^(shift - 1)) >> shift, low, high)

`>>` rounds down, so halves go up. `fraction` is per layer, because one unit of a depthwise sum is
a tenth of an output level. `border` is 0 but where `offset` is set: level q of input channel i then
stands for scale * (q + offset[i] / 2^fraction) and padding for a real 0, so border sums weight *
offset over the part of the window that is inside the map. A pooling or requantising layer rescales
v = sum or v = level in the same way. A dense layer before the last is a convolution whose kernel
covers the map; features without a place, (channels,), are a map of 1x1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_sdk.artifact import Activation
from edge_sdk.errors import ArtifactError
from edge_sdk.preprocess import Preprocess

Ints = npt.NDArray[np.int32]
Weights = npt.NDArray[np.int8]
Shape = tuple[int, ...]

# Of what is added or pooled: 16 are too few for a deep 4-bit network, where a level that is rounded
# the other way moves a third of the levels twelve blocks later.
WIDE_BITS = 24
MANTISSA_BITS = 24
LARGEST_SHIFT = 52
LARGEST_FRACTION = 16
IMAGE = "image"


@dataclass(frozen=True)
class Grid:
    """Levels of one tensor. Signed ones are symmetric: -7 to 7 at 4 bits."""

    bits: int
    signed: bool
    scale: float

    def __post_init__(self) -> None:
        if not (2 <= self.bits <= 8 or (self.bits == WIDE_BITS and self.signed)):
            raise ArtifactError(f"bits {self.bits} must be 2 to 8, or {WIDE_BITS} and signed")
        if not self.scale > 0:
            raise ArtifactError(f"scale {self.scale} must be above 0")

    @property
    def high(self) -> int:
        return int(2 ** (self.bits - self.signed) - 1)

    @property
    def low(self) -> int:
        return -self.high if self.signed else 0

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype("int32" if self.bits > 8 else "int8" if self.signed else "uint8")


IMAGE_GRID = Grid(8, False, 1.0)


@dataclass(frozen=True, eq=False)
class Convolution:
    """weights: int8 (kh, kw, in, out). bias, mantissa, shift: int32 (out,). offset: int32 (in,).
    bias and offset count 2^-fraction.

    stride: (y, x). padding: (top, bottom, left, right). low, high: the output's clamp, which also
    is its ReLU."""

    name: str
    input: str
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    weight_bits: int
    output: Grid
    low: int
    high: int
    fraction: int
    weights: Weights
    bias: Ints
    mantissa: Ints
    shift: Ints
    offset: Ints

    @property
    def channels(self) -> tuple[int, int]:
        """(in, out)."""
        return self.weights.shape[-2], self.weights.shape[-1]

    def output_shape(self, shapes: dict[str, Shape]) -> Shape:
        """(h, w, out) from the shapes of all tensors before; checks the layer against them."""
        shape = shapes[self.input]
        if len(shape) == 1:
            shape = (1, 1, *shape)
        top, bottom, left, right = self.padding
        rank = 3 if isinstance(self, Depthwise) else 4
        _expect(self.weights.ndim == rank, self.name, f"weights must have {rank} dimensions")
        kh, kw = self.weights.shape[:2]
        _expect(len(shape) == 3, self.name, f"input shape {shape} must have 3 dimensions")
        _expect(self.channels[0] == shape[2], self.name, f"weights do not fit {shape[2]} channels")
        _expect(min(self.stride) > 0 and min(self.padding) >= 0, self.name, "stride or padding")
        _check_weights(self.name, self.weights, self.weight_bits)
        _check_clamp(self.name, self.output, self.low, self.high)
        for field in ("bias", "mantissa", "shift"):
            values = getattr(self, field)
            _expect(
                values.dtype == np.int32 and values.shape == (self.channels[1],),
                self.name,
                f"{field} must be int32 ({self.channels[1]},)",
            )
        _expect(self.offset.shape == (shape[2],), self.name, f"offset must be int32 ({shape[2]},)")
        _check_rescaling(self.name, self.mantissa, self.shift)
        fits = 0 <= self.fraction <= LARGEST_FRACTION
        _expect(fits, self.name, f"fraction must be between 0 and {LARGEST_FRACTION}")
        h = (shape[0] + top + bottom - kh) // self.stride[0] + 1
        w = (shape[1] + left + right - kw) // self.stride[1] + 1
        _expect(h > 0 and w > 0, self.name, f"the kernel is larger than the map {shape}")
        return h, w, self.channels[1]


@dataclass(frozen=True, eq=False)
class Depthwise(Convolution):
    """weights: int8 (kh, kw, channels); the rest as in Convolution."""

    @property
    def channels(self) -> tuple[int, int]:
        return self.weights.shape[-1], self.weights.shape[-1]


@dataclass(frozen=True)
class Sum:
    """The sum of two tensors on one wide grid, saturated and clamped."""

    name: str
    input: str
    other: str
    output: Grid
    low: int
    high: int

    def output_shape(self, shapes: dict[str, Shape]) -> Shape:
        shape = shapes[self.input]
        _expect(shape == shapes[self.other], self.name, f"{shape} plus {shapes[self.other]}")
        _check_clamp(self.name, self.output, self.low, self.high)
        return shape


@dataclass(frozen=True)
class MaxPool:
    """The largest level of each window, without padding. window, stride: (y, x).

    output: the grid of what it reads, which a maximum keeps."""

    name: str
    input: str
    window: tuple[int, int]
    stride: tuple[int, int]
    output: Grid

    def output_shape(self, shapes: dict[str, Shape]) -> Shape:
        shape = shapes[self.input]
        _expect(len(shape) == 3, self.name, f"input shape {shape} must have 3 dimensions")
        _expect(min(*self.window, *self.stride) > 0, self.name, "window and stride must be above 0")
        h, w = (
            (n - window) // stride + 1
            for n, window, stride in zip(shape, self.window, self.stride, strict=False)
        )
        _expect(h > 0 and w > 0, self.name, f"the window is larger than the map {shape}")
        return h, w, shape[2]


@dataclass(frozen=True)
class Pool:
    """Global average pooling: v is the sum over the map; the mantissa holds 1 / (h * w)."""

    name: str
    input: str
    output: Grid
    mantissa: int
    shift: int

    def output_shape(self, shapes: dict[str, Shape]) -> Shape:
        shape = shapes[self.input]
        _expect(len(shape) == 3, self.name, f"input shape {shape} must have 3 dimensions")
        _check_rescaling(self.name, np.array([self.mantissa]), np.array([self.shift]))
        return (shape[2],)


@dataclass(frozen=True)
class Requantise:
    """A wide tensor on the grid that the layers which read it take."""

    name: str
    input: str
    output: Grid
    mantissa: int
    shift: int

    def output_shape(self, shapes: dict[str, Shape]) -> Shape:
        _check_rescaling(self.name, np.array([self.mantissa]), np.array([self.shift]))
        return shapes[self.input]


@dataclass(frozen=True, eq=False)
class Dense:
    """The last layer, whose sums become float scores: score = scale * sum + bias.

    weights: int8 (in, out), in being all of the input, a map row by row. scale, bias: float32
    (out,)."""

    name: str
    input: str
    weight_bits: int
    weights: Weights
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def output_shape(self, shapes: dict[str, Shape]) -> Shape:
        shape = shapes[self.input]
        inputs = (math.prod(shape),)
        _expect(self.weights.shape[:1] == inputs, self.name, f"weights do not fit {shape}")
        _check_weights(self.name, self.weights, self.weight_bits)
        out = self.weights.shape[1:]
        _expect(len(out) == 1, self.name, "weights must have 2 dimensions")
        fits = self.scale.shape == out and self.bias.shape == out
        _expect(fits, self.name, f"scale and bias must be float32 {out}")
        finite = np.isfinite(self.scale).all() and np.isfinite(self.bias).all()
        _expect(bool(finite), self.name, "scale and bias must be finite")
        return out


Layer = Convolution | Depthwise | Sum | MaxPool | Pool | Requantise | Dense


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """layers in the order in which they run; each names the layers that it reads, the first
    IMAGE: uint8 pixels, RGB, at preprocess's size (its mean and std are in the first layer).
    activation: what makes probabilities of the scores. labels: empty, or one per class."""

    preprocess: Preprocess
    labels: tuple[str, ...]
    activation: Activation
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        shapes = self.shapes()
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise ArtifactError("the last layer must be a Dense one")
        classes = shapes[self.layers[-1].name][0]
        if self.labels and len(self.labels) != classes:
            raise ArtifactError(f"labels: {len(self.labels)} names for {classes} classes")

    def shapes(self) -> dict[str, Shape]:
        """The shape of every tensor without the batch, by the name of its layer.

        Raises ArtifactError where a layer does not fit those before it."""
        shapes: dict[str, Shape] = {IMAGE: (self.preprocess.height, self.preprocess.width, 3)}
        grids = self.grids()
        for layer in self.layers:
            for source in sources(layer):
                if source not in shapes or source not in grids:
                    raise ArtifactError(f"layer '{layer.name}': no layer '{source}' before it")
            if layer.name in shapes:
                raise ArtifactError(f"layer '{layer.name}' is there twice")
            if isinstance(layer, Sum) and {grids[s] for s in sources(layer)} != {layer.output}:
                raise ArtifactError(f"layer '{layer.name}': its tensors must share one grid")
            if isinstance(layer, MaxPool) and grids[layer.input] != layer.output:
                raise ArtifactError(f"layer '{layer.name}': its grid must be that of its input")
            shapes[layer.name] = layer.output_shape(shapes)
        return shapes

    def grids(self) -> dict[str, Grid]:
        """The grid of every tensor but the scores, by the name of its layer."""
        own = {x.name: x.output for x in self.layers if not isinstance(x, Dense)}
        return {IMAGE: IMAGE_GRID} | own


def sources(layer: Layer) -> tuple[str, ...]:
    return (layer.input, layer.other) if isinstance(layer, Sum) else (layer.input,)


def rescaling(factors: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """mantissa and shift, both int32, with mantissa / 2^shift the nearest to each factor.

    The mantissa has MANTISSA_BITS bits, fewer below 2^-28. Raises ValueError for a factor that is
    not above 0, or too large for a shift of at least 1."""
    shift = MANTISSA_BITS - np.frexp(factors)[1]
    if not (factors > 0).all() or (shift < 1).any() or not np.isfinite(factors).all():
        raise ValueError(f"factors {factors} must be above 0 and below 2^{MANTISSA_BITS - 1}")
    shift = np.minimum(shift, LARGEST_SHIFT)
    mantissa = np.round(np.ldexp(factors, shift))
    return mantissa.astype(np.int32), shift.astype(np.int32)


def _expect(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise ArtifactError(f"layer '{name}': {problem}")


def _check_weights(name: str, weights: Weights, bits: int) -> None:
    _expect(weights.dtype == np.int8 and 2 <= bits <= 8, name, "weights must be int8, 2 to 8 bits")
    top = 2 ** (bits - 1) - 1
    fits = weights.size > 0 and int(np.abs(weights.astype(np.int16)).max()) <= top
    _expect(fits, name, f"weights must be between -{top} and {top}")


def _check_clamp(name: str, grid: Grid, low: int, high: int) -> None:
    fits = grid.low <= low <= high <= grid.high
    _expect(fits, name, f"clamp {low} to {high} must be within {grid.low} to {grid.high}")


def _check_rescaling(name: str, mantissa: Ints, shift: Ints) -> None:
    fits = (mantissa >= 0).all() and (mantissa <= 2**MANTISSA_BITS).all()
    _expect(bool(fits), name, f"mantissa must be between 0 and 2^{MANTISSA_BITS}")
    fits = (shift >= 1).all() and (shift <= LARGEST_SHIFT).all()
    _expect(bool(fits), name, f"shift must be between 1 and {LARGEST_SHIFT}")
