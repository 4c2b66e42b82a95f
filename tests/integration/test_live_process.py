"""edge-classify as a process: signals, systemd's socket, locks, full and read-only disks."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CODE = "import sys; from edge_sdk.cli.live import main; sys.exit(main())"
CAMERA = 'camera = "simulated"\n[camera_options]\nsize = [64, 48]\ncells = 2\ndiameter = 16.0\n'
WAIT_S = 60


class Running:
    """edge-classify in a process of its own; its output goes to files."""

    def __init__(self, folder: Path, *words: Any, **more: Any) -> None:
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [sys.executable, "-c", CODE, *map(str, words)]
            self.process = subprocess.Popen(command, stdout=out, stderr=err, **more)

    def until(self, text: str, where: str = "err") -> None:
        file: Path = getattr(self, where)
        deadline = time.monotonic() + WAIT_S
        while text not in file.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, f"no '{text}': {self.err.read_text()}"
            time.sleep(0.02)

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    made: list[Running] = []

    def begin(*words: Any, **more: Any) -> Running:
        (folder := tmp_path / f"run{len(made)}").mkdir()
        made.append(Running(folder, *words, **more))
        return made[-1]

    yield begin
    for running in made:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@pytest.fixture
def config(tmp_path: Path, models: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(
        f'model = "{models / "tiny-int8.tflite"}"\nbackend = "fake"\ninterval_s = 0.05\n'
        f'heartbeat = "{tmp_path / "heartbeat.json"}"\nheartbeat_s = 0.2\n'
        f'state = "{tmp_path / "state"}"\noutput = "json"\n{CAMERA}'
    )
    return file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_it_is_told_to(start: Any, config: Path, number: int) -> None:
    running = start("--config", config)
    running.until('"labels"', "out")
    assert running.end(number) == 0
    lines = running.out.read_text().splitlines()
    assert all(json.loads(line)["simulated"] for line in lines)  # none is cut off
    assert f"{signal.Signals(number).name}: ending" in running.err.read_text()
    assert "Traceback" not in running.err.read_text()
    beat = json.loads((config.parent / "heartbeat.json").read_text())
    assert beat["frames"]["classified"] == len(lines)
    assert beat["pid"] == running.process.pid


def test_a_hangup_reads_the_configuration_again(start: Any, config: Path) -> None:
    running = start("--config", config)
    running.until('"labels"', "out")
    good = config.read_text()
    config.write_text(good.replace('output = "json"', 'output = "jsn"'))
    running.process.send_signal(signal.SIGHUP)
    running.until("the old configuration is kept")
    assert "'jsn' is not one of" in running.err.read_text()
    config.write_text(good.replace('output = "json"', 'output = "csv"'))
    running.process.send_signal(signal.SIGHUP)
    running.until("the configuration was read again")
    running.until("time,frame,label", "out")
    running.until(",yes\n", "out")
    for number in [signal.SIGHUP] * 20 + [signal.SIGTERM]:  # in the middle of reading again, too
        running.process.send_signal(number)
        time.sleep(0.01)
    assert running.end() == 0


def test_a_second_instance_is_refused_and_the_first_goes_on(start: Any, config: Path) -> None:
    first = start("--config", config)
    first.until('"labels"', "out")
    second = start("--config", config)
    assert second.end() == 2
    assert "another edge-classify runs on state folder" in second.err.read_text()
    before = first.out.stat().st_size
    time.sleep(0.5)
    assert first.out.stat().st_size > before
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    third = start("--config", config)  # a lock does not outlive its process
    third.until('"labels"', "out")
    assert third.end(signal.SIGTERM) == 0


def test_systemd_hears_that_it_is_ready_alive_and_ending(
    start: Any, config: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(WAIT_S)
        environment = {
            **os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000",
        }  # fmt: skip
        running = start("--config", config, env=environment)
        said = [listener.recv(200).decode()]
        while not said[-1].startswith("READY=1"):
            said.append(listener.recv(200).decode())
        assert "classifying frames of simulated" in said[-1]
        # The heartbeat is there before it says so: the installer looks for it.
        assert json.loads((tmp_path / "heartbeat.json").read_text())["frames"]["classified"] >= 1
        for _ in range(3):
            assert listener.recv(200) == b"WATCHDOG=1"
        running.process.send_signal(signal.SIGHUP)
        said = []
        while "READY=1" not in "".join(said):
            said.append(listener.recv(200).decode())
        assert any(s.startswith("RELOADING=1") for s in said)
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0
        said = []
        while select.select([listener], [], [], 0)[0]:
            said.append(listener.recv(200).decode())
        assert said[-1] == "STOPPING=1"


def test_what_hangs_in_the_interpreter_is_ended(config: Path) -> None:
    code = (
        "import time, sys, edge_sdk.backends.fake as fake\n"
        "fake.FakeBackend.invoke = lambda self, x: time.sleep(600)\n" + CODE
    )
    command = [sys.executable, "-c", code, "--config", str(config), "--watchdog", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 70
    assert "error: the classifier did not get on for 0.5 s: ending" in done.stderr


@pytest.mark.parametrize("name", ["v4l2", "folder"])
def test_a_camera_that_is_missing_is_an_error_in_a_line(
    start: Any, models: Path, tmp_path: Path, name: str
) -> None:
    option = f"{'device=/dev/video97' if name == 'v4l2' else f'path={tmp_path}/none'}"
    words = ["--camera", name, "--camera-option", option, "--backend", "fake", "--watchdog", "1"]
    running = start(models / "tiny-int8.tflite", *words)
    assert running.end() == 1
    last = running.err.read_text().splitlines()[-1]
    assert last.startswith("error: ")
    assert option.partition("=")[2] in last


def test_standard_output_that_is_full_is_a_fault(models: Path) -> None:
    command = [sys.executable, "-c", CODE, str(models / "tiny-int8.tflite"), "--backend", "fake"]
    command += ["--camera", "simulated"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT_S, check=False
        )
    assert done.returncode == 1
    assert "error: the answers cannot be written to standard output: No space" in done.stderr


def in_small_disk(folder: Path, size: str, then: str) -> list[str]:
    """A command whose `folder` is a disk of that size, which is `then`: rw or ro."""
    script = (
        'set -e; mount -t tmpfs -o "size=$1" none "$2"; mkdir "$2/state"\n'
        'mount -o "remount,$3" "$2"; shift 3; exec "$@"'
    )
    return ["unshare", "-rm", "sh", "-c", script, "sh", size, str(folder), then]


def can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*in_small_disk(folder, "64k", "ro"), "true"]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only_does_not_end_it(
    models: Path, tmp_path: Path, kind: str
) -> None:
    (disk := tmp_path / "disk").mkdir()
    if not can_mount(disk):
        pytest.skip("no disk can be mounted here: unshare -rm is not allowed")
    words = [
        str(models / "tiny-int8.tflite"), "--backend", "fake", "--camera", "simulated",
        "--frames", "40", "--output", "json", "--heartbeat", f"{disk}/heartbeat.json",
        "--state", f"{disk}/state",
    ]  # fmt: skip
    if kind == "full":
        words += ["--save-frames", f"{disk}/state/frames", "--keep-free", "0"]
    prefix = in_small_disk(disk, "200k", "rw" if kind == "full" else "ro")
    command = [*prefix, sys.executable, "-c", CODE, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 40
    reason = "No space left" if kind == "full" else "Read-only file system"
    assert reason in done.stderr
    assert done.stderr.count("warning:") <= 3  # said, not repeated for every frame


def test_the_journal_gets_priorities(models: Path) -> None:
    read, write = os.pipe()
    found = os.fstat(write)
    words = ["--camera", "simulated", "--once", "--output", "none", "--backend", "fake"]
    subprocess.run(
        [sys.executable, "-c", CODE, str(models / "tiny-int8.tflite"), *words],
        stderr=write, check=True, timeout=WAIT_S, stdout=subprocess.DEVNULL,
        env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as stream:
        lines = stream.read().splitlines()
    assert lines
    assert all(line.startswith("<6>") for line in lines)
