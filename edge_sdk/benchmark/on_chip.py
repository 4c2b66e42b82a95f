"""A model's time and energy on a compute-in-memory chip, from its profile's constants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_sdk.backends.cim import require_extra
from edge_sdk.backends.cim.profile import CimProfile, evidence, leaves


@dataclass(frozen=True)
class OnChip:
    """Estimated for one image. latency_ms: layer after layer. fps: images a second where layers
    work on different images at once. arrays: that the model takes; fits: on the chip as it is,
    else the figures are those of one with arrays enough, and `evidence` says what would help."""

    profile: str
    latency_ms: float
    fps: float
    energy_mj: float
    tops_per_w: float
    arrays: int
    fits: bool
    evidence: tuple[str, ...]
    label: Literal["estimated"] = "estimated"


def on_chip(model: Path, profile: CimProfile) -> OnChip:
    """Raises ModelError for a model that is not quantised or holds an operator that no chip
    executes, BackendError without the `cim` extra."""
    require_extra()
    from edge_sdk.backends.cim.cost import cost_of_network
    from edge_sdk.backends.cim.deployed import open_deployed

    cost = cost_of_network(open_deployed(model).kernels, profile)
    m = cost.mapping
    there = f"of {m.on_chip}" if m.on_chip else "of as many as needed"
    known = sum(evidence(profile, key)[0] == "known" for key in leaves(profile))
    said = [
        f"{profile.title}: {m.shared if m.placed != 'apart' else m.arrays} arrays {there}; counts "
        f"of this model times constants, of which {known} of {len(leaves(profile))} are published "
        "and the others assumed: an order of magnitude, without an interval",
    ]
    if not m.fits:
        said.append(f"does not fit; would: {'; '.join(m.remedies)}")
    return OnChip(
        profile=f"{profile.name}:{profile.mode}" if profile.mode else profile.name,
        latency_ms=cost.latency_us / 1e3,
        fps=1e6 / cost.interval_us,
        energy_mj=cost.total_uj / 1e3,
        tops_per_w=cost.tops_per_w,
        arrays=m.arrays if m.placed == "apart" else m.shared,
        fits=m.fits,
        evidence=tuple(said),
    )
