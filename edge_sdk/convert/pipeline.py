"""Trained model -> artifacts: ingest, draw images, quantise, embed metadata, gate, write."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

import edge_sdk
from edge_sdk.artifact import (
    FORMAT,
    MANIFEST_FILE,
    MODEL_FILE,
    REJECTED,
    Activation,
    Artifact,
    Attempt,
    Manifest,
    Sample,
    TensorInfo,
    manifest_json,
    output_activation,
)
from edge_sdk.backends import TensorSpec, classifier_specs
from edge_sdk.convert import sampling
from edge_sdk.convert.adaptive_rounding import Memory
from edge_sdk.convert.calibrate import Statistics
from edge_sdk.convert.choose import METHODS, Candidate, Workshop, choose
from edge_sdk.convert.default_screening import with_screening, without_rule
from edge_sdk.convert.embed_metadata import embed_metadata
from edge_sdk.convert.gate import Judged, Runtime, find_runtimes, judge
from edge_sdk.convert.ingest import TrainedModel, open_model
from edge_sdk.convert.quantise import float_tflite, integer_tflite, statistics_of, weight_bits
from edge_sdk.convert.retrain import check_request, retrained
from edge_sdk.convert.schemes import Scheme, scheme_named, with_depthwise_bits
from edge_sdk.convert.sensitivity import Sensitivity, measure
from edge_sdk.dataset import Dataset, Item, read_dataset
from edge_sdk.errors import DataError, UsageError, unknown_name
from edge_sdk.files import refuse_existing, sha256, whole_folder, write_whole
from edge_sdk.input_statistics import input_statistics
from edge_sdk.preprocess import Pixels, Preprocess, normalise
from edge_sdk.progress import Progress, silent, watched
from edge_sdk.sidecar import PreprocessOptions, resolve_labels, resolve_preprocess
from edge_sdk.strict import to_plain
from edge_sdk.tflite_file import read_tflite
from edge_sdk.zoo import DEFAULT, default_model

TOOLS = ("tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "numpy", "pillow")


@dataclass(frozen=True)
class ConvertRequest:
    """model: None for the embedded default. max_drop: None for each scheme's own.

    calibration, samples: how many images calibrate and judge; None for the defaults. split_file:
    a training's split, see sampling.choose. method: one
    of choose.METHODS, or auto for each in turn until the gate is passed (8 bits: the first only).
    depthwise_bits: 8, or 4 for w4a8's depthwise kernels too. train_data: labelled images for
    the method trained, which auto leaves out without them."""

    model: Path | None
    schemes: tuple[str, ...]
    data: Path
    out: Path
    labels: Path | None = None
    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    calibration: int | None = None
    samples: int | None = None
    split_file: Path | None = None
    seed: int = 0
    max_drop: float | None = None
    runtime_pythons: tuple[str, ...] = ()
    method: str = "auto"
    depthwise_bits: int = 8
    train_data: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Conversion:
    """What a request came to. Artifacts that failed the gate are kept under *.rejected."""

    name: str
    artifacts: tuple[Artifact, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(a.manifest.gate.passed for a in self.artifacts)


@dataclass(frozen=True)
class _Job:
    """What all schemes of one request share."""

    name: str
    source: Path
    model: TrainedModel
    float_model: Path
    preprocess: Preprocess
    labels: tuple[str, ...]
    activation: Activation
    calibration: Pixels
    statistics: Statistics | None
    calibration_sample: Sample
    judged: Judged
    judged_items: Dataset
    judged_sample: Sample
    runtimes: tuple[Runtime, ...]


def convert(request: ConvertRequest, progress: Progress = silent) -> Conversion:
    """Converts and judges; writes one folder per scheme and a report under request.out.

    Raises an EdgeError for input that cannot be used. A model that fails the gate is no error
    here: see Conversion.passed."""
    schemes = with_depthwise_bits(
        [scheme_named(s) for s in dict.fromkeys(request.schemes)], request.depthwise_bits
    )
    if request.method not in ("auto", *METHODS):
        raise UsageError(unknown_name("method", request.method, ("auto", *METHODS)))
    path = request.model or default_model()
    check_request(request.method, request.train_data, path)
    name = DEFAULT if request.model is None else path.stem if path.is_file() else path.name
    for scheme in schemes:
        refuse_existing(request.out / f"{name}-{scheme.name}", replace=request.overwrite)
    data = read_dataset(request.data)
    drawn = sampling.choose(
        data, request.calibration, request.samples, request.seed, request.split_file
    )
    runtimes = find_runtimes(request.runtime_pythons)
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        scratch = Path(folder)
        progress("open the model", 0, 1)
        with open_model(path, scratch) as model:
            progress("open the model", 1, 1)
            job, notes = _prepare(
                request, name, path, schemes, model, data, drawn, runtimes, scratch, progress
            )
            made = [_make(request, job, scheme, scratch, progress) for scheme in schemes]
    result = Conversion(name, tuple(made), (*notes, *without_rule(made)))
    report = json.dumps(conversion_report(result), indent=1, ensure_ascii=False) + "\n"
    write_whole(request.out / f"{name}-report.json", report.encode())
    return result


def conversion_report(result: Conversion) -> dict[str, object]:
    """The conversion as JSON data: every manifest without its lists of images."""
    artifacts = []
    for artifact in result.artifacts:
        plain = to_plain(artifact.manifest)
        for key in ("calibration", "judged"):
            if plain[key] is not None:
                plain[key]["images"] = len(plain[key]["images"])
        artifacts.append({"path": str(artifact.path), **plain})
    return {
        "name": result.name,
        "passed": result.passed,
        "notes": list(result.notes),
        "artifacts": artifacts,
    }


def _prepare(
    request: ConvertRequest,
    name: str,
    path: Path,
    schemes: Sequence[Scheme],
    model: TrainedModel,
    data: Dataset,
    drawn: tuple[tuple[Item, ...], tuple[Item, ...]],
    runtimes: Sequence[Runtime],
    scratch: Path,
    progress: Progress,
) -> tuple[_Job, list[str]]:
    assumed = "none" if model.normalises_itself else "tf"
    spec, notes = resolve_preprocess(path, model.height, model.width, request.preprocess, assumed)
    labels, label_notes = _labels(request, path, model, data)
    calibration = sampling.load(drawn[0], spec, "read calibration images", progress)
    judged = sampling.load(drawn[1], spec, "read judged images", progress)
    bad = calibration.unreadable + judged.unreadable
    if bad:
        notes.append(f"{len(bad)} unreadable images left out: {', '.join(map(str, bad))}")
    progress("run the trained model", 0, 1)
    reference = model.predict(normalise(judged.pixels, spec))
    truth = None
    if data.labels:
        truth = np.array([labels.index(i.label) for i in judged.items if i.label is not None])
    float_model = scratch / "float.tflite"
    float_model.write_bytes(float_tflite(model))
    progress("run the trained model", 1, 1)
    graph, _, _ = classifier_specs(float_model)
    statistics = None
    if any(scheme.integer for scheme in schemes):
        images = watched(list(calibration.pixels), "calibrate", progress)
        statistics = statistics_of(float_model, (normalise(x[None], spec) for x in images))
    parts = (None, None) if request.split_file is None else (sampling.CALIBRATES, sampling.JUDGES)
    data_of = [replace(data, part=part) for part in parts]
    job = _Job(
        name=name,
        source=path,
        model=model,
        float_model=float_model,
        preprocess=spec,
        labels=labels,
        activation=output_activation(graph),
        calibration=calibration.pixels,
        statistics=statistics,
        calibration_sample=sampling.record(data_of[0], calibration.items, request.seed),
        judged=Judged(judged.pixels, reference, truth),
        judged_items=data.subset(judged.items),
        judged_sample=sampling.record(data_of[1], judged.items, request.seed),
        runtimes=tuple(runtimes),
    )
    return job, notes + label_notes


def _labels(
    request: ConvertRequest, path: Path, model: TrainedModel, data: Dataset
) -> tuple[tuple[str, ...], list[str]]:
    labels = resolve_labels(path, request.labels, model.classes)
    notes = []
    if labels is None and len(data.labels) == model.classes:
        labels = data.labels
        notes.append("labels are the data's class names in sorted order; --labels overrules")
    elif labels is None:
        labels = tuple(f"class {i}" for i in range(model.classes))
        notes.append(f"no labels given: outputs are numbered 0 to {model.classes - 1}")
    if unknown := sorted(set(data.labels) - set(labels)):
        raise DataError(
            f"{request.data}: its label '{unknown[0]}' is not among the model's {len(labels)} "
            f"labels ({', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}); give the "
            "model's own with --labels"
        )
    return labels, notes


def _make(
    request: ConvertRequest, job: _Job, scheme: Scheme, scratch: Path, progress: Progress
) -> Artifact:
    """One scheme's artifact, by the method that `choose` takes."""
    max_drop = scheme.max_drop if request.max_drop is None else request.max_drop
    numbers = count()

    def judged(
        raw: bytes, label: str, method: str | None, kept: Sequence[Sensitivity] = ()
    ) -> Candidate:
        raw = embed_metadata(
            raw,
            name=f"{job.name}-{scheme.name}",
            description=f"{job.name}, {scheme.name}: {scheme.summary}; by edge-sdk",
            labels=job.labels,
            preprocess=job.preprocess,
        )
        file = scratch / f"{scheme.name}-{next(numbers)}.tflite"
        file.write_bytes(raw)
        progress(f"{label}: judge", 0, 1)
        parameters = job.model.source.parameters
        gate = judge(
            file, job.preprocess, job.activation, parameters, job.judged, job.runtimes, max_drop
        )
        progress(f"{label}: judge", 1, 1)
        return Candidate(file, gate, method, tuple(s.name for s in kept))

    if job.statistics is None or not scheme.integer:
        half = scheme.name == "float16"
        raw = float_tflite(job.model, half=True) if half else job.float_model.read_bytes()
        return _write(request, job, scheme, judged(raw, scheme.name, None), ())
    statistics = job.statistics

    def samples() -> Iterator[npt.NDArray[np.float32]]:
        return (normalise(pixels[None], job.preprocess) for pixels in job.calibration)

    def make(method: str, rounding: str, kept: Sequence[Sensitivity], memory: Memory) -> Candidate:
        label = f"{scheme.name} {method}" + (f", {len(kept)} kept at 8 bits" if kept else "")
        progress(f"{label}: quantise", 0, 1)
        raw = integer_tflite(
            job.float_model, scheme, rounding, statistics, job.preprocess, samples, progress,
            eight_bit=[s.layer for s in kept], memory=memory,
        )  # fmt: skip
        progress(f"{label}: quantise", 1, 1)
        return judged(raw, label, method, kept)

    def sensitivities() -> list[Sensitivity]:
        graph = read_tflite(job.float_model)
        bits = weight_bits(graph, scheme)
        raw = job.float_model.read_bytes()
        return measure(raw, graph, samples, bits, job.activation, progress)

    def retrain(train_data: Path) -> Candidate:
        label = f"{scheme.name} trained"
        trained = retrained(
            job.source, train_data, job.judged_items, job.preprocess, job.labels,
            scheme, request.seed, scratch / label.replace(" ", "-"), progress,
        )  # fmt: skip
        with open_model(trained, trained.parent) as model:
            file = trained.with_name("float.tflite")
            file.write_bytes(float_tflite(model))
        raw = integer_tflite(
            file, scheme, "min-max", statistics_of(file, samples()), job.preprocess, samples,
            progress,
        )  # fmt: skip
        return judged(raw, label, "trained")

    train_data = request.train_data
    training = None if train_data is None else partial(retrain, train_data)
    shop = Workshop(make, sensitivities, max_drop, training)
    taken, tried = choose(_methods(request, scheme), shop)
    return _write(request, job, scheme, taken, [c.attempt(taken=c is taken) for c in tried])


def _methods(request: ConvertRequest, scheme: Scheme) -> tuple[str, ...]:
    if request.method != "auto":
        return (request.method,)
    if scheme.convolution_bits == 8:
        return tuple(METHODS)[:1]
    return tuple(m for m in METHODS if m != "trained" or request.train_data is not None)


def _write(
    request: ConvertRequest,
    job: _Job,
    scheme: Scheme,
    taken: Candidate,
    attempts: Sequence[Attempt],
) -> Artifact:
    candidate, gate = taken.model, taken.gate
    raw = candidate.read_bytes()
    graph, source, result = classifier_specs(candidate)
    manifest = Manifest(
        format=FORMAT,
        name=job.name,
        scheme=scheme.name,
        labels=job.labels,
        preprocess=job.preprocess,
        activation=job.activation,
        input=_tensor_info(source),
        output=_tensor_info(result),
        ops=graph.op_counts(),
        weight_types=graph.weight_types(),
        model_bytes=len(raw),
        float_bytes=job.float_model.stat().st_size,
        sha256=sha256(candidate),
        source=job.model.source,
        calibration=job.calibration_sample if scheme.integer else None,
        judged=job.judged_sample,
        gate=gate,
        tools=_versions(TOOLS),
        method=taken.method,
        attempts=tuple(attempts),
        input_statistics=input_statistics(job.calibration),
    )
    manifest = with_screening(manifest)
    final = request.out / f"{job.name}-{scheme.name}"
    rejected = final.with_name(final.name + REJECTED)
    target = final if gate.passed else rejected
    with whole_folder(target, replace=request.overwrite or not gate.passed) as partial:
        (partial / MODEL_FILE).write_bytes(raw)
        (partial / MANIFEST_FILE).write_text(manifest_json(manifest), encoding="utf-8")
    if gate.passed and request.overwrite:
        shutil.rmtree(rejected, ignore_errors=True)  # of an earlier try, and out of date now
    return Artifact(target, manifest)


def _tensor_info(spec: TensorSpec) -> TensorInfo:
    q = spec.quantisation
    return TensorInfo(
        spec.name,
        spec.shape,
        spec.dtype,
        q.scale if q is not None else None,
        q.zero_point if q is not None else None,
    )


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {"edge-sdk": edge_sdk.__version__}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
