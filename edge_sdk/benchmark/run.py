"""One model on this machine and on profiles: measured beside estimated, never mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.backends.cim.profile import CimProfile
from edge_sdk.benchmark.estimate import Estimate, NoEvidenceError, battery, estimate
from edge_sdk.benchmark.measure import Measurement, measure
from edge_sdk.benchmark.on_chip import OnChip, on_chip
from edge_sdk.cost import cost_of_graph
from edge_sdk.errors import ModelError
from edge_sdk.profiles import DeviceProfile
from edge_sdk.runtime import Model
from edge_sdk.tflite_file import read_tflite

# Times a .tflite file: `measure` here, or a device's own.
Timer = Callable[[Path], Measurement]


@dataclass(frozen=True)
class Benchmark:
    """A model's cost (counted from its file), its timing on one machine (measured) and on
    profiles (estimated). missing: profiles with nothing to estimate it from. chips: on emulated
    compute-in-memory chips (estimated)."""

    model: str
    size_bytes: int
    mult_adds: int
    parameters: int
    weight_types: dict[str, int]
    measured: Measurement | None
    estimates: tuple[Estimate, ...]
    missing: tuple[Missing, ...] = ()
    chips: tuple[OnChip, ...] = ()


@dataclass(frozen=True)
class Missing:
    """Why a profile has no estimate."""

    profile: str
    reason: str


@dataclass(frozen=True)
class Use:
    """A battery's watt hours, and the share of the time spent computing (0 to 1)."""

    watt_hours: float
    duty: float


def benchmark(
    model: Model,
    profiles: Sequence[DeviceProfile],
    chips: Sequence[CimProfile] = (),
    *,
    timer: Timer | None = measure,
    use: Use | None = None,
) -> Benchmark:
    """Raises what `timer` and `estimate` raise, but NoEvidenceError only for the one profile
    there is; timer None measures nothing. use: how long a battery lasts, where a profile's watts
    are published."""
    graph = read_tflite(model.path)
    cost = cost_of_graph(graph)
    made, missing = [], []
    for profile in profiles:
        try:
            made.append(_used(estimate(cost, profile), profile, use))
        except NoEvidenceError as e:
            if len(profiles) + len(chips) == 1:
                raise
            missing.append(Missing(profile.name, str(e)))
    found = []
    for chip in chips:
        try:
            found.append(on_chip(model.path, chip))
        except ModelError as e:
            if len(profiles) + len(chips) == 1:
                raise
            missing.append(Missing(chip.name, str(e)))
    return Benchmark(
        model=model.name,
        size_bytes=Path(model.path).stat().st_size,
        mult_adds=cost.mult_adds,
        parameters=cost.parameters,
        weight_types=graph.weight_types(),
        measured=None if timer is None else timer(model.path),
        estimates=tuple(made),
        missing=tuple(missing),
        chips=tuple(found),
    )


def _used(made: Estimate, profile: DeviceProfile, use: Use | None) -> Estimate:
    if use is None:
        return made
    if profile.hardware.idle_w is None or profile.hardware.load_w is None:
        said = "no battery hours: nobody published what this device draws"
        return replace(made, warnings=(*made.warnings, said))
    return replace(made, battery=battery(made, profile, use.watt_hours, use.duty))
