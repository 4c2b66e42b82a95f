"""Which layers a chip's errors hurt, and which to keep digital.

Layer by layer: one alone on arrays with errors, the others exact. What layers lose together is more
or less than the sum, so a plan is a guess until it has been run as a whole (`lost_together`).
Images must not be those that the result is judged on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.chip import Chip
from edge_sdk.backends.cim.converters import AdcRanges
from edge_sdk.backends.cim.cost import CimCost, cost_of_network
from edge_sdk.backends.cim.deployed import Deployed
from edge_sdk.backends.cim.kernel import Kernel, short_names
from edge_sdk.backends.cim.profile import CimProfile
from edge_sdk.backends.cim.sums import exact_sums
from edge_sdk.errors import UsageError
from edge_sdk.progress import Progress, silent

Levels = npt.NDArray[Any]
Calls = Callable[[Levels], npt.NDArray[np.int64]]  # class numbers of output levels


@dataclass(frozen=True, eq=False)
class Trial:
    """What layers are tried on. levels: of images, in the model's input type; truth: their class
    numbers, None where they have no labels. ranges: of converters, see chip.calibrated. chips:
    how many, seeds 0 to chips - 1."""

    deployed: Deployed
    profile: CimProfile
    levels: Levels
    calls: Calls
    truth: npt.NDArray[np.int64] | None = None
    ranges: AdcRanges | None = None
    time_s: float = 0.0
    temperature_c: float | None = None
    chips: int = 3
    compensate_drift: bool = False


@dataclass(frozen=True)
class Loss:
    """Over chips. lost: share of images that are called right exactly and not on the chip, less
    those the other way round; None without labels. changed: share called another class. sd: of
    lost, or of changed without labels, between chips, 0 for one."""

    lost: float | None
    changed: float
    sd: float

    @property
    def judged_by(self) -> float:
        return self.changed if self.lost is None else self.lost


@dataclass(frozen=True)
class LayerLoss:
    """One layer alone on arrays. array_uj, digital_uj: what it costs per image in either place,
    estimated."""

    name: str
    loss: Loss
    array_uj: float
    digital_uj: float

    @property
    def extra_uj(self) -> float:
        """What it costs to keep it digital; below 0 where arrays cost more."""
        return self.digital_uj - self.array_uj


@dataclass(frozen=True)
class Plan:
    """digital: layers kept off the arrays, in the order they were taken. expected: sum of what the
    others lose alone. energy_uj: per image, of the whole network; before_uj: with every layer on
    arrays that can be. reached: whether the budget is kept."""

    digital: tuple[str, ...]
    expected: float
    energy_uj: float
    before_uj: float
    reached: bool


def sensitivity(trial: Trial, progress: Progress = silent) -> tuple[LayerLoss, ...]:
    """Every layer that the profile puts on arrays, in the order they run.

    Raises UsageError where there is none."""
    profile = trial.profile
    on_arrays = _on_arrays(trial.deployed.kernels, profile)
    if not on_arrays:
        raise UsageError(f"profile {profile.name} puts no layer of this model on arrays")
    cost = cost_of_network(trial.deployed.kernels, profile)
    array_uj = {layer.name: sum(layer.energy_uj.values()) for layer in cost.layers}
    names = frozenset(k.name for k in trial.deployed.kernels)
    ideal = _ideal(trial)
    found = []
    for done, kernel in enumerate(on_arrays):
        progress("layers alone on arrays", done, len(on_arrays))
        loss = _loss(trial, ideal, names - {kernel.name})
        digital_uj = _digital_uj(kernel, profile)
        found.append(LayerLoss(kernel.name, loss, array_uj[kernel.name], digital_uj))
    progress("layers alone on arrays", len(on_arrays), len(on_arrays))
    return tuple(found)


def lost_together(trial: Trial, digital: Collection[str] = ()) -> Loss:
    """Of the network on chips, the named layers kept digital."""
    return _loss(trial, _ideal(trial), frozenset(digital))


def plan(
    layers: Sequence[LayerLoss],
    cost: CimCost,
    *,
    most_lost: float | None = None,
    most_uj: float | None = None,
) -> Plan:
    """Greedy: off the arrays comes the layer that loses most per extra energy, until the sum of
    what is left is at most most_lost (a share, 0.01 is a point), or as long as the network costs
    at most most_uj. Layers that lose nothing stay.

    Raises UsageError unless one budget is given."""
    if (most_lost is None) == (most_uj is None):
        raise UsageError("give one budget: accuracy that may be lost, or energy that may be spent")
    left = sum(max(0.0, x.loss.judged_by) for x in layers)
    spent = cost.total_uj
    taken: list[str] = []
    for layer in sorted((x for x in layers if x.loss.judged_by > 0), key=_worth, reverse=True):
        if most_lost is not None and left <= most_lost:
            break
        if most_uj is not None and layer.extra_uj > 0 and spent + layer.extra_uj > most_uj:
            continue
        taken.append(layer.name)
        left -= layer.loss.judged_by
        spent += layer.extra_uj
    left = max(0.0, left)
    reached = left <= most_lost if most_lost is not None else spent <= (most_uj or 0.0)
    return Plan(tuple(taken), left, spent, cost.total_uj, reached)


def sensitivity_text(layers: Sequence[LayerLoss], kept: Plan | None = None) -> str:
    """A table for the terminal; losses in points of 100, energies estimated."""
    names = list(short_names([x.name for x in layers]).values())
    width = max(len("layer"), *map(len, names))
    by = "changed" if layers[0].loss.lost is None else "lost"
    lines = [f"{'layer':{width}}  {by:>7}     +-  changed  array uJ  digital uJ"]
    for name, x in zip(names, layers, strict=True):
        figures = (
            f"{100 * x.loss.judged_by:7.2f} {100 * x.loss.sd:6.2f}  {100 * x.loss.changed:7.2f}"
            f"  {x.array_uj:8.3f}  {x.digital_uj:10.3f}"
        )
        mark = "  kept digital" if kept and x.name in kept.digital else ""
        lines.append(f"{name:{width}}  {figures}{mark}")
    if kept is not None:
        outcome = "kept" if kept.reached else "NOT kept: no choice of layers keeps it"
        lines.append(
            f"{len(kept.digital)} of {len(layers)} layers digital: {100 * kept.expected:.2f} "
            f"points expected to be lost, {kept.energy_uj:.2f} uJ instead of "
            f"{kept.before_uj:.2f} (estimated); budget {outcome}"
        )
    return "\n".join(lines)


def _on_arrays(kernels: Sequence[Kernel], profile: CimProfile) -> list[Kernel]:
    chip = Chip(profile, ())
    return [k for k in kernels if not chip.is_digital(k)]


def _ideal(trial: Trial) -> npt.NDArray[np.int64]:
    return trial.calls(trial.deployed.run(trial.levels, exact_sums, ()))


def _loss(trial: Trial, ideal: npt.NDArray[np.int64], digital: frozenset[str]) -> Loss:
    lost, changed = [], []
    for seed in range(trial.chips):
        chip = Chip(
            trial.profile,
            trial.deployed.kernels,
            seed=seed,
            time_s=trial.time_s,
            temperature_c=trial.temperature_c,
            digital=digital,
            ranges=trial.ranges,
            compensate_drift=trial.compensate_drift,
        )
        calls = trial.calls(trial.deployed.run(trial.levels, chip, chip.exact))
        changed.append(float((calls != ideal).mean()))
        if trial.truth is not None:
            lost.append(float((ideal == trial.truth).mean() - (calls == trial.truth).mean()))
    spread = lost or changed
    return Loss(
        statistics.fmean(lost) if lost else None,
        statistics.fmean(changed),
        statistics.stdev(spread) if len(spread) > 1 else 0.0,
    )


def _digital_uj(kernel: Kernel, profile: CimProfile) -> float:
    """A digital unit sees Mult-Adds only: as many as those of a depthwise layer of as many rows."""
    digital = replace(profile, layers=replace(profile.layers, depthwise="digital"))
    same = replace(kernel, kind="depthwise", weights=kernel.weights.reshape(kernel.rows, 1, -1))
    return sum(cost_of_network([same], digital).layers[0].energy_uj.values())


def _worth(layer: LayerLoss) -> tuple[bool, float]:
    """What costs nothing extra first, then by loss per energy."""
    free = layer.extra_uj <= 0
    return free, layer.loss.judged_by if free else layer.loss.judged_by / layer.extra_uj
