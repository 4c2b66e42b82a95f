"""Errors of chips in training: those of the emulator's own cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.backends.cim import folding
from edge_sdk.backends.cim.cells import Draws
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.profile import load_cim_profile
from edge_sdk.errors import UsageError
from edge_sdk.train.chip_noise import NoisyCells, noisy_profile
from edge_sdk.train.settings import ChipNoise, TrainRequest

FIVE_DAYS = 5 * 86400.0
ROWS, COLUMNS = 40, 24


def without_wires(name, **cells):
    p = load_cim_profile(name)
    errors = replace(p.errors, row_ohm=0.0, column_ohm=0.0)
    return replace(p, errors=errors, cells=replace(p.cells, **cells))


def kernel(bits):
    top = 2 ** (bits - 1) - 1
    weights = np.random.default_rng(bits).integers(-top, top + 1, (ROWS, COLUMNS)).astype(np.int8)
    return Kernel("k", "dense", weights, bits, 0, 0, 0, 255, (1, 1), (0, 0, 0, 0), (1, 1))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("cim-nor-generic", {}),
        ("cim-nor-generic", {"sides": 2, "on_off": 20.0}),
        ("cim-nor-generic", {"mapping": "offset", "on_off": 20.0}),
        ("cim-hermes-pcm", {}),
        ("cim-tsinghua-reram", {}),
    ],
)
def test_training_sees_the_cells_that_a_chip_has(name, cells, bits):
    profile = without_wires(name, **cells)
    profile = replace(profile, errors=replace(profile.errors, stuck_on=0.02, stuck_off=0.03))
    k = kernel(bits)
    state = folding.State(
        replace(profile, adc=replace(profile.adc, ideal=True)), 3, FIVE_DAYS,
        profile.errors.temperature.reference_c, None, profile.errors.drift.nu > 0,
    )  # fmt: skip
    layer = folding.fold(k, state)
    held = sum(b.worth * b.weights for b in layer.blocks) + layer.own + layer.driven
    spread = sum(b.worth**2 * b.variance for b in layer.blocks if b.variance is not None)
    rngs = {n: folding._rng(3, "k", n) for n in ("programming", "drift", "stuck")}

    def draw():
        return Draws(
            rngs["programming"].standard_normal((ROWS, COLUMNS), dtype=np.float32),
            rngs["drift"].standard_normal((ROWS, COLUMNS), dtype=np.float32),
            rngs["stuck"].random((ROWS, COLUMNS), dtype=np.float32),
        )

    cells_now = NoisyCells(profile, FIVE_DAYS, bits)
    levels, variance = cells_now.now(k.weights.astype(np.int64) + cells_now.top, draw, np)
    np.testing.assert_allclose(levels, held, atol=2e-4 * 2**bits)
    np.testing.assert_allclose(
        np.broadcast_to(variance, spread.shape) if np.ndim(spread) else variance, spread, rtol=1e-4
    )
    assert np.abs(levels - k.weights).std() > 0.01


def test_a_level_is_that_of_its_weight_where_cells_have_no_error():
    profile = without_wires("cim-nor-generic", on_off=10.0)
    for mapping in ("balanced", "offset"):
        p = replace(profile, cells=replace(profile.cells, mapping=mapping))
        cells = NoisyCells(p, 0.0, 8)
        places = np.arange(255)
        levels, variance = cells.now(places, lambda: Draws(0.0, 0.0, 0.5), np)
        np.testing.assert_allclose(levels, places - 127, atol=1e-4)
        assert variance > 0


def test_what_has_no_error_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="cim-sram-28nm: its arrays are digital"):
        noisy_profile(ChipNoise("cim-sram-28nm"))
    with pytest.raises(UsageError, match="Did you mean cim-nor-generic"):
        noisy_profile(ChipNoise("cim-nor-genric"))
    with pytest.raises(UsageError, match="--cim-time -1 s"):
        ChipNoise("cim-nor-generic", -1.0)
    with pytest.raises(UsageError, match="--cim cim-nor-generic: a chip holds quantised weights"):
        TrainRequest(tmp_path, tmp_path, chip=ChipNoise("cim-nor-generic"))
    assert noisy_profile(ChipNoise("cim-nor-generic", 5.0)).name == "cim-nor-generic"


def test_the_chip_is_in_the_record(tmp_path: Path):
    request = TrainRequest(
        tmp_path, tmp_path, qat="w4a8", start=tmp_path, chip=ChipNoise("cim-nor-generic", 60.0)
    )
    assert request.settings()["chip"] == {"profile": "cim-nor-generic", "time_s": 60.0}
