"""The loop over each camera that waits or runs by itself, and each backend that is here."""

from __future__ import annotations

import gc
import importlib.util
import io
import json
import os
import resource
import runpy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_sdk.artifact import manifest_json
from edge_sdk.camera import Frame
from edge_sdk.camera.base import Source
from edge_sdk.camera.latest import LatestFrames
from edge_sdk.errors import ArtifactError, BackendError, CameraError
from edge_sdk.live import health as health_module
from edge_sdk.live import program, source
from edge_sdk.live.log import Log
from edge_sdk.live.loop import Loop
from edge_sdk.live.outputs import Answer, Callback
from edge_sdk.live.program import run_live
from edge_sdk.live.settings import Settings, parse_roi, read_settings
from edge_sdk.runtime import Classifier, Prediction

UNIT = Path(__file__).parents[1] / "unit" / "test_artifact.py"
SMALL: dict[str, Any] = {"size": [64, 48], "cells": 2, "diameter": 16.0, "fields": 2}
litert = pytest.param("litert", marks=pytest.mark.runtime)


def quiet() -> Log:
    return Log(io.StringIO())


def said(log: Log) -> str:
    return log.stream.getvalue()  # type: ignore[attr-defined,no-any-return]


def given(models: Path, **more: Any) -> Settings:
    data: dict[str, Any] = {
        "model": str(models / "tiny-int8.tflite"), "backend": "fake", "output": "none",
        "camera": "simulated", "camera_options": SMALL,
    }  # fmt: skip
    return read_settings(None, {**data, **more})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (folder := tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("backend", ["fake", litert])
@pytest.mark.parametrize("camera", ["folder", "folder with a rate", "simulated"])
def test_a_camera_gives_the_answers_of_its_files(
    models: Path, photos: Path, camera: str, backend: str
) -> None:
    if backend == "litert" and importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("another interpreter is installed")
    options: dict[str, Any] = {"path": str(photos)}
    if camera != "folder":
        options |= {"rate": 20.0}
    name = camera.split()[0]
    settings = given(
        models,
        camera=name,
        camera_options=SMALL if name == "simulated" else options,
        backend=backend,
        frames=7 if name == "simulated" else None,
    )
    found: list[Answer] = []
    assert run_live(settings, call=found.append, log=quiet()) == len(found)
    assert len(found) == 7 or (camera == "folder with a rate" and 1 <= len(found) <= 7)
    with Classifier(settings.model, backend=backend) as classifier:
        for answer in found:
            again = classifier.classify(answer.frame.pixels).probabilities
            assert np.array_equal(again, answer.prediction.probabilities)


def test_every_picture_of_a_folder_is_answered_in_order(models: Path, photos: Path) -> None:
    settings = given(models, camera="folder", camera_options={"path": str(photos)})
    found: list[Answer] = []
    run_live(settings, call=found.append, log=quiet())
    assert [Path(a.frame.metadata["file"]).name for a in found] == [f"{n}.png" for n in range(7)]


def test_the_part_is_what_is_classified(models: Path) -> None:
    settings = given(models, roi="8,4,32,24", frames=2)
    found: list[Answer] = []
    run_live(settings, call=found.append, log=quiet())
    with Classifier(settings.model, backend="fake") as classifier:
        for answer in found:
            part = answer.frame.pixels[4:28, 8:40]
            expected = classifier.classify(part).probabilities
            assert np.array_equal(answer.prediction.probabilities, expected)
    assert parse_roi("8,4,32,24").cut(found[0].frame.pixels).shape == (24, 32, 3)


def test_a_part_that_reaches_out_of_the_frame_ends_it(models: Path) -> None:
    with pytest.raises(CameraError, match="edge of a frame of 64x48") as error:
        run_live(given(models, roi="40,0,32,32"), log=quiet())
    assert error.value.fault == "format"


def test_once_is_one_answer_of_smooth_frames(models: Path) -> None:
    found: list[Answer] = []
    settings = given(models, once=True, smooth=3)
    assert run_live(settings, call=found.append, log=quiet()) == 3
    (answer,) = found
    assert answer.frame.index == 2
    with Classifier(settings.model, backend="fake") as classifier:
        from edge_sdk.camera import open_camera

        with open_camera("simulated", **settings.camera_options) as camera:
            frames = iter(camera)
            alone = [classifier.classify(next(frames).pixels).probabilities for _ in range(3)]
    assert answer.prediction.probabilities == pytest.approx(np.mean(alone, axis=0), abs=1e-6)


def test_once_answers_from_what_there_is(models: Path, photos: Path) -> None:
    found: list[Answer] = []
    options = {"path": str(photos)}
    settings = given(models, camera="folder", camera_options=options, once=True, smooth=20)
    run_live(settings, call=found.append, log=quiet())
    assert [a.frame.index for a in found] == [6]


def test_answers_keep_their_interval(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Answer] = []
    camera = Scripted((8, 8), (8, 8), 0.5, *[(8, 8)] * 3)
    monkeypatch.setattr(program, "open_frames", lambda _: source.EachFrame(camera))
    run_live(given(models, interval_s=0.1), call=found.append, log=quiet())
    gaps = np.diff([a.frame.taken_s for a in found])
    assert len(gaps) == 4
    assert gaps[1] > 0.5
    assert gaps[2] >= 0.1  # after the slow one it does not hurry
    assert gaps.sum() >= 0.1 + 0.5 + 0.1 + 0.05


def test_health_beside_the_answers(models: Path, tmp_path: Path) -> None:
    settings = given(
        models,
        frames=20,
        state=str(tmp_path / "state"),
        heartbeat=str(tmp_path / "heartbeat.json"),
        save_frames={"folder": str(tmp_path / "frames"), "keep_free_mb": 0},
    )
    log = quiet()
    run_live(settings, log=log)
    beat = json.loads((tmp_path / "heartbeat.json").read_text())
    assert beat["frames"]["classified"] == beat["frames"]["taken"] == beat["frames"]["saved"] == 20
    assert beat["pid"] == os.getpid()
    assert sum(beat["classes"].values()) == 20
    assert len(list((tmp_path / "frames").iterdir())) == 20
    assert "tiny-int8 on fake 1" in said(log)


class Scripted(Source):
    """Frames of their own size, pauses, and errors, in turn."""

    name = "simulated"

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = list(steps)

    def _grab(self) -> tuple[Any, dict[str, Any]] | None:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, float):
                self._closed.wait(step)
            else:
                return np.zeros((*step, 3), np.uint8), {}
        return None


def scripted(monkeypatch: pytest.MonkeyPatch, *cameras: Source | CameraError) -> None:
    """What the program opens, in turn; then the last again."""
    left = list(cameras)

    def opener() -> Source:
        item = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(item, CameraError):
            raise item
        return item

    def frames(settings: Settings) -> LatestFrames:
        return LatestFrames(
            opener, backoff_s=(0.001, 0.004), give_up_s=0.0 if settings.once else None
        )

    monkeypatch.setattr(program, "open_frames", frames)


def test_a_camera_that_vanishes_is_found_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = CameraError("unplugged")
    scripted(monkeypatch, Scripted((8, 8), 0.1, gone), gone, Scripted((8, 8), 0.1, (8, 8), 0.1))
    settings = given(models, heartbeat=str(tmp_path / "beat"))
    assert run_live(settings, log=quiet()) == 3
    counts = json.loads((tmp_path / "beat").read_text())["frames"]
    assert (counts["reconnects"], counts["failures"], counts["classified"]) == (1, 2, 3)


def test_while_a_camera_is_away_the_heart_beats_and_says_so(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = CameraError("unplugged")
    scripted(
        monkeypatch, Scripted((8, 8), 0.1, gone), *[gone] * 300, Scripted((8, 8), 0.1, (8, 8), 0.1)
    )
    monkeypatch.setattr(source, "SLICE_S", 0.05)
    beats: list[Any] = []
    monkeypatch.setattr(program.HeartbeatFile, "write", lambda _, beat: beats.append(beat))
    settings = given(models, heartbeat=str(tmp_path / "beat"), heartbeat_s=0.1)
    log = quiet()
    assert run_live(settings, log=log) == 3
    away = [b for b in beats if b.warnings == (health_module.away_text(gone),)]
    assert len(away) >= 2
    assert away[-1].last_frame_s > away[0].last_frame_s
    assert not beats[-1].warnings
    assert said(log).count("gives no frames and is tried again: unplugged") == 1
    assert said(log).count("the camera gives frames again") == 1


def test_a_camera_that_was_never_there_is_said_but_not_ready(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, CameraError("no such camera", "missing"))
    monkeypatch.setattr(source, "SLICE_S", 0.05)
    ready: list[str] = []
    monkeypatch.setattr(program.Notifier, "ready", lambda _, text: ready.append(text))
    log = quiet()
    with pytest.raises(CameraError, match="no such camera"):
        run_live(given(models, watchdog_s=0.5), log=log)
    assert not ready
    assert said(log).count("gives no frames and is tried again: no such camera") == 1


@pytest.mark.parametrize("fault", ["missing", "busy"])
def test_a_camera_that_is_not_to_be_had_is_a_fault_in_time(
    models: Path, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    scripted(monkeypatch, CameraError("no such camera", fault))
    start = time.monotonic()
    with pytest.raises(CameraError, match=r"no frame from the camera for \d\.\d s.*no such camera"):
        run_live(given(models, watchdog_s=0.5), log=quiet())
    assert time.monotonic() - start < 10
    with pytest.raises(CameraError, match=r"^no such camera"):
        run_live(given(models, watchdog_s=30.0, once=True), log=quiet())


def test_a_camera_that_is_silent_is_a_fault_in_time(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, Scripted((8, 8), 60.0))
    with pytest.raises(CameraError, match="it is open and silent"):
        run_live(given(models, watchdog_s=0.5), log=quiet())


def test_another_size_in_mid_stream_is_classified_too(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, Scripted((8, 8), 0.1, (30, 50), 0.1, (1, 1), 0.1))
    found: list[Answer] = []
    run_live(given(models), call=found.append, log=quiet())
    assert [a.frame.pixels.shape[:2] for a in found] == [(8, 8), (30, 50), (1, 1)]


def test_a_source_that_ends_at_once_is_a_fault(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, Scripted())
    with pytest.raises(CameraError, match="ended without a frame"):
        run_live(given(models), log=quiet())


def test_a_clock_that_jumps_back_changes_nothing_but_the_times(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jump = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600.0 * next(jump))
    found: list[Answer] = []
    settings = given(
        models, frames=30, interval_s=0.01, heartbeat=str(tmp_path / "beat"), smooth=2,
        save_frames={"folder": str(tmp_path / "frames"), "keep_free_mb": 0, "every_s": 0.05},
    )  # fmt: skip
    start = time.monotonic()
    assert run_live(settings, call=found.append, log=quiet()) == 30
    assert 0.25 < time.monotonic() - start < 30
    walls = [a.frame.wall_s for a in found]
    assert walls == sorted(walls, reverse=True)
    assert json.loads((tmp_path / "beat").read_text())["fps"] > 0
    assert 2 <= len(list((tmp_path / "frames").iterdir())) <= 30


def test_a_model_that_was_damaged_is_refused_at_the_start(models: Path, tmp_path: Path) -> None:
    raw = bytearray((models / "tiny-int8.tflite").read_bytes())
    (tmp_path / "model.tflite").write_bytes(raw)
    text = manifest_json(runpy.run_path(str(UNIT))["manifest_of"](tmp_path / "model.tflite"))
    (tmp_path / "manifest.json").write_text(text)
    log = quiet()
    assert run_live(given(models, model=str(tmp_path), frames=1), log=log) == 1
    assert "drift is not watched" in said(log)
    raw[len(raw) // 2] ^= 1
    (tmp_path / "model.tflite").write_bytes(raw)
    with pytest.raises(ArtifactError, match="changed or damaged"):
        run_live(given(models, model=str(tmp_path), frames=1), log=quiet())


def test_an_interpreter_that_fails_ends_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Prediction:
        raise BackendError("the interpreter failed")

    monkeypatch.setattr(Classifier, "classify", fails)
    with pytest.raises(BackendError, match="the interpreter failed"):
        run_live(given(models), log=quiet())


def test_a_stale_frame_is_not_classified() -> None:
    """One that was kept since before a camera vanished, through a long pause."""
    old = Frame(np.zeros((4, 4, 3), np.uint8), 0, time.monotonic() - 100, 0.0)
    new = Frame(np.zeros((4, 4, 3), np.uint8), 1, time.monotonic() + 100, 0.0)

    class Kept:
        def __init__(self) -> None:
            self.left = [old, new]

        def read(self, timeout_s: float | None = None) -> Frame | None:
            del timeout_s
            return self.left.pop(0)

    assert source.fresh(Kept(), 30.0) is new  # type: ignore[arg-type]


def looped(models: Path, sink: Callable[[Answer], object], **more: Any) -> Loop:
    settings = given(models, **more)
    classifier = Classifier(settings.model, backend="fake")
    return Loop(settings, classifier, source.open_frames(settings), [Callback(sink)])


@pytest.mark.parametrize("interval_s", [0.0, 60.0])
def test_stop_ends_it_at_once_from_another_thread(models: Path, interval_s: float) -> None:
    began = threading.Event()
    loop = looped(models, lambda _: began.set(), interval_s=interval_s)
    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(loop.run()))
    thread.start()
    assert began.wait(30)
    loop.stop()
    thread.join(10)
    assert ends == ["stopped"]


def test_reload_ends_a_long_pause(models: Path) -> None:
    began = threading.Event()
    loop = looped(models, lambda _: began.set(), interval_s=3600.0)
    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(loop.run()))
    thread.start()
    assert began.wait(30)
    loop.reload()
    thread.join(10)
    assert ends == ["reload"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.slow
def test_ten_thousand_frames_grow_nothing(models: Path, tmp_path: Path) -> None:
    """Memory after 2,000 frames and after 10,000, with every output that is kept up beside."""
    seen: dict[int, tuple[int, int, int]] = {}

    def look(answer: Answer) -> None:
        if answer.frame.index + 1 in (2000, 10_000):
            gc.collect()
            seen[answer.frame.index + 1] = resident(), descriptors(), threading.active_count()

    settings = given(
        models,
        frames=10_000,
        smooth=5,
        heartbeat=str(tmp_path / "beat"),
        heartbeat_s=0.1,
        state=str(tmp_path),
        prometheus={"port": 0},
        page={"port": 0},
    )
    before = threading.active_count(), descriptors()
    assert run_live(settings, call=look, log=quiet()) == 10_000
    assert (threading.active_count(), descriptors()) == before
    first, last = seen[2000], seen[10_000]
    assert last[1:] == first[1:]
    assert last[0] - first[0] < 1_000_000, f"{(last[0] - first[0]) / 8000:.0f} bytes a frame"
    assert health_module.KEPT < 2000  # what is kept was full before the first look
