"""X.edge.zip: what is in it, and everything that is checked before any of it is believed.

The archive has one form only: bundle.json, bundle.json.sig, then the files it lists in sorted
order, all stored, with fixed times and modes. bundle.json has the SHA-256 of every file and is
signed; OpenSSH's ssh-keygen verifies it. A file is hashed as it is read, from this one opening.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from edge_sdk.errors import BundleError
from edge_sdk.strict import from_plain, to_plain

FORMAT = 1
RECORD = "bundle.json"
SIGNATURE = "bundle.json.sig"
NAMESPACE = "edge-sdk-bundle"
SIGNER = "edge-sdk"
DATE = (1980, 1, 1, 0, 0, 0)
LARGEST_RECORD = 4_000_000
_LOCAL, _CENTRAL, _END = 30, 46, 22  # bytes of the zip format's headers, without names


@dataclass(frozen=True)
class Target:
    """What a bundle is for. python: as 3.11. system: modules that the device's own Python has to
    have, because no wheel of them is published for it. extras: what it was made `--with`."""

    profile: str
    arch: str
    python: str
    runtime: str
    runtime_version: str
    system: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    sha256: str
    size: int


@dataclass(frozen=True)
class Record:
    """bundle.json. created_from: SHA-256 or versions of what went in. skip: patterns of the files
    in wheels that are not unpacked. unpacked_bytes: of everything that is."""

    format: int
    name: str
    version: str
    target: Target
    created_from: dict[str, str]
    skip: tuple[str, ...]
    unpacked_bytes: int
    files: dict[str, Entry]

    def __post_init__(self) -> None:
        version_key(self.version)

    def json(self) -> bytes:
        return (json.dumps(to_plain(self), indent=1, sort_keys=True) + "\n").encode()


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by; 1.2 and 1.2.0 are the same."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9}){0,3}", version):
        raise BundleError(f"version '{version}' must be one to four numbers with dots, as 1.4.0")
    numbers = [int(n) for n in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


class BundleFile:
    """An opened bundle whose form and signature are right. Use it in a `with`.

    Raises BundleError, in one sentence, for anything else."""

    def __init__(self, path: Path, trusted_keys: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as e:
            raise BundleError(f"bundle {path} cannot be read: {e.strerror}") from e
        try:
            self._zip = _open_zip(path, self._file)
            text = self._record(RECORD)
            verify_signature(text, self._record(SIGNATURE), trusted_keys, path)
            self.digest = hashlib.sha256(text).hexdigest()
            self.record = parse_record(text, str(path))
            self._check_names()
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str) -> bytes:
        """A file of the bundle, which is the one that was signed."""
        entry = self.record.files[name]
        try:
            data = self._zip.read(name)
        except (OSError, zipfile.BadZipFile, EOFError) as e:
            raise BundleError(f"bundle {self.path}: {name} cannot be read: {e}") from e
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(
                f"bundle {self.path}: {name} is not the file that was signed; copy the bundle again"
            )
        return data

    def check_files(self) -> None:
        for name in self.record.files:
            self.read(name)

    def _record(self, name: str) -> bytes:
        try:
            if self._zip.getinfo(name).file_size > LARGEST_RECORD:
                raise BundleError(f"bundle {self.path}: {name} is too large to be one")
            return self._zip.read(name)
        except KeyError:
            what = "is not signed" if name == SIGNATURE else "is no bundle"
            raise BundleError(f"{self.path} {what}: it has no {name}") from None
        except (OSError, zipfile.BadZipFile, EOFError) as e:
            raise BundleError(f"bundle {self.path}: {name} cannot be read: {e}") from e

    def _check_names(self) -> None:
        found = set(self._zip.namelist()) - {RECORD, SIGNATURE}
        listed = set(self.record.files)
        if odd := sorted(found ^ listed):
            what = "holds a file that was not signed" if odd[0] in found else "lacks a file"
            raise BundleError(f"bundle {self.path} {what}: {odd[0]}")

    def __enter__(self) -> BundleFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()


def parse_record(text: bytes, where: str) -> Record:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BundleError(f"{where}: {RECORD} cannot be read: {e}") from e
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise BundleError(
            f"{where}: bundle format {data.get('format')!r} is not {FORMAT}; make the bundle with "
            "the edge-sdk version that this device has, or update the device step by step"
        )
    return from_plain(Record, data, f"{where}: {RECORD}", BundleError)


def safe_name(name: str) -> bool:
    """Whether a name in an archive stays below the folder it is unpacked into."""
    if not name or len(name) > 400 or "\\" in name or ":" in name or not name.isprintable():
        return False
    parts = name.removesuffix("/").split("/")
    return not PurePosixPath(name).is_absolute() and not {"", ".", ".."} & set(parts)


def _open_zip(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    """The archive, if it is one that `edge-sdk bundle` writes, byte for byte of its form."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as e:
        raise BundleError(
            f"{path} is no whole bundle ({e}): it was cut off or damaged; copy it again"
        ) from e
    infos = archive.infolist()
    names = [i.filename for i in infos]
    for name in names:
        if not safe_name(name):
            raise BundleError(f"bundle {path} is refused: the name {name!r} leads out of it")
    if len(set(names)) != len(names):
        raise BundleError(f"bundle {path} is refused: it holds two files of one name")
    at = 0
    for info in infos:
        usual = (
            info.compress_type == zipfile.ZIP_STORED
            and info.date_time == DATE
            and info.external_attr == (stat.S_IFREG | 0o644) << 16
            and not info.extra
            and not info.comment
            and not info.flag_bits
            and info.header_offset == at
            and info.compress_size == info.file_size
        )
        if not usual:
            raise BundleError(_rezipped(path, info.filename))
        at += _LOCAL + len(info.filename.encode()) + info.file_size
    directory = sum(_CENTRAL + len(n.encode()) for n in names)
    size = path.stat().st_size
    if archive.start_dir != at or size != at + directory + _END:
        raise BundleError(_rezipped(path, "bytes between or after its files"))
    order = [n for n in names if n not in (RECORD, SIGNATURE)]
    if order != sorted(order):
        raise BundleError(_rezipped(path, "the order of its files"))
    return archive


def _rezipped(path: Path, what: str) -> str:
    return (
        f"bundle {path} is refused: it is not as `edge-sdk bundle` wrote it ({what}): it was cut "
        "off or damaged, or another program packed it again. Copy the original"
    )


def verify_signature(data: bytes, signature: bytes, trusted_keys: Path, where: Path) -> None:
    """Raises BundleError for any signature but a trusted key's."""
    if not trusted_keys.is_file():
        raise BundleError(
            f"no key is trusted here ({trusted_keys} is not there): the first installation names "
            "one with --trust KEY.pub"
        )
    said = signature_fault(data, signature, trusted_keys)
    if said is not None:
        raise BundleError(
            f"bundle {where} is refused: it was changed after it was signed, or signed with a key "
            f"that is not in {trusted_keys} (ssh-keygen: {said})"
        )


def signature_fault(
    data: bytes, signature: bytes, trusted_keys: Path, namespace: str = NAMESPACE
) -> str | None:
    """What `ssh-keygen -Y verify` says against a signature, None where it is right. Raises
    BundleError where it cannot be asked."""
    program = find_ssh_keygen()
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        command = [program, "-Y", "verify", "-f", str(trusted_keys), "-I", SIGNER]
        command += ["-n", namespace, "-s", str(file)]
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.SubprocessError) as e:
            raise BundleError(f"{program} cannot be run: {e}") from e
    if done.returncode == 0:
        return None
    lines = (done.stdout + done.stderr).decode(errors="replace").split("\n")
    return "; ".join(line.strip() for line in lines if line.strip())


def find_ssh_keygen() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise BundleError("ssh-keygen is not here: install openssh-client")
    return program


def trust_line(public_key: str, namespace: str = NAMESPACE) -> str:
    """A public key's line of an allowed_signers file. Raises BundleError for another kind."""
    words = public_key.split()
    if len(words) < 2 or words[0] != "ssh-ed25519" or not re.fullmatch(r"[\w+/=]+", words[1]):
        raise BundleError(
            "the key is no Ed25519 public key: give the .pub file that `edge-sdk keys new` wrote"
        )
    return f'{SIGNER} namespaces="{namespace}" {words[0]} {words[1]}\n'
