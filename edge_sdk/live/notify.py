"""sd_notify(3) with the standard library: datagrams to the socket that systemd names."""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Does nothing where no service manager listens. watchdog_s: how often it wants to hear, None
    where it does not."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s: float | None = None
        limit, owner = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        if self._address and limit.isdigit() and int(limit) and owner in ("", str(os.getpid())):
            self.watchdog_s = int(limit) / 1e6

    def ready(self, status: str) -> bool:
        return self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> bool:
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        return self._send("STOPPING=1")

    def _send(self, text: str) -> bool:
        if self._address[:1] not in ("/", "@"):
            return False
        # @ stands for the zero byte of an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
                s.settimeout(1.0)
                s.sendto(text.encode(), address)
        except OSError:
            return False
        return True
