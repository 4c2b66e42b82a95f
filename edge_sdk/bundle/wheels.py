"""The wheels of a device, fetched once on the workstation; our own is made in own.py.

The first fetch writes which files came, with their SHA-256, into a lock file; every later bundle
has the same ones or none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

from edge_sdk.bundle.extras import normalised, parse_requirement
from edge_sdk.bundle.targets import Wanted
from edge_sdk.errors import BundleError
from edge_sdk.files import whole_folder, write_whole
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.strict import from_plain, to_plain

LOCK = "wheels.lock.json"
TIMEOUT_S = 900


@dataclass(frozen=True)
class Lock:
    """requirements: what was asked for. files: file name -> SHA-256."""

    requirements: tuple[str, ...]
    files: dict[str, str]


def cache_folder(target: Target) -> Path:
    """$XDG_CACHE_HOME (or ~/.cache)/edge-sdk/wheels/<architecture, Python, runtime, extras>."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    parts = (target.arch, target.python, target.runtime, target.runtime_version, *target.extras)
    return root / "edge-sdk" / "wheels" / "-".join(parts)


def fetch(wanted: Wanted, folder: Path, lock: Path | None = None) -> dict[str, bytes]:
    """File name -> content of the wheels in `folder`, which are fetched where they are missing.

    lock: a lock file to hold to; it is written where it is not there. Raises BundleError where a
    wheel cannot be had or is not the one of the lock."""
    own_lock = folder / LOCK
    given = _read_lock(lock) if lock is not None and lock.exists() else None
    if not own_lock.is_file() or (given is not None and given != _read_lock(own_lock)):
        _download(wanted, folder, given)
    found = _read_lock(own_lock)
    if found.requirements != wanted.requirements + wanted.extras:
        _download(wanted, folder, given)
        found = _read_lock(own_lock)
    wheels = {}
    for name, digest in sorted(found.files.items()):
        try:
            wheels[name] = (folder / name).read_bytes()
        except OSError as e:
            raise BundleError(f"{folder / name} cannot be read: {e.strerror}; --refresh") from e
        if hashlib.sha256(wheels[name]).hexdigest() != digest:
            raise BundleError(
                f"{folder / name} is not the wheel of {LOCK}: it was changed; fetch again with "
                "--refresh"
            )
    if lock is not None and given is None:
        write_whole(lock, own_lock.read_bytes())
    return wheels


def _read_lock(path: Path) -> Lock:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise BundleError(f"lock file {path} cannot be read: {e}; remove it to fetch again") from e
    return from_plain(Lock, data, str(path), BundleError)


def _download(wanted: Wanted, folder: Path, lock: Lock | None) -> None:
    with whole_folder(folder, replace=True) as partial:
        if lock is not None:
            _pip(wanted, tuple(map(_pinned, lock.files)), partial)
        else:
            _pip_with_needs(wanted, partial)
        files = {
            p.name: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(partial.glob("*.whl"))
        }
        if lock is not None and files != lock.files:
            odd = sorted(set(files.items()) ^ set(lock.files.items()))[0][0]
            raise BundleError(f"{odd}: the index gives another file than the lock file has")
        made = Lock(wanted.requirements + wanted.extras, files)
        (partial / LOCK).write_text(json.dumps(to_plain(made), indent=1) + "\n", encoding="utf-8")


def _pip_with_needs(wanted: Wanted, folder: Path) -> None:
    """With what the extras' wheels need, and those in turn: all is asked for again until nothing is
    added, so that pip finds versions that fit all of it, or says that there are none."""
    base = {parse_requirement(r).name for r in wanted.requirements}
    asked = [*wanted.requirements, *wanted.extras]
    while True:
        _pip(wanted, asked, folder)
        found = [metadata(p.read_bytes()) for p in sorted(folder.glob("*.whl"))]
        more = {
            need.given
            for about in found
            if normalised(str(about["Name"])) not in base
            for need in map(parse_requirement, about.get_all("Requires-Dist", []))
            if need.applies(wanted.arch, wanted.python)
        } - set(asked)
        if not more:
            return
        asked += sorted(more)
        for wheel in folder.glob("*.whl"):
            wheel.unlink()


def _pip(wanted: Wanted, asked: Sequence[str], folder: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", wanted.python,
        *(word for p in wanted.platforms for word in ("--platform", p)),
        "--dest", str(folder), *asked,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise BundleError(f"pip fetched no wheels within {TIMEOUT_S} s") from e
    if done.returncode != 0:
        lines = [x for x in done.stderr.splitlines() if x.startswith("ERROR")]
        raise BundleError(
            f"the wheels for {wanted.platforms[-1]}, Python {wanted.python} cannot be fetched: "
            f"{lines[0].removeprefix('ERROR: ') if lines else done.stderr.strip()[-200:]}"
        )


def _pinned(file: str) -> str:
    name, version = file.split("-")[:2]
    return f"{name}=={version}"


def refresh(target: Target) -> None:
    """Forgets what was fetched for a target."""
    shutil.rmtree(cache_folder(target), ignore_errors=True)


# --- what a wheel says of itself -----------------------------------------------------------------


def metadata(wheel: bytes) -> Message:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode(errors="replace"))


def licence_name(about: Message) -> str:
    """As the wheel's metadata has it: an SPDX expression, or words."""
    found = about["License-Expression"] or ""
    if not found:
        classified = [c for c in about.get_all("Classifier", []) if c.startswith("License ::")]
        found = classified[0].rpartition(" :: ")[2] if classified else about["License"] or ""
    return " ".join(str(found).split())[:100]


def licence_files(wheel: bytes) -> dict[str, bytes]:
    """Name -> text of the licence and notice files that a wheel carries."""
    marks = ("licen", "copying", "notice", "authors")
    found = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if not path.parts[0].endswith(".dist-info") or name.endswith("/"):
                continue
            if "licenses" in path.parts[1:-1] or path.name.lower().startswith(marks):
                found["_".join(p for p in path.parts[1:] if p != "licenses")] = archive.read(name)
    return found
