"""A model's real ARM code, executed under qemu and counted instruction by instruction.

The runtime's own aarch64 build runs in an emulated arm64 root as a named Cortex core, with a
plugin that counts; `tools/arm_counts` builds all three. What comes out is work, not time: no clock,
no caches, no memory bandwidth. It repeats where a latency does not, and it follows the kernels
that the runtime chooses for this core, data type and model.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import edge_sdk
from edge_sdk.benchmark.executed import core_of
from edge_sdk.errors import BackendError, UsageError
from edge_sdk.profiles import DeviceProfile
from edge_sdk.tflite_file import read_tflite

QEMU = "qemu-aarch64"
FOLDER_VARIABLE = "EDGE_SDK_ARM64"
RECORD = "arm64.json"  # written last: a folder with it is whole
PLUGIN = "count.so"
CORES = 4
INVOKES = 3
TIMEOUT_S = 1800.0
GUEST = Path(__file__).with_name("emulated_invokes.py")
LABEL = "counted under emulation"
BUILD = "`python tools/arm_counts build` in a checkout of edge-sdk"
_ARMV8 = "fp asimd evtstrm crc32 cpuid"


@dataclass(frozen=True)
class Core:
    """A core that qemu knows, as its /proc/cpuinfo names it: part and revision of the MIDR."""

    part: int
    variant: int
    revision: int
    features: str


# Parts: Arm's technical reference manuals, register MIDR_EL1; steppings and features of the boards
# that have the cores (BCM2837, BCM2711, BCM2712), less what their firmware leaves out.
CPUS = {
    "cortex-a53": Core(0xD03, 0, 4, _ARMV8),
    "cortex-a72": Core(0xD08, 0, 3, _ARMV8),
    "cortex-a76": Core(
        0xD0B,
        4,
        1,
        f"{_ARMV8} aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp",
    ),
}


@dataclass(frozen=True)
class Marks:
    """The plugin's counts since the start of the program, at one mark; see count.c."""

    instructions: int
    load_store: int
    simd: int
    dot: int


@dataclass(frozen=True)
class Counts:
    """What one invoke executes on one thread.

    instructions: all of them; load_store, simd: those that load or store, and vector and
    floating-point arithmetic; dot: those of simd that are dot products. spread: of instructions
    between invokes, largest less smallest, as a share. memory_bytes: what the interpreter has
    allocated when it has run, without the model file, which it maps."""

    cpu: str
    instructions: int
    load_store: int
    simd: int
    dot: int
    spread: float
    memory_bytes: int
    runtime: str
    version: str
    qemu: str
    label: str = LABEL


@dataclass(frozen=True)
class Counted:
    profile: str
    counts: Counts


@dataclass(frozen=True)
class Emulator:
    """A folder that tools/arm_counts built, and the qemu of this machine."""

    folder: Path
    program: str
    qemu: str
    python: str


def find_emulator(folder: Path | None = None) -> Emulator:
    """The emulator at `folder`, else at $EDGE_SDK_ARM64, else in the checkout's .cache.

    Raises BackendError, which says how to get it, where qemu or the folder is missing or they do
    not fit each other."""
    program = shutil.which(QEMU)
    if program is None:
        raise BackendError(
            f"{QEMU} is not installed: install qemu-user (as apt-get install qemu-user), then run "
            f"{BUILD}"
        )
    place = folder or Path(os.environ.get(FOLDER_VARIABLE) or _checkout_folder())
    try:
        record: dict[str, Any] = json.loads((place / RECORD).read_text(encoding="utf-8"))
        python, made_for = str(record["python"]), str(record["qemu"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise BackendError(
            f"no arm64 root in {place}: run {BUILD}, or name its folder in {FOLDER_VARIABLE}"
        ) from e
    if (here := qemu_version(program)) != made_for:
        raise BackendError(
            f"{place} was built for qemu {made_for}, and {program} is {here}: run {BUILD} again"
        )
    return Emulator(place, program, here, python)


def _checkout_folder() -> Path:
    return Path(edge_sdk.__file__).parents[1] / ".cache" / "arm64"


def qemu_version(program: str) -> str:
    """The version of a qemu program. Raises BackendError for one that does not tell."""
    said = run_emulated([program, "--version"], 30.0)
    found = re.search(r"version (\d+\.\d+(\.\d+)?)", said.stdout)
    if found is None:
        raise BackendError(f"{program} --version says no version: {said.stdout[:80]!r}")
    return found[1]


def cpu_of(profile: str, cpu: str) -> str:
    """The name in CPUS of a profile's first core, as '4x Cortex-A72' has it.

    Raises UsageError for a core that qemu does not know."""
    name = core_of(cpu)
    if name is None:
        raise UsageError(
            f"--emulate: {profile} has {cpu}, and what can be counted is "
            f"{', '.join(c.title() for c in CPUS)}: leave the profile or --emulate out"
        )
    return name


def cpuinfo(core: Core, cores: int = CORES) -> str:
    """/proc/cpuinfo of a machine with such cores, by which LiteRT chooses its kernels."""
    block = (
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {core.features}\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: {core.variant:#x}\n"
        f"CPU part\t: {core.part:#x}\n"
        f"CPU revision\t: {core.revision}\n"
    )
    return "\n".join(f"processor\t: {i}\n{block}" for i in range(cores))


def count(
    model: Path,
    cpu: str,
    emulator: Emulator,
    *,
    invokes: int = INVOKES,
    timeout_s: float = TIMEOUT_S,
) -> Counts:
    """Loads a .tflite under emulation as `cpu`, one of CPUS, and counts `invokes` of its runs.

    Raises ModelError for a file that is no .tflite, BackendError when the emulated program fails
    or says what cannot be."""
    read_tflite(model)
    prefix = emulator.folder / "cpu" / cpu
    command = [
        emulator.program, "-L", str(prefix), "-cpu", cpu,
        "-plugin", str(emulator.folder / PLUGIN),
        str(prefix / "usr" / "bin" / emulator.python),
        "-P", str(GUEST), str(model.resolve()), str(invokes),
    ]  # fmt: skip
    # Nothing of this machine's environment goes in, and hashes do not differ from run to run.
    environment = {
        "PYTHONHOME": str(prefix / "usr"),
        "PYTHONPATH": str(emulator.folder / "site"),
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
    }
    done = run_emulated(command, timeout_s, environment)
    try:
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        machine, memory = str(report["machine"]), int(report["memory_bytes"])
        version = str(report["litert"])
    except (IndexError, ValueError, KeyError, TypeError) as e:
        raise BackendError(
            f"{model} as {cpu}: the emulated program ended with status {done.returncode} and said "
            f"no result: {_last_line(done.stderr)!r}; run it again, and {BUILD} if it fails again"
        ) from e
    if machine != "aarch64":
        raise BackendError(f"{model} as {cpu}: ran on {machine}, not on aarch64: run {BUILD} again")
    one, spread = per_invoke(parse_marks(done.stderr), invokes)
    return Counts(
        cpu=cpu,
        instructions=one.instructions,
        load_store=one.load_store,
        simd=one.simd,
        dot=one.dot,
        spread=spread,
        memory_bytes=memory,
        runtime="litert",
        version=version,
        qemu=emulator.qemu,
    )


def parse_marks(text: str) -> list[Marks]:
    """The plugin's lines among all that came on standard error."""
    found = re.findall(r"^arm-counts (\d+) (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    return [Marks(*map(int, line)) for line in found]


def per_invoke(marks: Sequence[Marks], invokes: int) -> tuple[Marks, float]:
    """The median invoke less what a mark itself costs, and the spread between invokes.

    The first two marks have nothing between them; then comes one after each invoke. Raises
    BackendError where there are other than `invokes` + 2 of them, or they do not grow."""
    if len(marks) != invokes + 2:
        raise BackendError(
            f"the counting plugin gave {len(marks)} marks where {invokes + 2} were due: run "
            f"{BUILD} again"
        )
    at = [astuple(m) for m in marks]
    empty, *runs = [
        [late - early for early, late in zip(a, b, strict=True)] for a, b in pairwise(at)
    ]
    less = [[max(0, n - e) for n, e in zip(run, empty, strict=True)] for run in runs]
    instructions = [run[0] for run in less]
    if min(instructions) <= 0:
        raise BackendError(
            f"the counting plugin saw no instructions between two marks: run {BUILD} again"
        )
    middle = Marks(*(int(median(column)) for column in zip(*less, strict=True)))
    return middle, (max(instructions) - min(instructions)) / middle.instructions


def counter(profiles: Sequence[DeviceProfile]) -> Callable[[Path], list[Counted]]:
    """What counts a .tflite for each of these profiles; profiles with one core share a count.

    Raises UsageError for no profile or a core that is not known, BackendError as `find_emulator`:
    before anything is run."""
    if not profiles:
        raise UsageError("--emulate counts for the core of a --profile, and none is given")
    cpus = {p.name: cpu_of(p.name, p.hardware.cpu) for p in profiles}
    emulator = find_emulator()

    def counted(model: Path) -> list[Counted]:
        counts = {cpu: count(model, cpu, emulator) for cpu in dict.fromkeys(cpus.values())}
        return [Counted(name, counts[cpu]) for name, cpu in cpus.items()]

    return counted


def counts_text(model: str, counted: Sequence[Counted]) -> str:
    """A line for each profile a model was counted for."""
    return "\n".join(
        f"{model} on {profile}: {c.instructions / 1e6:.2f} M instructions per invoke, "
        f"{c.memory_bytes / 1e6:.2f} MB allocated ({c.label}: LiteRT {c.version} as {c.cpu}, one "
        "thread; this is no time)"
        for profile, c in ((x.profile, x.counts) for x in counted)
    )


def run_emulated(
    command: list[str], timeout_s: float, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise BackendError(f"{command[0]} did not end within {timeout_s:g} s") from e
    except OSError as e:
        raise BackendError(f"cannot run {command[0]}: {e.strerror or e}") from e


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith("arm-counts")]
    return lines[-1][:200] if lines else ""
