"""Measures a model on this machine, in a fresh process, and describes the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_sdk.backends import classifier_specs
from edge_sdk.backends.process import run_worker

HERE = "here"
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
class State:
    """One look at a machine's clock and heat; None: it does not say.

    clock_mhz: of its fastest core at that moment; clock_max_mhz: the highest it may take.
    throttled: the firmware's bits (`vcgencmd get_throttled`), where it is a Raspberry Pi.
    cooling: how far the kernel holds the clock back for heat; 0 is not at all.
    memory_free_bytes: what programs may still take without swapping."""

    governor: str | None = None
    clock_mhz: float | None = None
    clock_max_mhz: float | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    cooling: int | None = None
    memory_free_bytes: int | None = None


@dataclass(frozen=True)
class Conditions:
    """The machine before, after and, in clock_low_mhz and clock_high_mhz, during the runs."""

    before: State
    after: State
    clock_low_mhz: float | None = None
    clock_high_mhz: float | None = None


@dataclass(frozen=True)
class OpTime:
    """Mean milliseconds that one invocation spends in all operators of a kind."""

    kind: str
    count: int
    mean_ms: float


@dataclass(frozen=True)
class Measurement:
    """A model, timed: every figure in it is measured.

    Milliseconds per invocation, input already in the model's form; load_ms includes importing the
    interpreter. rss_peak_bytes: the largest resident size of the process; rss_model_bytes: what
    of it came after the process had started, so the interpreter, the model and its buffers.
    What the tool that timed does not say is None. where: this machine, or the device's name;
    warnings: why the figures may not repeat; ops: time by kind of operator, where profiled."""

    runtime: str
    version: str
    python: str
    threads: int
    runs: int
    warmup: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    min_ms: float
    load_ms: float
    rss_peak_bytes: int | None
    rss_model_bytes: int | None
    machine: Machine
    where: str = HERE
    conditions: Conditions | None = None
    warnings: tuple[str, ...] = ()
    ops: tuple[OpTime, ...] = ()
    label: Literal["measured"] = "measured"

    @property
    def latency_ms(self) -> float:
        """The median, or the mean where the tool gives no median."""
        return self.mean_ms if self.p50_ms is None else self.p50_ms


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
    return measurement(run_worker(job), threads, warmup, describe_machine())


def measurement(
    report: dict[str, Any],
    threads: int,
    warmup: int,
    machine: Machine,
    *,
    where: str = HERE,
    conditions: Conditions | None = None,
    warnings: tuple[str, ...] = (),
) -> Measurement:
    """What a worker's report of its task "time" says (see backends/worker.py)."""
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
        machine=machine,
        where=where,
        conditions=conditions,
        warnings=warnings,
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
