"""A training as one HTML page that needs nothing else: curves, figures, settings."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from edge_sdk.train.loop import Epoch

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } caption { text-align: left; font-weight: 600;
       white-space: nowrap; }
.warning { background: #fff3cd; padding: .5rem 1rem; }
details { margin: 1rem 0; } pre { overflow-x: auto; background: #f6f6f6; padding: 1rem; }
"""
WARNING = '<p class="warning">{}</p>'
NAMES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "recall": "Recall (mean over classes)",
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC area",
    "pr_auc": "PR area (average precision)",
}


def page(facts: Mapping[str, Any], log: Sequence[Epoch], curves: bytes | None) -> str:
    """facts: the contents of training.json; curves: a PNG, or None."""
    data, run, settings = facts["data"], facts["run"], facts["settings"]
    title = f"Training of {settings['arch']} on {data['name']}"
    out = [f"<h1>{escape(title)}</h1>"]
    if data["simulated"]:
        warning = "The images are simulated: these figures say nothing of real ones."
        out.append(WARNING.format(warning))
    if not data["grouped"]:
        warning = (
            "Images were dealt to the parts one by one, without groups: where several show the "
            "same subject, the figures are too good."
        )
        out.append(WARNING.format(warning))
    out.append(
        f"<p>{facts['model']['parameters']:,} parameters; {run['epochs_run']} epochs, number "
        f"{run['epoch_kept']} kept by {escape(run['kept_by'])}; {run['wall_seconds']:,} s on "
        f"{escape(run['machine'])}, {run['images_per_second']:,} images/s.</p>"
    )
    if curves is not None:
        encoded = base64.b64encode(curves).decode()
        out.append(f'<img alt="curves of the training" src="data:image/png;base64,{encoded}">')
    rows = [
        (name, f"{part['images']:,}", f"{part['groups']:,}",
         ", ".join(f"{n} {c:,}" for n, c in list(part["classes"].items())[:6]))
        for name, part in data["parts"].items()
    ]  # fmt: skip
    out.append(_table("Data", ("part", "images", "groups", "classes"), rows))
    for part in ("validation", "test"):
        if part in facts["metrics"]:
            out.append(_figures(part, facts["metrics"][part]))
    out.append(f"<p>{escape(facts['metrics']['origin'])}.</p>")
    lines = [
        (str(r.epoch), *(number(v) for v in (r.train_loss, r.validation_loss,
         r.validation_accuracy, r.validation_auc)), f"{r.learning_rate:.2e}", f"{r.seconds:.0f}")
        for r in log
    ]  # fmt: skip
    heads = ("epoch", "loss", "val. loss", "val. accuracy", "val. ROC area", "rate", "s")
    out.append(f"<details><summary>Every epoch</summary>{_table('', heads, lines)}</details>")
    settings_text = escape(json.dumps(settings, indent=2))
    out.append(f"<details><summary>Settings</summary><pre>{settings_text}</pre></details>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(out)}</html>\n"
    )


def _figures(part: str, found: Mapping[str, Any]) -> str:
    if "classes" in found:
        classes = [
            (name, f"{c['images']:,}", number(c["accuracy"]), number(c["auc"]))
            for name, c in found["classes"].items()
        ]
        return _table(f"The {part} part", ("class", "images", "accuracy", "ROC area"), classes)
    caption = f"The {part} part: {found['images']:,} images, {found['groups']:,} groups"
    if found["positive"]:
        caption += f"; looked for: {found['positive']}, threshold 0.5"
    rows = [
        (NAMES.get(name, name), number(value),
         _range(found["interval_95"][name]))
        for name, value in found["figures"].items()
    ]  # fmt: skip
    return _table(caption, ("", "value", "95 % interval"), rows)


def _range(ends: Sequence[float | None]) -> str:
    return "-" if None in ends else " to ".join(map(number, ends))


def number(value: float | None) -> str:
    """Four places; a dash for what is undefined."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"
