"""A benchmark as a page: every figure with its kind, its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from edge_sdk.artifact import Check, Manifest
from edge_sdk.benchmark.emulate import Counted
from edge_sdk.benchmark.estimate import Estimate
from edge_sdk.benchmark.measure import Measurement
from edge_sdk.benchmark.run import Benchmark
from edge_sdk.files import write_whole
from edge_sdk.page import document, marker, table
from edge_sdk.profiles import DeviceProfile
from edge_sdk.report import NOTHING, size
from edge_sdk.report_benchmark_notes import Note, machines, note_list, notes, sources
from edge_sdk.report_benchmark_plots import (
    Bar,
    Latency,
    Spot,
    drawable,
    latencies,
    number,
    shares,
    trade_off,
)

KINDS = (
    ("measured", "timed on the machine or device named, in this run"),
    ("estimated", "computed from published measurements; never run there; the interval is 90 %"),
    ("published", "by the source named; not checked by this project"),
    ("counted", "read from the model's file, or executed under emulation and counted; no time"),
    ("derived", "follows from figures of the other kinds, as the notes say"),
)
MAX_RADIUS = 9.0


def write_page(
    path: Path,
    results: Sequence[Benchmark],
    manifests: Sequence[Manifest | None],
    profiles: Sequence[DeviceProfile],
    counted: Sequence[Sequence[Counted]] = (),
) -> None:
    """Writes the page, whole or not at all."""
    write_whole(path, page(results, manifests, profiles, counted).encode("utf-8"))


def page(
    results: Sequence[Benchmark],
    manifests: Sequence[Manifest | None],
    profiles: Sequence[DeviceProfile],
    counted: Sequence[Sequence[Counted]] = (),
) -> str:
    """HTML that needs nothing else. manifests, counted: one for each result, counted may be
    empty; profiles: those the estimates are of."""
    names = short([r.model for r in results])
    checks = [judged(m) for m in manifests]
    found = notes(results, names)
    title = "Benchmark of " + (names[0] if len(names) == 1 else f"{len(names)} models")
    body = [
        f"<h1>{escape(title)}</h1>",
        _summary(results, profiles),
        _warning(_simulated(manifests)),
        '<ul class="kinds">',
        *(f"<li><b>{kind}</b>: {escape(said)}</li>" for kind, said in KINDS),
        "</ul>",
        "<h2>Models</h2>",
        _wide(_models(results, manifests, names, checks)),
        '<div class="whole">',
        "<h2>Latency</h2>",
        _legend(names),
        _wide(_latency_plot(results, names)),
        "</div>",
        *(
            _wide(_figures(r, i, found))
            for i, r in enumerate(results)
            if r.measured or r.estimates or r.missing or r.chips
        ),
        "<p>Of an estimate, memory (weights, activations, and what an interpreter took on another "
        "machine), load (without storage: a lower bound) and energy (published watts under load) "
        "are derived; of a measurement, memory is the process's peak and load has the import.</p>",
        *_trade_offs(results, names, checks, _simulated(manifests)),
        *_times(results, names),
        *_emulated(counted, names),
        *note_list(found),
        *machines(results, names),
        *sources(profiles),
    ]
    return document(title, [part for part in body if part])


def short(names: Sequence[str]) -> list[str]:
    """Names without the words, up to the last dash, that all begin with; equal ones numbered."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    cut = first[:same].rfind("-") + 1
    return [
        name[cut:] + (f" ({names[: i + 1].count(name)})" if names.count(name) > 1 else "")
        for i, name in enumerate(names)
    ]


def judged(manifest: Manifest | None) -> Check | None:
    """The check of the runtime that agreed least, among those that gave answers."""
    known = [c for c in manifest.gate.checks if c.version] if manifest else []
    return min(known, key=lambda c: c.agreement, default=None)


def _summary(results: Sequence[Benchmark], profiles: Sequence[DeviceProfile]) -> str:
    timed = list(dict.fromkeys(r.measured.where for r in results if r.measured))
    said = f"{', '.join(r.model for r in results)}. "
    said += f"Measured: {', '.join(timed)}." if timed else "Nothing was measured."
    if profiles:
        said += f" Estimated for {', '.join(p.name for p in profiles)}."
    return f"<p>{escape(said)}</p>"


def _simulated(manifests: Sequence[Manifest | None]) -> bool:
    return any(m is not None and m.judged.simulated for m in manifests)


def _warning(simulated: bool) -> str:
    if not simulated:
        return ""
    return (
        '<p class="simulated" role="note">Simulated: accuracy and agreement here are of images '
        "that are drawn, not photographed. They say nothing about real ones.</p>"
    )


def _wide(text: str) -> str:
    return f'<div class="wide">\n{text}\n</div>'


def _models(
    results: Sequence[Benchmark],
    manifests: Sequence[Manifest | None],
    names: Sequence[str],
    checks: Sequence[Check | None],
) -> str:
    rows = []
    for r, name, m, c in zip(results, names, manifests, checks, strict=True):
        weights = sorted({key.rpartition(" ")[2] for key in r.weight_types})
        cells = [f"{r.size_bytes:,}", f"{r.mult_adds / 1e6:.2f} M", f"{r.parameters:,}"]
        cells += [", ".join(weights) or NOTHING]
        if m is None or c is None:
            cells += [NOTHING, NOTHING, "no manifest" if m is None else "no runtime gave answers"]
        else:
            drawn = "simulated " if m.judged.simulated else ""
            gate = "passed" if m.gate.passed else "FAILED"
            cells += [
                NOTHING if c.accuracy is None else f"{c.accuracy:.1f} %",
                f"{c.agreement:.1f} %",
                f"gate {gate}; {c.samples} {drawn}images of '{m.judged.data}', {c.runtime} "
                f"{c.version}",
            ]
        rows.append((name, cells))
    heads = ("bytes", "Mult-Adds", "parameters", "weights", "accuracy", "agreement", "judged on")
    said = "Counted from the files; accuracy, and agreement with the trained model, measured when "
    return table(said + "converted", heads, rows, words=1)


def _legend(names: Sequence[str]) -> str:
    marks = "".join(
        f'<li><svg viewBox="0 0 40 14" aria-hidden="true">'
        f"{marker((20, 7), i, '', hollow=False, size=5)}</svg>{escape(name)}</li>"
        for i, name in enumerate(names)
    )
    return (
        f'<ul class="legend">{marks}<li>filled: measured, line from the fastest to the 99th '
        "percentile</li><li>hollow: estimated, line: 90 % interval</li></ul>"
    )


def _places(r: Benchmark) -> Iterator[Measurement | Estimate]:
    yield from () if r.measured is None else (r.measured,)
    yield from r.estimates


def _where(found: Measurement | Estimate) -> str:
    return found.where if isinstance(found, Measurement) else found.profile


def _ends(found: Measurement | Estimate) -> tuple[float | None, float | None]:
    if isinstance(found, Measurement):
        return found.min_ms, found.p99_ms
    return found.low_ms, found.high_ms


def _said(found: Measurement | Estimate, name: str) -> str:
    low, high = _ends(found)
    return (
        f"{name}, {_where(found)}: {number(found.latency_ms)} ms ({number(low)} - {number(high)}), "
        f"{found.label}"
    )


def _by_place(results: Sequence[Benchmark]) -> list[tuple[str, int, Measurement | Estimate]]:
    """(place, model's number, figure), all of one place together, places as they first come."""
    found = [(_where(f), i, f) for i, r in enumerate(results) for f in _places(r)]
    order = list(dict.fromkeys(place for place, _, _ in found))
    return sorted(found, key=lambda item: order.index(item[0]))


def _latency_plot(results: Sequence[Benchmark], names: Sequence[str]) -> str:
    rows = [
        Latency(place, i, f.latency_ms, *_ends(f), isinstance(f, Measurement), _said(f, names[i]))
        for place, i, f in _by_place(results)
    ]
    described = "; ".join(r.said for r in rows)
    return latencies("Latency of one image by device", described, rows)


def _figures(r: Benchmark, i: int, found: Sequence[Note]) -> str:
    def held(place: str) -> str:
        return ", ".join(str(n) for n, note in enumerate(found, 1) if (i, place) in note.holds)

    rows = []
    for f in _places(r):
        place = _where(f)
        here = held(place)
        rate = 1000 / f.latency_ms if drawable(f.latency_ms) else None
        cells = [f.label, number(f.latency_ms), "", number(rate)]
        if isinstance(f, Measurement):
            known = (("p90", f.p90_ms), ("p99", f.p99_ms))
            cells[2] = ", ".join(f"{p} {number(v)}" for p, v in known if drawable(v)) or NOTHING
            memory = NOTHING if f.rss_peak_bytes is None else size(f.rss_peak_bytes)
            cells += [memory, number(f.load_ms), NOTHING, NOTHING]
            here = ", ".join(x for x in ("machine", here) if x)
        else:
            cells[2] = f"{number(f.low_ms)} - {number(f.high_ms)}"
            hours = f"{f.battery.hours:.1f} h" if f.battery else NOTHING
            load = "≥ " + number(f.load_ms) if f.load_ms else NOTHING
            cells += [f"about {size(f.memory_bytes)}", load, number(f.energy_mj), hours]
        threads = f"{f.threads} thread" + ("" if f.threads == 1 else "s")
        rows.append((f"{place}, {threads}", [*cells, here or NOTHING]))
    for c in r.chips:
        arrays = f"{c.arrays} arrays" + ("" if c.fits else ", does not fit")
        cells = [c.label, number(c.latency_ms), NOTHING, number(c.fps), NOTHING, NOTHING]
        cells += [number(c.energy_mj), NOTHING, held(c.profile)]
        rows.append((f"{c.profile}, {arrays}", cells))
    rows += [(m.profile, ["no evidence", *[NOTHING] * 7, held(m.profile)]) for m in r.missing]
    heads = ["figure", "ms", "interval ms", "images/s", "memory", "load ms", "mJ/image", "battery"]
    if not any(e.battery for e in r.estimates):
        heads.remove("battery")
        rows = [(head, [*cells[:7], cells[8]]) for head, cells in rows]
    return table(f"{r.model}: {size(r.size_bytes)}", [*heads, "notes"], rows, words=1)


def _trade_offs(
    results: Sequence[Benchmark],
    names: Sequence[str],
    checks: Sequence[Check | None],
    simulated: bool,
) -> list[str]:
    """Latency, bytes and, where manifests have it, accuracy or agreement against each other."""
    what, score = _scores(checks)
    judged_bytes = [
        r.size_bytes for r, value in zip(results, score, strict=True) if value is not None
    ]
    radius = [MAX_RADIUS * (r.size_bytes / max(judged_bytes, default=1)) ** 0.5 for r in results]

    def lines(x: Sequence[float | None], bubbles: bool) -> list[tuple[str, list[Spot]]]:
        return [
            (
                place,
                [
                    Spot(
                        value,
                        f.latency_ms,
                        i,
                        isinstance(f, Measurement),
                        f"{_said(f, names[i])}; {size(results[i].size_bytes)}",
                        radius[i] if bubbles else 4.5,
                    )
                    for _, i, f in found
                    if (value := x[i]) is not None
                ],
            )
            for place, found in groupby(_by_place(results), key=lambda item: item[0])
        ]

    files = [float(r.size_bytes) / 1e3 for r in results]
    drawings = [
        trade_off(
            "Latency against bytes",
            "One point for each model and device; points of a device are joined.",
            lines(files, False),
            ("kB of the model's file", "ms"),
        )
    ]
    if judged_bytes:
        axis = f"{what} %, when converted"
        drawn = ", simulated images" if simulated else ""
        drawings += [
            trade_off(
                f"Latency against {what}{drawn}",
                "One point for each model and device, its area for the file's bytes.",
                lines(score, True),
                (axis, "ms"),
                percent=(True, False),
            ),
            trade_off(
                f"{what.capitalize()} against bytes{drawn}",
                "One point for each model.",
                [
                    (name, [Spot(files[i], value, i, True, f"{name}: {value:.1f} %", radius[i])])
                    for i, (name, value) in enumerate(zip(names, score, strict=True))
                    if value is not None
                ],
                ("kB of the model's file", axis),
                percent=(False, True),
            ),
        ]
    drawings = [d for d in drawings if d]
    if not drawings:
        return []
    said = "Points of one device are joined."
    if len(drawings) > 1:
        said += f" Where {what} is an axis, areas stand for the file's bytes."
    return [
        '<div class="whole">',
        "<h2>Latency, bytes and accuracy</h2>",
        _legend(names),
        f"<p>{said}</p>",
        '<div class="plots pairs">',
        *(_wide(d) for d in drawings),
        "</div></div>",
    ]


def _scores(checks: Sequence[Check | None]) -> tuple[str, list[float | None]]:
    """Accuracy where every judged model has one, else agreement."""
    if any(c is not None and c.accuracy is None for c in checks):
        return "agreement", [c.agreement if c else None for c in checks]
    return "accuracy", [c.accuracy if c else None for c in checks]


def _times(results: Sequence[Benchmark], names: Sequence[str]) -> list[str]:
    """Time by kind of layer (the fits' attribution) and, where profiled, by operator."""
    several = len(results) > 1
    bars = [
        Bar(
            place + (f", {names[i]}" if several else ""),
            f.breakdown_ms,
            f"{number(f.latency_ms)} ms",
        )
        for place, i, f in _by_place(results)
        if isinstance(f, Estimate)
    ]
    drawn = shares(
        "Estimated time by kind of layer, %",
        "; ".join(
            f"{b.label}: "
            + ", ".join(f"{k} {number(v)} ms" for k, v in b.parts.items() if drawable(v))
            for b in bars
        ),
        bars,
    )
    parts = [
        "<p>The fit's attribution: since the kinds grow together in what was published, it may "
        "give one kind another's time.</p>",
        _wide(drawn),
    ]
    ops = [
        (op.kind, [names[i], f.where, str(op.count), number(op.mean_ms)])
        for place, i, f in _by_place(results)
        if isinstance(f, Measurement)
        for op in sorted(f.ops, key=lambda op: -op.mean_ms)
    ]
    heads = ("model", "where", "operators", "ms")
    said = "Time by operator, measured (profiled apart)"
    found = (parts if drawn else []) + ([_wide(table(said, heads, ops))] if ops else [])
    return (
        ['<div class="whole">', "<h2>Time by kind of layer</h2>", *found, "</div>"] if found else []
    )


def _emulated(counted: Sequence[Sequence[Counted]], names: Sequence[str]) -> list[str]:
    rows = [
        (
            name,
            [
                x.profile,
                x.counts.cpu,
                x.counts.label,
                f"{x.counts.instructions / 1e6:,.2f} M",
                f"{x.counts.spread:.2%}",
                size(x.counts.memory_bytes),
                f"{x.counts.runtime} {x.counts.version}, qemu {x.counts.qemu}",
            ],
        )
        for name, found in zip(names, counted, strict=False)
        for x in found
    ]
    if not rows:
        return []
    heads = ("device", "as", "figure", "instructions", "spread", "allocated", "evidence")
    said = "Per invoke on one thread; work, not time. spread: between invokes"
    return ["<h2>Instructions</h2>", _wide(table(said, heads, rows, words=1))]
