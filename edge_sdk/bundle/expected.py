"""The self-test that travels: drawn pictures and what the target's interpreter answers to them."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from typing import Any

import numpy as np

from edge_sdk.artifact import Artifact
from edge_sdk.backends.base import classifier_specs
from edge_sdk.backends.process import installed_backends, run_inputs
from edge_sdk.bundle.targets import DISTRIBUTIONS
from edge_sdk.errors import BundleError
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.ondevice.selftest import FOLDER, Case, Expected
from edge_sdk.preprocess import Encoder, Pixels, fit_image
from edge_sdk.strict import to_plain

KINDS = ("uninfected", "ring", "trophozoite")
SEED = 6


def selftest_files(artifact: Artifact, target: Target, python: str | None) -> dict[str, bytes]:
    """Path in the bundle -> content. python: one that has the runtime, where this one has not.

    Raises BundleError where no interpreter of the very version that the bundle carries is there."""
    from PIL import Image

    python = python or sys.executable
    _, source, _ = classifier_specs(artifact.model)
    spec = artifact.manifest.preprocess
    pictures = _pictures(spec.height, spec.width)
    encode = Encoder(spec, source.dtype, source.quantisation)
    inputs = np.stack([encode(fit_image(p, spec)) for p in pictures])
    outputs, report = _answers(artifact, target, python, inputs)
    version, machine = str(report["version"]), str(report["machine"])
    if version != target.runtime_version:
        raise BundleError(
            f"the self-test's answers have to come from {target.runtime} {target.runtime_version}, "
            f"which the bundle carries; {python} has {version}: name a Python that has it with "
            "--runtime-python"
        )
    files, cases = {}, []
    for number, (picture, x, output) in enumerate(zip(pictures, inputs, outputs, strict=True)):
        name = f"inputs/{number}.png"
        made = io.BytesIO()
        Image.fromarray(picture).save(made, "PNG")
        files[f"{FOLDER}/{name}"] = made.getvalue()
        digest = hashlib.sha256(x.tobytes()).hexdigest()
        cases.append(Case(name, digest, str(outputs.dtype), output.tobytes().hex()))
    four_bit = any("int4" in name for name in artifact.manifest.weight_types)
    compare = comparison(target, machine, outputs.dtype, four_bit=four_bit)
    expected = Expected(target.runtime, version, machine, compare, tuple(cases))
    text = json.dumps(to_plain(expected), indent=1) + "\n"
    files[f"{FOLDER}/expected-{target.runtime}.json"] = text.encode()
    return files


def comparison(target: Target, machine: str, dtype: np.dtype[Any], *, four_bit: bool) -> str:
    """How the device's answers are held against those made on `machine`: see
    ondevice/selftest.py."""
    if dtype.kind == "f":
        return "close"
    # Between x86 and ARM the kernels of these differ by some steps; LiteRT's for 8 bits do not.
    differs = four_bit or target.runtime == "tflite-runtime"
    return "near" if differs and machine != target.arch else "bytes"


def _answers(
    artifact: Artifact, target: Target, python: str, inputs: Pixels
) -> tuple[Pixels, dict[str, Any]]:
    if target.runtime != "fake" and target.runtime not in installed_backends(python):
        pin = f"{DISTRIBUTIONS[target.runtime]}=={target.runtime_version}"
        raise BundleError(
            f"the self-test's answers have to come from {target.runtime}, which {python} lacks: "
            f"install {pin} in an environment and name its Python with --runtime-python"
        )
    return run_inputs(target.runtime, artifact.model, inputs, python=python)


def _pictures(height: int, width: int) -> list[Pixels]:
    """Drawn cells as they are, which have to be resized, and noise at the model's own size."""
    from edge_sdk.simulate import draw_cell

    cells = [draw_cell(kind, SEED, patient) for patient, kind in enumerate(KINDS)]
    noise = np.random.default_rng(SEED).integers(0, 256, (height, width, 3), np.uint8)
    return [*(np.ascontiguousarray(c.pixels) for c in cells), noise]
