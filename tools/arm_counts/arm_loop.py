"""What `edge-classify` executes for one frame as an ARM core: the whole way from the camera to the
printed line, on the wheels that a bundle brings.

A frame is the difference between a run of 2N frames and one of N, so that start, imports, loading
the model and whatever is drawn at the start are in neither. The camera is the simulated one with
one field: it draws that before its first frame and shows it again ever after.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

from arm_grid import table_lines

from edge_sdk.artifact import MANIFEST_FILE
from edge_sdk.benchmark.emulate import PLUGIN, Emulator, Marks, parse_marks, run_emulated
from edge_sdk.bundle import wheels
from edge_sdk.bundle.targets import SKIP, make_target, wanted
from edge_sdk.errors import BackendError, DataError
from edge_sdk.files import whole_folder, write_whole
from edge_sdk.ondevice.release import wheel_members

ROOT = Path(__file__).resolve().parents[2]
GUEST = Path(__file__).with_name("loop_guest.py")
LOCK = Path(__file__).with_name("device.lock.json")
DEVICE = "device"  # below the emulator's folder: what a bundle for Debian 12 unpacks, less our own
CAMERA = ("--camera", "simulated", "--camera-option", "fields=1", "--camera-option", "cells=4")
FRAMES = 25
LIMIT = 0.01
TIMEOUT_S = 900.0
COMMAND = "python tools/arm_counts loop"


@dataclass(frozen=True)
class LoopRow:
    """Instructions per frame of 640x480 and what they were counted with; see emulate.Counts."""

    model: str
    cpu: str
    instructions: int
    load_store: int
    simd: int
    dot: int
    litert: str
    numpy: str
    pillow: str
    python: str
    qemu: str

    @property
    def key(self) -> tuple[str, str]:
        return self.model, self.cpu

    @property
    def tools(self) -> tuple[str, ...]:
        return self.litert, self.numpy, self.pillow, self.python, self.qemu


COLUMNS = tuple(f.name for f in fields(LoopRow))


def read_loop(path: Path) -> list[LoopRow]:
    """The rows of the table, none where there is no file. Raises DataError that names the line."""
    rows = []
    for line, found in table_lines(path, COLUMNS):
        try:
            numbers = {n: int(found[n]) for n in ("instructions", "load_store", "simd", "dot")}
        except (TypeError, ValueError) as e:
            raise DataError(f"{path} line {line}: {e}") from e
        rows.append(LoopRow(**{**found, **numbers}))
    return rows


def write_loop(path: Path, rows: Iterable[LoopRow]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda r: r.key))
    write_whole(path, text.getvalue().encode())


def build_device(folder: Path) -> None:
    """Unpacks the wheels of LOCK, of a bundle for Debian 12 on aarch64, as a device does."""
    target = make_target("rpi4", None, "3.11", None)
    found = wheels.fetch(wanted(target), folder / "wheels", LOCK)
    with whole_folder(folder / DEVICE, replace=True) as partial:
        for wheel, data in found.items():
            for name, content in wheel_members(wheel, data, SKIP):
                file = partial / name.removeprefix("site/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)


def device_versions(emulator: Emulator) -> dict[str, str]:
    """Of the packages of build_device. Raises BackendError where they are not there."""
    found = {
        d.name.lower(): d.version
        for d in importlib.metadata.distributions(path=[str(emulator.folder / DEVICE)])
    }
    try:
        return {
            "litert": found["ai-edge-litert"],
            "numpy": found["numpy"],
            "pillow": found["pillow"],
        }
    except KeyError as e:
        raise BackendError(
            f"{emulator.folder / DEVICE} has no {e}: `{COMMAND}` fetches the device's wheels"
        ) from e


def count_loop(
    model: Path, name: str, cpu: str, emulator: Emulator, *, source: Path = ROOT
) -> LoopRow:
    """One frame of `model`, an artifact or a .tflite, as `cpu`. source: the folder that holds the
    edge_sdk to run. Drift is not watched: it takes a frame a second, by the clock.

    Raises BackendError when the emulated program fails."""
    versions = device_versions(emulator)
    with TemporaryDirectory(prefix="edge-sdk-") as folder:
        loaded = _without_drift(model, Path(folder) / model.name)
        few, many = (_run(loaded, cpu, emulator, source, n) for n in (FRAMES, 2 * FRAMES))
    return LoopRow(
        model=name,
        cpu=cpu,
        instructions=(many.instructions - few.instructions) // FRAMES,
        load_store=(many.load_store - few.load_store) // FRAMES,
        simd=(many.simd - few.simd) // FRAMES,
        dot=(many.dot - few.dot) // FRAMES,
        python=emulator.python,
        qemu=emulator.qemu,
        **versions,
    )


def _without_drift(model: Path, copy: Path) -> Path:
    """An artifact without what drift is measured against; a bare .tflite as it is."""
    if not (model / MANIFEST_FILE).is_file():
        return model
    shutil.copytree(model, copy)
    manifest = json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8"))
    text = json.dumps(manifest | {"input_statistics": None})
    (copy / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return copy


def _run(model: Path, cpu: str, emulator: Emulator, source: Path, frames: int) -> Marks:
    view = emulator.folder / "cpu" / cpu
    command = [
        emulator.program, "-L", str(view), "-cpu", cpu, "-plugin", str(emulator.folder / PLUGIN),
        str(view / "usr" / "bin" / emulator.python), "-P", str(GUEST),
        str(model.resolve()), *CAMERA, "--backend", "litert", "--frames", str(frames),
    ]  # fmt: skip
    environment = {
        "PYTHONHOME": str(view / "usr"),
        "PYTHONPATH": f"{source}:{emulator.folder / DEVICE}",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Its threads, which this loop gives nothing to do, spin at their start for as long as they
        # have to wait: 20 million instructions more or less from one run to the next.
        "OPENBLAS_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
    }
    done = run_emulated(command, TIMEOUT_S, environment)
    marks, lines = parse_marks(done.stderr), done.stdout.splitlines()
    if done.returncode != 0 or len(marks) != 1 or len(lines) != frames:
        raise BackendError(
            f"edge-classify on {model} as {cpu} ended with status {done.returncode}, {len(lines)} "
            f"answers of {frames} and {len(marks)} marks: {done.stderr.strip()[-300:]!r}"
        )
    return marks[0]


def check_row(recorded: LoopRow, found: LoopRow, limit: float = LIMIT) -> None:
    """Raises DataError where a frame executes more or fewer instructions than recorded, by more
    than `limit` of these."""
    change = found.instructions / recorded.instructions - 1
    if abs(change) > limit:
        raise DataError(
            f"a frame of {found.model} as {found.cpu} executes {found.instructions / 1e6:.3f} M "
            f"instructions, {change:+.2%} of the {recorded.instructions / 1e6:.3f} M recorded: "
            f"make the loop as it was, or record the new counts with `{COMMAND}`"
        )


def loop_text(rows: Sequence[LoopRow]) -> str:
    lines = [f"{'model':<32}{'core':<14}{'M a frame':>10}{'load/store':>12}{'simd':>8}{'dot':>8}"]
    for r in sorted(rows, key=lambda r: r.key):
        parts = f"{r.load_store / 1e6:12.3f}{r.simd / 1e6:8.3f}{r.dot / 1e6:8.3f}"
        lines.append(f"{r.model:<32}{r.cpu:<14}{r.instructions / 1e6:10.3f}{parts}")
    return "\n".join(lines)
