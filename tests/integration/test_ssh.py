"""Benchmarks over SSH against a real sshd of this machine, with keys and host files of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge_sdk.device import agent
from edge_sdk.device.ssh import SshDevice
from edge_sdk.errors import DeviceError, ModelError, UsageError

SSHD = Path("/usr/sbin/sshd")
pytestmark = pytest.mark.skipif(
    not (SSHD.exists() and shutil.which("ssh") and shutil.which("ssh-keygen")),
    reason="no OpenSSH server here: apt-get install openssh-server",
)
USER = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Server:
    """A running sshd. tmp: the temporary folder of those who log in; options: for ssh -o."""

    folder: Path
    port: int
    pid: int

    @property
    def tmp(self) -> Path:
        return self.folder / "device-tmp"

    @property
    def options(self) -> list[str]:
        return [
            f"Port={self.port}",
            f"IdentityFile={self.folder / 'user'}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
        ]

    def device(self, **options: object) -> SshDevice:
        chosen = {"python": sys.executable, "options": self.options, **options}
        return SshDevice(f"{USER}@127.0.0.1", **chosen)  # type: ignore[arg-type]


def key(path: Path) -> str:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return " ".join(path.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    (folder / "device-tmp").mkdir()
    host = key(folder / "host")
    (folder / "authorized_keys").write_text(key(folder / "user") + "\n", encoding="utf-8")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n", encoding="utf-8")
    config = f"""
ListenAddress 127.0.0.1
HostKey {folder / "host"}
PidFile {folder / "pid"}
AuthorizedKeysFile {folder / "authorized_keys"}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
SetEnv TMPDIR={folder / "device-tmp"}
"""
    (folder / "config").write_text(config, encoding="utf-8")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd wants to be root in
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "config"), "-p", str(port)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as sshd:
        try:
            wait_for(lambda: b"listening" in (folder / "log").read_bytes(), 10)
            yield Server(folder, port, sshd.pid)
        finally:
            sshd.terminate()


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test nothing is left: no file on the device, no ssh, no agent."""
    yield
    if "server" in request.fixturenames:
        server: Server = request.getfixturevalue("server")
        wait_for(lambda: left_behind(server) == [], 10, lambda: str(left_behind(server)))


def left_behind(server: Server) -> list[str]:
    files = [p.name for p in server.tmp.iterdir()]
    return files + [c for c in processes() if str(server.tmp) in c or f"Port={server.port}" in c]


def processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ValueError):
            continue
    return found


def wait_for(
    done: Callable[[], bool], seconds: float, what: Callable[[], str] = lambda: ""
) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not so within {seconds} s: {what()}"
        time.sleep(0.05)


@pytest.mark.runtime
def test_models_are_measured_on_the_device(server: Server, models: Path) -> None:
    with server.device() as device:
        found = [device.measure(models / f"tiny-{t}.tflite", runs=20) for t in ("int8", "float32")]
        assert len(list(server.tmp.iterdir())) == 1
    for m in found:
        assert (m.where, m.label, m.runs, m.threads) == (f"{USER}@127.0.0.1", "measured", 20, 1)
        assert 0 < m.min_ms <= m.latency_ms <= (m.p90_ms or 0) <= (m.p99_ms or 0)
        assert m.machine.cores >= 1
        assert m.conditions is not None
        assert (m.rss_peak_bytes or 0) > (m.rss_model_bytes or 0) > 0
