"""The array model beside cases that CrossSim 3.2 and aihwkit 1.2 computed."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.shared


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module("cim_golden")
    sys.modules.pop("cim_golden", None)


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "data" / "cim-golden"


def noisy(params: dict) -> bool:
    return params.get("error_model", "none") != "none"


def test_cases_without_errors_come_out_alike(tool: ModuleType, folder: Path) -> None:
    cases = [tool.load(path) for path in sorted(folder.glob("*.npz"))]
    assert cases
    for case in cases:
        if noisy(case.params) or case.params.get("Rp_row") or case.params.get("Rp_col"):
            continue
        found = tool.compare(case)
        assert found.ties < 0.1, case.name
        assert found.tie_free == 1, case.name
        if np.isfinite(found.lsb):
            assert found.lsb <= found.arrays * 1.001, case.name
        else:
            assert found.equal == 1, case.name
        if "core_style" in case.params and found.ties == 0:
            assert found.equal >= 0.999, case.name


def test_wires_come_out_alike(tool: ModuleType, folder: Path) -> None:
    for path in sorted(folder.glob("irdrop*.npz")):
        case = tool.load(path)
        exact = case.inputs @ case.weights.astype(float)
        without = np.sqrt(((exact - case.outputs) ** 2).mean() / (case.outputs**2).mean())
        assert without > 0.1
        assert tool.compare(case).rms < 0.01
        assert tool.compare(case, exact_wires=True).rms < 0.002


def test_programming_noise_spreads_outputs_as_far(tool: ModuleType, folder: Path) -> None:
    for path in sorted(folder.glob("*.npz")):
        case = tool.load(path)
        if noisy(case.params):
            theirs, ours = tool.sigma(case, range(40))
            assert ours == pytest.approx(theirs, rel=0.02)


def test_the_gain_of_offset_cells_is_not_ours(tool: ModuleType, folder: Path) -> None:
    """Without the compatibility of the comparison, our sums are the exact ones to rounding."""
    case = tool.load(folder / "offset_w4u8_adc8.npz")
    exact = case.inputs @ case.weights.astype(float)
    ours = tool.compare(case).ours * 15 / 14
    step = 256 / 255 * 15 * 255
    assert np.abs(ours - exact).max() <= step / 2 * 1.01
    assert np.polyfit(exact.ravel(), case.outputs.ravel(), 1)[0] == pytest.approx(14 / 15, abs=0.01)


def test_the_table_names_every_case(tool: ModuleType, folder: Path, tmp_path: Path) -> None:
    name = "lossless_w4a8"
    (tmp_path / f"{name}.npz").write_bytes((folder / f"{name}.npz").read_bytes())
    assert f"{name} " in tool.table(tmp_path)
    with np.load(folder / f"{name}.npz") as data:
        assert json.loads(str(data["params"]))["core_style"] == "BALANCED"
