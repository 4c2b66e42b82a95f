"""Bundles on systems that are not this machine: run it to print what they weigh and how they go.

    python tests/integration/emulated_boards.py ARTIFACT [--board NAME]
    python tests/integration/emulated_boards.py --fetch     the wheels of boards that are here

A board is a Python of another system that runs here: Debian 12 for arm64 and armhf under qemu-user
(`python tools/arm_counts build`, `... armhf`), Debian 13's Python 3.13 of tools/camera_stack. What
is installed there comes from install.sh and the bundle alone, wheels from the user's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.backends.process import installed_backends
from edge_sdk.bundle import make, wheels
from edge_sdk.bundle.targets import make_target, wanted
from edge_sdk.errors import EdgeError
from edge_sdk.keys import Key, read_key
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.simulate import write_cells

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
LIBCAMERA = Path(os.environ.get("EDGE_SDK_LIBCAMERA", CACHE / "libcamera"))
TEMPLATES = Path(make.__file__).parent / "templates"
TFLITE = Path(
    os.environ.get(
        "EDGE_SDK_TFLITE_RUNTIME_PYTHON", ROOT / ".venv-tflite-runtime" / "bin" / "python"
    )
)


@dataclass(frozen=True)
class Board:
    """python: the command that is the board's Python. made_by: how it is made."""

    name: str
    arch: str
    version: str
    python: Path
    made_by: str


BOARDS = {
    b.name: b
    for b in (
        Board(
            "arm64", "aarch64", "3.11", CACHE / "arm64" / "python-arm64",
            "python tools/arm_counts build",
        ),
        Board(
            "armhf", "armv7l", "3.11", CACHE / "armhf" / "root" / "usr" / "bin" / "python-armhf",
            "python tools/arm_counts armhf",
        ),
        Board(
            "trixie", "x86_64", "3.13", LIBCAMERA / "root" / "usr" / "bin" / "python3.13",
            "python tools/camera_stack",
        ),
    )
}  # fmt: skip


class AbsentError(Exception):
    """What a test is skipped for: something that only a person or the network can bring."""


@dataclass(frozen=True)
class Installation:
    """root: of the device. seconds: that install.sh took, by the clock and of a processor, which
    other programs change less. said: what it said. size: bytes of all
    that is installed then, with the bytecode that the self-test left."""

    root: Path
    seconds: float
    processor_s: float
    said: str
    size: int

    @property
    def release(self) -> Path:
        return self.root / "opt" / "edge-sdk" / "current"

    def run(self, command: str, *words: object, timeout_s: float = 120) -> str:
        """Standard output of one of the installed programs."""
        return self.tried(command, *words, timeout_s=timeout_s, check=True).stdout

    def tried(
        self, command: str, *words: object, timeout_s: float = 120, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        program = self.root / "opt" / "edge-sdk" / "bin" / command
        done = subprocess.run(
            [str(program), *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command} {words} failed: {done.stderr[-2000:]}")
        return done


def make_key(folder: Path) -> Key:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True
    )
    return read_key(str(folder / "key"))


def make_bundle(
    artifact: Path,
    board: Board,
    key: Key,
    folder: Path,
    runtime: str | None = None,
    extras: Sequence[str] = (),
) -> tuple[Path, make.Made]:
    """The bundle in a folder of its own, with what `edge-sdk bundle` lays beside it.

    Raises AbsentError where its wheels are not in the cache, or its runtime is not here."""
    target = make_target("rpi4", board.arch, board.version, runtime, extras)
    if not (wheels.cache_folder(target) / wheels.LOCK).is_file():
        raise AbsentError(f"no wheels in {wheels.cache_folder(target)}: make such a bundle once")
    python = _python_with(target)
    stick = folder / "-".join((board.name, target.runtime, *extras))
    stick.mkdir()
    made = make.make_bundle(
        artifact,
        target,
        key,
        stick / "made.edge.zip",
        version="1.0.0",
        runtime_python=python,
        say=lambda _: None,
    )
    return stick, made


def _python_with(target: Target) -> str:
    for python in (sys.executable, str(TFLITE)):
        if Path(python).is_file() and target.runtime in installed_backends(python):
            return python
    raise AbsentError(f"no Python with {target.runtime} here: EDGE_SDK_TFLITE_RUNTIME_PYTHON")


def install(board: Board, stick: Path, key: Key, root: Path) -> Installation:
    """By install.sh, with the board's Python as the only python3. Raises AbsentError."""
    if not board.python.is_file():
        raise AbsentError(f"no {board.python}: {board.made_by}")
    path = root.with_name(f"{root.name}-path")
    path.mkdir()
    if board.name == "trixie":
        _foreign_python(board.python, path)
    else:
        (path / "bin").mkdir()
        (path / "bin" / "python3").symlink_to(board.python)
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(
        ["sh", str(stick / "install.sh"), "--root", str(root), "--trust", str(key.public)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={"PATH": f"{path / 'bin'}:/usr/bin:/bin"},
    )
    seconds, after = time.perf_counter() - start, os.times()
    processor_s = sum(after[2:4]) - sum(before[2:4])
    assert done.returncode == 0, done.stdout + done.stderr
    files = [p for p in (root / "opt").rglob("*") if p.is_file() and not p.is_symlink()]
    return Installation(
        root, seconds, processor_s, done.stderr, sum(p.stat().st_size for p in files)
    )


def _foreign_python(python: Path, path: Path) -> None:
    """A system's Python by its own loader and libraries, as the command path/bin/python3: it finds
    its folders beside the name that it is given."""
    system = python.parents[2]
    (path / "bin").mkdir()
    (path / "lib").symlink_to(system / "usr" / "lib")
    command = path / "bin" / "python3"
    loader = system / "lib64" / "ld-linux-x86-64.so.2"
    libraries = system / "usr" / "lib" / "x86_64-linux-gnu"
    command.write_text(
        f'#!/bin/sh\nexec "{loader}" --argv0 "{command}" --library-path "{libraries}" '
        f'"{python}" "$@"\n'
    )
    command.chmod(0o755)


def predictions(text: str) -> list[tuple[str, list[dict[str, object]]]]:
    """Labels with probabilities of each line of `classify --json`, by the file's name."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [(Path(line["file"]).name, line["labels"]) for line in lines]


def same_outputs(a: Installation, artifact: Path, cells: Path) -> tuple[int, int]:
    """How many of the pictures get the very same probabilities from the installed release as from
    LiteRT on this machine, and of how many."""
    there = a.run("edge-sdk", "classify", a.release / "model", cells, "--json", "--top", "9")
    command = [sys.executable, "-m", "edge_sdk.cli", "classify", str(artifact), str(cells)]
    here = subprocess.run(
        [*command, "--json", "--top", "9"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    pairs = list(zip(predictions(there), predictions(here), strict=True))
    return sum(x == y for x, y in pairs), len(pairs)


REPORTED: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
    ("arm64", None, ()), ("arm64", "tflite-runtime", ()), ("arm64", None, ("mqtt",)),
    ("arm64", None, ("screening",)), ("arm64", None, ("serve",)), ("trixie", None, ()),
    ("trixie", None, ("serve",)), ("armhf", None, ()),
)  # fmt: skip
TESTED: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
    ("arm64", None, ()), ("arm64", "tflite-runtime", ()), ("arm64", None, ("mqtt", "serve")),
    ("trixie", None, ()), ("armhf", None, ()),
)  # fmt: skip


def fetch() -> None:
    """What test_boards.py installs."""
    for name, runtime, extras in TESTED:
        board = BOARDS[name]
        if not board.python.exists():
            print(f"{name}: not here: {board.made_by}")
            continue
        target = make_target("rpi4", board.arch, board.version, runtime, extras)
        found = wheels.fetch(wanted(target), wheels.cache_folder(target))
        print(f"{name} {target.runtime} {' '.join(extras)}: {len(found)} wheels")


def report(artifact: Path, names: Sequence[str], work: Path) -> None:
    key = make_key(work)
    cells = write_cells(work / "cells", 40, seed=5)
    columns = f"{'board':7} {'runtime':15} {'with':10} {'bundle':>8} {'own':>7} {'installed':>9}"
    print(f"{columns} {'install':>8} {'processor':>9}  the same answers as here (measured)")
    for name, runtime, extras in REPORTED:
        if names and name not in names:
            continue
        board = BOARDS[name]
        try:
            stick, made = make_bundle(artifact, board, key, work, runtime, extras)
            there = install(board, stick, key, work / f"root-{stick.name}")
        except (AbsentError, EdgeError) as e:
            print(f"{name:7} {runtime or '':15} {','.join(extras):10} {e}")
            continue
        target = made.record.target
        own = next(e.size for n, e in made.record.files.items() if "edge_sdk-" in n)
        same, of = same_outputs(there, artifact, cells)
        took = f"{there.seconds:7.1f}s {there.processor_s:8.1f}s"
        print(
            f"{name:7} {target.runtime:15} {','.join(extras):10} {made.size / 1e6:6.1f}MB "
            f"{own / 1e3:5.0f}kB {there.size / 1e6:7.2f}MB {took}  {same} of {of}",
            flush=True,
        )
        shutil.rmtree(there.root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path, nargs="?")
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--board", action="append", choices=tuple(BOARDS), default=[])
    given = parser.parse_args()
    if given.fetch:
        fetch()
        return
    if given.artifact is None:
        parser.error("give an ARTIFACT, or --fetch")
    with tempfile.TemporaryDirectory() as folder:
        report(given.artifact, given.board, Path(folder))


if __name__ == "__main__":
    main()
