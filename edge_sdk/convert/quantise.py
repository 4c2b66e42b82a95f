"""A trained model to the bytes of a .tflite in one scheme.

TensorFlow's converter makes the float files. The integer schemes start from the float32 file:
statistics on the calibration images, biases corrected, ranges chosen, integers written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.adaptive_rounding import Memory, adapted
from edge_sdk.convert.bias_correction import corrected
from edge_sdk.convert.calibrate import Statistics, clipping_range, collect
from edge_sdk.convert.ingest import TrainedModel
from edge_sdk.convert.litert_quantizer import write_integer_model
from edge_sdk.convert.schemes import Scheme
from edge_sdk.errors import ModelError
from edge_sdk.preprocess import Preprocess, normalise
from edge_sdk.progress import Progress
from edge_sdk.quiet import quiet
from edge_sdk.tflite_file import Graph, read_tflite
from edge_sdk.train.tensorflow import import_tensorflow

# How weights are rounded: to the nearest step of their min-max grid with the bias corrected, or
# layer by layer for the least change of the output (adaptive_rounding.py).
ROUNDINGS = ("min-max", "adaptive")
Samples = Callable[[], Iterator[npt.NDArray[np.float32]]]


def float_tflite(model: TrainedModel, *, half: bool = False) -> bytes:
    """The model as a float32 .tflite, or with float16 weights.

    Raises ModelError for float16 from a .tflite, which TensorFlow's converter does not take."""
    if model.saved_model is None or model.tflite is not None:
        if half or model.tflite is None:
            raise ModelError(
                "float16 from a .tflite is not supported: give the Keras model or SavedModel"
            )
        return model.tflite.read_bytes()
    tf = import_tensorflow()
    with quiet(f"converting {model.source.file}"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model.saved_model))
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())


def statistics_of(float_model: Path, samples: Iterator[npt.NDArray[np.float32]]) -> Statistics:
    """What the integer schemes need to know; samples: (1, H, W, 3) each, normalised."""
    return collect(float_model, read_tflite(float_model), samples)


def integer_tflite(
    float_model: Path,
    scheme: Scheme,
    rounding: str,
    statistics: Statistics,
    preprocess: Preprocess,
    samples: Samples,
    progress: Progress,
    *,
    eight_bit: Collection[int] = (),
    memory: Memory | None = None,
) -> bytes:
    """The float32 file in an integer scheme; rounding: one of ROUNDINGS.

    eight_bit: layers that keep 8 bits whatever the scheme says, by their output tensors. memory:
    what adaptive roundings of the same file and samples share."""
    graph = read_tflite(float_model)
    raw = float_model.read_bytes()
    bits = weight_bits(graph, scheme) | dict.fromkeys(eight_bit, 8)
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        better = Path(folder) / float_model.name
        if rounding == "adaptive":
            better.write_bytes(adapted(raw, graph, samples, bits, progress, memory))
            statistics = statistics_of(better, samples())
        else:
            better.write_bytes(corrected(raw, graph, statistics, bits))
        ranges = {
            graph.tensors[i].name: clipping_range(a, scheme.activation_bits)
            for i, a in statistics.activations.items()
        }
        # The input's range is known, not measured: every pixel value gets a step of its own.
        ends = normalise(np.array([[0] * 3, [255] * 3], np.uint8), preprocess)
        ranges[graph.tensors[graph.inputs[0]].name] = (float(ends.min()), float(ends.max()))
        narrow = {
            kind: [
                graph.tensors[op.outputs[0]].name
                for op, _ in graph.weights()
                if op.name == kind and bits[op.outputs[0]] == 4
            ]
            for kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
        }
        return write_integer_model(better, ranges, scheme.activation_bits, *narrow.values())


def weight_bits(graph: Graph, scheme: Scheme) -> dict[int, int]:
    """Weight bits of each layer by its output tensor: the scheme's for convolutions and depthwise
    ones, 8 elsewhere.

    The first convolution keeps 8: it sees the pixels, and has less than a thousandth of the
    weights."""
    layers = [op for op, _ in graph.weights()]
    narrow = [op for op in layers if op.name == "CONV_2D"][1:]
    bits = {op.outputs[0]: scheme.convolution_bits if op in narrow else 8 for op in layers}
    depthwise = [op.outputs[0] for op in layers if op.name == "DEPTHWISE_CONV_2D"]
    return bits | dict.fromkeys(depthwise, scheme.depthwise_bits)
