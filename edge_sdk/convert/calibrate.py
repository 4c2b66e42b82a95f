"""Runs the float .tflite on the calibration images and keeps what quantisation needs to know.

For every activation tensor its extremes and a sample of its values, from which the clipping range
is chosen; for the input of every layer with weights its mean per channel, from which the bias is
corrected (see bias_correction.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import BackendError, ModelError
from edge_sdk.quiet import quiet
from edge_sdk.tflite_file import Graph

Floats = npt.NDArray[np.float32]
SAMPLED_PER_IMAGE = 500
# Fractions of the extremes that are tried as clipping range.
CLIPS = np.linspace(0.3, 1.0, 29)


@dataclass(frozen=True)
class Activation:
    """One tensor over all calibration images. sample: float32 (M,), drawn evenly."""

    low: float
    high: float
    sample: Floats


@dataclass(frozen=True)
class Statistics:
    """activations: by tensor index. channel_means: float64 (channels,), by the tensor index of
    the input of a layer with weights."""

    activations: dict[int, Activation]
    channel_means: dict[int, npt.NDArray[np.float64]]


def collect(model: Path, graph: Graph, samples: Iterator[Floats]) -> Statistics:
    """Statistics of a float .tflite over samples, each (1, H, W, 3), normalised.

    Raises BackendError when LiteRT is not installed: only it keeps every tensor readable;
    ModelError for values that are not finite, which no integer can stand for."""
    interpreter = open_readable(model.read_bytes())
    active = [t.index for t in graph.tensors if t.data is None and t.dtype == "float32"]
    fed = {op.inputs[0] for op, _ in graph.weights()}
    extremes: dict[int, list[tuple[float, float]]] = {i: [] for i in active}
    drawn: dict[int, list[Floats]] = {i: [] for i in active}
    sums: dict[int, npt.NDArray[np.float64]] = {}
    rng = np.random.default_rng(0)
    count = 0
    for sample in samples:
        interpreter.set_tensor(graph.inputs[0], sample)
        interpreter.invoke()
        count += 1
        for index in active:
            value = interpreter.get_tensor(index)
            flat = value.reshape(-1)
            extremes[index].append((float(flat.min()), float(flat.max())))
            drawn[index].append(flat[rng.integers(0, flat.size, SAMPLED_PER_IMAGE)])
            if index in fed:
                mean = value.reshape(-1, value.shape[-1]).mean(axis=0, dtype=np.float64)
                sums[index] = sums.get(index, 0.0) + mean
    for index, ends in extremes.items():
        if not np.isfinite(ends).all():
            raise ModelError(
                f"the float model computes values that are not finite numbers ('"
                f"{graph.tensors[index].name}'), and integers cannot stand for those: check its "
                "weights and the normalisation, or convert to float32 to see its answers judged"
            )
    return Statistics(
        {
            i: Activation(
                min(low for low, _ in extremes[i]),
                max(high for _, high in extremes[i]),
                np.concatenate(drawn[i]),
            )
            for i in active
        },
        {i: total / count for i, total in sums.items()},
    )


def open_readable(model: bytes) -> Any:
    """A LiteRT interpreter of a float model whose every tensor can be read after a run.

    Raises BackendError when LiteRT is not installed: only it keeps them."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as e:
        raise BackendError(
            "ai-edge-litert is not installed: pip install 'edge-sdk[convert]'"
        ) from e
    with quiet("opening the float model for calibration"):
        interpreter = Interpreter(
            model_content=model,
            num_threads=os.cpu_count() or 1,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def clipping_range(activation: Activation, bits: int) -> tuple[float, float]:
    """The range, a fraction of the extremes, whose `bits`-bit grid has the least squared error.

    A few outliers otherwise stretch the grid for all: MobileNet V2's linear bottlenecks are the
    known case. 16 bits have steps to spare and keep the extremes."""
    low, high = min(activation.low, 0.0), max(activation.high, 0.0)
    if bits > 8 or low == high:
        return low, high
    levels = 2**bits - 1
    best, best_error = (low, high), np.inf
    for clip in CLIPS:
        scale = (high - low) * clip / levels
        zero = round(-low * clip / scale)
        grid = np.clip(np.round(activation.sample / scale) + zero, 0, levels)
        error = float(np.square((grid - zero) * scale - activation.sample).mean())
        if error < best_error:
            best, best_error = (low * clip, high * clip), error
    return best
