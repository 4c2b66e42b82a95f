"""How weight thresholds are found in quantisation-aware training: dynamic, min-max and LSQ beside
each other, batch norm kept, same start, data, steps and seed.

    python benchmarks/thresholds.py MODEL.keras DATA --runs build/thresholds [--epochs 2]

MODEL must have been trained with the same --seed and --split, so that no group it has seen is
among the judged ones. The validation column is what a choice may be made by. w4a4 is judged by its
integer-only emulation. What is finished in RUNS is kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_sdk.report import table
from edge_sdk.train.fake_quant import QAT_SCHEMES, THRESHOLDS
from edge_sdk.train.record import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--schemes", nargs="*", default=list(QAT_SCHEMES))
    args, rest = parser.parse_known_args()
    rows = []
    for scheme in args.schemes:
        for thresholds in THRESHOLDS:
            out = args.runs / f"{scheme}-{thresholds}"
            if not out.is_dir():
                command = [sys.executable, "-m", "edge_sdk.cli", "train", str(args.data)]
                options = ["--out", str(out), "--qat", scheme, "--from", str(args.model)]
                options += ["--thresholds", thresholds, "--epochs", str(args.epochs)]
                resume = ["--resume"] if out.with_name(out.name + ".state").is_dir() else []
                options += ["--cache", str(args.runs / "cache"), *rest, *resume]
                subprocess.run([*command, *options], check=True)
            rows.append([scheme, thresholds, *figures(out)])
    heads = ["scheme", "thresholds", "val. accuracy", "val. AUC", "test accuracy", "test AUC", "s"]
    print(table(heads, rows, left=2))
    print(f"measured, {args.epochs} epochs each, {machine()}; w4a4: integer-only emulation")


def figures(out: Path) -> list[str]:
    record: dict[str, Any] = json.loads((out / "training.json").read_text())
    judged = record["metrics"].get("integer", record["metrics"])
    cells = [
        f"{judged[part]['figures'][name]:.4f}"
        for part in ("validation", "test")
        for name in ("accuracy", "roc_auc")
    ]
    return [*cells, str(record["run"]["wall_seconds"])]


if __name__ == "__main__":
    main()
