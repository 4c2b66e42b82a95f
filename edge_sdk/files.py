"""Files and folders that appear whole or not at all, and what identifies them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_sdk.errors import EdgeError, UsageError


@contextmanager
def whole_folder(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `final` that takes its name when the block ends well.

    On any exception, Ctrl-C included, the temporary folder is removed and `final` is as it was.
    Raises UsageError when `final` exists and `replace` is false."""
    refuse_existing(final, replace=replace)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    except OSError as e:
        raise EdgeError(f"cannot write {final.parent}: {e.strerror or e}") from e
    try:
        yield temporary
        temporary.chmod(0o755)
        for path in temporary.rglob("*"):
            if path.is_file():
                _sync(path)
        refuse_existing(final, replace=replace)  # somebody else may have been faster
        _swap_in(temporary, final)
    except OSError as e:
        raise EdgeError(f"cannot write {final}: {e.strerror or e}") from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(final: Path, *, replace: bool) -> None:
    if final.exists() and not replace:
        raise UsageError(
            f"{final} exists: choose another --out, or --overwrite to replace it when the new one "
            "is complete"
        )


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name, syncs it, and renames it over `path`."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(data)
        _sync(temporary)
        temporary.replace(path)
    except OSError as e:
        raise EdgeError(f"cannot write {path}: {e.strerror or e}") from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _swap_in(temporary: Path, final: Path) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    # A folder cannot be renamed over a filled one: the old one steps aside and comes back if the
    # second rename fails.
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old-", dir=final.parent))
    aside = old / final.name
    try:
        final.rename(aside)
        temporary.rename(final)
    except BaseException:
        if aside.exists():
            aside.rename(final)
        raise
    finally:
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
