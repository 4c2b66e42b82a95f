"""The network that learns, the one that averages, and what is written of them in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_sdk.errors import DataError, ModelError
from edge_sdk.integer_model import IntegerModel
from edge_sdk.preprocess import Preprocess, normalise
from edge_sdk.sidecar import PreprocessOptions, resolve_labels, resolve_preprocess
from edge_sdk.train import architectures, fake_quant
from edge_sdk.train.chip_noise import noisy_profile
from edge_sdk.train.export_integer import to_integer
from edge_sdk.train.loop import Hooks
from edge_sdk.train.parts import Images
from edge_sdk.train.settings import TrainRequest

UPDATE_EVERY = 25  # steps between two looks at the weights
CLIP_DECAY = 2e-4  # lambda of PACT's lambda * clip^2
CLIP_IMAGES = 256
BATCH = 64


@dataclass(frozen=True)
class Networks:
    """net learns, average is the moving average of its weights. plain: the average as a Keras
    model without rounding layers, for the file; integer: as an integer-only network of the given
    labels, where inputs are rounded too."""

    net: Any
    average: Any
    hooks: Hooks | None
    plain: Callable[[], Any]
    integer: Callable[[tuple[str, ...]], IntegerModel] | None = None


def start_spec(request: TrainRequest, labels: tuple[str, ...]) -> tuple[Preprocess, Any]:
    """How the model of --from wants its pixels, and the model.

    Raises an EdgeError for a model that does not tell the data's classes apart."""
    assert request.start is not None
    model = architectures.load_keras(request.start)
    shape, outputs = model.inputs[0].shape, int(model.outputs[0].shape[-1])
    if None in shape[1:] or shape[3] != 3:
        raise ModelError(f"--from {request.start}: takes {shape}, expected RGB of a fixed size")
    theirs = resolve_labels(request.start, None, outputs)
    if outputs != len(labels) or (theirs is not None and theirs != labels):
        names = ", ".join(theirs or (f"{outputs} without names",))
        raise DataError(
            f"--from {request.start} has the classes {names}, and the data {', '.join(labels)}: "
            "they must be the same, in the same order"
        )
    spec, _ = resolve_preprocess(
        request.start, int(shape[1]), int(shape[2]), PreprocessOptions(), assumed="tf"
    )
    return spec, model


def plain_networks(request: TrainRequest, outputs: int) -> Networks:
    net = architectures.build(request, outputs, request.recipe.dropout, request.weights)
    architectures.freeze(net, request)
    weights = request.weights if architectures.is_file(request.arch) else "none"
    average = architectures.build(request, outputs, 0.0, weights)
    return Networks(net, average, None, lambda: average)


def continued_networks(model: Any) -> Networks:
    """The trained model, which learns on as it is."""
    import keras

    average = keras.models.clone_model(model)
    return Networks(model, average, None, lambda: average)


def rounding_networks(
    request: TrainRequest, model: Any, spec: Preprocess, images: Images
) -> Networks:
    """The trained model with rounded kernels, and inputs where the scheme rounds them."""
    assert request.qat is not None
    scheme = fake_quant.qat_scheme(request.qat, request.thresholds)
    chip, time_s = None, 0.0
    if request.chip is not None:
        chip, time_s = noisy_profile(request.chip), request.chip.time_s
    net = fake_quant.fake_quantised(model, scheme, chip, time_s)
    average = fake_quant.fake_quantised(model, scheme, chip, time_s)
    rng = np.random.default_rng(request.seed)
    train = images.rows["train"]
    rows = np.sort(rng.permutation(train)[:CLIP_IMAGES])

    def batches() -> Iterator[Any]:
        for i in range(0, len(rows), BATCH):
            yield normalise(np.asarray(images.pixels[rows[i : i + BATCH]]), spec)

    fake_quant.calibrate_activations(net, batches())
    clips = fake_quant.activation_clips(net)

    def penalty() -> Any:
        import tensorflow as tf

        return CLIP_DECAY * sum((tf.square(c) for c in clips), tf.constant(0.0))

    hooks = Hooks(UPDATE_EVERY, lambda: fake_quant.update_thresholds(net), penalty)
    integer = None
    if scheme.activation_bits is not None:

        def integer(labels: tuple[str, ...]) -> IntegerModel:
            return to_integer(average, spec, labels)

    return Networks(net, average, hooks, lambda: fake_quant.snapped(average, model), integer)
