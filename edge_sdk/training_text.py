"""A finished training in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_sdk.report import table
from edge_sdk.train.page import NAMES, number
from edge_sdk.train.pipeline import Training


def _range(found: Mapping[str, Any], name: str) -> str:
    low, high = found["interval_95"][name]
    return "" if low is None else f" ({low:.4f} to {high:.4f})"


def training_text(training: Training) -> str:
    facts = training.record
    run, data = facts["run"], facts["data"]
    judged = {p: facts["metrics"][p] for p in ("validation", "test") if p in facts["metrics"]}
    lines = []
    if plain := {p: m for p, m in judged.items() if "figures" in m}:
        rows = [
            [NAMES.get(name, name)]
            + [f"{number(m['figures'][name])}{_range(m, name)}" for m in plain.values()]
            for name in next(iter(plain.values()))["figures"]
        ]
        heads = [f"{p}: {m['images']:,} images, {m['groups']:,} groups" for p, m in plain.items()]
        lines.append(table(["", *heads], rows))
    for part, m in judged.items():
        if "classes" in m:
            rows = [
                [name, f"{c['images']:,}", number(c["accuracy"]), number(c["auc"])]
                for name, c in m["classes"].items()
            ]
            lines.append(table([f"{part}: class", "images", "accuracy", "ROC area"], rows))
    origin = facts["metrics"]["origin"]
    lines.append(
        f"{origin}; in brackets 95 % intervals over groups; {run['epochs_run']} epochs, "
        f"number {run['epoch_kept']} kept, {run['wall_seconds']:,} s, {run['machine']}"
    )
    if not data["grouped"]:
        lines.append("images were dealt one by one, without groups: figures may be too good")
    lines.append(f"{training.path}: model.keras, training.html, curves.png, training.json")
    return "\n".join(lines)
