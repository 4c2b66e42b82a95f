"""Bundles installed, offline, on the systems of boards: what they are, weigh and answer there.

Slow, and skipped where the emulated system or the bundle's wheels are not here; see
emulated_boards.py."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emulated_boards as boards
import numpy as np
import pytest
from PIL import Image

from edge_sdk.convert.default import default_artifacts
from edge_sdk.keys import Key
from edge_sdk.ondevice.selftest import NEAR_STEPS
from edge_sdk.runtime import Classifier
from edge_sdk.simulate import write_cells
from edge_sdk.simulate_field import draw_field

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]
EMBEDDED = "malaria-mobilenetv2-96-int8"
# The product's limits: of a bundle's file, and of what tflite-runtime's installation takes.
BUNDLE_BYTES = 120_000_000
INSTALLED_BYTES = 60_000_000
INSTALL_S = 60.0
Install = Callable[..., boards.Installation]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return boards.make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def artifact() -> Path:
    """The embedded model as int8, with its slide rule."""
    made = default_artifacts()[0]
    assert made.path.name == EMBEDDED
    return made.path


@pytest.fixture(scope="module")
def cells40(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("drawn") / "cells", 40, seed=5)


@pytest.fixture(scope="module")
def installed(artifact: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """installed(board, runtime, extras) has been installed there once."""
    there: dict[tuple[object, ...], boards.Installation] = {}

    def find(name: str, runtime: str | None = None, *extras: str) -> boards.Installation:
        if (name, runtime, extras) not in there:
            work = tmp_path_factory.mktemp("board")
            board = boards.BOARDS[name]
            try:
                stick, made = boards.make_bundle(artifact, board, key, work, runtime, extras)
                assert made.size <= BUNDLE_BYTES
                there[name, runtime, extras] = boards.install(board, stick, key, work / "root")
            except boards.AbsentError as e:
                pytest.skip(str(e))
        return there[name, runtime, extras]

    return find


@pytest.mark.parametrize(
    ("name", "runtime", "same_runtime"),
    [
        ("arm64", None, True),
        ("arm64", "tflite-runtime", False),
        ("armhf", None, False),
        ("trixie", None, True),
    ],
)
def test_a_board_installs_offline_and_answers_as_this_machine(
    installed: Install,
    artifact: Path,
    cells40: Path,
    name: str,
    runtime: str | None,
    same_runtime: bool,
) -> None:
    there = installed(name, runtime)
    compared = "the same bytes as on" if same_runtime else f"within {NEAR_STEPS} steps of"
    assert f"4 pictures, {compared} the workstation" in there.said
    assert json.loads(there.run("edge-sdk-device", "selftest", "--json"))["cases"] == 4
    same, of = boards.same_outputs(there, artifact, cells40)
    assert of == 40
    if same_runtime:
        assert same == of
    else:  # another version of the kernels: another rounding here and there
        assert same > of / 2
    listed = there.run("edge-sdk", "--help").partition("Commands:")[2]
    assert [x.split()[0] for x in listed.splitlines() if x.strip()] == ["classify", "simulate"]
    refused = there.tried("edge-sdk", "screen", "status")
    assert refused.returncode == 2
    assert "its bundle has to be made --with screening" in refused.stderr


@pytest.mark.parametrize("name", ["arm64", "armhf"])
def test_the_loop_runs_out_of_a_release(installed: Install, name: str) -> None:
    there = installed(name)
    camera = ["--camera", "simulated", "--camera-option", "fields=1", "--camera-option", "cells=4"]
    words = [there.release / "model", *camera, "--frames", "2", "--output", "json"]
    lines = [json.loads(x) for x in there.run("edge-classify", *words).splitlines()]
    assert [line["frame"] for line in lines] == [0, 1]
    assert lines[0]["labels"] == lines[1]["labels"]
    assert lines[0]["labels"][0]["label"] in ("Parasitized", "Uninfected")


def test_an_installation_of_tflite_runtime_keeps_its_limit(installed: Install) -> None:
    there = installed("arm64", "tflite-runtime")
    assert 40_000_000 < there.size <= INSTALLED_BYTES
    assert there.processor_s <= INSTALL_S


def test_what_a_site_needs_comes_along(installed: Install) -> None:
    """Screening, its pages and MQTT import on the board, from the bundle alone."""
    there = installed("arm64", None, "mqtt", "serve")
    names = ["cv2", "cryptography.hazmat.primitives.ciphers.aead", "starlette.applications",
             "uvicorn", "jinja2", "paho.mqtt.client"]  # fmt: skip
    code = (
        "import sys, importlib; sys.path.insert(0, sys.argv.pop(1));"
        "print(*(importlib.import_module(n).__file__ for n in sys.argv[1:]), sep='\\n')"
    )
    site = there.release / "site"
    python = boards.BOARDS["arm64"].python
    done = subprocess.run(
        [str(python), "-I", "-c", code, str(site), *names],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(site)) for line in done.stdout.split())
    for command in ("screen", "serve"):
        assert "--sessions" in there.run("edge-sdk", command, *(
            ["status"] if command == "screen" else []
        ), "--help")  # fmt: skip
    unit = there.root / "etc/systemd/system/edge-sdk-serve.service"
    assert unit.is_file()
    assert not (unit.parent / "multi-user.target.wants" / unit.name).exists()
    assert there.tried("edge-sdk", "convert", "x").returncode == 2
    versions = {d.name for d in importlib.metadata.distributions(path=[str(site)])}
    assert {"opencv-python-headless", "starlette", "MarkupSafe", "paho-mqtt"} <= versions


def test_a_slide_is_screened_out_of_a_release(installed: Install, tmp_path: Path) -> None:
    """From pictures to a report with the release's own model, on the board and here."""
    (photos := tmp_path / "photos").mkdir()
    for n in range(2):
        pixels = draw_field(n, 0, (640, 480), cells=40, infected=0.5).pixels
        Image.fromarray(pixels).save(photos / f"{n}.png")
    there = installed("arm64", None, "mqtt", "serve")

    def here(*words: object) -> str:
        command = [sys.executable, "-m", "edge_sdk.cli", *map(str, words)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def on_board(*words: object) -> str:
        return there.run("edge-sdk", *words, timeout_s=600)

    def screened(run: Callable[..., str], sessions: Path) -> Any:
        at = ["--sessions", sessions]
        new = ["--operator", "op", "--camera", "folder", "--camera-option", f"path={photos}"]
        session = run("screen", "new", *new, *at).splitlines()[0]
        run("screen", "capture", session, "--finish", *at)
        run("screen", "report", session, *at)
        assert "the same to the last cell" in run("screen", "replay", session, *at)
        return json.loads((sessions / session / "report" / "result.json").read_text())["record"]

    board, own = screened(on_board, tmp_path / "board"), screened(here, tmp_path / "own")
    counts = own["result"]["counts"]
    assert counts["counted"] > 50
    assert counts["flagged"] > 0
    assert board["result"]["counts"] == counts
    assert board["model"]["sha256"] == own["model"]["sha256"]


@pytest.mark.libcamera
def test_frames_through_libcamera_become_answers_of_an_installed_release(
    installed: Install, artifact: Path, tmp_path: Path
) -> None:
    """Python 3.13, picamera2, the real libcamera with its virtual pipeline, the whole loop, the
    embedded model on LiteRT: every answer is what the Classifier here says of the frame saved."""
    there = installed("trixie")
    saved = tmp_path / "saved"
    words = [there.release / "model", "--camera", "picamera2", "--frames", "5", "--output", "json",
             "--top", "2", "--save-frames", saved, "--keep-free", "0"]  # fmt: skip
    run = ["sh", "tools/camera_stack/run.sh", str(there.release.resolve() / "run.py")]
    done = subprocess.run(
        [*run, "edge-classify", *map(str, words)],
        cwd=boards.ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{EMBEDDED} on litert" in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    frames = sorted(saved.iterdir())
    assert len(lines) == len(frames) == 5
    with Classifier(artifact, backend="litert") as classifier:
        for line, file in zip(lines, frames, strict=True):
            pixels = np.asarray(Image.open(file))
            assert pixels.shape == (480, 640, 3)
            assert len(np.unique(pixels.reshape(-1, 3) // 128, axis=0)) == 8  # its colour bars
            expected = [(n, round(p, 6)) for n, p in classifier.classify(pixels).top(2)]
            assert [(x["label"], x["probability"]) for x in line["labels"]] == expected
