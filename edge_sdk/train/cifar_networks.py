"""AlexNet, VGG16 and ResNet-18 for 32x32 images: the nets of the 4-bit NOR-flash experiment.

3x3 kernels and a first layer that keeps the size, as is usual for CIFAR; batch norm after every
layer with weights but the last. Widths at alpha 1 are those of Krizhevsky's "One weird trick"
(2014), Simonyan and Zisserman (2015) and He et al. (2016); the hidden dense layers are narrower
than ImageNet's 4096, as ten classes need less.
"""

from __future__ import annotations

from typing import Any

from edge_sdk.errors import UsageError

CIFAR = ("alexnet-cifar", "vgg16-cifar", "resnet18-cifar")
POOL = 0  # in a list of widths: a 2x2 max pooling
ALEXNET = (64, POOL, 192, POOL, 384, 256, 256, POOL)
VGG16 = (
    64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL,
)  # fmt: skip
DENSE = {"alexnet-cifar": (1024, 1024), "vgg16-cifar": (512, 512)}
RESNET_STAGES = (64, 128, 256, 512)
BLOCKS = 2  # a stage
# Widths are rounded to a multiple of this.
DIVISOR = 4


def features(arch: str, image: Any, alpha: float, dropout: float) -> Any:
    """The features that a last dense layer reads, (N, channels), of `image` (N, H, W, 3).

    Raises UsageError for an image that the net's poolings leave nothing of."""
    least = {"alexnet-cifar": 8, "vgg16-cifar": 32, "resnet18-cifar": 8}[arch]
    if image.shape[1] < least:
        raise UsageError(f"--size {image.shape[1]}: {arch} needs at least {least}")
    if arch == "resnet18-cifar":
        return _dropped(_resnet(image, alpha), dropout, "dropout")
    return _plain(arch, image, alpha, dropout)


def width(channels: int, alpha: float) -> int:
    """channels * alpha, rounded to a multiple of DIVISOR."""
    return max(DIVISOR, round(channels * alpha / DIVISOR) * DIVISOR)


def _plain(arch: str, image: Any, alpha: float, dropout: float) -> Any:
    """Convolutions and poolings in a row, then hidden dense layers."""
    from keras import layers

    x, convolutions, pools = image, 0, 0
    for channels in ALEXNET if arch == "alexnet-cifar" else VGG16:
        if channels == POOL:
            pools += 1
            x = layers.MaxPooling2D(name=f"pool{pools}")(x)
        else:
            convolutions += 1
            x = _normed(x, f"conv{convolutions}", width(channels, alpha))
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate(DENSE[arch], start=1):
        name = f"dense{number}"
        x = layers.Dense(width(units, alpha), use_bias=False, name=name)(
            _dropped(x, dropout, f"dropout{number}")
        )
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def _resnet(image: Any, alpha: float) -> Any:
    """He et al.'s basic blocks; a shortcut that changes shape is a 1x1 projection (option B)."""
    from keras import layers

    x = _normed(image, "conv1", width(RESNET_STAGES[0], alpha))
    for stage, channels in enumerate(RESNET_STAGES, start=1):
        wide = width(channels, alpha)
        for block in range(1, BLOCKS + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            y = _normed(x, f"{name}_conv1", wide, stride=stride)
            y = _normed(y, f"{name}_conv2", wide, relu=False)
            if stride > 1:
                x = _normed(x, f"{name}_shortcut", wide, kernel=1, stride=stride, relu=False)
            x = layers.Add(name=f"{name}_add")([x, y])
            x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.GlobalAveragePooling2D(name="pool")(x)


def _normed(
    x: Any, name: str, channels: int, kernel: int = 3, stride: int = 1, *, relu: bool = True
) -> Any:
    from keras import layers

    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _dropped(x: Any, share: float, name: str) -> Any:
    from keras import layers

    return layers.Dropout(share, name=name)(x) if share else x
