"""Levels to voltages, sums to codes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.backends.cim import converters, loops
from edge_sdk.backends.cim.array import row_blocks
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.profile import Adc, Dac

ADC = Adc(False, 8, "max", 99.0, 0, 0)


def kernel(low: int, high: int, zero: int) -> Kernel:
    weights = np.zeros((4, 2), np.int8)
    return Kernel("k", "dense", weights, 8, 0, zero, low, high, (1, 1), (0, 0, 0, 0), (1, 1))


@pytest.mark.parametrize(
    ("levels", "reference", "signed", "largest"),
    [
        ((-128, 127, -128), -128, False, 255),
        ((0, 255, 0), 0, False, 255),
        ((-127, 127, 0), 0, True, 127),
        ((-128, 127, 5), 0, True, 128),
        ((-128, 127, -100), 0, True, 128),
        ((0, 255, 100), 128, True, 128),
        ((0, 15, 6), 6, True, 9),
    ],
)
def test_levels_fit_an_eight_bit_dac(levels, reference, signed, largest) -> None:
    found = converters.drive(kernel(*levels), Dac("parallel", 8))
    assert (found.reference, found.signed, found.largest) == (reference, signed, largest)
    assert (found.step, found.digits) == (1, 0)


def test_a_serial_dac_reads_each_bit() -> None:
    assert converters.drive(kernel(-128, 127, -128), Dac("serial", 8)).digits == 8
    assert converters.drive(kernel(-127, 127, 0), Dac("serial", 8)).digits == 7
    coarse = converters.drive(kernel(-128, 127, -128), Dac("serial", 4))
    assert (coarse.digits, coarse.step) == (4, 17)


def test_codes_are_symmetric_with_a_sign_and_all_used_without() -> None:
    signed = converters.codes(ADC, 254.0, signed=True)
    assert (signed.low, signed.high, signed.step) == (-127, 127, 2.0)
    free = converters.codes(ADC, 255.0, signed=False)
    assert (free.low, free.high, free.step) == (0, 255, 1.0)


def test_compiled_conversion_rounds_half_to_even_and_clips() -> None:
    sums = (np.arange(-4000, 4000, dtype=np.float32) / 8).reshape(-1, 10)
    total = np.ones((len(sums), 12), np.float32)
    number = np.float32
    args = (sums, number(0.5), number(-127), number(127), number(3))
    loops.convert(*args, total, 1)
    wanted = 1 + 3 * np.clip(np.rint(sums / 2), -127, 127)
    np.testing.assert_array_equal(total[:, 1:11], wanted)
    np.testing.assert_array_equal(total[:, [0, 11]], 1)
    again = np.ones((len(sums), 12), np.float32)
    none = np.zeros(10, np.float32)
    loops.convert_bent(*args, none, none, again, 1)
    np.testing.assert_array_equal(again, total)


def test_loops_compile_where_no_folder_can_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real = loops.numba.njit

    def njit(**options: bool) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(loops.numba, "njit", njit)
    assert loops.compiled(lambda x: x + 1)(2) == 3


def test_a_bow_is_largest_in_the_middle_and_nothing_at_the_ends() -> None:
    sums = np.array([[-127, 0, 127]], np.float32)
    total = np.zeros((1, 3), np.float32)
    number, one = np.float32, np.ones(3, np.float32)
    args = (number(1), number(-127), number(127), number(1))
    loops.convert_bent(sums, *args, 0 * one, 2 * one, total, 0)
    np.testing.assert_array_equal(total, [[-127, 2, 127]])


def test_a_percentile_leaves_out_that_share() -> None:
    meter = converters.RangeMeter()
    sums = np.random.default_rng(0).normal(0, 100, 200_000)
    meter.add(("a", 0), sums, 5000.0)
    meter.add(("a", 0), sums, 5000.0)
    (bound,) = meter.ranges(Adc(False, 8, "percentile", 95.0, 0, 0), {"a": True}).values()
    assert (np.abs(sums) <= bound).mean() == pytest.approx(0.95, abs=2e-3)


@pytest.mark.parametrize("bits", [3, 8])
def test_the_mse_range_has_no_better_neighbour(bits: int) -> None:
    meter = converters.RangeMeter()
    sums = np.random.default_rng(0).laplace(0, 100, 100_000)
    meter.add(("a", 0), sums, 5000.0)
    adc = Adc(False, bits, "mse", 99.0, 0, 0)
    (bound,) = meter.ranges(adc, {"a": True}).values()

    def error(limit: float) -> float:
        codes = converters.codes(adc, limit, signed=True)
        back = np.clip(np.rint(sums / codes.step), codes.low, codes.high) * codes.step
        return float(((back - sums) ** 2).mean())

    best = error(bound)
    assert best <= min(error(bound * f) for f in (0.5, 0.8, 1.25, 2.0))
    assert best < error(5000.0) / 4


@pytest.mark.parametrize("rows", [1, 9, 255, 256, 257, 960, 1151, 1152, 1277, 1280])
def test_rows_lie_evenly_on_as_few_arrays_as_hold_them(rows: int) -> None:
    parts = row_blocks(rows, 256)
    sizes = [p.stop - p.start for p in parts]
    assert sum(sizes) == rows
    assert len(sizes) == -(-rows // 256)
    assert 0 < min(sizes) <= max(sizes) <= 256
    assert [p.start for p in parts[1:]] == [p.stop for p in parts[:-1]]
