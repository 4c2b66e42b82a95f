"""A real sshd of this machine, with keys and host files of its own, as a device to log in to."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = Path("/usr/sbin/sshd")
USER = pwd.getpwuid(os.getuid()).pw_name
needs_sshd = pytest.mark.skipif(
    not (SSHD.exists() and shutil.which("ssh") and shutil.which("ssh-keygen")),
    reason="no OpenSSH server here: apt-get install openssh-server",
)


@dataclass(frozen=True)
class Sshd:
    """A running sshd. options: for ssh -o."""

    folder: Path
    port: int
    pid: int

    def options(self, port: int = 0) -> list[str]:
        return [
            f"Port={port or self.port}",
            "HostKeyAlias=device",
            f"IdentityFile={self.folder / 'user'}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
        ]


def make_key(path: Path) -> str:
    """The public part of a new pair."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return " ".join(path.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def running(folder: Path, environment: dict[str, object]) -> Iterator[Sshd]:
    """environment: of those who log in, with a home that has no shell's start-up file."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    environment = {"HOME": folder / "home", **environment}
    port = free_port()
    host = make_key(folder / "host")
    (folder / "authorized_keys").write_text(make_key(folder / "user") + "\n", encoding="utf-8")
    (folder / "known_hosts").write_text(f"device {host}\n", encoding="utf-8")
    config = f"""
ListenAddress 127.0.0.1
HostKey {folder / "host"}
PidFile {folder / "pid"}
AuthorizedKeysFile {folder / "authorized_keys"}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
SetEnv {" ".join(f'"{k}={v}"' for k, v in environment.items())}
"""
    (folder / "config").write_text(config, encoding="utf-8")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd wants to be root in
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "config"), "-p", str(port)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as sshd:
        try:
            wait_for(lambda: b"listening" in (folder / "log").read_bytes(), 20)
            yield Sshd(folder, port, sshd.pid)
        finally:
            sshd.terminate()


def wait_for(
    done: Callable[[], bool], seconds: float, what: Callable[[], str] = lambda: ""
) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not so within {seconds} s: {what()}"
        time.sleep(0.05)
