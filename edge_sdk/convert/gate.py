"""The gate: no artifact is called good before every runtime has run it on real samples.

Each runtime runs the file in a fresh process; its answers are compared with the trained model's
own on the same images. Three failures of this field are silent (a file that answers NaN, a recipe
that an older runtime computes wrongly, an output that never changes), so each is looked for.

Accuracy lost, with labels: float accuracy minus converted accuracy on the judged images.
Without labels: the mean of p(float's choice) - p(converted model's choice), both read from the
float model's own probabilities p. If those are calibrated this is the expected loss of accuracy;
if they are overconfident, as deep networks tend to be, it is an over-estimate. A changed answer
between two near-equal classes costs little, one against a sure answer costs all of it; the plain
share of equal answers (agreement) is reported beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_sdk.artifact import Check, Gate
from edge_sdk.backends import classifier_specs
from edge_sdk.backends.process import installed_backends, run_inputs
from edge_sdk.errors import BackendError, EdgeError
from edge_sdk.preprocess import Encoder, Pixels, Preprocess, dequantise
from edge_sdk.tflite_file import Graph, read_tflite

Floats = npt.NDArray[np.float32]

VARIABLE_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
# Folding batch norm removes up to a few per cent of a MobileNet's parameters; a file that lost
# its weights keeps almost none.
MIN_CONSTANTS = 0.5


@dataclass(frozen=True)
class Runtime:
    """A backend to judge on, and the Python whose environment has it."""

    backend: str
    python: str = sys.executable


@dataclass(frozen=True)
class Judged:
    """What the converted model is compared with.

    pixels: uint8 (N, H, W, 3), RGB. reference: the trained model's scores, float32 (N, classes).
    truth: class indices (N,), or None without labels."""

    pixels: Pixels
    reference: Floats
    truth: npt.NDArray[np.int64] | None

    @property
    def measure(self) -> str:
        return "accuracy" if self.truth is not None else "estimated-accuracy"


def find_runtimes(extra_pythons: Sequence[str]) -> list[Runtime]:
    """The interpreters of this environment, then those of the Pythons that the user named.

    TensorFlow's own interpreter counts only where nothing lighter is installed. Raises
    BackendError for a named Python that has none, or when there is none at all."""
    here = installed_backends(sys.executable)
    found = [Runtime(name) for name in here if name != "tensorflow"] or [
        Runtime(name) for name in here
    ]
    for python in extra_pythons:
        names = [n for n in installed_backends(python) if n != "tensorflow"]
        if not names:
            raise BackendError(
                f"--runtime-python {python}: neither tflite-runtime nor ai-edge-litert is "
                "installed there"
            )
        found += [Runtime(name, python) for name in names]
    if not found:
        raise BackendError("no interpreter to judge on: pip install 'edge-sdk[runtime]'")
    return found


def judge(
    model: Path,
    preprocess: Preprocess,
    activation: str,
    parameters: int,
    judged: Judged,
    runtimes: Sequence[Runtime],
    max_drop: float,
) -> Gate:
    """Runs `model` on every runtime and says whether it may be called good.

    parameters: of the trained model; max_drop: percentage points of accuracy."""
    faults = file_faults(read_tflite(model), parameters)
    _, source, result = classifier_specs(model)
    inputs = Encoder(preprocess, source.dtype, source.quantisation)(judged.pixels)
    checks = []
    for runtime in runtimes:
        try:
            raw, report = run_inputs(runtime.backend, model, inputs, python=runtime.python)
        except EdgeError as e:
            checks.append(_failed(runtime, len(inputs), [*faults, str(e)]))
            continue
        scores = dequantise(raw, result.quantisation)
        checks.append(compare(scores, judged, activation, max_drop, faults, report))
    return Gate(judged.measure, max_drop, all(c.passed for c in checks), tuple(checks))


def file_faults(graph: Graph, parameters: int) -> list[str]:
    """What is wrong with a file by its graph alone, in words."""
    faults = []
    if found := [name for name in graph.op_counts() if name in VARIABLE_OPS]:
        faults.append(
            f"holds {', '.join(found)}: its weights are variables that nothing fills, and it "
            "answers NaN; export with a fixed signature (format='tf_saved_model')"
        )
    constants = sum(t.elements for t in graph.tensors if t.data is not None)
    if constants < MIN_CONSTANTS * parameters:
        faults.append(f"holds {constants:,} constants for {parameters:,} trained parameters")
    return faults


def compare(
    scores: Floats,
    judged: Judged,
    activation: str,
    max_drop: float,
    faults: Sequence[str],
    report: dict[str, object],
) -> Check:
    """One runtime's scores, float32 (N, classes), beside the reference."""
    problems = list(faults)
    reference = judged.reference
    if bad := int((~np.isfinite(reference)).any(axis=1).sum()):
        problems.append(
            f"{bad} of {len(reference)} answers of the trained model itself are not finite numbers"
        )
        reference = np.nan_to_num(reference, nan=0.0, posinf=0.0, neginf=0.0)
    if bad := int((~np.isfinite(scores)).any(axis=1).sum()):
        problems.append(f"{bad} of {len(scores)} answers are not finite numbers")
        scores = np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
    if np.ptp(scores, axis=0).max() == 0 and np.ptp(reference, axis=0).max() > 0:
        problems.append("gives the same answer to every image")
    ours, theirs = scores.argmax(axis=1), reference.argmax(axis=1)
    accuracy = float_accuracy = None
    if judged.truth is not None:
        accuracy = 100 * float((ours == judged.truth).mean())
        float_accuracy = 100 * float((theirs == judged.truth).mean())
        drop = float_accuracy - accuracy
    else:
        drop = 100 * expected_loss(reference, ours, activation)
    if not drop <= max_drop:  # a limit that is no number lets nothing pass
        lost = "accuracy lost" if judged.truth is not None else "estimated accuracy lost"
        problems.append(f"{lost}: {drop:.2f} points, more than the {max_drop:g} allowed")
    return Check(
        runtime=str(report["backend"]),
        version=str(report["version"]),
        python=str(report["python"]),
        machine=str(report["machine"]),
        samples=len(scores),
        accuracy=accuracy,
        float_accuracy=float_accuracy,
        agreement=100 * float((ours == theirs).mean()),
        drop=drop,
        snr_db=signal_to_noise_db(reference, scores),
        passed=not problems,
        problems=tuple(problems),
    )


def expected_loss(reference: Floats, choices: npt.NDArray[np.int64], activation: str) -> float:
    """Mean of p(best) - p(chosen) under the reference's own probabilities, 0..1."""
    p = probabilities(reference, activation)
    rows = np.arange(len(p))
    return float((p.max(axis=1) - p[rows, choices]).mean())


def probabilities(scores: Floats, activation: str) -> npt.NDArray[np.float64]:
    """Of scores (N, classes), float64; a softmax's or a sigmoid's are taken as they are."""
    p = scores.astype(np.float64)
    if activation == "logits":
        p = np.exp(p - p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    return p


def signal_to_noise_db(reference: Floats, scores: Floats) -> float:
    """10 log10(sum reference^2 / sum (reference - scores)^2), between -200 and 200 dB."""
    wide = reference.astype(np.float64)
    signal = float(np.square(wide).sum())
    noise = float(np.square(wide - scores).sum())
    if noise == 0:
        return 200.0
    if signal == 0:
        return -200.0
    return float(np.clip(10 * (np.log10(signal) - np.log10(noise)), -200, 200))


def _failed(runtime: Runtime, samples: int, problems: Sequence[str]) -> Check:
    return Check(
        runtime=runtime.backend,
        version="",
        python="",
        machine="",
        samples=samples,
        accuracy=None,
        float_accuracy=None,
        agreement=0.0,
        drop=100.0,
        snr_db=0.0,
        passed=False,
        problems=tuple(problems),
    )
