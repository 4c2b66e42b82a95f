"""How the loop is doing, and the heartbeat file that says so."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edge_sdk
from edge_sdk.camera.latest import Counts
from edge_sdk.errors import EdgeError
from edge_sdk.files import sha256, write_whole
from edge_sdk.live import sensors
from edge_sdk.live.drift import Drift, DriftWatch
from edge_sdk.live.log import Log
from edge_sdk.live.outputs import Answer, time_text
from edge_sdk.runtime import Classifier
from edge_sdk.strict import to_plain

# Of so many frames the latency is kept, and of so many seconds the frame rate.
KEPT, RATE_S = 1000, 10.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a frame to its answer, over the last KEPT frames."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class FrameCounts:
    """taken, dropped, reconnects, failures: see camera.latest.Counts. saved, not_saved: frames to
    disk, and those that the disk guard or an error kept from it."""

    taken: int
    dropped: int
    reconnects: int
    failures: int
    classified: int
    saved: int
    not_saved: int


@dataclass(frozen=True)
class Heartbeat:
    """time: UTC by the wall clock, which may be wrong on a device without a network. uptime_s: of
    this process. last_frame_s: since the newest frame that was classified was taken. classes:
    answers by label since the start. drift: None without statistics in the manifest, or too few
    pictures yet. warnings: what a person should look at."""

    time: str
    uptime_s: float
    pid: int
    edge_sdk: str
    model: str
    model_sha256: str
    backend: str
    camera: str
    fps: float
    latency: Latency | None
    last_frame_s: float | None
    temperature_c: float | None
    throttled: int | None
    throttling: tuple[str, ...]
    disk_free_mb: int | None
    frames: FrameCounts
    classes: dict[str, int]
    drift: Drift | None
    warnings: tuple[str, ...]


class Health:
    """Gathers what a heartbeat says. disk: the folder whose disk is watched."""

    def __init__(
        self, classifier: Classifier, camera: str, disk: Path, drift: DriftWatch | None
    ) -> None:
        model, backend = classifier.model, classifier.backend
        self._model = model.name
        self._sha256 = sha256(model.path) if model.path.is_file() else ""
        self._backend = f"{backend.name} {backend.version}"
        self._camera, self._disk, self.drift = camera, disk, drift
        self._began_s = time.monotonic()
        self._taken_s: float | None = None
        self._times: deque[float] = deque(maxlen=KEPT)
        self._latency: deque[float] = deque(maxlen=KEPT)
        self._classes: Counter[str] = Counter(dict.fromkeys(model.labels, 0))
        self._classified = 0

    def add(self, answer: Answer) -> None:
        self._times.append(time.monotonic())
        self._latency.append(answer.own.total_ms)
        self._classes[answer.prediction.label] += 1
        self._classified += 1
        self._taken_s = answer.frame.taken_s

    def fps(self) -> float:
        """Answers a second over the last RATE_S seconds, or over the last KEPT answers where these
        are fewer."""
        now = time.monotonic()
        recent = [t for t in self._times if now - t <= RATE_S]
        if len(recent) == len(self._times) == KEPT:
            return (KEPT - 1) / max(now - recent[0], 1e-9)
        return len(recent) / max(min(now - self._began_s, RATE_S), 1e-9)

    def line(self, counts: Counts) -> str:
        """The status line."""
        parts = [f"{self.fps():.1f} frames/s"]
        if self._latency:
            parts.append(f"{np.median(self._latency):.1f} ms a frame")
        heat = sensors.temperature_c()
        parts.append("temperature unknown" if heat is None else f"{heat:.0f} C")
        parts.append(f"{self._classified} classified, {counts.dropped} dropped")
        if counts.reconnects:
            parts.append(f"{counts.reconnects} reconnects")
        return ", ".join(parts)

    def beat(
        self, counts: Counts, saved: int, not_saved: int, trouble: EdgeError | None = None
    ) -> Heartbeat:
        """trouble: of the camera, while it gives no frames."""
        now, bits = time.monotonic(), sensors.throttled()
        latency = None
        if self._latency:
            p50, p90, p99 = np.percentile(self._latency, (50, 90, 99)).round(3).tolist()
            latency = Latency(p50, p90, p99)
        free = sensors.disk_free(self._disk)
        drift = self.drift.state() if self.drift is not None else None
        now_so = sensors.throttling(bits)
        warnings = [f"the firmware reports {text}" for text in now_so]
        if trouble is not None:
            warnings.append(away_text(trouble))
        if drift is not None and drift.drifted:
            warnings.append(drift_text(drift))
        if not_saved:
            warnings.append(f"{not_saved} frames were not saved: the disk is full or fails")
        return Heartbeat(
            time=time_text(time.time()),
            uptime_s=round(now - self._began_s, 1),
            pid=os.getpid(),
            edge_sdk=edge_sdk.__version__,
            model=self._model,
            model_sha256=self._sha256,
            backend=self._backend,
            camera=self._camera,
            fps=round(self.fps(), 2),
            latency=latency,
            last_frame_s=None if self._taken_s is None else round(now - self._taken_s, 3),
            temperature_c=sensors.temperature_c(),
            throttled=bits,
            throttling=now_so,
            disk_free_mb=None if free is None else free // 1_000_000,
            frames=FrameCounts(
                counts.taken, counts.dropped, counts.reconnects, counts.failures,
                self._classified, saved, not_saved,
            ),
            classes=dict(self._classes),
            drift=drift,
            warnings=tuple(warnings),
        )  # fmt: skip


def away_text(trouble: EdgeError) -> str:
    return f"the camera gives no frames and is tried again: {trouble}"


def drift_text(drift: Drift) -> str:
    return (
        f"the input differs from the calibration images ({', '.join(drift.drifted)}): has the "
        "stain, the light or the camera changed?"
    )


def heartbeat_json(beat: Heartbeat) -> str:
    return json.dumps(to_plain(beat), ensure_ascii=False)


class HeartbeatFile:
    """A file that has a whole heartbeat at any moment. One that cannot be written is a warning
    once, and is tried again: a full disk must not end the classifier."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path, self._log = path, log
        self._failing = False

    def write(self, beat: Heartbeat) -> None:
        try:
            write_whole(self._path, (heartbeat_json(beat) + "\n").encode())
        except EdgeError as e:
            if not self._failing:
                self._log.warn(f"heartbeat: {e}")
            self._failing = True
            return
        if self._failing:
            self._log(f"heartbeat: {self._path} is written again")
        self._failing = False
