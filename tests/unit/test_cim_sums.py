from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.backends.cim import sums
from edge_sdk.backends.cim.fixed_point import Rescale
from edge_sdk.backends.cim.kernel import Kernel, Kind


def kernel_of(
    kind: Kind, shape: tuple[int, ...], rng: np.random.Generator, *, size: int = 1, stride: int = 1,
    pad: int = 0, zero: int = 0, input_zero: int = 3,
) -> Kernel:  # fmt: skip
    """size: of the map, with `pad` on every side but one more below and on the right."""
    window = shape[:2] if kind != "dense" else (1, 1)
    oh, ow = (((size + 2 * pad + 1 - k) // stride + 1) for k in window)
    return Kernel(
        name="k", kind=kind, weights=rng.integers(-128, 128, shape).astype(np.int8), bits=8,
        zero=zero, input_zero=input_zero, input_low=-128, input_high=127, stride=(stride, stride),
        padding=(pad, pad + 1, pad, pad + 1), positions=(1, 1) if kind == "dense" else (oh, ow),
    )  # fmt: skip


def slow_sums(kernel: Kernel, levels: np.ndarray) -> np.ndarray:
    """One multiplication after the other."""
    weights = kernel.weights.astype(int) - kernel.zero
    x = levels.astype(int) - kernel.input_zero
    if kernel.kind == "dense":
        return x @ weights
    top, bottom, left, right = kernel.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    (oh, ow), (sy, sx), (kh, kw) = kernel.positions, kernel.stride, weights.shape[:2]
    out = np.zeros((len(x), oh, ow, kernel.outputs), int)
    for oy, ox in itertools.product(range(oh), range(ow)):
        part = x[:, oy * sy : oy * sy + kh, ox * sx : ox * sx + kw]
        if kernel.kind == "depthwise":
            out[:, oy, ox] = (part * weights).sum(axis=(1, 2))
        else:
            out[:, oy, ox] = np.tensordot(part, weights, 3)
    return out


@settings(deadline=None)  # the first call compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["convolution", "depthwise", "dense"]),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    zero=st.sampled_from([0, -5]),
)
def test_exact_sums_are_exact(
    seed: int, kind: Kind, window: tuple[int, int], stride: int, pad: int, zero: int
) -> None:
    rng = np.random.default_rng(seed)
    shapes: dict[Kind, tuple[int, ...]] = {
        "convolution": (*window, 5, 7), "depthwise": (*window, 6), "dense": (30, 8),
    }  # fmt: skip
    kernel = kernel_of(kind, shapes[kind], rng, size=6, stride=stride, pad=pad, zero=zero)
    image = (30,) if kind == "dense" else (6, 6, kernel.inputs)
    levels = rng.integers(-128, 128, (3, *image)).astype(np.int8)
    np.testing.assert_array_equal(sums.exact_sums(kernel, levels), slow_sums(kernel, levels))


@pytest.mark.parametrize(("rows", "dtype"), [(500, np.float32), (600, np.float64)])
def test_float32_is_used_only_where_it_is_exact(rows: int, dtype: type) -> None:
    """600 rows of the largest levels reach 600 x 128 x 255 > 2^24."""
    kernel = kernel_of("dense", (rows, 4), np.random.default_rng(0), input_zero=-128)
    kernel.weights[:] = -128
    kernel.weights[0] = -127
    levels = np.full((2, rows), 127, np.int8)
    found = sums.exact_sums(kernel, levels)
    assert found.dtype == dtype
    assert (found == -(rows * 128 - 1) * 255).all()


def test_depthwise_in_one_pass_is_sums_then_levels() -> None:
    rng = np.random.default_rng(2)
    kernel = kernel_of("depthwise", (3, 3, 24), rng, size=9, pad=1)
    levels = rng.integers(-128, 128, (2, 9, 9, 24)).astype(np.int8)
    exponent = np.full(24, 8, np.int32)
    rescale = Rescale(
        rng.integers(-999, 999, 24).astype(np.int32),
        rng.integers(2**30, 2**31 - 1, 24).astype(np.int32),
        np.zeros(24, np.int32), exponent, 4, -128, 127, np.dtype("int8"), False,
    )  # fmt: skip
    two_passes = sums.levels_of_sums(sums.exact_sums(kernel, levels), rescale)
    assert len(np.unique(two_passes)) > 20
    np.testing.assert_array_equal(sums.depthwise_levels(kernel, levels, rescale), two_passes)


def test_rows_are_in_the_order_of_the_weights() -> None:
    rng = np.random.default_rng(3)
    kernel = kernel_of("convolution", (3, 2, 4, 5), rng, size=6, pad=1)
    levels = rng.integers(-128, 128, (2, 6, 6, 4)).astype(np.int8)
    rows = np.empty((2 * kernel.positions[0] * kernel.positions[1], kernel.rows), np.float32)
    sums.window_rows(kernel, levels, kernel.input_zero, rows)
    product = rows @ kernel.weights.reshape(kernel.rows, -1).astype(np.float32)
    expected = slow_sums(kernel, levels).reshape(product.shape)
    np.testing.assert_array_equal(product, expected)


def test_rows_less_another_level_hold_the_distance_in_padding() -> None:
    rng = np.random.default_rng(4)
    kernel = kernel_of("convolution", (3, 3, 2, 5), rng, size=5, pad=1)
    levels = rng.integers(-128, 128, (3, 5, 5, 2)).astype(np.int8)
    count = 3 * kernel.positions[0] * kernel.positions[1]
    at_zero, at_five = (np.empty((count, kernel.rows), np.float32) for _ in range(2))
    sums.window_rows(kernel, levels, kernel.input_zero, at_zero)
    sums.window_rows(kernel, levels, 5, at_five)
    np.testing.assert_array_equal(at_five, at_zero + (kernel.input_zero - 5))
