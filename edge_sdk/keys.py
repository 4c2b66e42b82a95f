"""Ed25519 keys and signatures, made by OpenSSH's ssh-keygen: no cryptography of our own."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.errors import BundleError, UsageError, unknown_name
from edge_sdk.ondevice.bundle_file import NAMESPACE, find_ssh_keygen, trust_line
from edge_sdk.profiles import user_folder

TIMEOUT_S = 300


@dataclass(frozen=True)
class Key:
    """private: the file to sign with, mode 0600. line: the public key."""

    name: str
    private: Path
    line: str
    fingerprint: str

    @property
    def public(self) -> Path:
        return self.private.with_name(self.private.name + ".pub")


def keys_folder() -> Path:
    """$XDG_CONFIG_HOME (or ~/.config)/edge-sdk/keys. Nothing is made by asking."""
    return user_folder().parent / "keys"


def new_key(name: str, *, passphrase: bool = False) -> Key:
    """A pair in keys_folder(). passphrase: ssh-keygen asks for one.

    Raises UsageError for a name that is taken or cannot be a file's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name.endswith(".pub"):
        raise UsageError(f"key name '{name}' must be letters, digits, dots and dashes, as clinic-1")
    private = keys_folder() / name
    if private.exists():
        raise UsageError(f"{private} exists: choose another name; a key is never overwritten")
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [find_ssh_keygen(), "-q", "-t", "ed25519", "-C", f"edge-sdk {name}"]
    command += ["-f", str(private), *([] if passphrase else ["-N", ""])]
    if subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode != 0:
        raise BundleError(f"ssh-keygen made no key at {private}")
    return read_key(str(private))


def read_key(name: str) -> Key:
    """A key of keys_folder() by name, or by the path of its private file.

    Raises UsageError for one that is not there, BundleError for one that is no Ed25519 key."""
    path = Path(name)
    private = path if "/" in name else keys_folder() / name
    public = private.with_name(private.name + ".pub")
    if not private.is_file() or not public.is_file():
        raise UsageError(
            unknown_name("key", name, [k.name for k in all_keys()])
            + f" Make one with `edge-sdk keys new {path.name}`."
        )
    line = public.read_text(encoding="utf-8").strip()
    trust_line(line)
    command = [find_ssh_keygen(), "-l", "-f", str(public)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    return Key(private.name, private, line, said.split()[1] if len(said.split()) > 1 else "")


def all_keys() -> list[Key]:
    return [read_key(str(p.with_suffix(""))) for p in sorted(keys_folder().glob("*.pub"))]


def sign(data: bytes, key: Key, namespace: str = NAMESPACE) -> bytes:
    """An SSH signature of `data`, good in this namespace alone; the same one each time. ssh-keygen
    asks for a passphrase."""
    if (mode := key.private.stat().st_mode & 0o077) != 0:
        raise BundleError(
            f"{key.private} can be read by others (mode {mode | 0o600:o}): chmod 600 it, or make "
            "a new key"
        )
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        file = Path(folder) / "signed"
        file.write_bytes(data)
        command = [find_ssh_keygen(), "-q", "-Y", "sign", "-f", str(key.private)]
        command += ["-n", namespace, str(file)]
        done = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False
        )
        signature = file.with_name(file.name + ".sig")
        if done.returncode != 0 or not signature.is_file():
            raise BundleError(f"ssh-keygen did not sign with {key.private}: {done.stderr.strip()}")
        return signature.read_bytes()
