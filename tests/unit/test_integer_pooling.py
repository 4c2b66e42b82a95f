"""Max pooling, dense layers inside the network and a last one that reads a map."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.errors import ArtifactError
from edge_sdk.integer_model import (
    Convolution,
    Dense,
    Grid,
    IntegerModel,
    MaxPool,
    read_integer_model,
    run,
    tensors,
    write_integer_model,
)
from edge_sdk.integer_model.layers import WIDE_BITS
from edge_sdk.integer_model.run import largest
from edge_sdk.preprocess import Preprocess

UNSIGNED = Grid(4, False, 0.5)
SHIFTS = {"hidden": 28, "hidden2": 26}


def dense_inside(
    name: str, source: str, shape: tuple[int, ...], seed: int, shift: int
) -> Convolution:
    """A convolution of drawn integers without padding, shape (kh, kw, in, out)."""
    rng = np.random.default_rng(seed)
    out = shape[3]
    return Convolution(
        name, source, (1, 1), (0, 0, 0, 0), 4, UNSIGNED, 0, 15, 0,
        rng.integers(-7, 8, shape).astype(np.int8),
        rng.integers(-20, 20, out).astype(np.int32),
        np.full(out, 2**23, np.int32),
        np.full(out, shift, np.int32),
        np.zeros(shape[2], np.int32),
    )  # fmt: skip


def scores(source: str, inputs: int, seed: int = 3) -> Dense:
    weights = np.random.default_rng(seed).integers(-127, 128, (inputs, 2)).astype(np.int8)
    return Dense("scores", source, 8, weights, np.float32([0.01, 0.02]), np.float32([0.5, -0.5]))


POOL = MaxPool("pool", "first", (2, 3), (2, 2), UNSIGNED)


def network(pool: MaxPool = POOL) -> IntegerModel:
    """6x7 pixels, a convolution, a pooling to 3x3, two dense layers inside, and the scores."""
    layers = (
        dense_inside("first", "image", (1, 1, 3, 4), 0, shift=31),
        pool,
        dense_inside("hidden", "pool", (3, 3, 4, 5), 1, shift=SHIFTS["hidden"]),
        dense_inside("hidden2", "hidden", (1, 1, 5, 6), 2, shift=SHIFTS["hidden2"]),
        scores("hidden2", 6),
    )
    return IntegerModel(Preprocess(6, 7), ("no", "yes"), "softmax", layers)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (count, 6, 7, 3)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("window", [(2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 3)])
def test_a_pooling_is_the_largest_of_each_window(dtype, window, stride) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0 if dtype is np.uint8 else -100, 100, (2, 7, 5, 3)).astype(dtype)
    layer = MaxPool("pool", "image", window, stride, UNSIGNED)
    got = largest(layer, x)
    h, w, channels = layer.output_shape({"image": x.shape[1:]})
    assert (got.shape, got.dtype) == ((2, h, w, channels), dtype)
    for y, z in np.ndindex(h, w):
        top, left = y * stride[0], z * stride[1]
        seen = x[:, top : top + window[0], left : left + window[1]]
        assert np.array_equal(got[:, y, z], seen.max(axis=(1, 2)))


def test_a_dense_layer_inside_is_a_matrix_over_the_map_row_by_row() -> None:
    model = network()
    got = tensors(model, pixels(3))
    assert got["pool"].shape == (3, 3, 3, 4)
    by_name = {layer.name: layer for layer in model.layers}
    for name in ("hidden", "hidden2"):
        layer = by_name[name]
        x = got[layer.input].reshape(3, -1).astype(int)
        sums = x @ layer.weights.reshape(x.shape[1], -1).astype(int) + layer.bias
        shift = SHIFTS[name]
        want = np.clip((sums * 2**23 + 2 ** (shift - 1)) >> shift, 0, 15)
        assert np.array_equal(got[name].reshape(3, -1), want)
        assert len(np.unique(want)) > 4, "all clipped shows nothing"
    x = got["hidden2"].reshape(3, -1).astype(int)
    want = x @ by_name["scores"].weights.astype(int) * [0.01, 0.02] + [0.5, -0.5]
    assert np.allclose(got["scores"], want, atol=1e-5)


def test_the_last_layer_reads_a_map_row_by_row() -> None:
    whole = network()
    model = dataclasses.replace(whole, layers=(*whole.layers[:2], scores("pool", 36)))
    got = tensors(model, pixels(2))
    x = got["pool"].reshape(2, -1).astype(int)
    assert np.allclose(
        got["scores"], x @ model.layers[2].weights.astype(int) * [0.01, 0.02] + [0.5, -0.5]
    )


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    model = network()
    write_integer_model(tmp_path / "m", model)
    again = read_integer_model(tmp_path / "m")
    assert again.layers[1] == model.layers[1]
    assert np.array_equal(run(again, pixels(4)), run(model, pixels(4)))
    path = tmp_path / "m" / "model.json"
    data = json.loads(path.read_text())
    data["layers"][1]["stride"] = [0, 2]
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match="layer 'pool': window and stride must be above 0"):
        read_integer_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (MaxPool("pool", "first", (2, 8), (2, 2), UNSIGNED), "the window is larger than the map"),
        (MaxPool("pool", "first", (2, 3), (2, 2), Grid(4, False, 0.25)), "that of its input"),
        (MaxPool("pool", "first", (2, 3), (2, 2), Grid(WIDE_BITS, True, 0.5)), "that of its input"),
        (MaxPool("pool", "first", (2, 2), (1, 1), UNSIGNED), "weights do not fit"),
    ],
)
def test_a_pooling_that_does_not_fit_is_refused(pool: MaxPool, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        network(pool)
