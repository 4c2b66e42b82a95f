"""Training with rounded kernels and inputs, and what becomes of it: a plain Keras model on its
grid that converts without a change, or an integer-only network that answers the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_sdk.errors import ModelError, UsageError
from edge_sdk.integer_model import run, tensors
from edge_sdk.preprocess import NORMALISATIONS, Preprocess, normalise
from edge_sdk.simulate import write_cells
from edge_sdk.tflite_file import read_tflite
from edge_sdk.train.export_integer import to_integer
from edge_sdk.train.fake_quant import (
    THRESHOLDS,
    activation_clips,
    best_clip,
    calibrate_activations,
    fake_quantised,
    qat_scheme,
    snapped,
    update_thresholds,
)
from edge_sdk.train.tensorflow import import_tensorflow

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras reads its own variables in a way that NumPy 2 warns of.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SIZE = 32
PREPROCESS = Preprocess(SIZE, SIZE)


@pytest.fixture(scope="module")
def keras():
    import_tensorflow()
    import keras

    return keras


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """240 drawn cells: uint8 (N, 32, 32, 3) and their classes."""
    from PIL import Image

    from edge_sdk.dataset import read_dataset
    from edge_sdk.preprocess import fit_image

    folder = write_cells(tmp_path_factory.mktemp("drawn") / "cells", 240, seed=1)
    items = read_dataset(folder).items
    pixels = np.stack([fit_image(Image.open(i.path), PREPROCESS) for i in items])
    names = sorted({i.label for i in items})
    return pixels, np.array([names.index(i.label) for i in items])


def _vary_norms(keras, model, seed):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n, p=[0.2, 0.8]))
            layer.beta.assign(rng.normal(0.2, 0.3, n))


def mobilenet(keras, seed=0):
    """MobileNet V2 0.35 whose batch norms have signs, shifts and spreads of their own."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    model = keras.applications.MobileNetV2(
        input_tensor=image, alpha=0.35, weights=None, classes=2, pooling="avg"
    )
    _vary_norms(keras, model, seed)
    return keras.Model(image, model.outputs[0])


def bottlenecks(keras):
    """A stem and three inverted residuals, two of them added: MobileNet V2 as short as it gets."""
    keras.utils.set_random_seed(2)
    layers = keras.layers

    def normed(x, relu=True):
        x = layers.BatchNormalization(momentum=0.7)(x)  # few steps: its averages must follow
        return layers.ReLU(6.0)(x) if relu else x

    image = keras.Input((SIZE, SIZE, 3))
    x = normed(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image))
    for stride in (2, 1, 1):
        before = x
        x = normed(layers.Conv2D(24, 1, use_bias=False)(x))
        if stride == 2:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        padding = "valid" if stride == 2 else "same"
        x = layers.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False)(x)
        x = normed(layers.Conv2D(8, 1, use_bias=False)(normed(x)), relu=False)
        x = x if stride == 2 else layers.Add()([before, x])
    x = layers.GlobalAveragePooling2D()(normed(layers.Conv2D(32, 1, use_bias=False)(x)))
    return keras.Model(image, layers.Dense(2, "softmax")(x))


def small(keras, preprocess=PREPROCESS):
    """A plain CNN, a Sequential: activations and biases inside its convolutions."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    spread = keras.initializers.RandomUniform(0.5, 1.5, seed=1)  # no bias on a tie between levels
    return keras.Sequential(
        [
            layers.Input((preprocess.height, preprocess.width, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.ZeroPadding2D(((1, 0), (0, 1))),
            layers.DepthwiseConv2D(3, strides=2, activation="relu6", bias_initializer=spread),
            layers.Conv2D(12, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax"),
        ],
        name="small",
    )


def fit(keras, net, x, classes, steps, rate=2e-3):
    """Trains and returns the loss of every step."""
    import tensorflow as tf

    optimiser, loss = keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy()

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            clips = [1e-4 * tf.square(c) for c in activation_clips(net)]
            value = loss(labels, net(images, training=True)) + sum(clips)
        gradients = tape.gradient(value, net.trainable_variables)
        optimiser.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
        return value

    rng = np.random.default_rng(0)
    values = []
    for number in range(steps):
        chosen = rng.choice(len(x), 32, replace=False)
        values.append(float(step(tf.constant(x[chosen]), tf.constant(classes[chosen]))))
        if number % 5 == 4:
            update_thresholds(net)
    return values


@pytest.fixture(scope="module")
def trained(keras, drawn):
    """A w4a4 net after some training."""
    pixels, classes = drawn
    x = normalise(pixels, PREPROCESS)
    net = fake_quantised(bottlenecks(keras), qat_scheme("w4a4"))
    calibrate_activations(net, [x[:64]])
    fit(keras, net, x, classes, 40)
    return net


@pytest.mark.parametrize("thresholds", THRESHOLDS)
@pytest.mark.parametrize("build", [mobilenet, small])
def test_kernels_are_on_their_grid_and_reach_its_ends(keras, build, thresholds) -> None:
    from edge_sdk.train.fake_quant_layers import RoundedKernel

    model = build(keras)
    net = fake_quantised(model, qat_scheme("w4a8", thresholds))
    names = [x.name for x in model.layers if x.name in {y.name for y in net.layers}]
    assert [x.name for x in net.layers if x.name in names] == names
    plain = snapped(net, model)
    convolutions = 0
    for layer in net.layers:
        if not isinstance(layer, RoundedKernel):
            continue
        levels, _ = layer.levels()
        convolutions += type(layer).__name__ == "RoundedConv2D"
        first_or_other = convolutions <= 1 or type(layer).__name__ != "RoundedConv2D"
        assert layer.bits == (8 if first_or_other else 4)
        flat = np.abs(np.moveaxis(levels, 2 if levels.shape[-1] == 1 else -1, 0).astype(int))
        reached = flat.reshape(len(flat), -1).max(axis=1)
        assert (reached == layer.top).all(), layer.name
        kernel = np.asarray(plain.get_layer(layer.name).kernel)
        largest = np.abs(kernel).max(axis=layer.axes, keepdims=True)
        assert np.array_equal(np.round(kernel / largest * layer.top), levels)
    x = np.random.default_rng(0).uniform(-1, 1, (4, SIZE, SIZE, 3)).astype(np.float32)
    assert np.allclose(net(x), plain(x), atol=1e-5)
    assert not np.allclose(net(x), model(x), atol=1e-5)


@pytest.mark.parametrize(("scheme", "thresholds"), [("w4a8", "lsq"), ("w4a4", "dynamic")])
def test_training_moves_every_variable_and_learns(keras, drawn, tmp_path, scheme, thresholds):
    import tensorflow as tf

    pixels, classes = drawn
    x = normalise(pixels, PREPROCESS)
    net = fake_quantised(small(keras), qat_scheme(scheme, thresholds))
    calibrate_activations(net, [x[:64]])
    before = [np.asarray(v) for v in net.trainable_variables]
    losses = fit(keras, net, x, classes, 60, rate=5e-3)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    for old, variable in zip(before, net.trainable_variables, strict=True):
        assert not np.array_equal(old, np.asarray(variable)), variable.path
    want = np.asarray(net(x[:8]))
    weights = net.get_weights()
    tf.train.Checkpoint(net=net).write(str(tmp_path / "kept"))
    net.set_weights([w * 0 for w in weights])
    tf.train.Checkpoint(net=net).read(str(tmp_path / "kept")).assert_existing_objects_matched()
    assert np.array_equal(want, net(x[:8]))


def quantiser(signed, ceiling=None, clip=2.0):
    from edge_sdk.train.fake_quant_layers import RoundedActivation

    layer = RoundedActivation(bits=4, signed=signed, ceiling=ceiling, name="q")
    layer.build((None, 4))
    layer.clip.assign(clip)
    return layer


def gradients(layer, values):
    import tensorflow as tf

    x = tf.constant([values])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    return np.asarray(y)[0], *(np.asarray(g) for g in tape.gradient(y, [x, layer.clip.value]))


@pytest.mark.usefixtures("keras")
def test_pact_clips_and_its_clip_learns_from_what_it_clips() -> None:
    """Levels of 2/15; the clip's gradient is the number of values at or above it."""
    values, dx, dclip = gradients(quantiser(False), [-1.0, 0.3, 2.5, 9.0])
    assert np.allclose(values, [0, 2 * 2 / 15, 2, 2])
    assert dx[0].tolist() == [0, 1, 0, 0]
    assert dclip == 2
    capped, *_ = gradients(quantiser(False, ceiling=6.0, clip=8.0), [7.0] * 4)
    assert np.allclose(capped, 6.0)


@pytest.mark.usefixtures("keras")
def test_signed_inputs_have_the_gradient_of_a_learnt_step() -> None:
    """Step 2/7; LSQ: round(x/s) - x/s inside, +-7 outside, times 1/sqrt(n * 7), here by clip."""
    values, dx, dclip = gradients(quantiser(True), [-9.0, -0.5, 0.5, 0.9])
    steps = np.array([-0.5, 0.5, 0.9]) * 3.5
    assert np.allclose(values, [-2, *(np.round(steps) / 3.5)])
    assert dx[0].tolist() == [0, 1, 1, 1]
    want = (-7 + (np.round(steps) - steps).sum()) / 7 / np.sqrt(4 * 7)
    assert dclip == pytest.approx(want, rel=1e-5)


def test_the_dynamic_threshold_follows_the_weights(keras) -> None:
    net = fake_quantised(small(keras), qat_scheme("w4a8", "dynamic"))
    layer = net.layers[4]
    kernel = np.random.default_rng(0).standard_t(3, layer.kernel.shape).astype(np.float32)
    layer.kernel.assign(kernel)
    old, best = np.asarray(layer.threshold), best_clip(kernel, layer.axes, 7)
    update_thresholds(net, momentum=0.9)
    assert np.allclose(layer.threshold, 0.9 * old + 0.1 * best, rtol=1e-5)
    update_thresholds(net, momentum=0.0)
    assert np.allclose(layer.threshold, best)
    assert (best < np.abs(kernel).max(axis=(0, 1, 2))).mean() > 0.8, "heavy tails are clipped"


def test_the_best_clip_is_the_best_of_those_tried() -> None:
    values = np.random.default_rng(1).standard_normal((500, 3)).astype(np.float32)

    def error(clip):
        step = clip / 7
        return np.square(np.clip(np.round(values / step), -7, 7) * step - values).sum(axis=0)

    best = best_clip(values, (0,), 7)
    for share in (0.9, 0.8, 1.1):
        assert (error(best) <= error(best * share) * 1.02).all()


def test_layers_that_read_one_tensor_share_its_quantiser(keras) -> None:
    net = fake_quantised(mobilenet(keras), qat_scheme("w4a4"))
    with_kernels = [x for x in net.layers if hasattr(x, "axes") and hasattr(x, "bits")]
    assert len(activation_clips(net)) == len(with_kernels) - 1
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, activation="relu")(image)
    both = keras.layers.Add()(
        [keras.layers.Conv2D(4, 1)(x), keras.layers.Conv2D(4, 3, padding="same")(x)]
    )
    forked = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(both)))
    assert len(activation_clips(fake_quantised(forked, qat_scheme("w4a4")))) == 2


def test_the_integer_network_answers_as_the_trained_net_does(trained, drawn) -> None:
    pixels, _ = drawn
    want = np.asarray(trained(normalise(pixels, PREPROCESS), training=False))
    got = run(to_integer(trained, PREPROCESS), pixels)
    assert want.max(axis=1).mean() < 0.999, "scores that are all 1 show nothing"
    assert (want.argmax(axis=1) == got.argmax(axis=1)).mean() >= 0.99
    assert np.abs(want - got).mean() < 0.005


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(15, 18),
        Preprocess(15, 18, colour="BGR", mean=(103.5, 116.25, 123.0), std=(2.0, 2.0, 2.0)),
        Preprocess(15, 18, mean=NORMALISATIONS["torch"][0], std=(30.0, 60.0, 90.0)),
    ],
)
def test_every_level_is_the_trained_nets(keras, preprocess) -> None:
    """The values before each quantiser, rounded in NumPy, are the integer network's levels."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (40, 15, 18, 3)).astype(np.uint8)
    x = normalise(pixels, preprocess)
    net = fake_quantised(small(keras, preprocess), qat_scheme("w4a4"))
    norm = next(y for y in net.layers if isinstance(y, keras.layers.BatchNormalization))
    norm.gamma.assign(rng.uniform(-2, 2, 12))
    norm.moving_mean.assign(rng.normal(0, 0.5, 12))
    calibrate_activations(net, [x])
    model = to_integer(net, preprocess)
    levels, grids = tensors(model, pixels), model.grids()
    probe = keras.Model(net.inputs[0], [net.get_layer(y.name).input for y in quantisers(net)])
    exact = len(set(preprocess.std)) == 1  # several std: the first kernel is rounded once more
    compared = 0
    for quantised, value in zip(quantisers(net), probe(x), strict=True):
        consumer = quantised.name.removesuffix("_input")
        source = next(y.input for y in model.layers if y.name == consumer)
        got = levels[source].astype(int)
        if got.shape != value.shape:  # behind zero padding
            value = value[:, 1:, :-1]
        want = np.round(np.clip(np.asarray(value) / grids[source].scale, 0, 15))
        difference = np.abs(want - got)
        assert difference.max() <= 1, consumer
        assert difference.mean() < (0.001 if exact else 0.05), consumer
        assert len(np.unique(got)) >= 7, consumer
        compared += 1
    assert compared == 3


def quantisers(net):
    return [x for x in net.layers if type(x).__name__ == "RoundedActivation"]


def test_what_has_no_integer_form_is_refused(keras) -> None:
    layers = keras.layers
    with pytest.raises(UsageError, match="edge-sdk convert"):
        to_integer(fake_quantised(small(keras), qat_scheme("w4a8")), PREPROCESS)
    with pytest.raises(UsageError, match="16x32 is not the model's input size 32x32"):
        to_integer(fake_quantised(small(keras), qat_scheme("w4a4")), Preprocess(16, 32))
    image = keras.Input((8, 8, 3))
    for layer in (
        layers.Conv2D(4, 3, activation="tanh"),
        layers.Conv2D(4, 3, dilation_rate=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
    ):
        x = layer(layers.Conv2D(4, 1, activation="relu")(image))
        model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
        with pytest.raises(ModelError, match=layer.name):
            to_integer(fake_quantised(model, qat_scheme("w4a4")), Preprocess(8, 8))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, activation="relu")(image))
    hidden = layers.Dense(4, "sigmoid")
    model = keras.Model(image, layers.Dense(2)(hidden(pooled)))
    with pytest.raises(ModelError, match=hidden.name):
        to_integer(fake_quantised(model, qat_scheme("w4a4")), Preprocess(8, 8))
    nested = keras.Sequential([keras.Input((8, 8, 3)), keras.Sequential([layers.Conv2D(2, 1)])])
    with pytest.raises(ModelError, match="build it flat"):
        fake_quantised(nested, qat_scheme("w4a8"))
    with pytest.raises(UsageError, match="unknown training scheme 'w4a7'"):
        qat_scheme("w4a7")
    with pytest.raises(UsageError, match="unknown thresholds 'max'"):
        qat_scheme("w4a8", "max")


def stored_levels(tensor) -> np.ndarray:
    raw = np.frombuffer(tensor.data, np.uint8)
    if tensor.dtype == "int4":
        nibbles = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[: tensor.elements]
        return (nibbles.astype(np.int8) ^ 8).reshape(tensor.shape) - 8
    return raw.view(np.int8).reshape(tensor.shape)


def test_a_converted_snapped_model_has_the_trained_levels(
    keras, cells, edge_sdk, tmp_path: Path
) -> None:
    """Up to a channel's sign, which is its batch norm's factor's."""
    from edge_sdk.train.fake_quant_layers import RoundedKernel

    model = bottlenecks(keras)
    _vary_norms(keras, model, seed=1)
    net = fake_quantised(model, qat_scheme("w4a8", "dynamic"))
    snapped(net, model).save(tmp_path / "model.keras")
    done = edge_sdk(
        "convert", tmp_path / "model.keras", "--to", "w4a8", "--method", "min-max",
        "--normalise", "tf", "--data", cells, "--out", tmp_path, "--max-drop", 100,
    )  # fmt: skip
    assert (tmp_path / "model-report.json").is_file(), done.stderr
    file = next(tmp_path.glob("model-w4a8*/model.tflite"))
    kernels = read_tflite(file).weights()
    trained = [x for x in net.layers if isinstance(x, RoundedKernel)]
    assert len(kernels) == len(trained) == 12
    flipped = 0
    for layer, (operator, kernel) in zip(trained, kernels, strict=True):
        levels, _ = layer.levels()
        assert kernel.dtype == f"int{layer.bits}"
        got = stored_levels(kernel).astype(int)
        depthwise = operator.name == "DEPTHWISE_CONV_2D"
        want = np.moveaxis(levels, 2 if depthwise else -1, 0).reshape(got.shape[3 * depthwise], -1)
        got = np.moveaxis(got, 3 if depthwise else 0, 0).reshape(want.shape)
        same, other = (got == want).all(axis=1), (got == -want).all(axis=1)
        assert (same | other).all(), layer.name
        flipped += int(other.sum())
    assert flipped > 20
