"""A comparison as one page: HTML with SVG inside, nothing loaded from elsewhere, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from edge_sdk.evaluate.results import Comparison, Evaluation
from edge_sdk.evaluate.text import (
    all_rows,
    data_line,
    footing,
    heading,
    kind,
    short_names,
)
from edge_sdk.files import write_whole
from edge_sdk.page import COLOURS, document, stroke, table

Points = Sequence[tuple[float, ...]]
Span = tuple[float, float]

MAX_MATRIX = 20
SIZE = 300  # of a plot's square, without its margins
# An inset shows the corner where good curves are; with worse ones there is nothing to enlarge.
INSET_FROM = 0.9


@dataclass(frozen=True)
class Series:
    """A line: points (x, y), colour and dashes; sizes: marker areas, 0 to 1, none without."""

    points: Points
    style: int
    sizes: tuple[float, ...] = ()


def write_page(path: Path, c: Comparison) -> None:
    """Writes the page, whole or not at all."""
    write_whole(path, page(c).encode("utf-8"))


def page(c: Comparison) -> str:
    names = short_names([e.model for e in c.models])
    title = f"Evaluation on {c.data.name}" + (" (simulated)" if c.data.simulated else "")
    first, *rest = heading(c)
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in (f"Models: {first}", *rest)),
        _warning(c),
        _legend(names),
        '<div class="plots">',
        *_plots(c),
        "</div>",
        "<h2>Figures</h2>",
        '<div class="wide">',
        table(f"All {kind(c)}; 95 % intervals in brackets", names, _figure_rows(c)),
        "</div>",
        *_matrices(c, names),
        "<h2>How to read it</h2>",
        *(f"<p>{escape(line)}</p>" for line in footing(c)),
        *(f'<p class="hash">{escape(e.model)}: sha256 {e.sha256}</p>' for e in c.models),
    ]
    return document(title, body, "For research; not a medical device.")


def _warning(c: Comparison) -> str:
    drawn = [d for d in (c.data, c.calibration) if d is not None and d.simulated]
    if not drawn:
        return ""
    lines = "; ".join(data_line(d) for d in drawn)
    return (
        '<p class="simulated" role="note">Simulated: the images are drawn, not photographed. These '
        f"figures say nothing about real ones. ({escape(lines)})</p>"
    )


def _figure_rows(c: Comparison) -> list[tuple[str, list[str]]]:
    return [row for row in all_rows(c) if " called " not in row[0]]


def _matrices(c: Comparison, names: Sequence[str]) -> list[str]:
    if len(c.labels) > MAX_MATRIX:
        return []
    said = " (simulated images)" if c.data.simulated else ""
    parts = [f"<h2>Confusion{said}</h2>", '<div class="matrices">']
    top = "".join(f'<th scope="col">called {escape(x)}</th>' for x in c.labels)
    for e, name in zip(c.models, names, strict=True):
        rows = "".join(
            f'<tr><th scope="row">is {escape(label)}</th>'
            + "".join(
                f'<td class="right">{n:,}</td>' if i == j else f"<td>{n:,}</td>"
                for j, n in enumerate(e.confusion[i])
            )
            + "</tr>"
            for i, label in enumerate(c.labels)
        )
        parts.append(
            f"<table><caption>{escape(name)}</caption><thead><tr><th></th>{top}</tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )
    return [*parts, "</div>"]


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 40 8" aria-hidden="true"><line x1="0" y1="4" x2="40" y2="4" '
        f"{stroke(i)}/></svg>{escape(name)}</li>"
        for i, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def _plots(c: Comparison) -> list[str]:
    said = ", simulated images" if c.data.simulated else ""
    parts = []
    if c.positive is not None:
        good = all((e.figures["roc_auc"].value or 0) >= INSET_FROM for e in c.models)
        roc = [Series(e.roc, i) for i, e in enumerate(c.models)]
        pr = [Series(e.pr, i) for i, e in enumerate(c.models)]
        summary = _areas_in_words(c)
        corner = ((0.0, 0.2), (0.8, 1.0)) if good else None
        parts.append(
            plot(f"ROC{said}", summary[0], roc, ("1 - specificity", "sensitivity"), "up", corner)
        )
        corner = ((0.8, 1.0), (0.8, 1.0)) if good else None
        parts.append(
            plot(f"Precision and recall{said}", summary[1], pr, ("recall", "precision"), "", corner)
        )
    axes = ("mean top-1 probability", "accuracy")
    what = "One point per bin that has images, its area for their number; on the diagonal the "
    what += "probabilities are right. "
    before = [_reliability(e.reliability, i) for i, e in enumerate(c.models)]
    words = "; ".join(f"{e.model} ECE {e.ece:.4f}" for e in c.models)
    parts.append(plot(f"Reliability{said}", what + words, before, axes, "up"))
    after = [
        _reliability(e.reliability_scaled, i)
        for i, e in enumerate(c.models)
        if e.reliability_scaled
    ]
    if after:
        words = "; ".join(
            f"{e.model} ECE {e.ece_scaled:.4f}" for e in c.models if e.ece_scaled is not None
        )
        title = f"Reliability after temperature scaling{said}"
        parts.append(plot(title, what + words, after, axes, "up"))
    return parts


def _areas_in_words(c: Comparison) -> tuple[str, str]:
    def words(e: Evaluation, name: str) -> str:
        value = e.figures[name].value
        return f"{e.model} area " + ("not defined" if value is None else f"{value:.3f}")

    return (
        "; ".join(words(e, "roc_auc") for e in c.models),
        "; ".join(words(e, "pr_auc") for e in c.models),
    )


def _reliability(rows: Points, style: int) -> Series:
    filled = [(n, p, a) for n, p, a in rows if n]
    most = max(n for n, _, _ in filled)
    return Series([(p, a) for _, p, a in filled], style, tuple(n / most for n, _, _ in filled))


def plot(
    title: str,
    description: str,
    series: Sequence[Series],
    axes: tuple[str, str],
    diagonal: str,
    inset: tuple[Span, Span] | None = None,
) -> str:
    """A square plot of [0, 1] by [0, 1] as a figure. diagonal: `up` draws x = y. inset: the part
    to enlarge in the lower half."""
    left, top, right, bottom = 52, 12, 14, 46
    key = "".join(ch for ch in title.lower() if ch.isalnum())
    parts = [
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" '
        f'viewBox="0 0 {left + SIZE + right} {top + SIZE + bottom}" '
        f'aria-labelledby="{key}-t {key}-d" font-size="12" font-family="system-ui, sans-serif">',
        f'<title id="{key}-t">{escape(title)}</title>',
        f'<desc id="{key}-d">{escape(description)}</desc>',
        _axes((left, top, SIZE), ((0.0, 1.0), (0.0, 1.0)), series, diagonal, f"{key}-a", 5),
        f'<text x="{left + SIZE / 2}" y="{top + SIZE + 38}" text-anchor="middle">'
        f"{escape(axes[0])}</text>",
        f'<text transform="translate(14 {top + SIZE / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(axes[1])}</text>",
    ]
    if inset:
        at = (left + SIZE * 0.36, top + SIZE * 0.32, int(SIZE * 0.54))
        parts.append(_axes(at, inset, series, "", f"{key}-i", 2))
        note = f"enlarged: {inset[0][0]:g} - {inset[0][1]:g} by {inset[1][0]:g} - {inset[1][1]:g}"
        parts.append(
            f'<text x="{at[0] + at[2] / 2}" y="{at[1] - 6}" text-anchor="middle">{note}</text>'
        )
    return "\n".join([*parts, "</svg></figure>"])


def _axes(
    at: tuple[float, float, int],
    spans: tuple[Span, Span],
    series: Sequence[Series],
    diagonal: str,
    key: str,
    steps: int,
) -> str:
    """A square of `at` (left, top, size) with ticks, grid and the lines, cut off at its edges."""
    left, top, size = at
    (x0, x1), (y0, y1) = spans

    def x(value: float) -> float:
        return round(left + (value - x0) / (x1 - x0) * size, 2)

    def y(value: float) -> float:
        return round(top + (y1 - value) / (y1 - y0) * size, 2)

    parts = [
        f'<clipPath id="{key}"><rect x="{left - 1}" y="{top - 1}" width="{size + 2}" '
        f'height="{size + 2}"/></clipPath>',
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="#fff" stroke="#5b636c"/>',
    ]
    for i in range(steps + 1):
        u, v = x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps
        if 0 < i < steps:
            parts.append(
                f'<path d="M{x(u)} {top}v{size}M{left} {y(v)}h{size}" stroke="#dfe3e8" '
                'fill="none"/>'
            )
        parts.append(
            f'<text x="{x(u)}" y="{top + size + 16}" text-anchor="middle">{u:.2g}</text>'
            f'<text x="{left - 6}" y="{y(v) + 4}" text-anchor="end">{v:.2g}</text>'
        )
    parts.append(f'<g clip-path="url(#{key})">')
    if diagonal:
        parts.append(
            f'<path d="M{x(x0)} {y(y0)}L{x(x1)} {y(y1)}" stroke="#7b838c" stroke-dasharray="3 4"/>'
        )
    for s in series:
        line = " ".join(f"{x(p[0])},{y(p[1])}" for p in s.points)
        parts.append(f'<polyline points="{line}" fill="none" {stroke(s.style)}/>')
        parts += [
            f'<circle cx="{x(p[0])}" cy="{y(p[1])}" r="{2 + 5 * share**0.5:.1f}" '
            f'fill="{COLOURS[s.style % len(COLOURS)]}" fill-opacity="0.55"/>'
            for p, share in zip(s.points, s.sizes, strict=False)
        ]
    return "\n".join([*parts, "</g>"])
