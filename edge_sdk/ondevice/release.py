"""A bundle unpacked into a folder that runs where it lies, without pip, venv or network."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import platform
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edge_sdk.errors import BundleError, DeviceError
from edge_sdk.files import sha256
from edge_sdk.ondevice import disk
from edge_sdk.ondevice.bundle_file import (
    RECORD,
    BundleFile,
    Record,
    Target,
    parse_record,
    safe_name,
    version_key,
)

FILES = "files.json"
RUN = "run.py"
# Python finds its place through the real path: `current` may move on while a program runs.
RUN_TEXT = '''"""Runs a command of this release: run.py COMMAND ARGUMENTS."""

import importlib.metadata
import os
import sys

WANTED = "@PYTHON@"
found = "%d.%d" % sys.version_info[:2]
if found != WANTED:
    sys.exit("this release of edge-sdk is for Python " + WANTED + ", here is " + found
             + ": install a bundle made with --python " + found)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "site"))
name = sys.argv[1] if len(sys.argv) > 1 else ""
scripts = importlib.metadata.distribution("edge-sdk").entry_points
commands = {e.name: e for e in scripts if e.group == "console_scripts"}
if name not in commands:
    sys.exit("this release has no command '" + name + "'; it has " + ", ".join(sorted(commands)))
sys.argv = sys.argv[1:]
sys.exit(commands[name].load()())
'''
NOT_UNPACKED = ("headers", "scripts", "data")
# Modules that a bundle may leave to the system -> what apt has them as.
DEBIAN = {
    "numpy": "python3-numpy",
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "cryptography": "python3-cryptography",
}


def device_arch() -> str:
    """The architecture of this Python: a 64-bit kernel may carry a 32-bit system."""
    machine = platform.machine()
    if struct.calcsize("P") == 4 and machine in ("aarch64", "armv7l", "armv8l"):
        return "armv7l"
    return machine


def device_python() -> str:
    return "{}.{}".format(*sys.version_info)


def has_module(name: str) -> bool:
    """Whether the system's own Python has it."""
    command = [sys.executable, "-I", "-c", f"import {name}"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def check_target(target: Target, arch: str, python: str) -> None:
    """Raises BundleError for a bundle that is for another device or Python than these."""
    if target.arch != arch:
        raise BundleError(
            f"the bundle is for {target.arch} ({target.profile}), this device is {arch}: make one "
            f"with `edge-sdk bundle ... --arch {arch}`"
        )
    if target.python != python:
        raise BundleError(
            f"the bundle is for Python {target.python}, this device has {python}: make one with "
            f"`edge-sdk bundle ... --python {python}`"
        )


def check_version(new: str, installed: str, *, same: bool) -> None:
    """same: it is the very bundle that is installed. Raises BundleError for an older version, and
    for another bundle of the same one."""
    if version_key(new) < version_key(installed):
        raise BundleError(
            f"the bundle is version {new}, older than {installed}, which is installed: give "
            "--allow-older to install it all the same"
        )
    if version_key(new) == version_key(installed) and not same:
        raise BundleError(
            f"version {installed} is installed, and this is another bundle of the same version: "
            "make it with a higher --version, or give --allow-older"
        )


def check_space(where: str, need: float, free: float) -> None:
    """Raises DeviceError where there are not `need` bytes and a tenth."""
    if free < need * 1.1:
        raise DeviceError(
            f"{where} has {free / 1e6:.0f} MB free, {need / 1e6:.0f} MB are needed: free some "
            "space (nothing was changed)"
        )


def unpack(bundle: BundleFile, folder: Path) -> None:
    """Writes the whole release into `folder`, which is new. Nothing is synced; see disk.sync_all.

    Raises BundleError for a file that is not as signed, OSError for the disk."""
    made: dict[str, str] = {}
    for name, data in _members(bundle):
        target = folder / name
        disk.make_folder(target.parent)
        disk.write_new(target, data)
        made[name] = hashlib.sha256(data).hexdigest()
    disk.write_new(folder / FILES, (json.dumps(made, indent=0) + "\n").encode())


def _members(bundle: BundleFile) -> Iterator[tuple[str, bytes]]:
    """Path in the release and content, of everything that a release has."""
    record = bundle.record
    yield RECORD, record.json()
    yield RUN, RUN_TEXT.replace("@PYTHON@", record.target.python).encode()
    for name in record.files:
        if name.startswith("wheels/"):
            yield from wheel_members(name, bundle.read(name), record.skip)
        else:
            yield name, bundle.read(name)


def wheel_members(wheel: str, data: bytes, skip: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The files of a wheel as they lie below a release, less those that match `skip`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            kind = info.external_attr >> 16
            if not safe_name(info.filename) or (kind and stat.S_ISLNK(kind)):
                raise BundleError(f"{wheel} is refused: the name {info.filename!r} leads out of it")
            place = info.filename
            first, _, rest = place.partition("/")
            if first.endswith(".data"):
                kind_of, _, place = rest.partition("/")
                if kind_of in NOT_UNPACKED:
                    continue
            if not skipped(place, skip):
                yield f"site/{place}", archive.read(info)


def skipped(name: str, skip: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in skip)


def read_record(release: Path) -> Record:
    try:
        return parse_record((release / RECORD).read_bytes(), str(release))
    except OSError as e:
        raise BundleError(f"{release} is no release: {RECORD} cannot be read: {e.strerror}") from e


def damage(release: Path) -> str | None:
    """The first file of an unpacked release that is not as it was unpacked; None: it is whole."""
    try:
        files: dict[str, str] = json.loads((release / FILES).read_text(encoding="utf-8"))
        for name, digest in files.items():
            if sha256(release / name) != digest:
                return name
    except (OSError, ValueError, AttributeError) as e:
        return str(getattr(e, "filename", None) or FILES)
    return None


def digest_of(release: Path) -> str:
    """What tells two bundles of one version apart; empty where there is none."""
    try:
        return sha256(release / RECORD)
    except OSError:
        return ""
