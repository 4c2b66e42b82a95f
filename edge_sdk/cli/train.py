"""`edge-sdk train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edge_sdk.cli.options import Bars
from edge_sdk.errors import UsageError

PATH = click.Path(path_type=Path)
RECIPE_OPTIONS = (
    "epochs", "batch", "learning_rate", "schedule", "warmup", "weight_decay", "label_smoothing",
    "dropout", "average_decay", "patience", "class_weights", "augmentation",
)  # fmt: skip


@click.command()
@click.argument("data", type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder for the model and its record.")
@click.option(
    "--arch",
    default="mobilenet_v2",
    show_default=True,
    help="mobilenet_v1, mobilenet_v2, basic-cnn, alexnet-cifar, vgg16-cifar, resnet18-cifar, a "
    "keras.applications backbone, or FILE.keras.",
)
@click.option("--cut", metavar="LAYER", help="Of --arch FILE.keras: the last layer that is taken.")
@click.option("--normalise", metavar="NAME", help="Of --arch FILE.keras: tf, torch, unit or none.")
@click.option("--alpha", default=1.0, show_default=True, help="Width multiplier.")
@click.option("--size", default=224, show_default=True, help="Input side in pixels.")
@click.option("--weights", metavar="W", help="imagenet, none or a file [imagenet].")
@click.option(
    "--strategy",
    metavar="HOW",
    help="frozen (the head learns), partial (and the last --blocks), full or scratch [full].",
)
@click.option("--blocks", default=3, show_default=True, help="Blocks that learn with partial.")
@click.option(
    "--head",
    default="softmax",
    show_default=True,
    help="softmax, sigmoid (labels separated by ';', '-' for none) or embedding.",
)
@click.option("--fit", metavar="HOW", help="stretch, crop or pad [stretch; of a file its own].")
@click.option(
    "--augment",
    "augmentation",
    metavar="NAME",
    help="none, photo (small moves), cells or cifar (crop, mirror) [photo].",
)
@click.option("--split", default="60:10:30", show_default=True, help="Training:validation:test.")
@click.option("--fold", metavar="K/N", help="Test on the K-th of N equal parts instead.")
@click.option("--split-file", type=PATH, help="CSV with file and part, as a training writes it.")
@click.option("--ignore-groups", is_flag=True, help="Deal single images: leaks; to demonstrate.")
@click.option("--epochs", type=int, help="At most this many [36 from scratch, 12 fine, 6 --from].")
@click.option("--batch", type=int, help="Images a step [64].")
@click.option("--learning-rate", type=float, help="Peak [2e-3 scratch, 3e-4 fine, 3e-3 frozen].")
@click.option("--schedule", metavar="NAME", help="cosine, or plateau (a third on standstill).")
@click.option("--warmup", type=int, help="Epochs of rising rate [1].")
@click.option("--weight-decay", type=float, help="None on depthwise kernels [0.02, fine 0.01].")
@click.option(
    "--label-smoothing", type=float, help="Share of each label given to the other classes [0.05]."
)
@click.option("--dropout", type=float, help="Before the head [0.2].")
@click.option("--average-decay", type=float, help="Of the weights' moving average per step.")
@click.option("--patience", type=int, help="Epochs without improvement, then stop [15, fine 6].")
@click.option("--class-weights", is_flag=True, default=None, help="Let classes count alike.")
@click.option("--distil", type=PATH, metavar="TEACHER", help="Keras model to imitate as well.")
@click.option("--distil-weight", type=float, help="Share of the teacher's loss [0.7].")
@click.option("--distil-temperature", type=float, help="Softens both outputs [2].")
@click.option("--unlabelled", type=PATH, help="More images, for the teacher's loss only.")
@click.option("--qat", metavar="SCHEME", help="w4a8 or w4a4: train on with quantisation.")
@click.option("--from", "start", type=PATH, metavar="MODEL", help="Train this model on.")
@click.option(
    "--thresholds", metavar="HOW", help="dynamic, min-max or lsq [w4a8 dynamic, w4a4 min-max]."
)
@click.option("--cim", metavar="PROFILE", help="With --qat: learn to bear this chip's errors.")
@click.option("--cim-time", metavar="TIME", help="Of --cim: since programming, e.g. 5d [0s].")
@click.option("--seed", default=0, show_default=True, help="Of the split and of all that is drawn.")
@click.option("--cache", type=PATH, help="Keep decoded images here, for other trainings too.")
@click.option("--resume", is_flag=True, help="Go on with a training that was cut off.")
@click.option("--overwrite", is_flag=True, help="Replace OUT once the new training is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def train(data: Path, out: Path, as_json: bool, **given: Any) -> None:
    """Train an image classifier on DATA.

    DATA is a folder per class, or has an index.csv with file, label and group (or patient).
    Whole groups go to training, validation and test. The epoch is chosen on validation images;
    test images are read once, at the end.
    """
    from edge_sdk.train.pipeline import train as run
    from edge_sdk.training_text import training_text

    if given["start"]:
        _refuse_for_start(click.get_current_context())
    request = _request(data, out, given)
    with Bars() as bars:
        result = run(request, bars)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(json.dumps(result.record) if as_json else training_text(result))


def _request(data: Path, out: Path, given: dict[str, Any]) -> Any:
    from dataclasses import replace

    from edge_sdk.chips.settings import duration
    from edge_sdk.train.architectures import RANDOM
    from edge_sdk.train.settings import RECIPES, ChipNoise, Distillation, Split, TrainRequest

    fixed = {k: given.pop(k) for k in ("alpha", "size", "blocks", "seed")}
    weights, strategy = given.pop("weights"), given.pop("strategy")
    if strategy is None:
        random = weights == "none" or (weights is None and given["arch"] in RANDOM)
        strategy = "scratch" if random and given["start"] is None else "full"
    if given["arch"].endswith(".keras"):
        weights = weights or given["arch"]
    if weights is None:
        weights = "none" if strategy == "scratch" or given["start"] else "imagenet"
    kind = "qat" if given["start"] else strategy
    if kind not in RECIPES:
        kind = "full"  # the strategy's own check says what is wrong with it
    recipe = {k: given.pop(k) for k in RECIPE_OPTIONS}
    split = Split(
        _shares(given.pop("split")),
        _fold(given.pop("fold")),
        given.pop("split_file"),
        given.pop("ignore_groups"),
    )
    teacher, unlabelled = given.pop("distil"), given.pop("unlabelled")
    shares = {k: given.pop(f"distil_{k}") for k in ("weight", "temperature")}
    softness = {k: v for k, v in shares.items() if v is not None}
    if teacher is None and (unlabelled is not None or softness):
        raise UsageError("--unlabelled and --distil-... belong to --distil TEACHER: give it")
    distillation = None
    if teacher is not None:
        distillation = Distillation(teacher, unlabelled=unlabelled, **softness)
    profile, age = given.pop("cim"), given.pop("cim_time")
    if profile is None and age is not None:
        raise UsageError(f"--cim-time {age} belongs to --cim PROFILE: give it")
    return TrainRequest(
        chip=None if profile is None else ChipNoise(profile, duration(age or "0s")),
        data=data,
        out=out,
        weights=weights,
        strategy=strategy,
        recipe=replace(RECIPES[kind], **{k: v for k, v in recipe.items() if v is not None}),
        split=split,
        distillation=distillation,
        **fixed,
        **given,
    )


def _refuse_for_start(context: click.Context) -> None:
    for name in ("arch", "cut", "normalise", "alpha", "size", "weights", "strategy", "fit"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--{name} does not go with --from, whose model decides it: leave it out"
            )


def _shares(text: str) -> tuple[float, float, float]:
    try:
        a, b, c = (float(v) for v in text.split(":"))
    except ValueError:
        raise UsageError(f"--split {text}: expected three shares, as 60:10:30") from None
    return a, b, c


def _fold(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        k, n = (int(v) for v in text.split("/"))
    except ValueError:
        raise UsageError(f"--fold {text}: expected K/N, as 1/5") from None
    return k, n
