"""Results as tables for people. For machines every command prints the same data as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from edge_sdk.artifact import Artifact, Check
from edge_sdk.benchmark.published import published_rows
from edge_sdk.benchmark.run import Benchmark
from edge_sdk.profiles import DeviceProfile, Figure

NOTHING = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Aligned columns: the first `left` to the left, figures to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def render(line: Sequence[str]) -> str:
        cells = (
            c.ljust(w) if i < left else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(
        [render(lines[0]), "  ".join("-" * w for w in widths), *map(render, lines[1:])]
    )


def size(count: int) -> str:
    """Bytes with a decimal unit: 4,571,096 -> 4.57 MB."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 999_500 else f"{count / 1e6:.2f} MB"


def conversion_table(artifacts: Sequence[Artifact]) -> str:
    """Scheme, size, and how it did on each runtime beside the trained model (all measured)."""
    what = "accuracy %" if _labelled(artifacts) else "est. loss"
    head = ["scheme", "bytes", "of float", what, "agree %", "SNR dB", "runtime", "gate"]
    rows = []
    for artifact in artifacts:
        m = artifact.manifest
        for i, check in enumerate(m.gate.checks):
            first = i == 0
            rows.append(
                [
                    m.scheme if first else "",
                    f"{m.model_bytes:,}" if first else "",
                    f"{m.model_bytes / m.float_bytes:.2f}" if first else "",
                    *_scores(check),
                    f"{check.runtime} {check.version}".strip(),
                    "passed" if check.passed else "FAILED",
                ]
            )
    return table(head, rows)


def conversion_summary(artifacts: Sequence[Artifact]) -> list[str]:
    """What was judged, each failure's reasons, and where each artifact lies."""
    m = artifacts[0].manifest
    data = "simulated images (drawn, not photographed)" if m.judged.simulated else "images"
    lines = [
        f"judged on {len(m.judged.images)} {data} of '{m.judged.data}', none of them among the "
        "calibration images; all figures measured here"
    ]
    floats = {c.float_accuracy for a in artifacts for c in a.manifest.gate.checks}
    if known := [f for f in floats if f is not None]:
        lines.append(f"trained model on the same images: accuracy {known[0]:.1f} %")
    elif not _labelled(artifacts):
        lines.append(
            "no labels: 'est. loss' is the accuracy lost in points, estimated from the trained "
            "model's own probabilities"
        )
    for a in artifacts:
        for check in a.manifest.gate.checks:
            lines += [f"{a.manifest.scheme} on {check.runtime}: {p}" for p in check.problems]
    lines += [f"{a.manifest.scheme}: {a.path}" for a in artifacts]
    return lines


def _labelled(artifacts: Sequence[Artifact]) -> bool:
    return any(a.manifest.gate.measure == "accuracy" for a in artifacts)


def _scores(check: Check) -> list[str]:
    """Accuracy or estimated loss, agreement, signal to noise; none of a runtime that failed."""
    if not check.version:
        return [NOTHING] * 3
    score = f"{check.drop:.2f}" if check.accuracy is None else f"{check.accuracy:.1f}"
    return [score, f"{check.agreement:.1f}", f"{check.snr_db:.1f}"]


def benchmark_table(results: Sequence[Benchmark]) -> str:
    """One row per model and place. The second column says what kind of figure the row holds."""
    head = ["model / where", "figure", "ms", "interval", "images/s", "memory", "mJ/image"]
    rows = []
    for r in results:
        rows.append(
            [f"{r.model}  {size(r.size_bytes)}, {r.mult_adds / 1e6:.1f} M Mult-Adds", *[""] * 6]
        )
        if (m := r.measured) is not None:
            rows.append(
                [
                    f"  here: {m.runtime} {m.version}, {m.threads} thread"
                    + ("s" if m.threads > 1 else ""),
                    "measured",
                    f"{m.p50_ms:.2f}",
                    f"p90 {m.p90_ms:.2f} p99 {m.p99_ms:.2f}",
                    _per_second(1e3 / m.p50_ms),
                    size(m.rss_peak_bytes),
                    NOTHING,
                ]
            )
        for e in r.estimates:
            rows.append(
                [
                    f"  {e.profile}: {e.runtime}, {e.threads} thread"
                    + ("s" if e.threads > 1 else ""),
                    e.label,
                    f"{e.latency_ms:.3g}",
                    f"{e.low_ms:.3g} - {e.high_ms:.3g}",
                    _per_second(e.fps),
                    f">= {size(e.memory_bytes)}",
                    f"{e.energy_mj:.3g}" if e.energy_mj is not None else NOTHING,
                ]
            )
    return table(head, rows, left=2)


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def benchmark_notes(results: Sequence[Benchmark]) -> list[str]:
    """The machine, and for each profile what its estimates rest on and where they are stretched."""
    lines = []
    timed = [r.measured for r in results if r.measured is not None]
    if timed:
        m = timed[0]
        lines.append(
            f"measured here: {m.machine.cpu}, {m.machine.cores} cores, {m.machine.system}, "
            f"Python {m.python}; ms is the median of {m.runs} runs after {m.warmup}; memory is the "
            "process's peak; load (with import) "
            + ", ".join(f"{t.load_ms:.0f}" for t in timed)
            + " ms"
        )
    if any(r.estimates for r in results):
        lines.append(
            "estimated: never run there; memory is weights and activations only; mJ/image is "
            "derived from published watts under load"
        )
    said: dict[str, dict[str, None]] = {}  # a text -> the profiles it holds for, each once
    for r in results:
        for e in r.estimates:
            for text in (*e.evidence, *e.warnings):
                said.setdefault(text, {})[e.profile] = None
    heading = ""
    for text, names in sorted(said.items(), key=lambda item: list(item[1])):
        if (joined := ", ".join(names)) != heading:
            heading = joined
            lines.append(f"{heading}:")
        lines += textwrap.wrap(text, 100, initial_indent="  - ", subsequent_indent="    ")
    return lines


def profiles_table(profiles: Sequence[DeviceProfile]) -> str:
    """The shipped profiles and what their latencies are stated for."""
    rows = []
    for p in profiles:
        for i, (kind, at) in enumerate(p.latency.items()):
            stated = f"{at.runtime} {at.version}, {at.threads} threads, {at.abi}"
            how = "scaled from another device" if at.scale else "own measurements"
            rows.append([p.name if i == 0 else "", p.title if i == 0 else "", kind, stated, how])
    return table(["profile", "device", "type", "latency stated for", "fitted to"], rows, left=5)


def profile_page(profile: DeviceProfile) -> str:
    """One profile: its hardware with sources (published), and what its latencies rest on."""
    h = profile.hardware
    lines = [f"{profile.name}: {profile.title}", f"  {h.soc}, {h.cpu}, {h.cores} cores"]
    figures: list[tuple[str, Figure | None, str]] = [
        ("clock", h.clock_ghz, "GHz"),
        ("memcpy", h.memcpy_mbps, "MB/s"),
        ("idle", h.idle_w, "W"),
        ("load", h.load_w, "W"),
    ]
    for name, figure, unit in figures:
        if figure is None:
            lines.append(f"  {name:<8} not published")
        else:
            lines.append(f"  {name:<8} {figure.value:g} {unit} (published: {figure.source})")
    for name, feature in (("dotprod", h.dotprod), ("fp16", h.fp16)):
        lines.append(f"  {name:<8} {feature.value} ({feature.source})")
    for kind, at in profile.latency.items():
        lines.append(
            f"  {kind} latency, estimated for {at.runtime} {at.version}, {at.threads} threads, "
            f"{at.abi}"
        )
        for text in (at.evidence, *([at.scale.reason] if at.scale else [])):
            lines += textwrap.wrap(text, 96, initial_indent="    ", subsequent_indent="    ")
    lines.append("  published latencies that these are fitted to or scaled by:")
    lines += [
        f"    {r.latency_ms:g} ms  {r.model} {r.alpha:g} {r.resolution} {r.dtype}, {r.device}, "
        f"{r.runtime}, {r.threads} threads, {r.abi} (tier {r.tier}: {r.source})"
        for r in published_rows(profile)
    ]
    return "\n".join(lines)
