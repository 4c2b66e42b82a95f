"""Chips on layers made up here."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_sdk.backends.cim import profile as parts
from edge_sdk.backends.cim.chip import Chip, calibrated
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


def read(chip: Chip, k: Kernel, levels: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    return np.asarray(chip(k, levels), np.float64)


@pytest.mark.parametrize("rows", [32, 256])
@pytest.mark.parametrize("bits", [6, 8, 12])
def test_a_converter_is_off_by_half_a_step_per_array_at_most(rows: int, bits: int) -> None:
    k = kernel(levels=(-128, 127, -128))
    chip = Chip(profile(array_rows=rows, adc_bits=bits), [k])
    off = np.abs(read(chip, k, images(k)) - slow(k, images(k)))
    allowed = sum(b.codes.step / 2 for b in chip.layers["layer"].blocks if b.codes) + 0.5
    assert 0 < off.max() <= allowed
    assert off.max() > allowed / 4


def void(_: object) -> None:
    pass


def test_percentile_and_mse_ranges_come_closer_than_the_largest_possible_sum() -> None:
    k = kernel(levels=(-128, 127, -128), channels=28)
    wanted = slow(k, images(k))

    def error(**adc: Any) -> float:
        chosen = profile(**adc)
        ranges = calibrated(chosen, [k], lambda sums: void(sums(k, images(k))))
        return float(((read(Chip(chosen, [k], ranges=ranges), k, images(k)) - wanted) ** 2).mean())

    by_max, by_mse = error(adc_range="max"), error(adc_range="mse")
    by_all = error(adc_range="percentile", adc_percentile=100.0)
    assert by_mse <= by_all * 1.01
    assert by_all < by_max / 10
    assert error(adc_range="percentile", adc_percentile=60.0) > by_all * 10


def test_calibration_hands_on_exact_sums_and_asks_for_nothing_where_the_range_is_max() -> None:
    k = kernel()
    seen = []
    calibrated(profile(adc_range="mse"), [k], lambda sums: seen.append(sums(k, images(k))))
    np.testing.assert_array_equal(seen[0], slow(k, images(k)))
    assert calibrated(profile(), [k], lambda _: pytest.fail("run")) == {}
    with pytest.raises(ProfileError, match=r"adc\.range is mse.*'layer'.*calibrate"):
        Chip(profile(adc_range="mse"), [k])


def test_each_slice_has_a_range_of_its_own() -> None:
    k = kernel()
    chosen = profile(adc_range="percentile", adc_percentile=100.0, cells_bits=3)
    ranges = calibrated(chosen, [k], lambda sums: void(sums(k, images(k))))
    assert sorted(ranges) == [("layer", 0), ("layer", 1), ("layer", 2)]
    assert len(set(ranges.values())) == 3


CONSTANT = Spread((0.0,), (0.0,), ((0.02,),))


def test_a_chip_is_its_seed_and_its_layers_do_not_depend_on_each_other() -> None:
    k, other = kernel(), dataclasses.replace(kernel(seed=3), name="other")
    noisy = profile(errors_programming=CONSTANT, adc_ideal=True)
    first = read(Chip(noisy, [k], seed=4), k, images(k))
    np.testing.assert_array_equal(read(Chip(noisy, [other, k], seed=4), k, images(k)), first)
    assert np.abs(read(Chip(noisy, [k], seed=5), k, images(k)) - first).max() > 100
    renamed = dataclasses.replace(k, name="renamed")
    assert np.abs(read(Chip(noisy, [renamed], seed=4), renamed, images(k)) - first).max() > 100
    kept = Chip(noisy, [other, k], seed=4, digital=frozenset({"layer"}))
    np.testing.assert_array_equal(kept(k, images(k)), slow(k, images(k)))
    with pytest.raises(UsageError, match=r"unknown layer 'lay'.*layer"):
        Chip(noisy, [k], digital=frozenset({"lay"}))


@pytest.mark.parametrize("sides", [1, 2])
def test_programming_error_has_the_spread_of_the_table(sides: int) -> None:
    """Two sides, weights of 0: both cells in the middle, no conductance near 0 to stop at."""
    k = kernel("dense", channels=200, outputs=400, levels=(0, 255, 0))
    k = dataclasses.replace(k, weights=np.zeros_like(k.weights))
    chosen = profile(errors_programming=CONSTANT, adc_ideal=True, cells_sides=sides)
    x = images(k, 1)
    found = read(Chip(chosen, [k], seed=1), k, x)
    full = 127 * 0.02 * np.sqrt(float((x.astype(float) ** 2).sum()))
    # One side: cells at 0 keep the upper half of their error, variance 1/2 - 1/(2 pi) each.
    wanted = full * np.sqrt(2 if sides == 2 else 2 * (0.5 - 1 / (2 * np.pi)))
    assert found.std() == pytest.approx(wanted, rel=0.1)


def test_retention_grows_the_same_error() -> None:
    table = Spread((0.0,), (0.0, 100.0), ((0.01,), (0.03,)))
    k = kernel()
    # No conductance comes near 0, where errors stop.
    k = dataclasses.replace(k, weights=k.weights // 2)
    chip = Chip(profile(errors_programming=table, adc_ideal=True, cells_sides=2), [k], seed=2)
    exact = slow(k, images(k))
    young, old = (read(c, k, images(k)) - exact for c in (chip, chip.at(100.0)))
    np.testing.assert_array_equal(read(chip.at(0.0), k, images(k)) - exact, young)
    np.testing.assert_allclose(old, 3 * young, atol=2)


def test_drift_shrinks_sums_and_compensation_scales_them_back() -> None:
    k = kernel("dense", channels=200, outputs=300)
    chosen = profile(errors_drift=parts.Drift(0.06, 0.01, 20), adc_ideal=True)
    exact = slow(k, images(k))
    day = 86_400.0
    fresh = Chip(chosen, [k], time_s=20)
    np.testing.assert_array_equal(fresh(k, images(k)), exact)

    def slope(chip: Chip) -> float:
        return float(np.polyfit(exact.ravel(), read(chip, k, images(k)).ravel(), 1)[0])

    assert slope(fresh.at(day)) == pytest.approx((day / 20) ** -0.06, rel=0.01)
    assert slope(Chip(chosen, [k], time_s=day, compensate_drift=True)) == pytest.approx(1, abs=0.01)


def test_temperature_is_a_gain_and_known_between_bounds() -> None:
    k = kernel()
    chosen = profile(errors_temperature=parts.Temperature(0.001, 25, 0, 85), adc_ideal=True)
    chip = Chip(chosen, [k])
    exact = slow(k, images(k))
    np.testing.assert_array_equal(chip(k, images(k)), exact)
    # What the digital side subtracts does not warm up: gain on the sum over x - 5 and x alike.
    hot = read(chip.at(0, 75), k, images(k))
    assert np.polyfit(exact.ravel(), hot.ravel(), 1)[0] == pytest.approx(1.05, abs=2e-3)
    for celsius in (-1.0, 86.0, float("nan")):
        with pytest.raises(UsageError, match=r"temperature .*low_c.*0 to 85"):
            chip.at(0, celsius)
    with pytest.raises(UsageError, match="time since programming is -1"):
        chip.at(-1)


@pytest.mark.parametrize("mapping", ["balanced", "offset"])
def test_stuck_cells_sit_at_the_ends(mapping: str) -> None:
    k = kernel("dense", channels=200, outputs=300)
    chosen = profile(errors_stuck_on=1.0, adc_ideal=True, cells_mapping=mapping)
    weights = Chip(chosen, [k]).layers["layer"].blocks[0].weights
    assert set(np.unique(weights)) == ({0.0} if mapping == "balanced" else {255.0})
    some = dataclasses.replace(chosen, errors=dataclasses.replace(chosen.errors, stuck_on=0.1))
    changed = Chip(some, [k]).layers["layer"].blocks[0].weights - k.weights
    share = 0.19 if mapping == "balanced" else 0.1
    base = 0.0 if mapping == "balanced" else 128.0
    assert (np.abs(changed - base) > 0.5).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("table", [CONSTANT, Spread((0.0, 1.0), (0.0,), ((0.005, 0.03),))])
def test_read_noise_has_the_variance_of_its_cells_at_every_read(table: Spread) -> None:
    k = kernel("dense", channels=100, outputs=40)
    chip = Chip(profile(errors_read=table, adc_ideal=True), [k])
    x = images(k, 1)
    found = np.concatenate([read(chip, k, x) for _ in range(2000)]) - slow(k, x)
    share = np.abs(k.weights / 127)
    sigma = [np.interp(g, table.g, table.sigma[0]) * 127 for g in (share, 0 * share)]
    driven = x.astype(float) - chip.layers["layer"].drive.reference
    wanted = np.sqrt(driven**2 @ (sigma[0] ** 2 + sigma[1] ** 2))[0]
    np.testing.assert_allclose(found.std(axis=0), wanted, rtol=0.08)
    assert found.std(axis=0).mean() == pytest.approx(wanted.mean(), rel=0.01)
    assert np.abs(found.mean(axis=0)).max() < 5 * wanted.max() / np.sqrt(len(found))


def test_reads_start_anew_by_a_key() -> None:
    k = kernel()
    chip = Chip(profile(errors_read=CONSTANT), [k], seed=1)
    chip.new_reads(7)
    first, second = chip(k, images(k)), chip(k, images(k))
    assert np.abs(np.asarray(first) - second).max() > 0
    chip.new_reads(7)
    np.testing.assert_array_equal(chip(k, images(k)), first)


def test_zero_cells_of_a_filled_up_depthwise_layer_add_their_error_unless_cut_off() -> None:
    k = kernel("depthwise", channels=96, levels=(0, 255, 0))
    exact = slow(k, images(k))

    def error(**layers: str) -> float:
        changes: dict[str, Any] = {f"layers_{n}": v for n, v in layers.items()}
        chosen = profile(errors_programming=CONSTANT, adc_ideal=True, **changes)
        return float((read(Chip(chosen, [k], seed=1), k, images(k)) - exact).std() / exact.std())

    serial = error(depthwise="column-serial")
    assert error(depthwise="packed") == pytest.approx(serial, rel=0.15)
    assert error(depthwise="dense") == pytest.approx(serial, rel=0.15)
    packed = error(depthwise="packed", zero_cells="noisy")
    dense = error(depthwise="dense", zero_cells="noisy")
    assert serial * 2 < packed < dense / 1.3


def test_serial_inputs_are_converted_bit_by_bit() -> None:
    k = kernel("dense", channels=200, outputs=50, levels=(0, 255, 0))
    chip = Chip(profile(dac_mode="serial"), [k])
    x = images(k, 1)
    step = chip.layers["layer"].blocks[0].codes.step
    wanted = sum(
        2**bit * step * np.rint(((x >> bit) & 1) @ k.weights.astype(float) / step)
        for bit in range(8)
    )
    np.testing.assert_allclose(read(chip, k, x), np.rint(wanted), atol=1)


def test_a_dac_of_fewer_bits_rounds_levels() -> None:
    k = kernel("dense", channels=200, outputs=50, levels=(0, 255, 0))
    chip = Chip(profile(dac_bits=4, adc_ideal=True), [k])
    wanted = (np.rint(images(k) / 17) * 17) @ k.weights.astype(int)
    np.testing.assert_allclose(read(chip, k, images(k)), wanted, atol=1)


def test_converters_that_are_not_straight_are_shared_by_columns() -> None:
    k = kernel("dense", channels=100, outputs=64)
    bent = profile(adc_offset_lsb=1.0, adc_inl_lsb=2.0, array_adcs=8, array_columns=32)
    block = Chip(bent, [k], seed=1).layers["layer"].blocks[0]
    assert block.offset is not None
    assert block.bow is not None
    assert len(np.unique(block.offset)) == 16
    assert np.abs(block.bow).max() <= 2
    found = read(Chip(bent, [k], seed=1), k, images(k)) - read(Chip(profile(), [k]), k, images(k))
    step = block.codes.step if block.codes else 0
    assert 0 < np.abs(found).max() <= step * (np.abs(block.offset).max() + 3)


def test_wires_take_from_far_cells_and_the_whole_network_agrees() -> None:
    k = kernel("dense", channels=60, outputs=40, levels=(0, 255, 0))
    k = dataclasses.replace(k, weights=np.full_like(k.weights, 127))
    wired = profile(errors_row_ohm=2.0, errors_column_ohm=2.0, errors_cell_ohm=1e5, adc_ideal=True)
    first = Chip(wired, [k]).layers["layer"].blocks[0].weights
    assert np.all(np.diff(first, axis=0) > 0)  # columns are sensed behind the last row
    assert np.all(np.diff(first, axis=1) < 0)  # inputs enter at the first column
    whole = Chip(wired, [k], exact_wires=True).layers["layer"].blocks[0].weights
    np.testing.assert_allclose(first, whole, rtol=0.01)


def test_a_digital_chip_is_exact() -> None:
    k = kernel()
    chip = Chip(profile(chip_paradigm="digital"), [k])
    assert chip.is_digital(k)
    np.testing.assert_array_equal(chip(k, images(k)), slow(k, images(k)))


def test_long_sums_stay_exact() -> None:
    """Sums of 255 x 127 over 2,000 rows pass 2^24."""
    k = kernel("dense", channels=2000, outputs=8, levels=(0, 255, 0))
    k = dataclasses.replace(k, weights=np.full_like(k.weights, 127))
    x = np.full((1, 2000), 255, np.int32)
    x[0, 0] = 254
    for rows in (256, 4096):
        chip = Chip(profile(adc_ideal=True, array_rows=rows), [k])
        np.testing.assert_array_equal(chip(k, x), slow(k, x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adc_bits": 0}, r"adc\.bits is 0"),
        ({"adc_bits": 17}, r"adc\.bits is 17"),
        ({"adc_percentile": 0.0, "adc_range": "percentile"}, r"adc\.percentile is 0"),
        ({"adc_inl_lsb": -1.0}, r"adc\.inl_lsb is -1"),
        ({"dac_bits": 0}, r"dac\.bits is 0"),
        ({"cells_bits": 0}, r"cells\.bits is 0"),
        ({"cells_on_off": 0.5}, r"cells\.on_off is 0\.5"),
        ({"array_rows": 0}, r"array\.rows is 0"),
        ({"array_rows": 70_000}, r"array\.rows is 70000.*32 bits"),
        ({"errors_programming": Spread((0.0,), (0.0,), ((-0.1,),))}, r"programming\.sigma"),
        ({"errors_read": Spread((0.0,), (0.0,), ((float("nan"),),))}, r"read\.sigma"),
        ({"errors_stuck_off": 1.5}, r"errors\.stuck_off is 1\.5"),
        ({"errors_row_ohm": -1.0}, r"errors\.row_ohm is -1"),
        ({"errors_row_ohm": 1.0}, r"errors\.cell_ohm is 0"),
        ({"errors_drift": parts.Drift(0.1, -0.1, 20)}, r"nu_sigma is -0\.1"),
        ({"errors_drift": parts.Drift(0.1, 0.1, 0)}, r"t0_s is 0"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        Chip(profile(**change), [kernel()])
