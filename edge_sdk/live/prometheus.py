"""A heartbeat in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_sdk.live.health import Heartbeat
from edge_sdk.live.server import LocalServer, Query, Reply, reply
from edge_sdk.live.settings import Prometheus

KIND = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[dict[str, str], float | None]


def serve_metrics(settings: Prometheus, newest: Callable[[], Heartbeat | None]) -> LocalServer:
    def answer(path: str, query: Query) -> Reply:
        del query
        if path != "/metrics":
            return reply(404, "text/plain", b"see /metrics\n")
        beat = newest()
        if beat is None:
            return reply(503, "text/plain", b"no frame was classified yet\n")
        return reply(200, KIND, metrics_text(beat).encode())

    return LocalServer("prometheus", settings.address, settings.port, answer)


def metrics_text(beat: Heartbeat) -> str:
    """What a device does not say is left out, not zero."""
    lines = []
    for name, kind, text, samples in _metrics(beat):
        known = [(labels, value) for labels, value in samples if value is not None]
        if not known:
            continue
        lines += [f"# HELP edge_sdk_{name} {text}", f"# TYPE edge_sdk_{name} {kind}"]
        lines += [f"edge_sdk_{name}{_labels(labels)} {value:.17g}" for labels, value in known]
    return "\n".join(lines) + "\n"


def _metrics(b: Heartbeat) -> Iterator[tuple[str, str, str, list[Sample]]]:
    about = {
        "version": b.edge_sdk, "model": b.model, "model_sha256": b.model_sha256,
        "backend": b.backend, "camera": b.camera,
    }  # fmt: skip
    yield "info", "gauge", "What runs.", [(about, 1)]
    yield "uptime_seconds", "gauge", "Since the classifier began.", [({}, b.uptime_s)]
    yield "frames_per_second", "gauge", "Answers a second, of late.", [({}, b.fps)]
    if b.latency is not None:
        values = {"0.5": b.latency.p50_ms, "0.9": b.latency.p90_ms, "0.99": b.latency.p99_ms}
        samples: list[Sample] = [({"quantile": q}, ms / 1e3) for q, ms in values.items()]
        yield "latency_seconds", "gauge", "From a frame to its answer, of late.", samples
    yield "last_frame_age_seconds", "gauge", "Of the newest frame.", [({}, b.last_frame_s)]
    yield "temperature_celsius", "gauge", "Of the hottest zone.", [({}, b.temperature_c)]
    yield "throttled_bits", "gauge", "The firmware's get_throttled.", [({}, b.throttled)]
    free = None if b.disk_free_mb is None else b.disk_free_mb * 1e6
    yield "disk_free_bytes", "gauge", "Of the watched disk.", [({}, free)]
    f = b.frames
    counts = {
        "taken": f.taken, "dropped": f.dropped, "classified": f.classified, "saved": f.saved,
        "not_saved": f.not_saved,
    }  # fmt: skip
    yield (
        "frames_total",
        "counter",
        "By what became of them.",
        [({"state": state}, n) for state, n in counts.items()],
    )
    yield "camera_reconnects_total", "counter", "After it vanished.", [({}, f.reconnects)]
    yield "camera_failures_total", "counter", "Openings included.", [({}, f.failures)]
    yield (
        "answers_total",
        "counter",
        "By label.",
        [({"label": label}, n) for label, n in b.classes.items()],
    )
    if b.drift is not None:
        yield "input_drift_spreads", "gauge", "Distance to calibration.", [({}, b.drift.distance)]
        drifted = float(bool(b.drift.drifted))
        yield "input_drifted", "gauge", "1: the input differs from calibration.", [({}, drifted)]
    yield "warnings", "gauge", "How many hold now.", [({}, len(b.warnings))]


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
