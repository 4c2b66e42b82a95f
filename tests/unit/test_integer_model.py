from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import ArtifactError, UsageError
from edge_sdk.files import sha256
from edge_sdk.integer_model import (
    Convolution,
    Dense,
    Depthwise,
    Grid,
    IntegerModel,
    Pool,
    Requantise,
    Sum,
    read_integer_model,
    rescaling,
    run,
    tensors,
    write_integer_model,
)
from edge_sdk.integer_model.layers import WIDE_BITS
from edge_sdk.integer_model.run import exact_sums, requantised, rescaled
from edge_sdk.preprocess import Preprocess

UNSIGNED = Grid(4, False, 0.5)
SIGNED = Grid(4, True, 0.25)
WIDE = Grid(WIDE_BITS, True, 1e-4)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def convolution(rng, shape, name="conv", source="image", output=UNSIGNED, **changes):
    """A convolution of drawn integers, or a depthwise one where shape has three numbers."""
    kind = Convolution if len(shape) == 4 else Depthwise
    inputs, out = shape[-2] if len(shape) == 4 else shape[-1], shape[-1]
    values = {
        "stride": (1, 1),
        "padding": (1, 1, 1, 1),
        "weight_bits": 4,
        "low": output.low,
        "high": output.high,
        "fraction": 8,
        "weights": rng.integers(-7, 8, shape).astype(np.int8),
        "bias": rng.integers(-60_000, 60_000, out).astype(np.int32),
        "mantissa": rng.integers(2**23, 2**24, out).astype(np.int32),
        "shift": rng.integers(37, 40, out).astype(np.int32),
        "offset": np.zeros(inputs, np.int32),
    }
    return kind(name=name, input=source, output=output, **(values | changes))


def by_loops(layer, x):
    """The docstring of layers.py, with Python's integers. x: (h, w, in)."""
    (top, bottom, left, right), (sy, sx) = layer.padding, layer.stride
    kh, kw = layer.weights.shape[:2]
    h, w, inputs = x.shape
    oh, ow = (h + top + bottom - kh) // sy + 1, (w + left + right - kw) // sx + 1
    out = np.zeros((oh, ow, layer.channels[1]), int)
    for oy, ox, o in np.ndindex(out.shape):
        total = border = 0
        for ky, kx, i in np.ndindex(kh, kw, inputs):
            y, z = oy * sy + ky - top, ox * sx + kx - left
            if isinstance(layer, Depthwise) and i != o:
                continue
            if 0 <= y < h and 0 <= z < w:
                depthwise = isinstance(layer, Depthwise)
                weight = int(layer.weights[ky, kx, o] if depthwise else layer.weights[ky, kx, i, o])
                total += weight * int(x[y, z, i])
                border += weight * int(layer.offset[i])
        v = (total << layer.fraction) + border + int(layer.bias[o])
        shift = int(layer.shift[o])
        level = (v * int(layer.mantissa[o]) + (1 << (shift - 1))) >> shift
        out[oy, ox, o] = min(max(level, layer.low), layer.high)
    return out


def tiny(rng=None, labels=("no", "yes")) -> IntegerModel:
    """An inverted residual on 6x5 pixels: every kind of layer."""
    rng = rng or np.random.default_rng(4)
    wide = {"output": WIDE, "padding": (0, 0, 0, 0), "shift": ints(*[24] * 4)}
    first, fine = ints(*[40] * 6), ints(*[35] * 4)
    layers = (
        convolution(rng, (3, 3, 3, 6), "first", shift=first, stride=(2, 2), offset=ints(-5, 0, 9)),
        convolution(rng, (1, 1, 6, 4), "narrow", "first", **wide),
        Requantise("narrow_input", "narrow", SIGNED, *scalars(WIDE.scale / SIGNED.scale)),
        convolution(rng, (1, 1, 4, 4), "expand", "narrow_input", padding=(0, 0, 0, 0), shift=fine),
        convolution(rng, (3, 3, 4), "depthwise", "expand", shift=fine),
        convolution(rng, (1, 1, 4, 4), "project", "depthwise", **wide),
        Sum("sum", "narrow", "project", WIDE, 0, WIDE.high),
        Pool("pool", "sum", UNSIGNED, *scalars(WIDE.scale / 9 / UNSIGNED.scale)),
        Dense(
            "scores", "pool", 8,
            rng.integers(-127, 128, (4, 2)).astype(np.int8),
            np.float32([0.01, 0.02]), np.float32([0.5, -0.5]),
        ),
    )  # fmt: skip
    return IntegerModel(Preprocess(6, 5), labels, "softmax", layers)


def scalars(factor: float) -> tuple[int, int]:
    mantissa, shift = rescaling(np.array([factor]))
    return int(mantissa[0]), int(shift[0])


def pixels(count: int, model: IntegerModel, seed: int = 0) -> np.ndarray:
    size = (count, model.preprocess.height, model.preprocess.width, 3)
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


@given(st.floats(1e-8, 1e6))
def test_a_factor_becomes_a_mantissa_and_a_shift(factor) -> None:
    mantissa, shift = scalars(factor)
    assert abs(Fraction(mantissa, 2**shift) / Fraction(factor) - 1) <= Fraction(1, 2**24)
    assert 2**23 <= mantissa <= 2**24 or shift == 52


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0**23, np.inf, np.nan])
def test_a_factor_that_has_no_integer_form_is_refused(factor) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        rescaling(np.array([1.0, factor]))


@given(st.integers(-(2**37), 2**37), st.integers(0, 2**24), st.integers(1, 52))
def test_requantising_is_a_fraction_rounded_to_the_nearest_with_halves_up(v, mantissa, shift):
    got = int(requantised(np.array([v]), mantissa, shift, -(2**23), 2**23)[0])
    exact = (Fraction(v * mantissa, 2**shift) + Fraction(1, 2)).__floor__()
    assert got == min(max(exact, -(2**23)), 2**23)


def test_halves_go_up_on_both_sides_of_zero() -> None:
    assert requantised(np.array([-3, -1, 1, 3]), 1, 1, -7, 7).tolist() == [-1, 0, 1, 2]
    assert requantised(np.array([-300, 300]), 1, 1, -7, 7).tolist() == [-7, 7]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from([UNSIGNED, SIGNED, WIDE]),
    st.sampled_from([np.float32, np.int16, np.int64]),
    st.integers(1, 52),
    st.integers(0, 16),
)
def test_rescaling_in_float64_is_the_definition(seed, output, number, shift, fraction) -> None:
    rng = np.random.default_rng(seed)
    layer = convolution(
        rng, (1, 1, 2, 5), output=output, fraction=fraction, shift=ints(*[shift] * 5)
    )
    sums = rng.integers(-20_000, 20_000, (2, 3, 4, 5))
    v = sums * 2**fraction + layer.bias
    want = requantised(v, layer.mantissa, layer.shift, layer.low, layer.high)
    got = rescaled(layer, sums.astype(number), (3, 4))
    assert got.dtype == output.dtype
    assert np.array_equal(got, want)


@pytest.mark.parametrize("shape", [(3, 3, 3, 5), (1, 1, 3, 4), (2, 3, 3, 2), (3, 3, 3), (5, 5, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (0, 1, 0, 1), (2, 1, 1, 2)])
def test_layers_with_weights_are_what_loops_compute(shape, stride, padding) -> None:
    rng = np.random.default_rng(sum(shape))
    x = rng.integers(0, 256, (2, 7, 6, 3)).astype(np.uint8)
    layer = convolution(
        rng, shape, stride=stride, padding=padding, shift=ints(*[30] * shape[-1]), output=WIDE,
        offset=ints(-32_640, 17, 0),
    )  # fmt: skip
    got = rescaled(layer, exact_sums(layer, x), x.shape[1:3])
    want = np.stack([by_loops(layer, image) for image in x])
    assert len(np.unique(want)) > 5, "a test in which everything is clipped shows nothing"
    assert np.array_equal(got, want)


def test_a_sum_too_large_for_float32_is_exact() -> None:
    weights = np.full((1, 1, 600, 1), 127, np.int8)
    rng = np.random.default_rng(0)
    layer = convolution(rng, weights.shape, weights=weights, weight_bits=8, padding=(0, 0, 0, 0))
    x = np.full((1, 1, 1, 600), 255, np.uint8)
    x[..., 0] = 254
    assert exact_sums(layer, x).item() == 127 * (255 * 600 - 1)


def test_a_sum_too_large_for_int16_is_exact() -> None:
    weights = np.full((3, 3, 2), 127, np.int8)
    rng = np.random.default_rng(0)
    layer = convolution(rng, weights.shape, weights=weights, weight_bits=8, padding=(0, 0, 0, 0))
    sums = exact_sums(layer, np.full((1, 3, 3, 2), 255, np.uint8))
    assert sums.reshape(-1).tolist() == [127 * 255 * 9] * 2


@pytest.mark.parametrize("mantissa", [2**23 + 1, 2**23 + 12_345, 2**24 - 1])
def test_a_product_too_large_for_float64_is_exact(mantissa) -> None:
    """v * mantissa is one below a half of 2^36, which only 60 bits tell from the half."""
    v = (2**35 - 1) * pow(mantissa, -1, 2**36) % 2**36
    v -= 2**36 * (v >= 2**35)
    layer = convolution(
        np.random.default_rng(0), (1, 1, 1, 1), output=WIDE, bias=ints(0), fraction=0,
        mantissa=ints(mantissa), shift=ints(36),
    )  # fmt: skip
    got = rescaled(layer, np.full((1, 1, 1, 1), v, np.float64), (1, 1)).item()
    assert abs(v * mantissa) > 2**54
    assert got == (v * mantissa) // 2**36


def test_padding_is_a_real_zero_where_pixels_have_an_offset() -> None:
    """One pixel of 200, mean 127.5: the 3x3 window of ones sees (200 - 127.5) and no border."""
    layer = convolution(
        np.random.default_rng(0), (3, 3, 1, 1), weights=np.ones((3, 3, 1, 1), np.int8),
        output=WIDE, bias=ints(0), fraction=1, offset=ints(-255), mantissa=ints(1), shift=ints(1),
    )  # fmt: skip
    x = np.full((1, 1, 1, 1), 200, np.uint8)
    # In halves: (400 - 255) / 2 = 72.5, which goes up.
    assert rescaled(layer, exact_sums(layer, x), (1, 1)).item() == 73


def test_the_whole_network_is_its_layers_one_after_another() -> None:
    model = tiny()
    image = pixels(1, model)
    got = {name: values[0] for name, values in tensors(model, image).items()}
    by_name = {layer.name: layer for layer in model.layers}
    for name in ("first", "narrow", "expand", "depthwise", "project"):
        layer = by_name[name]
        assert np.array_equal(got[name], by_loops(layer, got[layer.input])), name
        assert len(np.unique(got[name])) > 2, name
    total = np.clip(got["narrow"].astype(int) + got["project"], 0, WIDE.high)
    assert np.array_equal(got["sum"], total)
    pooled = total.mean(axis=(0, 1)) * WIDE.scale / UNSIGNED.scale
    assert np.abs(np.clip(pooled, 0, 15) - got["pool"]).max() <= 0.5 + 1e-6
    scores = got["pool"].astype(int) @ by_name["scores"].weights.astype(int)
    want = scores * np.float64([0.01, 0.02]) + [0.5, -0.5]
    assert np.allclose(got["scores"], want, atol=1e-5)
    odds = np.exp(want - want.max())
    assert np.allclose(run(model, image)[0], odds / odds.sum(), atol=1e-5)


def test_images_do_not_depend_on_those_beside_them() -> None:
    model = tiny()
    many = pixels(19, model)
    together = run(model, many)
    assert together.shape == (19, 2)
    assert together.dtype == np.float32
    assert np.array_equal(
        together, np.concatenate([run(model, many[i : i + 1]) for i in range(19)])
    )


def test_another_arithmetic_gets_each_layer_with_integers() -> None:
    model, seen = tiny(), {}

    def emulator(layer, levels):
        seen[layer.name] = (levels.dtype, layer.weights.dtype)
        return exact_sums(layer, levels) * (0 if layer.name == "scores" else 1)

    probabilities = run(model, pixels(2, model), emulator)
    assert list(seen) == ["first", "narrow", "expand", "depthwise", "project", "scores"]
    assert {str(t) for types in seen.values() for t in types} == {"uint8", "int8"}
    assert np.allclose(probabilities, np.exp([0.5, -0.5]) / np.exp([0.5, -0.5]).sum())


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 6, 5, 3), np.float32),
        np.zeros((6, 5, 3), np.uint8),
        np.zeros((0, 6, 5, 3), "u1"),
    ],
)
def test_pixels_of_another_form_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match=r"must be uint8 \(N, 6, 5, 3\)"):
        run(tiny(), wrong)


def test_a_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    model = tiny()
    write_integer_model(tmp_path / "m", model)
    again = read_integer_model(tmp_path / "m")
    assert (again.preprocess, again.labels, again.activation) == (
        model.preprocess, model.labels, model.activation,
    )  # fmt: skip
    for new, old in zip(again.layers, model.layers, strict=True):
        assert type(new) is type(old)
        for f in dataclasses.fields(old):
            assert np.array_equal(getattr(new, f.name), getattr(old, f.name))
    with pytest.raises(UsageError, match="exists"):
        write_integer_model(tmp_path / "m", model)
    write_integer_model(tmp_path / "m", tiny(labels=()), replace=True)
    assert read_integer_model(tmp_path / "m").labels == ()


def _edit(folder: Path, change) -> None:
    path = folder / "model.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _arrays(change):
    """An edit of the arrays whose sha256 is put right: a wrong writer rather than damage."""

    def damage(folder: Path) -> None:
        with np.load(folder / "model.npz") as file:
            arrays = dict(file)
        change(arrays)
        np.savez(folder / "model.npz", **arrays)
        _edit(folder, lambda d: d.update(sha256=sha256(folder / "model.npz")))

    return damage


def _flip(folder: Path) -> None:
    raw = bytearray((folder / "model.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "model.npz").write_bytes(raw)


DAMAGE = {
    "a flipped bit": (_flip, "is not the file"),
    "no arrays": (lambda f: (f / "model.npz").unlink(), "damaged"),
    "no json": (lambda f: (f / "model.json").write_text("{"), "damaged"),
    "another format": (lambda f: _edit(f, lambda d: d.update(format=2)), "format must be 1"),
    "no layers": (lambda f: _edit(f, lambda d: d.pop("layers")), "layers must be a list"),
    "no label": (lambda f: _edit(f, lambda d: d.update(labels=["a"])), "1 names for 2 classes"),
    "a kind": (lambda f: _edit(f, lambda d: d["layers"][0].update(kind="x")), "kind must be one"),
    "a key": (lambda f: _edit(f, lambda d: d["layers"][0].pop("low")), "missing key 'low'"),
    "a field": (lambda f: _edit(f, lambda d: d["layers"][0].update(a=1)), "unknown key 'a'"),
    "a clamp": (lambda f: _edit(f, lambda d: d["layers"][0].update(high=16)), "clamp 0 to 16"),
    "a source": (lambda f: _edit(f, lambda d: d["layers"][1].update(input="x")), "no layer 'x'"),
    "a stride": (lambda f: _edit(f, lambda d: d["layers"][0].update(stride=[0, 1])), "stride"),
    "a grid": (lambda f: _edit(f, lambda d: d["layers"][6]["output"].update(scale=1)), "one grid"),
    "a name": (lambda f: _edit(f, lambda d: d["layers"][1].update(name="first")), "twice"),
    "the end": (lambda f: _edit(f, lambda d: d["layers"].pop()), "last layer must be"),
    "an array": (_arrays(lambda a: a.pop("0.bias")), "cannot be read"),
    "a type": (_arrays(lambda a: a.update({"0.bias": np.ones(6, "i8")})), "int64, not int32"),
    "a length": (_arrays(lambda a: a.update({"0.bias": a["0.bias"][:2]})), "bias must be int32"),
    "a weight": (_arrays(lambda a: a["0.weights"].fill(8)), "between -7 and 7"),
    "a rank": (_arrays(lambda a: a.update({"0.weights": a["0.weights"][0]})), "4 dimensions"),
    "a shift": (_arrays(lambda a: a["0.shift"].fill(63)), "shift must be between"),
    "a mantissa": (_arrays(lambda a: a["0.mantissa"].fill(-1)), "mantissa must be between"),
    "a score": (_arrays(lambda a: a["8.scale"].fill(np.nan)), "must be finite"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_an_error_that_says_what_is_wrong(tmp_path: Path, what: str) -> None:
    damage, message = DAMAGE[what]
    write_integer_model(tmp_path / "m", tiny())
    damage(tmp_path / "m")
    with pytest.raises(ArtifactError, match=message):
        read_integer_model(tmp_path / "m")


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no integer model"):
        read_integer_model(tmp_path / "nothing")
