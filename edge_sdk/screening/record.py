"""What a report is made from: everything of one session, frozen.

Times are ISO 8601 in UTC. Paths are relative to the session's folder, with /, and were made by this
program. Hashes are SHA-256 in hexadecimal. A report is written into that folder's `report/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_sdk.artifact import SlideRule
from edge_sdk.screening.slide import SlideResult

FORMAT = 1
Verdict = Literal["confirmed", "rejected", "unsure"]
VERDICTS: tuple[Verdict, ...] = ("confirmed", "rejected", "unsure")


@dataclass(frozen=True)
class GateResult:
    """One gate's answer for one field. passed: a gate that could not judge did not fail. value,
    limit: in its own unit, None where it had none, or where no single number is the limit; bounds:
    the limit in words; instruction: what the operator is to do, empty where it passed."""

    gate: str
    passed: bool
    value: float | None
    limit: float | None
    instruction: str
    bounds: str = ""


@dataclass(frozen=True)
class FieldRecord:
    """One picture. number: from 1, rejected ones among them; image: None where the field was
    rejected or purged; cells, flagged: red cells counted here, 0 where it was rejected."""

    number: int
    taken: str
    accepted: bool
    gates: tuple[GateResult, ...]
    cells: int
    flagged: int
    image: str | None
    image_sha256: str | None


@dataclass(frozen=True)
class FlaggedCell:
    """number: from 1 in the session, in the order they were found. box: (x, y, width, height) in
    the field's picture; flags: of the segmentation, as `clump`; probability: of the positive label
    after its temperature; verdict: None where nobody looked at it; thumbnail: PNG of the box with
    what is around it."""

    number: int
    field: int
    box: tuple[int, int, int, int]
    flags: tuple[str, ...]
    probability: float
    verdict: Verdict | None
    thumbnail: str


@dataclass(frozen=True)
class Override:
    """A person's word against, or for, the model's. was, now: verdicts, None for none."""

    time: str
    operator: str
    cell: int
    was: Verdict | None
    now: Verdict | None


@dataclass(frozen=True)
class ModelUsed:
    """sha256: of the model file. runtime: interpreter and its version."""

    name: str
    sha256: str
    runtime: str


@dataclass(frozen=True)
class SlideRecord:
    """session: a pseudonym drawn by chance; no identifier of a person is in a record. simulated:
    pictures were drawn, which every page and file has to say; drawn_parasitaemia: share of infected
    cells that was asked of the drawing. finished: when counting ended. rule_sha256: of the rule,
    thresholds among it; site, site_sha256: name and hash of the site calibration, None without one.
    audit_entries, audit_head: length and last hash of the audit chain when the record was made.
    language: of the texts, as `en`. result: raw and reviewed counts are in it. signed_by:
    fingerprint of the key that signs the report, None for an unsigned one."""

    format: int
    session: str
    simulated: bool
    drawn_parasitaemia: float | None
    app_version: str
    model: ModelUsed
    rule: SlideRule
    rule_sha256: str
    site: str | None
    site_sha256: str | None
    device: str
    operator: str
    camera: str
    created: str
    finished: str
    language: str
    fields: tuple[FieldRecord, ...]
    cells: tuple[FlaggedCell, ...]
    overrides: tuple[Override, ...]
    result: SlideResult
    audit_entries: int
    audit_head: str
    signed_by: str | None = None
