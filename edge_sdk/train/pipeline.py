"""Labelled images -> a trained Keras model in a folder: deal, decode, build, train, judge, write.

While it trains, the state is in OUT.state beside OUT; OUT appears whole at the end, and the state
goes. A run that was killed goes on from its state with `resume`.
"""

from __future__ import annotations

import fcntl
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.dataset import PARTS, Dataset, Item, read_dataset, refuse_twins
from edge_sdk.errors import UsageError
from edge_sdk.files import refuse_existing, whole_folder, write_whole
from edge_sdk.integer_model import IntegerModel, write_integer_model
from edge_sdk.integer_model import run as run_integers
from edge_sdk.preprocess import Preprocess
from edge_sdk.progress import Progress, silent
from edge_sdk.strict import to_plain
from edge_sdk.train import architectures, networks, parts, record
from edge_sdk.train.augment import Augmentation, augmentation_named
from edge_sdk.train.chip_noise import noisy_profile
from edge_sdk.train.curves import curves_png
from edge_sdk.train.loop import Epoch, Task, Trainer, run
from edge_sdk.train.losses import Teacher, open_teacher
from edge_sdk.train.page import page
from edge_sdk.train.parts import Floats, Images, Ints
from edge_sdk.train.settings import TrainRequest
from edge_sdk.train.tensorflow import import_tensorflow

STATE = ".state"
MODEL = "model.keras"
RECORD = "training.json"
INTEGER = "integer-model"
INTEGER_ORIGIN = "measured: the integer-only network, emulated (no device runs it)"


@dataclass(frozen=True)
class Training:
    """What came of it. record: the contents of training.json."""

    path: Path
    log: tuple[Epoch, ...]
    record: dict[str, Any]
    notes: tuple[str, ...]


def train(
    request: TrainRequest, progress: Progress = silent, items: Sequence[Item] | None = None
) -> Training:
    """Trains as asked and writes request.out: model.keras, labels.txt, preprocess.json,
    split.csv, log.csv, curves.png, training.json and training.html; for w4a4 integer-model/ too.

    items: those of the data's that may be used, None for all.
    Raises an EdgeError for what cannot be used or goes wrong; what was trained until then stays
    in the state folder."""
    refuse_existing(request.out, replace=request.overwrite)
    augmentation = augmentation_named(request.recipe.augmentation)
    if request.chip is not None:
        noisy_profile(request.chip)
    data = read_dataset(request.data)
    if items is not None:
        data = data.subset(items)
    labels = parts.class_names(data, request.head)
    dealt = parts.split_items(data, request.split, request.seed)
    import_tensorflow(gpu=True)
    if request.start is None:
        architectures.check_arch(request)
    with _open_state(request) as state:
        return _train(request, data, labels, dealt, augmentation, state, progress)


def _train(
    request: TrainRequest,
    data: Dataset,
    labels: tuple[str, ...],
    dealt: dict[str, tuple[Item, ...]],
    augmentation: Augmentation,
    state: Path,
    progress: Progress,
) -> Training:
    import keras

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
    elif request.qat is None:
        found = networks.continued_networks(start)
    else:
        found = networks.rounding_networks(request, start, spec, images)
    trainer = Trainer(found.net, found.average, task, request.recipe, request.seed, found.hooks)
    log = run(trainer, state, progress)
    progress("judge", 0, 1)
    judged = _judge(request, images, labels, trainer.scores)
    integer = None
    if found.integer is not None:
        integer = found.integer(labels)
        by_integers = _judge(request, images, labels, partial(_run_integers, integer, images))
        judged["integer"] = {"origin": INTEGER_ORIGIN, **by_integers}
    progress("judge", 1, 1)
    model = found.plain()
    facts = _finite(record.facts(request, data, images, labels, log, model, judged))
    notes = list(teacher.notes) if teacher else []
    if images.dropped:
        notes.append(f"{len(images.dropped)} unreadable images left out")
    notes += _write(request, data, dealt, labels, spec, model, integer, log, facts, state)
    return Training(request.out, tuple(log), facts, tuple(notes))


def _judge(
    request: TrainRequest,
    images: Images,
    labels: tuple[str, ...],
    scores: Callable[[Ints], Floats],
) -> dict[str, Any]:
    """The figures of validation and test; scores: of rows, (rows, outputs)."""
    if request.head == "embedding":
        return {}
    return {
        part: record.measure(
            request.head, scores(rows), images.truth[rows], images.groups(part), labels,
            request.seed,
        )
        for part in PARTS[1:]
        if len(rows := images.rows[part])
    }  # fmt: skip


def _run_integers(integer: IntegerModel, images: Images, rows: Ints) -> Floats:
    return run_integers(integer, images.pixels[rows])


def state_folder(out: Path) -> Path:
    return out.with_name(out.name + STATE)


@contextmanager
def _open_state(request: TrainRequest) -> Iterator[Path]:
    """The state's folder, new or of the same training, locked against a second process.

    Raises UsageError for another training's, or while one is running in it. One that ended before
    its first epoch did has nothing to go on with and is begun again."""
    state = state_folder(request.out)
    settings = json.dumps(request.settings(), indent=1, sort_keys=True)
    kept = state / "settings.json"
    if request.resume and not kept.is_file():
        raise UsageError(f"--resume: there is no unfinished training in {state}")
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"a training is running in {state}: wait for it, or end it") from None
        _begin(request, state, kept, settings)
        yield state


def _begin(request: TrainRequest, state: Path, kept: Path, settings: str) -> None:
    """Raises UsageError for an unfinished training that is not to go on, or is another one."""
    begun = (state / "checkpoint").is_dir()
    if begun and not request.resume:
        if not request.overwrite:
            raise UsageError(
                f"{state} holds a training that was not finished: go on with --resume, or start "
                "again with --overwrite"
            )
        shutil.rmtree(state / "checkpoint")
    if request.resume:
        old, new = json.loads(kept.read_text()), json.loads(settings)
        if changed := sorted(_differences(old, new)):
            raise UsageError(
                f"--resume: the training in {state} was started with other settings "
                f"({'; '.join(changed)}): give the same ones, or start again with --overwrite"
            )
    else:
        write_whole(kept, settings.encode())


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
    augmentation: Augmentation,
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
    integer: IntegerModel | None,
    log: list[Epoch],
    facts: dict[str, Any],
    state: Path,
) -> list[str]:
    curves = curves_png(log)
    with whole_folder(request.out, replace=request.overwrite) as folder:
        model.save(str(folder / MODEL), include_optimizer=False)
        if labels:
            (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        if integer is not None:
            write_integer_model(folder / INTEGER, integer)
        (folder / "preprocess.json").write_text(json.dumps(to_plain(spec), indent=2) + "\n")
        (folder / "split.csv").write_text(parts.split_csv(data, dealt), encoding="utf-8")
        shutil.copy(state / "log.csv", folder / "log.csv")
        (folder / RECORD).write_text(json.dumps(facts, indent=2) + "\n")
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
