"""What `edge-classify` is told: a TOML file, strictly read, and options that overrule it."""

from __future__ import annotations

import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edge_sdk.camera import CAMERAS, camera_class, camera_options
from edge_sdk.errors import CameraError, UsageError, unknown_name
from edge_sdk.preprocess import Pixels
from edge_sdk.strict import from_plain

Output = Literal["text", "json", "csv", "none"]
LOOPBACK = "127.0.0.1"
_ROI = re.compile(r"(\d{1,6})(%?),(\d{1,6})(%?),(\d{1,6})(%?),(\d{1,6})(%?)")
# Longer than this is no pause between two frames but a mistake in the unit.
LONGEST_S = 86_400.0


@dataclass(frozen=True)
class Roi:
    """The part of a frame that is classified. x, y: of its upper left corner; in pixels, or in
    percent of the frame."""

    x: int
    y: int
    width: int
    height: int
    percent: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.x < 0 or self.y < 0:
            raise UsageError(f"roi {self}: width and height must be at least 1, x and y 0")
        if self.percent and (self.x + self.width > 100 or self.y + self.height > 100):
            raise UsageError(f"roi {self} reaches over the frame's edge: 100% is all there is")

    def __str__(self) -> str:
        sign = "%" if self.percent else ""
        return ",".join(f"{n}{sign}" for n in (self.x, self.y, self.width, self.height))

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in pixels of a frame of that size, never empty.

        Raises CameraError (`format`) where the frame is smaller."""
        if self.percent:
            x0, y0 = self.x * width // 100, self.y * height // 100
            x1 = max(x0 + 1, (self.x + self.width) * width // 100)
            y1 = max(y0 + 1, (self.y + self.height) * height // 100)
        else:
            x0, y0, x1, y1 = self.x, self.y, self.x + self.width, self.y + self.height
        if x1 > width or y1 > height:
            raise CameraError(
                f"roi {self} reaches over the edge of a frame of {width}x{height}: give one within "
                "it, or in percent (25%,25%,50%,50%)",
                "format",
            )
        return x0, y0, x1, y1

    def cut(self, pixels: Pixels) -> Pixels:
        """A view of the part; see `box`."""
        x0, y0, x1, y1 = self.box(pixels.shape[1], pixels.shape[0])
        return pixels[y0:y1, x0:x1]


def parse_roi(text: str) -> Roi:
    """`X,Y,WIDTH,HEIGHT` in pixels, or all four in percent: `25%,25%,50%,50%`."""
    found = _ROI.fullmatch(text.replace(" ", ""))
    if found is None or len(set(found.groups()[1::2])) != 1:
        raise UsageError(
            f"roi '{text}' must be X,Y,WIDTH,HEIGHT in pixels (80,0,480,480) or all in percent "
            "(25%,25%,50%,50%)"
        )
    x, y, width, height = map(int, found.groups()[0::2])
    return Roi(x, y, width, height, found.group(2) == "%")


@dataclass(frozen=True)
class SaveFrames:
    """every_s: at least this long between two saved frames. keep_free_mb: of the file system, below
    which none is saved. format: png keeps every pixel, jpeg (quality 90) is a tenth of it."""

    folder: str
    every_s: float = 0.0
    keep_free_mb: int = 1000
    format: Literal["png", "jpeg"] = "png"

    def __post_init__(self) -> None:
        _within("save_frames.every_s", self.every_s, 0.0, LONGEST_S)
        _within("save_frames.keep_free_mb", self.keep_free_mb, 0, 10**9)


@dataclass(frozen=True)
class Prometheus:
    """A text endpoint at http://address:port/metrics, without a password: keep it on loopback."""

    port: int
    address: str = LOOPBACK

    def __post_init__(self) -> None:
        _within("prometheus.port", self.port, 0, 65535)


@dataclass(frozen=True)
class Page:
    """The live page. token_file: holds the token, of 16 letters at least; without it a new one is
    made at each start and logged."""

    port: int
    address: str = LOOPBACK
    token_file: str | None = None

    def __post_init__(self) -> None:
        _within("page.port", self.port, 0, 65535)


@dataclass(frozen=True)
class Mqtt:
    """topic: `/heartbeat`, `/answer` and `/online` come below it. password_file: holds the
    password of `username`. tls: with the system's certificates."""

    host: str
    port: int = 1883
    topic: str = "edge-sdk"
    answers: bool = False
    username: str | None = None
    password_file: str | None = None
    tls: bool = False

    def __post_init__(self) -> None:
        _within("mqtt.port", self.port, 1, 65535)
        if not self.topic or set(self.topic) & set("+#\0") or self.topic.endswith("/"):
            raise UsageError(f"mqtt.topic '{self.topic}' must have no +, # or / at its end")


@dataclass(frozen=True)
class Settings:
    """The keys of the TOML file.

    camera_options: of that camera. roi: see parse_roi. interval_s: from one classified frame to
    the next, 0 for all. smooth: frames whose probabilities are averaged. frames: after which it
    ends. once: one answer, of `smooth` frames, and a missing camera is an error at once.
    watchdog_s: without a frame, or in one classification, after which it fails. state: a folder
    that one instance at a time may use. heartbeat: a file, written every heartbeat_s."""

    model: str
    camera: str = "picamera2"
    camera_options: dict[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    threads: int = 1
    roi: str | None = None
    interval_s: float = 0.0
    smooth: int = 1
    frames: int | None = None
    once: bool = False
    output: Output = "text"
    top: int = 1
    threshold: float = 0.0
    watchdog_s: float = 30.0
    state: str | None = None
    heartbeat: str | None = None
    heartbeat_s: float = 10.0
    save_frames: SaveFrames | None = None
    prometheus: Prometheus | None = None
    mqtt: Mqtt | None = None
    page: Page | None = None

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise UsageError(unknown_name("camera", self.camera, CAMERAS))
        if self.output not in get_args(Output):
            raise UsageError(unknown_name("output", self.output, get_args(Output)))
        _within("interval_s", self.interval_s, 0.0, LONGEST_S)
        _within("smooth", self.smooth, 1, 1000)
        _within("threads", self.threads, 1, 256)
        _within("frames", self.frames, 1, 10**12)
        _within("top", self.top, 1, 10**6)
        _within("threshold", self.threshold, 0.0, 1.0)
        _within("watchdog_s", self.watchdog_s, 0.5, 3600.0)
        _within("heartbeat_s", self.heartbeat_s, 0.1, 3600.0)
        if self.roi is not None:
            parse_roi(self.roi)


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise UsageError(f"{name} {value:g} must be from {low:g} to {high:g}")


def read_settings(path: Path | None, given: Mapping[str, Any]) -> Settings:
    """The file's settings, where there is one, overruled by `given`, by the same names.

    Raises UsageError, which names the file and the key."""
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as e:
            raise UsageError(f"configuration {path} cannot be read: {e}") from e
    where = str(path or "options")
    merged = {**data, **given}
    if given.get("camera", data.get("camera")) != data.get("camera"):
        merged["camera_options"] = given.get("camera_options", {})  # another camera's mean nothing
    options = merged.pop("camera_options", {})
    if not isinstance(options, dict):
        raise UsageError(f"{where}.camera_options: {options!r} must be a table")
    settings = from_plain(Settings, {**merged, "camera_options": {}}, where, UsageError)
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    try:
        check_camera_options(settings.camera, tuples)
    except UsageError as e:
        raise UsageError(f"{where}: {e}") from e
    return replace(settings, camera_options=tuples)


def parse_camera_option(text: str) -> tuple[str, Any]:
    """`NAME=VALUE`; the value as in TOML (30, true, [1.5, 1.2]), 640x480 for a size, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"camera option '{text}' must be NAME=VALUE, as size=640x480")
    if size := re.fullmatch(r"(\d+)x(\d+)", value):
        return name, (int(size[1]), int(size[2]))
    try:
        found = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return name, value
    if set(found) != {"value"}:
        return name, value
    return name, tuple(found["value"]) if isinstance(found["value"], list) else found["value"]


def check_camera_options(camera: str, options: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that is unknown, missing or of the wrong type; nothing is
    opened."""
    for name, parameter in camera_options(camera).items():
        if parameter.default is parameter.empty and name not in options:
            raise UsageError(f"camera '{camera}' needs the option '{name}'")
    hints = typing.get_type_hints(camera_class(camera).__init__)
    hints.pop("return", None)
    for name, value in options.items():
        if name not in hints:
            raise UsageError(unknown_name(f"option of camera '{camera}'", name, hints))
        if not _is(value, hints[name]):
            raise UsageError(
                f"camera_options.{name}: {value!r} does not fit, it takes {_text(hints[name])}"
            )


def _is(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_is(value, a) for a in args)
    if origin is Literal:
        return value in args
    if origin is tuple:
        fits = isinstance(value, tuple) and len(value) == len(args)
        return fits and all(_is(v, a) for v, a in zip(value, args, strict=True))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _text(hint: Any) -> str:
    origin, args = typing.get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_text(a) for a in args if a is not type(None))
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin is tuple:
        return f"[{', '.join(map(_text, args))}]"
    return str(getattr(hint, "__name__", hint))
