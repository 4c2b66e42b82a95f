"""Chips on layers made up here."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_sdk.backends.cim import profile as parts
from edge_sdk.backends.cim.cells import only
from edge_sdk.backends.cim.chip import Chip, calibrated, exact
from edge_sdk.backends.cim.kernel import Kernel, Kind
from edge_sdk.backends.cim.profile import CimProfile, Spread
from edge_sdk.errors import ProfileError, UsageError

NONE = Spread((0.0,), (0.0,), ((0.0,),))
COSTS = parts.Costs(*[0.0] * 14)


def profile(**changes: Any) -> CimProfile:
    """8-bit converters, 256 x 256 arrays, pairs of cells, nothing wrong. changes: part_field."""
    found = CimProfile(
        "test",
        "Test",
        parts.Chip("test", "analog", "PCM", 14, 0, True),
        parts.Array(256, 256, 256, 100),
        parts.Cells("balanced", 1, 8, 0),
        parts.Dac("parallel", 8),
        parts.Adc(False, 8, "max", 99.9, 0, 0),
        parts.Errors(
            NONE,
            NONE,
            parts.Drift(0, 0, 20),
            parts.Temperature(0, 25, 0, 85),
            0,
            0,
            0,
            0,
            0,
        ),
        parts.Layers("packed", "isolated"),
        COSTS,
        {},
        {},
    )
    for name, value in changes.items():
        part, _, field = name.partition("_")
        new = dataclasses.replace(getattr(found, part), **{field: value})
        found = dataclasses.replace(found, **{part: new})
    return found


def kernel(
    kind: Kind = "convolution",
    *,
    size: int = 3,
    channels: int = 20,
    outputs: int = 12,
    bits: int = 8,
    zero: int = 0,
    levels: tuple[int, int, int] = (-128, 127, 5),
    stride: int = 1,
    seed: int = 1,
) -> Kernel:
    rng = np.random.default_rng(seed)
    most = (1 << (bits - 1)) - 1
    shape: tuple[int, ...] = (size, size, channels, outputs)
    if kind == "depthwise":
        shape = (size, size, channels)
    if kind == "dense":
        shape = (channels, outputs)
    weights = rng.integers(-most, most + 1, shape).astype(np.int8)
    low, high, at = levels
    pad = size // 2
    padding = (pad, pad, pad, pad) if kind != "dense" else (0, 0, 0, 0)
    positions = ((9 - 1) // stride + 1,) * 2 if kind != "dense" else (1, 1)
    return Kernel(
        "layer", kind, weights, bits, zero, at, low, high, (stride, stride), padding, positions
    )


def images(k: Kernel, count: int = 2) -> npt.NDArray[np.int32]:
    shape = (count, k.inputs) if k.kind == "dense" else (count, 9, 9, k.inputs)
    rng = np.random.default_rng(7)
    return rng.integers(k.input_low, k.input_high + 1, shape).astype(np.int32)


def slow(k: Kernel, levels: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The definition of a kernel's sums, position by position."""
    x = levels.astype(np.int64) - k.input_zero
    w = k.weights.astype(np.int64) - k.zero
    if k.kind == "dense":
        return x @ w
    top, bottom, left, right = k.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    kh, kw = w.shape[:2]
    result = np.zeros((len(x), *k.positions, k.outputs), np.int64)
    for i in range(k.positions[0]):
        for j in range(k.positions[1]):
            y0, x0 = i * k.stride[0], j * k.stride[1]
            cut = x[:, y0 : y0 + kh, x0 : x0 + kw]
            how = "nyxc,yxc->nc" if k.kind == "depthwise" else "nyxc,yxco->no"
            result[:, i, j] = np.einsum(how, cut, w)
    return result


IDEAL = profile(adc_ideal=True)
LEVELS = [(-128, 127, 5), (-128, 127, -128), (0, 255, 0), (0, 15, 3), (0, 255, 128)]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("kind", ["convolution", "depthwise", "dense"])
@pytest.mark.parametrize("zero", [0, -7])
@pytest.mark.parametrize("mapping", [("balanced", 1), ("balanced", 2), ("offset", 1)])
@pytest.mark.parametrize("rows", [16, 256])
def test_an_ideal_array_is_exact(kind, levels, zero, mapping, rows) -> None:
    k = kernel(kind, levels=levels, zero=zero, stride=2 if kind == "convolution" else 1)
    wanted = slow(k, images(k))
    np.testing.assert_array_equal(exact(k, images(k)), wanted)
    chosen = profile(
        adc_ideal=True, cells_mapping=mapping[0], cells_sides=mapping[1], array_rows=rows
    )
    np.testing.assert_array_equal(Chip(chosen, [k])(k, images(k)), wanted)


@pytest.mark.parametrize("cell_bits", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("mode", ["parallel", "serial"])
@pytest.mark.parametrize("mapping", ["balanced", "offset"])
@pytest.mark.parametrize("on_off", [0.0, 10.0])
def test_slices_and_serial_inputs_are_exact(cell_bits, mode, mapping, on_off) -> None:
    k = kernel(zero=3)
    chosen = profile(
        adc_ideal=True,
        cells_bits=cell_bits,
        dac_mode=mode,
        cells_mapping=mapping,
        cells_on_off=on_off,
    )
    np.testing.assert_array_equal(Chip(chosen, [k])(k, images(k)), slow(k, images(k)))


@pytest.mark.parametrize("depthwise", ["digital", "packed", "column-serial", "dense"])
@pytest.mark.parametrize("zero_cells", ["isolated", "noisy"])
@pytest.mark.parametrize("mapping", ["balanced", "offset"])
def test_every_way_to_lay_out_a_depthwise_layer_is_exact(depthwise, zero_cells, mapping) -> None:
    k = kernel("depthwise", channels=50, zero=-3)
    chosen = profile(
        adc_ideal=True,
        layers_depthwise=depthwise,
        layers_zero_cells=zero_cells,
        cells_mapping=mapping,
    )
    chip = Chip(chosen, [k])
    assert chip.is_digital(k) == (depthwise == "digital")
    np.testing.assert_array_equal(chip(k, images(k)), slow(k, images(k)))
