"""Writes one small model for each form of source, good and bad, into the folder given.

Run in a process of its own, so that the tests' process never loads TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def net(last, inputs=None):
    x = inputs = keras.Input((32, 32, 3)) if inputs is None else inputs
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Conv2D(24, 1)(x)
    return keras.Model(inputs, last(x))


def head(x, activation="softmax"):
    spread = keras.initializers.RandomNormal(stddev=3.0, seed=2)
    x = layers.GlobalAveragePooling2D()(x)
    dense = layers.Dense(2, activation, kernel_initializer=spread, bias_initializer="ones")
    return dense(x)


class OtherSignature(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
    def other(self, x):
        return x


def main(out: Path) -> None:
    keras.utils.set_random_seed(5)
    good = net(head)
    good.save(out / "good.keras")
    good.save(out / "good.h5")
    good.export(str(out / "good_saved_model"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.Model(fixed := keras.Input((32, 32, 3), batch_size=1), good(fixed))
    )
    (out / "good_float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.ones((1, 32, 32, 3), np.float32)] for _ in "ab")
    (out / "weights_quantised.tflite").write_bytes(converter.convert())
    net(lambda x: head(x, None)).save(out / "logits.keras")
    raw = keras.Input((32, 32, 3))
    keras.Model(raw, good(layers.Rescaling(1 / 127.5, -1.0)(raw))).save(out / "rescaling.keras")
    net(lambda x: x).save(out / "no_classifier.keras")
    net(head, keras.Input((None, None, 3))).save(out / "dynamic.keras")
    a, b = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    keras.Model([a, b], good(layers.Add()([a, b]))).save(out / "two_inputs.keras")

    weights = good.get_weights()
    weights[0][:] = np.nan
    bad = net(head)
    bad.set_weights(weights)
    bad.save(out / "nan.keras")

    # Two classes closer to each other than an int8 score can tell.
    undecided = net(head)
    kernel, bias = undecided.layers[-1].get_weights()
    undecided.layers[-1].set_weights([kernel / 30, bias])
    undecided.save(out / "undecided.keras")

    module = OtherSignature()
    tf.saved_model.save(module, str(out / "no_signature"), signatures={"other": module.other})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
