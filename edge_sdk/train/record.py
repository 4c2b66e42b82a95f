"""What is written down about a training: settings, data, figures, machine."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import edge_sdk
from edge_sdk import metrics
from edge_sdk.dataset import PARTS, Dataset
from edge_sdk.train.loop import Epoch, best_of
from edge_sdk.train.parts import Floats, Images
from edge_sdk.train.settings import Head, TrainRequest

TOOLS = ("tensorflow", "keras", "numpy", "pillow")


def measure(
    head: Head,
    guess: Floats,
    truth: Floats,
    groups: Sequence[str],
    labels: tuple[str, ...],
    seed: int,
) -> dict[str, Any]:
    """Figures of one part, threshold 0.5 (two classes) or the highest output, with 95 % intervals
    from draws of whole groups; for a sigmoid head accuracy and ROC area of each class."""
    p, right = guess.astype(np.float64), truth > 0.5
    if head == "sigmoid":
        ones = np.ones((1, len(p)))
        per_class = {
            name: {
                "images": int(right[:, i].sum()),
                "accuracy": float(((p[:, i] >= 0.5) == right[:, i]).mean()),
                "auc": float(metrics.areas(p[:, i], right[:, i], ones)[0][0]),
            }
            for i, name in enumerate(labels)
        }
        return {"images": len(p), "classes": per_class}
    classes = truth.argmax(1).astype(np.int64)
    places = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    positive = 0 if len(labels) == 2 else None
    score = p[:, 0] if positive is not None else None
    called = p.argmax(1).astype(np.int64)
    table = metrics.confusion(classes, called, len(labels))
    found = metrics.all_figures(classes, called, len(labels), positive, score)
    ranges = metrics.intervals(
        classes, called, len(labels), places, positive=positive, score=score, seed=seed
    )
    return {
        "images": len(p),
        "groups": int(places.max()) + 1,
        "positive": labels[0] if positive is not None else None,
        "figures": found,
        # One group drawn again and again is always the same: no interval.
        "interval_95": {n: list(ranges[n]) if places.max() else [math.nan] * 2 for n in found},
        "interval_method": f"bootstrap over groups, percentile, {metrics.DRAWS} draws",
        "confusion": {"rows": "truth", "columns": "call", "counts": table.tolist()},
        "calibration_error": metrics.calibration_error(p, classes),
    }


def facts(
    request: TrainRequest,
    data: Dataset,
    images: Images,
    labels: tuple[str, ...],
    log: Sequence[Epoch],
    model: Any,
    judged: dict[str, Any],
) -> dict[str, Any]:
    """The contents of training.json."""
    best = best_of(log)
    seconds = sum(r.seconds for r in log)
    counts = {
        part: {
            "images": len(images.rows[part]),
            "groups": len(set(images.groups(part))),
            "classes": {
                name: int(n)
                for name, n in zip(labels, images.truth[images.rows[part]].sum(axis=0), strict=True)
            },
        }
        for part in PARTS
    }
    return {
        "settings": request.settings(),
        "data": {
            "name": data.root.resolve().name,
            "simulated": data.simulated,
            "labels": list(labels),
            "parts": counts,
            "grouped": any(i.group is not None for i in images.items),
            "unreadable": len(images.dropped),
        },
        "model": {"parameters": int(model.count_params())},
        "metrics": {
            "origin": "measured: the Keras model"
            + (f" with the rounding of {request.qat}" if request.qat else ", float32")
            + (
                f" and the errors of {request.chip.profile} {request.chip.time_s:g} s after "
                "programming, drawn anew for every batch"
                if request.chip
                else ""
            )
            + (", simulated images" if data.simulated else ""),
            **judged,
        },
        "run": {
            "epochs_run": len(log),
            "epoch_kept": best.epoch if best else None,
            "kept_by": "highest validation score (ROC area for two classes, else accuracy, or the "
            "lowest loss), of equals the lowest loss",
            "wall_seconds": round(seconds),
            "images_per_second": round(len(log) * len(images.rows["train"]) / max(seconds, 1e-9)),
            "machine": machine(),
            "versions": {"edge-sdk": edge_sdk.__version__, "python": platform.python_version()}
            | {name: _version(name) for name in TOOLS},
        },
    }


def machine() -> str:
    info = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*:\s*(.+)", info.read_text() if info.is_file() else "")
    return f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
