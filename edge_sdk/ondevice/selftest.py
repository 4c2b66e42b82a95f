"""Stored pictures through this release's own model and interpreter: the same answers, or an error.

selftest/expected-<runtime>.json was made on the workstation by the interpreter that it names.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import edge_sdk
from edge_sdk.errors import DeviceError
from edge_sdk.strict import from_plain

FOLDER = "selftest"
# Float kernels differ from one architecture to the next in the last bits.
CLOSE = 1e-3
# So do, in integers, LiteRT's kernels for 4-bit weights and tflite-runtime's: on 40 pictures by up
# to 7 steps of 256, once, by hand (LiteRT 2.3.0, tflite-runtime 2.14.0, x86 and A72).
NEAR_STEPS = 12
LIMITS = {"bytes": 0.0, "near": NEAR_STEPS, "close": CLOSE}


@dataclass(frozen=True)
class Case:
    """image: a PNG. input_sha256: of the tensor that it becomes. output: hexadecimal bytes."""

    image: str
    input_sha256: str
    dtype: str
    output: str


@dataclass(frozen=True)
class Expected:
    """compare: bytes; near (within NEAR_STEPS); close (float outputs, within CLOSE). machine: where
    the answers were made."""

    runtime: str
    version: str
    machine: str
    compare: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Result:
    """first_s: from before the imports to the first answer."""

    runtime: str
    version: str
    cases: int
    compare: str
    first_s: float


def own_release() -> Path:
    """The release that this code was unpacked in: RELEASE/site/edge_sdk/."""
    return Path(edge_sdk.__file__).resolve().parents[2]


def read_expected(release: Path, runtime: str) -> Expected:
    file = release / FOLDER / f"expected-{runtime}.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DeviceError(f"self-test: {file} cannot be read: {e}") from e
    expected = from_plain(Expected, data, str(file), DeviceError)
    if expected.compare not in LIMITS or not expected.cases:
        raise DeviceError(f"self-test: {file} compares nothing, or by an unknown rule")
    return expected


def selftest(release: Path, runtime: str) -> Result:
    """Raises DeviceError that names the picture and what differed; ModelError for the model."""
    start = time.perf_counter()
    import numpy as np

    from edge_sdk.backends import open_backend
    from edge_sdk.dataset import open_image
    from edge_sdk.preprocess import Encoder, fit_image
    from edge_sdk.runtime import load_model

    expected = read_expected(release, runtime)
    model = load_model(release / "model")
    backend = open_backend(runtime, model.path)
    if backend.version != expected.version:
        raise DeviceError(
            f"self-test: {runtime} is version {backend.version}, the bundle's answers are of "
            f"{expected.version}"
        )
    encode = Encoder(model.preprocess, backend.input.dtype, backend.input.quantisation)
    first = 0.0
    for case in expected.cases:
        x = encode(fit_image(open_image(release / FOLDER / case.image), model.preprocess))[None]
        if backend.input.quantisation is not None and (
            hashlib.sha256(x.tobytes()).hexdigest() != case.input_sha256
        ):
            raise DeviceError(
                f"self-test: {case.image} becomes another input tensor here than on the "
                "workstation: Pillow or NumPy differ"
            )
        found = backend.invoke(x)
        first = first or time.perf_counter() - start
        wanted = np.frombuffer(bytes.fromhex(case.output), case.dtype)
        far = np.abs(found.reshape(-1).astype(np.float64) - wanted).max()
        if found.dtype != wanted.dtype or not far <= LIMITS[expected.compare]:
            raise DeviceError(
                f"self-test: {case.image} gives {found.reshape(-1).tolist()}, expected "
                f"{wanted.tolist()} ({runtime} {backend.version}, Python {sys.version.split()[0]})"
            )
    backend.close()
    return Result(runtime, expected.version, len(expected.cases), expected.compare, first)
