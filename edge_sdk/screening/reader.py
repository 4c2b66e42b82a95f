"""One field to its counted cells, each with its probability: capture, replay and calibration read
pictures by this alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edge_sdk.artifact import MANIFEST_FILE, SlideRule, read_artifact
from edge_sdk.errors import ArtifactError, DataError, UsageError
from edge_sdk.preprocess import Pixels
from edge_sdk.runtime import Classifier, load_model
from edge_sdk.screening.audit import canonical, text_hash
from edge_sdk.screening.crop import crop_cell
from edge_sdk.screening.segment import Field, segment, smear_fault
from edge_sdk.screening.settings import Settings
from edge_sdk.screening.store import NewCell


@dataclass(frozen=True)
class Reading:
    """cells: counted; flagged: those of them from the threshold on; sha256: of every counted cell's
    box, flags and probability, None where none was read."""

    cells: int
    flagged: tuple[NewCell, ...]
    sha256: str | None


class FieldReader:
    """A session's model, opened; close it, or use `with`. runtime: interpreter and version.

    Raises ArtifactError where the model is no longer the one the session was made with."""

    def __init__(self, settings: Settings, *, backend: str = "auto", threads: int = 1) -> None:
        self._rule = settings.rule
        self._diameter = settings.diameter
        self._classifier = open_classifier(
            settings.model_path, settings.model_sha256, settings.rule, backend, threads
        )
        opened = self._classifier.backend
        self.runtime = f"{opened.name} {opened.version}"

    def segment(self, pixels: Pixels) -> Field:
        """Raises DataError for what is no picture of a thin smear."""
        field = segment(pixels, diameter=self._diameter)
        fault = smear_fault(field)
        if fault is not None:
            raise DataError(fault)
        return field

    def read(self, pixels: Pixels, field: Field) -> Reading:
        """pixels: uint8 (H, W, 3) RGB, field: its cells."""
        positive = str(self._rule.decision.positive)
        all_cells = []
        for cell, probability in zip(
            field.counted, probabilities(self._classifier, pixels, field, positive), strict=True
        ):
            all_cells.append(NewCell(cell.box, tuple(sorted(cell.flags)), probability))
        bound = self._rule.decision.threshold
        assert bound is not None  # a SlideRule has one
        flagged = tuple(c for c in all_cells if c.probability >= bound)
        facts = [[c.box, c.flags, c.probability] for c in all_cells]
        return Reading(len(all_cells), flagged, text_hash(canonical(facts)))

    def close(self) -> None:
        self._classifier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_classifier(
    path: str, sha256: str, rule: SlideRule, backend: str = "auto", threads: int = 1
) -> Classifier:
    """The model with the rule's temperature. Raises ArtifactError where its sha256 is another."""
    folder = Path(path)
    if not (folder / MANIFEST_FILE).is_file():
        raise UsageError(f"model {folder} is no artifact: `edge-sdk convert` makes one")
    found = read_artifact(folder).manifest.sha256
    if found != sha256:
        raise ArtifactError(
            f"{folder} holds another model than the session was made with: sha256 {found}, "
            f"expected {sha256}; give that one back, or make a new session"
        )
    model = replace(load_model(folder), decision=rule.decision)
    return Classifier(model, backend=backend, threads=threads)


def probabilities(
    classifier: Classifier, pixels: Pixels, field: Field, positive: str
) -> list[float]:
    """Of the positive label, for each counted cell in turn."""
    place = classifier.model.labels.index(positive)
    return [
        float(classifier.classify(crop_cell(pixels, cell)).probabilities[place])
        for cell in field.counted
    ]


def pixels_hash(pixels: Pixels) -> str:
    """The SHA-256 of a picture's size and pixels."""
    found = hashlib.sha256(repr(pixels.shape).encode())
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()
