"""The audit log's chain: each entry holds the hash of the one before it.

A changed, missing or moved entry breaks the chain. What the chain alone cannot show is its end cut
off, or all of it written anew: the store keeps its length and last hash, and every report names
them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """seq: from 1; time: ISO 8601 in UTC, as the clock said, which may jump: the order is seq's.
    details: JSON with sorted keys."""

    seq: int
    time: str
    event: str
    operator: str
    details: str
    previous: str
    hash: str


def canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def origin(session: str) -> str:
    """What the first entry follows: entries of another session do not."""
    return text_hash(f"edge-sdk screening session {session}")


def next_entry(
    previous: str, seq: int, time: str, event: str, operator: str, details: Mapping[str, Any]
) -> Entry:
    text = canonical(details)
    return Entry(
        seq,
        time,
        event,
        operator,
        text,
        previous,
        _hash(seq, time, event, operator, text, previous),
    )


def _hash(seq: int, time: str, event: str, operator: str, details: str, previous: str) -> str:
    return text_hash(canonical([seq, time, event, operator, details, previous]))


def chain_problems(
    session: str, entries: Sequence[Entry], length: int, head: str
) -> tuple[str, ...]:
    """What is wrong with a chain that should have this length and last hash; nothing for a whole
    one."""
    found = []
    previous = origin(session)
    for place, e in enumerate(entries, 1):
        if e.seq != place:
            found.append(f"audit entry {place} is missing: the next one is number {e.seq}")
            break
        if e.previous != previous:
            found.append(f"audit entry {e.seq} ({e.event}) does not follow the one before it")
        if e.hash != _hash(e.seq, e.time, e.event, e.operator, e.details, e.previous):
            found.append(f"audit entry {e.seq} ({e.event}) was changed: its hash does not fit")
        previous = e.hash
    if len(entries) != length:
        found.append(f"the audit log has {len(entries)} entries, {length} were written")
    elif previous != head:
        found.append("the audit log's last hash is not the one that was written")
    return tuple(found)


def read_lines(lines: Iterable[str]) -> list[Entry]:
    """Entries from the JSON lines of an export."""
    return [Entry(**json.loads(line)) for line in lines if line.strip()]


def to_line(entry: Entry) -> str:
    return canonical(vars(entry))
