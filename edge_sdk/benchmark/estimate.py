"""Latency, memory and energy of a model on a device it was never run on: estimated.

The latency is a fit to published measurements (edge_sdk/benchmark/fit.py) applied to the
model's own Mult-Adds and bytes. It comes with an interval, with what it rests on, and with a
warning for each way in which the model leaves what was fitted. It never replaces a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_sdk.benchmark.fit import FEATURES, REMAKE, Fit, features, read_fit
from edge_sdk.benchmark.published import Published, published_rows
from edge_sdk.cost import KINDS, ModelCost
from edge_sdk.errors import ModelError, ProfileError
from edge_sdk.profiles import DeviceProfile

__all__ = ["Estimate", "Published", "estimate", "family_of", "published_rows"]

# What a family that a fit has not seen may be off by, where the fit cannot tell itself. Fits of
# both families are off by 3 to 58 % on a family left out (leave_family_out in fits/*.json).
UNSEEN_FAMILY = 0.50
OVERHEAD = "overhead"


@dataclass(frozen=True)
class Estimate:
    """latency_ms between low_ms and high_ms, in milliseconds for one image, batch of one.

    breakdown_ms: by kind of layer and OVERHEAD, in sum latency_ms; the fit's attribution, and
    since the kinds grow together it may give one kind another's time. fps: images a second, one
    after the other. memory_bytes: weights plus the peak of live activations, a lower bound of
    what an interpreter takes. energy_mj: millijoules an image, the device's published watts
    under full load times the latency; energy_above_idle_mj: without what it draws when idle.
    Both are derived, not measured, and None where the watts are not published."""

    profile: str
    runtime: str
    threads: int
    abi: str
    dtype_class: str
    family: str | None
    latency_ms: float
    low_ms: float
    high_ms: float
    fps: float
    breakdown_ms: dict[str, float]
    weight_bytes: int
    peak_activation_bytes: int
    memory_bytes: int
    energy_mj: float | None
    energy_above_idle_mj: float | None
    evidence: tuple[str, ...]
    warnings: tuple[str, ...]
    label: Literal["estimated"] = "estimated"


def estimate(cost: ModelCost, profile: DeviceProfile) -> Estimate:
    """The latency of a model on a profile's device, with its interval and its evidence.

    Raises ModelError for a model without convolutions or fully connected layers, ProfileError
    for a profile that has no fit, or none for the model's dtype class."""
    if cost.mult_adds == 0:
        raise ModelError(
            "the model has no convolution and no fully connected layer: there is nothing to "
            "estimate its latency from"
        )
    dtype_class, notes = _dtype_class(cost)
    if dtype_class not in profile.latency:
        raise ProfileError(
            f"profile {profile.name} states no latency for {dtype_class} models; "
            f"it has: {', '.join(profile.latency)}"
        )
    fits = read_fit(profile).fits
    if dtype_class not in fits:
        raise ProfileError(f"fits/{profile.name}.json has no {dtype_class} fit; {REMAKE}")
    fit = fits[dtype_class]
    x = features(cost, dtype_class)
    parts = {k: fit.coefficients[k] * float(v) for k, v in zip(FEATURES, x, strict=True)}
    latency_ms = sum(parts.values())
    family = family_of(cost)
    outside, widening = _outside(float(x[:3].sum()), family, fit)
    spread = (1 + fit.spread) * widening
    idle, load = profile.hardware.idle_w, profile.hardware.load_w
    return Estimate(
        profile=profile.name,
        runtime=f"{fit.runtime}, {fit.version}",
        threads=fit.threads,
        abi=fit.abi,
        dtype_class=dtype_class,
        family=family,
        latency_ms=latency_ms,
        low_ms=latency_ms / spread,
        high_ms=latency_ms * spread,
        fps=1000 / latency_ms,
        breakdown_ms=_breakdown(cost, parts),
        weight_bytes=cost.weight_bytes,
        peak_activation_bytes=cost.peak_activation_bytes,
        memory_bytes=cost.weight_bytes + cost.peak_activation_bytes,
        energy_mj=load.value * latency_ms if load else None,
        energy_above_idle_mj=(load.value - idle.value) * latency_ms if load and idle else None,
        evidence=_evidence(profile, fit, spread),
        warnings=(*notes, *outside),
    )


def family_of(cost: ModelCost) -> str | None:
    """mobilenet_v1 (a 1x1 convolution to a depthwise one), mobilenet_v2 (two), or None: told by
    the layers, since a .tflite file does not say what it is."""
    count = {k: sum(layer.kind == k for layer in cost.layers) for k in KINDS}
    depthwise = count["depthwise"]
    if depthwise == 0 or count["conv"] > 1 or count["fully-connected"] > 1:
        return None
    if count["pointwise"] == depthwise:
        return "mobilenet_v1"
    # The first block has no expansion, the last 1x1 convolution no block: 2 n, less or more.
    return "mobilenet_v2" if abs(count["pointwise"] - 2 * depthwise) <= 1 else None


def _dtype_class(cost: ModelCost) -> tuple[str, tuple[str, ...]]:
    """The class whose fit serves, and what is assumed by it."""
    kernel, activation = cost.dtypes()
    if kernel in ("float32", "float16", "bfloat16"):
        note = f"{kernel} kernels are unpacked and run as float32: estimated as float"
        return "float", () if kernel == "float32" else (note,)
    if activation == "float32":
        note = f"{kernel} kernels with float activations: no published latency, estimated as float"
        return "float", (note,)
    if activation in ("int8", "uint8") and kernel in ("int8", "uint8"):
        return "int8", ()
    if activation in ("int8", "uint8") and kernel in ("int4", "int2", "uint4"):
        note = f"no latency of an {kernel} MobileNet is published anywhere: estimated as int8"
        return "int8", (note,)
    if activation == "int16":
        note = "no latency of a MobileNet with int16 activations is published: estimated as int8"
        return "int8", (f"{note}, which is likely too fast",)
    raise ModelError(
        f"no fit serves {kernel or 'unknown'} kernels with {activation or 'unknown'} activations; "
        "valid kernels: float32, float16, int8, uint8, int4; "
        "valid activations: float32, int8, uint8, int16"
    )


def _outside(mult_adds: float, family: str | None, fit: Fit) -> tuple[tuple[str, ...], float]:
    """How the model leaves what was fitted, and the factor that widens its interval."""
    found, widening = [], 1.0
    if family not in fit.families:
        widening *= 1 + max(fit.leave_family_out.values(), default=UNSEEN_FAMILY)
        found.append(
            f"extrapolated: the fit has rows of {' and '.join(fit.families)} only, and the "
            f"model is {family or 'of another family'}; the interval is widened"
        )
    low, high = fit.mult_adds
    if not 0.9 * low <= mult_adds <= 1.1 * high:
        widening *= 1 + fit.leave_group_out_q90
        found.append(
            f"extrapolated: the model has {mult_adds:.4g} million Mult-Adds, the fit's rows "
            f"{low:.4g} to {high:.4g}; the interval is widened"
        )
    return tuple(found), widening


def _breakdown(cost: ModelCost, parts: dict[str, float]) -> dict[str, float]:
    """The latency by kind of layer: bytes are shared out by each kind's part of them."""
    work = cost.mult_adds_by_kind()
    spatial = work["conv"] + work["fully-connected"]
    out = dict.fromkeys(KINDS, 0.0)
    out["pointwise"] += parts["pointwise"]
    out["depthwise"] += parts["depthwise"]
    for kind in ("conv", "fully-connected"):
        out[kind] += parts["conv"] * work[kind] / spatial if spatial else 0.0
    for part, amounts in (
        (parts["activations"], cost.activation_bytes_by_kind()),
        (parts["parameters"], cost.parameters_by_kind()),
    ):
        total = sum(amounts.values())
        for kind in KINDS:
            out[kind] += part * amounts[kind] / total if total else 0.0
    return out | {OVERHEAD: parts["constant"]}


def _evidence(profile: DeviceProfile, fit: Fit, spread: float) -> tuple[str, ...]:
    latency = profile.latency[fit.dtype_class]
    rows = ", ".join(f"{family} {n}" for family, n in fit.families.items())
    level = {
        "table": "fitted to this device's own table",
        "anchored": "this device's own level, shape of another table",
        "scaled": "level scaled from another device",
    }[fit.basis]
    lines = [
        f"estimated for {profile.title}: {fit.runtime}, {fit.version}, {fit.threads} threads, "
        f"ABI {fit.abi}, {fit.dtype_class} models; {level}",
        latency.evidence,
        f"fit: {len(fit.rows)} published rows ({rows}); mean error {fit.fit_error:.1%} on its own "
        f"rows, {fit.leave_one_out:.1%} on a row left out, {fit.leave_group_out:.1%} on a model "
        f"and width left out (90 % of these below {fit.leave_group_out_q90:.0%})",
        f"interval: a factor of {spread:.2f} either way",
    ]
    if latency.scale:
        lines.append(f"scale: a factor of {fit.scale:.3g}. {latency.scale.reason}")
    return tuple(lines)
