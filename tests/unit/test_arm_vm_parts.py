"""What makes the arm64 virtual machine, without making one."""

from __future__ import annotations

import gzip
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.errors import BackendError

TOOL = Path(__file__).parents[2] / "tools" / "arm_vm"


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(TOOL))
    yield importlib.import_module("vm_image")
    for name in ("vm_image", "vm_run"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(image: Any) -> Any:
    del image
    return importlib.import_module("vm_run")


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, Path]:
    """a needs b-c and d, which needs b-c."""
    depends = {"a": b"b-c,d", "b_c": b"", "d": b"b-c"}
    files = {name: tmp_path / f"{name}.ko" for name in depends}
    for name, file in files.items():
        file.write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends[name] + b"\0name=x\0")
    return files


def test_modules_come_after_what_they_need(image: Any, modules: dict[str, Path]) -> None:
    order = list(dict.fromkeys(image.dependencies("a", modules)))
    assert order == ["b_c", "d", "a"]
    with pytest.raises(BackendError, match="the kernel's package has no module vivid"):
        image.dependencies("vivid", modules)


def entries(archive: bytes) -> dict[str, bytes]:
    """Of a cpio archive, newc, read after its description in cpio(5)."""
    found, at = {}, 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = at + (110 + name_size + 3) // 4 * 4
        found[name] = archive[start : start + size]
        at = start + (size + 3) // 4 * 4
    return found


def test_the_initramfs_is_an_archive_of_what_starts(
    image: Any, modules: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "order").write_text("b_c.ko \n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").write_bytes(b"program")
    made = image.initramfs(tmp_path, tmp_path)
    assert made == image.initramfs(tmp_path, tmp_path)
    found = entries(gzip.decompress(made))
    assert found["init"] == (TOOL / "inside" / "init").read_bytes()
    assert found["bin/busybox"] == b"program"
    assert found["modules/a.ko"] == modules["a"].read_bytes()
    assert list(found)[-1] == "TRAILER!!!"


def test_a_changed_recipe_is_made_again(image: Any, tmp_path: Path) -> None:
    assert not image.is_built(tmp_path)
    (tmp_path / image.RECORD).write_text("{}")
    (tmp_path / image.RECIPE).write_text(image.recipe())
    assert image.is_built(tmp_path)
    (tmp_path / image.RECIPE).write_text("another")
    assert not image.is_built(tmp_path)


def test_a_summary_says_what_failed_and_what_is_emulated(run: Any) -> None:
    answers = [{"total_ms": 10.0 * n, "invoke_ms": 2.0 * n} for n in (1, 2, 3)]
    text = run.summary(
        {
            "install": {"status": 1, "s": 2.0, "disk_mb": 3.0, "error": "no room"},
            "classify": {"answers": answers, "first_s": 4.0, "maxrss_kb": 50_000},
        }
    )
    assert "install: FAILED: no room" in text
    assert "median 20 ms a frame (4 ms of it the model): emulated, not a Pi's" in text
    assert "51.2 MB (measured)" in text
