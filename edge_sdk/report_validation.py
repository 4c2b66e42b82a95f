"""A validation as a page: its tables, and estimates against measurements, table by table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from edge_sdk.benchmark.validate import TableScore, Validation, pooled
from edge_sdk.files import write_whole
from edge_sdk.page import COLOURS, Dot, against, document, table
from edge_sdk.report_profiles import errors_text, reached, score_cells

_HEADS = ("type", "tier", "rows", "row", "in 5", "in 10", "width", "V1>V2", "+1", "cover")
_BESIDE = ("type", "row", "no instructions", "instructions", "MACs", "scaling")


def write_page(path: Path, v: Validation) -> None:
    """Writes the page, whole or not at all."""
    write_whole(path, page(v).encode("utf-8"))


def page(v: Validation) -> str:
    """HTML that needs nothing else."""
    title = "Latency estimates against published measurements"
    everything = [p for s in v.tables for p in s.points]
    unseen = [p for s in v.tables for p in s.held_out]
    body = [
        f"<h1>{escape(title)}</h1>",
        "<p>Every estimate here was made by a fit that had not seen the row. The measurements are "
        "published ones, with their sources in device_profiles/measurements; none was taken by "
        "this project.</p>",
        f"<p>Rows left out: {errors_text(pooled(everything))}. "
        f"Held out by rule: {errors_text(pooled(unseen))}.</p>",
        "<h2>Numbers to reach</h2>",
        *(f"<p>{escape(line)}</p>" for line in reached(v)),
        "<h2>Tables</h2>",
        '<div class="wide">',
        table("Mean errors and shares, in %", _HEADS, [_row(s) for s in v.tables]),
        "</div>",
        '<div class="wide">',
        table("Beside other models: a row left out, in %", _BESIDE, [_beside(s) for s in v.tables]),
        "</div>",
        "<p>row: each row left out; in 5, in 10: share within 5 and 10 %; width: each model and "
        "width; V1&gt;V2, +1: V2 by V1's rows alone, and with one row of V2 for the level; cover: "
        "rows inside the stated 90 % interval. No instructions, instructions: without and with "
        "executed instructions as a feature, before it is chosen whether neighbours correct; * is "
        "what the fit takes. MACs: latency in proportion to Mult-Adds; scaling: a published row "
        "scaled by them.</p>",
        "<h2>Estimated against measured</h2>",
        _key(),
        '<div class="plots">',
        *(_plot(s) for s in v.tables),
        "</div>",
        "<h2>Few rows</h2>",
        '<div class="wide">',
        table(
            "Profiles of one row a family, each left out in turn",
            ("shape", "model", "measured ms", "estimated ms", "interval ms"),
            [
                (
                    f"{a.profile} {a.dtype_class}",
                    (
                        "other devices' only" if a.strict else "the profile's",
                        _name(p.key),
                        f"{p.measured_ms:.4g}",
                        f"{p.estimate_ms:.4g}",
                        f"{p.low_ms:.3g} - {p.high_ms:.3g}",
                    ),
                )
                for a in v.anchors
                for p in a.points
            ],
        ),
        table(
            "Calibration simulated with five rows",
            ("tier", "rows judged", "mean error %", "within 10 %", "worst %"),
            [
                (
                    f"{c.table} {c.dtype_class}",
                    (
                        c.tier,
                        str(c.errors.rows),
                        f"{100 * c.errors.mean:.1f}",
                        f"{100 * c.errors.within_10:.0f}",
                        f"{100 * c.errors.worst:.1f}",
                    ),
                )
                for c in v.calibrations
            ],
        ),
        "</div>",
        "<h2>Executed instructions</h2>",
        "<p>int8 over float by latency and by instructions that LiteRT executes, where a table has "
        "both on a core that is counted. Off: int8 estimated from float with the table left out, "
        "by instructions, and by the plain latency ratio of the other tables.</p>",
        '<div class="wide">',
        table(
            "int8 / float",
            ("core", "models", "latency", "instructions", "off %", "plain off %"),
            [
                (
                    r.table,
                    (
                        r.cpu,
                        str(r.models),
                        f"{r.latency:.2f}",
                        f"{r.instructions:.2f}",
                        f"{100 * r.by_instructions:.1f}",
                        f"{100 * r.by_latency:.1f}",
                    ),
                )
                for r in v.ratios
            ],
        ),
        "</div>",
    ]
    return document(title, body)


def _row(s: TableScore) -> tuple[str, Sequence[str]]:
    name, *cells = score_cells(s)
    return name, cells[: len(_HEADS)]


def _beside(s: TableScore) -> tuple[str, Sequence[str]]:
    name, kind, _, _, row, *cells = score_cells(s)
    return name, [kind, row, *cells[-4:]]


def _key() -> str:
    parts = (
        f'<li><svg viewBox="0 0 40 12" aria-hidden="true"><circle cx="20" cy="6" r="4" {look}/>'
        f"</svg>{escape(text)}</li>"
        for look, text in (
            (f'fill="{COLOURS[0]}"', "V1, left out"),
            (f'fill="{COLOURS[1]}"', "V2, left out"),
            ('fill="#fff" stroke="#16191d" stroke-width="2"', "held out by rule"),
        )
    )
    return f'<ul class="legend">{"".join(parts)}<li>grey: within 10 %</li></ul>'


def _plot(s: TableScore) -> str:
    dots = [
        Dot(
            p.measured_ms,
            p.estimate_ms,
            f"{_name(p.key)}: measured {p.measured_ms:.4g} ms, estimated {p.estimate_ms:.4g} ms",
            0 if p.key[0] == "mobilenet_v1" else 1,
            hollow,
        )
        for hollow, points in ((False, s.points), (True, s.held_out))
        for p in points
    ]
    said = f"{s.device}, {s.runtime}, {s.dtype_class}: {errors_text(s.one_out)}"
    return against(
        f"{s.table}, {s.dtype_class}", said, dots, ("measured ms (published)", "estimated ms")
    )


def _name(key: tuple[str, float, int]) -> str:
    model, alpha, resolution = key
    return f"{model.replace('mobilenet_', '').upper()} {alpha:g} {resolution}"
