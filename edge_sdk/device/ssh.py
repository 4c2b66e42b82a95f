"""Measures on a machine reached by OpenSSH's own client: its config, keys and jump hosts hold.

One connection, on which the small runtime and the models travel; nothing is fetched by the device,
nothing stays there (see agent.py), and no connection is left open here."""

from __future__ import annotations

import io
import re
import secrets
import shlex
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import edge_sdk
from edge_sdk import errors
from edge_sdk.backends import AUTO_ORDER
from edge_sdk.backends.base import classifier_specs
from edge_sdk.backends.tflite import PACKAGES
from edge_sdk.benchmark.measure import (
    RUNS,
    SECONDS,
    WARMUP,
    Conditions,
    Machine,
    Measurement,
    measurement,
)
from edge_sdk.device.channel import Channel, ChannelClosedError, SilentError
from edge_sdk.device.conditions import condition_warnings
from edge_sdk.errors import DeviceError, EdgeError, UsageError
from edge_sdk.strict import from_plain

TIMEOUT_S = 300.0
CONNECT_S = 10.0
# The agent speaks every second; a device that says nothing for so long sleeps or is gone.
SILENCE_S = 30.0
# What `python -m edge_sdk.backends.worker` needs, and no more.
RUNTIME = (
    "__init__.py",
    "errors.py",
    "preprocess.py",
    "tflite_file.py",
    "backends/__init__.py",
    "backends/base.py",
    "backends/fake.py",
    "backends/tflite.py",
    "backends/worker.py",
)
OPTIONS = (
    "-T",
    "-oBatchMode=yes",
    "-oServerAliveInterval=5",
    "-oServerAliveCountMax=3",
    # A master that the user already runs is used, none is started and left behind.
    "-oControlMaster=no",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oRemoteCommand=none",
)
BOOTSTRAP = (
    'import sys;r=sys.stdin.buffer;exec(compile(r.read(int(r.readline())),"edge-sdk","exec"))'
)
# What ssh says (never translated) -> what to do about it.
ADVICE = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its host key has changed: if you know why (a new "
    "system on it), remove the old one with ssh-keygen -R and connect once with ssh",
    "Host key verification failed": "its host key is not known yet: connect once with ssh and "
    "accept it",
    "Permission denied": "it accepts none of your keys, and no password is asked for here: see "
    "ssh-copy-id, ssh-add, or IdentityFile in your ssh config",
    "Could not resolve hostname": "no such host: check the name",
    "Connection refused": "nothing listens there: is its SSH server on, is the port right?",
    "No route to host": "it cannot be reached: is it on, and in this network?",
    "Network is unreachable": "it cannot be reached: is it on, and in this network?",
    "Connection timed out": "it does not answer: is it on, and in this network?",
    "Operation timed out": "it does not answer: is it on, and in this network?",
}
LOST = "the connection was lost (a reboot, no power, no network?)"
OFFLINE = (
    "Without internet there: here `pip download --only-binary=:all: --platform "
    "manylinux_2_27_aarch64 --python-version {python} -d wheels ai-edge-litert`, copy the folder "
    "with scp -r, then there `{name} -m pip install --no-index --find-links wheels "
    "ai-edge-litert` (32-bit ARM: tflite-runtime and 'numpy<2'; see docs/benchmark-device.md)"
)


@dataclass(frozen=True)
class Hello:
    """What the agent says first. packages: import name -> version; folder: its own, there."""

    python: str
    machine: Machine
    packages: dict[str, str]
    folder: str
    swept: int


class SshDevice:
    """A device with Python and an interpreter, for one `with` block; connects on entering it.

    host: as ssh takes it (user@pi, a Host of your config, ssh://user@pi:2222). python: there.
    options: for ssh's -o (Port=2222). timeout_s: of each model, sending and running together."""

    def __init__(
        self,
        host: str,
        *,
        python: str = "python3",
        options: Sequence[str] = (),
        connect_s: float = CONNECT_S,
        timeout_s: float = TIMEOUT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Raises UsageError for a host or an option that ssh would take for something else."""
        if not host.strip() or host.startswith("-"):
            raise UsageError(f"--host '{host}' is no host; give it as ssh takes it, as pi@rpi4")
        for option in options:
            if not re.fullmatch(r"[A-Za-z0-9]+[= ].+", option):
                raise UsageError(f"--ssh-option '{option}' is not NAME=VALUE, as Port=2222")
        self.host, self._python = host, python
        self._options = [f"-o{option}" for option in options]
        self._connect_s, self._timeout_s, self._silence_s = connect_s, timeout_s, silence_s
        self._channel: Channel | None = None
        self._hello: Hello | None = None

    def __enter__(self) -> SshDevice:
        """Raises DeviceError, saying what to do, when the device or a Python is not reached."""
        token = secrets.token_hex(8)
        command = f"{_remote_word(self._python)} -u -c {shlex.quote(BOOTSTRAP)} {token}"
        timeout = f"-oConnectTimeout={max(1, round(self._connect_s))}"
        argv = ["ssh", *OPTIONS, timeout, *self._options, "--", self.host, command]
        try:
            self._channel = Channel(argv, token)
        except OSError as e:
            raise DeviceError(f"cannot start ssh: {e.strerror}; install OpenSSH's client") from e
        try:
            source = (Path(__file__).parent / "agent.py").read_bytes()
            self._channel.send_bytes(b"%d\n%b" % (len(source), source))
            said = self._receive("hello", self._connect_s + self._silence_s)
            del said["hello"]
            self._hello = from_plain(Hello, said, f"{self.host}: hello", DeviceError)
            self._send_file("runtime.zip", _runtime(), self._silence_s)
        except BaseException:
            self._channel.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._channel is not None
        if error is None:
            self._channel.send({"do": "end"})
        self._channel.close()

    def measure(
        self,
        model: Path,
        *,
        backend: str = "auto",
        threads: int = 1,
        runs: int = RUNS,
        warmup: int = WARMUP,
        seconds: float = SECONDS,
    ) -> Measurement:
        """As benchmark.measure.measure, there. Raises DeviceError too, for a device that has no
        interpreter or no space, does not answer in time, or is lost."""
        assert self._channel is not None
        assert self._hello is not None
        classifier_specs(model)
        self._require(backend, self._hello)
        end = time.monotonic() + self._timeout_s
        self._send_file("model.tflite", model.read_bytes(), self._timeout_s)
        job = {
            "task": "time",
            "backend": backend,
            "threads": threads,
            "runs": runs,
            "warmup": warmup,
            "seconds": seconds,
        }
        left = max(1.0, end - time.monotonic())
        self._channel.send({"do": "time", "job": job, "timeout_s": left})
        found = self._receive("report", left + self._silence_s, str(model))
        try:
            conditions = from_plain(
                Conditions,
                {key: value for key, value in found.items() if key != "report"},
                f"{self.host}: conditions",
                DeviceError,
            )
            return measurement(
                found["report"],
                threads,
                warmup,
                self._hello.machine,
                where=self.host,
                conditions=conditions,
                warnings=tuple(f"{self.host}: {w}" for w in condition_warnings(conditions)),
            )
        except (KeyError, TypeError, ValueError, IndexError) as e:
            raise DeviceError(f"{self.host} sent a report that makes no sense: {e!r}") from e

    def _require(self, backend: str, hello: Hello) -> None:
        """Raises DeviceError, saying how to install one, when the device lacks the interpreter."""
        has = hello.packages
        name = f"{self._python} (Python {hello.python}) on {self.host}"
        if "numpy" not in has:
            raise DeviceError(
                f"{name} has no NumPy: there `{self._python} -m pip install numpy`, or on Debian "
                "and Raspberry Pi OS `sudo apt install python3-numpy`"
            )
        wanted = AUTO_ORDER if backend == "auto" else (backend,) if backend in PACKAGES else ()
        if wanted and not any(PACKAGES[w][0].split(".")[0] in has for w in wanted):
            what = "no TFLite interpreter" if backend == "auto" else f"no {PACKAGES[backend][2]}"
            short = ".".join(hello.python.split(".")[:2])
            raise DeviceError(
                f"{name} has {what}: there `{self._python} -m pip install ai-edge-litert`. "
                + OFFLINE.format(python=short, name=self._python)
            )

    def _send_file(self, name: str, data: bytes, timeout_s: float) -> None:
        assert self._channel is not None
        self._channel.send({"do": "file", "name": name, "size": len(data)}, data)
        self._receive("got", timeout_s)

    def _receive(self, key: str, timeout_s: float, model: str = "the model") -> dict[str, Any]:
        """The next message that has `key`; the device's own error is raised as one of ours."""
        assert self._channel is not None
        end = time.monotonic() + timeout_s
        while True:
            left = max(0.0, end - time.monotonic())
            wait = min(left, self._silence_s) if self._hello else left
            try:
                message = self._channel.receive(wait)
            except ChannelClosedError as e:
                raise DeviceError(f"{self.host}: {self._why(e)}") from e
            except SilentError as e:
                raise DeviceError(
                    f"{self.host} does not answer: nothing came for {wait:.3g} s"
                ) from e
            if "error" in message:
                raise self._error(message, model)
            if key in message:
                return message
            if not left:
                raise DeviceError(f"{self.host} gave no {key} within {timeout_s:g} s")

    def _error(self, message: dict[str, Any], model: str) -> EdgeError:
        kind = getattr(errors, str(message.get("kind")), None)
        if not (isinstance(kind, type) and issubclass(kind, EdgeError)):
            kind = DeviceError
        text = str(message["error"])
        if self._hello is not None:
            text = text.replace(f"{self._hello.folder}/model.tflite", model)
        return kind(f"{self.host}: {text}")

    def _why(self, e: ChannelClosedError) -> str:
        """ssh's exit in words: 255 is its own, anything else the remote command's."""
        last = e.errors.splitlines()[-1].removeprefix("ssh: ").strip() if e.errors else "no message"
        if self._hello:
            return f"{LOST}; ssh: {last}" if e.errors else LOST
        if e.status == 255:
            for said, advice in ADVICE.items():
                if said in e.errors:
                    return f"{advice}; ssh: {last}"
            return f"cannot connect; ssh: {last}"
        if e.status in (126, 127):
            return (
                f"there is no Python '{self._python}' ({last}); name one with --remote-python, "
                "as ~/venv/bin/python"
            )
        noise = f"'{e.noise}'" if e.noise else last
        return (
            f"it did not run our program, exit status {e.status}: {noise}. It needs a shell that "
            f"runs commands and Python 3.9 or newer as '{self._python}'"
        )


def _remote_word(python: str) -> str:
    """`python` as one word of the device's shell; a leading ~/ is its user's home.

    Raises UsageError for none."""
    if not python.strip() or python.startswith("-"):
        raise UsageError(f"--remote-python '{python}' is no command; give one, as python3")
    if python.startswith("~/"):
        return "~/" + shlex.quote(python[2:])
    return shlex.quote(python)


def _runtime() -> bytes:
    """The files of RUNTIME as a zip that Python imports from."""
    here = Path(edge_sdk.__file__).parent
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in RUNTIME:
            archive.write(here / name, f"edge_sdk/{name}")
    return made.getvalue()
