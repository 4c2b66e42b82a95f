"""The device's heat, throttling and disk; None for what it does not say."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

# The lower bits of `vcgencmd get_throttled` say what is so now (Raspberry Pi documentation).
BITS = {0: "under-voltage", 1: "capped clock", 2: "throttled", 3: "soft temperature limit"}
TOOL_S = 2.0


def temperature_c(sys_folder: Path = Path("/sys")) -> float | None:
    """Of the hottest zone."""
    found = []
    for file in (sys_folder / "class" / "thermal").glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            found.append(int(file.read_text()) / 1000)
    return max(found, default=None)


def throttled() -> int | None:
    """The firmware's bits, on a Raspberry Pi."""
    tool = shutil.which("vcgencmd", path=os.environ.get("PATH", "") + ":/usr/bin:/opt/vc/bin")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, "get_throttled"], capture_output=True, text=True, timeout=TOOL_S, check=False
        )
        return int(done.stdout.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def throttling(bits: int | None) -> tuple[str, ...]:
    """What holds now, in words."""
    return tuple(text for bit, text in BITS.items() if (bits or 0) >> bit & 1)


def disk_free(folder: Path) -> int | None:
    """Bytes that an unprivileged program may still write."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
