"""What a slide's report says of fields, cells and what a person changed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from edge_sdk.page import table
from edge_sdk.screening.record import FieldRecord, FlaggedCell, GateResult, SlideRecord, Verdict
from edge_sdk.screening.report_plots import place_map
from edge_sdk.screening.texts import TABLE, number, pair, text

GALLERY = 200  # pictures on the page: more are in cells.csv, and too many to read
CHANGES = 100
NONE = "–"
SIGNS = {"confirmed": "✓", "rejected": "✗", "unsure": "?"}


@dataclass(frozen=True)
class Pictures:
    """thumbnails: PNG by cell number; sizes: (width, height) of fields' pictures by number. Both
    without those that were purged."""

    thumbnails: Mapping[int, bytes]
    sizes: Mapping[int, tuple[int, int]]


def moment(time: str) -> str:
    """ISO 8601 in UTC, as a person reads it."""
    return time[:19].replace("T", " ") + " UTC"


def _clock(time: str, record: SlideRecord) -> str:
    """The day is left out where it is the session's first."""
    same = time[:10] == record.created[:10]
    return time[11:19] if same else moment(time)


def verdict_text(verdict: Verdict | None, said: str) -> str:
    if verdict is None:
        return text("verdict.none", said)
    return f"{SIGNS[verdict]} {text(f'verdict.{verdict}', said)}"


def fields_part(record: SlideRecord) -> list[str]:
    said = record.language
    rejected = [f for f in record.fields if not f.accepted]
    summary = text(
        "fields.summary",
        said,
        taken=number(len(record.fields), said),
        accepted=number(len(record.fields) - len(rejected), said),
        rejected=number(len(rejected), said),
    )
    parts = [f"<h2>{escape(text('fields', said))}</h2>", f"<p>{escape(summary)}</p>"]
    if rejected:
        heads = [text("taken", said), text("why", said)]
        rows = [(str(f.number), [_clock(f.taken, record), why(f, said)]) for f in rejected]
        found = table(text("fields.rejected", said), heads, rows, words=1)
        parts.append(f'<div class="wide narrow">{found}</div>')
    heads = [text(k, said) for k in ("taken", "state", "cells", "flagged")]
    rows = [
        (
            str(f.number),
            [
                _clock(f.taken, record),
                text("accepted" if f.accepted else "rejected.field", said),
                number(f.cells, said) if f.accepted else NONE,
                number(f.flagged, said) if f.accepted else NONE,
            ],
        )
        for f in record.fields
    ]
    found = table(text("fields.all", said), heads, rows)
    return [*parts, f'<div class="wide narrow">{found}</div>']


def why(field: FieldRecord, said: str) -> str:
    """The gates that a field did not pass, with what they measured."""
    return "; ".join(_fault(g, said) for g in field.gates if not g.passed)


def _fault(gate: GateResult, said: str) -> str:
    name = gate_text(gate.gate, said)
    if gate.value is None:
        return name
    limit = gate.bounds or _measure(gate.limit, said)
    measured = text("measured", said, value=_measure(gate.value, said), limit=limit)
    return f"{name} ({measured})"


def gate_text(gate: str, said: str) -> str:
    """A gate without a text of its own goes by its name."""
    return text(f"gate.{gate}", said) if f"gate.{gate}" in TABLE else gate


def _measure(value: float | None, said: str) -> str:
    if value is None:
        return NONE
    decimals = 0 if abs(value) >= 100 else 2 if abs(value) >= 1 else 4
    return number(value, said, decimals)


def gallery_part(record: SlideRecord, pictures: Pictures) -> list[str]:
    said = record.language
    heading = f"<h2>{escape(text('gallery', said))}</h2>"
    if not record.cells:
        return [heading, f"<p>{escape(text('gallery.none', said))}</p>"]
    shown = by_probability(record.cells)[:GALLERY]
    lines = [text("gallery.how", said)]
    if len(shown) < len(record.cells):
        values = {"shown": number(len(shown), said), "all": number(len(record.cells), said)}
        lines.append(text("gallery.some", said, **values))
    cards = "".join(_card(c, pictures, said) for c in shown)
    return [
        heading,
        *(f"<p>{escape(line)}</p>" for line in lines),
        f'<ul class="cells">{cards}</ul>',
    ]


def by_probability(cells: Sequence[FlaggedCell]) -> list[FlaggedCell]:
    return sorted(cells, key=lambda c: (-c.probability, c.number))


def _card(cell: FlaggedCell, pictures: Pictures, said: str) -> str:
    name = f"{text('cell', said)} {cell.number}"
    place = f"x {cell.box[0]}, y {cell.box[1]}"
    if (found := pictures.thumbnails.get(cell.number)) is None:
        picture = f'<div class="gone">{escape(text("thumbnail.gone", said))}</div>'
    else:
        picture = f'<img alt="{escape(name)}" src="{data_url(found)}">'
    drawn = ""
    if size := pictures.sizes.get(cell.field):
        drawn = place_map(cell, size, pair(text("place in field", said), place, said))
    lines = (
        f"<b>{escape(text('probability', said))} {number(cell.probability, said, 3)}</b>",
        escape(verdict_text(cell.verdict, said)),
        escape(f"{name}, {text('field', said)} {cell.field}"),
        escape(place),
    )
    return (
        f'<li class="{cell.verdict or ""}"><div class="pictures">{picture}{drawn}</div>'
        + "<br>".join(lines)
        + "</li>"
    )


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def changes_part(record: SlideRecord) -> list[str]:
    said = record.language
    heading = f"<h2>{escape(text('overrides', said))}</h2>"
    if not record.overrides:
        return [heading, f"<p>{escape(text('overrides.none', said))}</p>"]
    shown = record.overrides[-CHANGES:]
    parts = [heading]
    if len(shown) < len(record.overrides):
        values = {"shown": number(len(shown), said), "all": number(len(record.overrides), said)}
        parts.append(f"<p>{escape(text('overrides.some', said, **values))}</p>")
    heads = [text(k, said) for k in ("operator", "cell", "was", "now")]
    rows = [
        (
            _clock(o.time, record),
            [o.operator, str(o.cell), verdict_text(o.was, said), verdict_text(o.now, said)],
        )
        for o in shown
    ]
    return [*parts, f'<div class="wide narrow">{table("", heads, rows)}</div>']
