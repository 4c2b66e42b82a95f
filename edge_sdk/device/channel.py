"""A process at the other end of two pipes, with a time-out on everything.

Two threads read and write, so that a peer that stops reading or answering never blocks the caller,
who can always be interrupted."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

BEAT_S = 5.0
GRACE_S = 5.0
# What may come before the first message: a login shell's greeting, not a flood.
NOISE_BYTES = 1 << 20


class ChannelClosedError(Exception):
    """The process has ended. status: its exit status; errors: what it wrote to standard error;
    noise: the first line of what it wrote beside messages."""

    def __init__(self, status: int, errors: str, noise: str) -> None:
        super().__init__(errors)
        self.status, self.errors, self.noise = status, errors, noise


class SilentError(Exception):
    """Nothing came within the time."""


class Channel:
    """Starts `command`; messages come as lines "<token> <JSON>", orders go as lines of JSON."""

    def __init__(self, command: Sequence[str], token: str) -> None:
        """Raises OSError when the command cannot be started."""
        self._token = token.encode() + b" "
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            # A session of its own: Ctrl-C comes to us first, and the other end is told in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError:
            self._errors.close()
            raise
        self._came: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._orders: queue.Queue[bytes | None] = queue.Queue()
        self._noise = b""
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, order: dict[str, Any], data: bytes = b"") -> None:
        """Queues an order and the bytes that follow it."""
        self.send_bytes(json.dumps(order).encode() + b"\n" + data)

    def send_bytes(self, data: bytes) -> None:
        self._orders.put(data)

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next message. Raises SilentError after `timeout_s`, ChannelClosedError at the end."""
        try:
            message = self._came.get(timeout=timeout_s)
        except queue.Empty:
            raise SilentError from None
        if message is None:
            self._came.put(None)
            raise ChannelClosedError(self._end(GRACE_S), self._said(), self._first_noise())
        return message

    def close(self, grace_s: float = GRACE_S) -> None:
        """Ends the process: by the end of its input, then by signals."""
        self._orders.put(None)
        self._end(grace_s)
        for thread in self._threads:
            thread.join(GRACE_S)
        self._errors.close()

    def _end(self, grace_s: float) -> int:
        for stop in (self._process.terminate, self._process.kill):
            try:
                return self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                grace_s = 1.0
                stop()
        return self._process.wait()

    def _read(self) -> None:
        source = self._process.stdout
        assert source is not None
        skipped = 0
        with source, contextlib.suppress(OSError, ValueError):
            while (line := source.readline(NOISE_BYTES)) and skipped < NOISE_BYTES:
                if not line.startswith(self._token):
                    skipped += len(line)
                    self._noise = self._noise or line[:200].strip()
                    continue
                message = json.loads(line[len(self._token) :])
                if isinstance(message, dict):
                    self._came.put(message)
        self._came.put(None)

    def _write(self) -> None:
        target = self._process.stdin
        assert target is not None
        with contextlib.suppress(OSError, ValueError), target:
            while True:
                try:
                    data = self._orders.get(timeout=BEAT_S)
                except queue.Empty:
                    data = b'{"do": "beat"}\n'
                if data is None:
                    return
                target.write(data)
                target.flush()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read(1 << 16).decode(errors="replace").strip()

    def _first_noise(self) -> str:
        text = self._noise.decode(errors="replace")
        return "".join(c if c.isprintable() else "?" for c in text)
