"""Networks by name, their weights and pixels, what is minimised, and augmentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.errors import ModelError, UsageError
from edge_sdk.preprocess import Preprocess
from edge_sdk.train import architectures, loop
from edge_sdk.train.augment import Augmentation, augmentation_named
from edge_sdk.train.loop import Task, Trainer
from edge_sdk.train.losses import label_loss, teacher_loss
from edge_sdk.train.settings import Recipe, TrainRequest
from edge_sdk.zoo import default_model

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras' own, under NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]


@pytest.mark.parametrize("arch", ["mobilenet_v1", "mobilenet_v2"])
def test_depthwise_kernels_do_not_decay(arch: str) -> None:
    import keras
    import tensorflow as tf

    request = TrainRequest(
        Path("d"), Path("o"), arch=arch, alpha=0.35, size=32, weights="none", strategy="scratch"
    )
    net = architectures.build(request, 2, 0.0, "none")
    for v in net.trainable_variables:
        v.assign(tf.ones(v.shape))
    zeros = np.zeros((4, 32, 32, 3), np.uint8)
    rows = np.arange(4)
    task = Task("softmax", Preprocess(32, 32), zeros, np.eye(4, 2, dtype=np.float32),
                np.ones(4, np.float32), rows, rows, augmentation_named("none"))  # fmt: skip
    trainer = Trainer(net, net, task, Recipe(weight_decay=0.5), 0, None)
    variables = net.trainable_variables
    trainer.optimizer.apply_gradients([(tf.zeros(v.shape), v) for v in variables])
    decayed = {v.path for v in variables if float(tf.reduce_max(v)) < 1}
    full = (keras.layers.Conv2D, keras.layers.Dense)
    expected = {layer.kernel.path for layer in net.layers if isinstance(layer, full)}
    depthwise = [x for x in net.layers if isinstance(x, keras.layers.DepthwiseConv2D)]
    assert len(depthwise) in (13, 17)
    assert decayed == expected
    assert len(expected) in (15, 36)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    def built(arch: str, weights: Path, size: int = 32) -> Any:
        request = TrainRequest(Path("d"), tmp_path, arch=arch, size=size, weights=str(weights))
        return architectures.build(request, 2, 0.0, request.weights)

    with pytest.raises(ModelError, match=r"fits 0% of .*of another network"):
        built("basic-cnn", default_model())
    with pytest.raises(ModelError, match="does not exist: give a file, imagenet or none"):
        built("basic-cnn", tmp_path / "no.keras")
    (tmp_path / "x.weights.h5").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"loading the weights .* failed"):
        built("basic-cnn", tmp_path / "x.weights.h5")
    cnn = architectures.build(
        TrainRequest(Path("d"), tmp_path, arch="basic-cnn", size=8, weights="none"), 5, 0.0, "none"
    )
    cnn.save(tmp_path / "cnn.keras")
    again = built("basic-cnn", tmp_path / "cnn.keras", 8)
    kernels = [m.get_layer("conv2").get_weights()[0] for m in (cnn, again)]
    np.testing.assert_array_equal(*kernels)
    with pytest.raises(UsageError, match="basic-cnn has no ImageNet weights"):
        built("basic-cnn", Path("imagenet"))


def test_every_backbone_gets_the_pixels_that_its_weights_want() -> None:
    import keras

    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    names = architectures.backbones()
    assert {"vgg19", "resnet50", "resnet50v2", "mobilenetv3small", "densenet121"} <= set(names)
    for arch, (module, _) in names.items():
        spec = architectures.preprocess_for(TrainRequest(Path("d"), Path("o"), arch=arch))
        found = pixels[..., ::-1] if spec.colour == "BGR" else pixels
        found = (found - np.array(spec.mean)) / np.array(spec.std)
        theirs = getattr(keras.applications, module).preprocess_input(pixels.copy())
        np.testing.assert_allclose(found, theirs, atol=1e-4, err_msg=arch)


def test_a_backbone_of_keras_is_built_by_name(tmp_path: Path) -> None:
    request = TrainRequest(
        Path("d"), tmp_path, arch="mobilenetv3small", size=32, weights="none", strategy="scratch"
    )
    net = architectures.build(request, 4, 0.2, "none")
    assert net.output.shape == (None, 4)
    for arch, message in (
        ("vgg91", "unknown --arch 'vgg91'. Did you mean vgg19"),
        ("MobileNet_v2", "Did you mean mobilenet_v2"),
    ):
        with pytest.raises(UsageError, match=message):
            architectures.check_arch(replace(request, arch=arch))
    with pytest.raises(UsageError, match="vgg16 has no width multiplier"):
        architectures.build(replace(request, arch="vgg16", alpha=0.5), 2, 0.0, "none")
    with pytest.raises(ModelError, match=r"building vgg16 failed: .*32"):
        architectures.build(replace(request, arch="vgg16", size=16), 2, 0.0, "none")


def test_losses_agree_with_their_formulas() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet([1] * 4, 5), rng.dirichlet([1] * 4, 5)
    truth = np.eye(4)[[0, 1, 2, 3, 0]]
    f32 = [a.astype(np.float32) for a in (truth, p, q)]
    smooth = truth * 0.9 + 0.1 / 4
    expected = -(smooth * np.log(p)).sum(axis=1)
    np.testing.assert_allclose(label_loss("softmax", f32[0], f32[1], 0.1), expected, rtol=1e-4)
    smooth = truth * 0.9 + 0.05
    expected = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).mean(axis=1)
    np.testing.assert_allclose(label_loss("sigmoid", f32[0], f32[1], 0.1), expected, rtol=1e-4)
    soft = [a**0.5 / (a**0.5).sum(axis=1, keepdims=True) for a in (p, q)]  # T = 2
    expected = 4 * (soft[0] * np.log(soft[0] / soft[1])).sum(axis=1)
    np.testing.assert_allclose(teacher_loss("softmax", f32[1], f32[2], 2.0), expected, rtol=1e-3)
    sides = [np.stack([a, 1 - a], -1) ** 0.5 for a in (p, q)]
    sides = [a / a.sum(axis=-1, keepdims=True) for a in sides]
    expected = 4 * (sides[0] * np.log(sides[0] / sides[1])).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(teacher_loss("sigmoid", f32[1], f32[2], 2.0), expected, rtol=1e-3)
    expected = ((p - q) ** 2).mean(axis=1)
    np.testing.assert_allclose(teacher_loss("embedding", f32[1], f32[2], 2.0), expected, rtol=1e-4)


def test_augmentations_move_and_colour_without_leaving_the_range() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (64, 16, 16, 3), np.uint8)
    seed = tf.constant([5], tf.int32)
    plain = loop.augment(pixels, seed, augmentation_named("none")).numpy()
    np.testing.assert_array_equal(plain, (pixels / np.float32(255)).astype(np.float32))
    mirrored = loop.augment(pixels, seed, Augmentation(mirror=True)).numpy()
    turned = [np.allclose(a, b[:, ::-1], atol=1e-4) for a, b in zip(mirrored, plain, strict=True)]
    same = [np.allclose(a, b, atol=1e-4) for a, b in zip(mirrored, plain, strict=True)]
    assert all(a != b for a, b in zip(turned, same, strict=True))
    assert 16 < sum(turned) < 48
    for name in ("photo", "cells"):
        x = loop.augment(pixels, seed, augmentation_named(name)).numpy()
        assert (x.min() >= 0, x.max() <= 1, np.isfinite(x).all()) == (True, True, True)
        again = loop.augment(pixels, seed, augmentation_named(name)).numpy()
        np.testing.assert_array_equal(x, again)
        other = loop.augment(pixels, tf.constant([6]), augmentation_named(name)).numpy()
        assert (other != x).any()
