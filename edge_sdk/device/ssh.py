"""Measures on a machine reached by OpenSSH's own client: its config, keys and jump hosts hold.

One connection, on which the small runtime and the models travel; nothing is fetched by the device,
nothing stays there (see agent.py), and no connection is left open here."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import edge_sdk
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
from edge_sdk.device.conditions import condition_warnings
from edge_sdk.device.link import CONNECT_S, SILENCE_S, Link
from edge_sdk.errors import DeviceError
from edge_sdk.strict import from_plain

TIMEOUT_S = 300.0
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
        self.host, self._python, self._timeout_s = host, python, timeout_s
        self._link = Link(
            host,
            python=python,
            options=options,
            no_python="name one with --remote-python, as ~/venv/bin/python",
            connect_s=connect_s,
            silence_s=silence_s,
        )
        self._hello: Hello | None = None

    def __enter__(self) -> SshDevice:
        """Raises DeviceError, saying what to do, when the device or a Python is not reached."""
        said = self._link.open((Path(__file__).parent / "agent.py").read_bytes())
        try:
            self._hello = from_plain(Hello, said, f"{self.host}: hello", DeviceError)
            self._send_file("runtime.zip", _runtime(), self._link.silence_s)
        except BaseException:
            self._link.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._link.close(in_order=error is None)

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
        self._link.send({"do": "time", "job": job, "timeout_s": left})
        found = self._receive("report", left + self._link.silence_s, str(model))
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
        self._link.send({"do": "file", "name": name, "size": len(data)}, data)
        self._receive("got", timeout_s)

    def _receive(self, key: str, timeout_s: float, model: str = "the model") -> dict[str, Any]:
        """As Link.receive; errors name the model as it is called here."""
        there = f"{self._hello.folder}/model.tflite" if self._hello else "model.tflite"
        return self._link.receive(key, timeout_s, lambda text: text.replace(there, model))


def _runtime() -> bytes:
    """The files of RUNTIME as a zip that Python imports from."""
    here = Path(edge_sdk.__file__).parent
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in RUNTIME:
            archive.write(here / name, f"edge_sdk/{name}")
    return made.getvalue()
