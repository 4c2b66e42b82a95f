from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.files import refuse_existing, whole_folder, write_whole

FULL = Path("/dev/full")


def fill(folder: Path, text: str = "new") -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text(text)


def listing(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


def names(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()]


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder that is there already, alone in its parent."""
    folder = tmp_path / "out"
    folder.mkdir()
    fill(folder, "old")
    return folder


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "out"
    with whole_folder(final) as partial:
        fill(partial)
        assert partial.parent == final.parent
        assert not final.exists()
    assert listing(tmp_path) == {"deep/out/sub/a.txt": "new"}
    assert stat.S_IMODE(final.stat().st_mode) & 0o555 == 0o555


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_left_of_a_block_that_fails(
    tmp_path: Path, error: BaseException, there: bool
) -> None:
    final = tmp_path / "out"
    if there:
        final.mkdir()
        fill(final, "old")
    before = listing(tmp_path)

    def fail(partial: Path) -> None:
        fill(partial)
        raise error

    with pytest.raises(type(error)) as e, whole_folder(final, replace=True) as partial:
        fail(partial)
    assert e.value is error
    assert listing(tmp_path) == before
    assert names(tmp_path) == (["out"] if there else [])


def test_a_full_disk_is_one_error_and_leaves_nothing(old: Path) -> None:
    def fail(partial: Path) -> None:
        fill(partial)
        no_space()

    with (
        pytest.raises(EdgeError, match=r"cannot write .*out: No space left on device"),
        whole_folder(old, replace=True) as partial,
    ):
        fail(partial)
    assert listing(old.parent) == {"out/sub/a.txt": "old"}
    assert names(old.parent) == ["out"]


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    final = tmp_path / "out"

    def write(partial: Path) -> None:
        (partial / "model").symlink_to(FULL)
        (partial / "model").write_bytes(b"x" * 100_000)

    with (
        pytest.raises(EdgeError, match="No space left on device"),
        whole_folder(final) as partial,
    ):
        write(partial)
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_at_the_sync(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(EdgeError, match="No space left"), whole_folder(old, replace=True) as p:
        fill(p)
    assert listing(old.parent) == {"out/sub/a.txt": "old"}


def test_an_os_error_without_a_text_still_says_something(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="odd disk"), whole_folder(tmp_path / "out"):
        raise OSError("odd disk")


def test_an_existing_target_is_refused_before_any_work(old: Path) -> None:
    with pytest.raises(UsageError, match="exists"), whole_folder(old):
        pytest.fail("the block must not run")
    assert listing(old.parent) == {"out/sub/a.txt": "old"}


def test_a_target_that_appears_meanwhile_is_refused_too(tmp_path: Path) -> None:
    final = tmp_path / "out"

    def both(partial: Path) -> None:
        fill(partial)
        final.mkdir()
        fill(final, "theirs")

    with pytest.raises(UsageError, match="exists"), whole_folder(final) as partial:
        both(partial)
    assert listing(tmp_path) == {"out/sub/a.txt": "theirs"}
    assert names(tmp_path) == ["out"]


def test_replace_puts_the_new_one_in_the_old_ones_place(old: Path) -> None:
    with whole_folder(old, replace=True) as partial:
        fill(partial)
        assert listing(old) == {"sub/a.txt": "old"}
    assert listing(old.parent) == {"out/sub/a.txt": "new"}
    assert names(old.parent) == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
def test_the_old_one_comes_back_when_a_rename_fails(
    old: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    rename, calls = Path.rename, []

    def fails_once(self: Path, target: Any) -> Path:
        calls.append(self)
        if len(calls) == failing:
            no_space()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(EdgeError, match="No space left"), whole_folder(old, replace=True) as p:
        fill(p)
    assert listing(old.parent) == {"out/sub/a.txt": "old"}
    assert names(old.parent) == ["out"]


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeError, match="cannot write"), whole_folder(tmp_path / "file" / "out"):
        pytest.fail("the block must not run")
    with pytest.raises(EdgeError, match="cannot write"):
        write_whole(tmp_path / "file" / "out", b"x")


def test_refuse_existing(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "none", replace=False)
    refuse_existing(tmp_path, replace=True)
    with pytest.raises(UsageError, match="--overwrite"):
        refuse_existing(tmp_path, replace=False)


def test_write_whole_replaces_a_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_whole(file, b"one")
    write_whole(file, b"two")
    assert listing(tmp_path) == {"report.json": "two"}


def test_write_whole_keeps_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"
    write_whole(file, b"one")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(EdgeError, match=r"cannot write .*report\.json: No space left"):
        write_whole(file, b"two")
    assert listing(tmp_path) == {"report.json": "one"}
