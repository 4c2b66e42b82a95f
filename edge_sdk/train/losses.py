"""What is minimised, for each kind of head, with and without a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.errors import DataError, ModelError
from edge_sdk.preprocess import Preprocess
from edge_sdk.sidecar import PreprocessOptions, resolve_labels, resolve_preprocess
from edge_sdk.train.architectures import load_keras
from edge_sdk.train.settings import Head

EPSILON = 1e-7


@dataclass(frozen=True)
class Teacher:
    """A trained Keras model, how it wants its pixels, and how long its output is."""

    model: Any
    preprocess: Preprocess
    outputs: int
    notes: tuple[str, ...]


def open_teacher(file: Path, head: Head, labels: tuple[str, ...]) -> Teacher:
    """Raises ModelError or DataError for a teacher that does not speak of the same classes."""
    model = load_keras(file)
    shape, outputs = model.inputs[0].shape, model.outputs[0].shape
    if len(shape) != 4 or shape[3] != 3 or None in shape[1:] or len(outputs) != 2:
        raise ModelError(
            f"--distil {file}: takes {shape} and gives {outputs}; expected one RGB image of a "
            "fixed size and one vector"
        )
    count = int(outputs[1])
    assumed = "none" if any("Rescaling" in type(x).__name__ for x in model.layers) else "tf"
    spec, notes = resolve_preprocess(
        file, int(shape[1]), int(shape[2]), PreprocessOptions(), assumed
    )
    if head != "embedding":
        if count != len(labels):
            raise DataError(
                f"--distil {file} tells {count} classes apart and the data has {len(labels)} "
                f"({', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}): a teacher must "
                "have the same classes; fine-tune it on this data first with edge-sdk train"
            )
        theirs = resolve_labels(file, None, count)
        if theirs is not None and theirs != labels:
            raise DataError(
                f"--distil {file} has the classes {', '.join(theirs)} and the data "
                f"{', '.join(labels)}: a teacher must have the same ones in the same order"
            )
        _refuse_logits(file, model, head)
        if theirs is None:
            notes = [*notes, f"{file}: no labels beside it; taken to be {', '.join(labels)}"]
    model.trainable = False
    return Teacher(model, spec, count, tuple(f"teacher: {n}" for n in notes))


def _refuse_logits(file: Path, model: Any, head: Head) -> None:
    """Raises ModelError when the outputs are no probabilities, as seen on an image of noise."""
    noise = np.random.default_rng(0).normal(size=(1, *model.inputs[0].shape[1:]))
    p = np.asarray(model(noise.astype(np.float32), training=False), np.float64)
    inside = np.all((p >= 0) & (p <= 1))
    if not inside or (head == "softmax" and abs(p.sum() - 1) > 0.01):
        raise ModelError(
            f"--distil {file} gives {p.min():.3g} to {p.max():.3g} with a sum of {p.sum():.3g}, "
            f"no probabilities: its last layer must be a {head}"
        )


def prepared(x: Any, spec: Preprocess) -> Any:
    """float 0..1 RGB (N, h, w, 3) to a model's input: resized if need be, normalised."""
    import tensorflow as tf

    if x.shape[1:3] != (spec.height, spec.width):
        x = tf.image.resize(x, (spec.height, spec.width), antialias=True)
    if spec.colour == "BGR":
        x = x[..., ::-1]
    mean, std = tf.constant(spec.mean, tf.float32), tf.constant(spec.std, tf.float32)
    return (x * 255.0 - mean) / std


def label_loss(head: Head, truth: Any, guess: Any, smoothing: float) -> Any:
    """(N,): cross-entropy; for a sigmoid head the mean over the classes. 0 for an embedding."""
    import tensorflow as tf

    if head == "embedding":
        return tf.zeros(tf.shape(guess)[0])
    guess = tf.clip_by_value(guess, EPSILON, 1 - EPSILON)
    if head == "sigmoid":
        truth = truth * (1 - smoothing) + smoothing / 2
        both = truth * tf.math.log(guess) + (1 - truth) * tf.math.log(1 - guess)
        return -tf.reduce_mean(both, axis=1)
    truth = truth * (1 - smoothing) + smoothing / tf.cast(tf.shape(truth)[1], tf.float32)
    return -tf.reduce_sum(truth * tf.math.log(guess), axis=1)


def teacher_loss(head: Head, taught: Any, guess: Any, temperature: float) -> Any:
    """(N,): T^2 KL(teacher || student) of the softened softmax (Hinton et al. 2015, section 2),
    the mean of the same over classes for a sigmoid, squared difference for an embedding."""
    import tensorflow as tf

    if head == "embedding":
        return tf.reduce_mean(tf.square(guess - taught), axis=1)
    guess = tf.clip_by_value(guess, EPSILON, 1 - EPSILON)
    taught = tf.clip_by_value(taught, EPSILON, 1 - EPSILON)
    if head == "sigmoid":
        soft, wanted = (
            tf.stack([tf.math.log(p), tf.math.log(1 - p)], axis=-1) / temperature
            for p in (guess, taught)
        )
    else:
        soft, wanted = (tf.math.log(p) / temperature for p in (guess, taught))
    p = tf.nn.softmax(wanted, axis=-1)
    kl = tf.reduce_sum(
        p * (tf.nn.log_softmax(wanted, axis=-1) - tf.nn.log_softmax(soft, axis=-1)), axis=-1
    )
    return temperature**2 * (tf.reduce_mean(kl, axis=1) if head == "sigmoid" else kl)
