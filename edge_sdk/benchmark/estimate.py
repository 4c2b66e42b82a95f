"""Latency, memory and energy of a model on a device it was never run on: estimated.

The latency is a fit to published measurements (edge_sdk/benchmark/fit.py) applied to the
model's own Mult-Adds and bytes. It comes with an interval, with what it rests on, and with a
warning for each way in which the model leaves what was fitted. It never replaces a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_sdk.benchmark.executed import core_of
from edge_sdk.benchmark.features import breakdown, coordinates, features
from edge_sdk.benchmark.fit import REMAKE, Fit, read_fit
from edge_sdk.benchmark.published import Published, published_rows
from edge_sdk.benchmark.ratios import Borrowed, as_float, int4_by_int8, int8_by_float
from edge_sdk.benchmark.simulations import NEAR, distance
from edge_sdk.cost import KINDS, ModelCost
from edge_sdk.errors import ModelError, ProfileError, UsageError
from edge_sdk.profiles import DeviceProfile

__all__ = [
    "Battery",
    "Estimate",
    "NoEvidenceError",
    "Published",
    "battery",
    "estimate",
    "family_of",
    "published_rows",
]

# What a family that a table has not seen may be off by, where the fit cannot tell itself: V2 by
# the fits of V1 and the other way round (`edge-sdk profiles validate`), 9 of 10 are nearer.
UNSEEN_FAMILY = 0.50
# A width is known when a row of the fit has parameters this near (a logarithm), and the family.
SAME_WIDTH = 0.15
# Interpreter and its libraries, beside weights and activations: the most of three models measured
# with LiteRT 2.3.0 on x86-64, 7 to 19 MB. Not measured on any of the devices.
RUNTIME_BYTES = 19_000_000
NO_LATENCY = "no latency of an {} MobileNet is published anywhere"


class NoEvidenceError(ProfileError):
    """A profile has nothing to estimate a model of this data type from."""


@dataclass(frozen=True)
class Estimate:
    """latency_ms between low_ms and high_ms, in milliseconds for one image, batch of one.

    breakdown_ms: by kind of layer and OVERHEAD, in sum latency_ms; the fit's attribution, and
    since the kinds grow together it may give one kind another's time. fps: images a second, one
    after the other. memory_bytes: weights (float ones twice: packed copies), the peak of live
    activations and RUNTIME_BYTES. load_ms: reading and packing the weights at the device's
    memory speed, without storage and without starting the interpreter: a lower bound. energy_mj:
    millijoules an image, the device's published watts under full load times the latency;
    energy_above_idle_mj: without what it draws when idle. Memory, load and energy are derived,
    not measured, and None where the device's figure is not published."""

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
    load_ms: float | None
    energy_mj: float | None
    energy_above_idle_mj: float | None
    thermal: str
    evidence: tuple[str, ...]
    warnings: tuple[str, ...]
    battery: Battery | None = None
    label: Literal["estimated"] = "estimated"


@dataclass(frozen=True)
class Battery:
    """Derived from published watts: how long watt_hours last when the device computes for the
    share `duty` of the time and idles otherwise, and how many images that is. Nothing else that
    draws (camera, screen, radio, converter) is in it."""

    watt_hours: float
    duty: float
    mean_w: float
    hours: float
    images: float


def estimate(cost: ModelCost, profile: DeviceProfile) -> Estimate:
    """The latency of a model on a profile's device, with its interval and its evidence.

    Raises ModelError for a model without convolutions or fully connected layers, NoEvidenceError
    where the profile has none for the model's dtype class, ProfileError where it has no fit."""
    if cost.mult_adds == 0:
        raise ModelError(
            "the model has no convolution and no fully connected layer: there is nothing to "
            "estimate its latency from"
        )
    dtype_class, notes = _dtype_class(cost)
    fitted_as, borrowed = _evidence_for(cost, dtype_class, profile)
    if dtype_class != fitted_as:
        said = "no evidence for int8 models on this profile: estimated from executed instructions"
        notes = (*notes, f"{said}, see what its estimate rests on")
    fits = read_fit(profile).fits
    if fitted_as not in fits:
        raise ProfileError(f"fits/{profile.name}.json has no {fitted_as} fit; {REMAKE}")
    fit = fits[fitted_as]
    alike = cost if dtype_class == fitted_as else as_float(cost)
    x = features(alike, fitted_as)
    z = coordinates(alike, x)
    predictor = fit.predictor()
    factor = float(predictor.factor(z[None, :])[0]) * math.prod(b.factor for b in borrowed)
    parts = {k: v * factor for k, v in breakdown(alike, fitted_as, fit.coefficients).items()}
    latency_ms = sum(parts.values())
    if latency_ms <= 0:
        raise ProfileError(
            f"fits/{profile.name}.json: the {fitted_as} fit gives this model 0 ms; {REMAKE}"
        )
    family = family_of(cost)
    own, outside = _interval(float(x[:3].sum()), float(z[1]), family, fit)
    width = max(own, fit.floor) + fit.uncertainty + sum(b.uncertainty for b in borrowed)
    idle, load, memory = (
        figure.value if figure else None
        for figure in (
            profile.hardware.idle_w, profile.hardware.load_w, profile.hardware.memcpy_mbps,
        )
    )  # fmt: skip
    copies = 2 if dtype_class == "float" else 1
    return Estimate(
        profile=profile.name,
        runtime=f"{fit.runtime}, {fit.version}",
        threads=fit.threads,
        abi=fit.abi,
        dtype_class=dtype_class,
        family=family,
        latency_ms=latency_ms,
        low_ms=latency_ms / math.exp(width),
        high_ms=latency_ms * math.exp(width),
        fps=1000 / latency_ms,
        breakdown_ms=parts,
        weight_bytes=cost.weight_bytes,
        peak_activation_bytes=cost.peak_activation_bytes,
        memory_bytes=cost.weight_bytes * copies + cost.peak_activation_bytes + RUNTIME_BYTES,
        load_ms=2 * cost.weight_bytes / memory / 1e3 if memory else None,
        energy_mj=load * latency_ms if load else None,
        energy_above_idle_mj=(load - idle) * latency_ms if load and idle else None,
        thermal=_thermal(profile),
        evidence=_evidence(profile, fit, own, width, borrowed),
        warnings=(*notes, *outside),
    )


def battery(made: Estimate, profile: DeviceProfile, watt_hours: float, duty: float) -> Battery:
    """How long a battery lasts; 0 <= duty <= 1. Raises UsageError for a value out of range,
    ProfileError where the device's watts are not published."""
    if not (math.isfinite(watt_hours) and watt_hours > 0):
        raise UsageError(f"battery is {watt_hours} Wh; it must be above 0")
    if not 0 <= duty <= 1:
        raise UsageError(f"duty is {duty}; valid: 0 to 1, the share of time spent computing")
    idle, load = profile.hardware.idle_w, profile.hardware.load_w
    if idle is None or load is None:
        raise ProfileError(
            f"profile {profile.name} has no idle_w or no load_w: nobody published what it draws, "
            "so battery hours cannot be derived"
        )
    mean = idle.value + duty * (load.value - idle.value)
    hours = watt_hours / mean
    return Battery(watt_hours, duty, mean, hours, hours * 3600 * duty * made.fps)


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
    if activation in ("int8", "uint8") and kernel in ("int4", "uint4"):
        return "int8", (f"{NO_LATENCY.format(kernel)}: see what its estimate rests on",)
    if activation in ("int8", "uint8") and kernel == "int2":
        return "int8", (f"{NO_LATENCY.format(kernel)}: no evidence, and it is estimated as int8",)
    if activation == "int16":
        note = "no latency of a MobileNet with int16 activations is published: estimated as int8"
        return "int8", (f"{note}, which is likely too fast",)
    raise ModelError(
        f"no fit serves {kernel or 'unknown'} kernels with {activation or 'unknown'} activations; "
        "valid kernels: float32, float16, int8, uint8, int4; "
        "valid activations: float32, int8, uint8, int16"
    )


def _evidence_for(
    cost: ModelCost, dtype_class: str, profile: DeviceProfile
) -> tuple[str, tuple[Borrowed, ...]]:
    """The dtype class whose fit serves, and what executed instructions make of its estimate where
    nothing was timed: int4 anywhere, int8 where the profile has float alone."""
    core = core_of(profile.hardware.cpu)
    int4 = dtype_class == "int8" and cost.dtypes()[0] in ("int4", "uint4")
    more = (int4_by_int8(cost, core),) if int4 else ()
    if dtype_class in profile.latency:
        return dtype_class, more
    if core and dtype_class == "int8":
        return "float", (int8_by_float(cost, core), *more)
    raise NoEvidenceError(
        f"no evidence for {dtype_class} models on profile {profile.name}: it has "
        f"{' and '.join(profile.latency)} measurements only"
        + ("" if core else f", and no instructions were counted as {profile.hardware.cpu}")
    )


def _interval(
    mult_adds: float, width: float, family: str | None, fit: Fit
) -> tuple[float, tuple[str, ...]]:
    """The logarithm of the 90 % interval for the unit that was measured, and in what way the
    model leaves what was fitted. mult_adds: in millions, tiles filled; width: a coordinate."""
    found = []
    unseen = family not in fit.families
    if unseen:
        found.append(
            f"extrapolated: the fit has rows of {' and '.join(fit.families)} only, and the "
            f"model is {family or 'of another family'}; the interval is widened"
        )
    low, high = fit.mult_adds
    # A fit to one or two rows always extrapolates, and its interval grows with the distance.
    beyond = fit.rate == 0 and not 0.9 * low <= mult_adds <= 1.1 * high
    if beyond:
        found.append(
            f"extrapolated: the model has {mult_adds:.4g} million Mult-Adds, the fit's rows "
            f"{low:.4g} to {high:.4g}; the interval is widened"
        )
    if fit.rate > 0:
        anchors = [(row.model, row.mult_adds) for row in fit.rows]
        return fit.rate * (NEAR + distance(mult_adds, family, anchors)), tuple(found)
    near = any(r.model == family and abs(r.at[1] - width) < SAME_WIDTH for r in fit.rows)
    own = fit.spread_row if near else max(fit.spread_row, fit.spread_group)
    if unseen:
        own += math.log1p(max(fit.leave_family_out.values(), default=UNSEEN_FAMILY))
    return own + (fit.spread_group if beyond else 0.0), tuple(found)


def _thermal(profile: DeviceProfile) -> str:
    said = profile.hardware.thermal
    if not said:
        return "nothing is published on when this device slows down; these are short runs"
    return f"{said}; these are short runs, and long ones may be slower"


def _evidence(
    profile: DeviceProfile, fit: Fit, own: float, width: float, borrowed: Sequence[Borrowed]
) -> tuple[str, ...]:
    latency = profile.latency[fit.dtype_class]
    rows = ", ".join(f"{family} {n}" for family, n in fit.families.items())
    basis = {
        "table": "fitted to this device's own table",
        "anchored": "this device's own level, shape of other tables",
        "scaled": "level scaled from another device",
    }[fit.basis]
    lines = [
        f"estimated for {profile.title}: {fit.runtime}, {fit.version}, "
        f"{_counted(fit.threads, 'thread')}, ABI {fit.abi}, {latency.clock_ghz:g} GHz, "
        f"{fit.dtype_class} models; {basis}",
        latency.evidence,
        f"fit: {_counted(len(fit.rows), 'row')} ({rows}); {errors_in_words(fit)}",
        f"interval (90 %): a factor of {math.exp(width):.2f} either way; "
        + (
            "the fit's own"
            if fit.floor == 0
            else f"{math.exp(own):.2f} for the unit that was measured, at least "
            f"{math.exp(fit.floor):.2f} for another"
        )
        + (f", times {math.exp(fit.uncertainty):.2f} for the scale" if fit.uncertainty else "")
        + "".join(f", times {math.exp(b.uncertainty):.2f} for instructions" for b in borrowed),
    ]
    lines += [b.said for b in borrowed]
    if latency.scale:
        lines.append(f"scale: a factor of {fit.scale:.3g}. {latency.scale.reason}")
    return tuple(lines)


def errors_in_words(fit: Fit) -> str:
    """Mean errors of a fit on what it has not seen."""
    if len(fit.rows) < 2:
        return "one row: no error of its own; the interval is that of other tables so fitted"
    said = f"mean error {fit.leave_one_out:.1%} on a row left out"
    if fit.basis == "table":
        said += f", {fit.leave_group_out:.1%} on a model and width left out"
    return said + (f"; {_counted(fit.excluded, 'more row')} held out" if fit.excluded else "")


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
