"""Lines on standard error; with systemd's priorities in front where the journal reads them."""

from __future__ import annotations

import os
import sys
from typing import TextIO

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # of syslog, which sd-daemon(3) takes
WORDS = {ERROR: "error: ", WARNING: "warning: ", NOTICE: "", INFO: ""}


def journal_reads(stream: TextIO) -> bool:
    """Whether the stream is the one that JOURNAL_STREAM names (systemd.exec(5)): a pipe of
    somebody else's must not get the prefixes."""
    try:
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        found = os.fstat(stream.fileno())
        return (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (OSError, ValueError):
        return False


class Log:
    """stream: standard error by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._journal = journal_reads(self.stream)
        self.clear = ""  # what takes a status line away before a line is written

    def __call__(self, text: str, priority: int = INFO) -> None:
        line = " ".join(text.split())
        start = f"<{priority}>" if self._journal else WORDS[priority]
        # A full disk or a reader that went away must not end what is being logged about.
        try:
            self.stream.write(f"{self.clear}{start}{line}\n")
            self.stream.flush()
        except (OSError, ValueError):
            return

    def warn(self, text: str) -> None:
        self(text, WARNING)
