"""Identifiers of a person, sealed with a key that the site holds: AES-256-GCM of `cryptography`.

The only module that names that package. Without it identifiers are refused, never stored in clear.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.errors import BackendError, DataError, UsageError

KEY_BYTES = 32
NONCE_BYTES = 12  # NIST SP 800-38D
MOST_TEXT = 1000
# 30 letters that are not taken for one another when read aloud or written down.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Sealed:
    """One identifier. key: the beginning of the key's SHA-256, which says what key it takes."""

    name: str
    nonce: bytes
    data: bytes
    key: str


def new_pseudonym() -> str:
    """A session's id, as 7K3M-Q2FX: drawn by chance, it says nothing of anybody."""
    letters = [secrets.choice(_ALPHABET) for _ in range(8)]
    return "".join(letters[:4]) + "-" + "".join(letters[4:])


def new_key(path: Path) -> str:
    """Makes a key file, readable by its owner alone; gives the key's id. Raises UsageError where
    the file exists."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists: a key is never overwritten, what it sealed could not be read again"
        ) from None
    try:
        os.write(descriptor, f"{key.hex()}\n".encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return key_id(key)


def read_key(path: Path) -> bytes:
    """Raises UsageError for a file that is missing, open to others, or no key."""
    try:
        mode = path.stat().st_mode & 0o077
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as e:
        raise UsageError(
            f"site key {path} cannot be read ({e}): make one with `edge-sdk screen key FILE`"
        ) from e
    if mode:
        raise UsageError(f"site key {path} can be read by others: chmod 600 it, or make a new one")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(f"site key {path} is no key: {2 * KEY_BYTES} hexadecimal digits are one")
    return key


def key_id(key: bytes) -> str:
    return hashlib.sha256(b"edge-sdk site key" + key).hexdigest()[:16]


def seal(session: str, identifiers: Mapping[str, str], key: bytes) -> tuple[Sealed, ...]:
    """Each value encrypted for this session and name alone. Raises UsageError for an empty or
    overlong one, BackendError without `cryptography`."""
    cipher = _cipher(key)
    out = []
    for name, value in identifiers.items():
        if not name or not value or max(len(name), len(value)) > MOST_TEXT:
            raise UsageError(
                f"identifier '{name[:40]}' must have a name and a value of at most {MOST_TEXT} "
                "letters"
            )
        nonce = secrets.token_bytes(NONCE_BYTES)
        data = cipher.encrypt(nonce, value.encode("utf-8"), _bound(session, name))
        out.append(Sealed(name, nonce, data, key_id(key)))
    return tuple(out)


def unseal(session: str, sealed: tuple[Sealed, ...], key: bytes) -> dict[str, str]:
    """Raises DataError for another key, or for what was changed or moved from another session."""
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    out = {}
    for s in sealed:
        if s.key != key_id(key):
            raise DataError(
                f"identifier '{s.name}' was sealed with the key {s.key}, this one is "
                f"{key_id(key)}: give that site's key"
            )
        try:
            value = cipher.decrypt(s.nonce, s.data, _bound(session, s.name))
        except InvalidTag:
            raise DataError(
                f"identifier '{s.name}' of session {session} was changed, or is of another session"
            ) from None
        out[s.name] = bytes(value).decode("utf-8")
    return out


def _bound(session: str, name: str) -> bytes:
    return f"{session}\0{name}".encode()


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as e:
        raise BackendError(
            "identifiers need encryption, which is not installed: pip install "
            "'edge-sdk[screening]'; without it leave them out, a session's id is a pseudonym"
        ) from e
    return AESGCM(key)
