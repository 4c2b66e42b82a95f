"""The drawings of a slide's report, as SVG: shares with their intervals, cells by field, a cell's
place in its field."""

from __future__ import annotations

import math
from html import escape

from edge_sdk.page import COLOURS, figure, stroke
from edge_sdk.screening.record import FlaggedCell, SlideRecord
from edge_sdk.screening.texts import number, text

Rows = list[tuple[str, float, float, float]]


def shares_plot(record: SlideRecord) -> str:
    """Raw, reviewed and corrected share of red cells in percent, with the limits."""
    r, said = record.result, record.language
    rows: Rows = [(text("plot.raw", said), r.raw.share, r.raw.low, r.raw.high)]
    if r.reviewed is not None:
        v = r.reviewed
        rows.append((text("plot.reviewed", said), v.share, v.low, v.high))
    if r.estimate is not None:
        e = r.estimate
        rows.append((text("plot.corrected", said), e.share, e.low, e.high))
    limits = []
    if r.limits is not None:
        limits = [(text("blank", said), r.limits.blank)]
        if r.limits.detection is not None:
            limits.append((text("detection", said), r.limits.detection))
    return _shares(record, rows, limits)


def _shares(record: SlideRecord, rows: Rows, limits: list[tuple[str, float]]) -> str:
    said = record.language
    left, top, width, step = 88.0, 18.0 * len(limits) + 8, 300.0, 34.0
    height = step * len(rows)
    most = 100 * max([row[3] for row in rows] + [v for _, v in limits])
    tick = next(t for t in _steps() if most / t <= 5)
    end = math.ceil(most / tick + 1e-9) * tick
    decimals = max(0, -math.floor(math.log10(tick)))

    def x(percent: float) -> float:
        return round(left + width * percent / end, 2)

    parts = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fff" '
        'stroke="#5b636c"/>'
    ]
    for i in range(round(end / tick) + 1):
        at = x(i * tick)
        parts.append(
            f'<path d="M{at} {top}v{height}" stroke="#dfe3e8"/>'
            f'<text x="{at}" y="{top + height + 16}" text-anchor="middle">'
            f"{number(i * tick, said, decimals)}</text>"
        )
    for i, (name, share) in enumerate(limits):
        at, y = x(100 * share), top - 8 - 18 * (len(limits) - 1 - i)
        words = f"{name} {number(100 * share, said, 2)} %"
        side = "end" if at > left + width / 2 else "start"
        shift = -5 if side == "end" else 5
        parts.append(
            f'<path d="M{at} {y - 9}V{top + height}" {stroke(i + 1)} fill="none"/>'
            f'<text x="{at + shift}" y="{y}" text-anchor="{side}" '
            f'fill="{COLOURS[i + 1]}">{escape(words)}</text>'
        )
    for i, (name, share, low, high) in enumerate(rows):
        y = top + step * (i + 0.5)
        parts.append(
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<path d="M{x(100 * low)} {y}H{x(100 * high)}M{x(100 * low)} {y - 6}v12'
            f'M{x(100 * high)} {y - 6}v12" {stroke(0)} fill="none"/>'
            f'<circle cx="{x(100 * share)}" cy="{y}" r="5" fill="{COLOURS[0]}"/>'
        )
    size = (left + width + 24, top + height + 26)
    return figure(
        text("plot.shares", said), text("plot.shares.said", said), size, parts, broad=True
    )


def _steps() -> list[float]:
    return [f * 10.0**p for p in range(-4, 3) for f in (1, 2, 5)]


def fields_plot(record: SlideRecord) -> str:
    """Red cells counted by field; rejected ones as a cross."""
    said = record.language
    left, top, width, height = 52.0, 10.0, 340.0, 130.0
    most = max([f.cells for f in record.fields], default=0) or 1
    tick = next(t for t in _steps() if most / t <= 4)
    end = math.ceil(most / tick) * tick
    wide = width / max(len(record.fields), 1)
    parts = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fff" '
        'stroke="#5b636c"/>'
    ]
    for i in range(round(end / tick) + 1):
        y = round(top + height * (1 - i * tick / end), 2)
        parts.append(
            f'<path d="M{left} {y}h{width}" stroke="#dfe3e8"/>'
            f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{number(i * tick, said)}</text>'
        )
    every = max(1, math.ceil(len(record.fields) / 12))
    for i, field in enumerate(record.fields):
        at = left + wide * (i + 0.5)
        if field.accepted:
            tall = height * field.cells / end
            parts.append(
                f'<rect x="{at - wide * 0.36:.2f}" y="{top + height - tall:.2f}" '
                f'width="{wide * 0.72:.2f}" height="{tall:.2f}" fill="{COLOURS[0]}">'
                f"<title>{field.number}: {field.cells}</title></rect>"
            )
        else:
            arm = min(5.0, wide * 0.36)
            parts.append(
                f'<path d="M{at - arm:.2f} {top + height - 7 - arm:.2f}l{2 * arm:.2f} '
                f"{2 * arm:.2f}m0 {-2 * arm:.2f}l{-2 * arm:.2f} {2 * arm:.2f}"
                f'" stroke="{COLOURS[1]}" stroke-width="2" fill="none"/>'
            )
        if i % every == 0:
            parts.append(
                f'<text x="{at:.2f}" y="{top + height + 16}" text-anchor="middle">'
                f"{field.number}</text>"
            )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">'
        f"{escape(text('field', said))}</text>"
    )
    size = (left + width + 12, top + height + 42)
    return figure(
        text("plot.fields", said), text("plot.fields.said", said), size, parts, broad=True
    )


def place_map(cell: FlaggedCell, size: tuple[int, int], said: str) -> str:
    """A field's frame with a dot where the cell is; size: of the field's picture."""
    x, y, w, h = cell.box
    wide = 44.0
    tall = round(wide * size[1] / size[0], 1)
    cx, cy = (x + w / 2) / size[0] * wide, (y + h / 2) / size[1] * tall
    return (
        f'<svg class="place" role="img" viewBox="-1 -1 {wide + 2} {tall + 2}" width="{wide + 2}" '
        f'height="{tall + 2}" aria-label="{escape(said)}"><rect width="{wide}" height="{tall}" '
        'fill="#fff" stroke="#5b636c"/>'
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.2" fill="{COLOURS[1]}"/></svg>'
    )
