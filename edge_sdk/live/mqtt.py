"""Heartbeats and answers to an MQTT broker (extra `mqtt`: paho-mqtt)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_sdk.errors import UsageError
from edge_sdk.live.health import Heartbeat, heartbeat_json
from edge_sdk.live.log import Log
from edge_sdk.live.outputs import Answer, answer_record
from edge_sdk.live.settings import Mqtt, Settings

# While the broker is away so many messages wait; older ones are dropped, which is what it is for.
QUEUED = 100
RECONNECT_S = (1, 60)
CLOSE_S = 2.0


class MqttSink:
    """Publishes `TOPIC/heartbeat` and `TOPIC/online` (kept by the broker; it says `false` when this
    process is gone), and with `answers` `TOPIC/answer`. A broker that is away is tried again in a
    thread; nothing here waits for it."""

    def __init__(self, settings: Settings, given: Mqtt, log: Log) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as e:
            raise UsageError(f"MQTT needs paho-mqtt: pip install 'edge-sdk[mqtt]' ({e})") from e
        self._topic, self._log, self._answers = given.topic, log, given.answers
        self._top, self._threshold = settings.top, settings.threshold
        client = Client(CallbackAPIVersion.VERSION2)
        if given.username is not None:
            client.username_pw_set(given.username, _password(given.password_file))
        if given.tls:
            client.tls_set()
        client.max_queued_messages_set(QUEUED)
        client.reconnect_delay_set(*RECONNECT_S)
        client.will_set(f"{self._topic}/online", "false", qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._failed
        self._client = client
        self._away = False
        client.connect_async(given.host, given.port, keepalive=30)
        client.loop_start()

    def write(self, answer: Answer) -> None:
        if self._answers:
            record = answer_record(answer, self._top, self._threshold)
            text = json.dumps(record, ensure_ascii=False)
            self._client.publish(f"{self._topic}/answer", text, qos=0)

    def beat(self, beat: Heartbeat) -> None:
        if self._client.is_connected():  # one that waited would be out of date
            self._client.publish(f"{self._topic}/heartbeat", heartbeat_json(beat), retain=True)

    def close(self) -> None:
        if self._client.is_connected():
            said = self._client.publish(f"{self._topic}/online", "false", qos=1, retain=True)
            said.wait_for_publish(CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        del data, flags, properties
        if code.is_failure:
            self._say(f"the MQTT broker refuses: {code}")
            return
        self._away = False
        self._log("connected to the MQTT broker")
        client.publish(f"{self._topic}/online", "true", qos=1, retain=True)

    def _disconnected(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        del client, data, flags, properties
        if code.is_failure:
            self._say(f"the MQTT broker went away: {code}; it is tried again")

    def _failed(self, client: Any, data: Any) -> None:
        del client, data
        self._say("the MQTT broker is not reached; it is tried again")

    def _say(self, text: str) -> None:
        if not self._away:
            self._log.warn(text)
        self._away = True


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"mqtt.password_file {file} cannot be read: {e}") from e
