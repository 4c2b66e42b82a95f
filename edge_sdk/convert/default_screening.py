"""What was measured of the embedded default on real cells: a slide rule for each form it ships in,
and the colours of its cells. The figures ship, the cells do not.

`tools/default_screening.py` measures and writes them. A rule holds for the scores that it was
measured on: another scheme, another way of rounding or other calibration images have other scores,
and such an artifact gets none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.artifact import Artifact, ImageRecord, Manifest, SlideRule
from edge_sdk.errors import ArtifactError
from edge_sdk.files import sha256
from edge_sdk.preprocess import Preprocess
from edge_sdk.stain_range import StainRange
from edge_sdk.strict import from_plain
from edge_sdk.zoo import default_model

FORMAT = 1


@dataclass(frozen=True)
class Form:
    """What an artifact's scores follow from besides the trained model. calibration: `draw_hash` of
    the images that calibrated it, null for a float scheme."""

    scheme: str
    method: str | None
    preprocess: Preprocess
    weight_types: dict[str, int]
    calibration: str | None


@dataclass(frozen=True)
class Measured:
    form: Form
    rule: SlideRule


@dataclass(frozen=True)
class Record:
    """source_sha256: of the trained model; commands: that measured it; versions: of the packages
    that took part; split: where the patients' parts are."""

    format: int
    source_sha256: str
    origin: str
    split: str
    commands: tuple[str, ...]
    versions: dict[str, str]
    stain: StainRange
    measured: tuple[Measured, ...]


def record_file() -> Path:
    return default_model().with_name("screening.json")


def read_record(file: Path) -> Record:
    """Raises ArtifactError for a file that cannot be read or is of another version."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ArtifactError(f"{file} cannot be read: {e}; install edge-sdk again") from e
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ArtifactError(f"{file}: its format is not {FORMAT}; install edge-sdk again")
    return from_plain(Record, data, str(file), ArtifactError)


def form_of(m: Manifest) -> Form:
    drawn = None if m.calibration is None else draw_hash(m.calibration.images)
    return Form(m.scheme, m.method, m.preprocess, m.weight_types, drawn)


def draw_hash(images: Sequence[ImageRecord]) -> str:
    """The SHA-256 of the images' names in order. Drawn cells' names hold number, patient and kind,
    so that they tell one drawing from another; their bytes depend on who compressed them."""
    return hashlib.sha256("\n".join(i.file for i in images).encode()).hexdigest()


def with_screening(m: Manifest) -> Manifest:
    """The manifest with what was measured of this model: the colours for any form of it, the rule
    for the measured form alone. The rule's model_sha256 stays that of the measured file, which
    another computer's rounding may not reproduce to the byte."""
    if m.source.sha256 != sha256(default_model()):
        return m
    record = read_record(record_file())
    if record.source_sha256 != m.source.sha256:
        raise ArtifactError(f"{record_file()} is of another model: run tools/default_screening.py")
    form = form_of(m)
    rules = [x.rule for x in record.measured if x.form == form] if m.gate.passed else []
    return replace(m, stain=record.stain, screening=rules[0] if rules else None)


def without_rule(made: Sequence[Artifact]) -> tuple[str, ...]:
    """A note for each artifact of the embedded default that got no rule."""
    return tuple(
        f"{a.manifest.scheme}: no slide rule, as its scores are not those that were measured; "
        "`edge-sdk screen rule` chooses one, before a real camera's slides are screened with it"
        for a in made
        if a.manifest.stain is not None and a.manifest.screening is None
    )
