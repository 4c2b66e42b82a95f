"""Runs an integer model with NumPy: exactly what layers.py says, as fast as that goes.

Floating point is used only where it is exact: sums below 2^24 in float32, products below 2^53 in
float64. What does not fit is computed in int64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import UsageError
from edge_sdk.integer_model.layers import (
    IMAGE,
    Convolution,
    Dense,
    Depthwise,
    IntegerModel,
    MaxPool,
    Pool,
    Requantise,
    Sum,
)
from edge_sdk.preprocess import Pixels

Levels = npt.NDArray[Any]
# Sums of a layer with weights from its input levels (N, h, w, in) or (N, in): integers in any
# number type, (N, oh, ow, out) or (N, out).
Accumulate = Callable[[Convolution | Dense, Levels], npt.NDArray[Any]]

# Images that go through together: few enough for their maps to stay in the cache.
BATCH = 8


def exact_sums(layer: Convolution | Dense, levels: Levels) -> npt.NDArray[Any]:
    """The layer's sums, exact: what an ideal array of cells computes."""
    if isinstance(layer, Depthwise):
        return _depthwise(layer, levels)
    kernel = layer.weights.reshape(-1, layer.weights.shape[-1])
    number = np.float32 if largest_sum(layer, levels.dtype) < 2**24 else np.float64
    if isinstance(layer, Dense):
        return np.asarray(levels.astype(number) @ kernel.astype(number))
    columns = windows(layer, levels)
    sums = columns.reshape(-1, len(kernel)).astype(number) @ kernel.astype(number)
    return np.asarray(sums.reshape(*columns.shape[:3], -1))


def run(model: IntegerModel, pixels: Pixels, accumulate: Accumulate = exact_sums) -> Levels:
    """float32 probabilities (N, classes) of uint8 RGB pixels (N, H, W, 3).

    accumulate: computes the sums; another than exact_sums is an emulator of other arithmetic.
    Raises UsageError for pixels of another shape or type."""
    scores = [maps[model.layers[-1].name] for maps in _batches(model, pixels, accumulate)]
    return _probabilities(np.concatenate(scores), model.activation)


def tensors(
    model: IntegerModel, pixels: Pixels, accumulate: Accumulate = exact_sums
) -> dict[str, Levels]:
    """The levels of every tensor, by the name of its layer, and the float64 scores of the last."""
    batches = list(_batches(model, pixels, accumulate))
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def _batches(
    model: IntegerModel, pixels: Pixels, accumulate: Accumulate
) -> Iterator[dict[str, Levels]]:
    size = (model.preprocess.height, model.preprocess.width, 3)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != size or not len(pixels):
        raise UsageError(
            f"pixels: dtype {pixels.dtype} and shape {pixels.shape} must be uint8 (N, {size[0]}, "
            f"{size[1]}, 3) with N above 0"
        )
    for start in range(0, len(pixels), BATCH):
        maps: dict[str, Levels] = {IMAGE: pixels[start : start + BATCH]}
        for layer in model.layers:
            x = maps[layer.input]
            if isinstance(layer, Convolution):
                x = x[:, None, None] if x.ndim == 2 else x
                maps[layer.name] = rescaled(layer, accumulate(layer, x), x.shape[1:3])
            elif isinstance(layer, Dense):
                maps[layer.name] = (
                    accumulate(layer, x.reshape(len(x), -1)).astype(np.float64) * layer.scale
                    + layer.bias
                )
            else:
                maps[layer.name] = _without_weights(layer, x, maps)
        yield maps


def _without_weights(
    layer: Sum | MaxPool | Pool | Requantise, x: Levels, maps: dict[str, Levels]
) -> Levels:
    if isinstance(layer, MaxPool):
        return largest(layer, x)
    if isinstance(layer, Sum):
        total = x.astype(np.int32) + maps[layer.other]
        return np.clip(total, layer.low, layer.high).astype(layer.output.dtype)
    v = x.sum(axis=(1, 2), dtype=np.int64) if isinstance(layer, Pool) else x.astype(np.int64)
    grid = layer.output
    return requantised(v, layer.mantissa, layer.shift, grid.low, grid.high).astype(grid.dtype)


def largest(layer: MaxPool, levels: Levels) -> Levels:
    """Max pooling of levels (N, h, w, channels)."""
    h, w = (
        (n - window) // stride + 1
        for n, window, stride in zip(levels.shape[1:3], layer.window, layer.stride, strict=True)
    )
    (wy, wx), (sy, sx) = layer.window, layer.stride
    out = levels[:, : sy * h : sy, : sx * w : sx].copy()
    for y, x in np.ndindex(wy, wx):
        seen = levels[:, y : y + sy * (h - 1) + 1 : sy, x : x + sx * (w - 1) + 1 : sx]
        np.maximum(out, seen, out=out)
    return out


def requantised(v: Levels, mantissa: Any, shift: Any, low: int, high: int) -> Levels:
    """The definition: clamp((v * mantissa + 2^(shift - 1)) >> shift, low, high) in int64."""
    m, s = np.asarray(mantissa, np.int64), np.asarray(shift, np.int64)
    return np.asarray(np.clip((v * m + (np.int64(1) << (s - 1))) >> s, low, high))


def rescaled(layer: Convolution, sums: npt.NDArray[Any], size: tuple[int, ...]) -> Levels:
    """Output levels from sums (N, oh, ow, out); size: (h, w) of the layer's input map."""
    added = layer.bias + border(layer, size)  # int64 (1 or oh, 1 or ow, out)
    largest = max(int(sums.max()), -int(sums.min()))
    limit = largest * 2**layer.fraction + int(np.abs(added).max())
    product = limit * int(layer.mantissa.max()) + 2 ** (int(layer.shift.max()) - 1)
    if sums.dtype == np.int64 or product >= 2**53:
        v = sums.astype(np.int64) * 2**layer.fraction + added
        return _typed(requantised(v, layer.mantissa, layer.shift, layer.low, layer.high), layer)
    factor = np.ldexp(layer.mantissa.astype(np.float64), -layer.shift)
    real = np.multiply(sums, factor * 2.0**layer.fraction, dtype=np.float64)
    real += added * factor + 0.5
    if layer.low < 0:  # from 0 up, the conversion to integers rounds down by itself
        np.floor(real, out=real)
    return _typed(np.clip(real, layer.low, layer.high, out=real), layer)


def _typed(levels: npt.NDArray[Any], layer: Convolution) -> Levels:
    return np.asarray(levels, layer.output.dtype)


def border(layer: Convolution, size: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The sum of weight * offset over the part of each window that is inside the map.

    int64 (oh, ow, out) in 2^-fraction; (1, 1, 1) without an offset."""
    if not layer.offset.any():
        return np.zeros((1, 1, 1), np.int64)
    constant = np.broadcast_to(layer.offset.astype(np.float64), (1, *size, len(layer.offset)))
    if isinstance(layer, Depthwise):
        return np.asarray(_shifted_sums(layer, constant, np.float64)[0].astype(np.int64))
    columns = windows(layer, constant)
    flat = layer.weights.reshape(-1, layer.channels[1]).astype(np.float64)
    sums = columns.reshape(-1, len(flat)) @ flat
    return np.asarray(sums.reshape(*columns.shape[1:3], -1).astype(np.int64))


def windows(layer: Convolution, levels: Levels) -> Levels:
    """What each output position of a convolution sees: (N, oh, ow, kh * kw * in), levels' dtype."""
    kh, kw = layer.weights.shape[:2]
    x = _padded(layer, levels)
    if (kh, kw) == (1, 1):
        return x[:, :: layer.stride[0], :: layer.stride[1]]
    seen = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))
    seen = seen[:, :: layer.stride[0], :: layer.stride[1]].transpose(0, 1, 2, 4, 5, 3)
    return np.asarray(seen.reshape(*seen.shape[:3], -1))


def largest_sum(layer: Convolution | Dense, levels: np.dtype[Any]) -> int:
    """An upper bound of |sum| for any input of that type."""
    absolute = np.abs(layer.weights.astype(np.int64))
    axes = (0, 1) if isinstance(layer, Depthwise) else tuple(range(absolute.ndim - 1))
    return int(absolute.sum(axis=axes).max()) * max(-int(np.iinfo(levels).min), 255)


def _depthwise(layer: Depthwise, levels: Levels) -> npt.NDArray[Any]:
    number = np.int16 if largest_sum(layer, levels.dtype) < 2**15 else np.int32
    return _shifted_sums(layer, levels, number)


def _shifted_sums(layer: Depthwise, levels: Levels, number: Any) -> npt.NDArray[Any]:
    x = _padded(layer, levels).astype(number, copy=False)
    kh, kw, channels = layer.weights.shape
    (sy, sx), kernel = layer.stride, layer.weights.astype(number)
    oh, ow = (x.shape[1] - kh) // sy + 1, (x.shape[2] - kw) // sx + 1
    sums = np.zeros((len(x), oh, ow, channels), number)
    product = np.empty_like(sums)
    for y in range(kh):
        for z in range(kw):
            part = x[:, y : y + sy * (oh - 1) + 1 : sy, z : z + sx * (ow - 1) + 1 : sx]
            sums += np.multiply(part, kernel[y, z], out=product)
    return sums


def _padded(layer: Convolution, levels: Levels) -> Levels:
    top, bottom, left, right = layer.padding
    if not any(layer.padding):
        return levels
    n, h, w, c = levels.shape
    padded = np.zeros((n, top + h + bottom, left + w + right, c), levels.dtype)
    padded[:, top : top + h, left : left + w] = levels
    return padded


def _probabilities(scores: Levels, activation: str) -> npt.NDArray[np.float32]:
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-scores)), np.float32)
    if activation == "softmax":
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
    return scores.astype(np.float32)
