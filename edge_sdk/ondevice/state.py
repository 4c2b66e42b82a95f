"""What the installer has to remember over a power cut, and the lock that makes it the only one."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_sdk.errors import DeviceError
from edge_sdk.ondevice import disk
from edge_sdk.ondevice.layout import Layout
from edge_sdk.strict import from_plain, to_plain


@dataclass(frozen=True)
class State:
    """previous: the release to go back to. trial: one that was switched to and has not come up
    healthy yet. starts: how often the service began to start it."""

    previous: str | None = None
    trial: str | None = None
    starts: int = 0


def read_state(layout: Layout) -> State:
    """What was written last; an empty state where there is none or it is damaged: `current` alone
    says what runs."""
    try:
        data = json.loads(layout.state.read_text(encoding="utf-8"))
        return from_plain(State, data, str(layout.state), DeviceError)
    except (OSError, ValueError, DeviceError):
        return State()


def write_state(layout: Layout, state: State) -> None:
    disk.write_whole(layout.state, (json.dumps(to_plain(state)) + "\n").encode())


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """One installer at a time. The lock ends with its process, however that ends.

    Raises DeviceError at once where another one has it."""
    disk.make_folder(layout.var)
    disk.before("lock", layout.lock)
    descriptor = os.open(layout.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeviceError(
                "another installation or rollback is running on this device: wait until it ends"
            ) from None
        yield
    finally:
        os.close(descriptor)
