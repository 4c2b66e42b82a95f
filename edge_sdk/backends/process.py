"""Runs a model in a fresh process: of this Python, or of another environment's.

A fresh process shows what the device will see (nothing is left over from TensorFlow, peak memory
is the model's own), and a crash in an interpreter is a result instead of the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import edge_sdk
from edge_sdk import errors
from edge_sdk.backends import AUTO_ORDER
from edge_sdk.backends.tflite import PACKAGES
from edge_sdk.errors import BackendError, EdgeError

TIMEOUT_S = 900.0


def run_worker(
    job: dict[str, Any], *, python: str = sys.executable, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Runs a job (see worker.py) in a fresh process of `python` and returns its result.

    Raises the worker's own EdgeError; BackendError when the process crashes, hangs past
    `timeout_s`, or `python` cannot be started."""
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        # The other environment keeps its own NumPy: it sees this package and nothing else of ours.
        (Path(folder) / "edge_sdk").symlink_to(Path(edge_sdk.__file__).parent)
        env = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [python, "-m", "edge_sdk.backends.worker", json.dumps(job)]
        try:
            done = subprocess.run(
                command, env=env, capture_output=True, timeout=timeout_s, check=False
            )
        except OSError as e:
            raise BackendError(f"cannot start Python '{python}': {e.strerror}") from e
        except subprocess.TimeoutExpired as e:
            raise BackendError(
                f"{job['backend']} gave no answer within {timeout_s:g} s on {job['model']}"
            ) from e
    result = _last_line(done.stdout)
    if result is None:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise BackendError(
            f"{job['backend']} crashed on {job['model']} in {python} "
            f"(exit status {done.returncode}): {last[0]}"
        )
    if "error" in result:
        kind = getattr(errors, str(result.get("kind")), None)
        if not (isinstance(kind, type) and issubclass(kind, EdgeError)):
            kind = BackendError
        raise kind(str(result["error"]))
    return result


def _last_line(output: bytes) -> dict[str, Any] | None:
    try:
        result = json.loads(output.decode().strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def run_inputs(
    backend: str,
    model: Path,
    inputs: npt.NDArray[Any],
    *,
    threads: int = 1,
    python: str = sys.executable,
    timeout_s: float = TIMEOUT_S,
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Outputs (N, classes) in the model's dtype for inputs (N, H, W, 3), and the report."""
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        source, target = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(source, inputs)
        job = {
            "task": "outputs",
            "backend": backend,
            "model": str(model.resolve()),
            "threads": threads,
            "inputs": str(source),
            "outputs": str(target),
        }
        report = run_worker(job, python=python, timeout_s=timeout_s)
        try:
            return np.load(target), report
        except (OSError, ValueError) as e:
            raise BackendError(f"{backend} left no outputs of {model} in {python}: {e}") from e


def installed_backends(python: str) -> list[str]:
    """Which interpreters the environment of `python` has, without importing any.

    Raises BackendError when `python` cannot be started."""
    modules = {name: PACKAGES[name][0].split(".")[0] for name in AUTO_ORDER}
    script = (
        "import importlib.util as u, json, sys;"
        "print(json.dumps([n for n, m in json.loads(sys.argv[1]).items() if u.find_spec(m)]))"
    )
    command = [python, "-c", script, json.dumps(modules)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        found = json.loads(done.stdout)
        if not isinstance(found, list):
            raise ValueError(f"it answered {done.stdout.strip()[:80]}")
        return found
    except (OSError, subprocess.SubprocessError, ValueError) as e:
        raise BackendError(f"cannot ask Python '{python}' for its interpreters: {e}") from e
