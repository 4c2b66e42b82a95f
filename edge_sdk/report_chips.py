"""Experiments on chips: a table for the terminal, and a page with plots."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from edge_sdk.backends.cim.cost import CimCost
from edge_sdk.backends.cim.kernel import short_names
from edge_sdk.backends.cim.profile import CimProfile, evidence, leaves
from edge_sdk.chips.results import ChipsResult, Point
from edge_sdk.chips.settings import Setting, duration_text
from edge_sdk.files import write_whole
from edge_sdk.page import document, figure, stroke
from edge_sdk.page import table as html_table
from edge_sdk.report import NOTHING, table
from edge_sdk.report_cim import cim_cost_table, mapping_notes, mapping_table, value_text

_HEADS = ("chips", "accuracy %", "sd", "worst", "lost points", "agree %", "ROC AUC", "sd")


def chips_text(r: ChipsResult) -> str:
    """The points of an experiment, measured on emulated chips, and what they were measured on."""
    rows = [
        ["exact arithmetic", NOTHING, f"{100 * r.ideal.accuracy:.2f}", NOTHING, NOTHING, NOTHING,
         NOTHING, _area(r.ideal.roc_auc), NOTHING],
        *([setting_text(p.setting), *_cells(r, p)] for p in r.points),
    ]  # fmt: skip
    lines = [table(["setting", *_HEADS], rows), *notes(r)]
    return "\n".join(lines)


def notes(r: ChipsResult) -> list[str]:
    """On what an experiment stands."""
    drawn = "SIMULATED images (drawn, not photographed): " if r.simulated else ""
    found = [
        f"{drawn}{r.images} images of {r.data}, {r.chips} emulated chips a setting; "
        f"{r.images_per_s:.0f} images/s a process",
        f"model {r.model} (sha256 {r.sha256[:12]}), profile {r.profile}; converters calibrated on "
        f"{r.calibration_images} other images",
    ]
    if r.digital:
        found.append(f"kept digital: {', '.join(r.digital)}")
    return found


def setting_text(s: Setting) -> str:
    parts = [duration_text(s.time_s)]
    if s.temperature_c is not None:
        parts.append(f"{s.temperature_c:g} C")
    if s.adc_bits is not None:
        parts.append(f"ADC {s.adc_bits} bits")
    if s.programming is not None:
        parts.append(f"programming {100 * s.programming:g} %")
    return ", ".join(parts)


def _cells(r: ChipsResult, p: Point) -> list[str]:
    return [
        str(p.chips),
        f"{100 * p.accuracy:.2f}",
        f"{100 * p.accuracy_sd:.2f}",
        f"{100 * p.worst:.2f}",
        f"{100 * (r.ideal.accuracy - p.accuracy):.2f}",
        f"{100 * p.agreement:.2f}",
        _area(p.roc_auc),
        _area(p.roc_auc_sd),
    ]


def _area(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def cost_text(name: str, cost: CimCost) -> str:
    """What a model takes of a chip, and what an image costs (estimated)."""
    lines = [
        mapping_table(cost.mapping),
        *mapping_notes(cost.mapping),
        "",
        cim_cost_table([(name, cost)]),
        "estimated: counts of this model times the profile's constants",
    ]
    return "\n".join(lines)


# --- page ----------------------------------------------------------------------------------


def write_page(path: Path, r: ChipsResult, cost: CimCost, profile: CimProfile) -> None:
    """Writes the page, whole or not at all."""
    write_whole(path, page(r, cost, profile).encode("utf-8"))


def page(r: ChipsResult, cost: CimCost, profile: CimProfile) -> str:
    """HTML that needs nothing else."""
    title = f"{r.model} on {r.profile}"
    exact = ["-", f"{100 * r.ideal.accuracy:.2f}", "-", "-", "-", "-", _area(r.ideal.roc_auc), "-"]
    names = short_names([m.name for m in cost.mapping.layers])
    rows = [("exact arithmetic", exact)]
    rows += [(setting_text(p.setting), _cells(r, p)) for p in r.points]
    body = [
        f"<h1>{escape(title)}</h1>",
        *(
            ['<p class="simulated">Simulated images: drawn, not photographed.</p>']
            if r.simulated
            else []
        ),
        "<p>Accuracy is measured on emulated chips: each is drawn from a seed, its errors are "
        "those of the profile below. Nothing was measured on silicon.</p>",
        *(f"<p>{escape(line)}</p>" for line in notes(r)),
        '<div class="plots">',
        *_plots(r, profile.adc.bits),
        "</div>",
        '<div class="wide">',
        html_table("Settings: mean over chips, and standard deviation between them", _HEADS, rows),
        "</div>",
        "<h2>What it takes and costs (estimated)</h2>",
        *(f"<p>{escape(line)}</p>" for line in mapping_notes(cost.mapping)),
        '<div class="wide">',
        html_table(
            "Energy of an image in microjoules, by part",
            ("uJ", "share %"),
            [
                (part.replace("_", "-"), (f"{uj:.3g}", f"{100 * uj / cost.total_uj:.1f}"))
                for part, uj in cost.energy_uj.items()
                if uj
            ]
            + [("all", (f"{cost.total_uj:.3g}", "100"))],
        ),
        html_table(
            "Time and efficiency",
            ("",),
            [
                ("one image, layer after layer, us", (f"{cost.latency_us:.4g}",)),
                ("image to image, pipelined, us", (f"{cost.interval_us:.4g}",)),
                ("TOPS/W reached", (f"{cost.tops_per_w:.3g}",)),
                ("TOPS/W of the chip's quoted peak", (_quoted(cost.peak_tops_per_w),)),
                ("area of the chip, mm2", (_quoted(cost.area_mm2),)),
            ],
        ),
        html_table(
            "Layers",
            ("how", "rows", "columns", "arrays", "use %", "reads", "ADC conversions"),
            [
                (
                    names[m.name],
                    (
                        m.how,
                        str(m.rows),
                        str(m.columns),
                        str(m.arrays),
                        f"{100 * m.use:.1f}" if m.arrays else NOTHING,
                        f"{m.mvms:,}",
                        f"{m.adc_conversions:,}",
                    ),
                )
                for m in cost.mapping.layers
            ],
        ),
        "</div>",
        "<h2>Profile</h2>",
        '<div class="wide">',
        html_table(
            profile.title,
            ("value", "", "source or reason"),
            [
                (key, (value_text(v), _mark(profile, key), evidence(profile, key)[1]))
                for key, v in leaves(profile).items()
            ],
            words=1,
        ),
        "</div>",
    ]
    return document(title, body, "Emulated chips; no figure here was measured on silicon.")


def _quoted(value: float) -> str:
    return f"{value:.4g}" if value else "not published"


def _mark(profile: CimProfile, key: str) -> str:
    return "published" if evidence(profile, key)[0] == "known" else "assumed"


@dataclass(frozen=True)
class _Line:
    """Points of a plot: label, mean and standard deviation in %."""

    title: str
    axis: str
    points: tuple[tuple[str, float, float], ...]


def _plots(r: ChipsResult, adc_bits: int) -> list[str]:
    """Accuracy against each thing that varies, all else as at the first setting."""
    base = r.points[0].setting
    lines = []
    kinds: tuple[tuple[str, str, Callable[[Setting], bool], Callable[[Setting], str]], ...] = (
        ("Accuracy against time since programming", "time", _same_but(base, "time_s"),
         lambda s: duration_text(s.time_s)),
        ("Accuracy against temperature", "degrees C", _same_but(base, "temperature_c"),
         lambda s: NOTHING if s.temperature_c is None else f"{s.temperature_c:g}"),
        ("Accuracy against converter bits", "ADC bits", _same_but(base, "adc_bits"),
         lambda s: f"{adc_bits} (profile)" if s.adc_bits is None else str(s.adc_bits)),
        ("Accuracy against programming error", "% of the largest conductance",
         _same_but(base, "programming"),
         lambda s: "profile" if s.programming is None else f"{100 * s.programming:g}"),
    )  # fmt: skip
    for title, axis, differs, said in kinds:
        found = tuple(
            (said(p.setting), 100 * p.accuracy, 100 * p.accuracy_sd)
            for p in sorted(r.points, key=lambda p: p.setting.adc_bits or adc_bits)
            if differs(p.setting)
        )
        if len(found) > 1:
            lines.append(_Line(title, axis, found))
    return [_plot(line, 100 * r.ideal.accuracy) for line in lines]


def _same_but(base: Setting, name: str) -> Callable[[Setting], bool]:
    fields = ("time_s", "temperature_c", "adc_bits", "programming")
    others = [f for f in fields if f != name]
    return lambda s: all(getattr(s, f) == getattr(base, f) for f in others)


def _plot(line: _Line, ideal: float) -> str:
    left, top, width, height = 52.0, 14.0, 330.0, 210.0
    tops = [m + sd for _, m, sd in line.points] + [ideal]
    bottoms = [m - sd for _, m, sd in line.points] + [ideal]
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if (max(tops) - min(bottoms)) / s <= 6)
    low = math.floor(min(bottoms) / step) * step
    high = math.ceil(max(tops) / step + 1e-9) * step + (step if max(tops) == min(bottoms) else 0)

    def y(value: float) -> float:
        return round(top + height * (1 - (value - low) / (high - low)), 2)

    def x(i: int) -> float:
        return round(left + width * (i + 0.5) / len(line.points), 2)

    parts = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fff" '
        'stroke="#5b636c"/>'
    ]
    for n in range(round((high - low) / step) + 1):
        value = low + n * step
        parts.append(
            f'<path d="M{left} {y(value)}h{width}" stroke="#c9d0d7" stroke-width=".5"/>'
            f'<text x="{left - 6}" y="{y(value) + 4}" text-anchor="end">{value:.4g}</text>'
        )
    parts.append(f'<path d="M{left} {y(ideal)}h{width}" {stroke(1)} fill="none"/>')
    above = y(ideal) - 5 if y(ideal) > top + 16 else y(ideal) + 14
    parts.append(
        f'<text x="{left + width - 6}" y="{above}" text-anchor="end" '
        'fill="#b03a00">exact arithmetic</text>'
    )
    path = "L".join(f"{x(i)} {y(m)}" for i, (_, m, _) in enumerate(line.points))
    parts.append(f'<path d="M{path}" {stroke(0)} fill="none"/>')
    for i, (label, mean, sd) in enumerate(line.points):
        parts.append(
            f'<path d="M{x(i)} {y(mean - sd)}V{y(mean + sd)}M{x(i) - 5} {y(mean - sd)}h10'
            f'M{x(i) - 5} {y(mean + sd)}h10" {stroke(0)} fill="none"/>'
            f'<circle cx="{x(i)}" cy="{y(mean)}" r="4" fill="#0b5394">'
            f"<title>{escape(label)}: {mean:.2f} +- {sd:.2f} %</title></circle>"
            f'<text x="{x(i)}" y="{top + height + 16}" text-anchor="middle">{escape(label)}</text>'
        )
    parts += [
        f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">'
        f"{escape(line.axis)}</text>",
        f'<text transform="translate(12 {top + height / 2}) rotate(-90)" text-anchor="middle">'
        "accuracy %</text>",
    ]
    said = f"Mean over chips with bars of one standard deviation. {line.title}."
    return figure(line.title, said, (left + width + 12, top + height + 44), parts)
