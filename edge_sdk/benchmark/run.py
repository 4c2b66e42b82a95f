"""One model on this machine and on profiles: measured beside estimated, never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.benchmark.estimate import Estimate, estimate
from edge_sdk.benchmark.measure import RUNS, SECONDS, Measurement, measure
from edge_sdk.cost import cost_of_graph
from edge_sdk.profiles import DeviceProfile
from edge_sdk.runtime import Model
from edge_sdk.tflite_file import read_tflite


@dataclass(frozen=True)
class Benchmark:
    """A model's cost (counted from its file), its timing here (measured) and there (estimated)."""

    model: str
    size_bytes: int
    mult_adds: int
    parameters: int
    weight_types: dict[str, int]
    measured: Measurement | None
    estimates: tuple[Estimate, ...]


def benchmark(
    model: Model,
    profiles: Sequence[DeviceProfile],
    *,
    here: bool = True,
    backend: str = "auto",
    threads: int = 1,
    runs: int = RUNS,
    seconds: float = SECONDS,
) -> Benchmark:
    """Raises what `measure` and `estimate` raise; here=False measures nothing."""
    graph = read_tflite(model.path)
    cost = cost_of_graph(graph)
    timed = (
        measure(model.path, backend=backend, threads=threads, runs=runs, seconds=seconds)
        if here
        else None
    )
    return Benchmark(
        model=model.name,
        size_bytes=Path(model.path).stat().st_size,
        mult_adds=cost.mult_adds,
        parameters=cost.parameters,
        weight_types=graph.weight_types(),
        measured=timed,
        estimates=tuple(estimate(cost, profile) for profile in profiles),
    )
