"""What runs on the device: the standard library only, Python 3.9 or newer, sent as source.

It keeps one folder of its own there, times models in a fresh process each, and removes the folder
when it is told to, when the connection ends, when nothing was heard for SILENCE_S, and on a signal.
A folder whose owner was killed (power cut, SIGKILL) is removed by the next agent: its lock is free.

    standard input    lines of JSON: {"do": "file", "name", "size"} and that many bytes;
                      {"do": "time", "job", "timeout_s"}; {"do": "beat"}; {"do": "end"}
    standard output   lines "<token> <JSON>": hello, beat, got, result, error. A login shell may
                      print before them, hence the token, which is the first argument.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PREFIX = "edge-sdk-run-"
SILENCE_S = 30.0
BEAT_S = 1.0
STALE_S = 600.0
PR_SET_PDEATHSIG = 1
# import name -> distribution
PACKAGES = {
    "numpy": "numpy",
    "ai_edge_litert": "ai-edge-litert",
    "tflite_runtime": "tflite-runtime",
    "tensorflow": "tensorflow",
}


class RefusedError(Exception):
    """What the device says no to; `kind` is the name of the error over here."""

    def __init__(self, message: str, kind: str = "DeviceError") -> None:
        super().__init__(message)
        self.kind = kind


# --- the machine ---------------------------------------------------------------------------------


def machine(proc: Path = Path("/proc")) -> dict[str, Any]:
    """Its name for itself, cores this process may use, bytes of memory, system; no host name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _board(proc) or platform.processor() or platform.machine(),
        "cores": cores or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.system() + " " + platform.machine(),
    }


def _board(proc: Path) -> str:
    board = _text(proc / "device-tree" / "model").strip("\0")
    if board:
        return board
    lines = _text(proc / "cpuinfo").splitlines()
    for key in ("Model", "model name", "Hardware"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def state(sys_folder: Path = Path("/sys"), proc: Path = Path("/proc")) -> dict[str, Any]:
    """Clock governor, clock, heat and throttling now; None for what the machine does not say."""
    governors = {_text(p) for p in _clocks(sys_folder, "scaling_governor")} - {""}
    top = [_number(p) for p in _clocks(sys_folder, "scaling_max_freq")]
    heat = [_number(p) for p in (sys_folder / "class/thermal").glob("thermal_zone*/temp")]
    return {
        "governor": " and ".join(sorted(governors)) or None,
        "clock_mhz": clock(sys_folder),
        "clock_max_mhz": _highest(top, 1e-3),
        "temperature_c": _highest(heat, 1e-3),
        "throttled": _firmware_bits(),
        "cooling": _cooling(sys_folder / "class/thermal"),
        "memory_free_bytes": _memory_free(proc / "meminfo"),
    }


def clock(sys_folder: Path = Path("/sys")) -> float | None:
    """MHz of the fastest core now. Cheap: it is asked for while a model is timed."""
    return _highest([_number(p) for p in _clocks(sys_folder, "scaling_cur_freq")], 1e-3)


def _clocks(sys_folder: Path, name: str) -> list[Path]:
    return sorted((sys_folder / "devices/system/cpu/cpufreq").glob("policy*/" + name))


def _memory_free(file: Path) -> int | None:
    for line in _text(file).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cooling(folder: Path) -> int | None:
    """How far the kernel holds the processor's clock back for heat: 0 is not at all."""
    levels = [
        _number(device / "cur_state")
        for device in folder.glob("cooling_device*")
        if "cpu" in _text(device / "type").lower() or _text(device / "type") == "Processor"
    ]
    highest = _highest(levels, 1)
    return None if highest is None else int(highest)


def _firmware_bits() -> int | None:
    tool = shutil.which("vcgencmd", path=os.environ.get("PATH", "") + ":/usr/bin:/opt/vc/bin")
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, timeout=2)
        return int(done.stdout.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _highest(values: list[float | None], unit: float) -> float | None:
    known = [v * unit for v in values if v is not None]
    return max(known) if known else None


def packages() -> dict[str, str]:
    """Which of PACKAGES this Python has: import name -> version."""
    found = {}
    for module, distribution in PACKAGES.items():
        if importlib.util.find_spec(module) is not None:
            try:
                found[module] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                found[module] = ""
    return found


# --- the folder ----------------------------------------------------------------------------------


def own_folder(parent: Path) -> tuple[Path, int]:
    """A new locked folder in `parent` and the lock, which is free once this process has ended.

    The folder gets the name that `sweep` looks for only after it is locked."""
    made = Path(tempfile.mkdtemp(prefix="." + PREFIX, dir=str(parent)))
    lock = os.open(str(made / "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    final = parent / made.name[1:]
    made.rename(final)
    return final, lock


def sweep(parent: Path) -> int:
    """Removes folders that earlier agents of this user left, and counts them."""
    removed = 0
    for folder in [*parent.glob(PREFIX + "*"), *parent.glob("." + PREFIX + "*")]:
        try:
            about = folder.lstat()
            if about.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                continue
            if folder.name.startswith(".") and time.time() - about.st_mtime < STALE_S:
                continue
            lock = os.open(str(folder / "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(str(folder), ignore_errors=True)
            removed += 1
        except OSError:
            pass  # its owner is alive
        finally:
            os.close(lock)
    return removed


# --- the conversation ----------------------------------------------------------------------------


class Agent:
    def __init__(self, token: str) -> None:
        self.token = token
        self.heard = time.monotonic()
        self.orders: queue.Queue[Any] = queue.Queue()
        self.folder = Path()

    def say(self, **message: Any) -> None:
        sys.stdout.write(self.token + " " + json.dumps(message) + "\n")
        sys.stdout.flush()

    def listen(self) -> None:
        """The reading thread: whole orders go to the queue, None at the end of the connection."""
        source = sys.stdin.buffer
        with suppress(Exception):
            while line := source.readline():
                self.heard = time.monotonic()
                order = json.loads(line)
                if order["do"] == "file":
                    order["data"] = self._bytes(source, order["size"])
                if order["do"] != "beat":
                    self.orders.put(order)
        self.orders.put(None)

    def _bytes(self, source: Any, size: int) -> bytes:
        parts = []
        while size > 0:
            part = source.read1(min(size, 1 << 16))
            if not part:
                raise EOFError
            self.heard = time.monotonic()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def next_order(self) -> Any:
        """The next order; None when there is nobody left to give one."""
        while time.monotonic() - self.heard < SILENCE_S:
            try:
                return self.orders.get(timeout=BEAT_S)
            except queue.Empty:
                self.say(beat=True)
        return None

    def serve(self) -> None:
        threading.Thread(target=self.listen, daemon=True).start()
        lock = -1
        try:
            try:
                parent = Path(tempfile.gettempdir())
                swept = sweep(parent)
                self.folder, lock = own_folder(parent)
            except OSError as e:
                raise RefusedError("cannot make a temporary folder: " + reason(e)) from e
            self.say(
                hello=True,
                python=platform.python_version(),
                machine=machine(),
                packages=packages(),
                folder=str(self.folder),
                swept=swept,
            )
            while (order := self.next_order()) is not None and order["do"] != "end":
                try:
                    self.obey(order)
                except RefusedError as e:
                    self.say(error=str(e), kind=e.kind)
        except RefusedError as e:
            self.say(error=str(e), kind=e.kind)
        finally:
            if lock >= 0:
                shutil.rmtree(str(self.folder), ignore_errors=True)

    def obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "time":
            self.time(order["job"], order["timeout_s"])
            return
        path = self.folder / order["name"]
        try:
            path.write_bytes(order["data"])
        except OSError as e:
            with suppress(OSError):
                path.unlink()
            raise RefusedError(
                f"{order['size']:,} bytes do not fit into {self.folder.parent}: {reason(e)}"
            ) from e
        self.say(got=order["name"])

    def time(self, job: dict[str, Any], timeout_s: float) -> None:
        """Runs the worker on the model that was sent, watching the clock, the heat, the line."""
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        environment["PYTHONPATH"] = str(self.folder / "runtime.zip")
        job = dict(job, model=str(self.folder / "model.tflite"))
        before = state()
        worker = subprocess.Popen(
            [sys.executable, "-m", "edge_sdk.backends.worker", json.dumps(job)],
            env=environment,
            cwd=str(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=end_with_parent(),
        )
        try:
            output, errors, clocks = self.watch(worker, timeout_s)
        finally:
            worker.kill()
            worker.wait()
        report = last_line(output)
        if report is None:
            said = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            status = f"exit status {worker.returncode}"
            raise RefusedError(f"the interpreter crashed ({status}): {said[0]}", "BackendError")
        if "error" in report:
            raise RefusedError(report["error"], report["kind"])
        low, high = (min(clocks), max(clocks)) if clocks else (None, None)
        self.say(
            report=report, before=before, after=state(), clock_low_mhz=low, clock_high_mhz=high
        )

    def watch(
        self, worker: subprocess.Popen[bytes], timeout_s: float
    ) -> tuple[bytes, bytes, list[float]]:
        """The worker's two outputs and the clocks seen meanwhile, one a second."""
        deadline = time.monotonic() + timeout_s
        clocks: list[float] = []
        while True:
            try:
                return (*worker.communicate(timeout=BEAT_S), clocks)
            except subprocess.TimeoutExpired:
                now = clock()
            clocks += [] if now is None else [now]
            self.say(beat=True)
            if time.monotonic() > deadline:
                raise RefusedError(f"the model gave no answer within {timeout_s:g} s")
            gone = not self.orders.empty() and self.orders.queue[0] is None
            if gone or time.monotonic() - self.heard > SILENCE_S:
                raise SystemExit(1)


def end_with_parent() -> Callable[[], object] | None:
    """To be called in a new process: Linux kills it when this one ends, however it ends."""
    try:
        control = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return lambda: control(PR_SET_PDEATHSIG, signal.SIGKILL)


def last_line(output: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(output.decode().strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def reason(e: OSError) -> str:
    full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return (e.strerror or str(e)) + (" (free some space there)" if full else "")


def stop(*_: object) -> None:
    raise SystemExit(1)


def main() -> None:
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        Agent(sys.argv[1]).serve()
    except (BrokenPipeError, SystemExit):
        pass
    finally:
        # An ordinary exit would flush into a connection that may be gone and wait for the reading
        # thread's lock on standard input.
        os._exit(0)


if __name__ == "__main__":
    main()
