"""Runs one model in this process and reports: what `process.py` starts elsewhere.

    python -m edge_sdk.backends.worker '<job as JSON>'

It needs NumPy and one interpreter, not even click or Pillow, so that it also runs in another
environment or on a device. The last line on standard output is the result as JSON.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.backends import open_backend
from edge_sdk.backends.base import Backend
from edge_sdk.errors import EdgeError


def run(job: dict[str, Any]) -> dict[str, Any]:
    """job: {task: "outputs" | "time", backend, model, threads, ...}; see the two tasks below."""
    before = _rss_bytes()
    start = time.perf_counter()
    backend = open_backend(job["backend"], Path(job["model"]), threads=job["threads"])
    load_ms = (time.perf_counter() - start) * 1e3
    task = {"outputs": _outputs, "time": _times}[job["task"]]
    result = task(backend, job)
    return {
        "backend": backend.name,
        "version": backend.version,
        "note": backend.note,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "load_ms": load_ms,
        "rss_before_bytes": before,
        "rss_peak_bytes": _rss_bytes(),
        **result,
    }


def _outputs(backend: Backend, job: dict[str, Any]) -> dict[str, Any]:
    """Runs every row of job["inputs"] (.npy, model dtype) and writes job["outputs"] (.npy)."""
    inputs = np.load(job["inputs"], mmap_mode="r")
    rows = [backend.invoke(np.asarray(x[None])).reshape(-1) for x in inputs]
    np.save(job["outputs"], np.stack(rows))
    return {"count": len(rows)}


def _times(backend: Backend, job: dict[str, Any]) -> dict[str, Any]:
    """Times job["runs"] invocations on noise after job["warmup"]; milliseconds each."""
    rng = np.random.default_rng(0)
    spec = backend.input
    x = (
        rng.standard_normal(spec.shape).astype(spec.dtype)
        if spec.quantisation is None
        else rng.integers(
            np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max, spec.shape, spec.dtype, True
        )
    )
    for _ in range(job["warmup"]):
        backend.invoke(x)
    times = []
    deadline = time.perf_counter() + job["seconds"]
    for _ in range(job["runs"]):
        start = time.perf_counter()
        backend.invoke(x)
        end = time.perf_counter()
        times.append((end - start) * 1e3)
        if end > deadline:
            break
    return {"times_ms": times}


def _rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    try:
        result = run(json.loads(sys.argv[1]))
    except EdgeError as e:
        result = {"error": str(e), "kind": type(e).__name__}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
