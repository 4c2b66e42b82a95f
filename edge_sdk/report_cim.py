"""Compute-in-memory chips as text: profiles, what a network takes of one, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from edge_sdk.backends.cim.cost import PARTS, CimCost
from edge_sdk.backends.cim.cross_prediction import Prediction, cross_predictions
from edge_sdk.backends.cim.kernel import short_names
from edge_sdk.backends.cim.mapping import Mapping
from edge_sdk.backends.cim.profile import (
    CimProfile,
    cim_profile_names,
    evidence,
    leaves,
    load_cim_profile,
)
from edge_sdk.report import NOTHING, table

# Issue 5: the other mode within so much.
WITHIN = 0.25
_PLACED = {
    "apart": "fits, a layer on each array",
    "shared": "fits, layers share arrays and are then read one after the other",
    "reloaded": "fits only with arrays written anew for every image",
    "too small": "DOES NOT FIT",
}


def cim_profiles_table(profiles: Sequence[CimProfile]) -> str:
    """The profiles: their arrays, their quoted peak, how many of their values are published."""
    rows = []
    for p in profiles:
        known = sum(evidence(p, key)[0] == "known" for key in leaves(p))
        arrays = str(p.chip.arrays) if p.chip.arrays else "any"
        rows.append(
            [
                p.name,
                p.chip.medium,
                p.chip.paradigm,
                f"{arrays} x {p.array.rows} x {p.array.columns}",
                str(p.cells.bits),
                NOTHING if p.adc.ideal else str(p.adc.bits),
                _or_nothing(p.costs.peak_tops_per_w),
                f"{known} of {len(leaves(p))}",
                ", ".join(p.modes) or NOTHING,
            ]
        )
    head = ["profile", "medium", "paradigm", "arrays", "cell bits", "ADC bits", "TOPS/W",
            "published", "modes"]  # fmt: skip
    return table(head, rows, left=3)


def cim_profile_page(profile: CimProfile) -> str:
    """One profile: every value, published or assumed, and by whom or why."""
    rows = []
    for key, value in leaves(profile).items():
        mark, text = evidence(profile, key)
        rows.append([key, value_text(value), "published" if mark == "known" else mark, text])
    return "\n".join(
        [
            f"{profile.name}: {profile.title}",
            table(["value", "", "", "source or reason"], rows, left=4),
            *mode_lines(profile),
        ]
    )


def mode_lines(profile: CimProfile) -> list[str]:
    """A line per mode and per published efficiency."""
    lines = []
    for name, mode in profile.modes.items():
        stated = " (the values above)" if name == profile.mode else ""
        lines.append(
            f"mode {name}{stated}: {mode.phases} phases, DAC {mode.dac_bits} bits, "
            f"ADC {mode.adc_bits} bits ({mode.source})"
        )
    for q in profile.quoted:
        peak = f"{q.tops:g} TOPS, " if q.tops else ""
        lines.append(
            f"published {q.workload or 'peak'} {q.mode}: {peak}{q.tops_per_w:g} TOPS/W ({q.source})"
        )
    return lines


def mapping_table(mapping: Mapping) -> str:
    """A row per layer with weights, and their sum. Counts are per image."""
    names = short_names([m.name for m in mapping.layers])
    rows = [
        [
            names[m.name],
            m.how,
            f"{m.rows} x {m.columns}",
            f"{m.row_blocks} x {m.column_blocks}" if m.arrays else NOTHING,
            str(m.arrays),
            _percent(m.use) if m.arrays else NOTHING,
            f"{m.mvms:,}",
            f"{m.adc_conversions:,}",
            f"{m.dac_conversions:,}",
        ]
        for m in mapping.layers
    ]
    total = [
        "all",
        "",
        "",
        "",
        str(mapping.arrays),
        _percent(mapping.use),
        f"{sum(m.mvms for m in mapping.layers):,}",
        f"{sum(m.adc_conversions for m in mapping.layers):,}",
        f"{sum(m.dac_conversions for m in mapping.layers):,}",
    ]
    head = ["layer", "how", "rows x columns", "blocks", "arrays", "use %", "reads",
            "ADC conversions", "DAC conversions"]  # fmt: skip
    return table(head, [*rows, total], left=2)


def mapping_notes(mapping: Mapping) -> list[str]:
    """Whether it fits, and what would make it fit."""
    there = (
        f"the chip has {mapping.on_chip}" if mapping.on_chip else "as many as needed are assumed"
    )
    lines = [
        f"{_PLACED[mapping.placed]}: {mapping.arrays} arrays with a layer each, {mapping.shared} "
        f"where layers share them; {there}"
    ]
    if mapping.reloads:
        lines.append(
            f"{mapping.reloads} times per image an array is written, {mapping.reload_rows} rows"
        )
    return lines + [f"would fit: {text}" for text in mapping.remedies]


def cim_cost_table(costs: Sequence[tuple[str, CimCost]]) -> str:
    """(name, cost) side by side, microjoules per image by part; all estimated."""
    used = [p for p in PARTS if any(c.energy_uj[p] for _, c in costs)]
    rows = [
        [
            name,
            *(f"{c.energy_uj[p]:.3g}" for p in used),
            f"{c.total_uj:.3g}",
            _or_nothing(c.bound_uj),
            f"{c.tops_per_w:.3g}",
            _or_nothing(c.peak_tops_per_w),
            f"{c.latency_us:.4g}",
            f"{c.interval_us:.4g}",
            _or_nothing(c.area_mm2),
            "yes" if c.mapping.fits else "NO",
        ]
        for name, c in costs
    ]
    head = ["", *(f"{p.replace('_', '-')} uJ" for p in used), "total uJ", "at peak uJ", "TOPS/W",
            "peak", "latency us", "interval us", "mm2", "fits"]  # fmt: skip
    return table(head, rows)


def predictions_table(predictions: Sequence[Prediction]) -> str:
    """Published against predicted, a row per figure; a miss is said to be one."""
    rows = [
        [
            p.chip,
            p.workload,
            p.calibrated_on,
            p.mode,
            p.what,
            f"{p.published:g}",
            f"{p.predicted:.4g}",
            f"{100 * p.error:+.1f}",
            "yes" if abs(p.error) <= WITHIN else "MISSED",
        ]
        for p in predictions
    ]
    head = ["chip", "figure", "calibrated on", "predicted mode", "unit", "published", "predicted",
            "error %", f"within {100 * WITHIN:.0f} %"]  # fmt: skip
    return table(head, rows, left=5)


def value_text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value_text(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _or_nothing(value: float) -> str:
    return f"{value:.4g}" if value else NOTHING


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"


# --- docs/cim-profiles.md ------------------------------------------------------------------

_HEAD = """\
# Compute-in-memory profiles

Written by `make docs` from `device_profiles/cim/*.toml`; do not edit. No figure on this page was
measured by this project. A value is *published* (by the source named) or *assumed* (for the reason
given); what is computed from them is *estimated*. `:MODE` after a profile's name takes the chip in
another of its modes, predicted from the one that the file states.

An `order of magnitude` is what its words say: a result that rests on one needs a value of your own.
Copy a profile, change it, and give its path. Every value must be named in `known` or `assumed`; a
key covers all below it.
"""
_CROSS = """\
## How far the energy model can be trusted

One mode's published figures, predicted from another's (`python benchmarks/cim_energy.py`).

HERMES: the time of a read and the energy of a conversion are solved for in one mode; the other
follows from its number of read phases.

AON-CiM: inputs are pulses of up to 2^bits steps that the converters count through, so analog energy
goes with that time, memory with the bits, and rescaling stays. Energy per conversion is that of
HERMES. The layers of the two networks are not in the sources read: for each, the rows that a read
uses on average are solved for from the 8-bit figure. Nothing is solved for from a predicted mode,
but the prediction rests on the assumed energy of memory, as the two lines under the table show.
"""


def cim_profiles_page() -> str:
    """The page's text. Raises ProfileError for a profile that is wrong."""
    profiles = [load_cim_profile(name) for name in cim_profile_names()]
    lines = [*_HEAD.splitlines(), "", "```", cim_profiles_table(profiles), "```", ""]
    lines += [*_CROSS.splitlines(), "", "```", predictions_table(cross_predictions()), "```", ""]
    for memory in (0.5, 2.0):
        worst = max(cross_predictions(memory), key=lambda p: abs(p.error))
        lines.append(
            f"- with memory and rescaling x {memory:g} the worst row is {worst.error:+.0%} "
            f"({worst.workload}, {worst.mode})"
        )
    for p in profiles:
        lines += ["", f"## {p.name}: {p.title}", "", "| Value | | | Source or reason |"]
        lines.append("|---|---|---|---|")
        for key, value in leaves(p).items():
            mark, text = evidence(p, key)
            said = "published" if mark == "known" else mark
            lines.append(f"| {key} | {value_text(value)} | {said} | {text} |")
        lines += [f"\n{line}" for line in mode_lines(p)]
    return "\n".join(lines) + "\n"
