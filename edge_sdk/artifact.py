"""An artifact: a folder with model.tflite and manifest.json, which says all there is to know.

The manifest is the one truth from conversion to result: labels, preprocessing, quantisation,
where the model came from, what it was calibrated and judged on, and how it did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_sdk.errors import ArtifactError
from edge_sdk.files import sha256
from edge_sdk.input_statistics import InputStatistics
from edge_sdk.preprocess import Preprocess
from edge_sdk.stain_range import StainRange
from edge_sdk.strict import from_plain, to_plain
from edge_sdk.tflite_file import Graph

MODEL_FILE = "model.tflite"
MANIFEST_FILE = "manifest.json"
FORMAT = 1
Activation = Literal["softmax", "sigmoid", "logits"]
REJECTED = ".rejected"


@dataclass(frozen=True)
class TensorInfo:
    """One end of the model. scale, zero_point: null for a float tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Source:
    """The trained model this was made from. kind: keras, saved_model or tflite."""

    file: str
    kind: str
    sha256: str
    size_bytes: int
    parameters: int


@dataclass(frozen=True)
class ImageRecord:
    file: str
    sha256: str
    group: str | None


@dataclass(frozen=True)
class Sample:
    """Images that were drawn from a data folder. simulated: the folder says they are drawn."""

    data: str
    simulated: bool
    seed: int
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class Check:
    """One runtime's answers beside the float model's, on the judged images.

    accuracy, float_accuracy: in percent, null without labels. agreement: share of equal top-1
    answers, percent. drop: accuracy lost, percentage points; without labels an estimate (see
    convert/gate.py). snr_db: of the output scores against the float model's. version: empty where
    the runtime failed and gave no answers."""

    runtime: str
    version: str
    python: str
    machine: str
    samples: int
    accuracy: float | None
    float_accuracy: float | None
    agreement: float
    drop: float
    snr_db: float
    passed: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """measure: accuracy (labelled images) or estimated-accuracy. max_drop: percentage points."""

    measure: str
    max_drop: float
    passed: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Decision:
    """How to read the probabilities, fitted by `edge-sdk evaluate --calibrate`.

    temperature: acts on log-probabilities, softmax(log p / temperature), where a p below half a
    step of a quantised output (1e-7 of a float one) counts as that. threshold: for two classes,
    call `positive` when its probability after the temperature is at least this. data, simulated,
    images, groups: what it was fitted on."""

    temperature: float
    threshold: float | None
    positive: str | None
    data: str
    simulated: bool
    images: int
    groups: int

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ArtifactError(f"temperature {self.temperature} must be above 0")
        if (self.threshold is None) != (self.positive is None):
            raise ArtifactError("threshold and positive belong together: give both or neither")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ArtifactError(f"threshold {self.threshold} must be between 0 and 1")


@dataclass(frozen=True)
class CellRate:
    """How often cells of known truth are flagged. slides: slides, or patients, they are from.
    dispersion: correlation of the flags within a slide, 0 where slides differ by chance alone.
    effective: independent cells that would say as much of the mean."""

    flagged: int
    counted: int
    slides: int
    dispersion: float
    effective: float

    def __post_init__(self) -> None:
        if not 0 <= self.flagged <= self.counted or self.counted < 1 or self.slides < 1:
            raise ArtifactError(
                f"{self.flagged} flagged of {self.counted} on {self.slides} slides: needs 0 <= "
                "flagged <= counted, and a cell and a slide at least"
            )
        if not 0 <= self.dispersion < 1 or not 0 < self.effective <= self.counted:
            raise ArtifactError(
                f"dispersion {self.dispersion} must be in [0, 1) and effective {self.effective} "
                f"above 0, at most counted ({self.counted})"
            )


@dataclass(frozen=True)
class SlideRule:
    """When a slide is flagged, chosen on validation patients (see screening/thresholds.py).

    decision: how a cell is flagged, with the threshold for slides, which is not the one that suits
    single cells. flags: how many of `cells` counted make a slide flagged, so that a clear one is
    not with probability `specificity`; sensitivity: that its limit of detection is meant for.
    clear, infected: how often those patients' clear and infected cells are flagged. model_sha256:
    of the model file whose scores these are; null in older manifests."""

    decision: Decision
    cells: int
    flags: int
    specificity: float
    sensitivity: float
    clear: CellRate
    infected: CellRate
    model_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.decision.threshold is None:
            raise ArtifactError("a slide rule's decision needs a threshold and its positive label")
        if not 1 <= self.flags <= self.cells:
            raise ArtifactError(f"flags {self.flags} must be from 1 to cells ({self.cells})")
        for name in ("specificity", "sensitivity"):
            if not 0.5 <= (value := getattr(self, name)) < 1:
                raise ArtifactError(f"{name} {value} must be from 0.5 up to, not including, 1")


@dataclass(frozen=True)
class Attempt:
    """One way of rounding that was tried. drop: points lost on the runtime that lost most. bytes:
    of the file; null in older manifests. eight_bit: names of the layers that kept 8 bits where the
    scheme has fewer. taken: it is this artifact."""

    method: str
    drop: float
    passed: bool
    bytes: int | None = None
    eight_bit: tuple[str, ...] = ()
    taken: bool = False


@dataclass(frozen=True)
class Manifest:
    """See the fields' own classes. activation: what the output scores are, softmax, sigmoid or
    logits. ops, weight_types: counts, as {"CONV_2D": 36} and {"CONV_2D int4": 35}. tools: package
    versions that took part. decision: null until a calibration is stored. method: how the weights
    were rounded, null for a float scheme; attempts: all that were tried, in order.
    input_statistics: of the calibration images, null in older manifests. screening: null until a
    slide rule is stored, and so is stain, the colours of the cells the model was made with."""

    format: int
    name: str
    scheme: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    activation: Activation
    input: TensorInfo
    output: TensorInfo
    ops: dict[str, int]
    weight_types: dict[str, int]
    model_bytes: int
    float_bytes: int
    sha256: str
    source: Source
    calibration: Sample | None
    judged: Sample
    gate: Gate
    tools: dict[str, str]
    decision: Decision | None = None
    method: str | None = None
    attempts: tuple[Attempt, ...] = ()
    input_statistics: InputStatistics | None = None
    screening: SlideRule | None = None
    stain: StainRange | None = None

    def __post_init__(self) -> None:
        slide = self.screening.decision if self.screening else None
        for where, decision in (("", self.decision), ("screening.", slide)):
            if decision and decision.positive not in (None, *self.labels):
                raise ArtifactError(
                    f"{where}decision.positive '{decision.positive}' is not one of "
                    f"{', '.join(self.labels)}"
                )


@dataclass(frozen=True)
class Artifact:
    path: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        return self.path / MODEL_FILE


def read_artifact(path: Path) -> Artifact:
    """Opens an artifact folder and checks that the model is the one its manifest describes.

    Raises ArtifactError for a missing file, a manifest that is wrong, or another sha256."""
    manifest_file = path / MANIFEST_FILE
    if not path.is_dir():
        raise ArtifactError(f"artifact {path} does not exist or is no folder")
    try:
        data = json.loads(manifest_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is no artifact: it has no {MANIFEST_FILE}") from None
    except (OSError, ValueError, RecursionError) as e:
        raise ArtifactError(f"{manifest_file} cannot be read: {e}") from e
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise ArtifactError(
            f"{manifest_file}: format {data.get('format')!r} is not {FORMAT}; convert the model "
            "again with this version, or use the version that wrote it"
        )
    manifest = from_plain(Manifest, data, str(manifest_file), ArtifactError)
    artifact = Artifact(path, manifest)
    try:
        found = sha256(artifact.model)
    except OSError as e:
        raise ArtifactError(f"{artifact.model} cannot be read: {e.strerror}") from e
    if found != manifest.sha256:
        raise ArtifactError(
            f"{artifact.model} is not the model that {MANIFEST_FILE} describes: sha256 {found}, "
            f"expected {manifest.sha256}. The file was changed or damaged: convert or copy it again"
        )
    return artifact


def manifest_json(manifest: Manifest) -> str:
    return json.dumps(to_plain(manifest), indent=1, ensure_ascii=False) + "\n"


def output_activation(graph: Graph) -> Activation:
    """What the scores of a classifier's output are, from the operator that makes them."""
    passing = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE"}
    producers = {o: op for op in graph.operators for o in op.outputs}
    producer = producers.pop(graph.outputs[0], None)  # popped: a damaged file may go in circles
    while producer is not None and producer.name in passing and producer.inputs:
        producer = producers.pop(producer.inputs[0], None)
    name = producer.name if producer is not None else ""
    known: dict[str, Activation] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
    return known.get(name, "logits")
