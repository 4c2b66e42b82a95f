"""Results as tables for people. For machines every command prints the same data as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from edge_sdk.artifact import Artifact, Check
from edge_sdk.benchmark.estimate import Estimate
from edge_sdk.benchmark.measure import HERE, Measurement, State
from edge_sdk.benchmark.run import Benchmark
from edge_sdk.cost import KINDS, ModelCost
from edge_sdk.cost_grid import GridPoint
from edge_sdk.strict import to_plain

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


def attempts_table(artifacts: Sequence[Artifact]) -> str:
    """What was tried for each scheme that took more than one attempt; empty where none did.

    8-bit: layers that kept 8 bits where the scheme has fewer."""
    rows = []
    for m in (a.manifest for a in artifacts if len(a.manifest.attempts) > 1):
        for i, t in enumerate(m.attempts):
            rows.append(
                [
                    m.scheme if i == 0 else "",
                    t.method,
                    str(len(t.eight_bit)),
                    NOTHING if t.bytes is None else f"{t.bytes:,}",
                    f"{t.drop:.2f}",
                    "passed" if t.passed else "failed",
                    "taken" if t.taken and t.passed else "kept aside" if t.taken else "",
                ]
            )
    head = ["scheme", "tried", "8-bit", "bytes", "points lost", "gate", ""]
    return table(head, rows, left=2) if rows else ""


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
        if len(a.manifest.attempts) > 1 and not a.manifest.gate.passed:
            lines.append(
                f"{a.manifest.scheme}: no attempt passed; kept the one that lost least, "
                f"{a.manifest.method}, under a name that says so"
            )
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
                    f"  {m.where}: {m.runtime} {m.version}, {m.threads} thread"
                    + ("s" if m.threads > 1 else ""),
                    m.label,
                    f"{m.latency_ms:.2f}",
                    _spread(m),
                    _per_second(1e3 / m.latency_ms),
                    NOTHING if m.rss_peak_bytes is None else size(m.rss_peak_bytes),
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
                    f"about {size(e.memory_bytes)}",
                    f"{e.energy_mj:.3g}" if e.energy_mj is not None else NOTHING,
                ]
            )
        for c in r.chips:
            arrays = f"{c.arrays} arrays" + ("" if c.fits else ", DOES NOT FIT")
            rows.append(
                [f"  {c.profile}: {arrays}", c.label, f"{c.latency_ms:.3g}", NOTHING,
                 _per_second(c.fps), NOTHING, f"{c.energy_mj:.3g}"]
            )  # fmt: skip
        rows += [[f"  {m.profile}: no evidence", *[NOTHING] * 6] for m in r.missing]
    return table(head, rows, left=2)


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _spread(m: Measurement) -> str:
    known = [("p90", m.p90_ms), ("p99", m.p99_ms)]
    return " ".join(f"{name} {ms:.2f}" for name, ms in known if ms is not None) or NOTHING


def benchmark_notes(results: Sequence[Benchmark]) -> list[str]:
    """The machines, what may spoil a measurement, and for each profile what its estimates rest on
    and where they are stretched."""
    lines = []
    timed = [r.measured for r in results if r.measured is not None]
    if timed:
        lines += _measured_notes(timed)
    if any(r.estimates for r in results):
        lines.append(
            "estimated: never run there; memory is derived from weights, activations and what the "
            "interpreter took on another machine; mJ/image is derived from published watts under "
            "load"
        )
    said: dict[str, dict[str, None]] = {}  # a text -> the profiles it holds for, each once
    for r in results:
        for e in r.estimates:
            for text in (*e.evidence, *_derived(r.model, e), *e.warnings):
                said.setdefault(text, {})[e.profile] = None
        for c in r.chips:
            for text in c.evidence:
                said.setdefault(text, {})[c.profile] = None
        for m in r.missing:
            said.setdefault(m.reason, {})[m.profile] = None
    heading = ""
    for text, names in sorted(said.items(), key=lambda item: list(item[1])):
        if (joined := ", ".join(names)) != heading:
            heading = joined
            lines.append(f"{heading}:")
        lines += textwrap.wrap(text, 100, initial_indent="  - ", subsequent_indent="    ")
    return lines


def _derived(model: str, e: Estimate) -> Iterator[str]:
    """What follows from the estimate and published figures of the device."""
    if e.load_ms is not None:
        yield (
            f"{model}: loading takes {e.load_ms:.2g} ms at least, without storage and without "
            "starting the interpreter (derived from the device's memory speed)"
        )
    if (b := e.battery) is not None:
        yield (
            f"{model}: {b.watt_hours:g} Wh last {b.hours:.1f} hours at a duty of {b.duty:.0%}, "
            f"{b.images:,.0f} images (derived from published watts, {b.mean_w:.2f} W on average; "
            "no camera, screen or radio)"
        )
    if e.thermal:
        yield f"heat: {e.thermal}"


def _measured_notes(timed: Sequence[Measurement]) -> list[str]:
    """One machine's measurements: what it is, how it was timed, each warning once."""
    m = timed[0]
    machine = f"{m.machine.cpu}, {m.machine.cores} cores, {m.machine.system}"
    python = f", Python {m.python}" if m.python else ""
    what = "mean" if m.p50_ms is None else "median"
    memory = "" if m.rss_peak_bytes is None else "; memory is the process's peak"
    load = ", ".join(f"{t.load_ms:.0f}" for t in timed)
    lines = [
        f"measured {m.where if m.where == HERE else 'on ' + m.where}: {machine}{python}; ms is "
        f"the {what} of {m.runs} runs after {m.warmup}{memory}; load (with import) {load} ms"
    ]
    seen = [t.conditions for t in timed if t.conditions is not None]
    if seen:
        lines += [f"  before: {_state(seen[0].before)}", f"  after: {_state(seen[-1].after)}"]
    for t in timed:
        if t.ops:
            longest = sorted(t.ops, key=lambda op: -op.mean_ms)[:5]
            said = ", ".join(f"{op.kind} {op.mean_ms:.3g} ms ({op.count})" for op in longest)
            lines.append(f"  time by operator, profiled apart: {said}")
    lines += dict.fromkeys(f"warning: {text}" for t in timed for text in t.warnings)
    return lines


def _state(s: State) -> str:
    figures = [
        ("governor", s.governor),
        ("clock", s.clock_mhz and f"{s.clock_mhz:.0f} MHz"),
        ("temperature", s.temperature_c and f"{s.temperature_c:.1f} C"),
        ("throttled bits", None if s.throttled is None else f"{s.throttled:#x}"),
    ]
    return ", ".join(f"{name} {value}" for name, value in figures if value) or "it does not say"


def cost_table(cost: ModelCost) -> str:
    """Per kind of layer: Mult-Adds, parameters and activation bytes, each with its share."""
    work, parameters = cost.mult_adds_by_kind(), cost.parameters_by_kind()
    traffic = cost.activation_bytes_by_kind()
    total = (cost.mult_adds, cost.parameters, cost.activation_bytes)
    rows = []
    for kind in (k for k in KINDS if any(layer.kind == k for layer in cost.layers)):
        count = sum(layer.kind == kind for layer in cost.layers)
        rows.append([kind, str(count)])
        for value, whole in zip((work[kind], parameters[kind], traffic[kind]), total, strict=True):
            rows[-1] += [f"{value:,}", f"{100 * value / whole:.2f}" if whole else NOTHING]
    rows.append(["total", str(len(cost.layers))])
    for whole in total:
        rows[-1] += [f"{whole:,}", ""]
    head = ["kind", "layers", "Mult-Adds", "%", "parameters", "%", "activation bytes", "%"]
    return table(head, rows)


def cost_layers(cost: ModelCost) -> str:
    """One row per layer in the order they run. alive: all activations that must exist then."""
    head = ["#", "layer", "kind", "Mult-Adds", "parameters", "bytes in", "bytes out", "alive"]
    rows = (
        [
            str(number),
            _short(layer.name),
            layer.kind,
            f"{layer.mult_adds:,}",
            f"{layer.parameters:,}",
            f"{layer.activation_bytes_in:,}",
            f"{layer.activation_bytes_out:,}",
            f"{layer.live_bytes:,}",
        ]
        for number, layer in enumerate(cost.layers)
    )
    return table(head, rows, left=3)


def _short(name: str) -> str:
    """A fused layer's first name, and of a long path the end."""
    first = name.split(";")[0]
    return first if len(first) <= 32 else "…" + first[-31:]


def cost_summary(cost: ModelCost, counted: str) -> list[str]:
    """What was counted, and the totals that are no sums of the table."""
    weights, activations = cost.dtypes()
    types = f" ({weights} kernels, {activations} activations)" if weights else ""
    return [
        f"counted, not measured: {counted}",
        f"weights {size(cost.weight_bytes)}{types}; activations alive at once at most "
        f"{size(cost.peak_activation_bytes)}, a lower bound of an interpreter's arena",
    ]


def cost_data(cost: ModelCost, counted: str, *, layers: bool) -> dict[str, Any]:
    """The same for machines; layers: each layer as well."""
    by_kind = {
        "mult_adds": cost.mult_adds_by_kind(),
        "parameters": cost.parameters_by_kind(),
        "weight_bytes": cost.weight_bytes_by_kind(),
        "activation_bytes": cost.activation_bytes_by_kind(),
    }
    data = {
        "counted": counted,
        "mult_adds": cost.mult_adds,
        "parameters": cost.parameters,
        "kernel_parameters": cost.kernel_parameters,
        "weight_bytes": cost.weight_bytes,
        "activation_bytes": cost.activation_bytes,
        "peak_activation_bytes": cost.peak_activation_bytes,
        "kinds": {kind: {what: by[kind] for what, by in by_kind.items()} for kind in KINDS},
    }
    return data | ({"layers": to_plain(cost.layers)} if layers else {})


def grid_table(points: Sequence[GridPoint]) -> str:
    """One row per network. Costs are computed; the accuracy is the papers'."""
    head = [
        "architecture", "alpha", "size", "Mult-Adds M", "params M", "weights", "activations",
        "at once", "published top-1 %",
    ]  # fmt: skip
    rows = (
        [
            p.arch,
            f"{p.alpha:g}",
            str(p.size),
            f"{p.mult_adds / 1e6:.1f}",
            f"{p.parameters / 1e6:.2f}",
            size(p.weight_bytes),
            size(p.activation_bytes),
            size(p.peak_activation_bytes),
            NOTHING if p.published_top1 is None else f"{p.published_top1:.1f}",
        ]
        for p in points
    )
    return table(head, rows)
