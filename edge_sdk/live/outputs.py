"""Where answers go: lines of text, JSON or CSV on standard output, or a function; a status line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from edge_sdk.camera import Frame
from edge_sdk.errors import EdgeError
from edge_sdk.live.log import Log
from edge_sdk.live.settings import Settings
from edge_sdk.runtime import Prediction

CSV_COLUMNS = (
    "time", "frame", "label", "probability", "invoke_ms", "total_ms", "file", "simulated",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Answer:
    """frame: as it came, whole. own: of this frame alone; prediction: smoothed over frames."""

    frame: Frame
    own: Prediction
    prediction: Prediction


class Sink(Protocol):
    def write(self, answer: Answer) -> None: ...


def time_text(wall_s: float) -> str:
    """UTC, to the millisecond, as 2026-05-01T09:30:00.125Z."""
    try:
        found = datetime.fromtimestamp(wall_s, UTC)
    except (OverflowError, OSError, ValueError):  # a clock that was set to nonsense
        return "unknown"
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def found_labels(prediction: Prediction, top: int, threshold: float) -> list[tuple[str, float]]:
    return [(label, p) for label, p in prediction.top(top) if p >= threshold]


def answer_record(answer: Answer, top: int, threshold: float) -> dict[str, Any]:
    """What a line of JSON and an MQTT message say. file: of a replayed picture."""
    frame, p = answer.frame, answer.prediction
    record: dict[str, Any] = {
        "time": time_text(frame.wall_s),
        "frame": frame.index,
        "labels": [
            {"label": label, "probability": round(value, 6)}
            for label, value in found_labels(p, top, threshold)
        ],
        "invoke_ms": round(p.invoke_ms, 3),
        "total_ms": round(p.total_ms, 3),
    }
    if "file" in frame.metadata:
        record["file"] = frame.metadata["file"]
    if frame.metadata.get("simulated"):
        record["simulated"] = True
    return record


def _let_go(stream: TextIO) -> None:
    """What is left in the stream's buffer goes nowhere: at its end Python would try once more,
    fail, and replace the exit code."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Lines:
    """One line an answer, written whole and at once. Raises EdgeError where nobody reads any more
    or the disk behind it is full."""

    def __init__(self, settings: Settings, log: Log, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._log = log
        self._top, self._threshold = settings.top, settings.threshold
        self._format: Callable[[Answer], str] = {
            "text": self._text, "json": self._json, "csv": self._csv,
        }[settings.output]  # fmt: skip
        if settings.output == "csv":
            self._put(_csv_line(CSV_COLUMNS))

    def write(self, answer: Answer) -> None:
        self._put(self._format(answer))

    def _put(self, line: str) -> None:
        if self._log.clear and self._stream.isatty():
            line = self._log.clear + line
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError) as e:
            why = getattr(e, "strerror", None) or e
            _let_go(self._stream)
            raise EdgeError(f"the answers cannot be written to standard output: {why}") from e

    def _text(self, answer: Answer) -> str:
        found = found_labels(answer.prediction, self._top, self._threshold)
        said = ", ".join(f"{label} {p:.3f}" for label, p in found)
        where = answer.frame.metadata.get("file", f"frame {answer.frame.index}")
        mark = " (simulated)" if answer.frame.metadata.get("simulated") else ""
        said = said or f"nothing at or above {self._threshold:g}"
        return f"{time_text(answer.frame.wall_s)} {where}{mark}: {said}"

    def _json(self, answer: Answer) -> str:
        return json.dumps(answer_record(answer, self._top, self._threshold), ensure_ascii=False)

    def _csv(self, answer: Answer) -> str:
        r = answer_record(answer, 1, 0.0)
        best = r["labels"][0]
        return _csv_line(
            (
                r["time"], r["frame"], best["label"], best["probability"], r["invoke_ms"],
                r["total_ms"], r.get("file", ""), "yes" if "simulated" in r else "",
            )
        )  # fmt: skip


class Callback:
    """Hands every answer to a function, in the loop's own thread."""

    def __init__(self, call: Callable[[Answer], object]) -> None:
        self._call = call

    def write(self, answer: Answer) -> None:
        self._call(answer)


def _csv_line(values: tuple[Any, ...]) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="").writerow(values)
    return made.getvalue()


class StatusLine:
    """On a terminal one line that is written over; elsewhere a line of the log each LOG_S."""

    TERMINAL_S = 0.5
    LOG_S = 60.0

    def __init__(self, log: Log) -> None:
        self._log = log
        self._terminal = log.stream.isatty()
        self.every_s = self.TERMINAL_S if self._terminal else self.LOG_S
        log.clear = "\r\x1b[K" if self._terminal else ""

    def show(self, text: str) -> None:
        if not self._terminal:
            self._log(text)
            return
        try:
            self._log.stream.write(f"\r\x1b[K{text}")
            self._log.stream.flush()
        except (OSError, ValueError):
            return

    def close(self) -> None:
        if self._terminal:
            self.show("")
