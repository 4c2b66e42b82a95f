"""Quantisation-aware training as a step of a conversion, on images that judge nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edge_sdk.convert.schemes import Scheme
from edge_sdk.dataset import Dataset, read_dataset, refuse_twins
from edge_sdk.errors import DataError, UsageError
from edge_sdk.preprocess import Preprocess
from edge_sdk.progress import Progress
from edge_sdk.strict import to_plain
from edge_sdk.train.pipeline import MODEL, train
from edge_sdk.train.settings import RECIPES, Split, TrainRequest

# Of the training images; there is no test part, as the conversion judges.
SHARES = (85, 15, 0)


def check_request(method: str, train_data: Path | None, model: Path) -> None:
    """Raises UsageError for --method trained without images, or a model that cannot train."""
    if method == "trained" and train_data is None:
        raise UsageError("--method trained needs labelled images to train on: give --train-data")
    if train_data is not None and model.suffix not in (".keras", ".h5", ".hdf5"):
        raise UsageError(
            f"--train-data: {model} cannot be trained on, only a Keras model can: give that, or "
            "leave --train-data out"
        )


def retrained(
    model: Path,
    train_data: Path,
    judged: Dataset,
    spec: Preprocess,
    labels: tuple[str, ...],
    scheme: Scheme,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Path:
    """The model, trained on with rounded kernels that are written on their grid: a Keras file.

    What is judged, and every other image of its groups, is left out where `train_data` is the
    judged folder itself; from another folder an image or group in both raises DataError."""
    data = read_dataset(train_data)
    if data.root.resolve() == judged.root.resolve():
        groups = {i.group for i in judged.items if i.group is not None}
        paths = {i.path for i in judged.items}
        items = [i for i in data.items if i.group not in groups and i.path not in paths]
    else:
        refuse_twins(data, judged, "what judges must not train; give other --train-data")
        items = list(data.items)
    if not items:
        raise DataError(
            f"--train-data {train_data}: the judged images leave none of its {len(data)} to train "
            "on; give more images or fewer --samples"
        )
    start = folder / "start"
    start.mkdir(parents=True)
    shutil.copy(model, start / model.name)
    (start / "preprocess.json").write_text(json.dumps(to_plain(spec)))
    (start / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    request = TrainRequest(
        data=train_data,
        out=folder / "trained",
        weights="none",
        recipe=RECIPES["qat"],
        split=Split(SHARES),
        qat="w4a8" if scheme.depthwise_bits == 8 else "w4a8-dw4",
        start=start / model.name,
        seed=seed,
    )
    train(request, progress, items)
    return folder / "trained" / MODEL
