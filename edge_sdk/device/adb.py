"""Measures on an Android device with TensorFlow Lite's native `benchmark_model`, over adb.

Model and binary travel into a folder of their own under /data/local/tmp, which is removed at the
end; what a lost connection left there is removed by the next run."""

from __future__ import annotations

import hashlib
import re
import secrets
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal, get_args

from edge_sdk.backends.base import classifier_specs
from edge_sdk.benchmark.measure import (
    RUNS,
    SECONDS,
    WARMUP,
    Conditions,
    Machine,
    Measurement,
    State,
)
from edge_sdk.device.benchmark_model_log import Log, fallback_warnings, parse_log
from edge_sdk.device.conditions import condition_warnings
from edge_sdk.errors import DeviceError, UsageError, unknown_name

Delegate = Literal["default", "cpu", "xnnpack", "gpu", "nnapi"]
FLAGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "cpu": ("--use_xnnpack=false",),
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
}
PLACE = PurePosixPath("/data/local/tmp")
PREFIX = "edge-sdk-run-"
# No run lasts so long: an older folder is one that a lost connection left.
STALE_S = 2 * 3600
TIMEOUT_S = 300.0
SHELL_S = 20.0
PUSH_S = 120.0
PROFILED_RUNS = 20
# One line per fact; what this Android does not let the shell read stays away.
ABOUT = (
    "for p in ro.product.manufacturer ro.product.model ro.soc.model ro.board.platform "
    "ro.product.cpu.abi ro.build.version.release; do echo $p=$(getprop $p); done; "
    "echo cores=$(nproc); grep MemTotal /proc/meminfo"
)
STATE = (
    "for p in /sys/devices/system/cpu/cpufreq/policy*; do echo governor=$(cat "
    "$p/scaling_governor); echo clock=$(cat $p/scaling_cur_freq); echo top=$(cat "
    "$p/scaling_max_freq); done 2>/dev/null; for z in /sys/class/thermal/thermal_zone*; do case "
    "$(cat $z/type) in *cpu*|*CPU*) echo heat=$(cat $z/temp);; esac; done 2>/dev/null; "
    "grep MemAvailable /proc/meminfo; dumpsys thermalservice 2>/dev/null | grep 'Thermal Status'"
)


class AdbDevice:
    """A phone for one `with` block; entering it chooses the phone and pushes the binary.

    serial: as `adb devices` lists it; empty: the only one. delegate: see FLAGS; `default` leaves
    it to the binary. timeout_s: of each run of the binary."""

    def __init__(
        self,
        serial: str,
        binary: Path,
        *,
        delegate: str = "default",
        adb: str = "adb",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Raises UsageError for an unknown delegate or a binary that is no file."""
        if delegate not in get_args(Delegate):
            raise UsageError(unknown_name("delegate", delegate, get_args(Delegate)))
        if not binary.is_file():
            raise UsageError(
                f"--benchmark-model {binary} is no file: give TensorFlow Lite's native "
                "benchmark_model for Android, as android_aarch64_benchmark_model"
            )
        self._serial, self._binary, self._delegate = serial, binary, delegate
        self._adb, self._timeout_s = adb, timeout_s
        self._folder = PLACE / f"{PREFIX}{int(time.time())}-{secrets.token_hex(4)}"
        self._version = hashlib.sha256(binary.read_bytes()).hexdigest()[:8]
        self._machine = Machine("", 1, 0, "Android")

    def __enter__(self) -> AdbDevice:
        """Raises DeviceError for no phone, one that is not authorised, or several unnamed."""
        self._serial = self._choose(self._serial)
        self._sweep()
        self._machine = self._describe()
        try:
            self._shell(f"mkdir {self._folder}", SHELL_S)
            self._push(self._binary, "benchmark_model")
            self._shell(f"chmod 755 {self._folder}/benchmark_model", SHELL_S)
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean()

    def measure(
        self,
        model: Path,
        *,
        threads: int = 1,
        runs: int = RUNS,
        warmup: int = WARMUP,
        seconds: float = SECONDS,
    ) -> Measurement:
        """Times `runs` invocations, or what `seconds` allow; then profiles a few more by operator.

        Raises DeviceError for a device that fails, ModelError for a file that is none."""
        classifier_specs(model)
        self._push(model, "model.tflite")
        before = self._state()
        flags = (f"--num_threads={threads}", *FLAGS[self._delegate])
        limits = (f"--warmup_runs={warmup}", f"--max_secs={seconds:g}", "--min_secs=0")
        log = self._run(*flags, *limits, f"--num_runs={runs}")
        conditions = Conditions(before, self._state())
        warnings = [*condition_warnings(conditions)]
        if self._delegate in ("xnnpack", "gpu", "nnapi"):
            warnings += fallback_warnings(log, self._delegate)
        few = (f"--num_runs={min(runs, PROFILED_RUNS)}", "--enable_op_profiling=true")
        ops = log.ops
        try:
            ops = self._run(*flags, *limits, *few).ops
        except DeviceError as e:
            warnings.append(f"no profile by operator: {e}")
        return Measurement(
            runtime="benchmark_model",
            version=f"{self._version} {self._delegate}",
            python="",
            threads=threads,
            runs=log.runs,
            warmup=warmup,
            p50_ms=log.median_ms,
            p90_ms=None,
            p99_ms=None,
            mean_ms=log.mean_ms,
            min_ms=log.min_ms,
            load_ms=log.load_ms,
            rss_peak_bytes=log.peak_bytes,
            rss_model_bytes=log.memory_bytes,
            machine=self._machine,
            where=f"adb {self._serial}",
            conditions=conditions,
            warnings=tuple(f"{self._serial}: {w}" for w in warnings),
            ops=ops,
        )

    def _run(self, *flags: str) -> Log:
        """The binary's log. It notes its process number, to be ended by it whatever happens."""
        command = (
            f"cd {self._folder} && echo $$ > pid && exec ./benchmark_model --graph=model.tflite "
            + " ".join(flags)
        )
        status, output = self._status(f"sh -c '{command}'", self._timeout_s)
        log = parse_log(output)
        if status != 0:
            raise DeviceError(f"{self._serial}: benchmark_model ended with status {status}")
        return log

    def _choose(self, serial: str) -> str:
        lines = self._call(["devices"], SHELL_S).splitlines()
        listed = [line.split() for line in lines if "\t" in line and not line.startswith("*")]
        states = {words[0]: words[1] for words in listed if len(words) >= 2}
        ready = [name for name, state in states.items() if state == "device"]
        if not serial and len(ready) == 1:
            return ready[0]
        known = ", ".join(f"{name} ({state})" for name, state in states.items()) or "none"
        if not serial and ready:
            raise UsageError(f"adb has several devices, name one with --adb SERIAL: {known}")
        if serial in ready:
            return serial
        raise DeviceError(
            f"adb has no device {serial or 'that is ready'}; connected: {known}. Enable USB "
            "debugging in its developer options, and accept this computer's key on its screen"
        )

    def _sweep(self) -> None:
        """Removes folders of earlier runs; their names tell when they were made."""
        listed = self._shell(f"ls {PLACE}", SHELL_S).split()
        made = {name: re.fullmatch(PREFIX + r"(\d+)-[0-9a-f]{8}", name) for name in listed}
        stale = [n for n, m in made.items() if m and time.time() - int(m[1]) > STALE_S]
        if stale:
            self._shell("rm -rf " + " ".join(str(PLACE / name) for name in stale), SHELL_S)

    def _describe(self) -> Machine:
        said = self._shell(ABOUT, SHELL_S)
        facts = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        memory = re.search(r"MemTotal:\s+(\d+) kB", said)
        names = [facts.get(f"ro.product.{key}", "") for key in ("manufacturer", "model")]
        chip = facts.get("ro.soc.model") or facts.get("ro.board.platform", "")
        cores = facts.get("cores", "")
        return Machine(
            cpu=" ".join([*filter(None, names), f"({chip})" if chip else ""]).strip(),
            cores=int(cores) if cores.isdecimal() else 1,
            memory_bytes=int(memory[1]) * 1024 if memory else 0,
            system=" ".join(
                [
                    "Android",
                    facts.get("ro.build.version.release", ""),
                    facts.get("ro.product.cpu.abi", ""),
                ]
            ).strip(),
        )

    def _state(self) -> State:
        said = self._shell(STATE + "; true", SHELL_S)
        facts = [line.strip().partition("=") for line in said.splitlines()]

        def highest(name: str) -> float | None:
            found = [float(v) for n, _, v in facts if n == name and re.fullmatch(r"-?\d+", v)]
            return max(found, default=None)

        governors = sorted({v for n, _, v in facts if n == "governor" and v})
        status = re.search(r"Thermal Status: (\d+)", said)
        free = re.search(r"MemAvailable:\s+(\d+) kB", said)
        clock, top, heat = highest("clock"), highest("top"), highest("heat")
        return State(
            governor=" and ".join(governors) or None,
            clock_mhz=None if clock is None else clock / 1e3,
            clock_max_mhz=None if top is None else top / 1e3,
            # Most zones give thousandths of a degree, some degrees.
            temperature_c=None if heat is None else heat / 1e3 if abs(heat) >= 1e3 else heat,
            cooling=int(status[1]) if status else None,
            memory_free_bytes=int(free[1]) * 1024 if free else None,
        )

    def _push(self, file: Path, name: str) -> None:
        self._call(["push", str(file), f"{self._folder}/{name}"], PUSH_S)

    def _clean(self) -> None:
        """Ends the binary and removes the folder. The phone may be gone: the next run does it."""
        with suppress(DeviceError):
            self._shell(
                f"[ -f {self._folder}/pid ] && kill -9 $(cat {self._folder}/pid) 2>/dev/null; "
                f"rm -rf {self._folder}",
                SHELL_S,
            )

    def _shell(self, command: str, timeout_s: float) -> str:
        status, output = self._status(command, timeout_s)
        if status != 0:
            last = (output.strip().splitlines() or ["no message"])[-1]
            raise DeviceError(f"{self._serial}: `{command[:60]}` failed: {last}")
        return output

    def _status(self, command: str, timeout_s: float) -> tuple[int, str]:
        """Exit status and output; old versions of adb give no status, so it is printed too."""
        token = secrets.token_hex(8)
        output = self._call(["shell", f"{command}; echo {token} $?"], timeout_s)
        body, found, status = output.replace("\r", "").rpartition(token)
        if not found or not status.strip().isdecimal():
            raise DeviceError(f"{self._serial}: the connection was lost while it ran")
        return int(status), body

    def _call(self, arguments: Sequence[str], timeout_s: float) -> str:
        """Runs adb; its two outputs together, as `benchmark_model` uses both."""
        target = [] if arguments[0] == "devices" else ["-s", self._serial]
        try:
            done = subprocess.run(
                [self._adb, *target, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as e:
            raise DeviceError(
                f"adb {arguments[0]} gave no answer within {timeout_s:g} s: is the phone awake, "
                "and the cable in?"
            ) from e
        except OSError as e:
            raise DeviceError(
                f"cannot start {self._adb}: {e.strerror}; install Android's platform-tools"
            ) from e
        output = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            last = (output.strip().splitlines() or ["no message"])[-1]
            raise DeviceError(f"adb {arguments[0]} {self._serial}: {last}")
        return output
