"""One field of view from its decoded picture to its counted, stored result: time of each stage.

    python benchmarks/field_time.py [--fields 30] [--pictures FOLDER] [--model ARTIFACT]

Drawn fields of 1280x960 with about 120 cells through a real session (`session.capture`): gates,
LiteRT int8 with one thread, SQLite with synchronous=FULL. FOLDER: photographed fields instead.
Times are exclusive, so that the stages add up to the field; a field that a gate kept out is left
out. CPU is this process's own, wall has the disk and the neighbours in it. Then the interpreter
alone, one cell after another beside batches of cells: an interpreter with its input resized must
give the same outputs to the last bit, or this ends with an error.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_sdk import runtime
from edge_sdk.artifact import Artifact, read_artifact
from edge_sdk.camera import Frame, open_camera
from edge_sdk.convert.default import default_artifacts
from edge_sdk.report import table
from edge_sdk.runtime import Classifier
from edge_sdk.screening import reader as readers
from edge_sdk.screening import session as sessions
from edge_sdk.screening.crop import crop_cells
from edge_sdk.screening.drawn_slide import DrawnSlide
from edge_sdk.screening.gates import Gates
from edge_sdk.screening.make_session import NewSession, new_session
from edge_sdk.screening.reader import FieldReader
from edge_sdk.screening.segment import segment
from edge_sdk.screening.store import Store

AIM_MS = 250.0
BATCHES = (1, 2, 4, 8, 16, 32, 64)
STAGES: tuple[tuple[str, Any, str], ...] = (
    ("hash of the pixels", sessions, "pixels_hash"),
    ("segment", FieldReader, "segment"),
    ("gates", Gates, "look"),
    ("crop cells", readers, "crop_cell"),
    ("resize cells", runtime, "fit_image"),
    ("classify cells", Classifier, "classify"),
    ("encode PNG", sessions, "encode_picture"),
    ("write to the store", Store, "add_field"),
)


class Clock:
    """Time of each stage without that of the stages inside it: (CPU, wall) in seconds."""

    def __init__(self) -> None:
        self.spent: dict[str, Any] = {}
        self._inside = [np.zeros(2)]

    @staticmethod
    def now() -> Any:
        return np.array((time.process_time(), time.perf_counter()))

    def timed(self, name: str, function: Any) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self._inside.append(np.zeros(2))
            start = self.now()
            try:
                return function(*arguments, **options)
            finally:
                took = self.now() - start
                self.spent[name] = self.spent.get(name, 0.0) + took - self._inside.pop()
                self._inside[-1] += took

        return call


def photographed(folder: Path) -> Iterator[Frame]:
    with open_camera("folder", path=str(folder)) as camera:
        yield from camera


def measure(artifact: Artifact, frames: Iterator[Frame], count: int, scratch: Path) -> list[Any]:
    """Of each accepted field: (cells, {stage: (CPU, wall)}, whole)."""
    new = NewSession(
        artifact=artifact, operator="benchmark", device="benchmark", camera="simulated",
        target=100_000,
    )  # fmt: skip
    clock, out = Clock(), []
    with (
        Store(new_session(scratch, new), write=True) as store,
        FieldReader(store.settings, backend="litert", threads=1) as reader,
    ):
        gates = Gates()
        sessions.begin(store, reader, "benchmark", gates)
        for name, owner, attribute in STAGES:
            setattr(owner, attribute, clock.timed(name, getattr(owner, attribute)))
        for frame in frames:
            clock.spent = {}
            start = clock.now()
            (step,) = sessions.capture(store, [frame], reader, gates, "benchmark")
            whole = clock.now() - start
            if step.field.accepted:
                out.append((step.field.cells, clock.spent, whole))
            if len(out) == count + 2:
                break
    return out[2:]  # the first ones open files and fill caches


def stages_table(fields: list[Any]) -> str:
    rows = []
    for name in [*(s[0] for s in STAGES), "all"]:
        spent = [f[2] if name == "all" else f[1].get(name, np.zeros(2)) for f in fields]
        cpu, wall = np.array(spent).T * 1e3
        row = [
            f(v) for v in (cpu, wall) for f in (np.median, functools.partial(np.percentile, q=95))
        ]
        rows.append([name, *(f"{v:.1f}" for v in row)])
    return table(["stage", "CPU ms", "p95", "wall ms", "p95"], rows)


def batches(artifact: Artifact, pixels: Any) -> str:
    """The interpreter alone on one field's cells, by the size of a batch."""
    from ai_edge_litert.interpreter import Interpreter

    with Classifier(artifact.path, backend="litert") as classifier:
        spec, encode = classifier.model.preprocess, classifier._encode
        path = str(classifier.model.path)
    cells = encode(crop_cells(pixels, segment(pixels).counted, spec))
    rows, first = [], None
    for size in BATCHES:
        interpreter = Interpreter(model_path=path, num_threads=1)
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, [size, *cells.shape[1:]])
        interpreter.allocate_tensors()
        result = interpreter.get_output_details()[0]["index"]
        padded = np.concatenate(
            [cells, np.zeros((-len(cells) % size, *cells.shape[1:]), cells.dtype)]
        )
        took = []
        for _ in range(15):
            start, parts = time.process_time(), []
            for i in range(0, len(padded), size):
                interpreter.set_tensor(index, padded[i : i + size])
                interpreter.invoke()
                parts.append(interpreter.get_tensor(result))
            took.append((time.process_time() - start) * 1e3)
        found = np.concatenate(parts)[: len(cells)]
        first = found if first is None else first
        if not np.array_equal(found, first):
            raise SystemExit(f"batches of {size} give other outputs than single cells")
        rows.append([str(size), f"{statistics.median(took):.1f}", f"{np.percentile(took, 95):.1f}"])
    return (
        f"{len(cells)} cells through the interpreter alone, outputs the same to the bit\n"
        + table(["batch", "CPU ms", "p95"], rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fields", type=int, default=30)
    parser.add_argument("--pictures", type=Path, help="folder of photographed fields")
    parser.add_argument("--model", type=Path, help="artifact [the embedded malaria model, int8]")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    artifact = read_artifact(options.model) if options.model else default_artifacts()[0]
    frames = (
        photographed(options.pictures) if options.pictures else iter(DrawnSlide(seed=1, cells=145))
    )
    first = next(frames)
    with tempfile.TemporaryDirectory() as scratch:
        fields = measure(artifact, itertools.chain([first], frames), options.fields, Path(scratch))
    size = "x".join(map(str, first.pixels.shape[1::-1]))
    cells = [f[0] for f in fields]
    print(f"{len(fields)} fields of {size}, {min(cells)} to {max(cells)} counted cells, median "
          f"{statistics.median(cells):g}; {artifact.path.name}")  # fmt: skip
    print(stages_table(fields))
    middle = float(np.median([f[2] for f in fields], axis=0)[0] * 1e3)
    print(
        f"median CPU {middle:.0f} ms, aim {AIM_MS:.0f}: {'kept' if middle <= AIM_MS else 'missed'}"
    )
    print(batches(artifact, first.pixels))


if __name__ == "__main__":
    main()
