"""What every backend is: one model, opened, that turns one input tensor into one output tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import ModelError
from edge_sdk.preprocess import Quantisation
from edge_sdk.tflite_file import Graph, read_tflite
from edge_sdk.tflite_file import Tensor as FileTensor

# A classifier takes and gives these types; the format's other types have no kernels for it.
DTYPES = ("float32", "int8", "uint8", "int16")


@dataclass(frozen=True)
class TensorSpec:
    """One end of a model. shape: with the batch of 1; dtype: a NumPy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantisation: Quantisation | None


class Backend(Protocol):
    """An opened model. Not thread-safe: one instance, one thread at a time.

    name, version: of the interpreter that really runs, for reports.
    note: what `auto` passed over and why; empty otherwise."""

    name: str
    version: str
    note: str
    input: TensorSpec
    output: TensorSpec

    def invoke(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """x: one batch of 1 in the input's shape and dtype. Returns the output tensor, a copy.

        Raises BackendError when shape or dtype differ or the interpreter fails."""

    def close(self) -> None: ...


def classifier_specs(path: Path) -> tuple[Graph, TensorSpec, TensorSpec]:
    """The graph and both ends of a file that is an image classifier.

    Raises ModelError, saying what is wrong, for a file with several inputs or outputs, a free
    dimension, an input that is no RGB image or an output that is no row of scores."""
    graph = read_tflite(path)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(
            f"{path} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; an image "
            "classifier has one of each"
        )
    source, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    for end in (source, result):
        if any(d < 1 for d in end.shape):
            raise ModelError(
                f"{path}: tensor '{end.name}' has the free shape {list(end.shape)}; convert the "
                "model with a fixed input shape (batch 1)"
            )
    if len(source.shape) != 4 or source.shape[0] != 1 or source.shape[3] != 3:
        raise ModelError(
            f"{path} is no image classifier: its input shape is {list(source.shape)}, "
            "not [1, height, width, 3]"
        )
    for what, end in (("input", source), ("output", result)):
        if end.dtype not in DTYPES:
            raise ModelError(f"{path}: {what} type {end.dtype} is not one of {', '.join(DTYPES)}")
    if result.elements < 2 or result.elements != result.shape[-1]:
        raise ModelError(
            f"{path} is no image classifier: its output shape is {list(result.shape)}, "
            "not [1, classes] with at least two classes"
        )
    return graph, _spec(path, source), _spec(path, result)


def _spec(path: Path, t: FileTensor) -> TensorSpec:
    if np.dtype(t.dtype).kind == "f":
        return TensorSpec(t.name, t.shape, t.dtype, None)
    if len(t.scales) != 1 or not (np.isfinite(t.scales[0]) and t.scales[0] > 0):
        raise ModelError(f"{path}: tensor '{t.name}' is {t.dtype} without a scale")
    zero_point = int(t.zero_points[0]) if len(t.zero_points) else 0
    return TensorSpec(t.name, t.shape, t.dtype, Quantisation(float(t.scales[0]), zero_point))
