"""Labelled images -> a trained Keras model in a folder: deal, decode, build, train, judge, write.

While it trains, the state is in OUT.state beside OUT; OUT appears whole at the end, and the state
goes. A run that was killed goes on from its state with `resume`.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.dataset import PARTS, Dataset, Item, read_dataset, refuse_twins
from edge_sdk.errors import UsageError
from edge_sdk.files import refuse_existing, whole_folder, write_whole
from edge_sdk.preprocess import Preprocess
from edge_sdk.progress import Progress, silent
from edge_sdk.strict import to_plain
from edge_sdk.train import architectures, networks, parts, record
from edge_sdk.train.augment import augmentation_named
from edge_sdk.train.curves import curves_png
from edge_sdk.train.loop import Epoch, Task, Trainer, run
from edge_sdk.train.losses import Teacher, open_teacher
from edge_sdk.train.page import page
from edge_sdk.train.parts import Images
from edge_sdk.train.settings import TrainRequest
from edge_sdk.train.tensorflow import import_tensorflow

STATE = ".state"
MODEL = "model.keras"
RECORD = "training.json"


@dataclass(frozen=True)
class Training:
    """What came of it. record: the contents of training.json."""

    path: Path
    log: tuple[Epoch, ...]
    record: dict[str, Any]
    notes: tuple[str, ...]


def train(request: TrainRequest, progress: Progress = silent) -> Training:
    """Trains as asked and writes request.out: model.keras, labels.txt, preprocess.json,
    split.csv, log.csv, curves.png, training.json and training.html.

    Raises an EdgeError for what cannot be used or goes wrong; what was trained until then stays
    in the state folder."""
    refuse_existing(request.out, replace=request.overwrite)
    augmentation = augmentation_named(request.recipe.augmentation)
    data = read_dataset(request.data)
    labels = parts.class_names(data, request.head)
    dealt = parts.split_items(data, request.split, request.seed)
    import_tensorflow(gpu=True)
    import keras

    if request.start is None:
        architectures.check_arch(request)
    state = _open_state(request)
    keras.utils.set_random_seed(request.seed)
    if request.start is not None:
        spec, start = networks.start_spec(request, labels)
    else:
        spec, start = architectures.preprocess_for(request), None
    teacher = None
    if request.distillation is not None:
        teacher = open_teacher(request.distillation.teacher, request.head, labels)
    images = _images(request, data, dealt, labels, spec, state, progress)
    task = _task(request, images, spec, teacher, augmentation, state, progress)
    outputs = len(labels) if teacher is None or labels else teacher.outputs
    if start is None:
        found = networks.plain_networks(request, outputs)
    else:
        found = networks.rounding_networks(request, start, spec, images)
    trainer = Trainer(found.net, found.average, task, request.recipe, request.seed, found.hooks)
    log = run(trainer, state, progress)
    progress("judge", 0, 1)
    judged = {
        part: record.measure(
            request.head, trainer.scores(images.rows[part]), images.truth[images.rows[part]],
            images.groups(part), labels, request.seed,
        )
        for part in PARTS[1:]
        if len(images.rows[part]) and request.head != "embedding"
    }  # fmt: skip
    progress("judge", 1, 1)
    model = found.plain()
    facts = record.facts(request, data, images, labels, log, model, judged)
    notes = list(teacher.notes) if teacher else []
    if images.dropped:
        notes.append(f"{len(images.dropped)} unreadable images left out")
    notes += _write(request, data, dealt, labels, spec, model, log, facts, state)
    return Training(request.out, tuple(log), facts, tuple(notes))


def state_folder(out: Path) -> Path:
    return out.with_name(out.name + STATE)


def _open_state(request: TrainRequest) -> Path:
    """The state's folder, new or of the same training. Raises UsageError for another's."""
    state = state_folder(request.out)
    settings = json.dumps(request.settings(), indent=1, sort_keys=True)
    kept = state / "settings.json"
    if kept.is_file() and not request.resume:
        if not request.overwrite:
            raise UsageError(
                f"{state} holds a training that was not finished: go on with --resume, or start "
                "again with --overwrite"
            )
        shutil.rmtree(state)
    if kept.is_file():
        old, new = json.loads(kept.read_text()), json.loads(settings)
        if changed := sorted(_differences(old, new)):
            raise UsageError(
                f"--resume: the training in {state} was started with other settings "
                f"({'; '.join(changed)}): give the same ones, or start again with --overwrite"
            )
        return state
    if request.resume:
        raise UsageError(f"--resume: there is no unfinished training in {state}")
    state.mkdir(parents=True, exist_ok=True)
    write_whole(kept, settings.encode())
    return state


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new})
            for found in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{name} {old} then, {new} now"]


def _images(
    request: TrainRequest,
    data: Dataset,
    dealt: dict[str, tuple[Item, ...]],
    labels: tuple[str, ...],
    spec: Preprocess,
    state: Path,
    progress: Progress,
) -> Images:
    folder = request.cache or state
    pixels, unreadable = parts.load_pixels(data.items, data.root, spec, folder, progress)
    place = {item.path: i for i, item in enumerate(data.items)}
    bad = set(unreadable)
    rows = {
        part: np.asarray([i for item in items if (i := place[item.path]) not in bad], np.int64)
        for part, items in dealt.items()
    }
    truth = parts.truth_of(data.items, labels, request.head)
    parts.check_classes({p: truth[r] for p, r in rows.items()}, labels)
    items = data.items
    if request.split.ignore_groups:
        items = tuple(Item(i.path, i.label) for i in items)
    dropped = tuple(data.items[i].path for i in unreadable)
    return Images(items, labels, pixels, truth, rows, dropped)


def _task(
    request: TrainRequest,
    images: Images,
    spec: Preprocess,
    teacher: Teacher | None,
    augmentation: Any,
    state: Path,
    progress: Progress,
) -> Task:
    train, truth = images.rows["train"], images.truth
    weights = np.ones(len(truth), np.float32)
    if request.recipe.class_weights and len(images.labels):
        counts = truth[train].sum(axis=0)
        weights = (truth @ (counts.sum() / (len(counts) * counts))).astype(np.float32)
    extra = None
    given = request.distillation
    if given is not None and given.unlabelled is not None:
        more = read_dataset(given.unlabelled)
        judged = tuple(images.items[i] for p in PARTS[1:] for i in images.rows[p])
        refuse_twins(more, Dataset(request.data, judged, ()), "no --unlabelled image may be judged")
        extra, bad = parts.load_pixels(
            more.items, more.root, spec, request.cache or state, progress
        )
        good = np.setdiff1d(np.arange(len(extra)), bad) + len(truth)
        truth = np.concatenate([truth, np.zeros((len(extra), truth.shape[1]), np.float32)])
        weights = np.concatenate([weights, np.zeros(len(extra), np.float32)])
        train = np.concatenate([train, good])
    return Task(
        request.head, spec, images.pixels, truth, weights, train, images.rows["validation"],
        augmentation, extra, teacher, given,
    )  # fmt: skip


def _write(
    request: TrainRequest,
    data: Dataset,
    dealt: dict[str, tuple[Item, ...]],
    labels: tuple[str, ...],
    spec: Preprocess,
    model: Any,
    log: list[Epoch],
    facts: dict[str, Any],
    state: Path,
) -> list[str]:
    curves = curves_png(log)
    with whole_folder(request.out, replace=request.overwrite) as folder:
        model.save(str(folder / MODEL), include_optimizer=False)
        if labels:
            (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        (folder / "preprocess.json").write_text(json.dumps(to_plain(spec), indent=2) + "\n")
        (folder / "split.csv").write_text(parts.split_csv(data, dealt), encoding="utf-8")
        shutil.copy(state / "log.csv", folder / "log.csv")
        (folder / RECORD).write_text(json.dumps(_finite(facts), indent=2) + "\n")
        (folder / "training.html").write_text(page(facts, log, curves), encoding="utf-8")
        if curves is not None:
            (folder / "curves.png").write_bytes(curves)
    shutil.rmtree(state, ignore_errors=True)
    if curves is None:
        return ["matplotlib is not installed, no curves drawn: pip install 'edge-sdk[plots]'"]
    return []


def _finite(value: Any) -> Any:
    """NaN as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
