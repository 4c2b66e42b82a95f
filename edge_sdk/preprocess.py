"""The only resize, crop, normalise and quantise code: training, conversion and device share it.

A picture becomes a model input in two steps, kept apart because the first is done once per image
and the second depends on the artifact's data type:

    image or frame  --fit-->  uint8 (H, W, 3)  --encode-->  model dtype (H, W, 3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from PIL import Image

Fit = Literal["stretch", "crop", "pad"]
Colour = Literal["RGB", "BGR"]
Pixels = npt.NDArray[np.uint8]

# mean and std are in raw pixel units (0..255), as in TFLite Model Metadata:
# value = (pixel - mean) / std.
NORMALISATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a model input.

    height, width: the model's input size in pixels.
    fit: `stretch` ignores the aspect ratio, `crop` takes the largest centred window of the
        model's aspect ratio, `pad` keeps the whole picture and fills up with black.
    crop_fraction: with `crop`, the share of that window's side that is kept (0.875 is the
        ImageNet habit: short side 256, centre 224).
    colour: channel order the model expects; frames are RGB everywhere in this project.
    mean, std: per channel of that order, in raw pixel units: value = (pixel - mean) / std.
    """

    height: int
    width: int
    fit: Fit = "stretch"
    crop_fraction: float = 1.0
    colour: Colour = "RGB"
    mean: tuple[float, float, float] = NORMALISATIONS["tf"][0]
    std: tuple[float, float, float] = NORMALISATIONS["tf"][1]

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(
                f"preprocess: input size {self.height}x{self.width} must be at least 1x1"
            )
        if self.fit not in get_args(Fit):
            raise UsageError(unknown_name("fit", self.fit, get_args(Fit)))
        if self.colour not in get_args(Colour):
            raise UsageError(unknown_name("colour order", self.colour, get_args(Colour)))
        if not 0.0 < self.crop_fraction <= 1.0:
            raise UsageError(
                f"preprocess: crop_fraction {self.crop_fraction} must be above 0 and at most 1"
            )
        if len(self.mean) != 3 or not all(math.isfinite(m) for m in self.mean):
            raise UsageError(f"preprocess: mean {self.mean} must be three finite numbers")
        if len(self.std) != 3 or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise UsageError(f"preprocess: std {self.std} must be three numbers above 0")


@dataclass(frozen=True)
class Quantisation:
    """Affine quantisation of one tensor: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int


def to_rgb(image: Image.Image) -> Image.Image:
    """A Pillow image of any mode in RGB; 16-bit greys keep their upper 8 bits."""
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16"):  # convert() would clip them to white
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    return image if image.mode == "RGB" else image.convert("RGB")


def fit_image(image: Image.Image | Pixels, spec: Preprocess) -> Pixels:
    """An image at the model's size: uint8 (height, width, 3), RGB.

    image: a Pillow image, or a uint8 array (H, W, 3) in RGB.
    Resizing is Pillow's bilinear filter, which averages when it shrinks."""
    from PIL import Image  # not at import: an interpreter alone needs no image library

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UsageError(
                f"frame: dtype {image.dtype} and shape {image.shape} must be uint8 (H, W, 3) RGB"
            )
        if image.shape[:2] == (spec.height, spec.width) and spec.crop_fraction == 1.0:
            return image
        image = Image.fromarray(np.ascontiguousarray(image))
    else:
        image = to_rgb(image)
    size = (spec.width, spec.height)
    if spec.fit == "pad":
        factor = min(size[0] / image.width, size[1] / image.height)
        inner = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        canvas = np.zeros((spec.height, spec.width, 3), np.uint8)
        x, y = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        small = image if image.size == inner else image.resize(inner, Image.Resampling.BILINEAR)
        canvas[y : y + inner[1], x : x + inner[0]] = np.asarray(small)
        return canvas
    box = (0.0, 0.0, float(image.width), float(image.height))
    if spec.fit == "crop":
        factor = spec.crop_fraction * min(image.width / size[0], image.height / size[1])
        w, h = size[0] * factor, size[1] * factor
        # Rounding must not carry the window over the edge: Pillow refuses -1e-16.
        x0, y0 = max(0.0, (image.width - w) / 2), max(0.0, (image.height - h) / 2)
        box = (x0, y0, min(x0 + w, image.width), min(y0 + h, image.height))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


def normalise(pixels: Pixels, spec: Preprocess) -> npt.NDArray[np.float32]:
    """uint8 RGB (..., 3) to float32 in the model's channel order: (pixel - mean) / std."""
    if spec.colour == "BGR":
        pixels = pixels[..., ::-1]
    out = pixels.astype(np.float32)
    out -= np.asarray(spec.mean, np.float32)
    out /= np.asarray(spec.std, np.float32)
    return out


# The commonest normalisation, (pixel - 127.5) / 127.5 at scale 2/255, puts every pixel exactly
# between two steps. float32 arithmetic knows that tie to about 1e-5 of a step, so a value this
# close to one is a tie.
_TIE = 1e-3


def quantise(
    values: npt.NDArray[np.floating[Any]], dtype: npt.DTypeLike, q: Quantisation
) -> npt.NDArray[Any]:
    """Real values to integers of `dtype`: round(value / scale) + zero_point, saturated.

    Ties go up, all of them: halves away from zero, as in TFLite's own kernel, would map two
    pixel values to one step at mid-grey and leave the next step empty."""
    info = np.iinfo(np.dtype(dtype))
    steps = np.asarray(values, np.float64) / q.scale
    rounded = np.floor(steps + 0.5 + _TIE) + q.zero_point
    clipped: npt.NDArray[Any] = np.clip(rounded, info.min, info.max).astype(dtype)
    return clipped


def dequantise(values: npt.NDArray[Any], q: Quantisation | None) -> npt.NDArray[np.float32]:
    """Integers to float32: scale * (value - zero_point). Float arrays pass through as float32.

    The subtraction is done in a wide type: int8 - zero_point overflows in int8."""
    if q is None:
        return np.asarray(values, np.float32)
    return ((values.astype(np.float64) - q.zero_point) * q.scale).astype(np.float32)


class Encoder:
    """uint8 frames at the model's size to the model's input tensor.

    Integer inputs go through a table with one entry per channel and pixel value, made once from
    `normalise` and `quantise`: the same integers as computing them, at the price of a look-up.

    dtype: the model's input type (float32, int8, uint8, int16); quantisation: of that input,
    needed for the integer types."""

    def __init__(
        self, spec: Preprocess, dtype: npt.DTypeLike, quantisation: Quantisation | None
    ) -> None:
        self._spec = spec
        self._dtype = np.dtype(dtype)
        self._table: npt.NDArray[Any] | None = None
        if self._dtype.kind == "f":
            return
        if self._dtype.kind not in "iu" or quantisation is None or quantisation.scale <= 0:
            raise UsageError(
                f"input type {self._dtype}: valid are float32, or int8, uint8 and int16 with "
                "quantisation parameters"
            )
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        real = normalise(ramp, Preprocess(1, 1, mean=spec.mean, std=spec.std))
        self._table = quantise(real, self._dtype, quantisation)
        one_table = self._dtype.itemsize == 1 and bool((self._table == self._table[:, :1]).all())
        # The fastest look-up of single bytes in one table is bytearray.translate; faster still is
        # the commonest table, pixel - 128, which flips the top bit.
        self._bytes = self._table[:, 0].tobytes() if one_table else None
        self._flips = self._bytes == bytes(p ^ 0x80 for p in range(256))

    def __call__(self, pixels: Pixels) -> npt.NDArray[Any]:
        """pixels: uint8 RGB (..., H, W, 3). Returns an array of the same shape, model dtype and
        channel order."""
        if self._table is None:
            return normalise(pixels, self._spec)
        if self._spec.colour == "BGR":
            pixels = pixels[..., ::-1]
        if self._flips:
            return np.bitwise_xor(pixels, 0x80).view(self._dtype)
        if self._bytes is not None:
            raw = bytearray(np.ascontiguousarray(pixels)).translate(self._bytes)
            return np.frombuffer(raw, self._dtype).reshape(pixels.shape)
        out = np.empty(pixels.shape, self._dtype)
        for channel in range(3):
            out[..., channel] = self._table[:, channel][pixels[..., channel]]
        return out
