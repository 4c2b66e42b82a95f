"""A drawn slide in the place of a camera: field after field with known truth, always simulated; and
the slide rule for such slides."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.artifact import Artifact, Decision, SlideRule
from edge_sdk.camera.base import Size, Source
from edge_sdk.errors import UsageError
from edge_sdk.files import write_whole
from edge_sdk.preprocess import Pixels
from edge_sdk.progress import Progress, silent
from edge_sdk.runtime import Classifier, load_model
from edge_sdk.screening.audit import canonical
from edge_sdk.screening.reader import probabilities
from edge_sdk.screening.segment import segment
from edge_sdk.screening.thresholds import choose_rule
from edge_sdk.simulate_field import SimulatedField, draw_field
from edge_sdk.strict import from_plain, to_plain

SIZE: Size = (1280, 960)
CELLS = 120
_PATIENTS, _FIELDS, _INFECTED = 10, 2, 0.2
_FIRST_PATIENT = 5000  # of those that rules are chosen on; slides are of patients below it
_NEAR = 0.5  # of a cell's radius: how far from its drawn centre it may be found


class DrawnSlide(Source):
    """Every field of one slide of one drawn patient.

    parasitaemia: share of infected cells; seed: of the slide; first: number of the field to begin
    with, from 0; fields: after which it ends, None for never; blurred, repeated: share of pictures
    out of focus, or showing the field before, moved a little."""

    name = "simulated"

    def __init__(
        self,
        *,
        parasitaemia: float = 0.01,
        seed: int = 0,
        first: int = 0,
        fields: int | None = None,
        size: Size = SIZE,
        cells: int = CELLS,
        blurred: float = 0.05,
        repeated: float = 0.05,
    ) -> None:
        super().__init__()
        for name, share in (
            ("parasitaemia", parasitaemia), ("blurred", blurred), ("repeated", repeated)
        ):  # fmt: skip
            if not 0 <= share <= 1:
                raise UsageError(f"{name} {share} must be from 0 to 1, a share")
        if not 0 <= seed < 2**31 or first < 0:
            raise UsageError(f"seed {seed} must be from 0 to 2147483647, first {first} at least 0")
        self.size = size
        self.notes = ("simulated: every field is a drawing",)
        self._share, self._seed, self._next, self._cells = parasitaemia, seed, first, cells
        self._end = None if fields is None else first + fields
        self._blurred, self._repeated = blurred, repeated

    def _grab(self) -> tuple[Pixels, dict[str, Any]] | None:
        if self._end is not None and self._next >= self._end:
            return None
        number, self._next = self._next, self._next + 1
        field, pixels = self._draw(number)
        pixels.flags.writeable = False
        return pixels, {"simulated": True, "seed": field.seed, "field": field}

    def _draw(self, number: int) -> tuple[SimulatedField, Pixels]:
        dice = random.Random(f"{self._seed} {number}")
        infected = sum(dice.random() < self._share for _ in range(self._cells))
        fate = dice.random()
        if number and fate < self._repeated:
            field, before = self._draw(number - 1)
            return field, np.roll(before, (dice.randint(2, 20), dice.randint(2, 20)), (0, 1))
        blurred = self._repeated <= fate < self._repeated + self._blurred
        field = draw_field(
            (self._seed * 100_003 + number) % 2**31,
            self._seed % _FIRST_PATIENT,
            self.size,
            cells=self._cells,
            infected=infected / self._cells,
            defocus=4.0 if blurred else 0.0,
        )
        return field, field.pixels


def drawn_rule(artifact: Artifact, kept: Path, progress: Progress = silent) -> SlideRule:
    """A slide rule chosen on drawn fields, which says so: for simulated slides, whatever rule the
    manifest has. Kept in the file `kept` and taken from there the next time."""
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["model_sha256"] == artifact.manifest.sha256:
            return from_plain(SlideRule, found["rule"], str(kept), UsageError)
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        pass  # not there, or of another version: made again
    m = artifact.manifest
    old = m.decision or (m.screening.decision if m.screening else None)
    positive = old.positive if old and old.positive else "Parasitized"
    if positive not in m.labels:
        raise UsageError(
            f"{artifact.path}: which of its labels {', '.join(m.labels)} is the infected one is "
            "not known: store a slide rule in its manifest"
        )
    temperature = old.temperature if old else 1.0
    score: list[float] = []
    truth: list[bool] = []
    patient: list[int] = []
    model = load_model(artifact.path)
    decision = Decision(temperature, 0.5, positive, "drawn fields", True, 0, _PATIENTS)
    with Classifier(replace(model, decision=decision)) as classifier:
        for n in range(_PATIENTS * _FIELDS):
            drawn = draw_field(
                7_000_000 + n, _FIRST_PATIENT + n % _PATIENTS, SIZE, cells=CELLS,
                infected=_INFECTED,
            )  # fmt: skip
            field = segment(drawn.pixels)
            p = probabilities(classifier, drawn.pixels, field, positive)
            for cell, probability in zip(field.counted, p, strict=True):
                known = _truth(drawn, cell.centre)
                if known is not None:
                    score.append(probability)
                    truth.append(known)
                    patient.append(n % _PATIENTS)
            progress("slide rule from drawings", n + 1, _PATIENTS * _FIELDS)
    decision = replace(decision, images=len(score))
    rule = choose_rule(np.array(score), np.array(truth), np.array(patient), decision)
    data = {"model_sha256": m.sha256, "rule": to_plain(rule)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(kept, canonical(data).encode())
    return rule


def _truth(drawn: SimulatedField, centre: tuple[float, float]) -> bool | None:
    """Whether the drawn cell at this place is infected; None where none is."""
    near = min(drawn.cells, key=lambda c: float(np.hypot(c.x - centre[0], c.y - centre[1])))
    if np.hypot(near.x - centre[0], near.y - centre[1]) > _NEAR * near.radius:
        return None
    return near.infected
