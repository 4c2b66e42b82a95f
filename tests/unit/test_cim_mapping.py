"""Layers to arrays: the counts of shared/reference/cim.md, sharing, fitting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cim_networks import kernel, mobilenet
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.backends.cim.mapping import (
    Block,
    LayerMapping,
    map_layer,
    map_network,
    require_fit,
    share_arrays,
)
from edge_sdk.backends.cim.profile import CimProfile, load_cim_profile
from edge_sdk.errors import UsageError
from edge_sdk.report_cim import mapping_notes, mapping_table

PAIRS = load_cim_profile("cim-hermes-pcm")  # arrays of 256 x 256 pairs, a weight each
NETWORK = mobilenet()


def profile(base: CimProfile = PAIRS, **sections) -> CimProfile:
    """`base` with values replaced: profile(chip={"arrays": 4})."""
    return replace(
        base, **{name: replace(getattr(base, name), **keys) for name, keys in sections.items()}
    )


def sums(layers: list[LayerMapping]) -> tuple[int, float, int, int]:
    arrays = sum(m.arrays for m in layers)
    used = sum(m.use * m.arrays for m in layers) / max(1, arrays)
    return arrays, used, sum(m.mvms for m in layers), sum(m.adc_conversions for m in layers)


def test_the_network_is_the_one_of_the_table():
    biases = sum(k.outputs for k in NETWORK)
    assert sum(k.weights.size for k in NETWORK) + biases == 3_487_816
    by_kind = {d: sum(k.mult_adds for k in NETWORK if (k.kind == "depthwise") == d) for d in (0, 1)}
    assert round(by_kind[0] / 1e6, 2) == 280.06
    assert round(by_kind[1] / 1e6, 2) == 20.72


def test_dense_layers_of_mobilenet_v2():
    mapped = map_network(NETWORK, PAIRS)
    arrays, used, mvms, conversions = sums([m for m in mapped.layers if m.how == "array"])
    assert (arrays, round(used, 2), round(mvms / 1e3), round(conversions / 1e6, 2)) == (
        106, 0.49, 63, 4.69,
    )  # fmt: skip
    assert mapped.arrays == 106  # digital depthwise layers take none


@pytest.mark.parametrize(
    ("how", "arrays", "percent", "kilo_mvms", "mega_conversions"),
    [
        ("packed", 263, 0.37, 99, 2.30),
        ("column-serial", 36, 2.7, 2302, 2.30),
        ("dense", 748, 0.13, 143, 22.1),
    ],
)
def test_depthwise_layers_of_mobilenet_v2(how, arrays, percent, kilo_mvms, mega_conversions):
    mapped = map_network(NETWORK, profile(layers={"depthwise": how}))
    depthwise = [m for m, k in zip(mapped.layers, NETWORK, strict=True) if k.kind == "depthwise"]
    assert {m.how for m in depthwise} == {how}
    found, used, mvms, conversions = sums(depthwise)
    assert found == arrays
    assert float(f"{100 * used:.2g}") == percent
    assert round(mvms / 1e3) == kilo_mvms
    assert float(f"{conversions / 1e6:.3g}") == mega_conversions
    assert mapped.arrays == 106 + arrays


def test_one_layer_by_hand():
    # 600 rows on arrays of 256: 3 blocks; 300 columns: 2. 5 x 5 positions.
    m = map_layer(kernel("conv", (1, 1, 600, 300), side=5), PAIRS)
    assert (m.row_blocks, m.column_blocks, m.arrays) == (3, 2, 6)
    assert {(b.rows, b.columns) for b in m.blocks} == {(256, 256), (256, 44), (88, 256), (88, 44)}
    assert m.use == pytest.approx(600 * 300 / (6 * 256 * 256))
    assert (m.steps, m.mvms) == (25, 150)
    assert m.adc_conversions == 25 * 3 * 300
    assert m.dac_conversions == 25 * 2 * 600
    assert m.cell_reads == 25 * 600 * 300


def test_noisy_zero_cells_are_read_too():
    layer = kernel("depthwise", (3, 3, 10), side=2)
    isolated = map_layer(layer, profile(layers={"depthwise": "dense"}))
    noisy = map_layer(layer, profile(layers={"depthwise": "dense", "zero_cells": "noisy"}))
    assert isolated.cell_reads == 4 * 90
    assert noisy.cell_reads == 4 * 900


@pytest.mark.parametrize(
    ("bits", "cells", "slices"),
    [
        (8, {"bits": 8}, 1),
        (8, {"bits": 4}, 2),  # the sign is the pair's
        (4, {"bits": 4}, 1),
        (8, {"bits": 1}, 7),
        (8, {"bits": 1, "mapping": "offset"}, 8),
        (8, {"bits": 4, "mapping": "offset"}, 2),
    ],
)
def test_wide_weights_take_a_column_per_slice(bits, cells, slices):
    m = map_layer(kernel("fc", (1, 1, 10, 300), bits=bits), profile(cells=cells))
    assert m.slices == slices
    assert sum(b.columns for b in m.blocks) == 300 * slices == m.adc_conversions
    assert m.column_blocks == -(-300 // (256 // slices))


def test_a_serial_input_is_converted_digit_by_digit():
    layer = kernel("fc", (1, 1, 10, 20), low=0)
    parallel = map_layer(layer, PAIRS)
    serial = map_layer(layer, profile(dac={"mode": "serial", "coding": "voltage"}))
    assert serial.adc_conversions == parallel.adc_conversions * serial.cycles
    assert serial.cycles == 7  # of 0 to 127
    assert (serial.mvms, serial.dac_conversions) == (parallel.mvms, parallel.dac_conversions)


def test_a_kernel_that_no_array_holds_is_named():
    tiny = profile(array={"rows": 8})
    for how in ("packed", "column-serial"):
        at = profile(tiny, layers={"depthwise": how})
        with pytest.raises(UsageError, match=r"layer dw: 9 rows .* array\.rows .* is 8"):
            map_layer(kernel("dw", (3, 3, 4)), at)
    with pytest.raises(UsageError, match=r"take 7 columns, array\.columns"):
        map_layer(kernel("fc", (1, 1, 4, 4)), profile(
            array={"columns": 4}, cells={"bits": 1}))  # fmt: skip


# --- sharing and fitting -------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 256), st.integers(1, 256)), max_size=60))
def test_shared_arrays_hold_every_block_once(sizes):
    blocks = [Block(i, rows, columns) for i, (rows, columns) in enumerate(sizes)]
    bins = share_arrays(blocks, PAIRS)
    assert sorted((b for bin_ in bins for b in bin_), key=lambda b: b.layer) == blocks
    assert all(sum(b.rows * b.columns for b in bin_) <= 256 * 256 for bin_ in bins)
    assert len(bins) <= len(blocks)


def test_blocks_share_an_array_side_by_side_and_below_each_other():
    quarter = [Block(i, 128, 128) for i in range(4)]
    assert [len(b) for b in share_arrays(quarter, PAIRS)] == [4]
    assert [len(b) for b in share_arrays([*quarter, Block(4, 1, 1)], PAIRS)] == [4, 1]
    # Twice as much as an array's cells cannot hide in one: areas alone are no packing.
    assert len(share_arrays([Block(0, 200, 100), Block(1, 100, 200)], PAIRS)) == 2


def test_what_has_arrays_enough_lies_apart():
    mapped = map_network(NETWORK, profile(chip={"arrays": 106}))
    assert (mapped.placed, mapped.fits, mapped.remedies) == ("apart", True, ())
    assert map_network(NETWORK, profile(chip={"arrays": 0})).placed == "apart"


def test_hermes_holds_mobilenet_v2_only_with_shared_arrays():
    mapped = map_network(NETWORK, PAIRS)
    assert mapped.placed == "shared"
    assert mapped.shared <= 64 < mapped.arrays
    assert len(mapped.bins) == mapped.shared
    assert "layers share arrays" in mapping_notes(mapped)[0]


def test_a_chip_that_is_too_small_says_what_would_help():
    small = profile(chip={"arrays": 64}, layers={"depthwise": "packed"})
    mapped = map_network(NETWORK, small)
    assert (mapped.placed, mapped.fits) == ("too small", False)
    with pytest.raises(UsageError) as error:
        require_fit(mapped, small)
    message = str(error.value)
    assert "cim-hermes-pcm" in message
    assert "chip.arrays is 64" in message
    assert "chip.reload" in message
    assert "layers.depthwise digital: 54 arrays, enough" in message
    assert "narrower model" in message
    require_fit(map_network(NETWORK, PAIRS), PAIRS)


def test_wtm2101_does_not_hold_mobilenet_v2():
    wtm = load_cim_profile("cim-wtm2101")
    mapped = map_network(NETWORK, wtm)
    assert not mapped.fits
    with pytest.raises(UsageError, match="cim-wtm2101"):
        require_fit(mapped, wtm)


def test_a_suggested_number_of_arrays_is_enough_and_one_less_is_not():
    needed = map_network(NETWORK, PAIRS).shared
    assert map_network(NETWORK, profile(chip={"arrays": needed})).fits
    assert not map_network(NETWORK, profile(chip={"arrays": needed - 1})).fits


def test_reloading_makes_it_fit_and_is_counted():
    few = profile(chip={"arrays": 50, "reload": True})
    mapped = map_network(NETWORK, few)
    assert (mapped.placed, mapped.fits) == ("reloaded", True)
    assert mapped.reloads == mapped.shared - 50 + 1
    assert 0 < mapped.reload_rows <= mapped.reloads * 256
    assert len(mapped.bins) == 50
    assert sum(len(b) for b in mapped.bins) == mapped.arrays
    assert any("written" in line for line in mapping_notes(mapped))


def test_the_table_has_a_row_per_layer_and_a_sum():
    mapped = map_network(NETWORK, PAIRS)
    lines = mapping_table(mapped).splitlines()
    assert len(lines) == 2 + len(NETWORK) + 1
    assert lines[-1].split()[:3] == ["all", "106", "49"]
