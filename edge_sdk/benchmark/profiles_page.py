"""docs/profiles.md, written from the shipped profiles by `tools/generate_docs.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edge_sdk.benchmark.estimate import Estimate, errors_in_words, estimate
from edge_sdk.benchmark.fit import Fit, read_fit
from edge_sdk.benchmark.published import published_rows, read_table
from edge_sdk.benchmark.simulations import NEAR
from edge_sdk.cost import cost_of_architecture
from edge_sdk.profiles import DeviceProfile, Feature, Figure, load_profile, profile_names

_MODELS = ("mobilenet_v1", "mobilenet_v2")
_DTYPES = {"float": "float32", "int8": "int8"}
_UNITS = {
    "clock_ghz": ("clock", "GHz"),
    "memcpy_mbps": ("memcpy", "MB/s"),
    "idle_w": ("power, idle", "W"),
    "load_w": ("power, all cores busy", "W"),
}
_HEAD = """\
# Device profiles

Written by `make docs` from the profiles; do not edit. How a fit is made, and what the columns of
the measurement tables mean, is in `device_profiles/README.md`; how good the fits are, in
`docs/benchmark.md`.

No figure on this page was measured by this project: a figure is *published* (by the source named)
or *estimated* (computed from published figures, with an interval). For a figure of your own
device, measure it there.

## MobileNets 1.0 at 224, milliseconds an image

Estimated, with the interval in brackets; *pub.*: published for this device, with the
runtime of the estimate's level, and used by the fit.
"""


def profiles_page() -> str:
    """The page's text. Raises ProfileError for a profile or fit that is wrong."""
    profiles = [load_profile(name) for name in profile_names()]
    lines = [*_HEAD.splitlines(), *_overview(profiles)]
    for profile in profiles:
        lines += ["", f"## {profile.name}: {profile.title}", "", *_hardware(profile)]
        fits = read_fit(profile).fits
        for dtype_class in profile.latency:
            lines += ["", *_latency(profile, fits[dtype_class])]
    return "\n".join(lines) + "\n"


def _overview(profiles: Sequence[DeviceProfile]) -> Iterator[str]:
    columns = [(model, c) for model in _MODELS for c in _DTYPES]
    names = [f"{'V1' if model.endswith('1') else 'V2'} {c}" for model, c in columns]
    yield ""
    yield f"| Profile | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for profile in profiles:
        yield f"| {profile.name} | {' | '.join(_cell(profile, *c) for c in columns)} |"


def _cell(profile: DeviceProfile, model: str, dtype_class: str) -> str:
    if dtype_class not in profile.latency:
        return "no evidence"
    made = estimate(cost_of_architecture(model, dtype=_DTYPES[dtype_class]), profile)
    runtimes = {row.runtime for row in read_table(profile, profile.latency[dtype_class].table)}
    published = [
        f"{row.latency_ms:g}"
        for row in published_rows(profile)
        if row.key == (model, 1.0, 224)
        and row.dtype_class == dtype_class
        and row.runtime in runtimes
    ]
    return _interval(made) + "".join(f"; pub. {p}" for p in published)


def _interval(e: Estimate) -> str:
    return f"{e.latency_ms:.3g} [{e.low_ms:.3g}, {e.high_ms:.3g}]"


def _hardware(profile: DeviceProfile) -> Iterator[str]:
    h = profile.hardware
    yield f"{h.soc}, {h.cpu}, {h.cores} cores."
    yield ""
    yield "| Published | | Source |"
    yield "|---|---|---|"
    for key, (what, unit) in _UNITS.items():
        figure: Figure | None = getattr(h, key)
        value = f"{figure.value:g} {unit} | {figure.source}" if figure else "not published |"
        yield f"| {what} | {value} |"
    for key, what in (("dotprod", "8-bit dot product"), ("fp16", "fp16 arithmetic")):
        feature: Feature = getattr(h, key)
        yield f"| {what} | {feature.value} | {feature.source} |"
    if h.thermal:
        yield ""
        yield f"Heat: {h.thermal}."


def _latency(profile: DeviceProfile, fit: Fit) -> Iterator[str]:
    latency = profile.latency[fit.dtype_class]
    yield f"### {fit.dtype_class}"
    yield ""
    yield "| Stated for | | Source |"
    yield "|---|---|---|"
    sources = latency.sources
    yield f"| runtime | {fit.runtime} | {sources.runtime} |"
    yield f"| version | {fit.version} | {sources.version} |"
    yield f"| threads | {fit.threads} | {sources.threads} |"
    yield f"| ABI | {fit.abi} | {sources.abi} |"
    yield f"| clock | {latency.clock_ghz:g} GHz | {sources.clock} |"
    yield ""
    yield latency.evidence
    if latency.scale:
        factor = f"Scaled by {fit.scale:.3g}; interval" if fit.basis == "scaled" else "Interval"
        yield f"{factor} widened by {latency.scale.uncertainty:.0%}. {latency.scale.reason}"
    rows = ", ".join(f"{family} {n}" for family, n in fit.families.items())
    names = ", ".join(f"`{name}`" for name in latency.every_table())
    yield f"Tables: {names}. Fit: {len(fit.rows)} rows ({rows}); {errors_in_words(fit)}."
    if fit.rate:
        yield (
            f"Interval: a factor of {math.exp(fit.rate * NEAR):.2f} at a row and "
            f"{math.exp(fit.rate * (NEAR + math.log(10))):.2f} at a tenth of its Mult-Adds; "
            f"never below {math.exp(fit.floor):.2f}."
        )
    else:
        yield (
            f"Interval: a factor of {math.exp(fit.spread_row):.2f} for a width the table has and "
            f"{math.exp(max(fit.spread_row, fit.spread_group)):.2f} for another; for another unit "
            f"never below {math.exp(fit.floor):.2f}."
        )
