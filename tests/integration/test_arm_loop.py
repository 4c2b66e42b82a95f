"""What edge-classify executes for a frame as ARM cores, against what is recorded: a regression
gate for the whole loop. Needs the folder that `python tools/arm_counts loop` fills.

The camera shows one fixed field, drawn before the first frame: its drawing is in no frame's count.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge_sdk.benchmark.emulate import CPUS, find_emulator
from edge_sdk.errors import BackendError, DataError

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "device_profiles" / "counts" / "arm-loop.csv"
EMBEDDED = "malaria-mobilenetv2-96-int8"


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    folder = str(ROOT / "tools" / "arm_counts")
    sys.path.insert(0, folder)
    yield importlib.import_module("arm_loop")
    sys.path.remove(folder)
    sys.modules.pop("arm_loop")


@pytest.fixture(scope="module")
def against(tool: ModuleType) -> Callable[..., Any]:
    """against(model, name, cpu) is what is recorded and what is counted now.

    Skips where either's Python, NumPy, Pillow, LiteRT or qemu is another one."""
    try:
        emulator = find_emulator()
        versions = tool.device_versions(emulator)
    except BackendError as e:
        pytest.skip(str(e))
    rows = {r.key: r for r in tool.read_loop(TABLE)}

    def find(model: Path, name: str, cpu: str, **options: Any) -> tuple[Any, Any]:
        recorded = rows[name, cpu]
        here = {**versions, "python": emulator.python, "qemu": emulator.qemu}
        if replace(recorded, **here) != recorded:
            pytest.skip(f"recorded with {recorded.tools}, here is {tuple(here.values())}")
        return recorded, tool.count_loop(model, name, cpu, emulator, **options)

    return find


def test_the_table_has_both_models_as_every_core(tool: ModuleType) -> None:
    rows = {r.key: r for r in tool.read_loop(TABLE)}
    assert set(rows) == {(m, c) for m in ("tiny-int8", EMBEDDED) for c in CPUS}
    for (_, cpu), row in rows.items():
        assert 0 < row.dot + row.simd + row.load_store < row.instructions
        assert (row.dot > 0) == (cpu == "cortex-a76")


@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
def test_a_frame_executes_what_is_recorded(
    tool: ModuleType, against: Callable[..., Any], models: Path, cpu: str
) -> None:
    tool.check_row(*against(models / "tiny-int8.tflite", "tiny-int8", cpu))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_frame_of_the_embedded_model_executes_what_is_recorded(
    tool: ModuleType, against: Callable[..., Any], converted: Path
) -> None:
    tool.check_row(*against(converted / EMBEDDED, EMBEDDED, "cortex-a72"))


@pytest.mark.slow
def test_a_loop_that_does_more_is_seen(
    tool: ModuleType, against: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    """The same loop with one needless copy of a frame's picture."""
    ignored = shutil.ignore_patterns("__pycache__", "zoo", "train", "convert", "chips")
    shutil.copytree(ROOT / "edge_sdk", tmp_path / "edge_sdk", ignore=ignored)
    loop = tmp_path / "edge_sdk" / "live" / "loop.py"
    text = loop.read_text()
    line = "own = self._classifier.classify(pixels)"
    assert text.count(line) == 1
    loop.write_text(text.replace(line, "own = self._classifier.classify(pixels + 0)"))
    recorded, found = against(
        models / "tiny-int8.tflite", "tiny-int8", "cortex-a72", source=tmp_path
    )
    with pytest.raises(DataError, match=r"instructions, \+\d+\.\d\d% of the"):
        tool.check_row(recorded, found)


def test_the_gate_closes_above_and_below_one_percent(tool: ModuleType) -> None:
    row = tool.read_loop(TABLE)[0]

    def changed(share: float) -> Any:
        return replace(row, instructions=round(row.instructions * (1 + share)))

    for share in (0.0099, -0.0099):
        tool.check_row(row, changed(share))
    for share in (0.0101, -0.0101):
        with pytest.raises(DataError, match="record the new counts"):
            tool.check_row(row, changed(share))


def test_a_table_that_was_changed_by_hand_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    bad = tmp_path / "arm-loop.csv"
    bad.write_text(TABLE.read_text().replace(",cortex-a53,", ",cortex-a53,x"))
    with pytest.raises(DataError, match=r"arm-loop.csv line 2: invalid literal"):
        tool.read_loop(bad)
    bad.write_text("model,cpu\n")
    with pytest.raises(DataError, match="its columns are"):
        tool.read_loop(bad)
