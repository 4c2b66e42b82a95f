"""One instance at a time on a state folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_sdk.errors import UsageError


@contextmanager
def only_one(folder: Path | None) -> Iterator[None]:
    """Holds the folder itself locked, which works on a read-only disk too; the lock ends with its
    process. Without a folder nothing is locked.

    Raises UsageError where another instance has it, or there is no such folder."""
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise UsageError(
            f"state folder {folder} cannot be used: {e.strerror}; name another with --state"
        ) from e
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another edge-classify runs on state folder {folder}: end it, or give this one "
                "a folder of its own with --state"
            ) from None
        yield
    finally:
        os.close(descriptor)
