"""Benchmarks over SSH against a real sshd of this machine, with keys and host files of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sshd_server import USER, free_port, make_key, needs_sshd, running, wait_for

from edge_sdk.device.ssh import SshDevice
from edge_sdk.errors import DeviceError, ModelError, UsageError

pytestmark = needs_sshd


@dataclass(frozen=True)
class Server:
    """A running sshd. tmp: the temporary folder of those who log in; options: for ssh -o."""

    folder: Path
    port: int
    pid: int
    options: list[str]

    @property
    def tmp(self) -> Path:
        return self.folder / "device-tmp"

    def device(self, **options: object) -> SshDevice:
        chosen = {"python": sys.executable, "options": self.options, **options}
        return SshDevice(f"{USER}@127.0.0.1", **chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    (folder / "device-tmp").mkdir()
    with running(folder, {"TMPDIR": folder / "device-tmp"}) as sshd:
        yield Server(sshd.folder, sshd.port, sshd.pid, sshd.options())


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test nothing is left: no file on the device, no ssh, no agent."""
    yield
    if "server" in request.fixturenames:
        server: Server = request.getfixturevalue("server")
        wait_for(lambda: left_behind(server) == [], 10, lambda: str(left_behind(server)))


def left_behind(server: Server) -> list[str]:
    return [p.name for p in server.tmp.iterdir()] + [text for _, text in processes(server)]


def processes(server: Server) -> list[tuple[int, str]]:
    """Those on the device and the ssh clients of it, each with its command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (folder / "environ").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        ssh = command.startswith("ssh ") and f"Port={server.port}" in command
        if ssh or f"TMPDIR={server.tmp}" in environment:
            found.append((int(folder.name), command))
    return found


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


@pytest.mark.tflite_runtime
def test_another_environment_s_runtime_is_measured(
    server: Server, models: Path, tflite_runtime_python: str
) -> None:
    with server.device(python=tflite_runtime_python) as device:
        assert device.measure(models / "tiny-int8.tflite", runs=3).runtime == "tflite-runtime"
        with pytest.raises(DeviceError, match=r"has no ai-edge-litert"):
            device.measure(models / "tiny-int8.tflite", backend="litert")


# What `python tools/arm_counts build` writes.
ARM64_PYTHON = Path(__file__).parents[2] / ".cache" / "arm64" / "python-arm64"


@pytest.mark.skipif(
    not ("EDGE_SDK_ARM64_PYTHON" in os.environ or ARM64_PYTHON.exists()),
    reason="no emulated arm64 Python: run `python tools/arm_counts build`, or name one in "
    "EDGE_SDK_ARM64_PYTHON",
)
def test_an_emulated_arm_board_is_measured(server: Server, models: Path) -> None:
    """A wrapper of qemu-aarch64 and an arm64 root with the runtime, which is its own
    sys.executable (qemu's -0): another machine's code by the same way; its times mean nothing."""
    with server.device(python=os.environ.get("EDGE_SDK_ARM64_PYTHON", str(ARM64_PYTHON))) as device:
        m = device.measure(models / "tiny-int8.tflite", runs=3)
    assert (m.machine.system, m.runs) == ("Linux aarch64", 3)


def test_a_missing_interpreter_says_how_to_install_one_offline(
    server: Server, models: Path, tmp_path: Path
) -> None:
    numpy_only = script(tmp_path, f'exec {sys.executable} -S "$@"', {"numpy.py": ""})
    with (
        server.device(python=numpy_only) as device,
        pytest.raises(DeviceError, match=r"has no TFLite interpreter.*--no-index --find-links"),
    ):
        device.measure(models / "tiny-int8.tflite")
    nothing = script(tmp_path, f'exec {sys.executable} -S "$@"')
    with server.device(python=nothing) as device, pytest.raises(DeviceError, match="has no NumPy"):
        device.measure(models / "tiny-int8.tflite")


def script(folder: Path, body: str, beside: dict[str, str] | None = None) -> str:
    """A program of these shell lines; `beside` are Python files that it may import."""
    modules = folder / "modules"
    modules.mkdir(exist_ok=True)
    for name, text in (beside or {}).items():
        (modules / name).write_text(text, encoding="utf-8")
    path = folder / ("python-with" if beside else "python-without")
    lead = f"export PYTHONPATH={modules}\n" if beside else ""
    path.write_text(f"#!/bin/sh\n{lead}{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_no_python_there(server: Server) -> None:
    with (
        pytest.raises(DeviceError, match=r"there is no Python 'python9'.*--remote-python"),
        server.device(python="python9"),
    ):
        pass


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo Welcome to the toaster; exit 3", "exit status 3: 'Welcome to the toaster'"),
        ("head -c 3000000 /dev/urandom", "exit status"),
        ('echo "$5 [1, 2"; exit 0', "exit status 0"),
        ("cat >/dev/null", "does not answer: nothing came for"),
    ],
    ids=["greeting", "flood", "broken", "silent"],
)
def test_garbage_instead_of_our_program(
    server: Server, tmp_path: Path, body: str, said: str
) -> None:
    device = server.device(python=script(tmp_path, body), silence_s=2, connect_s=4)
    with pytest.raises(DeviceError, match=said), device:
        pass


@pytest.mark.runtime
def test_a_greeting_before_our_program_is_passed_over(
    server: Server, models: Path, tmp_path: Path
) -> None:
    greets = script(tmp_path, f'echo Welcome; exec {sys.executable} "$@"')
    with server.device(python=greets) as device:
        assert device.measure(models / "tiny-int8.tflite", runs=3).runs == 3


HELLO = {"hello": True, "python": "3.11.2", "folder": "/tmp/x", "swept": 0,
         "packages": {"numpy": "1", "ai_edge_litert": "1"},
         "machine": {"cpu": "a", "cores": 1, "memory_bytes": 1, "system": "b"}}  # fmt: skip
GOT = {"got": "x"}
STATES = {"before": {}, "after": {}, "clock_low_mhz": None, "clock_high_mhz": None}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"hello": True}], "hello"),
        ([{**HELLO, "machine": {"cores": "many"}}], "machine"),
        ([HELLO, GOT, GOT, {"report": {}, **STATES}], "sent a report that makes no sense"),
        ([HELLO, GOT, GOT, {"report": {"times_ms": []}, **STATES}], "makes no sense"),
        ([HELLO, GOT, GOT, {"report": {}, "before": 3}], "conditions"),
        ([HELLO, GOT, GOT, {"error": "x", "kind": "OSError"}], "x"),
    ],
)
def test_messages_without_sense_are_errors(
    server: Server, models: Path, tmp_path: Path, messages: list[object], said: str
) -> None:
    lies = (
        "import json, sys\n"
        f"for m in {messages!r}: print(sys.argv[-1], json.dumps(m), flush=True)\n"
        "sys.stdin.read()"
    )
    (tmp_path / "lies.py").write_text(lies, encoding="utf-8")
    python = script(tmp_path, f'exec {sys.executable} {tmp_path / "lies.py"} "$@"')
    with pytest.raises(DeviceError, match=said), server.device(python=python) as device:
        device.measure(models / "tiny-int8.tflite")


def test_a_wrong_key(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    options = [o for o in server.options if not o.startswith("IdentityFile")]
    device = server.device(options=[*options, f"IdentityFile={tmp_path / 'other'}"])
    with pytest.raises(DeviceError, match=r"accepts none of your keys.*Permission denied"), device:
        pass


@pytest.mark.parametrize(
    ("known", "said"), [("other", "host key has changed"), ("", "host key is not known yet")]
)
def test_a_host_key_that_is_another_or_unknown(
    server: Server, tmp_path: Path, known: str, said: str
) -> None:
    line = f"device {make_key(tmp_path / 'other')}\n" if known else ""
    (tmp_path / "known_hosts").write_text(line, encoding="utf-8")
    options = [o for o in server.options if not o.startswith("UserKnownHostsFile")]
    device = server.device(options=[f"UserKnownHostsFile={tmp_path / 'known_hosts'}", *options])
    with pytest.raises(DeviceError, match=said), device:
        pass


def test_a_port_where_nothing_listens(server: Server) -> None:
    options = [f"Port={free_port()}", *server.options[1:]]
    with pytest.raises(DeviceError, match="nothing listens there"), server.device(options=options):
        pass


def test_a_host_that_does_not_answer(server: Server) -> None:
    """A socket that takes the connection and says nothing: as an unplugged host behind a gate."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = [f"Port={silent.getsockname()[1]}", *server.options[1:]]
        start = time.monotonic()
        device = server.device(options=options, connect_s=1)
        with pytest.raises(DeviceError, match=r"127\.0\.0\.1"), device:
            pass
        assert time.monotonic() - start < 10


def test_a_name_that_is_no_host() -> None:
    device = SshDevice("no-such-host.invalid", connect_s=2)
    with pytest.raises(DeviceError, match=r"no-such-host.invalid: no such host"), device:
        pass


@pytest.mark.parametrize("host", ["", " ", "-oProxyCommand=touch /tmp/x"])
def test_a_host_that_is_an_option(host: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        SshDevice(host)


def test_options_that_are_none(server: Server) -> None:
    with pytest.raises(UsageError, match="is not NAME=VALUE"):
        SshDevice("pi", options=["-v"])
    with pytest.raises(UsageError, match="--remote-python '-c' is no command"):
        server.device(python="-c").__enter__()


def test_a_missing_ssh_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match="install OpenSSH's client"), server.device():
        pass


def test_a_model_that_is_none_never_travels(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"no model")
    with server.device() as device, pytest.raises(ModelError):
        device.measure(tmp_path / "x.tflite")


@pytest.mark.runtime
def test_the_devices_own_error_names_the_model_here(server: Server, models: Path) -> None:
    with server.device() as device:
        with pytest.raises(UsageError, match=r"127.0.0.1: unknown backend 'x'"):
            device.measure(models / "tiny-int8.tflite", backend="x")
        assert device.measure(models / "tiny-int8.tflite", runs=3).runs == 3


def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    """Files of at most 16 blocks of 1 kB: the runtime, larger, does not fit."""
    small = script(tmp_path, f'ulimit -f 16; exec {sys.executable} "$@"')
    with (
        pytest.raises(DeviceError, match=r"bytes do not fit into .*device-tmp.*free some space"),
        server.device(python=small),
    ):
        pass


def test_a_temporary_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    """Every candidate is tried; where none works, the device says which it tried."""
    broken = "import tempfile as t; t._candidate_tempdir_list = lambda: ['/proc/none']"
    python = script(tmp_path, f'exec {sys.executable} "$@"', {"sitecustomize.py": broken})
    with (
        pytest.raises(DeviceError, match=r"cannot make a temporary folder: .*"),
        server.device(python=python),
    ):
        pass


@pytest.mark.runtime
def test_a_model_that_takes_too_long(server: Server, models: Path) -> None:
    with (
        server.device(timeout_s=2) as device,
        pytest.raises(DeviceError, match=r"the model gave no answer within [12]\S* s"),
    ):
        device.measure(models / "tiny-int8.tflite", runs=10**9, seconds=60)


def while_running(server: Server, device: SshDevice, models: Path, act: Callable[[], None]) -> str:
    """Does `act` while the device runs a model for a minute; returns the error of that."""

    def later() -> None:
        wait_for(lambda: any("backends.worker" in p for p in left_behind(server)), 20)
        act()

    thread = threading.Thread(target=later)
    thread.start()
    try:
        with device, pytest.raises(DeviceError) as failed:
            device.measure(models / "tiny-int8.tflite", runs=10**9, seconds=60)
    finally:
        thread.join()
    return str(failed.value)


def sessions(server: Server) -> list[int]:
    """The sshd processes of those who are logged in."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text(encoding="utf-8").rpartition(")")
        except OSError:
            continue
        if "(sshd" in name:
            children[int(stat.parent.name)] = int(rest.split()[1])
    found = [pid for pid, parent in children.items() if parent == server.pid]
    return found + [pid for pid, parent in children.items() if parent in found]


@pytest.mark.runtime
def test_a_connection_that_is_cut_in_mid_run(server: Server, models: Path) -> None:
    def cut() -> None:
        for pid in sessions(server):
            os.kill(pid, signal.SIGKILL)

    assert "connection was lost" in while_running(server, server.device(), models, cut)


@pytest.mark.runtime
def test_a_device_that_falls_asleep(server: Server, models: Path) -> None:
    """Its sshd stops answering; when it wakes up, it cleans up."""
    stopped: list[int] = []

    def sleep() -> None:
        stopped.extend(sessions(server))
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)

    try:
        text = while_running(server, server.device(silence_s=3), models, sleep)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert "does not answer: nothing came for" in text


@pytest.mark.runtime
def test_what_a_killed_agent_left_is_removed_by_the_next(server: Server, models: Path) -> None:
    def kill() -> None:
        for pid in agents(server):
            os.kill(pid, signal.SIGKILL)

    assert "connection was lost" in while_running(server, server.device(), models, kill)
    assert len(list(server.tmp.iterdir())) == 1
    with server.device():
        assert len(list(server.tmp.iterdir())) == 1


def agents(server: Server) -> list[int]:
    return [pid for pid, text in processes(server) if "exec(compile" in text]


@pytest.mark.runtime
def test_two_runs_at_once_leave_each_other_alone(server: Server, models: Path) -> None:
    with server.device() as first:
        with server.device() as second:
            assert len(list(server.tmp.iterdir())) == 2
            assert second.measure(models / "tiny-int8.tflite", runs=3).runs == 3
        assert first.measure(models / "tiny-int8.tflite", runs=3).runs == 3


@pytest.mark.runtime
def test_the_command_tells_device_from_here(server: Server, models: Path) -> None:
    model = [str(models / "tiny-int8.tflite"), "--runs", "20"]
    said = {}
    for kind in ("--json", "--csv"):
        command = [sys.executable, "-m", "edge_sdk.cli", *arguments(server), *model, kind]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said[kind] = done.stdout
    (row,) = json.loads(said["--json"])
    assert row["measured"]["where"] == f"{USER}@127.0.0.1"
    assert row["measured"]["conditions"].keys() >= {"before", "after"}
    assert f"measured,{USER}@127.0.0.1,litert" in said["--csv"]


@pytest.mark.runtime
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_command_interrupted_or_killed_leaves_nothing(
    server: Server, models: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "edge_sdk.cli", *arguments(server), "--seconds", "60"]
    model = [str(models / "tiny-int8.tflite"), "--runs", "1000000000"]
    process = subprocess.Popen([*command, *model], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any("backends.worker" in p for p in left_behind(server)), 30)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in said
    assert "Traceback" not in said


def arguments(server: Server) -> list[str]:
    options = [word for o in server.options for word in ("--ssh-option", o)]
    return ["benchmark", "--host", f"{USER}@127.0.0.1", "--remote-python", sys.executable, *options]
