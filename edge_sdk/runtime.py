"""The classifier on the device: frames in, predictions out. NumPy, Pillow and one interpreter.

with Classifier("cells-int8") as classifier:
    for prediction in classifier.stream(frames):
        print(prediction.top(1))
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_sdk.artifact import Activation, output_activation, read_artifact
from edge_sdk.backends import classifier_specs, open_backend
from edge_sdk.errors import ModelError, UsageError
from edge_sdk.model_metadata import read_metadata
from edge_sdk.preprocess import (
    Encoder,
    Pixels,
    Preprocess,
    dequantise,
    fit_image,
)
from edge_sdk.sidecar import PreprocessOptions, check_labels, resolve_labels, resolve_preprocess

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Model:
    """A .tflite file and what it takes to use it. notes: what had to be assumed, in words."""

    path: Path
    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    activation: Activation
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """probabilities: float32 (classes,), in the labels' order. invoke_ms: the interpreter's part;
    total_ms: with preprocessing."""

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    invoke_ms: float
    total_ms: float

    @property
    def label(self) -> str:
        return self.labels[int(self.probabilities.argmax())]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable labels with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]


def load_model(
    path: Path, *, labels: Path | None = None, options: PreprocessOptions | None = None
) -> Model:
    """An artifact folder, or any bare .tflite classifier.

    A bare file's labels come from `labels`, else from its own metadata, else from labels.txt
    beside it, else its classes are numbered. Its normalisation comes from the options, from
    preprocess.json beside it or from its metadata; a uint8 model takes raw pixels; a float or
    int8 model that says nothing is assumed to take (pixel - 127.5) / 127.5, and a note says so.

    Raises ArtifactError, ModelError, DataError (labels do not fit) or UsageError (options for an
    artifact, whose manifest already says it all)."""
    given = options or PreprocessOptions()
    if path.is_dir():
        artifact = read_artifact(path)
        m = artifact.manifest
        if labels is not None or given != PreprocessOptions():
            raise UsageError(
                f"{path} is an artifact: its manifest has the labels and the preprocessing; give "
                "options for these only with a bare .tflite"
            )
        notes = () if m.gate.passed else ("this artifact did not pass the gate: see its manifest",)
        check_labels(m.labels, math.prod(m.output.shape), str(path))
        return Model(
            artifact.model, f"{m.name}-{m.scheme}", m.labels, m.preprocess, m.activation, notes
        )
    if not path.exists():
        raise ModelError(f"model {path} does not exist: give an artifact folder or a .tflite file")
    return _bare_model(path, labels, given)


def _bare_model(path: Path, labels_file: Path | None, options: PreprocessOptions) -> Model:
    graph, source, result = classifier_specs(path)
    inside = read_metadata(path)
    classes = result.shape[-1]
    notes = []
    if labels_file is None and inside.labels:
        labels = check_labels(inside.labels, classes, f"{path} (its own metadata)")
    else:
        found = resolve_labels(path, labels_file, classes)
        labels = found or tuple(f"class {i}" for i in range(classes))
        if found is None:
            notes.append("no labels given: outputs are numbered; --labels names a file")
    if source.dtype == "uint8" and source.quantisation is not None:
        # By convention a uint8 model is fed raw pixels; its scale says what they stand for.
        q = source.quantisation
        inside = replace(inside, mean=(float(q.zero_point),), std=(1 / q.scale,))
    _, height, width, _ = source.shape
    spec, assumed = resolve_preprocess(path, height, width, options, "tf", inside)
    return Model(path, path.stem, labels, spec, output_activation(graph), (*notes, *assumed))


class Classifier:
    """One opened model. Use it from one thread at a time, and close it (or use `with`).

    model: an artifact folder, a .tflite file, or what `load_model` gave.
    backend: `auto`, `litert`, `tflite-runtime`, `tensorflow` or `fake`. The attribute `backend`
    says which one runs."""

    def __init__(
        self, model: Model | Path | str, *, backend: str = "auto", threads: int = 1
    ) -> None:
        self.model = model if isinstance(model, Model) else load_model(Path(model))
        self.backend = open_backend(backend, self.model.path, threads=threads)
        self._encode = Encoder(
            self.model.preprocess, self.backend.input.dtype, self.backend.input.quantisation
        )

    def classify(self, frame: Image.Image | Pixels) -> Prediction:
        """frame: a Pillow image or uint8 (H, W, 3) RGB of any size."""
        start = time.perf_counter()
        x = self._encode(fit_image(frame, self.model.preprocess))[None]
        invoked = time.perf_counter()
        raw = self.backend.invoke(x)
        done = time.perf_counter()
        scores = dequantise(raw.reshape(-1), self.backend.output.quantisation)
        if self.model.activation == "logits":
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        end = time.perf_counter()
        return Prediction(self.model.labels, scores, (done - invoked) * 1e3, (end - start) * 1e3)

    def stream(self, frames: Iterable[Image.Image | Pixels]) -> Iterator[Prediction]:
        """One prediction per frame, as they come; nothing is gathered."""
        return (self.classify(frame) for frame in frames)

    def close(self) -> None:
        self.backend.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
