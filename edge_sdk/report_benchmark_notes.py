"""What a benchmark's figures rest on, as parts of its page: warnings, evidence, machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from edge_sdk.benchmark.measure import Measurement, State
from edge_sdk.benchmark.published import published_rows
from edge_sdk.benchmark.run import Benchmark
from edge_sdk.page import table
from edge_sdk.profiles import DeviceProfile, Figure
from edge_sdk.report import NOTHING

Key = tuple[int, str]  # a model's number and a place


@dataclass(frozen=True)
class Note:
    """Texts that hold for the same figures. whose: these in words."""

    whose: str
    holds: tuple[Key, ...]
    warning: bool
    texts: tuple[str, ...]


def notes(results: Sequence[Benchmark], names: Sequence[str]) -> list[Note]:
    """Warnings first, then evidence; each text once, with all it holds for."""
    said: dict[tuple[bool, str], dict[Key, None]] = {}

    def say(warning: bool, texts: Iterable[str], key: Key) -> None:
        for text in texts:
            said.setdefault((warning, text), {})[key] = None

    for i, r in enumerate(results):
        if r.measured is not None:
            say(True, r.measured.warnings, (i, r.measured.where))
        for m in r.missing:
            say(True, [m.reason], (i, m.profile))
        for c in r.chips:
            say(False, c.evidence, (i, c.profile))
        for e in r.estimates:
            say(True, e.warnings, (i, e.profile))
            say(
                False, [*e.evidence, *([f"heat: {e.thermal}"] if e.thermal else [])], (i, e.profile)
            )
            if (b := e.battery) is not None:
                battery = (
                    f"{b.watt_hours:g} Wh last {b.hours:.1f} hours at a duty of {b.duty:.0%}, "
                    f"{b.images:,.0f} images (derived from published watts, {b.mean_w:.2f} W on "
                    "average; no camera, screen or radio)"
                )
                say(False, [battery], (i, e.profile))
    grouped: dict[tuple[bool, tuple[Key, ...]], list[str]] = {}
    for (warning, text), keys in said.items():
        grouped.setdefault((warning, tuple(keys)), []).append(text)
    made = [
        Note(_whose(holds, names), holds, warning, tuple(texts))
        for (warning, holds), texts in grouped.items()
    ]
    return sorted(made, key=lambda n: not n.warning)


def _whose(holds: tuple[Key, ...], names: Sequence[str]) -> str:
    """Places, and the models where they are not all of them."""
    models = sorted({i for i, _ in holds})
    places = ", ".join(dict.fromkeys(place for _, place in holds))
    return (
        places if len(models) == len(names) else f"{', '.join(names[i] for i in models)}: {places}"
    )


def note_list(found: Sequence[Note]) -> list[str]:
    """The notes under the numbers that tables refer to."""
    parts: list[str] = []
    for warning, heading in ((True, "Warnings"), (False, "Evidence")):
        first = next((i for i, n in enumerate(found, 1) if n.warning == warning), None)
        if first is None:
            continue
        parts += [f"<h2>{heading}</h2>", f'<ol class="notes" start="{first}">']
        for note in found:
            if note.warning == warning:
                texts = "".join(f"<li>{escape(text)}</li>" for text in note.texts)
                parts.append(f"<li><b>{escape(note.whose)}</b><ul>{texts}</ul></li>")
        parts.append("</ol>")
    return parts


def machines(results: Sequence[Benchmark], names: Sequence[str]) -> list[str]:
    """Where and with what each model was timed, a column each."""
    timed = [(name, r.measured) for name, r in zip(names, results, strict=True) if r.measured]
    if not timed:
        return []
    columns = [_machine(m) for _, m in timed]
    rows = [
        (head, [column[head] for column in columns])
        for head in columns[0]
        if any(column[head] != NOTHING for column in columns)
    ]
    heads = [name for name, _ in timed]
    made = table("Timed on, and how", heads, rows, words=len(heads))
    return ["<h2>Machine</h2>", f'<div class="wide">{made}</div>']


def _machine(m: Measurement) -> dict[str, str]:
    states = (m.conditions.before, m.conditions.after) if m.conditions else (None, None)
    what = "mean" if m.p50_ms is None else "median"
    return {
        "where": m.where,
        "processor": f"{m.machine.cpu}, {m.machine.cores} cores",
        "memory": f"{m.machine.memory_bytes / 1e9:.1f} GB" if m.machine.memory_bytes else NOTHING,
        "system": m.machine.system,
        "runtime": f"{m.runtime} {m.version}, {m.threads} thread" + ("s" if m.threads > 1 else ""),
        "Python": m.python or NOTHING,
        "ms": f"{what} of {m.runs} runs after {m.warmup}",
        "before": _state(states[0]),
        "after": _state(states[1]),
    }


def _state(s: State | None) -> str:
    if s is None:
        return NOTHING
    figures = [
        ("governor", s.governor),
        ("clock", s.clock_mhz and f"{s.clock_mhz:.0f} MHz"),
        ("temperature", s.temperature_c and f"{s.temperature_c:.1f} C"),
        ("throttled bits", None if s.throttled is None else f"{s.throttled:#x}"),
    ]
    return ", ".join(f"{name} {value}" for name, value in figures if value) or "it does not say"


def sources(profiles: Sequence[DeviceProfile]) -> list[str]:
    """What is published of the devices: their figures and the latencies of the tables they name."""
    if not profiles:
        return []
    rows = []
    for p in profiles:
        h = p.hardware
        figures: list[tuple[Figure | None, str]] = [
            (h.clock_ghz, "GHz"), (h.memcpy_mbps, "MB/s"), (h.idle_w, "W idle"),
            (h.load_w, "W load"),
        ]  # fmt: skip
        known = [(f, unit) for f, unit in figures if f is not None]
        rows.append(
            (
                p.name,
                [
                    f"{p.title}: {h.cpu}",
                    ", ".join(f"{f.value:g} {unit}" for f, unit in known),
                    "; ".join(dict.fromkeys(f.source for f, _ in known)),
                ],
            )
        )
    latencies = [row for p in profiles for row in _published(p)]
    parts = [
        "<h2>Published</h2>",
        '<div class="wide">',
        table("Devices", ("device", "published", "sources"), rows, words=3),
    ]
    if latencies:
        heads = ("rows", "ms", "tier", "runtime", "source")
        said = "Latencies of these devices in the tables their profiles name; tier A is best"
        parts.append(table(said, heads, latencies, words=2))
    return [*parts, "</div>"]


def _published(profile: DeviceProfile) -> list[tuple[str, list[str]]]:
    """A line for each model family, type, runtime and source of the profile's own device."""
    found: dict[tuple[str, str, str, str, str], list[float]] = {}
    for r in published_rows(profile):
        key = (r.model, r.dtype, r.tier, f"{r.runtime}, {r.threads} threads", r.source)
        found.setdefault(key, []).append(r.latency_ms)
    return [
        (
            f"{profile.name}, {model} {dtype}",
            [
                str(len(ms)),
                f"{min(ms):g}" + (f" - {max(ms):g}" if len(ms) > 1 else ""),
                tier,
                runtime,
                source,
            ],
        )
        for (model, dtype, tier, runtime, source), ms in found.items()
    ]
