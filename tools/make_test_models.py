"""Builds the tiny models in tests/data, so that the tests need no TensorFlow.

    python tools/make_test_models.py [folder]

Three-class classifiers of 16x16 pictures with seeded, untrained weights, in the types that the
runtimes are tested with, and one file for each kind of model that has to be refused.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.embed_metadata import embed_metadata
from edge_sdk.convert.ingest import open_model
from edge_sdk.convert.quantise import ROUNDINGS, float_tflite, integer_tflite, statistics_of
from edge_sdk.convert.schemes import SCHEMES
from edge_sdk.preprocess import Preprocess, normalise
from edge_sdk.progress import silent
from edge_sdk.quiet import quiet
from edge_sdk.train.tensorflow import import_tensorflow

SIZE = 16
LABELS = ("blank", "ring", "smear")
SPEC = Preprocess(SIZE, SIZE)
LARGEST = 20_000


def pictures(count: int = 32) -> npt.NDArray[np.uint8]:
    """Noise of many brightnesses and tints: uint8 (count, 16, 16, 3)."""
    rng = np.random.default_rng(1)
    tint = rng.integers(0, 256, (count, 1, 1, 3))
    noise = rng.integers(-60, 61, (count, SIZE, SIZE, 3))
    pixels: npt.NDArray[np.uint8] = np.clip(tint + noise, 0, 255).astype(np.uint8)
    return pixels


def samples() -> Iterator[npt.NDArray[np.float32]]:
    return (normalise(p[None], SPEC) for p in pictures())


def classifier(tf: Any) -> Any:
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    x = source = layers.Input((SIZE, SIZE, 3), name="image")
    x = layers.Conv2D(8, 3, 2, "same", activation="relu6", name="conv")(x)
    x = layers.DepthwiseConv2D(3, 1, "same", activation="relu6", name="depthwise")(x)
    x = layers.Conv2D(16, 1, activation="relu6", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(len(LABELS), activation="softmax", name="scores")(x)
    model = tf.keras.Model(source, x)
    rng = np.random.default_rng(2)
    for w in model.weights:
        # Wider than an initialiser's, so that answers differ from picture to picture.
        fan = int(np.prod(w.shape[:-1])) if w.name != "bias" else 1
        scale = 3 / np.sqrt(max(fan, 1)) if w.name != "bias" else 0.1
        w.assign(rng.normal(0, scale, w.shape).astype(np.float32))
    # Weights about the mean of what comes in: every class is the answer to a third of the pictures.
    *_, pool, scores = model.layers
    features = tf.keras.Model(source, pool.output)(normalise(pictures(), SPEC)).numpy()
    kernel = np.random.default_rng(28).normal(0, 3, (features.shape[1], len(LABELS)))
    scores.set_weights([kernel, -features.mean(axis=0) @ kernel])
    return model


def with_raw_pixels(tf: Any, saved_model: Path) -> bytes:
    """8-bit unsigned at both ends, as older models are: no metadata, raw pixels go in."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x] for x in samples())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def refused(tf: Any, model: Any) -> dict[str, bytes]:
    """Files that hold no classifier this project can run, by name."""
    layers, image = tf.keras.layers, tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32)
    free = tf.TensorSpec((1, None, None, 3), tf.float32)
    two = [layers.Input((SIZE, SIZE, 3), batch_size=1, name=n) for n in ("left", "right")]
    pooled = [layers.GlobalAveragePooling2D()(x) for x in two]
    both = tf.keras.Model(two, layers.Softmax()(layers.Add()(pooled)))
    pool = tf.function(lambda x: tf.nn.softmax(tf.reduce_mean(x, (1, 2))))
    window = layers.AveragePooling2D(4)
    maps = tf.function(lambda x: tf.concat([window(x)] * 3, 3)[..., :8])
    call = tf.function(lambda x: model(x, training=False))

    def of(function: Any, spec: Any, owner: Any = None) -> bytes:
        concrete = function.get_concrete_function(spec)
        owners = () if owner is None else (owner,)
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], *owners).convert())

    return {
        "two-inputs": bytes(tf.lite.TFLiteConverter.from_keras_model(both).convert()),
        "dynamic": of(pool, free, tf.Module()),
        "no-classifier": of(maps, image, tf.Module()),
        # Handed over beside its function, a Keras 3 model leaves variables that nothing fills.
        "variables": of(call, image, model),
    }


def build(folder: Path) -> dict[str, bytes]:
    tf = import_tensorflow()
    keras = folder / "tiny.keras"
    model = classifier(tf)
    model.save(keras)
    with open_model(keras, folder) as trained:
        plain = folder / "float32.tflite"
        plain.write_bytes(float_tflite(trained))
        statistics = statistics_of(plain, samples())
        raw = {"float32": plain.read_bytes()}
        for scheme in ("int8", "w4a8"):
            raw[scheme] = integer_tflite(
                plain, SCHEMES[scheme], ROUNDINGS[0], statistics, SPEC, samples, silent
            )
        made = {
            f"tiny-{scheme}": embed_metadata(
                model_bytes,
                name=f"tiny-{scheme}",
                description="untrained test model",
                labels=LABELS,
                preprocess=SPEC,
            )
            for scheme, model_bytes in raw.items()
        }
        assert trained.saved_model is not None
        with quiet("the other models"):
            made["tiny-uint8"] = with_raw_pixels(tf, trained.saved_model)
            made |= refused(tf, model)
    return made


def main() -> None:
    default = Path(__file__).parents[1] / "tests" / "data"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = build(Path(folder))
    for name, data in made.items():
        if len(data) > LARGEST:
            raise SystemExit(f"{name}: {len(data)} bytes, more than {LARGEST}")
        (target / f"{name}.tflite").write_bytes(data)
        print(f"{name}.tflite  {len(data):,} bytes")


if __name__ == "__main__":
    main()
