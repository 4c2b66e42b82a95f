"""Training with the errors of a compute-in-memory chip: their size, their gradients, a training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edge_sdk.backends.cim.cells import Draws, only
from edge_sdk.backends.cim.profile import load_cim_profile
from edge_sdk.integer_model import read_integer_model
from edge_sdk.simulate import write_cells
from edge_sdk.train.chip_noise import NoisyCells
from edge_sdk.train.fake_quant import fake_quantised, qat_scheme
from edge_sdk.train.pipeline import train
from edge_sdk.train.settings import ChipNoise, Recipe, TrainRequest
from edge_sdk.train.tensorflow import import_tensorflow

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
FIVE_DAYS = 5 * 86400.0
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def keras():
    import_tensorflow()
    import keras

    return keras


def two_sided(*errors):
    """Pairs that move from the middle never reach 0, so that an error stays normal."""
    profile = only(load_cim_profile("cim-nor-generic"), *errors)
    return replace(profile, cells=replace(profile.cells, sides=2))


@pytest.mark.parametrize("name", ["cim-nor-generic", "cim-hermes-pcm", "cim-tsinghua-reram"])
@pytest.mark.parametrize("bits", [4, 8])
def test_tensors_get_the_errors_that_arrays_get(keras, name, bits):
    profile = load_cim_profile(name)
    errors = replace(profile.errors, stuck_on=0.05, stuck_off=0.05)
    cells = NoisyCells(replace(profile, errors=errors), FIVE_DAYS, bits)
    places = RNG.integers(0, 2 * cells.top + 1, (30, 20)).astype(np.int32)
    found = []
    for xp, as_own in ((np, np.asarray), (keras.ops, keras.ops.convert_to_tensor)):
        rng = np.random.default_rng(5)

        def draw(rng=rng, as_own=as_own):
            a, b = rng.standard_normal((2, 30, 20), dtype=np.float32)
            return Draws(as_own(a), as_own(b), as_own(rng.random((30, 20), dtype=np.float32)))

        levels, variance = cells.now(as_own(places), draw, xp)
        found.append((np.asarray(levels), np.broadcast_to(np.asarray(variance), (30, 20))))
    np.testing.assert_allclose(*(f[0] for f in found), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(*(f[1] for f in found), rtol=1e-4, atol=1e-9)
    assert (found[0][0] != places - cells.top).mean() > 0.8


def one_layer(keras, layer, chip, shape=(6, 6, 8)):
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    # A first layer in front, so that the tried one is neither first nor last.
    return fake_quantised(model, qat_scheme("w4a8", "min-max"), chip, FIVE_DAYS)


def deviation(net, x, calls):
    """Over calls, of every output; and the mean."""
    found = np.stack([net(x, training=True).numpy() for _ in range(calls)])
    return found.std(axis=0), found.mean(axis=0)


def test_programming_error_has_the_profiles_deviation(keras):
    layer = keras.layers.Dense(300, use_bias=False)
    net = one_layer(keras, layer, two_sided("programming"), (50,))
    x = RNG.uniform(0, 1, (1, 50)).astype(np.float32)
    step = net.layers[-1].levels()[1]  # a level of a channel
    # 8 bits on 4-bit pairs: two slices of 0 to 15, the upper one worth 16. Each cell has 2.16 % of
    # its range at five days, and a pair two of them.
    per_weight = 0.0216 * np.sqrt(2) * 15 * np.sqrt(1 + 16**2)
    expected = per_weight * np.sqrt(np.square(x).sum()) * step
    found, mean = deviation(net, x, 300)
    assert np.mean(found[0] / expected) == pytest.approx(1, rel=0.02)
    plain = x @ layer.kernel.numpy()
    assert np.abs(mean - plain).max() < 0.5 * expected.max() + 0.02


@pytest.mark.parametrize("kind", ["convolution", "depthwise"])
def test_read_noise_has_the_variance_of_its_reads(keras, kind):
    options = {"padding": "same", "use_bias": False}
    profile = two_sided("read")
    if kind == "depthwise":
        profile = replace(profile, layers=replace(profile.layers, depthwise="packed"))
        layer, bits = keras.layers.DepthwiseConv2D(3, **options), 8
    else:
        layer, bits = keras.layers.Conv2D(40, 3, **options), 8
    net = one_layer(keras, layer, profile)
    x = RNG.uniform(0, 1, (1, 6, 6, 8)).astype(np.float32)
    assert net.layers[-1].bits == bits
    step = net.layers[-1].levels()[1]
    padded = np.pad(np.square(x[0]), ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1)).sum((-1, -2))
    if kind == "convolution":
        windows = windows.sum(-1, keepdims=True)
    expected = 0.0079 * np.sqrt(2) * 15 * np.sqrt(1 + 16**2) * np.sqrt(windows) * step
    found, _ = deviation(net, x, 400)
    assert np.mean(found[0] / expected) == pytest.approx(1, rel=0.02)
    assert np.std(found[0] / expected) < 0.06  # place by place


def test_a_table_of_spreads_gives_each_weight_its_own_read_noise(keras):
    profile = two_sided("read")
    table = replace(profile.errors.read, g=(0.0, 1.0), sigma=((0.0, 0.02),))
    profile = replace(profile, errors=replace(profile.errors, read=table))
    net = one_layer(keras, keras.layers.Dense(300, use_bias=False), profile, (50,))
    x = RNG.uniform(0, 1, (1, 50)).astype(np.float32)
    levels, step = net.layers[-1].levels()
    cells = net.layers[-1].cells
    _, variance = cells.now(levels.astype(int) + cells.top, lambda: Draws(0.0, 0.0, 0.5), np)
    expected = np.sqrt(np.square(x) @ variance) * step
    found, _ = deviation(net, x, 300)
    assert np.mean(found[0] / expected) == pytest.approx(1, rel=0.02)


def test_gradients_go_straight_through(keras):
    import tensorflow as tf

    x = tf.constant(RNG.normal(size=(4, 6, 6, 8)).astype(np.float32))
    found = []
    layer = keras.layers.Conv2D(5, 3, use_bias=False)
    for chip in (None, load_cim_profile("cim-nor-generic")):
        net = one_layer(keras, layer, chip)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(net(x, training=True))
        found.append((float(total), tape.gradient(total, net.trainable_variables)[0].numpy()))
    assert found[0][0] != found[1][0]
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
    assert np.abs(found[1][1]).max() > 0


def test_depthwise_layers_are_digital_where_the_profile_says_so(keras):
    layer = keras.layers.DepthwiseConv2D(3, use_bias=False)
    profile = load_cim_profile("cim-nor-generic")
    assert one_layer(keras, layer, profile).layers[-1].cells is None
    packed = replace(profile, layers=replace(profile.layers, depthwise="packed"))
    assert one_layer(keras, layer, packed).layers[-1].cells is not None


def test_batch_norm_keeps_its_statistics_out_of_the_batch(keras):
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, keras.layers.BatchNormalization(momentum=0.9, epsilon=0.0)(x))
    net = fake_quantised(model, qat_scheme("w4a8"), load_cim_profile("cim-nor-generic"))
    batch = RNG.normal(5, 2, (8, 4, 4, 3)).astype(np.float32)
    # As before the first batch: mean 0, variance 1.
    np.testing.assert_allclose(net(batch, training=True), batch, rtol=1e-5)
    norm = net.layers[-1]
    mean = batch.mean((0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * batch.var((0, 1, 2)), rtol=1e-4)
    net(batch, training=False)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, rtol=1e-4)


@pytest.mark.parametrize("scheme", ["w4a8", "w4a4"])
def test_a_training_on_a_chip(keras, tmp_path, scheme):
    data = write_cells(tmp_path / "cells", 120, seed=3)
    x = keras.Input((32, 32, 3))
    y = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(y))
    y = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(y))
    y = keras.layers.Conv2D(16, 1, use_bias=False)(y)
    y = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(y))
    y = keras.layers.GlobalAveragePooling2D()(y)
    y = keras.layers.Dense(2, activation="softmax")(y)
    keras.Model(x, y).save(tmp_path / "model.keras")
    request = TrainRequest(
        data, tmp_path / "out", qat=scheme, start=tmp_path / "model.keras",
        recipe=Recipe(epochs=2, batch=16), chip=ChipNoise("cim-nor-generic", FIVE_DAYS),
    )  # fmt: skip
    found = train(request)
    record = json.loads((found.path / "training.json").read_text())
    assert record["settings"]["chip"] == {"profile": "cim-nor-generic", "time_s": FIVE_DAYS}
    assert "errors of cim-nor-generic 432000 s after" in record["metrics"]["origin"]
    assert all(np.isfinite(row.validation_loss) for row in found.log)
    kept = max(found.log, key=lambda row: (row.score, -row.validation_loss))
    # Judged in the end on the very chips that the epoch was chosen on.
    judged = record["metrics"]["validation"]["figures"]["roc_auc"]
    assert judged == pytest.approx(kept.validation_auc, abs=1e-6)
    again = train(replace(request, out=tmp_path / "again"))
    assert [row.train_loss for row in again.log] == pytest.approx(
        [row.train_loss for row in found.log], rel=1e-4
    )
    # What is written is an ordinary model without errors.
    plain = keras.models.load_model(found.path / "model.keras")
    image = RNG.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(plain(image), plain(image))
    if scheme == "w4a4":
        assert read_integer_model(found.path / "integer-model").labels
