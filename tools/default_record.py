"""What train_default.py measures and what it writes down about a training."""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from edge_sdk.dataset import Item

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LABELS = ("Parasitized", "Uninfected")
FRACTIONS = (60, 10, 30)
PARTS = ("train", "validation", "test")


def roc_auc(infected: npt.NDArray[np.bool_], score: Floats) -> float:
    """The share of (infected, uninfected) pairs that are ranked rightly; ties count half."""
    low, high = np.sort(score[~infected]), score[infected]
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.sum() / (2 * len(low) * len(high)))


def measure(labels: Ints, score: Floats, patients: list[str], seed: int) -> dict[str, Any]:
    """Figures at the threshold 0.5 on the probability of LABELS[0], and the ROC area; 95%
    intervals from draws of whole patients."""
    infected, called = labels == 0, score >= 0.5
    tp, fn = int((infected & called).sum()), int((infected & ~called).sum())
    fp, tn = int((~infected & called).sum()), int((~infected & ~called).sum())
    figures = {
        "accuracy": (tp + tn) / len(labels),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "auc": roc_auc(infected, score),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn) or 1),
    }
    rng, groups = np.random.default_rng(seed), np.asarray(patients)
    members = [np.flatnonzero(groups == name) for name in sorted(set(patients))]
    draws = []
    for _ in range(2000):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        y, s = infected[rows], score[rows]
        draws.append((float(((s >= 0.5) == y).mean()), roc_auc(y, s)))
    low, high = np.round(np.quantile(np.asarray(draws), [0.025, 0.975], axis=0), 4).tolist()
    return {
        "n": len(labels),
        "patients": len(members),
        "threshold": 0.5,
        **{k: round(v, 4) for k, v in figures.items()},
        "confusion": {"rows": "truth", "columns": "call", "counts": [[tp, fn], [fp, tn]]},
        "interval_95": {"accuracy": [low[0], high[0]], "auc": [low[1], high[1]]},
        "interval_method": f"bootstrap over patients, percentile, {len(draws)} draws",
    }


def patients_of(items: Sequence[Item]) -> list[str]:
    return sorted({str(i.group) for i in items})


def record(
    args: argparse.Namespace,
    parts: dict[str, tuple[Item, ...]],
    log: list[dict[str, Any]],
    recipe: dict[str, Any],
    parameters: int,
) -> dict[str, Any]:
    """What training.json says, but for the metrics."""
    import keras
    import tensorflow as tf

    info = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*:\s*(.+)", info.read_text() if info.is_file() else "")
    data, out = (Path(os.path.relpath(p)).as_posix() for p in (args.data, args.out))
    seconds = sum(float(row["seconds"]) for row in log)
    counts = {
        name: {"images": len(items), "patients": len(patients_of(items))}
        | {label: sum(i.label == label for i in items) for label in LABELS}
        for name, items in parts.items()
    }
    return {
        "command": f"python tools/train_default.py --data {data} --out {out} --size {args.size} "
        f"--epochs {args.epochs} --seed {args.seed}",
        "data": {
            "name": "NIH malaria cell images, a part of the 27,558 published crops, as WebP",
            "source": "NLM/LHNCBC malaria data set, Rajaraman et al., PeerJ 6:e4568, 2018",
            "labels": LABELS,
            "parts": counts,
        },
        "split": {
            "rule": f"edge_sdk.dataset.split_groups by patient, {FRACTIONS}, in the order {PARTS}",
            "seed": args.seed,
            **{f"{part}_patients": patients_of(parts[part]) for part in PARTS[1:]},
        },
        "model": {
            "architecture": f"MobileNetV2, alpha 0.35, {args.size}x{args.size}, softmax",
            "parameters": parameters,
            "initialisation": "random: trained from scratch, no pretrained weights",
            "weights_licence": "Apache-2.0",
        },
        "recipe": recipe,
        "run": {
            "seed": args.seed,
            "epochs_run": len(log),
            "epoch_kept": int(max(log, key=lambda row: float(row["val_auc"]))["epoch"]),
            "kept_by": "highest ROC area on the validation patients",
            "wall_seconds": round(seconds),
            "images_per_second": round(len(log) * len(parts["train"]) / seconds),
            "machine": f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}, no GPU",
            "versions": {"python": platform.python_version(), "tensorflow": tf.__version__}
            | {"keras": keras.__version__, "numpy": np.__version__, "pillow": PIL.__version__},
        },
    }
