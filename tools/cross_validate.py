"""Cross-validation by group of a training recipe: float, int8, w4a8, and emulated w4a4.

Every fold is trained apart, converted with calibration images of its own training groups, and
measured once on its test groups with LiteRT; w4a4 is trained on from the fold's model with rounded
weights and inputs and measured by its integer-only emulation. What is finished is kept: the same
command goes on where it stopped.

    python tools/cross_validate.py DATA --runs build/folds --folds 5 [--qat 2] -- \\
        --arch mobilenet_v2 --alpha 0.35 --size 96 ...

After -- come the options of `edge-sdk train`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.backends import open_backend
from edge_sdk.convert.ingest import open_model
from edge_sdk.convert.quantise import float_tflite, integer_tflite, statistics_of
from edge_sdk.convert.schemes import SCHEMES
from edge_sdk.dataset import read_dataset
from edge_sdk.files import write_whole
from edge_sdk.preprocess import Encoder, Preprocess, dequantise, normalise
from edge_sdk.progress import silent
from edge_sdk.strict import from_plain
from edge_sdk.train import parts
from edge_sdk.train.record import machine, measure
from edge_sdk.train.settings import Split

CALIBRATION = 200
W4A8 = ("min-max", "adaptive")
FIGURES = ("accuracy", "sensitivity", "specificity", "roc_auc", "mcc")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, nargs="*", help="these folds only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--qat", type=int, default=2, help="epochs of w4a4 training, 0 for none")
    parser.add_argument("--cache", type=Path, help="decoded images [RUNS/cache]")
    args, recipe = parser.parse_known_args()
    recipe = [r for r in recipe if r != "--"]
    cache = args.cache or args.runs / "cache"
    for k in args.only or range(1, args.folds + 1):
        common = ["--fold", f"{k}/{args.folds}", "--seed", str(args.seed), "--cache", str(cache)]
        fold = args.runs / f"fold{k}"
        train(args.data, fold, [*recipe, *common])
        result = args.runs / f"fold{k}.json"
        if not result.is_file():
            write_whole(result, json.dumps(quantised(args.data, fold, cache), indent=1).encode())
        if args.qat:
            more = ["--qat", "w4a4", "--from", str(fold / "model.keras"), "--epochs", str(args.qat)]
            augment = recipe[recipe.index("--augment") :][:2] if "--augment" in recipe else []
            train(args.data, args.runs / f"fold{k}-w4a4", [*more, *augment, *common])
        summary = summarise(args.runs, args.folds)
        write_whole(args.runs / "summary.json", json.dumps(summary, indent=1).encode())
        print(markdown(summary), flush=True)


def train(data: Path, out: Path, options: list[str]) -> None:
    if out.is_dir():
        return
    resume = ["--resume"] if out.with_name(out.name + ".state").is_dir() else []
    command = [sys.executable, "-m", "edge_sdk.cli", "train", str(data), "--out", str(out)]
    subprocess.run([*command, *options, *resume], check=True)


def quantised(root: Path, fold: Path, cache: Path) -> dict[str, Any]:
    """Figures on the test part for every scheme, and the files' sizes."""
    data = read_dataset(root)
    spec = from_plain(
        Preprocess, json.loads((fold / "preprocess.json").read_text()), "", ValueError
    )
    dealt = parts.split_items(data, Split(file=fold / "split.csv", ignore_groups=True), 0)
    pixels, _ = parts.load_pixels(data.items, data.root, spec, cache, silent)
    place = {item.path: i for i, item in enumerate(data.items)}
    rows = {p: np.asarray([place[i.path] for i in found]) for p, found in dealt.items()}
    labels = tuple((fold / "labels.txt").read_text().splitlines())
    test = [data.items[i] for i in rows["test"]]
    truth = parts.truth_of(test, labels, "softmax")
    groups = [str(i.group) for i in test]
    chosen = np.random.default_rng(0).permutation(rows["train"])[:CALIBRATION]

    def samples() -> Iterator[Any]:
        return (normalise(np.asarray(pixels[i])[None], spec) for i in chosen)

    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_model(fold / "model.keras", Path(scratch)) as model,
    ):
        file = Path(scratch) / "float.tflite"
        file.write_bytes(float_tflite(model))
        statistics = statistics_of(file, samples())
        made = {"float32": file.read_bytes()}
        for scheme, methods in (("int8", W4A8[:1]), ("w4a8", W4A8)):
            for method in methods:
                name = scheme if scheme == "int8" else f"{scheme} {method}"
                made[name] = integer_tflite(
                    file, SCHEMES[scheme], method, statistics, spec, samples, silent
                )
        for name, raw in made.items():
            candidate = Path(scratch) / "candidate.tflite"
            candidate.write_bytes(raw)
            scores = run(candidate, pixels, rows["test"], spec)
            found[name] = {
                "bytes": len(raw),
                **measure("softmax", scores, truth, groups, labels, seed=0),
            }
    return found


def run(file: Path, pixels: Any, rows: Any, spec: Preprocess) -> Any:
    backend = open_backend("litert", file, threads=1)
    encode = Encoder(spec, backend.input.dtype, backend.input.quantisation)
    raw = [backend.invoke(encode(np.asarray(pixels[i]))[None]).reshape(-1).copy() for i in rows]
    return dequantise(np.stack(raw), backend.output.quantisation)


def summarise(runs: Path, folds: int) -> dict[str, Any]:
    """Each scheme's figures: fold by fold, mean, and sample standard deviation over folds."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for k in range(1, folds + 1):
        if (file := runs / f"fold{k}.json").is_file():
            for name, found in json.loads(file.read_text()).items():
                rows.setdefault(name, []).append({"fold": k, **found})
        if (file := runs / f"fold{k}-w4a4" / "training.json").is_file():
            record = json.loads(file.read_text())["metrics"]
            name = "w4a4 emulated" if "integer" in record else "w4a4 fake-quantised"
            found = record.get("integer", record)["test"]
            rows.setdefault(name, []).append({"fold": k, **found})
    return {
        "machine": machine(),
        "schemes": {
            name: {
                "bytes": found[0].get("bytes"),
                "folds": [
                    {"fold": f["fold"], "images": f["images"], "groups": f["groups"]}
                    | {key: round(f["figures"][key], 4) for key in FIGURES}
                    for f in found
                ],
                **{
                    key: [
                        round(float(np.mean(values)), 4),
                        round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
                    ]
                    for key in FIGURES
                    if (values := [f["figures"][key] for f in found])
                },
            }
            for name, found in rows.items()
        },
    }


def markdown(summary: dict[str, Any]) -> str:
    heads = ["Scheme", "Bytes", "Folds", "Accuracy", "Sensitivity", "Specificity", "ROC AUC", "MCC"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, found in summary["schemes"].items():
        cells = [
            f"{found[key][0]:.4f}" + (f" ± {found[key][1]:.4f}" if found[key][1] else "")
            for key in FIGURES
        ]
        size = f"{found['bytes']:,}" if found["bytes"] else ""
        lines.append("| " + " | ".join([name, size, str(len(found["folds"])), *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
