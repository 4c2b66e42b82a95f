from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_sdk.errors import UsageError
from edge_sdk.preprocess import (
    NORMALISATIONS,
    Encoder,
    Preprocess,
    Quantisation,
    dequantise,
    fit_image,
    normalise,
    quantise,
)
from edge_sdk.strict import from_plain, to_plain

EQUAL = ((10.0, 10.0, 10.0), (50.0, 50.0, 50.0))
FITS = ("stretch", "crop", "pad")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(deadline=None, max_examples=300)
@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    fit=st.sampled_from(FITS),
    fraction=st.floats(0.001, 1.0),
    pillow=st.booleans(),
)
@example(source=(1, 1000), size=(70, 1), fit="crop", fraction=0.001, pillow=True)
@example(source=(1000, 1), size=(1, 70), fit="pad", fraction=1.0, pillow=False)
def test_every_size_fits_every_size(
    source: tuple[int, int], size: tuple[int, int], fit: Any, fraction: float, pillow: bool
) -> None:
    pixels = noise(*source)
    spec = Preprocess(*size, fit=fit, crop_fraction=fraction)
    fitted = fit_image(Image.fromarray(pixels) if pillow else pixels, spec)
    assert fitted.shape == (*size, 3)
    assert fitted.dtype == np.uint8


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 300), st.integers(1, 300))
def test_a_crop_never_leaves_the_picture(h: int, w: int, height: int, width: int) -> None:
    fitted = fit_image(Image.new("RGB", (w, h), "white"), Preprocess(height, width, fit="crop"))
    assert (fitted == 255).all()


def test_a_picture_of_the_models_size_is_not_touched() -> None:
    pixels = noise(9, 7)
    for fit in FITS:
        spec = Preprocess(9, 7, fit=fit)
        assert np.array_equal(fit_image(pixels, spec), pixels)
        assert np.array_equal(fit_image(Image.fromarray(pixels), spec), pixels)


def test_crop_keeps_the_middle_and_pad_keeps_all() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, :10], pixels[:, 10:20], pixels[:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert (fit_image(pixels, Preprocess(10, 10, fit="crop")) == (0, 255, 0)).all()
    padded = fit_image(pixels, Preprocess(30, 30, fit="pad"))
    assert np.array_equal(padded[10:20], pixels)
    assert not padded[:10].any()
    assert not padded[20:].any()
    assert fit_image(pixels, Preprocess(1, 3))[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_crop_fraction_takes_the_centre() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[4:12, 4:12] = 200
    assert (fit_image(pixels, Preprocess(8, 8, fit="crop", crop_fraction=0.5)) == 200).all()
    assert not (fit_image(pixels, Preprocess(8, 8, fit="crop")) == 200).all()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
    ids=lambda f: f"{f.dtype}-{f.shape}",
)
@pytest.mark.parametrize("fit", FITS)
def test_a_frame_that_is_no_rgb_picture_is_refused(frame: Any, fit: Any) -> None:
    with pytest.raises(UsageError, match=r"must be uint8 \(H, W, 3\) RGB"):
        fit_image(frame, Preprocess(8, 8, fit=fit))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    grey = Image.new("RGB", (4, 4), "white").convert("L")
    assert (fit_image(grey.convert(mode), Preprocess(2, 2)) == 255).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
@pytest.mark.parametrize(("grey", "expected"), [(0, 0), (0x8001, 128), (0xFFFF, 255)])
def test_16_bit_greys_are_scaled_not_clipped(mode: str, grey: int, expected: int) -> None:
    image = Image.new(mode, (4, 4), grey)
    assert (fit_image(image, Preprocess(2, 2)) == expected).all()


def test_a_view_that_is_not_contiguous_is_fitted_as_its_copy() -> None:
    flipped = noise(12, 10)[:, ::-1]
    spec = Preprocess(5, 5)
    assert np.array_equal(fit_image(flipped, spec), fit_image(flipped.copy(), spec))


def test_normalise_is_pixel_minus_mean_over_std_in_the_models_order() -> None:
    pixels = np.array([[[10, 20, 30]]], np.uint8)
    mean, std = (1.0, 2.0, 3.0), (2.0, 4.0, 8.0)
    rgb = normalise(pixels, Preprocess(1, 1, mean=mean, std=std))
    assert rgb.dtype == np.float32
    assert rgb.tolist() == [[[4.5, 4.5, 3.375]]]
    bgr = normalise(pixels, Preprocess(1, 1, colour="BGR", mean=mean, std=std))
    assert bgr.tolist() == [[[14.5, 4.5, 0.875]]]
    assert pixels.tolist() == [[[10, 20, 30]]]


def test_the_named_normalisations_span_what_their_names_say() -> None:
    ends = np.array([[[0, 0, 0]], [[255, 255, 255]]], np.uint8)
    spans = {
        name: normalise(ends, Preprocess(1, 1, mean=mean, std=std))[:, 0, 0].tolist()
        for name, (mean, std) in NORMALISATIONS.items()
    }
    assert spans["tf"] == [-1, 1]
    assert spans["unit"] == [0, 1]
    assert spans["none"] == [0, 255]
    assert spans["torch"] == pytest.approx([-0.485 / 0.229, (1 - 0.485) / 0.229], rel=1e-4)


EVERY_PIXEL = np.stack([np.arange(256), np.arange(256)[::-1], np.roll(np.arange(256), 7)], -1)


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("stats", [NORMALISATIONS["torch"], EQUAL], ids=["unequal", "equal"])
@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1e-4, 4.0), share=st.floats(0, 1))
def test_the_encoders_table_is_quantise_of_normalise(
    colour: Any, dtype: str, stats: Any, scale: float, share: float
) -> None:
    info = np.iinfo(dtype)
    q = Quantisation(scale, round(info.min + share * (info.max - info.min)))
    spec = Preprocess(16, 16, colour=colour, mean=stats[0], std=stats[1])
    pixels = EVERY_PIXEL.astype(np.uint8).reshape(16, 16, 3)
    encoded = Encoder(spec, dtype, q)(pixels)
    assert encoded.dtype == dtype
    assert np.array_equal(encoded, quantise(normalise(pixels, spec), dtype, q))
    batch = Encoder(spec, dtype, q)(np.stack([pixels, pixels[::-1]]))
    assert np.array_equal(batch[1], encoded[::-1])


def test_a_float_model_gets_normalised_pixels() -> None:
    spec, pixels = Preprocess(4, 4, colour="BGR"), noise(4, 4)
    assert np.array_equal(Encoder(spec, "float32", None)(pixels), normalise(pixels, spec))


@pytest.mark.parametrize("q", [None, Quantisation(0, 0), Quantisation(-1, 0)])
def test_an_integer_model_needs_a_scale(q: Quantisation | None) -> None:
    with pytest.raises(UsageError, match="quantisation"):
        Encoder(Preprocess(1, 1), "int8", q)


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_other_input_types_are_refused(dtype: str) -> None:
    with pytest.raises(UsageError, match="valid are"):
        Encoder(Preprocess(1, 1), dtype, Quantisation(1, 0))


def test_quantise_rounds_ties_up_and_saturates() -> None:
    values = np.array([0.5, -0.5, 1.5, -1.5, 2.49, -2.51, 1e9, -1e9])
    got = quantise(values, np.int8, Quantisation(1.0, 0))
    assert got.tolist() == [1, 0, 2, -1, 2, -3, 127, -128]
    assert quantise(values[:2], np.uint8, Quantisation(1.0, 0)).tolist() == [1, 0]


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_the_commonest_table_is_pixel_minus_128(colour: Any) -> None:
    pixels = EVERY_PIXEL.astype(np.uint8).reshape(16, 16, 3)
    encoded = Encoder(Preprocess(16, 16, colour=colour), "int8", Quantisation(2 / 255, -1))(pixels)
    expected = pixels[..., ::-1] if colour == "BGR" else pixels
    assert encoded.dtype == np.int8
    assert np.array_equal(encoded.astype(int), expected.astype(int) - 128)


@settings(deadline=None)
@given(st.integers(-128, 127), st.integers(-128, 127), st.floats(1e-3, 10))
def test_dequantise_undoes_quantise(value: int, zero: int, scale: float) -> None:
    q = Quantisation(scale, zero)
    real = dequantise(np.array([value], np.int8), q)
    assert real[0] == pytest.approx(scale * (value - zero), rel=1e-6)
    assert quantise(real, np.int8, q)[0] == value


def test_dequantise_passes_floats_through() -> None:
    out = dequantise(np.array([1.5], np.float64), None)
    assert out.dtype == np.float32
    assert out.tolist() == [1.5]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"height": 0}, "0x1 must be at least 1x1"),
        ({"fit": "squash"}, "unknown fit 'squash'"),
        ({"colour": "rgb"}, "Did you mean RGB"),
        ({"crop_fraction": 0.0}, "crop_fraction 0.0"),
        ({"crop_fraction": float("nan")}, "crop_fraction nan"),
        ({"mean": (1.0, 2.0)}, "mean"),
        ({"mean": (float("inf"),) * 3}, "mean"),
        ({"std": (1.0, 0.0, 1.0)}, "std"),
        ({"std": (float("nan"),) * 3}, "std"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Preprocess(**{"height": 1, "width": 1, **change})


def test_a_spec_survives_its_own_dict() -> None:
    spec = Preprocess(3, 4, "crop", 0.875, "BGR", *NORMALISATIONS["torch"])
    assert from_plain(Preprocess, to_plain(spec), "x", UsageError) == spec
