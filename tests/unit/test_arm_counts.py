"""The tool's table of counts: what is kept, what is counted again, how it is read."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge_sdk.benchmark.emulate import CPUS, Counts, Emulator
from edge_sdk.errors import BackendError, DataError

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "device_profiles" / "counts" / "arm-instructions.csv"
EMULATOR = Emulator(Path("nowhere"), "qemu-aarch64", "7.2.22", "python3.11")
NAMES = ("arm_models", "arm_grid", "arm_root")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """tool(name) is a module of tools/arm_counts."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "arm_counts"))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def grid(tool: Callable[[str], ModuleType]) -> Any:
    return tool("arm_grid")


def counts(cpu: str, instructions: int = 1000, spread: float = 0.0) -> Counts:
    return Counts(cpu, instructions, 100, 50, 0, spread, 4096, "litert", "2.3.0", "7.2.22")


@pytest.fixture
def fill(grid: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """fill(networks) with counts that are made up; fill.counted is what was asked for."""
    counted: list[tuple[str, str]] = []

    def count(model: Path, cpu: str, _: Emulator) -> Counts:
        counted.append((model.name, cpu))
        return counts(cpu, 1000 + len(counted))

    def model_files(network: Any, folder: Path, dtypes: list[str]) -> dict[str, Path]:
        return {dtype: folder / network.file(dtype) for dtype in dtypes}

    monkeypatch.setattr(grid, "count", count)
    monkeypatch.setattr(grid, "model_files", model_files)

    def run(networks: Any, **options: Any) -> int:
        given = {"litert": "2.3.0", "say": lambda _: None, **options}
        return int(grid.fill(tmp_path / "t.csv", tmp_path, EMULATOR, networks, **given))

    run.counted = counted  # type: ignore[attr-defined]
    run.table = tmp_path / "t.csv"  # type: ignore[attr-defined]
    return run


def test_the_grid_is_the_stated_one(grid: Any, tool: Callable[[str], ModuleType]) -> None:
    networks = tool("arm_models").GRID
    assert len(networks) == len(set(networks)) == 33
    assert {n.size for n in networks if n.alpha == 1.4} == {224}
    first = grid.in_order(networks)[:5]
    assert {(n.arch[-2:], n.alpha, n.size) for n in first} == {
        ("v2", 0.35, 96),
        ("v2", 0.35, 128),
        ("v1", 0.25, 128),
        ("v1", 1.0, 224),
        ("v2", 1.0, 224),
    }
    assert sorted(grid.in_order(networks)) == sorted(networks)


def test_what_is_in_the_table_is_not_counted_again(fill: Any, grid: Any) -> None:
    small = grid.Network("mobilenet_v1", 0.25, 128)
    assert fill([small], dtypes=["int8"], cpus=["cortex-a72"]) == 1
    assert fill([small], dtypes=["int8", "w4a8"], cpus=["cortex-a72"]) == 1
    assert fill.counted == [
        ("mobilenet_v1-0.25-128-int8.tflite", "cortex-a72"),
        ("mobilenet_v1-0.25-128-w4a8.tflite", "cortex-a72"),
    ]
    assert [r.instructions for r in grid.read_rows(fill.table)] == [1001, 1002]
    assert fill([small], jobs=3) == 7
    assert len(grid.read_rows(fill.table)) == 9


def test_rows_of_another_version_are_counted_again(fill: Any, grid: Any) -> None:
    small = grid.Network("mobilenet_v1", 0.25, 128)
    fill([small], dtypes=["int8"], cpus=["cortex-a72"])
    old = [replace(r, litert="2.1.0") for r in grid.read_rows(fill.table)]
    fill.table.write_text(grid.as_csv(old), encoding="utf-8")
    assert fill([small], dtypes=["int8"], cpus=["cortex-a72"]) == 1


def test_a_grid_that_is_cut_off_keeps_its_rows(
    fill: Any, grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = grid.count

    def count(model: Path, cpu: str, emulator: Emulator) -> Counts:
        if len(fill.counted) == 4:
            raise KeyboardInterrupt
        return good(model, cpu, emulator)  # type: ignore[no-any-return]

    small = grid.Network("mobilenet_v1", 0.25, 128)
    monkeypatch.setattr(grid, "count", count)
    with pytest.raises(KeyboardInterrupt):
        fill([small])
    assert len(grid.read_rows(fill.table)) == 4
    monkeypatch.setattr(grid, "count", good)
    assert fill([small]) == 5


def test_invokes_that_differ_too_much_are_no_row(
    fill: Any, grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "count", lambda _m, cpu, _e: counts(cpu, spread=0.002))
    with pytest.raises(DataError, match=r"int8 cortex-a53: .* differ by 0\.20%, more than 0\.1%"):
        fill([grid.Network("mobilenet_v1", 0.25, 128)], dtypes=["int8"])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda t: t.replace("dtype", "type"), "its columns are"),
        (lambda t: t.replace("1001", "many"), "line 2: invalid literal"),
        (lambda t: t.rsplit(",", 3)[0] + "\n", "line 2: "),
    ],
)
def test_a_table_that_is_damaged(fill: Any, grid: Any, broken: Any, said: str) -> None:
    fill([grid.Network("mobilenet_v1", 0.25, 128)], dtypes=["int8"], cpus=["cortex-a72"])
    fill.table.write_text(broken(fill.table.read_text()), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        grid.read_rows(fill.table)


def test_the_summary_divides_like_by_like(fill: Any, grid: Any) -> None:
    fill([grid.Network("mobilenet_v1", 0.25, 128)])
    rows = [
        replace(r, instructions=500 if (r.dtype, r.cpu) == ("int8", "cortex-a76") else 1000)
        for r in grid.read_rows(fill.table)
    ]
    lines = {line[:28].strip(): line[28:].split() for line in grid.summary(rows).splitlines()}
    assert lines["int8 / float32 on a76"] == ["mobilenet_v1", "1", "0.500", "0.500", "0.500"]
    assert lines["w4a8 / int8 on a76"][2] == "2.000"
    assert lines["a76 / a72, int8"][2] == "0.500"
    assert lines["int8 / float32 on a72"][2] == "1.000"


@pytest.mark.parametrize(
    ("qemu", "api"),
    [("6.2.0", 1), ("7.2.22", 1), ("8.2.2", 1), ("9.0.4", 2), ("9.1.0", 3), ("10.0.2", 4)],
)
def test_each_qemu_has_its_plugin_interface(
    tool: Callable[[str], ModuleType], qemu: str, api: int
) -> None:
    assert tool("arm_root").plugin_api(qemu) == api


@pytest.mark.parametrize("missing", ["qemu", "plugins", "compiler"])
def test_what_is_missing_is_named(
    tool: Callable[[str], ModuleType], missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "qemu-aarch64"
    if missing != "qemu":
        usage = "" if missing == "plugins" else "-plugin"
        program.write_text(f"#!/bin/sh\necho 'version 7.2.22 {usage}'\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    said = {
        "qemu": "qemu-aarch64 is not installed: install qemu-user",
        "plugins": "takes no plugins",
        "compiler": "no C compiler: install gcc",
    }
    with pytest.raises(BackendError, match=said[missing]):
        tool("arm_root").build(tmp_path / "arm64", say=lambda _: None)


def test_the_shipped_table_is_whole_and_like_itself(grid: Any) -> None:
    """Dot products where the core has them, and only for integers."""
    rows = grid.read_rows(TABLE)
    assert len({r.key for r in rows}) == len(rows) > 0
    assert TABLE.read_text(encoding="utf-8") == grid.as_csv(rows)
    assert len({(r.litert, r.qemu, r.tool) for r in rows}) == 1
    for row in rows:
        assert row.cpu in CPUS
        assert 0 < row.load_store + row.simd < row.instructions
        assert (row.dot > 0) == (row.cpu == "cortex-a76" and row.dtype != "float32")
        assert row.dot <= row.simd


def test_the_wrapper_runs_the_root_s_python_and_names_itself(
    tmp_path: Path, tool: Callable[[str], ModuleType]
) -> None:
    """A stand-in for qemu says how it was called; folders may hold spaces."""
    folder = tmp_path / "an arm64"
    folder.mkdir()
    (tmp_path / "qemu-aarch64").write_text('#!/bin/sh\nprintf "%s\\n" "$PYTHONHOME" "$@"\n')
    (tmp_path / "qemu-aarch64").chmod(0o755)
    tool("arm_root").write_wrapper(folder, "python3.11")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        [folder / "python-arm64", "-c", "a b"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    view = folder / "cpu" / "cortex-a72"
    said = done.stdout.splitlines()
    assert said[:3] == [str(view / "usr"), "-0", str(folder / "python-arm64")]
    assert said[-3:] == [str(view / "usr" / "bin" / "python3.11"), "-c", "a b"]
