"""A comparison as text for the terminal, and the words that the page shares with it."""

from __future__ import annotations

from collections.abc import Sequence

from edge_sdk.evaluate.results import Comparison, DataInfo, Evaluation, Figure
from edge_sdk.metrics import BINS, MIN_GROUP
from edge_sdk.report import NOTHING, table

TITLES = {
    "accuracy": "accuracy %",
    "sensitivity": "sensitivity %",
    "specificity": "specificity %",
    "precision": "precision %",
    "f1": "F1",
    "macro_recall": "mean recall %",
    "macro_precision": "mean precision %",
    "macro_f1": "mean F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
}
Row = tuple[str, list[str]]
MAX_CONFUSION = 3
MAX_COUNTS = 8


def comparison_text(c: Comparison) -> str:
    """The table, a column per model, and below it what it rests on."""
    names = short_names([e.model for e in c.models])
    rows = [[head, *cells] for head, cells in all_rows(c)]
    lines = [*heading(c), "", table([kind(c), *names], rows), "", *footing(c)]
    return "\n".join(lines)


def kind(c: Comparison) -> str:
    """What every figure of the table is."""
    return "measured, simulated images" if c.data.simulated else "measured"


def heading(c: Comparison) -> list[str]:
    """Which models, and what they were shown."""
    lines = [", ".join(e.model for e in c.models), data_line(c.data)]
    if c.calibration:
        lines.append(f"temperature and threshold fitted on {data_line(c.calibration)}")
    if c.positive:
        lines.append(f"looked for: {c.positive}")
    return lines


def data_line(d: DataInfo) -> str:
    kind = "simulated images (drawn, not photographed)" if d.simulated else "images"
    groups = f" of {d.groups} {d.group_word}s" if d.groups else ", no groups known"
    counts = ", ".join(f"{n} {label}" for label, n in list(d.counts.items())[:MAX_COUNTS])
    counts += ", ..." if len(d.counts) > MAX_COUNTS else ""
    return f"{d.images} {kind} of '{d.name}'{groups}: {counts}"


def footing(c: Comparison) -> list[str]:
    """How it was measured, where, and what has to be known to read it."""
    lines = [f"intervals: {c.interval_method}; ECE: {BINS} bins of the top-1 probability"]
    if any(e.worst for e in c.models):
        lines.append(f"worst {c.data.group_word}s: of those with at least {MIN_GROUP} images")
    if len(c.models) > 1:
        lines.append(
            "McNemar: against the first model; images only the first / only this one got right; "
            "takes images as independent"
        )
    lines.append(machine_line(c))
    return lines + [f"note: {n}" for n in c.notes]


def machine_line(c: Comparison) -> str:
    m = c.machine
    return f"all measured here: {m.cpu}, {m.cores} cores, {m.system}, Python {c.python}"


def all_rows(c: Comparison) -> list[Row]:
    """Every row of the table: its head and a cell per model."""
    rows = figure_rows([e.figures for e in c.models])
    rows.append(("ECE", [f"{e.ece:.4f}" for e in c.models]))
    if any(e.decision for e in c.models):
        rows += _decision_rows(c.models)
    rows += _group_rows(c)
    if len(c.models) > 1:
        rows.append(("McNemar: only first / only this", [_discordant(e) for e in c.models]))
        rows.append(("McNemar p", [_p(e) for e in c.models]))
    if len(c.labels) <= MAX_CONFUSION:
        rows += confusion_rows(c)
    rows.append(("bytes", [f"{e.model_bytes:,}" for e in c.models]))
    rows.append(("ms in the interpreter, median", [f"{e.invoke_ms:.2f}" for e in c.models]))
    rows.append(("runtime", [runtime(e) for e in c.models]))
    return rows


def figure_rows(models: Sequence[dict[str, Figure]], suffix: str = "") -> list[Row]:
    known = next((m for m in models if m), {})
    return [
        (TITLES[name] + suffix, [figure(m[name], TITLES[name]) if m else NOTHING for m in models])
        for name in known
    ]


def figure(f: Figure, title: str) -> str:
    """Value and interval; in percent where the title says so."""
    if f.value is None:
        return NOTHING
    percent = title.endswith("%")
    numbers = [v for v in (f.value, f.low, f.high) if v is not None]
    value, *ends = [f"{v * 100:.1f}" if percent else f"{v:.3f}" for v in numbers]
    return f"{value} ({' - '.join(ends)})" if len(ends) == 2 else value


def _decision_rows(models: Sequence[Evaluation]) -> list[Row]:
    def cells(show: str) -> list[str]:
        out = []
        for e in models:
            value = e.ece_scaled if show == "ece" else getattr(e.decision, show, None)
            out.append(NOTHING if value is None else f"{value:.4f}")
        return out

    rows = [("ECE after temperature", cells("ece")), ("temperature", cells("temperature"))]
    if any(e.at_threshold for e in models):
        rows.append(("threshold", cells("threshold")))
        rows += [
            row
            for row in figure_rows([e.at_threshold for e in models], " at threshold")
            if row[0].split(" ")[0] in ("accuracy", "sensitivity", "specificity")
        ]
    origins = [(e.decision_origin, e.decision) for e in models]
    rows.append(("decision", [origin or NOTHING for origin, _ in origins]))
    rows.append(("  on", [fitted_on(e) for e in models]))
    return rows


def fitted_on(e: Evaluation) -> str:
    if e.decision is None:
        return NOTHING
    d = e.decision
    return f"{d.data}, {d.images}" + (" simulated" if d.simulated else "")


def _group_rows(c: Comparison) -> list[Row]:
    worst = [e.worst for e in c.models]
    if not any(worst):
        return []
    word = c.data.group_word
    return [
        (
            f"worst tenth of {word}s, accuracy %",
            [f"{w.accuracy * 100:.1f} ({w.groups})" if w else NOTHING for w in worst],
        ),
        (
            f"worst {word}, accuracy %",
            [f"{w.worst_accuracy * 100:.1f}" if w else NOTHING for w in worst],
        ),
        ("  which", [w.worst_group if w else NOTHING for w in worst]),
    ]


def _discordant(e: Evaluation) -> str:
    return f"{e.mcnemar.only_first} / {e.mcnemar.only_this}" if e.mcnemar else NOTHING


def _p(e: Evaluation) -> str:
    if e.mcnemar is None:
        return NOTHING
    kind = "exact" if e.mcnemar.test.startswith("exact") else "chi-square"
    return f"{e.mcnemar.p:.3g} ({kind})"


def confusion_rows(c: Comparison) -> list[Row]:
    return [
        (f"{truth} called {call}", [f"{e.confusion[i][j]:,}" for e in c.models])
        for i, truth in enumerate(c.labels)
        for j, call in enumerate(c.labels)
    ]


def runtime(e: Evaluation) -> str:
    return f"{e.runtime} {e.version}, {e.threads} thread" + ("s" if e.threads > 1 else "")


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the words, up to the last dash, that all of them begin with."""
    if len(names) < 2:
        return list(names)
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    cut = first[:same].rfind("-") + 1
    return [n[cut:] for n in names]
