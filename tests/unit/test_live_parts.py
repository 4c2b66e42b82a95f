"""The small parts of edge-classify: smoothing, log, systemd's socket, lock, sensors, outputs."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.artifact import Decision
from edge_sdk.camera import Frame
from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.live import sensors
from edge_sdk.live.lock import only_one
from edge_sdk.live.log import WARNING, Log
from edge_sdk.live.notify import Notifier
from edge_sdk.live.outputs import Answer, Lines, StatusLine, time_text
from edge_sdk.live.settings import Settings
from edge_sdk.live.smoothing import Smoother
from edge_sdk.live.supervise import Supervisor
from edge_sdk.runtime import Prediction

LABELS = ("clear", "infected")


def prediction(p: float, called: int | None = None) -> Prediction:
    return Prediction(LABELS, np.array([1 - p, p], np.float32), 1.25, 2.5, called)


def answer(p: float = 0.75, **metadata: Any) -> Answer:
    frame = Frame(np.zeros((4, 6, 3), np.uint8), 7, 100.0, 1_700_000_000.125, metadata)
    return Answer(frame, prediction(p), prediction(p))


def test_smoothing_is_the_mean_of_the_last_frames() -> None:
    smoother = Smoother(3, None)
    found = [smoother.add(prediction(p), t).probabilities[1] for t, p in enumerate((0, 1, 1, 1))]
    assert found == pytest.approx([0, 1 / 2, 2 / 3, 1])
    assert smoother.full


def test_a_gap_starts_the_mean_anew() -> None:
    smoother = Smoother(3, None, gap_s=10.0)
    smoother.add(prediction(0.0), 1.0)
    assert smoother.add(prediction(1.0), 12.0).probabilities[1] == 1.0
    assert not smoother.full


def test_the_models_threshold_calls_by_the_mean() -> None:
    decision = Decision(1.0, 0.4, "infected", "cells", True, 5, 5)
    smoother = Smoother(2, decision)
    assert smoother.add(prediction(0.1, 0), 0.0).label == "clear"
    assert smoother.add(prediction(0.8, 1), 1.0).label == "infected"  # the mean is 0.45
    assert smoother.add(prediction(0.0, 0), 2.0).label == "infected"  # and 0.40


def test_one_frame_is_left_as_it_is() -> None:
    own = prediction(0.3, 1)
    assert Smoother(1, None).add(own, 0.0) is own


def test_a_log_line_is_one_line_with_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    stream = io.StringIO()  # no descriptor: not the journal's
    log = Log(stream)
    log("two\nlines")
    log.warn("careful")
    assert stream.getvalue() == "two lines\nwarning: careful\n"


def test_the_journal_gets_priorities_where_the_stream_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        Log(stream)("hot", WARNING)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        Log(stream)("hot", WARNING)
        stream.seek(0)
        assert stream.read() == "<4>hot\nwarning: hot\n"


def test_a_log_that_nobody_can_read_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    Log(stream)("lost")


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield s


def test_systemd_is_told(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    assert notifier.watchdog_s == 60.0
    assert notifier.ready("well")
    assert notifier.alive()
    assert notifier.reloading()
    assert listener.recv(100) == b"READY=1\nSTATUS=well"
    assert listener.recv(100) == b"WATCHDOG=1"
    assert listener.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"edge-sdk-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert Notifier().stopping()
        assert s.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "5")
    assert not Notifier().alive()
    assert Notifier().watchdog_s is None
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not Notifier().alive()
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert Notifier().watchdog_s is None


def test_a_second_instance_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edge_sdk.live.lock import only_one\n"
        "with only_one(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match="another edge-classify runs"), only_one(tmp_path):
            pass
        p.kill()
    with only_one(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="file/x cannot be used"),
        only_one(tmp_path / "file" / "x"),
    ):
        pass
    with only_one(None):
        pass


def test_the_hottest_zone_counts(tmp_path: Path) -> None:
    for zone, text in enumerate(("41000", "55250", "nonsense")):
        folder = tmp_path / "class" / "thermal" / f"thermal_zone{zone}"
        folder.mkdir(parents=True)
        (folder / "temp").write_text(text + "\n")
    assert sensors.temperature_c(tmp_path) == 55.25
    assert sensors.temperature_c(tmp_path / "none") is None


@pytest.mark.parametrize(("said", "bits"), [("throttled=0x50005", 0x50005), ("error", None)])
def test_the_firmwares_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, bits: int | None
) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert sensors.throttled() == bits
    expected = ("under-voltage", "throttled") if bits else ()
    assert sensors.throttling(bits) == expected


def test_a_folder_that_is_gone_has_no_disk(tmp_path: Path) -> None:
    assert sensors.disk_free(tmp_path / "gone") is None
    assert (sensors.disk_free(tmp_path) or 0) > 0


def lines(output: str, *answers: Answer, **more: Any) -> list[str]:
    stream = io.StringIO()
    settings = Settings("m", camera="simulated", output=output, **more)  # type: ignore[arg-type]
    sink = Lines(settings, Log(io.StringIO()), stream)
    for a in answers:
        sink.write(a)
    return stream.getvalue().splitlines()


def test_a_line_of_text() -> None:
    assert lines("text", answer(), top=2) == [
        "2023-11-14T22:13:20.125Z frame 7: infected 0.750, clear 0.250"
    ]
    assert lines("text", answer(simulated=True), threshold=0.9) == [
        "2023-11-14T22:13:20.125Z frame 7 (simulated): nothing at or above 0.9"
    ]


def test_a_line_of_json() -> None:
    (line,) = lines("json", answer(file="a.png", simulated=True))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.125Z",
        "frame": 7,
        "labels": [{"label": "infected", "probability": 0.75}],
        "invoke_ms": 1.25,
        "total_ms": 2.5,
        "file": "a.png",
        "simulated": True,
    }


def test_lines_of_csv() -> None:
    head, row = lines("csv", answer(file='a,"b".png'))
    assert head == "time,frame,label,probability,invoke_ms,total_ms,file,simulated"
    assert row == '2023-11-14T22:13:20.125Z,7,infected,0.75,1.25,2.5,"a,""b"".png",'


def test_a_disk_that_is_full_behind_standard_output_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        sink = Lines(Settings("m", camera="simulated"), Log(io.StringIO()), full)
        with pytest.raises(EdgeError, match="standard output: No space left"):
            sink.write(answer())
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # or closing it fails, too


def test_a_clock_that_is_nonsense_is_unknown() -> None:
    assert time_text(1e30) == "unknown"
    assert time_text(float("nan")) == "unknown"


def test_the_status_line_is_a_log_line_where_there_is_no_terminal() -> None:
    log = Log(io.StringIO())
    status = StatusLine(log)
    status.show("3 frames/s")
    status.close()
    assert log.stream.getvalue() == "3 frames/s\n"  # type: ignore[attr-defined]
    assert status.every_s == StatusLine.LOG_S


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_status_line_is_written_over() -> None:
    screen = Screen()
    log = Log(screen)
    status = StatusLine(log)
    status.show("3 frames/s")
    log("a note")
    status.close()
    assert screen.getvalue() == "\r\x1b[K3 frames/s\r\x1b[Ka note\n\r\x1b[K"


def test_a_loop_that_hangs_is_ended_and_one_that_gets_on_is_reported(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    hung = threading.Event()
    stream = io.StringIO()
    with Supervisor(
        Notifier(), Log(stream), stop=lambda: None, reload=lambda: None, hung=hung.set
    ) as supervisor:
        supervisor.within(60.0)
        assert listener.recv(100) == b"WATCHDOG=1"
        assert listener.recv(100) == b"WATCHDOG=1"
        assert not hung.is_set()
        supervisor.within(0.1)
        assert hung.wait(10)
    assert "did not get on for 0.1 s" in stream.getvalue()


def test_signals_reach_stop_and_reload() -> None:
    said: list[str] = []
    log = Log(io.StringIO())
    supervisor = Supervisor(
        Notifier(), log, stop=lambda: said.append("stop"), reload=lambda: said.append("reload")
    )
    with supervisor:
        os.kill(os.getpid(), 1)
        os.kill(os.getpid(), 15)
        deadline = time.monotonic() + 10
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said == ["reload", "stop"]
