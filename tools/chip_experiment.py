"""What training with a chip's errors is worth: the embedded malaria model at w4a8 and w4a4,
trained on for the same epochs with and without the errors of a compute-in-memory profile, on
emulated chips.

    python tools/chip_experiment.py --data ../shared/data/nih-malaria --folder build/chips

Every step is a command of edge-sdk, which this prints; what is finished is kept, and the same
command goes on. Patients are dealt as in the model's own training, epochs are chosen on validation
patients, converters are calibrated on training patients. --choose judges validation patients and
leaves test patients unread by chips; without it the test part is judged, on other rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_sdk.files import write_whole
from edge_sdk.zoo import default_model

KINDS = {"plain": "without", "noisy": "with"}
MOST_LOST = 1.0  # points that training with errors may lose, the number
SWAPPED = {"test": "validation", "validation": "test", "train": "train"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the malaria cells")
    parser.add_argument("--folder", type=Path, required=True, help="for models and results")
    parser.add_argument("--profile", default="cim-nor-generic")
    parser.add_argument("--time", default="5d", help="since programming [5d]")
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--images", type=int, default=0, help="judge at most this many [all]")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--schemes", nargs="+", default=["w4a8:3", "w4a4:2"], metavar="SCHEME:EPOCHS"
    )
    parser.add_argument("--choose", action="store_true", help="validation patients, not test ones")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for scheme, epochs in (s.split(":") for s in args.schemes):
        for kind in KINDS:
            train(args, scheme, int(epochs), kind)
            found = judge(args, scheme, kind, converted(args, scheme, kind))
            rows.append({"scheme": scheme, "kind": kind, "epochs": int(epochs), **found})
        # Against the same: the plainly trained model in exact arithmetic, what is had without a
        # chip. A model that has learnt a chip's errors may be better on it than off it.
        for row in rows[-len(KINDS) :]:
            row["lost"] = rows[-len(KINDS)]["ideal"] - row["accuracy"]
    part = "validation" if args.choose else "test"
    text = json.dumps({"profile": args.profile, "time": args.time, "part": part, "rows": rows})
    write_whole(args.folder / f"chips-{part}.json", text.encode())
    figure(args.folder / f"chips-{part}.png", args, rows, part)
    print(table(rows, part))


def edge_sdk(*words: object) -> str:
    command = [sys.executable, "-m", "edge_sdk.cli", *map(str, words)]
    print("$ edge-sdk", shlex.join(command[3:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def train(args: argparse.Namespace, scheme: str, epochs: int, kind: str) -> None:
    out = args.folder / f"{kind}-{scheme}"
    if (out / "training.json").is_file():
        return
    options: list[object] = ["--epochs", epochs, "--augment", "cells", "--seed", 0]
    if kind == "noisy":
        options += ["--cim", args.profile, "--cim-time", args.time]
    if (out.with_name(out.name + ".state") / "checkpoint").is_dir():
        options.append("--resume")
    edge_sdk(
        "train", args.data, "--qat", scheme, "--from", default_model(), "--out", out,
        "--cache", args.folder / "cache", *options,
    )  # fmt: skip


def converted(args: argparse.Namespace, scheme: str, kind: str) -> Path:
    """The file or folder that runs: a .tflite for w4a8, the integer network for w4a4."""
    trained: Path = args.folder / f"{kind}-{scheme}"
    if scheme == "w4a4":
        return trained / "integer-model"
    artifact: Path = args.folder / f"artifact-{kind}-{scheme}" / f"model-{scheme}"
    if not artifact.is_dir():
        edge_sdk(
            "convert", trained / "model.keras", "--to", scheme, "--method", "min-max",
            "--data", args.data, "--split-file", trained / "split.csv", "--out", artifact.parent,
        )  # fmt: skip
    return artifact


def judge(args: argparse.Namespace, scheme: str, kind: str, model: Path) -> dict[str, Any]:
    """The experiment's one point beside exact arithmetic. Raises SystemExit as edge-sdk does."""
    part = "validation" if args.choose else "test"
    split = args.folder / f"{kind}-{scheme}" / "split.csv"
    if args.choose:
        split = swapped(split, args.folder / "choose.csv")
    images = ["--images", args.images] if args.images else []
    limit = f"-{args.images}" if args.images else ""
    printed = edge_sdk(
        "cim", model, "--profile", args.profile, "--data", args.data, "--split-file", split,
        "--time", args.time, "--chips", args.chips, "--calibration-images", 256, "--json",
        "--processes", args.processes, *images,
        "--rows", args.folder / f"rows-{part}-{kind}-{scheme}{limit}.jsonl",
    )  # fmt: skip
    found = json.loads(printed)["experiment"]
    (point,) = found["points"]
    return {
        "images": found["images"],
        "chips": found["chips"],
        "ideal": found["ideal"]["accuracy"],
        "ideal_auc": found["ideal"]["roc_auc"],
        **{k: point[k] for k in ("accuracy", "accuracy_sd", "worst", "agreement", "roc_auc")},
        "roc_auc_sd": point["roc_auc_sd"],
        "images_per_s": found["images_per_s"],
    }


def swapped(split: Path, new: Path) -> Path:
    """The split with validation patients as the judged part."""
    with split.open(newline="") as f:
        rows = [row | {"part": SWAPPED[row["part"]]} for row in csv.DictReader(f)]
    with new.open("w", newline="") as f:
        writer = csv.DictWriter(f, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return new


def table(rows: list[dict[str, Any]], part: str) -> str:
    lines = [
        f"{rows[0]['images']} images of the {part} part, {rows[0]['chips']} chips; accuracy in %, "
        "mean +- standard deviation over chips (measured on emulated chips)",
        "scheme  errors in training  exact arithmetic   on chips        worst  lost, points*",
    ]
    for r in rows:
        lines.append(
            f"{r['scheme']:6}  {KINDS[r['kind']]:18}  {100 * r['ideal']:16.2f}  "
            f"{100 * r['accuracy']:6.2f} +- {100 * r['accuracy_sd']:4.2f}  "
            f"{100 * r['worst']:6.2f}  {100 * r['lost']:12.2f}"
        )
    lines.append("* of the accuracy in exact arithmetic of the model trained without errors")
    kept = all(100 * r["lost"] <= MOST_LOST for r in rows if r["kind"] == "noisy")
    lines.append(f"at most {MOST_LOST} points lost after training with errors: {kept}")
    return "\n".join(lines)


def figure(file: Path, args: argparse.Namespace, rows: list[dict[str, Any]], part: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    names = [f"{r['scheme']}\n{KINDS[r['kind']]} errors\nin training" for r in rows]
    for place, r in enumerate(rows):
        axes.plot([place - 0.3, place + 0.3], [100 * r["ideal"]] * 2, color="0.4", lw=2)
        colour = "C0" if r["kind"] == "noisy" else "C1"
        axes.errorbar(
            place, 100 * r["accuracy"], 100 * r["accuracy_sd"], fmt="o", capsize=5, color=colour
        )
    axes.plot([], [], color="0.4", lw=2, label="exact arithmetic")
    axes.errorbar([], [], [], fmt="o", capsize=5, color="0.6", label="chips: mean, deviation")
    axes.set_xticks(range(len(rows)), names)
    axes.set_ylabel(f"accuracy, % ({part} patients)")
    axes.set_title(f"{args.profile}, {args.time} after programming, {rows[0]['chips']} chips")
    axes.legend(frameon=False)
    axes.grid(axis="y", alpha=0.3)
    fig.savefig(file, dpi=150)
    plt.close(fig)


if __name__ == "__main__":
    main()
