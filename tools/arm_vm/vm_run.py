"""Starts the virtual machine with a bundle on a stick and hears what comes out of it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from vm_image import DISK, HERE, INITRD, KERNEL, make_disk, run

from edge_sdk.dataset import open_image
from edge_sdk.errors import BackendError
from edge_sdk.runtime import Classifier, load_model

QEMU = "qemu-system-aarch64"
KEY = "vm"
PROFILE = "rpi4"
CORE = "cortex-a72"  # of a Raspberry Pi 4
MEMORY_MB = 1024
LIMIT_S = 720.0
Line = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Heard:
    """steps: name -> what it said. took_s: from power on to power off, on this machine."""

    steps: dict[str, Line]
    took_s: float
    qemu: str


def find_qemu() -> str:
    program = shutil.which(QEMU)
    if program is None:
        raise BackendError(f"{QEMU} is not installed: apt-get install qemu-system-arm")
    return program


def make_stick(folder: Path, model: Path, target: Path, say: Say) -> Path:
    """What a person would carry: the bundle, install.sh, the public key; and the scenario. Keys and
    wheels stay in the virtual machine's folder, so the second time needs no network.

    Returns the bundle."""
    places = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
    environment = {**os.environ, **places}

    def edge_sdk(*words: object) -> str:
        command = [sys.executable, "-m", "edge_sdk.cli", *map(str, words)]
        return run(command, f"edge-sdk {words[0]}", environment)

    public = folder / "config" / "edge-sdk" / "keys" / f"{KEY}.pub"
    if not public.is_file():
        edge_sdk("keys", "new", KEY)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".stick-") as stick:
        bundle = Path(stick) / "model.edge.zip"
        say(f"bundle of {model}")
        edge_sdk("bundle", model, "--profile", PROFILE, "--key", KEY, "--out", bundle)
        shutil.copy(public, stick)
        shutil.copy(HERE / "inside" / "scenario.py", stick)
        make_disk(Path(stick), target, 16, label="stick")
        size = bundle.stat().st_size
    say(f"bundle: {size / 1e6:.1f} MB")
    return target


def boot(folder: Path, stick: Path, console: Path, say: Say, *, limit_s: float = LIMIT_S) -> Heard:
    """Runs the scenario. Nothing is written to the disk in the folder.

    Raises BackendError where the machine ends, or `limit_s` does, before the scenario."""
    program = find_qemu()
    version = run([program, "--version"], QEMU).split("version ")[-1].split()[0]
    port = console.with_name("port.jsonl")
    port.unlink(missing_ok=True)
    port.touch()
    drives: list[str] = []
    for disk, options in ((folder / DISK, "snapshot=on"), (stick, "readonly=on")):
        drives += ["-drive", f"file={disk},format=raw,if=none,id={disk.stem},{options}"]
        drives += ["-device", f"virtio-blk-pci,drive={disk.stem}"]
    command = [
        *(["nice", "-n", "10"] if shutil.which("nice") else []),
        program, "-machine", "virt", "-cpu", CORE, "-smp", "2", "-m", str(MEMORY_MB),
        "-accel", "tcg,thread=multi", "-nic", "none", "-display", "none", "-monitor", "none",
        "-serial", f"file:{console}", "-kernel", str(folder / "kernel" / KERNEL),
        "-initrd", str(folder / INITRD),
        "-append", "console=ttyAMA0 quiet loglevel=4 systemd.show_status=no panic=5",
        "-device", "virtio-rng-pci", *drives, "-device", "virtio-serial-pci",
        "-chardev", f"file,id=port,path={port}",
        "-device", "virtserialport,chardev=port,name=edge-sdk",
    ]  # fmt: skip
    start = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        steps = _listen(process, port, start, limit_s, console, say)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return Heard(steps, round(time.monotonic() - start, 1), version)


def _listen(
    process: subprocess.Popen[str],
    port: Path,
    start: float,
    limit_s: float,
    console: Path,
    say: Say,
) -> dict[str, Line]:
    steps: dict[str, Line] = {}
    ended = False
    with port.open(encoding="ascii") as heard:
        rest = ""
        while True:
            over = process.poll() is not None
            *lines, rest = (rest + heard.read()).split("\n")
            for line in map(json.loads, lines):
                at = f"{time.monotonic() - start:5.0f} s"
                if "begins" in line:
                    say(f"{at}  {line['begins']}")
                elif "step" in line:
                    steps[line.pop("step")] = line
                    if "error" in line:
                        say(f"{at}  error: {line['error']}")
                ended = ended or "end" in line
            if over:
                break
            if time.monotonic() - start > limit_s:
                raise BackendError(f"the scenario took longer than {limit_s:g} s; see {console}")
            time.sleep(0.2)
    if not ended:
        said = process.stderr.read().strip() if process.stderr else ""
        said = said or console.read_text(encoding="utf-8", errors="replace")[-500:].strip()
        raise BackendError(f"the virtual machine ended before its scenario: {said}")
    return steps


def same_here(model: Path, frames: Line, folder: Path) -> list[dict[str, Any]]:
    """The frames that were classified there, classified here: each with both answers' labels and
    probabilities, as printed (six digits; an int8 output has steps of 1/256)."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with Classifier(load_model(model)) as classifier:
        for answer, png in zip(frames["answers"], frames["png"], strict=True):
            file = folder / f"{answer['frame']:04d}.png"
            file.write_bytes(base64.b64decode(png))
            here = classifier.classify(open_image(file)).top(10)
            labels = [{"label": name, "probability": round(p, 6)} for name, p in here]
            found.append({"frame": file.name, "there": answer["labels"], "here": labels})
    return found


def megabytes(kb: int) -> str:
    """Of 10**6 bytes; the kernel's kB have 1024."""
    return f"{kb * 1024 / 1e6:.1f}"


def summary(steps: dict[str, Line]) -> str:
    """What a person reads first."""
    lines = []
    for name, line in steps.items():
        if "error" in line:
            lines.append(f"{name}: FAILED: {line['error']}")
    m, i, c = (steps.get(name, {}) for name in ("machine", "install", "classify"))
    if "kernel" in m:
        lines.append(f"Linux {m['kernel']}, {m['init']} ready {m['up_s']:.0f} s after power on")
    if "status" in i:
        lines.append(f"install.sh: status {i['status']}, {i['s']:.0f} s, {i['disk_mb']} MB of disk")
    if "status" in (t := steps.get("selftest", {})):
        lines.append(f"selftest: status {t['status']}, {t['s']:.0f} s, {t['out'].strip()}")
    if c.get("answers"):
        ms = [a["total_ms"] for a in c["answers"]]
        invoke = [a["invoke_ms"] for a in c["answers"]]
        lines.append(
            f"edge-classify: {len(ms)} answers, the first after {c['first_s']:.0f} s; median "
            f"{median(ms):.0f} ms a frame ({median(invoke):.0f} ms of it the model): emulated, not "
            "a Pi's"
        )
        lines.append(f"peak memory of edge-classify: {megabytes(c['maxrss_kb'])} MB (measured)")
    for name, said in (
        ("service", "the service"),
        ("after_the_cut", "the service after the power cut"),
    ):
        if peak := steps.get(name, {}).get("memory_kb", {}).get("VmHWM"):
            lines.append(f"peak memory of {said}: {megabytes(peak)} MB (measured)")
    if "since_frozen_s" in (w := steps.get("watchdog", {})):
        lines.append(f"frozen service: running again after {w['since_frozen_s']:.0f} s")
    if "s" in (k := steps.get("killed", {})):
        lines.append(f"killed service: running again after {k['s']:.0f} s")
    return "\n".join(lines)
