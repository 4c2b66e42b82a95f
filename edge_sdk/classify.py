"""Images, folders and globs through a Classifier, one at a time; lines of text or JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from edge_sdk.artifact import Decision
from edge_sdk.dataset import IMAGE_SUFFIXES, check_unreadable, open_image
from edge_sdk.errors import DataError
from edge_sdk.runtime import Classifier, Prediction


def find_images(sources: Sequence[str]) -> list[Path]:
    """Files as they are, folders walked through, globs expanded; in the order given.

    Raises DataError for a source that is not there or holds no image."""
    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_file():
            found.append(path)
            continue
        if path.is_dir():
            images = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            hits = sorted(p for p in images if p.is_file())
        else:
            hits = sorted(p for p in map(Path, glob(source, recursive=True)) if p.is_file())  # noqa: PTH207
        if not hits:
            raise DataError(
                f"source '{source}' is no image, no folder with images and no glob that matches any"
            )
        found += hits
    return found


class ClassifyRun:
    """Iterates (path, prediction) over the images of `sources`; `summary()` afterwards.

    An unreadable image is skipped, counted and named. Raises DataError at the end of the run when
    more than a tenth was unreadable."""

    def __init__(self, classifier: Classifier, sources: Sequence[str]) -> None:
        self._classifier = classifier
        self._paths = find_images(sources)
        self._unreadable: list[Path] = []
        self._done = 0
        self._seconds = 0.0
        self._invoke_ms = 0.0

    def __iter__(self) -> Iterator[tuple[Path, Prediction]]:
        start = time.perf_counter()
        for path in self._paths:
            try:
                image = open_image(path)
            except DataError:
                self._unreadable.append(path)
                continue
            prediction = self._classifier.classify(image)
            self._done += 1
            self._invoke_ms += prediction.invoke_ms
            yield path, prediction
        self._seconds = time.perf_counter() - start
        check_unreadable(self._unreadable, len(self._paths))

    def summary(self) -> str:
        """Images, images per second and the interpreter's share: measured in this run."""
        text = (
            f"{self._done} images in {self._seconds:.2f} s: "
            f"{self._done / max(self._seconds, 1e-9):.0f} images/s with decoding, "
            f"{self._invoke_ms / max(self._done, 1):.2f} ms an image in the interpreter (measured)"
        )
        if self._unreadable:
            names = ", ".join(map(str, self._unreadable[:5]))
            more = ", ..." if len(self._unreadable) > 5 else ""
            text += f"; {len(self._unreadable)} unreadable and skipped: {names}{more}"
        return text


def json_line(path: Path, prediction: Prediction, top: int, threshold: float) -> str:
    labels = [
        {"label": label, "probability": round(p, 6)}
        for label, p in prediction.top(top)
        if p >= threshold
    ]
    return json.dumps(
        {
            "file": str(path),
            "labels": labels,
            "invoke_ms": round(prediction.invoke_ms, 3),
            "total_ms": round(prediction.total_ms, 3),
        },
        ensure_ascii=False,
    )


def text_line(path: Path, prediction: Prediction, top: int, threshold: float) -> str:
    found = [f"{label} {p:.3f}" for label, p in prediction.top(top) if p >= threshold]
    return f"{path}: {', '.join(found) or f'nothing at or above {threshold:g}'}"


def decision_line(d: Decision) -> str:
    """What is done to the probabilities, and what that was fitted on."""
    called = "" if d.threshold is None else f", {d.positive} from {d.threshold:.4g} on"
    fitted = f"{d.images} {'simulated ' if d.simulated else ''}images of {d.data}"
    return f"decision: temperature {d.temperature:.4g}{called} (fitted on {fitted})"
