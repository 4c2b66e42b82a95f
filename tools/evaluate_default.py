"""Converts the embedded default and measures each scheme on the patient-disjoint test cells.

Calibration and gate use the validation patients, never the test patients; the split is the one the
model was trained with. Writes evaluation.json beside the model.

    python tools/evaluate_default.py --data ../shared/data/nih-malaria
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from default_record import FRACTIONS, measure, patients_of

from edge_sdk.benchmark.measure import describe_machine
from edge_sdk.convert.pipeline import ConvertRequest, convert
from edge_sdk.dataset import Item, open_image, read_dataset, split_groups
from edge_sdk.runtime import Classifier
from edge_sdk.strict import to_plain
from edge_sdk.zoo import default_model

SCHEMES = ("float32", "int8", "w4a8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=default_model().parent / "evaluation.json")
    args = parser.parse_args()
    training = json.loads((default_model().parent / "training.json").read_text(encoding="utf-8"))
    data = read_dataset(args.data)
    _, validation, test = split_groups(data.items, FRACTIONS, training["split"]["seed"])
    if patients_of(test) != training["split"]["test_patients"]:
        sys.exit(f"{args.data}: its test patients are not those the model was trained apart from")
    with tempfile.TemporaryDirectory() as scratch:
        folder = _copy(Path(scratch) / "validation-patients", args.data, validation)
        request = ConvertRequest(None, SCHEMES, folder, Path(scratch) / "artifacts", max_drop=100.0)
        made = convert(request)
        schemes = {a.manifest.scheme: _evaluate(a.path, test) for a in made.artifacts}
        sizes = {a.manifest.scheme: a.manifest.model_bytes for a in made.artifacts}
        tools = made.artifacts[0].manifest.tools
    result = {
        "command": "python tools/evaluate_default.py --data ../shared/data/nih-malaria",
        "kind": "measured on real cells of patients that training never saw",
        "test": {"images": len(test), "patients": len(patients_of(test))},
        "calibrated_on": "cells of the validation patients",
        "machine": to_plain(describe_machine()),
        "tools": tools,
        "model_bytes": sizes,
        "schemes": schemes,
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, m in schemes.items():
        low, high = m["interval_95"]["accuracy"]
        print(
            f"{name:<8} {sizes[name]:>9,} B  accuracy {m['accuracy']:.4f} ({low:.4f}-{high:.4f})  "
            f"sensitivity {m['sensitivity']:.4f}  specificity {m['specificity']:.4f}  "
            f"AUC {m['auc']:.4f}"
        )


def _copy(folder: Path, root: Path, items: tuple[Item, ...]) -> Path:
    """A data folder of these items alone, with labels and patients."""
    folder.mkdir()
    with (folder / "index.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["file", "label", "group"])
        for item in items:
            name = item.path.relative_to(root).as_posix().replace("/", "_")
            shutil.copyfile(item.path, folder / name)
            writer.writerow([name, item.label, item.group])
    return folder


def _evaluate(artifact: Path, items: tuple[Item, ...]) -> dict[str, Any]:
    with Classifier(artifact, threads=2) as classifier:
        index = {label: i for i, label in enumerate(classifier.model.labels)}
        scores = [float(classifier.classify(open_image(i.path)).probabilities[0]) for i in items]
    labels = np.array([index[str(i.label)] for i in items])
    return measure(labels, np.asarray(scores), [str(i.group) for i in items], seed=0)


if __name__ == "__main__":
    main()
