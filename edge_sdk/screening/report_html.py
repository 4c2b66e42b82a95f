"""A slide's report as one page that needs nothing else: style, drawings and pictures are inside.

A browser's print makes the PDF: the label and, of a drawn slide, SIMULATED are on every sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from edge_sdk.page import STYLE, table
from edge_sdk.screening.record import VERDICTS, SlideRecord, Verdict
from edge_sdk.screening.report_cells import (
    NONE,
    Pictures,
    changes_part,
    fields_part,
    gallery_part,
    moment,
    verdict_text,
)
from edge_sdk.screening.report_plots import fields_plot, shares_plot
from edge_sdk.screening.slide import Reading
from edge_sdk.screening.texts import TABLE, needed_flags, notes, number, pair, statement, text

OWN_STYLE = """
.simulated { font-size: 2rem; letter-spacing: .12em; text-align: center; line-height: 1.25 }
.simulated small { display: block; font-size: .95rem; font-weight: 400; letter-spacing: 0 }
.label { font-weight: 600; border-left: 5px solid #9d1747; padding: .3rem .8rem; margin: .7rem 0 }
.outcome { border: 2px solid #16191d; padding: .7rem 1rem; margin: 1rem 0; font-size: 1.2rem;
  font-weight: 600; overflow-wrap: anywhere }
.outcome.flagged { border-left-width: 14px; border-color: #b03a00 }
.outcome.insufficient { border-style: dashed }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .5rem 0 }
.facts dt { color: #3c434b } .facts dd { margin: 0; overflow-wrap: anywhere }
.cells { display: grid; gap: .6rem; list-style: none; padding: 0;
  grid-template-columns: repeat(auto-fill, minmax(9.6rem, 1fr)) }
.cells li { border: 1px solid #c9d0d7; border-top-width: 4px; padding: .4rem; break-inside: avoid;
  font-size: .82rem; line-height: 1.35; margin: 0 }
.cells .confirmed { border-top-color: #b03a00 } .cells .rejected { border-top-color: #374151 }
.cells .unsure { border-top: 4px dashed #6d28a8 }
.cells img { width: 72px; height: 72px; object-fit: contain; background: #000 }
.cells .pictures { display: flex; justify-content: space-between; align-items: start; gap: .3rem }
.cells .gone { width: 72px; height: 72px; background: #eee; font-size: .7rem; padding: .2rem;
  box-sizing: border-box }
svg.place { width: auto; max-width: none; display: inline-block }
.sign { margin-top: 2.5rem; border-top: 1px solid #16191d; padding-top: .3rem; max-width: 30rem;
  break-inside: avoid }
thead th { white-space: normal; vertical-align: bottom } caption { max-width: 40rem }
.narrow tbody th { min-width: 4rem }
@media (max-width: 40rem) { .facts { grid-template-columns: 1fr; gap: 0 }
  .facts dd { margin-bottom: .35rem } .simulated { font-size: 1.6rem }
  .narrow th:first-child { min-width: 0 } td.words, td.long { min-width: 0 }
  .cells { grid-template-columns: repeat(auto-fill, minmax(8.4rem, 1fr)) } }
@media print { .cells { grid-template-columns: repeat(5, 1fr); gap: .4rem }
  .cells li { font-size: 7pt; padding: .3rem } .cells img, .cells .gone {
  width: 56px; height: 56px } h2 { break-after: avoid } .outcome, .label { break-inside: avoid }
  .simulated, .outcome, .cells li { -webkit-print-color-adjust: exact; print-color-adjust: exact }
  footer { display: none } }
"""


def page(record: SlideRecord, pictures: Pictures, files: Mapping[str, str]) -> str:
    """files: SHA-256 of the files beside the page, by name."""
    said = record.language
    title = text("title", said)
    body = [
        *_simulated(record),
        f"<h1>{escape(title)}</h1>",
        f'<p class="label" role="note">{escape(text("label", said))}</p>',
        _outcome(record),
        *_facts(record),
        *_counts(record),
        *_estimate(record),
        '<div class="plots">',
        shares_plot(record),
        fields_plot(record),
        "</div>",
        *_limits(record),
        *fields_part(record),
        *gallery_part(record, pictures),
        *changes_part(record),
        *_hashes(record, files),
        f'<p class="sign">{escape(text("signature", said))}</p>',
    ]
    end = f"{text('label', said)} edge-sdk {record.app_version}."
    head = f"{text('simulated', said)} – " if record.simulated else ""
    return (
        f'<!doctype html>\n<html lang="{said}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(f'{head}{title}, {record.session}')}</title>\n"
        f"<style>{STYLE}{OWN_STYLE}{_sheets(record)}</style>\n</head>\n<body>\n"
        + "\n".join([*body, f"<footer>{escape(end)}</footer>"])
        + "\n</body>\n</html>\n"
    )


def _sheets(record: SlideRecord) -> str:
    """What is printed in every sheet's margins."""
    said = record.language
    low = f"font: 600 8pt/1.3 system-ui, sans-serif; content: {_css(text('label', said))}"
    right = "font: 8pt system-ui, sans-serif; content: counter(page) ' / ' counter(pages)"
    top = ""
    if record.simulated:
        big = "font: 700 13pt system-ui, sans-serif; color: #7a4b00; letter-spacing: .12em"
        top = f"@top-center {{ {big}; content: {_css(text('simulated', said))} }}"
    left = f"@bottom-left {{ width: 82%; text-align: left; {low} }}"
    return f"@page {{ margin: 16mm 14mm 18mm; {top} {left} @bottom-right {{ {right} }} }}"


def _css(words: str) -> str:
    return '"' + words.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _simulated(record: SlideRecord) -> list[str]:
    if not record.simulated:
        return []
    said = record.language
    why = text("simulated.why", said)
    if record.drawn_parasitaemia is not None:
        share = number(100 * record.drawn_parasitaemia, said, 2)
        why += " " + text("simulated.drawn", said, share=share)
    return [
        f'<div class="simulated" role="note">{escape(text("simulated", said))}'
        f"<small>{escape(why)}</small></div>"
    ]


def _outcome(record: SlideRecord) -> str:
    r, said = record.result, record.language
    return (
        f'<p class="outcome {r.outcome.replace(" ", "-")}">'
        f"{escape(statement(r, record.rule, said))}.</p>"
        f"<p>{escape(text('preliminary', said))}</p>"
    )


def _facts(record: SlideRecord) -> list[str]:
    said = record.language
    needed = text(
        "needed.of",
        said,
        flags=number(needed_flags(record.result, record.rule), said),
        cells=number(record.result.counts.counted, said),
    )
    rows = [
        ("session", record.session),
        ("created", moment(record.created)),
        ("finished", moment(record.finished)),
        ("operator", record.operator),
        ("device", record.device),
        ("camera", record.camera),
        ("version", f"edge-sdk {record.app_version}"),
        ("model", record.model.name),
        ("runtime", record.model.runtime),
        ("threshold", number(record.rule.decision.threshold or 0.0, said, 4)),
        ("needed", needed),
        ("site", record.site or text("none", said)),
    ]
    found = "".join(
        f"<dt>{escape(text(key, said))}</dt><dd>{escape(value)}</dd>" for key, value in rows
    )
    return [f"<h2>{escape(text('session', said))}</h2>", f'<dl class="facts">{found}</dl>']


# --- figures -------------------------------------------------------------------------------


def _counts(record: SlideRecord) -> list[str]:
    r, said = record.result, record.language
    found = {"raw": r.raw, **({"reviewed": r.reviewed} if r.reviewed is not None else {})}
    readings = [_reading(v, said) for v in found.values()]
    names = [text(k, said) for k in ("flagged", "counted", "plot.shares", "interval")]
    rows = [(name, [v[i] for v in readings]) for i, name in enumerate(names)]
    heads = [text(k, said) for k in found]
    parts = [
        f"<h2>{escape(text('counts', said))}</h2>",
        f'<div class="wide">{table(text("counts.caption", said), heads, rows)}</div>',
    ]
    if r.reviewed is None:
        return [*parts, f"<p>{escape(text('reviewed.not', said))}</p>"]
    return [*parts, f"<p>{escape(pair(text('verdicts', said), _verdicts(record), said))}</p>"]


def _reading(found: Reading, said: str) -> list[str]:
    low, high = (number(100 * v, said, 3) for v in (found.low, found.high))
    share = number(100 * found.share, said, 3)
    return [number(found.flagged, said), number(found.counted, said), share, f"{low} – {high}"]


def _verdicts(record: SlideRecord) -> str:
    said = record.language
    given = [c.verdict for c in record.cells]
    names: tuple[Verdict | None, ...] = (*VERDICTS, None)
    return ", ".join(f"{verdict_text(v, said)} {number(given.count(v), said)}" for v in names)


def _estimate(record: SlideRecord) -> list[str]:
    r, said = record.result, record.language
    heading = f"<h2>{escape(text('estimate', said))}</h2>"
    if r.estimate is None or r.limits is None or r.per_ul is None:
        return [heading, f"<p>{escape(text('estimate.refused', said))}</p>"]
    e, limits, p = r.estimate, r.limits, r.per_ul
    shares = _column(
        (e.share, e.low, e.high, limits.blank, limits.detection),
        lambda v: number(100 * v, said, 3),
    )
    per_ul = _column((p.estimate, p.low, p.high, p.blank, p.detection), lambda v: number(v, said))
    names = [text(k, said) for k in ("estimated", "interval", "blank", "detection")]
    heads = [f"{text('parasitaemia', said)}, %", text("per ul", said)]
    rows = list(zip(names, zip(shares, per_ul, strict=True), strict=True))
    blood = pair(text("red cells", said), number(r.red_cells.per_ul, said), said)
    return [
        heading,
        f'<div class="wide">{table(text("estimate.caption", said), heads, rows)}</div>',
        f"<p>{escape(blood)}, {escape(text(f'origin.{r.red_cells.origin}', said))}.</p>",
    ]


def _column(values: Sequence[float | None], said: Callable[[float], str]) -> list[str]:
    """values: estimate, low, high, limits of blank and of detection."""
    estimate, low, high, blank, detection = (NONE if v is None else said(v) for v in values)
    return [estimate, f"{low} – {high}", blank, detection]


def _limits(record: SlideRecord) -> list[str]:
    said = record.language
    limits = [text(k, said) for k in TABLE if k.startswith("limit.")]
    return [
        *(f"<h2>{escape(text('limits', said))}</h2>", _list(limits)),
        *(
            f"<h2>{escape(text('notes', said))}</h2>",
            _list(notes(record.result, record.rule, said)),
        ),
    ]


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _hashes(record: SlideRecord, files: Mapping[str, str]) -> list[str]:
    said = record.language
    entries = text("hash.audit", said, entries=number(record.audit_entries, said))
    rows = [
        (text("hash.model", said), record.model.sha256),
        (text("hash.rule", said), record.rule_sha256),
        (text("hash.site", said), record.site_sha256 or text("none", said)),
        (entries, record.audit_head),
        (text("hash.key", said), record.signed_by or text("unsigned", said)),
        *files.items(),
    ]
    return [
        f"<h2>{escape(text('hashes', said))}</h2>",
        f"<p>{escape(text('hash.how', said))}</p>",
        *(f'<p class="hash">{escape(pair(name, value, said))}</p>' for name, value in rows),
    ]
