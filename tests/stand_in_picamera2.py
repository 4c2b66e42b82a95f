"""Stands in for picamera2 and libcamera where they are missing: the calls that edge_sdk makes, a
camera that gives what it is set to give, and nothing of libcamera's own behaviour.

Shapes, names and errors were written down from picamera2 0.3.38."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from enum import Enum
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

STRIDE_PADDING = 32


class AfModeEnum(Enum):
    Manual = 0
    Auto = 1
    Continuous = 2


class ColorSpace:
    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"<libcamera.ColorSpace '{self.name}'>"

    @classmethod
    def Sycc(cls) -> ColorSpace:  # noqa: N802
        return cls("sYCC")


class Request:
    def __init__(self, device: Picamera2, number: int) -> None:
        self.device, self.number = device, number

    def make_buffer(self, name: str) -> Any:
        assert name == "main"
        return self.device.picture(self.number)

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": self.number, **self.device.found}

    def release(self) -> None:
        self.device.held -= 1


class Picamera2:
    """The class's attributes say what the camera gives; a test sets them."""

    cameras: ClassVar[list[dict[str, Any]]] = [{"Model": "stand-in", "Num": 0}]
    gives: ClassVar[str] = "NV12"
    gives_size: ClassVar[tuple[int, int] | None] = None
    gives_colours: ClassVar[str | None] = None
    busy: ClassVar[bool] = False
    silent_after: ClassVar[int | None] = None
    controls_there: ClassVar[tuple[str, ...]] = (
        "AeEnable", "ExposureTime", "AnalogueGain", "AwbEnable", "ColourGains",
        "FrameDurationLimits",
    )  # fmt: skip
    found: ClassVar[dict[str, Any]] = {
        "ExposureTime": 9000, "AnalogueGain": 2.0, "ColourGains": (1.5, 1.75), "AeLocked": True,
    }  # fmt: skip
    opened: ClassVar[list[Picamera2]] = []

    def __init__(self, number: int) -> None:
        self.number = number
        if self.busy:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.camera_controls = dict.fromkeys(self.controls_there, (0, 1, 0))
        self.set: dict[str, Any] = {}
        self.held = self.captured = 0
        self.running = False
        self.cancelled = False
        self.opened.append(self)

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        return cls.cameras

    def _make(self, main: dict[str, Any], colour_space: Any, controls: Any) -> dict[str, Any]:
        self.set.update(controls)
        return {"main": dict(main), "colour_space": colour_space}

    create_video_configuration = create_still_configuration = _make

    def configure(self, asked: dict[str, Any]) -> None:
        if any(side % 2 for side in asked["main"]["size"]):
            raise RuntimeError("width and height should be even")
        width, height = self.gives_size or asked["main"]["size"]
        stride = width * {"RGB888": 3, "BGR888": 3}.get(self.gives, 1) + STRIDE_PADDING
        main = {"size": (width, height), "format": self.gives, "stride": stride}
        colours = ColorSpace(self.gives_colours) if self.gives_colours else asked["colour_space"]
        self.configuration = {"main": main, "colour_space": colours}

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def picture(self, number: int) -> Any:
        """Every pixel R 200, G 100, B 50 in the format that it gives, one grey step a frame."""
        main = self.configuration["main"]
        (width, height), stride = main["size"], main["stride"]
        if main["format"] in ("RGB888", "BGR888"):
            rgb = (50, 100, 200) if main["format"] == "RGB888" else (200, 100, 50)
            lines = np.zeros((height, stride), np.uint8)
            lines[:, : width * 3] = np.tile(np.array(rgb, np.uint8), width)
            return lines.reshape(-1)
        # BT.601, full range: R 200, G 100, B 50.
        lines = np.zeros((height * 3 // 2, stride), np.uint8)
        lines[:height, :width] = 124 + number % 2
        lines[height:, :width:2], lines[height:, 1:width:2] = 86, 182
        return lines.reshape(-1)

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def close(self) -> None:
        assert not self.running, "closed while running"
        assert self.held == 0, "closed with requests held"
        if self in self.opened:
            self.opened.remove(self)

    def set_controls(self, controls: dict[str, Any]) -> None:
        unknown = set(controls) - set(self.camera_controls)
        if unknown:
            raise RuntimeError(f"Control {unknown} is not advertised by libcamera")
        self.set.update(controls)

    def autofocus_cycle(self, wait: bool) -> Future[bool]:
        assert not wait
        done: Future[bool] = Future()
        done.set_result(True)
        return done

    def capture_request(self, wait: bool) -> Future[Request]:
        assert not wait
        done: Future[Request] = Future()
        if self.silent_after is None or self.captured < self.silent_after:
            self.held += 1
            done.set_result(Request(self, self.captured))
            self.captured += 1
        return done

    def wait(self, job: Future[Any], timeout: float) -> Any:
        return job.result(timeout)

    def cancel_all_and_flush(self) -> None:
        self.cancelled = True


def install(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    """Puts the stand-ins where they are imported from; every test gets a class of its own."""
    device = type("Picamera2", (Picamera2,), {"opened": []})
    picamera2, libcamera, controls = map(ModuleType, ("picamera2", "libcamera", "controls"))
    picamera2.Picamera2 = device  # type: ignore[attr-defined]
    controls.AfModeEnum = AfModeEnum  # type: ignore[attr-defined]
    libcamera.controls = controls  # type: ignore[attr-defined]
    libcamera.ColorSpace = ColorSpace  # type: ignore[attr-defined]
    for module in (picamera2, libcamera):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return device
