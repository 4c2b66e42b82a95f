"""AlexNet, VGG16 and ResNet-18 for 32x32 images, and what they need of the integer-only network:
max pooling, dense layers inside, projected shortcuts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.errors import ModelError, UsageError
from edge_sdk.integer_model import (
    Convolution,
    MaxPool,
    Requantise,
    Sum,
    read_integer_model,
    run,
    tensors,
)
from edge_sdk.preprocess import Preprocess, normalise
from edge_sdk.train import architectures
from edge_sdk.train.cifar_networks import CIFAR
from edge_sdk.train.export_integer import to_integer
from edge_sdk.train.fake_quant import calibrate_activations, fake_quantised, qat_scheme
from edge_sdk.train.pipeline import train
from edge_sdk.train.settings import Recipe, TrainRequest
from edge_sdk.train.tensorflow import import_tensorflow

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras reads its own variables in a way that NumPy 2 warns of.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SCHEME = qat_scheme("w4a4", "dynamic")


@pytest.fixture(scope="module")
def keras():
    import_tensorflow()
    import keras

    return keras


def request(arch: str, alpha: float = 1.0, size: int = 32, weights: str = "none") -> TrainRequest:
    return TrainRequest(
        Path("d"), Path("o"), arch=arch, alpha=alpha, size=size, weights=weights,
        strategy="scratch" if weights == "none" else "full",
    )  # fmt: skip


def blotches(count: int, size: int) -> np.ndarray:
    """Drawn pixels in blocks of four: neighbours alike, as in a photograph."""
    drawn = np.random.default_rng(5).integers(0, 256, (count, size // 4, size // 4, 3))
    return np.kron(drawn, np.ones((1, 4, 4, 1))).astype(np.uint8)


def settled(keras: Any, model: Any, x: Any) -> Any:
    """The model with batch norms of signs, shifts and spreads of their own that fit x."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.momentum = 0.3
            layer.gamma.assign(rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n, p=[0.2, 0.8]))
            layer.beta.assign(rng.normal(0.2, 0.3, n))
    for _ in range(12):
        model(x, training=True)
    return model


def compare(net: Any, preprocess: Preprocess, pixels: np.ndarray) -> dict[str, float]:
    """Of every layer with a rounded input the share of a level by which the integer network's
    input differs on average; every level must be used."""
    import keras

    model = to_integer(net, preprocess)
    levels, grids = tensors(model, pixels), model.grids()
    quantisers = [y for y in net.layers if type(y).__name__ == "RoundedActivation"]
    probe = keras.Model(net.inputs[0], [q.output for q in quantisers])
    found = {}
    for quantiser, value in zip(quantisers, probe(normalise(pixels, preprocess)), strict=True):
        reader = quantiser.name.removesuffix("_input")
        source = next(y.input for y in model.layers if y.name == reader)
        got = levels[source].astype(int)
        want = np.round(np.asarray(value) / grids[source].scale).reshape(got.shape)
        assert len(np.unique(got)) >= 7, f"{reader} sees hardly a level"
        found[reader] = float(np.abs(want - got).mean())
    return found


@pytest.mark.parametrize("arch", CIFAR)
def test_the_integer_network_has_the_rounded_nets_levels(keras, arch) -> None:
    """Exact without additions. ResNet adds on a wide grid, where the last bit of float32 turns a
    level in ten thousand, which then turns others: the first block shows the arithmetic."""
    keras.utils.set_random_seed(3)
    pixels, preprocess = blotches(16, 32), Preprocess(32, 32)
    x = normalise(pixels, preprocess)
    net = fake_quantised(
        settled(keras, architectures.build(request(arch, 0.125), 10, 0.1, "none"), x), SCHEME
    )
    calibrate_activations(net, [x])
    differences = compare(net, preprocess, pixels)
    if arch == "resnet18-cifar":
        assert max(list(differences.values())[:5]) < 0.002
        assert max(differences.values()) < 0.1
    else:
        assert max(differences.values()) < 1e-4
    want, got = np.asarray(net(x)), run(to_integer(net, preprocess), pixels)
    if arch == "resnet18-cifar":
        assert np.abs(want - got).mean() < 0.005
    else:
        assert np.abs(want - got).max() < 1e-4
    assert want.std(axis=0).max() > 0.01, "answers that are all alike show nothing"
    model = to_integer(net, preprocess)
    bits = [layer.weight_bits for layer in model.layers if isinstance(layer, Convolution)]
    assert bits == [8] + [4] * (len(bits) - 1)
    assert model.layers[-1].weight_bits == 8
    count = {kind: sum(type(y) is kind for y in model.layers) for kind in (MaxPool, Sum)}
    assert count == {
        "alexnet-cifar": {MaxPool: 3, Sum: 0},
        "vgg16-cifar": {MaxPool: 5, Sum: 0},
        "resnet18-cifar": {MaxPool: 0, Sum: 8},
    }[arch]  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "convolutions", "dense", "parameters"),
    [
        # By hand: kernels, two numbers a channel of batch norm, and a bias for each class.
        ("alexnet-cifar", 5, 3, 7_509_962),
        ("vgg16-cifar", 13, 3, 15_250_378),
        ("resnet18-cifar", 20, 1, 11_173_962),
    ],
)
def test_they_are_as_large_as_their_papers_layers(
    keras, arch, convolutions, dense, parameters
) -> None:
    model = architectures.build(request(arch), 10, 0.0, "none")
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras.layers.Conv2D) == convolutions
    assert kinds.count(keras.layers.Dense) == dense
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == parameters
    narrow = architectures.build(request(arch, 0.25), 10, 0.0, "none")
    assert narrow.layers[1].kernel.shape[-1] == 16
    learning = architectures.build(request(arch, 0.25), 10, 0.2, "none")
    assert [w.shape for w in learning.weights] == [w.shape for w in narrow.weights]


def test_what_they_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="--size 16: vgg16-cifar needs at least 32"):
        architectures.build(request("vgg16-cifar", size=16), 10, 0.0, "none")
    with pytest.raises(UsageError, match="--arch resnet18-cifar has no ImageNet weights"):
        architectures.build(request("resnet18-cifar", weights="imagenet"), 10, 0.0, "imagenet")


def pooled_nets(keras: Any) -> dict[str, Any]:
    """Small nets that pool in other ways than the three do."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(image)))
    pooled = layers.MaxPooling2D(3, strides=2, name="pooled")(x)  # 14 to 6
    by_pool = layers.Conv2D(6, 3, name="by_pool")(pooled)
    by_map = layers.Conv2D(6, 5, strides=3, name="by_map")(x)
    summed = layers.MaxPooling2D(2, name="of_sum")(layers.ReLU()(layers.Add()([by_pool, by_map])))
    average = layers.GlobalAveragePooling2D(name="average")(pooled)
    ends = {
        "dense": layers.Dense(12, "relu", name="inside")(layers.Flatten()(pooled)),
        "average": layers.Dense(9, "relu", name="inside")(average),
        "sum": layers.Flatten()(summed),
    }
    return {
        name: keras.Model(image, layers.Dense(4, "softmax")(x), name=name)
        for name, x in ends.items()
    }


@pytest.mark.parametrize(
    ("name", "wide", "requantised"),
    [
        ("dense", False, 0),
        ("average", True, 0),
        # The map is read by a pooling and by a convolution, the pooled sum by a dense layer.
        ("sum", True, 3),
    ],
)
def test_a_pooling_writes_on_the_grid_it_reads(keras, name, wide, requantised) -> None:
    """4 bits where one layer reads it; wide where it is averaged, added or read twice."""
    keras.utils.set_random_seed(7)
    pixels, preprocess = blotches(24, 16), Preprocess(16, 16)
    x = normalise(pixels, preprocess)
    model = settled(keras, pooled_nets(keras)[name], x)
    net = fake_quantised(model, SCHEME)
    calibrate_activations(net, [x])
    integer = to_integer(net, preprocess)
    grids = integer.grids()
    assert (grids["pooled"].bits == 24) == wide
    assert sum(isinstance(y, Requantise) for y in integer.layers) == requantised
    assert max(compare(net, preprocess, pixels).values()) < 0.002
    assert np.abs(np.asarray(net(x)) - run(integer, pixels)).max() < 0.01


def test_poolings_without_an_integer_form_are_refused(keras) -> None:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="first")(image)
    pooled = layers.MaxPooling2D(name="pool")(layers.ReLU()(x))
    refused = {
        "padding must be valid": layers.MaxPooling2D(padding="same")(x),
        "put it before": layers.ReLU()(layers.MaxPooling2D()(x)),
        "must read the output of a layer with weights": layers.MaxPooling2D()(pooled),
        "has no integer form": layers.BatchNormalization()(layers.Flatten()(x)),
        "must read flat features": layers.Dense(4, "relu")(pooled),
        "no integer form where it stands": layers.Flatten()(
            layers.ZeroPadding2D(name="padded")(pooled)
        ),
    }
    for message, y in refused.items():
        flat = y if len(y.shape) == 2 else layers.Flatten()(y)
        model = keras.Model(image, layers.Dense(2)(flat))
        with pytest.raises(ModelError, match=message):
            to_integer(fake_quantised(model, SCHEME), Preprocess(8, 8))


def test_a_crop_moves_by_whole_pixels_and_mirrors() -> None:
    """Every copy is the picture, perhaps mirrored, moved by up to four pixels into black."""
    import tensorflow as tf

    from edge_sdk.train.augment import augment, augmentation_named

    picture = np.random.default_rng(0).integers(1, 256, (9, 9, 3)).astype(np.uint8)
    copies = augment(
        tf.constant(np.repeat(picture[None], 400, axis=0)),
        tf.constant([3], tf.int32),
        augmentation_named("cifar"),
    )
    sources = [np.pad(p, ((4, 4), (4, 4), (0, 0))) for p in (picture, picture[:, ::-1])]
    seen = set()
    for copy in np.round(np.asarray(copies) * 255).astype(int):
        places = [
            (mirrored, y, x)
            for mirrored, source in enumerate(sources)
            for y, x in np.ndindex(9, 9)
            if np.array_equal(copy, source[y : y + 9, x : x + 9])
        ]
        assert len(places) == 1
        seen.update(places)
    assert {m for m, _, _ in seen} == {0, 1}
    assert {y for _, y, _ in seen} == {x for _, _, x in seen} == set(range(9))


def test_a_trained_model_learns_on_in_float_and_at_4_bits(cells: Path, tmp_path: Path) -> None:
    """Both begin where the float training ended; the integer network is written and read."""
    recipe = Recipe(epochs=2, batch=16, dropout=0.0, augmentation="cifar", patience=2)
    common: dict[str, Any] = {"data": cells, "size": 32, "strategy": "full"}
    train(
        TrainRequest(
            out=tmp_path / "float", arch="alexnet-cifar", alpha=0.1, weights="none",
            recipe=recipe, **common,
        )
    )  # fmt: skip
    start = tmp_path / "float" / "model.keras"
    still = replace(recipe, epochs=1, learning_rate=1e-9)
    on = {**common, "start": start, "weights": "none", "recipe": still}
    same = train(TrainRequest(out=tmp_path / "on", **on))
    old, new = (architectures.load_keras(p / "model.keras") for p in (start.parent, same.path))
    for a, b in zip(old.trainable_weights, new.trainable_weights, strict=True):
        assert np.allclose(a, b, atol=1e-6)
    rounded = train(TrainRequest(out=tmp_path / "w4a4", qat="w4a4", thresholds="dynamic", **on))
    kept = read_integer_model(rounded.path / "integer-model")
    assert list(kept.labels) == rounded.record["data"]["labels"]
    counted = rounded.record["metrics"]["integer"]["test"]["confusion"]["counts"]
    assert np.sum(counted) == np.sum(rounded.record["metrics"]["test"]["confusion"]["counts"])
