"""Networks by name: a backbone, its head, and which of its layers learn."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_sdk.errors import ModelError, UsageError, unknown_name
from edge_sdk.preprocess import NORMALISATIONS, Preprocess
from edge_sdk.quiet import quiet
from edge_sdk.sidecar import PreprocessOptions, resolve_preprocess
from edge_sdk.train.cifar_networks import CIFAR, features
from edge_sdk.train.settings import TrainRequest
from edge_sdk.train.tensorflow import import_tensorflow

OWN = ("mobilenet_v1", "mobilenet_v2", "basic-cnn", *CIFAR)
# Of them, those that exist with random weights only.
RANDOM = ("basic-cnn", *CIFAR)
# How the ImageNet weights of each keras.applications family want their pixels (its
# preprocess_input); the families not named scale inside the model.
TORCH = ("densenet",)
CAFFE = ("vgg16", "vgg19", "resnet")
INSIDE = ("efficientnet", "efficientnet_v2", "mobilenet_v3", "convnext")
CAFFE_MEAN = (103.939, 116.779, 123.68)  # BGR
# A weights file that fits this share of a backbone's weights or less is for another network.
MIN_LOADED = 0.9


def backbones() -> dict[str, tuple[str, str]]:
    """Every keras.applications backbone: our name -> (module, function)."""
    import keras

    return {
        name.lower(): (function.__module__.rpartition(".")[2], name)
        for name, function in inspect.getmembers(keras.applications, inspect.isfunction)
        if name[0].isupper()
    }


def is_file(arch: str) -> bool:
    return arch.endswith(".keras")


def check_arch(request: TrainRequest) -> None:
    """Raises UsageError for a network that neither we nor keras.applications has."""
    arch = request.arch
    if is_file(arch):
        if request.cut is None:
            raise UsageError(f"--arch {arch}: say with --cut after which layer the new head comes")
    elif request.cut is not None:
        raise UsageError(f"--cut belongs to --arch FILE.keras, and --arch is {arch}")
    elif arch not in OWN and arch not in (known := backbones()):
        raise UsageError(unknown_name("--arch", arch, [*OWN, *known]))


def preprocess_for(request: TrainRequest) -> Preprocess:
    """The normalisation the backbone was, or would be, trained with; of a file, what lies
    beside it or --normalise says."""
    if is_file(request.arch):
        return _preprocess_of_file(request)
    module = "" if request.arch in OWN else backbones()[request.arch][0]
    side = {"height": request.size, "width": request.size, "fit": request.fit or "stretch"}
    if module in CAFFE:
        return Preprocess(**side, colour="BGR", mean=CAFFE_MEAN, std=(1.0, 1.0, 1.0))  # type: ignore[arg-type]
    name = "torch" if module in TORCH else "none" if module in INSIDE else "tf"
    mean, std = NORMALISATIONS[name]
    return Preprocess(**side, mean=mean, std=std)  # type: ignore[arg-type]


def _preprocess_of_file(request: TrainRequest) -> Preprocess:
    """As the file was trained, at the size asked for. Raises UsageError where nothing says how."""
    file = Path(request.arch)
    trained = load_keras(file)
    height, width = (side or request.size for side in trained.inputs[0].shape[1:3])
    given = PreprocessOptions(normalise=request.normalise, fit=request.fit)
    inside = any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in trained.layers)
    spec, assumed = resolve_preprocess(file, height, width, given, assumed="none")
    if assumed and not inside:
        raise UsageError(
            f"--arch {file}: no preprocess.json beside it says how it wants its pixels: give "
            f"--normalise {', '.join(NORMALISATIONS)}"
        )
    return replace(spec, height=request.size, width=request.size)


def build(request: TrainRequest, outputs: int, dropout: float, weights: str) -> Any:
    """The network, random or with `weights` (imagenet, none, or a file) in its backbone.

    outputs: classes, or the length of an embedding. With dropout 0 it is the graph to ship, with
    the same list of weights. Raises ModelError for weights that do not fit."""
    import keras

    shape = (request.size, request.size, 3)
    image = keras.Input(shape, name="image")
    if request.arch in RANDOM:
        if weights == "imagenet":
            raise UsageError(f"--arch {request.arch} has no ImageNet weights: give --weights none")
        if request.arch == "basic-cnn":
            x = _basic_cnn(image, dropout)
        else:
            x = features(request.arch, image, request.alpha, dropout)
        net = keras.Model(image, x)
    else:
        net = _backbone(request, image, shape, weights)
        pooled = keras.layers.GlobalAveragePooling2D(name="pool")(net.output)
        x = keras.layers.Dropout(dropout, name="dropout")(pooled) if dropout else pooled
    activation = {"softmax": "softmax", "sigmoid": "sigmoid", "embedding": None}[request.head]
    name = "embedding" if request.head == "embedding" else "probabilities"
    x = keras.layers.Dense(outputs, activation=activation, name=name)(x)
    model = keras.Model(image, x, name=re.sub(r"\W", "_", Path(request.arch).stem))
    if weights not in ("imagenet", "none") and not is_file(request.arch):
        _load_weights(model, net, Path(weights))
    return model


def freeze(model: Any, request: TrainRequest) -> None:
    """Marks the layers that stay as they are; their batch norm keeps its statistics."""
    backbone = [layer for layer in model.layers if layer.weights][:-1]
    if request.strategy == "frozen":
        learning: list[str] = []
    elif request.strategy == "partial":
        blocks = list(dict.fromkeys(block_of(layer.name) for layer in backbone))
        learning = blocks[-request.blocks :]
    else:
        return
    for layer in backbone:
        layer.trainable = block_of(layer.name) in learning


def block_of(layer: str) -> str:
    """The block that a layer of a keras.applications network belongs to, by its name."""
    found = re.match(r"(.*?block_?\d+[a-z]?|(?:expanded_)?conv_(?:dw|pw)_\d+|expanded_conv)", layer)
    return re.sub(r"_(dw|pw)_", "_", found[1]) if found else re.sub(r"_bn$|^bn_|BN$", "", layer)


def _backbone(request: TrainRequest, image: Any, shape: tuple[int, ...], weights: str) -> Any:
    import keras

    if is_file(request.arch):
        return _cut_backbone(Path(request.arch), request.cut or "", image, weights != "none")
    options: dict[str, Any] = {"weights": "imagenet" if weights == "imagenet" else None}
    if request.arch in OWN:
        name = "MobileNet" if request.arch == "mobilenet_v1" else "MobileNetV2"
        make, options["alpha"] = getattr(keras.applications, name), request.alpha
    else:
        make = getattr(keras.applications, backbones()[request.arch][1])
        if request.alpha != 1.0:
            if "alpha" not in inspect.signature(make).parameters:
                raise UsageError(f"--alpha {request.alpha}: {request.arch} has no width multiplier")
            options["alpha"] = request.alpha
    try:
        with quiet(f"building {request.arch}"):
            return make(input_shape=shape, include_top=False, input_tensor=image, **options)
    except ModelError as e:
        if weights != "imagenet":
            raise
        raise ModelError(
            f"{e}. --weights imagenet is downloaded by Keras and exists for some widths and sizes "
            "only: give --weights FILE or --weights none"
        ) from e


def _cut_backbone(file: Path, cut: str, image: Any, trained_weights: bool) -> Any:
    """The layers of a trained model up to `cut`, at the size of `image`."""
    import keras

    trained = load_keras(file)
    names = [layer.name for layer in trained.layers]
    if cut not in names:
        raise UsageError(unknown_name("--cut", cut, names))
    whole = keras.Model(trained.inputs[0], trained.get_layer(cut).output)
    if len(whole.output.shape) != 4:
        raise UsageError(f"--cut {cut}: gives {whole.output.shape}, expected a feature map")
    with quiet(f"building {file} up to {cut} at {image.shape[1]}x{image.shape[2]}"):
        net = keras.models.clone_model(whole, input_tensors=image)
    if trained_weights:
        net.set_weights(whole.get_weights())
    return net


def _basic_cnn(image: Any, dropout: float) -> Any:
    """The baseline of the malaria article (Sarkar 2019): three convolutions, two dense layers."""
    import keras

    x = image
    for i, filters in enumerate((32, 64, 128), start=1):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{i}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = keras.layers.Dense(512, activation="relu", name=f"dense{i}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dropout{i}")(x)
    return x


def _load_weights(model: Any, backbone: Any, file: Path) -> None:
    """Weights of the backbone from a .keras model (layers by name) or a weights file."""
    if not file.is_file():
        raise ModelError(f"--weights {file} does not exist: give a file, imagenet or none")
    if file.suffix != ".keras":
        with quiet(f"loading the weights {file}"):
            backbone.load_weights(str(file))
        return
    other = {layer.name: layer for layer in load_keras(file).layers}
    wanted = [layer for layer in backbone.layers if layer.weights]
    loaded = 0
    for layer in wanted:
        source = other.get(layer.name)
        if source is not None and [w.shape for w in source.weights] == [
            w.shape for w in layer.weights
        ]:
            layer.set_weights(source.get_weights())
            loaded += layer.count_params()
    share = loaded / max(1, backbone.count_params())
    if share < MIN_LOADED:
        raise ModelError(
            f"--weights {file} fits {share:.0%} of {model.name}'s backbone: it is of another "
            "network, width or layer naming"
        )


def load_keras(file: Path) -> Any:
    """A Keras model with one input and one output. Raises ModelError for anything else."""
    if not file.is_file():
        raise ModelError(f"model {file} does not exist")
    tf = import_tensorflow(gpu=True)
    with quiet(f"loading {file}"):
        model = tf.keras.models.load_model(file, compile=False)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(f"{file} has {len(model.inputs)} inputs and {len(model.outputs)} outputs")
    return model
