"""Artifact + device -> X.edge.zip: gather, list with hashes, sign, pack in the one form."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import edge_sdk
from edge_sdk.artifact import MANIFEST_FILE, MODEL_FILE, Artifact, read_artifact
from edge_sdk.bundle import wheels as wheelhouse
from edge_sdk.bundle.expected import selftest_files
from edge_sdk.bundle.own import own_licence, own_wheel
from edge_sdk.bundle.sbom import sbom
from edge_sdk.bundle.targets import SKIP, wanted
from edge_sdk.errors import BundleError, UsageError
from edge_sdk.files import refuse_existing, sha256, write_whole
from edge_sdk.keys import Key, sign
from edge_sdk.ondevice.bundle_file import (
    DATE,
    FORMAT,
    RECORD,
    SIGNATURE,
    Entry,
    Record,
    Target,
    version_key,
)
from edge_sdk.ondevice.layout import SERVE_UNIT
from edge_sdk.ondevice.release import wheel_members

SUFFIX = ".edge.zip"
INSTALLER = "install.sh"
TEMPLATES = (INSTALLER, "edge-sdk.service", "edge-sdk.conf", "config.toml")
Files = dict[str, bytes]


@dataclass(frozen=True)
class Made:
    """sha256: of the archive. record: what is in it."""

    path: Path
    sha256: str
    size: int
    record: Record


def make_bundle(
    model: Path,
    target: Target,
    key: Key,
    out: Path,
    *,
    version: str | None = None,
    lock: Path | None = None,
    runtime_python: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None],
) -> Made:
    """Writes `out`, and install.sh beside it. The same artifact, wheels, key and versions of this
    package and Pillow give the same bytes.

    Raises ArtifactError, UsageError, BundleError."""
    if not out.name.endswith(SUFFIX):
        raise UsageError(f"--out {out} must end with {SUFFIX}")
    refuse_existing(out, replace=overwrite)
    version = version or edge_sdk.__version__
    version_key(version)
    artifact = read_artifact(model)
    say(f"wheels for {target.arch}, Python {target.python}, {target.runtime}")
    wheels = wheelhouse.fetch(wanted(target), wheelhouse.cache_folder(target), lock)
    own_name, own = own_wheel(target.extras)
    say(f"self-test with {target.runtime} {target.runtime_version}")
    tests = selftest_files(artifact, target, runtime_python)
    contents = gather(artifact, {**wheels, own_name: own}, tests, version, target.extras)
    record = make_record(artifact, target, contents, version)
    data = pack(contents, record, key)
    out.parent.mkdir(parents=True, exist_ok=True)
    installer = out.with_name(INSTALLER)
    if not installer.exists() or installer.read_bytes() != contents[INSTALLER]:
        refuse_existing(installer, replace=overwrite)
        write_whole(installer, contents[INSTALLER])
    write_whole(out, data)
    return Made(out, hashlib.sha256(data).hexdigest(), len(data), record)


def gather(
    artifact: Artifact,
    wheels: Files,
    tests: Files,
    version: str,
    extras: Sequence[str] = (),
) -> Files:
    """Path in the bundle -> content, but for bundle.json and its signature."""
    found = {f"wheels/{name}": data for name, data in wheels.items()}
    found |= tests
    for name in (MODEL_FILE, MANIFEST_FILE):
        found[f"model/{name}"] = (artifact.path / name).read_bytes()
    templates = files("edge_sdk.bundle") / "templates"
    found |= {name: (templates / name).read_bytes() for name in TEMPLATES}
    if "serve" in extras:
        found[SERVE_UNIT] = (templates / SERVE_UNIT).read_bytes()
    found |= licences(wheels)
    for path in sorted(artifact.path.iterdir()):
        if path.name.lower().startswith(("licen", "notice")):
            found[f"licences/model/{path.name}"] = path.read_bytes()
    m = artifact.manifest
    found["sbom.cdx.json"] = sbom(f"{m.name}-{m.scheme}", version, m, wheels)
    return found


def licences(wheels: Files) -> Files:
    """licences/<name>-<version>/: what each wheel carries; where one carries none and its metadata
    names the Apache licence, that text.

    Raises BundleError for a wheel whose licence cannot be told."""
    found: Files = {}
    for file, data in wheels.items():
        about = wheelhouse.metadata(data)
        folder = f"licences/{about['Name']}-{about['Version']}"
        texts = wheelhouse.licence_files(data)
        name = wheelhouse.licence_name(about)
        if not texts and "apache" in name.lower():
            note = f"{file} says in its metadata: licence '{name}'. The text of that licence:\n\n"
            texts = {"LICENSE": note.encode() + own_licence()}
        if not texts:
            raise BundleError(f"{file} carries no licence text, and its metadata says '{name}'")
        found |= {f"{folder}/{n}": text for n, text in texts.items()}
    return found


def make_record(artifact: Artifact, target: Target, contents: Files, version: str) -> Record:
    m = artifact.manifest
    unpacked = 0
    for name, data in contents.items():
        if name.startswith("wheels/"):
            unpacked += sum(len(d) for _, d in wheel_members(name, data, SKIP))
        else:
            unpacked += len(data)
    created = {
        "edge-sdk": edge_sdk.__version__,
        "manifest": sha256(artifact.path / MANIFEST_FILE),
        "model": m.sha256,
        "source": m.source.sha256,
    }
    listed = {n: Entry(hashlib.sha256(d).hexdigest(), len(d)) for n, d in contents.items()}
    return Record(FORMAT, f"{m.name}-{m.scheme}", version, target, created, SKIP, unpacked, listed)


def pack(contents: Files, record: Record, key: Key) -> bytes:
    """The archive's bytes; see ondevice/bundle_file.py for the form."""
    text = record.json()
    ordered = [(RECORD, text), (SIGNATURE, sign(text, key)), *sorted(contents.items())]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ordered:
            if not name.isascii():
                raise BundleError(f"the name {name!r} in the bundle must be plain ASCII")
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
    return made.getvalue()
