"""A trained model to the bytes of a .tflite in one scheme: TensorFlow's converter, and for 4 bits
(or when the source is a .tflite, which TensorFlow does not take) litert-quantizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.ingest import TrainedModel, import_tensorflow
from edge_sdk.convert.litert_quantizer import quantise_tflite
from edge_sdk.convert.quiet import quiet
from edge_sdk.errors import ModelError

Samples = Callable[[], Iterator[npt.NDArray[np.float32]]]


def float_tflite(model: TrainedModel) -> bytes:
    """The model as a float32 .tflite: every other scheme is judged against its size."""
    if model.tflite is not None:
        return model.tflite.read_bytes()
    return _convert(model, "float32", None)


def quantised_tflite(
    model: TrainedModel, float_model: Path, scheme: str, samples: Samples
) -> bytes:
    """The model in `scheme`; samples() yields the calibration inputs, (1, H, W, 3) normalised.

    float_model: the file that `float_tflite` gave."""
    if scheme == "float32":
        return float_model.read_bytes()
    if scheme == "w4a8":
        return quantise_tflite(float_model, scheme, samples())
    if model.saved_model is not None:
        return _convert(model, scheme, samples)
    if scheme == "float16":
        raise ModelError(
            "float16 from a .tflite is not supported: give the Keras model or SavedModel"
        )
    return quantise_tflite(float_model, scheme, samples())


def _convert(model: TrainedModel, scheme: str, samples: Samples | None) -> bytes:
    tf = import_tensorflow()
    with quiet(f"converting {model.source.file} to {scheme}"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model.saved_model))
        if scheme != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if scheme in ("int8", "int16x8") and samples is not None:
            _set_integer(tf, converter, scheme, samples)
        return bytes(converter.convert())


def _set_integer(tf: Any, converter: Any, scheme: str, samples: Samples) -> None:
    kernels, kind = {
        "int8": (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8),
        "int16x8": (
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.int16,
        ),
    }[scheme]
    converter.representative_dataset = lambda: ([x] for x in samples())
    converter.target_spec.supported_ops = [kernels]
    converter.inference_input_type = kind
    converter.inference_output_type = kind
