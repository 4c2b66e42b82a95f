"""The 4-bit NOR-flash experiment: AlexNet, VGG16 and ResNet-18 on CIFAR-10, float against 4/4 bits.

Every net is trained in float; from there on it learns for the same number of epochs once more in
float and once with 4-bit weights and inputs (dynamic thresholds, PACT clips). What is compared is
the test accuracy of the continued float net with that of the integer-only network, emulated. What
is finished is kept: the same command goes on where it stopped, and --table only prints.

    python tools/founding_experiment.py --zips CIFAR --folder build/founding --seeds 0 1 2

CIFAR holds train.zip and test.zip, a folder of images per class in each.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.files import write_whole
from edge_sdk.integer_model import Convolution, Dense, read_integer_model

ROOT = Path(__file__).resolve().parent.parent
NETS = ("alexnet-cifar:1", "vgg16-cifar:1", "resnet18-cifar:1")
# Float accuracy in the survey of NOR-flash computing that names the experiment, and the most that
# it says 4 bits lose.
PUBLISHED = {"alexnet-cifar": 90.07, "vgg16-cifar": 91.65, "resnet18-cifar": 93.23}
MOST_LOST = 1.5
VALIDATION = 5_000
KINDS = ("float", "continued", "w4a4")
SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zips", type=Path, help="folder of train.zip and test.zip")
    parser.add_argument("--folder", type=Path, required=True, help="for images and results")
    parser.add_argument("--nets", nargs="+", default=NETS, metavar="ARCH:ALPHA")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=200, help="of the float training [200]")
    parser.add_argument("--more", type=int, default=60, help="epochs after it, of both kinds [60]")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", default="2e-3")
    parser.add_argument("--more-rate", default="1e-3", help="learning rate of both kinds after it")
    parser.add_argument("--dropout", default="0", help="before dense layers, of the float training")
    parser.add_argument("--table", action="store_true", help="print what there is, train nothing")
    args = parser.parse_args()
    if args.folder.resolve().is_relative_to(ROOT) and not ignored(args.folder):
        parser.error(f"--folder {args.folder}: images and trainings do not belong into the project")
    if not args.table:
        if args.zips is None:
            parser.error("give the folder of train.zip and test.zip with --zips")
        unpack(args.zips, args.folder / "cifar-10")
        for seed in args.seeds:
            for net in args.nets:
                train_net(args, net, seed)
    print(table(results(args.folder)))


def ignored(folder: Path) -> bool:
    """Whether git leaves the folder out of the project."""
    command = ["git", "-C", str(ROOT), "check-ignore", "-q", str(folder.resolve())]
    return subprocess.run(command, check=False).returncode == 0


def unpack(zips: Path, folder: Path) -> None:
    """The images, index.csv and split.csv: the official test part, 5,000 of the others, drawn once
    for all nets and seeds, for validation. index.csv is written last and says that all is there."""
    if (folder / "index.csv").is_file():
        return
    names: dict[str, list[str]] = {}
    for part in ("train", "test"):
        with zipfile.ZipFile(zips / f"{part}.zip") as archive:
            archive.extractall(folder / part)
            found = [n for n in archive.namelist() if not n.endswith("/")]
        names[part] = sorted(f"{part}/{n}" for n in found)
    drawn = np.random.default_rng(0).choice(len(names["train"]), VALIDATION, replace=False)
    validation = {names["train"][i] for i in drawn}
    everything = [*names["train"], *names["test"]]
    split = [(n, "validation" if n in validation else n.partition("/")[0]) for n in everything]
    write_csv(folder / "split.csv", ("file", "part"), split)
    write_csv(folder / "index.csv", ("file", "label"), [(n, n.split("/")[1]) for n in everything])


def write_csv(file: Path, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write_whole(file, text.getvalue().encode())


def train_net(args: argparse.Namespace, net: str, seed: int) -> None:
    """In float, and from there on once in float and once with 4 bits."""
    arch, alpha = net.split(":")
    base = args.folder / "runs" / f"{arch}-{float(alpha):g}-{seed}"
    new = ["--arch", arch, "--alpha", alpha, "--size", str(SIZE), "--weights", "none"]
    new += ["--dropout", args.dropout, "--epochs", str(args.epochs)]
    new += ["--learning-rate", args.learning_rate, "--patience", str(args.epochs)]
    train(args, f"{base}-float", seed, new)
    more = ["--from", f"{base}-float/model.keras", "--epochs", str(args.more)]
    more += ["--learning-rate", args.more_rate, "--patience", str(args.more)]
    train(args, f"{base}-continued", seed, more)
    train(args, f"{base}-w4a4", seed, [*more, "--qat", "w4a4", "--thresholds", "dynamic"])


def train(args: argparse.Namespace, run: str, seed: int, options: list[str]) -> None:
    """One `edge-sdk train`, begun, gone on with, or long finished; then results.json anew."""
    out, data = Path(run), args.folder / "cifar-10"
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        common = ["--split-file", str(data / "split.csv"), "--cache", str(args.folder / "cache")]
        common += ["--augment", "cifar", "--batch", str(args.batch), "--seed", str(seed)]
        resume = (
            ["--resume"] if (out.with_name(f"{out.name}.state") / "checkpoint").is_dir() else []
        )
        command = [sys.executable, "-m", "edge_sdk.cli", "train", str(data), "--out", str(out)]
        print(f"{out.name} ...", flush=True)
        subprocess.run([*command, *common, *options, *resume], check=True)
    rows = results(args.folder)
    write_whole(args.folder / "results.json", json.dumps(rows, indent=1).encode())
    print(table(rows), flush=True)


def results(folder: Path) -> list[dict[str, Any]]:
    """A row of every finished training, from its own record."""
    rows = []
    for file in sorted((folder / "runs").glob("*/training.json")):
        record = json.loads(file.read_text())
        base, _, kind = file.parent.name.rpartition("-")
        arch, alpha, seed = base.rsplit("-", 2)
        found = record["metrics"]
        integer = file.parent / "integer-model"
        rows.append(
            {
                "net": arch,
                "alpha": float(alpha),
                "seed": int(seed),
                "kind": kind,
                "epochs": record["settings"]["recipe"]["epochs"],
                "epoch_kept": record["run"]["epoch_kept"],
                "validation": accuracy(found, "validation"),
                "test": accuracy(found, "test"),
                "integer_test": accuracy(found["integer"], "test") if "integer" in found else None,
                "images": found["test"]["images"],
                "parameters": record["model"]["parameters"],
                "mult_adds": mult_adds(integer) if integer.is_dir() else None,
                "seconds": record["run"]["wall_seconds"],
                "machine": record["run"]["machine"],
            }
        )
    return rows


def accuracy(metrics: dict[str, Any], part: str) -> float:
    return 100 * float(metrics[part]["figures"]["accuracy"])


def mult_adds(folder: Path) -> int:
    """Multiplications with a weight, of one image."""
    model = read_integer_model(folder)
    shapes = model.shapes()
    total = 0
    for layer in model.layers:
        if isinstance(layer, Convolution):
            height, width, _ = shapes[layer.name]
            total += height * width * layer.weights.size
        elif isinstance(layer, Dense):
            total += layer.weights.size
    return total


def table(rows: list[dict[str, Any]]) -> str:
    """Test accuracy in percent, mean and sample standard deviation over seeds. Lost: of the 4-bit
    integer network, to the float net that learnt on for the same epochs."""
    heads = (
        "Net", "Width", "Seeds", "Epochs", "Float", "Float continued", "4-bit fake-quantised",
        "4-bit integer, emulated", "Points lost", "Parameters", "Mult-Adds", "Published float",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for arch, alpha in sorted({(r["net"], r["alpha"]) for r in rows}):
        own = [r for r in rows if (r["net"], r["alpha"]) == (arch, alpha)]
        kinds = {k: {r["seed"]: r for r in own if r["kind"] == k} for k in KINDS}
        begun, after, short = (kinds[k] for k in KINDS)
        seeds = sorted(after.keys() & short.keys())
        lost = [after[s]["test"] - short[s]["integer_test"] for s in seeds]
        epochs = "+".join(str(next(iter(k.values()))["epochs"]) for k in (begun, after) if k)
        work = next((r["mult_adds"] for r in short.values()), None)
        cells = (
            arch,
            f"{alpha:g}",
            str(len(seeds) or len(begun)),
            epochs,
            spread([r["test"] for r in begun.values()]),
            spread([after[s]["test"] for s in after]),
            spread([short[s]["test"] for s in short]),
            spread([short[s]["integer_test"] for s in short]),
            spread(lost),
            f"{own[0]['parameters']:,}",
            f"{work:,}" if work else "",
            f"{PUBLISHED[arch]:.2f} (4 bits lose <= {MOST_LOST})",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
