"""One model on this machine and on profiles: measured beside estimated, never mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.benchmark.estimate import Estimate, estimate
from edge_sdk.benchmark.measure import Measurement, measure
from edge_sdk.cost import cost_of_graph
from edge_sdk.profiles import DeviceProfile
from edge_sdk.runtime import Model
from edge_sdk.tflite_file import read_tflite

# Times a .tflite file: `measure` here, or a device's own.
Timer = Callable[[Path], Measurement]


@dataclass(frozen=True)
class Benchmark:
    """A model's cost (counted from its file), its timing on one machine (measured) and on
    profiles (estimated)."""

    model: str
    size_bytes: int
    mult_adds: int
    parameters: int
    weight_types: dict[str, int]
    measured: Measurement | None
    estimates: tuple[Estimate, ...]


def benchmark(
    model: Model, profiles: Sequence[DeviceProfile], *, timer: Timer | None = measure
) -> Benchmark:
    """Raises what `timer` and `estimate` raise; timer None measures nothing."""
    graph = read_tflite(model.path)
    cost = cost_of_graph(graph)
    return Benchmark(
        model=model.name,
        size_bytes=Path(model.path).stat().st_size,
        mult_adds=cost.mult_adds,
        parameters=cost.parameters,
        weight_types=graph.weight_types(),
        measured=None if timer is None else timer(model.path),
        estimates=tuple(estimate(cost, profile) for profile in profiles),
    )
