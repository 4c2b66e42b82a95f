"""Varied copies of training images, computed in the graph: uint8 in, float32 0..1 out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge_sdk.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Augmentation:
    """Ranges that are drawn from evenly. angle: degrees to either side. zoom, shift, shear: shares
    to either side, shift of the image's side. crop: whole pixels to either side, as a random crop
    of the image padded by so many. mirror: left and right. gain: brightness, all
    channels; channel_gain: each on its own; gamma: exponent up to 1 + gamma or its inverse.
    blur: (sharpening, blurring), 0 to 1, with a 3x3 mean."""

    angle: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    mirror: bool = False
    gain: float = 0.0
    channel_gain: float = 0.0
    gamma: float = 0.0
    blur: tuple[float, float] = (0.0, 0.0)
    crop: int = 0


AUGMENTATIONS = {
    "none": Augmentation(),
    # As the malaria article's and other transfer-learning recipes do.
    "photo": Augmentation(angle=25, zoom=0.05, shift=0.05, shear=0.05, mirror=True),
    # The usual one for CIFAR (He et al. 2016): padded by 4, cropped at random, mirrored.
    "cifar": Augmentation(mirror=True, crop=4),
    # A cell has no up or down; microscopes, stains and phones differ in light, colour and focus.
    "cells": Augmentation(180, 0.15, 0.06, 0.0, True, 0.25, 0.12, 0.333, (0.5, 0.9)),
}


def augmentation_named(name: str) -> Augmentation:
    """Raises UsageError for a name that is not in AUGMENTATIONS."""
    if name not in AUGMENTATIONS:
        raise UsageError(unknown_name("augmentation", name, AUGMENTATIONS))
    return AUGMENTATIONS[name]


def augment(pixels: Any, seed: Any, how: Augmentation) -> Any:
    """uint8 (N, H, W, 3) to float32 0..1 of the same shape; seed: int32 (1,).

    What comes in from outside the picture is black, as around a padded image."""
    import tensorflow as tf

    x = tf.cast(pixels, tf.float32) / 255.0
    count = tf.shape(pixels)[0]

    def draw(index: int, low: float, high: float, channels: int = 1) -> Any:
        return tf.random.stateless_uniform([count, channels], [seed[0], index], low, high)

    if how.angle or how.zoom or how.shift or how.shear or how.mirror or how.crop:
        x = _move(x, draw, how)
    if how.gamma:
        most = math.log1p(how.gamma)
        exponent = tf.exp(draw(6, -most, most))
        x = tf.pow(tf.maximum(x, 1e-6), exponent[:, None, None, :])
    if how.gain or how.channel_gain:
        gain = draw(4, 1 - how.gain, 1 + how.gain)
        gain *= draw(5, 1 - how.channel_gain, 1 + how.channel_gain, 3)
        x *= gain[:, None, None, :]
    if any(how.blur):
        amount = draw(7, -how.blur[0], how.blur[1])[:, None, None, :]
        x += amount * (tf.nn.avg_pool2d(x, 3, 1, "SAME") - x)
    return tf.clip_by_value(x, 0.0, 1.0)


def _move(x: Any, draw: Any, how: Augmentation) -> Any:
    """One affine map per image about its centre, each output pixel taken from the input."""
    import tensorflow as tf

    height, width = x.shape[1], x.shape[2]
    most = math.radians(how.angle)
    angle, zoom = draw(0, -most, most), 1.0 / draw(1, 1 - how.zoom, 1 + how.zoom)
    mirror = tf.sign(draw(2, -1.0, 1.0)) if how.mirror else 1.0
    shear = draw(8, -how.shear, how.shear)
    cos, sin = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    rows = [cos * mirror, (shear * cos - sin) * mirror, sin, shear * sin + cos]
    shift = draw(3, -how.shift, how.shift, 2)
    x0, y0 = (width - 1) / 2, (height - 1) / 2
    dx = x0 + shift[:, :1] * width - (rows[0] * x0 + rows[1] * y0)
    dy = y0 + shift[:, 1:] * height - (rows[2] * x0 + rows[3] * y0)
    if how.crop:
        # Even between whole pixels: rounding would give the outermost half their share.
        whole = tf.floor(draw(9, -how.crop, how.crop + 1, 2))
        dx, dy = dx + whole[:, :1], dy + whole[:, 1:]
    zero = tf.zeros_like(dx)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=tf.concat([rows[0], rows[1], dx, rows[2], rows[3], dy, zero, zero], 1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
