"""Sessions for tests: tiny made-up pictures, a reader without a model, gates without OpenCV."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from screening_records import rule
from test_artifact import manifest_of

from edge_sdk.artifact import manifest_json, read_artifact
from edge_sdk.camera import Frame
from edge_sdk.preprocess import Pixels
from edge_sdk.screening.audit import canonical, text_hash
from edge_sdk.screening.gates import GateResult, Gates, Look
from edge_sdk.screening.reader import Reading
from edge_sdk.screening.segment import Field
from edge_sdk.screening.session import begin, capture, finish
from edge_sdk.screening.settings import Settings
from edge_sdk.screening.site import BlankSlide, calibrate_site
from edge_sdk.screening.slide import red_cells
from edge_sdk.screening.store import NewCell, Store, create
from edge_sdk.strict import to_plain

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
CELLS = 120


def settings(session: str = "7K3M-Q2FX", target: int = 600, **changes: object) -> Settings:
    slides = [BlankSlide(f"S{i}", 2 + i, 2000) for i in range(3)]
    made = Settings(
        session=session,
        app_version="0.1.0",
        created=START.isoformat(timespec="milliseconds"),
        operator="op-1",
        device="scope-1",
        language="en",
        model="stub-int8",
        model_path="/nowhere",
        model_sha256="ab" * 32,
        rule=rule(),
        site=calibrate_site("clinic", START.isoformat(), slides, "ab" * 32, rule()),
        blood=red_cells(),
        target=target,
        diameter=None,
        camera="simulated",
        camera_options="{}",
        simulated=True,
        drawn_parasitaemia=0.01,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def keep_rule(sessions: Path, model: Path, threshold: float = 0.91) -> None:
    """A rule for drawn slides where it is looked for first: choosing one needs an interpreter."""
    sha256 = read_artifact(model).manifest.sha256
    sessions.mkdir(parents=True, exist_ok=True)
    made = rule()
    decision = dataclasses.replace(made.decision, positive="ring", threshold=threshold)
    made = dataclasses.replace(made, decision=decision)
    kept = sessions / f".drawn-rule-{sha256[:12]}.json"
    kept.write_text(canonical({"model_sha256": sha256, "rule": to_plain(made)}))


class Clock:
    """A second later each time it is asked; `now` may be set, as a clock's may."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class StubReader:
    """Counts CELLS in each picture; as many are flagged as its first pixel's red says."""

    runtime = "stub 1"
    shift = 0.0

    def segment(self, pixels: Pixels) -> Pixels:
        return pixels

    def read(self, pixels: Pixels, field: Pixels) -> Reading:
        del field
        flagged = tuple(
            NewCell((i % 3, i % 2, 4, 4), ("clump",), 0.95 + i / 1000 + self.shift)
            for i in range(int(pixels[0, 0, 0]))
        )
        seen = text_hash(canonical([pixels.tolist(), self.shift]))
        return Reading(CELLS, flagged, seen)


class StubGates(Gates):
    """Rejects a picture whose first pixel's green is 255."""

    def look(self, pixels: Pixels, found: Field) -> Look:
        del found
        bad = int(pixels[0, 0, 1]) == 255
        figure = float(pixels[0, 0, 2])
        todo = "Focus." if bad else ""
        said = GateResult("focus", "fail" if bad else "pass", figure, ">= 0", todo)
        return Look((said,), max(self.sharpest, figure), np.zeros((1, 1), np.complex64))

    def recall(self, sharpest: float, taken: Pixels | None) -> None:
        del taken
        self.sharpest = sharpest


def picture(number: int, *, bad: bool = False) -> Pixels:
    pixels = np.full((6, 8, 3), number % 200, np.uint8)
    pixels[0, 0] = (number % 3, 255 if bad else 0, number % 251)
    return pixels


def frames(first: int = 0, bad: tuple[int, ...] = (2,)) -> Iterator[Frame]:
    for i in range(first, first + 1000):
        yield Frame(picture(i, bad=i in bad), i, float(i), float(i))


def made(root: Path, **changes: object) -> Path:
    new = settings(**changes)  # type: ignore[arg-type]
    create(root / new.session, new)
    return root / new.session


def run_through(folder: Path, *, end: bool = True, at_most: int | None = None) -> None:
    """Captures until the target, or so many pictures, as after any interruption."""
    with Store(folder, write=True, clock=Clock()) as store:
        if store.state in ("new", "capturing"):
            reader, gates = StubReader(), StubGates()
            begin(store, reader, "op-1", gates)  # type: ignore[arg-type]
            steps = capture(store, frames(), reader, gates, "op-1")  # type: ignore[arg-type]
            for n, _ in enumerate(steps, 1):
                if n == at_most:
                    return
            if end:
                finish(store, "op-1")


def slide_model(models: Path, folder: Path) -> Path:
    """An artifact with a slide rule; the fake backend's answers flag about a cell of 100."""
    folder.mkdir()
    (folder / "model.tflite").write_bytes((models / "tiny-int8.tflite").read_bytes())
    made_up = rule()
    made_up = dataclasses.replace(
        made_up, decision=dataclasses.replace(made_up.decision, positive="ring")
    )
    manifest = dataclasses.replace(manifest_of(folder / "model.tflite"), screening=made_up)
    (folder / "manifest.json").write_text(manifest_json(manifest))
    return folder
