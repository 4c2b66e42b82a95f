"""Every change that the installer makes to the disk, one step at a time.

`before` is called with a step's name and path right before it is made. It does nothing; tests put
a function there that counts the steps, ends the process, or finds the disk full.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def _nothing(step: str, path: Path) -> None:
    del step, path


before: Callable[[str, Path], None] = _nothing


def make_folder(path: Path) -> None:
    """The folder and those above it that are missing."""
    if path.is_dir():
        return
    make_folder(path.parent)
    before("mkdir", path)
    path.mkdir(mode=0o755, exist_ok=True)
    path.chmod(0o755)  # mkdir's is less the umask, and the service's user has to read it


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A file in a folder that nobody reads before it is renamed: not synced, see `sync_all`."""
    before("open", path)
    with path.open("wb") as f:
        half = len(data) // 2
        f.write(data[:half])
        f.flush()
        before("write", path)
        f.write(data[half:])
    path.chmod(mode)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A file that has its old content or its new one, whenever the power fails."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
        return
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        write_new(temporary, data, mode)
        _sync(temporary)
        rename(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def rename(source: Path, target: Path) -> None:
    """Within one folder; synced."""
    before("rename", source)
    source.rename(target)
    _sync(target.parent)


def point(link: Path, target: str) -> None:
    """Makes the symbolic link point to `target`; at any moment it points to the old or the new."""
    if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115
        return
    temporary = link.with_name(f".{link.name}.partial")
    before("unlink", temporary)
    temporary.unlink(missing_ok=True)
    before("symlink", temporary)
    temporary.symlink_to(target)
    _sync(link.parent)
    rename(temporary, link)


def remove(path: Path) -> None:
    """A file, link or whole folder; nothing where there is none. A folder is renamed first, so that
    no half of it is ever found under its name."""
    if not path.is_symlink() and path.is_dir():
        if not path.name.startswith("."):
            aside = path.with_name(f".{path.name}.old")
            remove(aside)
            rename(path, aside)
            path = aside
        _remove_tree(path)
    elif path.is_symlink() or path.exists():
        before("unlink", path)
        path.unlink()


def _remove_tree(folder: Path) -> None:
    for entry in sorted(folder.iterdir()):
        if stat.S_ISDIR(entry.lstat().st_mode):
            _remove_tree(entry)
        else:
            before("unlink", entry)
            entry.unlink()
    before("rmdir", folder)
    folder.rmdir()


def sync_all() -> None:
    """Everything written so far is on the disk: one wait instead of one for each small file."""
    before("sync", Path("/"))
    os.sync()


def _sync(path: Path) -> None:
    before("fsync", path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
