"""Reads a trained model, whatever its form, into one thing the converters take.

Keras files and SavedModels become a SavedModel with a batch of exactly 1, the form that
TensorFlow's converter reads without surprises; a float .tflite stays what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.artifact import Source
from edge_sdk.backends import open_backend
from edge_sdk.errors import ModelError
from edge_sdk.files import sha256
from edge_sdk.quiet import quiet
from edge_sdk.tflite_file import read_tflite
from edge_sdk.train.tensorflow import import_tensorflow

Floats = npt.NDArray[np.float32]
BATCH = 16


@dataclass(frozen=True)
class TrainedModel:
    """A float model. predict: float32 (N, H, W, 3), normalised, to float32 (N, classes).

    saved_model: the static-batch SavedModel; tflite: the file itself when that is the source.
    One of the two is set. normalises_itself: a Keras model with a Rescaling or Normalization
    layer, which wants raw pixels."""

    source: Source
    height: int
    width: int
    classes: int
    predict: Callable[[Floats], Floats]
    saved_model: Path | None
    tflite: Path | None
    normalises_itself: bool


@contextmanager
def open_model(path: Path, scratch: Path) -> Iterator[TrainedModel]:
    """The model at `path`; `scratch` is a folder for what the converters need on disk.

    Raises ModelError for a path that is missing, damaged, or no image classifier with one fixed
    RGB input."""
    if not path.exists():
        raise ModelError(f"model {path} does not exist")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ModelError(f"folder {path} is no SavedModel: it has no saved_model.pb")
        yield _open_saved_model(path, scratch)
    elif path.suffix == ".tflite":
        yield _open_tflite(path)
    elif path.suffix in (".keras", ".h5", ".hdf5"):
        yield _open_keras(path, scratch)
    else:
        raise ModelError(
            f"model {path}: '{path.suffix}' is not one of .keras, .h5, .tflite or a SavedModel "
            "folder"
        )


def _open_keras(path: Path, scratch: Path) -> TrainedModel:
    tf = import_tensorflow()
    with quiet(f"loading {path}"):
        model = tf.keras.models.load_model(path, compile=False)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; an image "
            "classifier has one of each"
        )
    height, width, classes = _check_shapes(path, model.inputs[0].shape, model.outputs[0].shape)
    signature = [tf.TensorSpec((1, height, width, 3), tf.float32)]
    exported = scratch / "saved_model"
    with quiet(f"exporting {path}"):
        model.export(
            str(exported), format="tf_saved_model", input_signature=signature, verbose=False
        )
    rescalers = {"Rescaling", "Normalization"}
    run = tf.function(lambda x: model(x, training=False))
    return TrainedModel(
        source=_source(path, "keras", int(model.count_params())),
        height=height,
        width=width,
        classes=classes,
        predict=_in_batches(lambda x: run(tf.constant(x)).numpy(), BATCH),
        saved_model=exported,
        tflite=None,
        normalises_itself=any(type(layer).__name__ in rescalers for layer in model.layers),
    )


def _open_saved_model(path: Path, scratch: Path) -> TrainedModel:
    tf = import_tensorflow()
    with quiet(f"loading {path}"):
        loaded = tf.saved_model.load(str(path))
        signatures = dict(loaded.signatures)
    if "serving_default" not in signatures:
        raise ModelError(
            f"{path} has no 'serving_default' signature; found: {', '.join(signatures) or 'none'}"
        )
    serve = signatures["serving_default"]
    inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; an image classifier has "
            "one of each"
        )
    (key, spec), (out_key, out_spec) = next(iter(inputs.items())), next(iter(outputs.items()))
    height, width, classes = _check_shapes(path, spec.shape, out_spec.shape)
    exported = scratch / "saved_model"
    with quiet(f"exporting {path}"):
        module = tf.Module()
        module.model = loaded

        @tf.function(input_signature=[tf.TensorSpec((1, height, width, 3), tf.float32)])  # type: ignore[untyped-decorator]
        def serve_one(x: Any) -> Any:
            return {out_key: serve(**{key: x})[out_key]}

        tf.saved_model.save(module, str(exported), signatures=serve_one)
    batch = BATCH if spec.shape[0] is None else 1
    return TrainedModel(
        source=_source(path, "saved_model", _variable_count(loaded)),
        height=height,
        width=width,
        classes=classes,
        predict=_in_batches(lambda x: serve(**{key: tf.constant(x)})[out_key].numpy(), batch),
        saved_model=exported,
        tflite=None,
        normalises_itself=False,
    )


def _open_tflite(path: Path) -> TrainedModel:
    graph = read_tflite(path)
    backend = open_backend("auto", path)
    if backend.input.dtype != "float32" or backend.output.dtype != "float32":
        raise ModelError(
            f"{path} takes {backend.input.dtype} and gives {backend.output.dtype}: it is already "
            "quantised; convert needs the float model"
        )
    if any(not t.dtype.startswith("float") for _, t in graph.weights()):
        raise ModelError(f"{path} has quantised weights: convert needs the float model")
    _, height, width, _ = backend.input.shape
    constants = sum(t.elements for t in graph.tensors if t.data is not None)
    return TrainedModel(
        source=_source(path, "tflite", constants),
        height=height,
        width=width,
        classes=backend.output.shape[-1],
        predict=_in_batches(lambda x: backend.invoke(x).reshape(1, -1), 1),
        saved_model=None,
        tflite=path,
        normalises_itself=False,
    )


def _check_shapes(path: Path, source: Any, result: Any) -> tuple[int, int, int]:
    shape, out = list(source), list(result)
    if len(shape) != 4 or shape[3] != 3:
        raise ModelError(
            f"{path} is no image classifier: its input shape is {shape}, not [batch, height, "
            "width, 3]"
        )
    if shape[1] is None or shape[2] is None:
        raise ModelError(
            f"{path} has the free input size {shape}; save the model with a fixed height and width"
        )
    if len(out) != 2 or out[1] is None or out[1] < 2:
        raise ModelError(
            f"{path} is no image classifier: its output shape is {out}, not [batch, classes] with "
            "at least two classes"
        )
    return int(shape[1]), int(shape[2]), int(out[1])


def _in_batches(run: Callable[[Floats], Any], batch: int) -> Callable[[Floats], Floats]:
    def predict(x: Floats) -> Floats:
        parts = [np.asarray(run(x[i : i + batch])) for i in range(0, len(x), batch)]
        return np.concatenate(parts).astype(np.float32)

    return predict


def _variable_count(loaded: Any) -> int:
    return int(sum(np.prod(v.shape) for v in getattr(loaded, "variables", [])))


def _source(path: Path, kind: str, parameters: int) -> Source:
    if path.is_file():
        return Source(path.name, kind, sha256(path), path.stat().st_size, parameters)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    size = sum(f.stat().st_size for f in files)
    return Source(path.name, kind, total.hexdigest(), size, parameters)
