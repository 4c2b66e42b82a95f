"""MobileNets with random weights, to be timed: a latency does not depend on what was learnt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.quiet import quiet
from edge_sdk.train.tensorflow import import_tensorflow

CLASSES = 1001
_FAMILIES = {"mobilenet_v1": "MobileNet", "mobilenet_v2": "MobileNetV2"}
_DTYPES = ("float32", "int8")


def untrained_tflite(arch: str, alpha: float, size: int, dtype: str) -> bytes:
    """keras.applications' MobileNet as a .tflite, CLASSES outputs; dtype float32 or int8 (weights
    and activations, ranges from random pictures). Raises UsageError for another name."""
    if arch not in _FAMILIES:
        raise UsageError(unknown_name("architecture", arch, _FAMILIES))
    if dtype not in _DTYPES:
        raise UsageError(unknown_name("dtype", dtype, _DTYPES))
    tf = import_tensorflow()
    with quiet(f"building {arch} {alpha:g} {size}"):
        tf.keras.utils.set_random_seed(0)
        make = getattr(tf.keras.applications, _FAMILIES[arch])
        image = tf.keras.Input((size, size, 3), batch_size=1)
        net: Any = make(input_tensor=image, alpha=alpha, weights=None, classes=CLASSES)
        converter = tf.lite.TFLiteConverter.from_keras_model(net)
        if dtype == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _pictures(size)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _pictures(size: int) -> Iterator[list[Any]]:
    rng = np.random.default_rng(0)
    for _ in range(2):
        yield [rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32)]
