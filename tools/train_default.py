"""Trains the model that comes with the package: MobileNetV2 0.35 on red blood cells, from scratch.

    python tools/train_default.py --data ../shared/data/nih-malaria --out build/default

Patients, not cells, are dealt to training, validation and test. Every choice (the epoch that is
kept, when to stop) is made on the validation patients; the test patients are read once, after
that, when --out is given. The run's state is written to .cache after every epoch: --resume goes on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from default_record import FRACTIONS, LABELS, PARTS, Floats, Ints, measure, record, roc_auc

from edge_sdk.dataset import Dataset, open_image, read_dataset, split_groups
from edge_sdk.preprocess import Pixels, Preprocess, fit_image

WORK = Path(".cache/train_default")
RECIPE: dict[str, Any] = {
    "optimizer": "AdamW",
    "batch": 64,
    "learning_rate": 2e-3,  # reached after the first epoch, then half a cosine down to zero
    "weight_decay": 0.02,  # on the kernels of full and 1x1 convolutions and the classifier only
    "label_smoothing": 0.05,
    "dropout": 0.2,
    "batch_norm_momentum": 0.99,  # Keras' 0.999 has not settled after a few thousand steps
    "average_decay": 0.998,  # of the moving average of all weights, which is what is kept
    "patience": 15,  # epochs without a better ROC area on the validation patients
    "augmentation": "rotation by any angle, mirror, zoom 0.85-1.15, shift up to 6%, gain "
    "0.75-1.25 for all channels and 0.88-1.12 for each, gamma 0.75-1.33, blur or sharpening 3x3",
}
LOG_COLUMNS = ("epoch", "train_loss", "val_loss", "val_accuracy", "val_auc", "seconds")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv")
    parser.add_argument("--out", type=Path, help="zoo folder to write; without it, validation only")
    parser.add_argument("--size", type=int, default=96, help="input side in pixels")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the split and the training")
    parser.add_argument("--resume", action="store_true", help="go on with the last run")
    return parser.parse_args(argv)


def load_pixels(data: Dataset, spec: Preprocess) -> Pixels:
    """Every image of the data set at the model's size, kept in a file beside the runs."""
    names = "\n".join(data.name_of(i) for i in data.items) + json.dumps(asdict(spec))
    path = WORK / f"cells-{hashlib.sha256(names.encode()).hexdigest()[:12]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, np.stack([fit_image(open_image(i.path), spec) for i in data.items]))
        part.replace(path)
    loaded: Pixels = np.load(path)
    return loaded


def build(size: int, dropout: float) -> Any:
    """The network; with dropout 0 the graph that is shipped, which has the same weights."""
    import keras

    shape = (size, size, 3)
    image = keras.Input(shape, name="image")
    base = keras.applications.MobileNetV2(
        shape, alpha=0.35, include_top=False, weights=None, input_tensor=image
    )
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = RECIPE["batch_norm_momentum"]
    x = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.Dense(len(LABELS), activation="softmax", name="probabilities")(x)
    return keras.Model(image, x, name="malaria_mobilenetv2")


def augment(pixels: Any, seed: Any) -> Any:
    """uint8 cells to varied float cells, 0 to 1, in the graph. Black stays black: outside the
    cell there is nothing."""
    import tensorflow as tf

    count, size = tf.shape(pixels)[0], pixels.shape[1]

    def draw(index: int, low: float, high: float, channels: int = 1) -> Any:
        return tf.random.stateless_uniform([count, channels], [*tf.unstack(seed), index], low, high)

    angle, zoom = draw(0, 0.0, 2 * math.pi), 1.0 / draw(1, 0.85, 1.15)
    mirror = tf.sign(draw(2, -1.0, 1.0))
    cos, sin, centre = tf.cos(angle) * zoom, tf.sin(angle) * zoom, (size - 1) / 2
    shift = centre + draw(3, -0.06 * size, 0.06 * size, 2)
    rows = [cos * mirror, -sin, sin * mirror, cos]
    dx = shift[:, :1] - centre * (rows[0] + rows[1])
    dy = shift[:, 1:] - centre * (rows[2] + rows[3])
    zero = tf.zeros_like(dx)
    x = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32) / 255.0,
        transforms=tf.concat([rows[0], rows[1], dx, rows[2], rows[3], dy, zero, zero], 1),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    gain = draw(4, 0.75, 1.25) * draw(5, 0.88, 1.12, 3)
    gamma = tf.exp(draw(6, -0.288, 0.288))
    x = tf.pow(tf.maximum(x, 1e-6), gamma[:, None, None, :]) * gain[:, None, None, :]
    blurred = tf.nn.avg_pool2d(x, 3, 1, "SAME")
    x += draw(7, -0.5, 0.9)[:, None, None, :] * (blurred - x)
    return tf.clip_by_value(x, 0.0, 1.0)


class Trainer:
    """One run: the network, its moving average, the optimizer and the step."""

    def __init__(self, size: int, epochs: int, steps: int, seed: int) -> None:
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(seed)
        self.seed, self.steps = seed, steps
        self.net, self.average = build(size, RECIPE["dropout"]), build(size, 0.0)
        self.average.set_weights(self.net.get_weights())
        top = RECIPE["learning_rate"]
        rate = keras.optimizers.schedules.CosineDecay(
            top / 50, (epochs - 1) * steps, warmup_target=top, warmup_steps=steps
        )
        self.optimizer = keras.optimizers.AdamW(rate, weight_decay=RECIPE["weight_decay"])
        variables = self.net.trainable_variables
        self.optimizer.exclude_from_weight_decay(
            [v for v in variables if v.name != "kernel" or "depthwise" in v.path]
        )
        self.optimizer.build(variables)
        self.epoch = tf.Variable(0, dtype=tf.int64)
        self.state = tf.train.Checkpoint(
            net=self.net, average=self.average, optimizer=self.optimizer, epoch=self.epoch
        )
        self.step = tf.function(self._step)
        self.predict = tf.function(
            lambda x: self.average(tf.cast(x, tf.float32) / 127.5 - 1.0, training=False)
        )

    def _step(self, pixels: Any, labels: Any, seed: Any) -> Any:
        import keras
        import tensorflow as tf

        x = augment(pixels, seed) * 2.0 - 1.0
        with tf.GradientTape() as tape:
            truth, guess = tf.one_hot(labels, len(LABELS)), self.net(x, training=True)
            losses = keras.losses.categorical_crossentropy(
                truth, guess, label_smoothing=RECIPE["label_smoothing"]
            )
            loss = tf.reduce_mean(losses)
        variables = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        done = tf.cast(self.optimizer.iterations, tf.float32)
        share = 1.0 - tf.minimum(RECIPE["average_decay"], (1.0 + done) / (10.0 + done))
        for kept, new in zip(self.average.weights, self.net.weights, strict=True):
            kept.assign_add(share * (new - kept))
        return loss

    def run_epoch(self, pixels: Pixels, labels: Ints, rows: Ints) -> float:
        import tensorflow as tf

        epoch, batch = int(self.epoch), RECIPE["batch"]
        order = np.random.default_rng([self.seed, epoch]).permutation(rows)
        total = 0.0
        for step in range(self.steps):
            pick = order[step * batch : (step + 1) * batch]
            seed = tf.constant([self.seed * 1_000_003 + epoch * self.steps + step], tf.int32)
            total += float(self.step(tf.constant(pixels[pick]), tf.constant(labels[pick]), seed))
        self.epoch.assign_add(1)
        return total / self.steps

    def scores(self, pixels: Pixels, rows: Ints) -> Floats:
        """The probability of LABELS[0] for every row, by the moving average."""
        parts = [self.predict(pixels[rows[i : i + 256]]).numpy() for i in range(0, len(rows), 256)]
        return np.concatenate(parts)[:, 0].astype(np.float64)


def train(
    args: argparse.Namespace, pixels: Pixels, labels: Ints, rows: dict[str, Ints]
) -> tuple[Trainer, list[dict[str, Any]]]:
    """Trains to the end or until patience is spent. Returns the trainer, its average holding
    the best epoch's weights, and the log."""
    import tensorflow as tf

    run = WORK / f"run-{args.size}-seed{args.seed}"
    run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args.size, args.epochs, len(rows["train"]) // RECIPE["batch"], args.seed)
    saved = tf.train.CheckpointManager(trainer.state, str(run / "state"), max_to_keep=1)
    finished: list[dict[str, str]] = []
    if args.resume and saved.latest_checkpoint:
        trainer.state.restore(saved.latest_checkpoint).assert_consumed()
        with (run / "log.csv").open(newline="") as f:
            finished = list(csv.DictReader(f))[: int(trainer.epoch)]
    log: list[dict[str, Any]] = [{k: float(v) for k, v in row.items()} for row in finished]
    infected = labels[rows["validation"]] == 0
    with (run / "log.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, LOG_COLUMNS)
        writer.writeheader()
        writer.writerows(finished)
        while int(trainer.epoch) < args.epochs:
            best = max(log, key=lambda row: float(row["val_auc"]), default=None)
            if best and len(log) - best["epoch"] >= RECIPE["patience"]:
                break
            start = time.monotonic()
            loss = trainer.run_epoch(pixels, labels, rows["train"])
            score = trainer.scores(pixels, rows["validation"])
            right = np.clip(np.where(infected, score, 1 - score), 1e-7, 1)
            accuracy, auc = float((right >= 0.5).mean()), roc_auc(infected, score)
            values = (loss, float(-np.log(right).mean()), accuracy, auc, time.monotonic() - start)
            numbers = (int(trainer.epoch), *(round(v, 5) for v in values))
            log.append(dict(zip(LOG_COLUMNS, numbers, strict=True)))
            if best is None or log[-1]["val_auc"] > best["val_auc"]:
                trainer.average.save_weights(run / "best.weights.h5")
            writer.writerow(log[-1])
            f.flush()
            saved.save()
            print(" ".join(f"{k}={v}" for k, v in log[-1].items()), flush=True)
    trainer.average.load_weights(run / "best.weights.h5")
    return trainer, log


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    data = read_dataset(args.data)
    if data.labels != LABELS or any(i.group is None for i in data.items):
        raise SystemExit(f"{args.data}: expected a patient for each image and labels {LABELS}")
    spec = Preprocess(height=args.size, width=args.size, fit="pad")
    pixels = load_pixels(data, spec)
    parts = dict(zip(PARTS, split_groups(data.items, FRACTIONS, args.seed), strict=True))
    place = {item: i for i, item in enumerate(data.items)}
    rows = {k: np.asarray([place[i] for i in v], np.int64) for k, v in parts.items()}
    labels = np.asarray([LABELS.index(str(i.label)) for i in data.items], np.int64)
    trainer, log = train(args, pixels, labels, rows)
    metrics: dict[str, Any] = {
        part: measure(
            labels[rows[part]],
            trainer.scores(pixels, rows[part]),
            [str(i.group) for i in parts[part]],
            args.seed,
        )
        for part in (PARTS[1:] if args.out else PARTS[1:2])
    }
    print(json.dumps(metrics, indent=2))
    if args.out:
        origin = f"measured: the float32 Keras model, parts as above; positive class {LABELS[0]}"
        facts = record(args, parts, log, RECIPE, trainer.average.count_params()) | {
            "metrics": {"origin": origin, **metrics}
        }
        args.out.mkdir(parents=True, exist_ok=True)
        trainer.average.save(args.out / "model.keras", include_optimizer=False)
        (args.out / "labels.txt").write_text("\n".join(LABELS) + "\n")
        (args.out / "preprocess.json").write_text(json.dumps(asdict(spec), indent=2) + "\n")
        (args.out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
