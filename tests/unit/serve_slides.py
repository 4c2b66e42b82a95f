"""Slides served to tests: drawn ones, a backend that makes its answers up, and a browser."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from screening_sessions import keep_rule, slide_model
from starlette.testclient import TestClient

from edge_sdk.artifact import read_artifact
from edge_sdk.serve.access import Door
from edge_sdk.serve.app import create_app
from edge_sdk.serve.settings import ServeSettings, host_names
from edge_sdk.serve.work import Work

TOKEN = "a-token-of-the-tests"
BASE = "http://localhost:8080"
DRAWN = {"blurred": 0.0, "repeated": 0.0, "cells": 60, "size": (640, 480)}


def serve_settings(models: Path, root: Path, **changes: Any) -> ServeSettings:
    model = slide_model(models, root / "model")
    keep_rule(root / "slides", model, threshold=0.7)  # some flags in a few dozen cells
    made = ServeSettings(
        sessions=root / "slides",
        artifact=read_artifact(model),
        token=TOKEN,
        camera="simulated",
        camera_options=DRAWN,
        backend="fake",
        names=host_names("127.0.0.1"),
    )
    return replace(made, **changes)


def body(**changes: Any) -> dict[str, Any]:
    """Of a new slide."""
    return {
        "operator": "op-1",
        "camera": "simulated",
        "camera_options": {"seed": 5},
        "target": 100,
        "request": str(uuid.uuid4()),
        **changes,
    }


def until(found: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first answer that is true."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return answer


class Browser:
    """A client with a visit, as the pages' scripts are."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.client = TestClient(
            create_app(work, Door(work.settings.token)), base_url=BASE, follow_redirects=False
        )
        self.csrf = ""

    def enter(self) -> None:
        assert self.client.get(f"/enter?token={TOKEN}").status_code == 303
        found = re.search(r'name="csrf" content="([^"]+)"', self.client.get("/").text)
        assert found is not None
        self.csrf = found[1]

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)

    def post(self, path: str, data: Any, **headers: str | None) -> Any:
        """headers: instead of those that a page sends; None for without."""
        sent = {"Origin": BASE, "X-CSRF": self.csrf} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        kept = {k: v for k, v in sent.items() if v is not None}
        return self.client.post(path, json=data, headers=kept)

    def new(self, **changes: Any) -> str:
        answer = self.post("/api/slides", body(**changes))
        assert answer.status_code == 201, answer.text
        slide: str = answer.json()["id"]
        assert self.get(f"/slide/{slide}").status_code == 200
        return slide

    def state(self, slide: str) -> dict[str, Any]:
        answer = self.get(f"/api/slide/{slide}/state")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def live(self, slide: str) -> dict[str, Any]:
        """The picture on the screen, once there is one."""
        found: dict[str, Any] = until(lambda: self.state(slide)["live"])
        return found

    def count(self, slide: str) -> dict[str, Any]:
        """Takes pictures until the target is reached."""
        for _ in range(30):
            if (state := self.state(slide))["ready_to_finish"]:
                return state
            number = self.live(slide)["number"]
            assert self.post(f"/api/slide/{slide}/take", {"number": number}).status_code == 200
        raise AssertionError("no end of fields")
