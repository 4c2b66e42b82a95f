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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_sdk import metrics
from edge_sdk.artifact import MANIFEST_FILE, Activation, Decision, output_activation, read_artifact
from edge_sdk.backends import classifier_specs, open_backend
from edge_sdk.errors import ArtifactError, ModelError, UsageError
from edge_sdk.model_metadata import read_metadata
from edge_sdk.preprocess import (
    NORMALISATIONS,
    Encoder,
    Pixels,
    Preprocess,
    dequantise,
    fit_image,
)
from edge_sdk.sidecar import PreprocessOptions, check_labels, resolve_labels, resolve_preprocess

if TYPE_CHECKING:
    from PIL import Image

Scores = npt.NDArray[np.float32]
FLOAT_FLOOR = 1e-7


@dataclass(frozen=True)
class Model:
    """A .tflite file and what it takes to use it. notes: what had to be assumed, in words.
    decision: the one stored in an artifact's manifest; a Classifier applies it."""

    path: Path
    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    activation: Activation
    notes: tuple[str, ...] = ()
    decision: Decision | None = None


@dataclass(frozen=True)
class Prediction:
    """probabilities: float32 (classes,), in the labels' order; after the temperature where the
    model has a decision. invoke_ms: the interpreter's part; total_ms: with preprocessing.
    called: the class that a decision's threshold calls; None: the most probable one."""

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    invoke_ms: float
    total_ms: float
    called: int | None = None

    @property
    def label(self) -> str:
        return self.labels[int(self.probabilities.argmax()) if self.called is None else self.called]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable labels with their probabilities, best first; before them the one
        that a threshold calls."""
        order = np.argsort(-self.probabilities, kind="stable").tolist()
        if self.called is not None:
            order.sort(key=lambda i: i != self.called)
        return [(self.labels[i], float(self.probabilities[i])) for i in order[:k]]


def load_model(
    path: Path, *, labels: Path | None = None, options: PreprocessOptions | None = None
) -> Model:
    """An artifact folder, any bare .tflite classifier, or the folder of an integer model, which
    backend cim alone runs.

    A bare file's labels come from `labels`, else from its own metadata, else from labels.txt
    beside it, else its classes are numbered. Its normalisation comes from the options, from
    preprocess.json beside it or from its metadata; a uint8 model takes raw pixels; a float or
    int8 model that says nothing is assumed to take (pixel - 127.5) / 127.5, and a note says so.

    Raises ArtifactError (also for a stored threshold where there are not two classes), ModelError,
    DataError (labels do not fit) or UsageError (options for an artifact, whose manifest already
    says it all)."""
    given = options or PreprocessOptions()
    if path.is_dir() and not (path / MANIFEST_FILE).exists():
        from edge_sdk.integer_model import is_integer_model

        if is_integer_model(path):
            return _integer_model(path)
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
        if m.decision and m.decision.threshold is not None and len(m.labels) != 2:
            raise ArtifactError(
                f"{path}: decision.threshold {m.decision.threshold} in its manifest is for two "
                f"classes, the model has {len(m.labels)}: set decision.threshold and "
                "decision.positive to null"
            )
        name = f"{m.name}-{m.scheme}"
        return Model(artifact.model, name, m.labels, m.preprocess, m.activation, notes, m.decision)
    if not path.exists():
        raise ModelError(f"model {path} does not exist: give an artifact folder or a .tflite file")
    return _bare_model(path, labels, given)


def _integer_model(folder: Path) -> Model:
    from edge_sdk.integer_model import read_integer_model

    m = read_integer_model(folder)
    classes = m.shapes()[m.layers[-1].name][0]
    labels = m.labels or tuple(f"class {i}" for i in range(classes))
    # Its first layer normalises, its last gives probabilities.
    spec = replace(m.preprocess, mean=NORMALISATIONS["none"][0], std=NORMALISATIONS["none"][1])
    return Model(folder, folder.resolve().name, labels, spec, "softmax")


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


def as_probabilities(scores: npt.ArrayLike) -> metrics.Floats:
    """Rows of scores (n, classes) as rows that sum to 1.

    Sigmoids do not, nor do rounded probabilities; all zeros say nothing: equal shares."""
    p = np.maximum(np.asarray(scores, np.float64), 0.0)
    total = p.sum(1, keepdims=True)
    known = total > 0
    if known.all():
        p /= total
        return p
    return np.where(known, p / np.where(known, total, 1.0), 1 / p.shape[1])


class Classifier:
    """One opened model. Use it from one thread at a time, and close it (or use `with`).

    model: an artifact folder, a .tflite file, or what `load_model` gave.
    backend: `auto`, `litert`, `tflite-runtime`, `tensorflow`, `cim` or `fake`; options: the
    backend's own. The attribute `backend` says which one runs; `floor`: probabilities below it
    count as it under a temperature.
    The model's decision, where it has one, is applied to every prediction; open
    `replace(model, decision=None)` for the probabilities as they are."""

    def __init__(
        self,
        model: Model | Path | str,
        *,
        backend: str = "auto",
        threads: int = 1,
        **options: Any,
    ) -> None:
        self.model = model if isinstance(model, Model) else load_model(Path(model))
        if self.model.path.is_dir() and backend != "cim":
            raise UsageError(
                f"{self.model.path} is an integer model: --backend cim alone runs it, not {backend}"
            )
        self.backend = open_backend(backend, self.model.path, threads=threads, **options)
        self._encode = Encoder(
            self.model.preprocess, self.backend.input.dtype, self.backend.input.quantisation
        )
        step = self.backend.output.quantisation
        logits = self.model.activation == "logits"
        decision, labels = self.model.decision, self.model.labels
        self._positive = labels.index(decision.positive) if decision and decision.positive else 0
        self.floor = FLOAT_FLOOR if step is None or logits else step.scale / 2

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
        called = None
        if self.model.decision is not None:
            scores, called = self._decide(scores, self.model.decision)
        end = time.perf_counter()
        times = (done - invoked) * 1e3, (end - start) * 1e3
        return Prediction(self.model.labels, scores, *times, called)

    def _decide(self, scores: Scores, d: Decision) -> tuple[Scores, int | None]:
        """Probabilities after the temperature, and the class that the threshold calls."""
        if len(scores) != 2:
            p = metrics.scaled(as_probabilities(scores[None]), d.temperature, self.floor)
            return p[0].astype(np.float32), None
        # The same for two numbers without NumPy, whose calls would cost a tenth of a small model.
        a, b = (max(s, 0.0) for s in scores.tolist())
        total = a + b
        a, b = (a / total, b / total) if total > 0 else (0.5, 0.5)
        z = (math.log(max(a, self.floor)) - math.log(max(b, self.floor))) / d.temperature
        e = math.exp(-abs(z))
        high, low = 1 / (1 + e), e / (1 + e)
        pair = (high, low) if z >= 0 else (low, high)
        called = None
        if d.threshold is not None:
            called = self._positive if pair[self._positive] >= d.threshold else 1 - self._positive
        return np.array(pair, np.float32), called

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
