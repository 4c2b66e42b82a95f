"""Heartbeats, metrics, saved frames, the live page: what comes beside the answers."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_live_parts import answer

from edge_sdk.camera.latest import Counts
from edge_sdk.errors import UsageError
from edge_sdk.live import frames as frames_module
from edge_sdk.live import health as health_module
from edge_sdk.live.frames import FrameSaver
from edge_sdk.live.health import Health, HeartbeatFile
from edge_sdk.live.log import Log
from edge_sdk.live.page import LivePage
from edge_sdk.live.prometheus import metrics_text, serve_metrics
from edge_sdk.live.settings import Page, Prometheus, SaveFrames, Settings
from edge_sdk.runtime import Classifier

COUNTS = Counts(taken=5, dropped=2, reconnects=1, failures=3)


@pytest.fixture
def health(models: Path) -> Iterator[Health]:
    with Classifier(models / "tiny-int8.tflite", backend="fake") as classifier:
        yield Health(classifier, "simulated", Path("/"), None)


def test_a_heartbeat_says_how_it_is(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module.sensors, "throttled", lambda: 0x50004)
    monkeypatch.setattr(health_module.sensors, "temperature_c", lambda: 51.5)
    for p in (0.1, 0.9, 0.8):
        health.add(answer(p))
    beat = health.beat(COUNTS, 2, 1)
    assert beat.frames.classified == 3
    assert (beat.frames.dropped, beat.frames.reconnects, beat.frames.saved) == (2, 1, 2)
    assert beat.classes == {"blank": 0, "ring": 0, "smear": 0, "clear": 1, "infected": 2}
    assert beat.latency is not None
    assert beat.latency.p50_ms == 2.5
    assert beat.throttling == ("throttled",)
    assert beat.warnings == (
        "the firmware reports throttled",
        "1 frames were not saved: the disk is full or fails",
    )
    assert len(beat.model_sha256) == 64
    assert "52 C, 3 classified, 2 dropped, 1 reconnects" in health.line(COUNTS)


def test_the_rate_is_that_of_the_last_seconds(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(health_module.time, "monotonic", lambda: now)
    for step in range(200):  # 5 a second, for 40 s
        now = health._began_s + step / 5
        health.add(answer())
    assert health.fps() == pytest.approx(5, rel=0.05)
    now += 60
    assert health.fps() == 0


def test_a_clock_that_goes_back_changes_the_time_only(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.add(answer())
    before = health.beat(COUNTS, 0, 0)
    monkeypatch.setattr(health_module.time, "time", lambda: 1000.0)
    after = health.beat(COUNTS, 0, 0)
    assert after.time == "1970-01-01T00:16:40.000Z"
    assert after.uptime_s >= before.uptime_s
    assert after.fps > 0


def test_the_heartbeat_file_is_whole_and_survives_a_full_disk(
    health: Health, tmp_path: Path
) -> None:
    stream = io.StringIO()
    file = tmp_path / "run" / "heartbeat.json"
    writer = HeartbeatFile(file, Log(stream))
    beat = health.beat(COUNTS, 0, 0)
    writer.write(beat)
    writer.write(beat)
    assert stream.getvalue().count("warning: heartbeat: cannot write") == 1
    file.parent.mkdir()
    writer.write(beat)
    assert "is written again" in stream.getvalue()
    assert json.loads(file.read_text())["frames"]["taken"] == 5
    assert [p.name for p in file.parent.iterdir()] == ["heartbeat.json"]


def test_metrics_are_prometheus_text(health: Health) -> None:
    health.add(answer())
    text = metrics_text(health.beat(COUNTS, 0, 0))
    assert text.endswith("\n")
    assert 'edge_sdk_answers_total{label="infected"} 1\n' in text
    assert 'edge_sdk_frames_total{state="dropped"} 2\n' in text
    assert 'edge_sdk_latency_seconds{quantile="0.99"} 0.0025' in text
    assert "edge_sdk_input_drift" not in text  # not known: left out
    seen: set[str] = set()
    for line in text.splitlines():
        name = line.split()[2] if line[0] == "#" else line.split("{")[0].split()[0]
        assert name.startswith("edge_sdk_")
        assert line[0] == "#" or name in seen
        seen.add(name)


def test_a_label_of_any_kind_stays_in_its_quotes(health: Health) -> None:
    health._classes['a"b\\c\nd'] = 1
    text = metrics_text(health.beat(COUNTS, 0, 0))
    assert 'label="a\\"b\\\\c\\nd"} 1' in text


def get(address: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=10) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def test_metrics_are_served_on_loopback(health: Health) -> None:
    beats: list[Any] = [None]
    server = serve_metrics(Prometheus(0), lambda: beats[0])
    try:
        base = f"http://127.0.0.1:{server.port}"
        assert get(base + "/metrics")[0] == 503
        beats[0] = health.beat(COUNTS, 0, 0)
        status, body = get(base + "/metrics")
        assert status == 200
        assert b"edge_sdk_frames_per_second" in body
        assert get(base + "/")[0] == 404
        with pytest.raises(UsageError, match=r"prometheus: 127.0.0.1:.* cannot be had"):
            serve_metrics(Prometheus(server.port), lambda: None)
    finally:
        server.close()


def test_the_page_shows_the_newest_frame_to_who_has_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    settings = Settings("m", camera="simulated", roi="0%,0%,50%,100%")
    log = io.StringIO()
    page = LivePage(settings, Page(0, token_file=str(token)), Log(log))
    try:
        base, key = f"http://127.0.0.1:{page.port}", "?token=0123456789abcdef"
        for path in ("/", "/state.json", "/frame.jpg", "/?token=", "/?token=0123456789abcdeX"):
            assert get(base + path)[0] == 403
        assert get(base + "/frame.jpg" + key)[0] == 404
        assert b"waiting for an answer" in get(base + "/" + key)[1]
        assert json.loads(get(base + "/state.json" + key)[1])["answer"] is None
        page.write(answer(simulated=True))
        state = json.loads(get(base + "/state.json" + key)[1])
        assert state["answer"]["labels"][0] == {"label": "infected", "probability": 0.75}
        assert state["answer"]["simulated"] is True
        assert state["roi"] == [0, 0, 50, 100]
        with Image.open(io.BytesIO(get(base + "/frame.jpg" + key)[1])) as image:
            assert (image.format, image.size) == ("JPEG", (6, 4))
    finally:
        page.close()
    assert "0123456789abcdef" not in log.getvalue()


def test_without_a_token_file_a_new_token_is_logged() -> None:
    tokens = set()
    for _ in range(2):
        log = io.StringIO()
        page = LivePage(Settings("m", camera="simulated"), Page(0), Log(log))
        address = log.getvalue().strip().removeprefix("live page: ")
        assert get(address)[0] == 200
        tokens.add(address.partition("token=")[2])
        page.close()
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize("text", ["short", "with space in it!", "é" * 20, ""])
def test_a_weak_token_is_refused(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "token").write_text(text)
    with pytest.raises(UsageError, match="must be 16 to 200"):
        LivePage(Settings("m", camera="simulated"), Page(0, token_file=str(file)), Log())


def saver(folder: Path, **more: Any) -> tuple[FrameSaver, io.StringIO]:
    stream = io.StringIO()
    return FrameSaver(SaveFrames(str(folder), **more), Log(stream)), stream


def test_frames_are_saved_as_they_came(tmp_path: Path) -> None:
    sink, _ = saver(tmp_path / "new" / "frames", keep_free_mb=0)
    shown = answer()
    shown.frame.pixels[:] = np.random.default_rng(0).integers(0, 256, shown.frame.pixels.shape)
    sink.write(shown)
    sink.write(shown)  # of the same moment: the clock went back, or stands
    names = sorted(p.name for p in (tmp_path / "new" / "frames").iterdir())
    assert names == [
        "20231114T221320.125Z-00000007-infected-2.png",
        "20231114T221320.125Z-00000007-infected.png",
    ]
    with Image.open(tmp_path / "new" / "frames" / names[1]) as image:
        assert np.array_equal(np.asarray(image), shown.frame.pixels)
    assert (sink.saved, sink.not_saved) == (2, 0)


def test_a_label_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    sink, _ = saver(tmp_path / "frames", keep_free_mb=0, format="jpeg")
    shown = answer()
    object.__setattr__(shown.prediction, "labels", ("clear", "../../x/y"))
    sink.write(shown)
    (name,) = (p.name for p in (tmp_path / "frames").iterdir())
    assert name.endswith("-.._.._x_y.jpg")
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


def test_saving_has_a_pace_by_the_monotonic_clock(tmp_path: Path) -> None:
    sink, _ = saver(tmp_path, keep_free_mb=0, every_s=10.0)
    shown = answer()
    for taken_s in (100.0, 105.0, 110.0, 119.9):
        object.__setattr__(shown.frame, "taken_s", taken_s)
        sink.write(shown)
    assert sink.saved == 2


def test_the_card_is_never_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 100_000_000
    monkeypatch.setattr(frames_module, "disk_free", lambda _: free)
    sink, stream = saver(tmp_path, keep_free_mb=100)
    for free in (100_000_000, 99_999_999, 105_000_000, 110_000_000):  # noqa: B007
        sink.write(answer())
    assert (sink.saved, sink.not_saved) == (2, 2)
    assert stream.getvalue().count("no frames are saved until there is more") == 1
    assert stream.getvalue().count("frames are saved again") == 1


def test_an_error_of_the_disk_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, stream = saver(tmp_path / "frames", keep_free_mb=0)
    monkeypatch.setattr(frames_module, "disk_free", lambda _: 10**9)
    (tmp_path / "frames").rmdir()
    for _ in range(3):
        sink.write(answer())
    assert (sink.saved, sink.not_saved) == (0, 3)
    assert stream.getvalue().count("warning: a frame was not saved") == 1


def test_leftovers_of_a_power_cut_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.png.partial").write_bytes(b"half")
    (tmp_path / "a.png").write_bytes(b"whole")
    saver(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_for_frames_that_cannot_be_is_named(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--save-frames .*file/frames cannot be used"):
        saver(file / "frames")
