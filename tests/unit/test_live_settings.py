"""The configuration of edge-classify: read strictly, and every error names its key."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.camera import CAMERAS
from edge_sdk.cli.live import read_live
from edge_sdk.errors import CameraError, EdgeError, UsageError
from edge_sdk.live.settings import (
    Mqtt,
    Page,
    Roi,
    SaveFrames,
    Settings,
    parse_camera_option,
    parse_roi,
    read_settings,
)

TEMPLATE = Path(__file__).parents[2] / "edge_sdk" / "bundle" / "templates" / "config.toml"
numbers = st.integers(0, 10**6 - 1)


@given(numbers, numbers, st.integers(1, 10**6 - 1), st.integers(1, 10**6 - 1))
def test_a_roi_in_pixels_survives_being_written(x: int, y: int, w: int, h: int) -> None:
    roi = Roi(x, y, w, h)
    assert parse_roi(str(roi)) == roi
    assert roi.box(x + w, y + h) == (x, y, x + w, y + h)
    with pytest.raises(CameraError, match="reaches over the edge"):
        roi.box(x + w - 1, y + h)


@given(st.integers(0, 99), st.integers(0, 99), st.data(), st.integers(1, 5000))
def test_a_roi_in_percent_lies_in_every_frame(x: int, y: int, data: Any, side: int) -> None:
    w, h = data.draw(st.integers(1, 100 - x)), data.draw(st.integers(1, 100 - y))
    roi = Roi(x, y, w, h, percent=True)
    assert parse_roi(str(roi)) == roi
    x0, y0, x1, y1 = roi.box(side, side)
    assert 0 <= x0 < x1 <= side
    assert 0 <= y0 < y1 <= side


@given(st.text(max_size=30))
def test_any_text_is_a_roi_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_roi(text).width >= 1


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,4,5", "-1,0,5,5", "1%,2,3,4", "0,0,0,5", "60%,0%,50%,50%", "a"],
)
def test_a_wrong_roi_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="roi"):
        parse_roi(text)


def test_a_cut_is_a_view_of_the_part() -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    part = parse_roi("2, 1, 4, 3").cut(pixels)
    assert part.base is not None
    assert np.array_equal(part, pixels[1:4, 2:6])


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_configuration_of_a_bundle_is_one() -> None:
    s = read_settings(TEMPLATE, {})
    assert (s.camera, s.interval_s) == ("picamera2", 1.0)
    assert s.heartbeat == "/run/edge-sdk/heartbeat.json"
    assert s.model == "/opt/edge-sdk/current/model"


def test_every_key_is_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        model = "m"
        camera = "simulated"
        backend = "fake"
        roi = "10%,10%,50%,50%"
        interval_s = 2
        smooth = 3
        output = "json"
        [camera_options]
        size = [320, 240]
        rate = 5
        [save_frames]
        folder = "frames"
        format = "jpeg"
        [prometheus]
        port = 9100
        [page]
        port = 8080
        [mqtt]
        host = "broker"
        """,
    )
    s = read_settings(file, {})
    assert s.camera_options == {"size": (320, 240), "rate": 5}
    assert s.save_frames == SaveFrames("frames", format="jpeg")
    assert s.page == Page(8080)
    assert s.mqtt == Mqtt("broker")
    assert s.prometheus is not None
    assert s.prometheus.address == s.page.address == "127.0.0.1"
    assert read_settings(file, {"smooth": 1, "output": "csv"}).smooth == 1


def test_another_camera_on_the_command_line_leaves_the_files_options(tmp_path: Path) -> None:
    file = write(tmp_path, 'model = "m"\ncamera = "v4l2"\n[camera_options]\ndevice = "/dev/video2"')
    assert read_settings(file, {"camera": "simulated"}).camera_options == {}
    assert read_settings(file, {"camera": "v4l2"}).camera_options == {"device": "/dev/video2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "m"\nmodle = "x"', "unknown key 'modle'"),
        ("camera = 'v4l2'", "missing key 'model'"),
        ("model = 'm'\ncamera = 'v4l'", "unknown camera 'v4l'.* Did you mean v4l2"),
        ("model = 'm'\ninterval_s = -1", "interval_s -1 must be from 0"),
        ("model = 'm'\ninterval_s = nan", "interval_s: nan must be a finite number"),
        ("model = 'm'\nsmooth = 0", "smooth 0 must be from 1"),
        ("model = 'm'\nsmooth = true", "smooth: True must be of type int"),
        ("model = 'm'\nthreshold = 1.5", "threshold 1.5 must be from 0 to 1"),
        ("model = 'm'\nwatchdog_s = 0", "watchdog_s 0 must be from 0.5"),
        ("model = 'm'\noutput = 'xml'", "output: 'xml' is not one of 'text', 'json'"),
        ("model = 'm'\nroi = '1,2'", "roi '1,2' must be"),
        ("model = 'm'\ncamera_options = 5", "camera_options: 5 must be a table"),
        ("model = 'm'\n[camera_options]\nsiez = 1", "unknown option of camera 'picamera2' 'siez'"),
        ("model = 'm'\n[camera_options]\nrate = 'x'", "camera_options.rate: 'x'.* takes float"),
        ("model = 'm'\n[camera_options]\nsize = [1]", r"camera_options.size.* takes \[int, int\]"),
        ("model = 'm'\ncamera = 'folder'", "camera 'folder' needs the option 'path'"),
        ("model = 'm'\n[page]\nport = 70000", "page.*port 70000 must be from 0 to 65535"),
        ("model = 'm'\n[mqtt]\nhost = 'h'\ntopic = 'a/#'", "mqtt.topic 'a/#' must"),
        ("model = ", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError, match=message) as error:
        read_settings(file, {})
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        read_settings(tmp_path / "none.toml", {})


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip
KEYS = list(Settings.__dataclass_fields__)


@given(st.dictionaries(st.sampled_from([*KEYS, "x"]), values), st.sampled_from([None, *CAMERAS]))
def test_any_settings_are_read_or_a_usage_error(data: dict[str, Any], camera: str | None) -> None:
    given_too = {"model": "m"} | ({} if camera is None else {"camera": camera})
    try:
        s = read_settings(None, {**data, **given_too})
    except UsageError:
        return
    assert math.isfinite(s.interval_s)
    assert 0 <= s.threshold <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("size=640x480", ("size", (640, 480))),
        ("rate=7.5", ("rate", 7.5)),
        ("lock=false", ("lock", False)),
        ("white_balance=[1.5, 2.0]", ("white_balance", (1.5, 2.0))),
        ("path=a folder/with=sign", ("path", "a folder/with=sign")),
        ("path=1\nx=2", ("path", "1\nx=2")),
    ],
)
def test_camera_options_of_the_command_line(text: str, expected: Any) -> None:
    assert parse_camera_option(text) == expected


@pytest.mark.parametrize("text", ["", "x", "=5"])
def test_a_camera_option_without_a_name_or_value(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_camera_option(text)


EMPTY: dict[str, Any] = dict.fromkeys(
    ("camera", "roi", "interval_s", "smooth", "frames", "output", "watchdog_s", "state",
     "heartbeat", "save_frames", "save_every", "keep_free", "metrics", "page", "mqtt")
) | {"camera_option": (), "once": False}  # fmt: skip


def test_options_become_settings() -> None:
    given_now = {
        **EMPTY, "camera": "simulated", "camera_option": ("size=64x48",), "once": True,
        "save_frames": "f", "keep_free": 5, "metrics": "9100", "page": "0.0.0.0:80",
        "mqtt": "broker:1884",
    }  # fmt: skip
    assert read_live(given_now) == {
        "camera": "simulated",
        "camera_options": {"size": (64, 48)},
        "once": True,
        "save_frames": {"folder": "f", "keep_free_mb": 5},
        "prometheus": {"port": 9100},
        "page": {"address": "0.0.0.0", "port": 80},
        "mqtt": {"host": "broker", "port": 1884},
    }
    assert given_now == {}
    assert read_live(dict(EMPTY)) == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": "x"}, "--metrics: port 'x'"),
        ({"mqtt": "h:"}, "--mqtt: port ''"),
        ({"save_every": 1.0}, "belong to --save-frames"),
    ],
)
def test_options_that_do_not_fit(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        read_live({**EMPTY, **wrong})
