"""A report's signature: a site's key over the list of its files' hashes.

One of the files names the audit log's length and last hash, so the signature holds the log up to
there too: who can write the session but has not the key can change neither unseen.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.errors import UsageError
from edge_sdk.files import sha256
from edge_sdk.ondevice.bundle_file import signature_fault, trust_line
from edge_sdk.screening.store import REPORT, Store

NAMESPACE = "edge-sdk-report"  # a bundle's signature is none of a report's, nor the other way
SIGNATURE = "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.]+)")


@dataclass(frozen=True)
class Signer:
    """A key that signs in NAMESPACE. fingerprint: as OpenSSH writes it."""

    fingerprint: str
    sign: Callable[[bytes], bytes]


def signature_problems(store: Store, public_key: Path) -> tuple[str, ...]:
    """What is wrong with the signature of a session's report, and with what it holds; nothing where
    this key signed it as it is.

    public_key: the .pub file. Raises UsageError where there is no such file, BundleError for one
    that is no Ed25519 key, or without ssh-keygen."""
    try:
        line = public_key.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--signer {public_key} cannot be read: give a key's .pub file") from e
    allowed_line = trust_line(line, NAMESPACE)
    folder = store.folder / REPORT
    try:
        sums, signature = ((folder / n).read_bytes() for n in ("SHA256SUMS", SIGNATURE))
    except OSError:
        return ("the report is unsigned, or there is none",)
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as scratch:
        allowed = Path(scratch) / "allowed"
        allowed.write_text(allowed_line, encoding="utf-8")
        said = signature_fault(sums, signature, allowed, NAMESPACE)
    if said is not None:
        return (f"the report was not signed by {public_key}, or changed since ({said})",)
    return (*_file_problems(folder, sums.decode()), *_log_problems(store, folder))


def _file_problems(folder: Path, sums: str) -> list[str]:
    listed = {m[2]: m[1] for m in map(_LINE.fullmatch, sums.splitlines()) if m}
    there = {p.name for p in folder.iterdir()} - {"SHA256SUMS", SIGNATURE}
    found = [f"report: {name} is not in the signed list" for name in sorted(there - set(listed))]
    for name, digest in listed.items():
        if name not in there:
            found.append(f"report: {name} was signed and is missing")
        elif sha256(folder / name) != digest:
            found.append(f"report: {name} was changed after it was signed")
    return found


def _log_problems(store: Store, folder: Path) -> list[str]:
    """Whether the audit log is the one that the signed record names."""
    try:
        record = json.loads((folder / "result.json").read_bytes())["record"]
        length, head = int(record["audit_entries"]), str(record["audit_head"])
    except (OSError, ValueError, KeyError, TypeError):
        return ["report: result.json names no audit log"]
    entries = store.entries()
    if not 0 < length <= len(entries) or entries[length - 1].hash != head:
        return [f"the audit log is not the one that was signed: entry {length} differs"]
    return []
