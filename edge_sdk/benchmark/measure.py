"""Measures a model on this machine, in a fresh process, and describes the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.backends import classifier_specs
from edge_sdk.backends.process import run_worker

WARMUP = 10
RUNS = 200
# A slow model stops here, with fewer runs, which the result says.
SECONDS = 20.0


@dataclass(frozen=True)
class Machine:
    """Where a measurement was taken. memory_bytes: of the whole machine."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str


@dataclass(frozen=True)
class Measurement:
    """A model, timed here: every figure in it is measured.

    Milliseconds per invocation, input already in the model's form; load_ms includes importing the
    interpreter. rss_peak_bytes: the largest resident size of the process; rss_model_bytes: what
    of it came after the process had started, so the interpreter, the model and its buffers."""

    runtime: str
    version: str
    python: str
    threads: int
    runs: int
    warmup: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    load_ms: float
    rss_peak_bytes: int
    rss_model_bytes: int
    machine: Machine


def measure(
    model: Path,
    *,
    backend: str = "auto",
    threads: int = 1,
    runs: int = RUNS,
    warmup: int = WARMUP,
    seconds: float = SECONDS,
) -> Measurement:
    """Times `runs` invocations (fewer when `seconds` have passed) after `warmup`.

    Raises ModelError for a file that is no classifier, BackendError for a missing interpreter."""
    classifier_specs(model)
    job = {
        "task": "time",
        "backend": backend,
        "model": str(model.resolve()),
        "threads": threads,
        "runs": runs,
        "warmup": warmup,
        "seconds": seconds,
    }
    report = run_worker(job)
    times = np.asarray(report["times_ms"])
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    return Measurement(
        runtime=report["backend"],
        version=report["version"],
        python=report["python"],
        threads=threads,
        runs=len(times),
        warmup=warmup,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_ms=float(times.mean()),
        min_ms=float(times.min()),
        load_ms=report["load_ms"],
        rss_peak_bytes=report["rss_peak_bytes"],
        rss_model_bytes=report["rss_peak_bytes"] - report["rss_before_bytes"],
        machine=describe_machine(),
    )


def describe_machine() -> Machine:
    """This machine: processor name, cores this process may use, memory, system; no host name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = f"{platform.system()} {platform.machine()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Machine(_cpu_name(), cores or 1, memory, system)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # x86 says "model name"; a Raspberry Pi says "Model" for the board.
    for key in ("model name", "Model", "Hardware"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return platform.processor() or platform.machine()
