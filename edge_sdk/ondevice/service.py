"""The service manager: systemd, or none (images, containers, tests)."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Protocol

from edge_sdk.errors import DeviceError
from edge_sdk.ondevice.layout import UNITS, Layout

START_S = 120.0
SETTLE_S = 3.0


class Services(Protocol):
    """name: for messages. manages: it starts and stops the classifier."""

    name: str
    manages: bool

    def restart(self) -> str:
        """Starts the release that `current` leads to. Returns what is wrong; empty: healthy."""

    def stop(self) -> None: ...

    def state(self) -> str: ...


class NoServices:
    name = "none"
    manages = False

    def restart(self) -> str:
        return ""

    def stop(self) -> None:
        pass

    def state(self) -> str:
        return "no service manager"


class Systemd:
    name = "systemd"
    manages = True

    def __init__(self, systemctl: str, layout: Layout, *, settle_s: float = SETTLE_S) -> None:
        self._systemctl, self._layout = systemctl, layout
        self._settle_s = settle_s

    def restart(self) -> str:
        """One request to systemd: should this process end now, systemd still carries it out. The
        unit is of type notify, so the request ends when the classifier says that it is ready."""
        if problem := self._call("daemon-reload"):
            return problem
        unit = self._layout.service()
        if problem := self._call("restart", unit):
            return problem
        time.sleep(self._settle_s)
        state = self.state()
        return "" if state == "active" else f"{unit} is {state} {self._settle_s:g} s after it began"

    def stop(self) -> None:
        self._call("stop", *(u for u in UNITS.values() if self._layout.unit(u).is_file()))

    def state(self) -> str:
        command = [self._systemctl, "is-active", self._layout.service()]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=START_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as e:
            return f"unknown ({e})"
        return done.stdout.strip() or "unknown"

    def _call(self, *words: str) -> str:
        command = [self._systemctl, *words]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=START_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"systemctl {' '.join(words)} did not end within {START_S:g} s"
        except OSError as e:
            return f"{self._systemctl} cannot be run: {e.strerror}"
        said = done.stderr.strip().splitlines()
        if done.returncode == 0:
            return ""
        # What went wrong is the first line; after it comes where to read more.
        why = said[0] if said else f"exit status {done.returncode}"
        return f"systemctl {' '.join(words)}: {why}"


def find_services(choice: str, layout: Layout) -> Services:
    """choice: systemd, none, or auto: systemd where it runs this very system."""
    here = layout.root == Path("/") and Path("/run/systemd/system").is_dir()
    if choice == "none" or (choice == "auto" and not here):
        return NoServices()
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise DeviceError("systemctl is not here: install without a service, --services none")
    return Systemd(systemctl, layout)
