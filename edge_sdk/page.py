"""Pages that need nothing else: HTML with style and SVG inside, no script, nothing loaded.

What every page shares: its frame, its tables, its colours, its markers, and a plot of estimates
against measurements on logarithmic axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edge_sdk import __version__

# Told apart by dashes too, for whoever prints in grey or does not see the colours.
COLOURS = ("#0b5394", "#b03a00", "#1a6b2f", "#6d28a8", "#9d1747", "#374151")
DASHES = ("", "7 3", "2 2", "10 3 2 3", "4 2", "1 3")
LONG = 26  # letters beyond which a table's cell may wrap
_WRAPPED = ' class="long"'
STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #16191d; background: #fff;
  max-width: 68rem; margin: 2rem auto; padding: 0 1.25rem }
h1 { font-size: 1.6rem; margin: 0 0 .5rem } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
p { margin: .2rem 0 }
.simulated { border: 2px solid #7a4b00; background: #fff5df; padding: .5rem .8rem; margin: 1rem 0;
  font-weight: 600 }
.plots { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)) }
figure { margin: 0; break-inside: avoid } figcaption { font-weight: 600 }
svg { width: 100%; max-width: 26rem; height: auto; display: block }
.legend { list-style: none; padding: 0; margin: .5rem 0; display: flex; flex-wrap: wrap;
  gap: .2rem 1.5rem }
.legend svg { display: inline-block; width: 40px; vertical-align: middle; margin-right: .4rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem }
th, td { padding: .22rem .6rem; text-align: right; border-bottom: 1px solid #d5d9de;
  white-space: nowrap; vertical-align: top }
th:first-child { text-align: left; font-weight: 500; padding-left: 0 }
td.words { text-align: left; white-space: normal; min-width: 7rem }
tbody th { white-space: normal; min-width: 9rem }
td.long { white-space: normal; min-width: 10rem }
th.words { text-align: left }
.pairs { grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)) }
.notes { padding-left: 1.6rem } .notes li { margin: .5rem 0; break-inside: avoid }
.notes ul { padding-left: 1.1rem; margin: 0 } .notes ul li { margin: 0 }
thead th { border-bottom: 2px solid #16191d; font-weight: 600 }
.matrices { display: flex; flex-wrap: wrap; gap: 1rem 3rem }
.matrices td.right { font-weight: 700; background: #eef3f8 }
.hash { font: 12px ui-monospace, monospace; overflow-wrap: anywhere }
footer { margin-top: 2rem; font-size: .9rem; color: #3c434b }
@media (max-width: 40rem) { body { margin: 1rem auto; padding: 0 .75rem }
  table { font-size: .87rem } th, td { padding: .2rem .4rem } .matrices { overflow-x: auto }
  th:first-child { white-space: normal; min-width: 5.5rem } }
@media print { @page { margin: 14mm }
  body { margin: 0; padding: 0; max-width: none; font-size: 9.5pt }
  h1, h2, caption, figcaption, .legend, .legend + p { break-after: avoid } tr, li, p, .legend,
  .whole { break-inside: avoid }
  .wide { overflow: visible } table { font-size: 8pt } th, td { padding: .1rem .35rem }
  td.words, td.long { min-width: 5rem }
  .broad { min-width: 0 !important; max-width: 15cm !important }
  svg, .simulated, .matrices td.right { print-color-adjust: exact;
    -webkit-print-color-adjust: exact }
  .plots, .pairs { grid-template-columns: 1fr 1fr } }
"""


def document(title: str, body: Sequence[str], closing: str = "") -> str:
    """A whole page: `body` is HTML, `title` and `closing` are text."""
    end = f"edge-sdk {__version__}. {closing}".rstrip()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join([*body, f"<footer>{escape(end)}</footer>"])
        + "\n</body>\n</html>\n"
    )


def table(
    caption: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], words: int = 0
) -> str:
    """A table of text: the first cell of a row is its heading, the last `words` of it are words,
    to the left and wrapped; long cells wrap too."""
    look = [""] * (len(heads) - words) + [' class="words"'] * words
    top = "".join(f'<th scope="col"{c}>{escape(h)}</th>' for h, c in zip(heads, look, strict=True))
    lines = "\n".join(
        f'<tr><th scope="row">{escape(head)}</th>'
        + "".join(
            f"<td{c or _WRAPPED * (len(cell) > LONG)}>{escape(cell)}</td>"
            for cell, c in zip(cells, look, strict=True)
        )
        + "</tr>"
        for head, cells in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption>\n<thead><tr><th></th>{top}</tr></thead>\n"
        f"<tbody>\n{lines}\n</tbody></table>"
    )


def stroke(style: int) -> str:
    """The attributes of a line: one of COLOURS with one of DASHES."""
    dash = DASHES[style % len(DASHES)]
    return f'stroke="{COLOURS[style % len(COLOURS)]}" stroke-width="1.8"' + (
        f' stroke-dasharray="{dash}"' if dash else ""
    )


# Around 0, 0 with a radius of 1: told apart without colours.
_SHAPES = (
    "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0 -2 0z",
    "M-.9 -.9h1.8v1.8h-1.8z",
    "M0 -1.3L1.2 0L0 1.3L-1.2 0z",
    "M0 -1.2L1.15 .9H-1.15z",
    "M0 1.2L1.15 -.9H-1.15z",
    "M-.4 -1.2h.8v.8h.8v.8h-.8v.8h-.8v-.8h-.8v-.8h.8z",
)


def marker(at: tuple[float, float], style: int, said: str, *, hollow: bool, size: float = 4) -> str:
    """A shape of one of COLOURS, told when pointed at; hollow: its outline only."""
    colour = COLOURS[style % len(COLOURS)]
    look = (
        f'fill="{"#fff" if hollow else colour}" stroke="{colour}" stroke-width="{1.8 / size:.3f}"'
    )
    told = f"<title>{escape(said)}</title>" if said else ""
    return (
        f'<path transform="translate({at[0]:.2f} {at[1]:.2f}) scale({size:.2f})" '
        f'd="{_SHAPES[style % len(_SHAPES)]}" {look}>{told}</path>'
    )


def figure(
    title: str,
    description: str,
    size: tuple[float, float],
    parts: Sequence[str],
    *,
    broad: bool = False,
) -> str:
    """A titled drawing of `size` (width, height); broad: at least nearly as wide as its pixels."""
    key = "".join(ch for ch in title.lower() if ch.isalnum())
    wide = (
        f' class="broad" style="max-width:{1.1 * size[0]:.0f}px;min-width:{0.75 * size[0]:.0f}px"'
    )
    return "\n".join(
        [
            f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" '
            f'viewBox="0 0 {size[0]:g} {size[1]:g}" aria-labelledby="{key}-t {key}-d" '
            f'font-size="12" font-family="system-ui, sans-serif"{wide if broad else ""}>',
            f'<title id="{key}-t">{escape(title)}</title>',
            f'<desc id="{key}-d">{escape(description)}</desc>',
            *parts,
            "</svg></figure>",
        ]
    )


@dataclass(frozen=True)
class Dot:
    """A point (both above 0), told when pointed at; hollow: drawn as a ring."""

    x: float
    y: float
    said: str
    style: int = 0
    hollow: bool = False


def against(title: str, description: str, dots: Sequence[Dot], axes: tuple[str, str]) -> str:
    """A figure of y against x, one logarithmic scale for both: on the diagonal they are equal,
    in the grey band within 10 %."""
    side, left, top, right, bottom = 260, 52, 10, 12, 44
    ends = [v for d in dots for v in (d.x, d.y)]
    low, high = math.log10(min(ends)) - 0.06, math.log10(max(ends)) + 0.06

    def x(value: float) -> float:
        return round(left + (math.log10(value) - low) / (high - low) * side, 2)

    def y(value: float) -> float:
        return round(top + side - (math.log10(value) - low) / (high - low) * side, 2)

    key = "".join(ch for ch in title.lower() if ch.isalnum())
    first, last = 10**low, 10**high
    band = f"{x(first)},{y(first * 1.1)} {x(last)},{y(last * 1.1)} "
    band += f"{x(last)},{y(last / 1.1)} {x(first)},{y(first / 1.1)}"
    parts = [
        f'<clipPath id="{key}-c"><rect x="{left}" y="{top}" width="{side}" height="{side}"/>'
        "</clipPath>",
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="#fff" stroke="#5b636c"/>',
        f'<g clip-path="url(#{key}-c)"><polygon points="{band}" fill="#e9edf1"/>'
        f'<path d="M{x(first)} {y(first)}L{x(last)} {y(last)}" stroke="#7b838c"/></g>',
    ]
    for tick in log_ticks(low, high):
        parts.append(
            f'<path d="M{x(tick)} {top}v{side}M{left} {y(tick)}h{side}" stroke="#c9d0d7" '
            f'stroke-width=".5" fill="none"/>'
            f'<text x="{x(tick)}" y="{top + side + 16}" text-anchor="middle">{tick:g}</text>'
            f'<text x="{left - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>'
        )
    for dot in dots:
        colour = COLOURS[dot.style % len(COLOURS)]
        fill = (
            f'fill="#fff" stroke="{colour}" stroke-width="2"'
            if dot.hollow
            else (f'fill="{colour}" fill-opacity="0.7"')
        )
        parts.append(
            f'<circle cx="{x(dot.x)}" cy="{y(dot.y)}" r="{4.5 if dot.hollow else 3.5}" {fill}>'
            f"<title>{escape(dot.said)}</title></circle>"
        )
    parts += [
        f'<text x="{left + side / 2}" y="{top + side + 36}" text-anchor="middle">'
        f"{escape(axes[0])}</text>",
        f'<text transform="translate(12 {top + side / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(axes[1])}</text>",
    ]
    return figure(title, description, (left + side + right, top + side + bottom), parts)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten between 10**low and 10**high; 1 alone where that is many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [f * 10.0**p for p in powers for f in (1, 2, 5) if low <= math.log10(f) + p <= high]
    return found if len(found) <= 8 else [t for t in found if math.log10(t) % 1 < 1e-9] or found
