"""Health over a real mosquitto that comes, goes and refuses."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.errors import UsageError
from edge_sdk.live.log import Log
from edge_sdk.live.mqtt import MqttSink
from edge_sdk.live.program import run_live
from edge_sdk.live.settings import Mqtt, Settings, read_settings

paho = pytest.importorskip("paho.mqtt.client", reason="no paho-mqtt: pip install 'edge-sdk[mqtt]'")
PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/sbin")
needs_broker = pytest.mark.skipif(PROGRAM is None, reason="no mosquitto: apt install mosquitto")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)


@dataclass
class Broker:
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    messages: list[tuple[str, str]] = field(default_factory=list)

    def start(self) -> None:
        config = self.folder / "mosquitto.conf"
        passwords = self.folder / "passwords"
        if not passwords.exists():
            passwords.touch(mode=0o600)
            tool = shutil.which("mosquitto_passwd") or "mosquitto_passwd"
            subprocess.run([tool, "-b", passwords, "device", "secret"], check=True)
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
            "user root\n"
        )
        assert PROGRAM is not None
        self.process = subprocess.Popen(
            [PROGRAM, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def listens() -> bool:
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def of(self, topic: str) -> list[str]:
        return [text for name, text in self.messages if name == topic]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(free_port(), tmp_path)
    made.start()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.username_pw_set("device", "secret")
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda c, *_: c.subscribe("ward/#", qos=1)
    client.on_message = lambda *a: made.messages.append((a[2].topic, a[2].payload.decode()))
    client.connect("127.0.0.1", made.port)
    client.loop_start()
    until(client.is_connected)
    time.sleep(0.2)
    yield made
    client.disconnect()
    client.loop_stop()
    made.stop()


def given(broker: Broker, models: Path, **more: Any) -> Settings:
    (password := broker.folder / "password").write_text("secret\n")
    mqtt = {
        "host": "127.0.0.1", "port": broker.port, "topic": "ward/scope", "answers": True,
        "username": "device", "password_file": str(password),
    }  # fmt: skip
    return read_settings(
        None,
        {
            "model": str(models / "tiny-int8.tflite"), "backend": "fake", "camera": "simulated",
            "camera_options": {"size": [64, 48], "cells": 2, "diameter": 16.0, "rate": 20.0},
            "output": "none", "mqtt": mqtt, "heartbeat_s": 0.2, **more,
        },
    )  # fmt: skip


@needs_broker
def test_a_broker_hears_health_answers_and_the_end(broker: Broker, models: Path) -> None:
    assert run_live(given(broker, models, frames=40), log=Log(io.StringIO())) == 40
    until(lambda: broker.of("ward/scope/online")[-1:] == ["false"])
    assert broker.of("ward/scope/online")[0] == "true"
    beat = json.loads(broker.of("ward/scope/heartbeat")[-1])
    assert beat["model"] == "tiny-int8"
    answer = json.loads(broker.of("ward/scope/answer")[-1])
    assert answer["simulated"] is True
    assert answer["labels"][0]["label"] in ("blank", "ring", "smear")


@needs_broker
def test_a_broker_that_goes_away_is_found_again(broker: Broker, models: Path) -> None:
    settings = given(broker, models)
    assert settings.mqtt is not None
    stream = io.StringIO()
    sink = MqttSink(settings, settings.mqtt, Log(stream))
    try:
        until(lambda: "connected to" in stream.getvalue())
        broker.stop()
        until(lambda: "went away" in stream.getvalue())
        broker.start()
        until(lambda: stream.getvalue().count("connected to") == 2, 60)
    finally:
        sink.close()


@needs_broker
def test_a_wrong_password_is_said_once(broker: Broker, models: Path) -> None:
    settings = given(broker, models)
    (broker.folder / "password").write_text("wrong")
    assert settings.mqtt is not None
    stream = io.StringIO()
    sink = MqttSink(settings, settings.mqtt, Log(stream))
    until(lambda: "the MQTT broker refuses: Not authorized" in stream.getvalue())
    sink.close()


def test_a_broker_that_is_not_there_holds_nothing_up(models: Path) -> None:
    settings = Settings(str(models / "tiny-int8.tflite"), camera="simulated")
    stream = io.StringIO()
    sink = MqttSink(settings, Mqtt("127.0.0.1", free_port()), Log(stream))
    until(lambda: "is not reached" in stream.getvalue())
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 10


def test_a_password_file_that_is_not_there_is_named() -> None:
    settings = Settings("m", camera="simulated")
    with pytest.raises(UsageError, match=r"mqtt\.password_file /none cannot be read"):
        MqttSink(settings, Mqtt("h", username="u", password_file="/none"), Log())
