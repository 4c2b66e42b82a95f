"""The training loop: steps, epochs, a moving average of the weights, and a state on disk after
every epoch, from which a killed run goes on as if nothing had happened.

The state folder holds the last whole epoch (checkpoint), the best one (best-N.npz) and
log.csv. Everything drawn depends on the seed and the epoch only.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import EdgeError, TrainingError
from edge_sdk.files import write_whole
from edge_sdk.metrics import areas
from edge_sdk.preprocess import Pixels, Preprocess
from edge_sdk.progress import Progress
from edge_sdk.train.augment import Augmentation, augment
from edge_sdk.train.chip_noise import CHIP_ERRORS
from edge_sdk.train.losses import Teacher, label_loss, prepared, teacher_loss
from edge_sdk.train.settings import Distillation, Head, Recipe

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
PREDICT_BATCH = 256
JUDGED = 2**32 - 1  # the seed of the chips that epochs are judged on; trainings' are below


@dataclass(frozen=True)
class Epoch:
    """One line of the log. validation_auc: the positive (first) of two classes, else NaN;
    accuracy: NaN for an embedding. score: what the best epoch is chosen by, higher is better."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    validation_auc: float
    score: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Task:
    """What is learned from what. truth: (n, classes), weights: (n,), 0 where only the teacher
    counts. The rows of `extra` come after those of `pixels`."""

    head: Head
    spec: Preprocess
    pixels: Pixels
    truth: Floats
    weights: Floats
    train: Ints
    validation: Ints
    augmentation: Augmentation
    extra: Pixels | None = None
    teacher: Teacher | None = None
    distillation: Distillation | None = None

    def images(self, rows: Ints) -> Pixels:
        if self.extra is None:
            return self.pixels[rows]
        own = rows < len(self.pixels)
        out = np.empty((len(rows), *self.pixels.shape[1:]), np.uint8)
        out[own] = self.pixels[rows[own]]
        out[~own] = self.extra[rows[~own] - len(self.pixels)]
        return out


@dataclass(frozen=True)
class Hooks:
    """What quantisation-aware training adds. update: called after every `every` steps.
    penalty: added to the loss."""

    every: int
    update: Callable[[], None]
    penalty: Callable[[], Any]


class Trainer:
    """A network, the moving average of its weights, the optimizer, and one step of training.

    net, average: the same network twice, or once with dropout; the average is what is kept."""

    def __init__(
        self, net: Any, average: Any, task: Task, recipe: Recipe, seed: int, hooks: Hooks | None
    ) -> None:
        import keras
        import tensorflow as tf

        self.net, self.average, self.task, self.recipe = net, average, task, recipe
        self.seed, self.hooks = seed, hooks
        self.steps = max(1, len(task.train) // recipe.batch)
        average.set_weights(net.get_weights())
        for layer in net.layers:
            if hasattr(layer, "moving_mean"):
                layer.momentum = min(recipe.batch_norm_momentum, settling_momentum(self.steps))
        variables = net.trainable_variables
        self.optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.optimizer.exclude_from_weight_decay(
            [v for v in variables if not decays(v.name, tuple(v.shape))]
        )
        self.optimizer.build(variables)
        # Dropout's generators: set anew in every epoch, so that a resumed one draws the same.
        self.dropout_seeds = [v for v in net.non_trainable_variables if "seed" in v.name]
        # Chips' errors: set anew before a judgement, so that epochs are judged on the same ones.
        self.chip_seeds = [v for v in average.non_trainable_variables if "seed" in v.name]
        self.epoch = tf.Variable(0, dtype=tf.int64)
        self.state = tf.train.Checkpoint(
            net=net, average=average, optimizer=self.optimizer, epoch=self.epoch
        )
        self._step = tf.function(self._one_step)
        self._predict = tf.function(
            lambda x: average(prepared(tf.cast(x, tf.float32) / 255.0, task.spec), training=False)
        )
        self._teach = tf.function(self._taught)

    def _taught(self, x: Any) -> Any:
        teacher = self.task.teacher
        assert teacher is not None
        return teacher.model(prepared(x, teacher.preprocess), training=False)

    def _one_step(self, pixels: Any, truth: Any, weights: Any, seed: Any) -> Any:
        import tensorflow as tf

        task, recipe = self.task, self.recipe
        x = augment(pixels, seed, task.augmentation)
        taught = None if task.teacher is None else self._taught(x)
        with tf.GradientTape() as tape:
            guess = self.net(prepared(x, task.spec), training=True)
            losses = weights * label_loss(task.head, truth, guess, recipe.label_smoothing)
            if taught is not None and task.distillation is not None:
                share = task.distillation.weight if task.head != "embedding" else 1.0
                distance = teacher_loss(
                    task.head, taught, guess, float(task.distillation.temperature)
                )
                losses = (1 - share) * losses + share * distance
            loss = tf.reduce_mean(losses)
            whole = loss if self.hooks is None else loss + self.hooks.penalty()
        variables = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(whole, variables), variables, strict=True))
        done = tf.cast(self.optimizer.iterations, tf.float32)
        share = 1.0 - tf.minimum(recipe.average_decay, (1.0 + done) / (10.0 + done))
        for kept, new in zip(self.average.weights, self.net.weights, strict=True):
            if kept.dtype == "float32":
                kept.assign_add(share * (new - kept))
            else:
                kept.assign(new)
        return loss

    def run_epoch(self, log: Sequence[Epoch], label: str, progress: Progress) -> float:
        """One pass over the training rows; the mean loss.

        Raises TrainingError when the loss is no longer a number."""
        import tensorflow as tf

        task, epoch, batch = self.task, int(self.epoch), self.recipe.batch
        order = np.random.default_rng([self.seed, epoch]).permutation(task.train)
        for place, seed in enumerate(self.dropout_seeds):
            seed.assign(_start(seed, self.seed * 1_000_003 % 2**31 + epoch, place))
        total = 0.0
        progress(label, 0, self.steps)
        for step in range(self.steps):
            rows = np.sort(order[step * batch : (step + 1) * batch])
            self.optimizer.learning_rate = rate(self.recipe, epoch + step / self.steps, log)
            number = (self.seed * 1_000_003 + epoch * self.steps + step) % 2**31
            loss = float(
                self._step(
                    tf.constant(task.images(rows)),
                    tf.constant(task.truth[rows]),
                    tf.constant(task.weights[rows]),
                    tf.constant([number], tf.int32),
                )
            )
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}: training "
                    f"stopped, and the state after epoch {epoch} is kept; start again with a "
                    f"lower --learning-rate than {self.recipe.learning_rate:g}"
                )
            total += loss
            if self.hooks is not None and (step + 1) % self.hooks.every == 0:
                self.hooks.update()
            progress(label, step + 1, self.steps)
        self.epoch.assign_add(1)
        return total / self.steps

    def scores(self, rows: Ints) -> Floats:
        """Outputs of the moving average, (rows, outputs)."""
        for place, seed in enumerate(self.chip_seeds):
            seed.assign(_start(seed, JUDGED, place))
        parts = (rows[i : i + PREDICT_BATCH] for i in range(0, len(rows), PREDICT_BATCH))
        return np.concatenate([self._predict(self.task.images(p)).numpy() for p in parts])

    def judge(self, train_loss: float, rate: float, seconds: float) -> Epoch:
        """The validation figures of the moving average."""
        task, rows = self.task, self.task.validation
        guess, truth = self.scores(rows), task.truth[rows]
        accuracy = auc = math.nan
        if task.head == "embedding":
            taught = self._teacher_scores(rows)
            loss = float(np.square(guess - taught).mean())
            score = -loss
        else:
            loss = float(np.mean(label_loss(task.head, truth, guess, 0.0)))
            if task.head == "sigmoid":
                accuracy, score = float(((guess >= 0.5) == (truth > 0.5)).mean()), -loss
            else:
                accuracy = float((guess.argmax(1) == truth.argmax(1)).mean())
                score = accuracy
            if task.head == "softmax" and truth.shape[1] == 2:
                ones = np.ones((1, len(rows)))
                auc = float(areas(guess[:, 0].astype(np.float64), truth[:, 0] > 0.5, ones)[0][0])
                score = auc
        return Epoch(int(self.epoch), train_loss, loss, accuracy, auc, score, rate, seconds)

    def _teacher_scores(self, rows: Ints) -> Floats:
        import tensorflow as tf

        parts = (rows[i : i + PREDICT_BATCH] for i in range(0, len(rows), PREDICT_BATCH))
        found = [
            self._teach(tf.cast(self.task.images(p), tf.float32) / 255.0).numpy() for p in parts
        ]
        return np.concatenate(found)


def _start(generator: Any, number: int, place: int) -> list[int]:
    """Of a generator, which counts the second number up: those of chips' errors (which draw several
    times a step, in every layer) far enough from each other that none repeats another."""
    return [number, place * 2**16 if CHIP_ERRORS in generator.path else place]


def settling_momentum(steps: int) -> float:
    """Of batch norm's statistics, so that they settle (to 5 %, e^-3) within an epoch of so many
    steps: those of a small data set would be its random start for a dozen epochs."""
    return max(0.5, math.exp(-3 / steps))


def decays(name: str, shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies to a variable: kernels of dense layers and of convolutions,
    but not of depthwise ones, (h, w, channels, 1) in Keras."""
    return name in ("kernel", "pointwise_kernel") and not (len(shape) == 4 and shape[3] == 1)


def rate(recipe: Recipe, place: float, log: Sequence[Epoch]) -> float:
    """The learning rate at `place` epochs from the start; log: the epochs before it."""
    if place < recipe.warmup:
        return recipe.learning_rate * max(0.02, place / recipe.warmup)
    if recipe.schedule == "plateau":
        return recipe.learning_rate / 3.0 ** plateaus(log, max(1, recipe.patience // 3))
    share = (place - recipe.warmup) / max(1e-9, recipe.epochs - recipe.warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def plateaus(log: Sequence[Epoch], wait: int) -> int:
    """How often the score has not improved for `wait` epochs in a row."""
    best, since, count = -math.inf, 0, 0
    for row in log:
        best, since = (row.score, 0) if row.score > best else (best, since + 1)
        if since >= wait:
            count, since = count + 1, 0
    return count


def run(trainer: Trainer, folder: Path, progress: Progress) -> list[Epoch]:
    """Trains to the last epoch or until patience is spent, from the state in `folder` if there is
    one. The moving average ends as the best epoch's. Returns the log.

    Raises TrainingError for a loss that is no number, EdgeError where the state cannot be
    written; the last good state stays."""
    import tensorflow as tf

    recipe = trainer.recipe
    saved = tf.train.CheckpointManager(trainer.state, str(folder / "checkpoint"), max_to_keep=1)
    log: list[Epoch] = []
    if saved.latest_checkpoint:
        log = _restore(trainer, folder, saved.latest_checkpoint)
    while int(trainer.epoch) < recipe.epochs:
        best = best_of(log)
        if best and len(log) - best.epoch >= recipe.patience:
            break
        start, number = time.monotonic(), int(trainer.epoch) + 1
        label = f"epoch {number} of {recipe.epochs}" + (f" ({brief(log[-1])})" if log else "")
        loss = trainer.run_epoch(log, label, progress)
        last = float(trainer.optimizer.learning_rate)
        row = trainer.judge(loss, last, round(time.monotonic() - start, 3))
        if not math.isfinite(row.validation_loss):
            raise TrainingError(
                f"the validation loss became {row.validation_loss} after epoch {number}: training "
                f"stopped, and the state after epoch {number - 1} is kept; start again with a "
                f"lower --learning-rate than {recipe.learning_rate:g}"
            )
        log.append(row)
        _keep(trainer, folder, log, saved)
    best = best_of(log)
    assert best is not None
    with np.load(_best_file(folder, best.epoch)) as kept:
        trainer.average.set_weights([kept[name] for name in kept.files])
    return log


def _restore(trainer: Trainer, folder: Path, checkpoint: str) -> list[Epoch]:
    """Sets the trainer to the last whole epoch. Returns its log. Raises TrainingError for a state
    that is damaged or of another network."""
    import tensorflow as tf

    try:
        trainer.state.restore(checkpoint).assert_existing_objects_matched()
        log = read_log(folder / "log.csv")[: int(trainer.epoch)]
        best = best_of(log)
        whole = len(log) == int(trainer.epoch) and best and _best_file(folder, best.epoch).is_file()
        reason = "" if whole else "it is not whole"
    except (tf.errors.OpError, AssertionError, ValueError, KeyError, TypeError, OSError) as e:
        reason = str(e)[:200]
    if reason:
        raise TrainingError(
            f"the state in {folder} cannot be read: {reason}; start again with --overwrite"
        )
    return log


def _keep(trainer: Trainer, folder: Path, log: Sequence[Epoch], saved: Any) -> None:
    """Order matters: the checkpoint is last, so whatever it speaks of is there."""
    import tensorflow as tf

    best = best_of(log)
    assert best is not None
    final = _best_file(folder, best.epoch)
    try:
        if best is log[-1]:
            # Not Keras' own file: for a layer with rounded kernels it leaves the thresholds out.
            partial = folder / "best.partial.npz"
            np.savez(partial, *trainer.average.get_weights())
            partial.replace(final)
        write_whole(folder / "log.csv", _log_csv(log).encode())
        saved.save()
    except (OSError, tf.errors.OpError) as e:
        reason = e.strerror or str(e) if isinstance(e, OSError) else e.message
        raise EdgeError(
            f"cannot write the training's state in {folder}: {reason}; the state after epoch "
            f"{len(log) - 1} is kept: make room, then go on with --resume"
        ) from e
    for old in folder.glob("best-*.npz"):
        if old != final:
            old.unlink()


def _best_file(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch}.npz"


def best_of(log: Sequence[Epoch]) -> Epoch | None:
    """The epoch of the highest score; of equals, as where every area is 1, of the lowest loss."""
    return max(log, key=lambda row: (row.score, -row.validation_loss), default=None)


def brief(row: Epoch) -> str:
    if not math.isnan(row.validation_auc):
        return f"validation AUC {row.validation_auc:.4f}"
    if not math.isnan(row.validation_accuracy):
        return f"validation accuracy {row.validation_accuracy:.3f}"
    return f"validation loss {row.validation_loss:.4f}"


def read_log(file: Path) -> list[Epoch]:
    with file.open(newline="") as f:
        return [
            Epoch(int(row["epoch"]), *(float(row[k]) for k in list(row)[1:]))
            for row in csv.DictReader(f)
        ]


def _log_csv(log: Sequence[Epoch]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(Epoch.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: repr(v) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in log
    )
    return text.getvalue()
