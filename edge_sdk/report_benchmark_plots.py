"""Drawings of a benchmark: latencies with intervals, trade-offs, and time by kind of layer.

Places and models come as text and numbers; what cannot be drawn (no number, none above 0 on a
logarithmic axis) is left out. Models differ by colour and shape, figures by filling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from edge_sdk.page import COLOURS, figure, log_ticks, marker

# From dark to light, so that neighbours differ in grey as well; the text on each.
FILLS = (
    ("#12305c", "#fff"), ("#2f7fb5", "#fff"), ("#9ccbe0", "#000"),
    ("#7a3b12", "#fff"), ("#e8a33d", "#000"), ("#f6e3b4", "#000"),
)  # fmt: skip
LETTER = 6.3  # width of a letter at the size used, roughly
ROW = 15
LOG_FROM = 8  # a range of values wider than this factor is drawn on a logarithmic axis
Place = Callable[[float], float]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one model in one place; low and high: the ends of its line, where known.
    style: the model's; measured figures are filled."""

    place: str
    style: int
    ms: float
    low: float | None
    high: float | None
    measured: bool
    said: str


@dataclass(frozen=True)
class Spot:
    """A point of a trade-off; size: its radius in pixels."""

    x: float
    y: float
    style: int
    filled: bool
    said: str
    size: float = 4.5


@dataclass(frozen=True)
class Bar:
    """What one latency is made of, in milliseconds by kind."""

    label: str
    parts: dict[str, float]
    total: str


def drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def number(value: float | None) -> str:
    """A figure above 0, three digits or all before the point; "-" where there is none."""
    if value is None or not drawable(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def latencies(title: str, description: str, rows: Sequence[Latency]) -> str:
    """A line of markers for each place, in the given order; "" where nothing can be drawn."""
    rows = [r for r in rows if drawable(r.ms)]
    if not rows:
        return ""
    left, top, width, right = 190, 8, 380, 80
    ends = [v for r in rows for v in (r.ms, r.low, r.high) if v is not None and drawable(v)]
    x, ticks, said = _axis(ends, left, width, from_zero=True)
    lines: list[str] = []
    y = float(top)
    places = dict.fromkeys(r.place for r in rows)
    for band, place in enumerate(places):
        here = [r for r in rows if r.place == place]
        height = ROW * len(here) + 6
        if band % 2 == 0:
            lines.append(
                f'<rect x="0" y="{y:g}" width="{left + width + right}" height="{height}" '
                'fill="#f1f4f7"/>'
            )
        lines.append(
            f'<text x="{left - 8}" y="{y + height / 2 + 4:g}" text-anchor="end">'
            f"{escape(shorten(place, 28))}</text>"
        )
        for i, r in enumerate(here):
            at = y + 3 + ROW * (i + 0.5)
            if r.low is not None and r.high is not None and drawable(r.low) and drawable(r.high):
                colour = COLOURS[r.style % len(COLOURS)]
                lines.append(
                    f'<path d="M{x(r.low):.2f} {at - 4:g}v8m0 -4H{x(r.high):.2f}m0 -4v8" '
                    f'stroke="{colour}" stroke-width="1.4" fill="none"/>'
                )
            lines.append(marker((x(r.ms), at), r.style, r.said, hollow=not r.measured))
            lines.append(f'<text x="{left + width + 8}" y="{at + 4:g}">{number(r.ms)} ms</text>')
        y += height
    grid = [
        f'<path d="M{x(t):.2f} {top}V{y:g}" stroke="#b9c1c9" stroke-width=".6"/>'
        f'<text x="{x(t):.2f}" y="{y + 16:g}" text-anchor="middle">{t:,.4g}</text>'
        for t in ticks
    ]
    axis = (
        f'<text x="{left + width / 2}" y="{y + 34:g}" text-anchor="middle">'
        f"milliseconds for one image{said}</text>"
    )
    bands = [line for line in lines if line.startswith("<rect")]
    rest = [line for line in lines if not line.startswith("<rect")]
    size = (left + width + right, y + 42)
    return figure(title, description, size, [*bands, *grid, *rest, axis], broad=True)


def trade_off(
    title: str,
    description: str,
    lines: Sequence[tuple[str, Sequence[Spot]]],
    axes: tuple[str, str],
    *,
    percent: Sequence[bool] = (False, False),
) -> str:
    """y against x; the points of a line belong together, and its name is at the right.

    percent: whether that axis holds percentages, drawn as they are; other axes are logarithmic
    where they span much. "" where nothing can be drawn."""

    def fits(value: float, share: bool) -> bool:
        return drawable(value) or (share and value == 0)

    kept = [
        (name, sorted((s for s in spots if all(map(fits, (s.x, s.y), percent))), key=lambda s: s.x))
        for name, spots in lines
    ]
    kept = [(name, spots) for name, spots in kept if spots]
    if not kept:
        return ""
    left, top, width, bottom = 62, 12, 330, 44
    height = max(230, 14 * len(kept))
    every = [s for _, spots in kept for s in spots]
    x, x_ticks, x_said = _axis([s.x for s in every], left, width, percent=percent[0])
    y, y_ticks, y_said = _axis([s.y for s in every], top + height, -height, percent=percent[1])
    parts = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fff" '
        'stroke="#5b636c"/>',
        *(
            f'<path d="M{x(t):.2f} {top}v{height}" stroke="#d5dae0" stroke-width=".6"/>'
            f'<text x="{x(t):.2f}" y="{top + height + 16}" text-anchor="middle">{t:,.6g}</text>'
            for t in x_ticks
        ),
        *(
            f'<path d="M{left} {y(t):.2f}h{width}" stroke="#d5dae0" stroke-width=".6"/>'
            f'<text x="{left - 6}" y="{y(t) + 4:.2f}" text-anchor="end">{t:,.6g}</text>'
            for t in y_ticks
        ),
        f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">'
        f"{escape(axes[0] + x_said)}</text>",
        f'<text transform="translate(12 {top + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(axes[1] + y_said)}</text>",
    ]
    kept.sort(key=lambda item: y(item[1][-1].y))
    at = _apart([y(spots[-1].y) for _, spots in kept], top + 4, top + height - 2)
    for (name, spots), label in zip(kept, at, strict=True):
        path = "L".join(f"{x(s.x):.2f} {y(s.y):.2f}" for s in spots)
        end = left + width
        parts.append(
            f'<path d="M{path}" fill="none" stroke="#7b838c" stroke-width="1"/>'
            f'<path d="M{x(spots[-1].x):.2f} {y(spots[-1].y):.2f}L{end + 4} {label:.2f}" '
            'stroke="#b9c1c9" stroke-width=".7" stroke-dasharray="2 2"/>'
            f'<text x="{end + 8}" y="{label + 4:.2f}">{escape(shorten(name, 34))}</text>'
        )
    parts += [
        marker((x(s.x), y(s.y)), s.style, s.said, hollow=not s.filled, size=s.size)
        for s in sorted(every, key=lambda s: -s.size)
    ]
    longest = max(len(shorten(name, 34)) for name, _ in kept)
    size = (left + width + 12 + max(90, LETTER * longest), top + height + bottom)
    return figure(title, description, size, parts, broad=True)


def shares(title: str, description: str, bars: Sequence[Bar]) -> str:
    """Bars of equal length, cut by each kind's share; "" where no bar has a part."""
    bars = [b for b in bars if any(drawable(v) for v in b.parts.values())]
    if not bars:
        return ""
    kinds = list(dict.fromkeys(k for b in bars for k, v in b.parts.items() if drawable(v)))
    left, width, right, high, gap = 190, 380, 80, 17, 4
    top, parts = _fill_key(kinds, left, width)
    for row, bar in enumerate(bars):
        y = top + row * (high + gap)
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(shorten(bar.label, 29))}'
            f'</text><text x="{left + width + 8}" y="{y + 13}">{escape(bar.total)}</text>'
        )
        whole = sum(v for v in bar.parts.values() if drawable(v))
        x = float(left)
        for kind, value in bar.parts.items():
            if not drawable(value):
                continue
            share = value / whole
            fill, ink = FILLS[kinds.index(kind) % len(FILLS)]
            parts.append(
                f'<rect x="{x:.2f}" y="{y}" width="{share * width:.2f}" height="{high}" '
                f'fill="{fill}" stroke="#fff" stroke-width=".8">'
                f"<title>{escape(f'{bar.label}: {kind} {number(value)} ms')}</title></rect>"
            )
            if share >= 0.06:
                parts.append(
                    f'<text x="{x + share * width / 2:.2f}" y="{y + 13}" fill="{ink}" '
                    f'font-size="11" text-anchor="middle">{100 * share:.0f}</text>'
                )
            x += share * width
    size = (left + width + right, top + len(bars) * (high + gap) + 4)
    return figure(title, description, size, parts, broad=True)


def _fill_key(kinds: Sequence[str], left: float, width: float) -> tuple[int, list[str]]:
    """Where the bars begin below it, and the key to their fillings."""
    x, y, parts = left, 12, []
    for i, kind in enumerate(kinds):
        needed = 20 + LETTER * len(kind) + 12
        if x > left and x + needed > left + width + 80:
            x, y = left, y + 18
        parts.append(
            f'<rect x="{x:g}" y="{y - 10}" width="14" height="12" fill="{FILLS[i % len(FILLS)][0]}"'
            f' stroke="#16191d" stroke-width=".5"/>'
            f'<text x="{x + 19:g}" y="{y}">{escape(shorten(kind, 40))}</text>'
        )
        x += needed
    return y + 12, parts


def shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _axis(
    values: Sequence[float],
    start: float,
    length: float,
    *,
    from_zero: bool = False,
    percent: bool = False,
) -> tuple[Place, list[float], str]:
    """Where a value lies in pixels, the values to mark, and what to say of the axis."""
    low, high = min(values), max(values)
    if not percent and high > LOG_FROM * low:
        first, last = math.log10(low), math.log10(high)
        edge = 0.05 * (last - first)
        first, last = first - edge, last + edge

        def place(value: float) -> float:
            return start + (math.log10(value) - first) / (last - first) * length

        return place, log_ticks(first, last), ", logarithmic"
    if from_zero:
        low, high = 0.0, high * 1.05
    else:
        edge = 0.12 * (high - low) or (1.0 if percent else 0.02 * high)
        low, high = max(0.0, low - edge), high + edge
    if percent:
        high = min(high, 100.5)
    ticks = list(_linear_ticks(low, min(high, 100.0) if percent else high))
    return (lambda v: start + (v - low) / (high - low) * length), ticks, ""


def _linear_ticks(low: float, high: float) -> Iterator[float]:
    """At most seven round values from low to high."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return (round(i * step, 10) for i in range(first, last + 1))


def _apart(wanted: Sequence[float], low: float, high: float, least: float = 13.5) -> list[float]:
    """Ascending positions near those wanted, at least `least` apart, inside low to high while
    they fit."""
    down, up = list(wanted), list(wanted)
    for i in range(1, len(down)):
        down[i] = max(down[i], down[i - 1] + least)
        up[-1 - i] = min(up[-1 - i], up[-i] - least)
    # Both are far enough apart, so their middle is.
    at = [(a + b) / 2 for a, b in zip(down, up, strict=True)]
    at[0] = max(at[0], low)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + least)
    at[-1] = min(at[-1], high)
    for i in reversed(range(len(at) - 1)):
        at[i] = min(at[i], at[i + 1] - least)
    return at
