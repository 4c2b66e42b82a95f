"""edge-classify and `edge-sdk classify --camera`: the same loop, options that do not fit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.cli import main as edge_sdk_main
from edge_sdk.cli.live import main as edge_classify_main

SMALL = ("--camera", "simulated", "--camera-option", "size=64x48", "--camera-option", "cells=2",
         "--camera-option", "diameter=16", "--backend", "fake")  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(program: str, *words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [program, *map(str, words)])
        code = 0
        try:
            (edge_classify_main if program == "edge-classify" else edge_sdk_main)()
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_both_programs_give_the_same_answers(run: Any, models: Path) -> None:
    model = models / "tiny-int8.tflite"
    words = (*SMALL, "--frames", "3", "--output", "json", "--top", "3")
    code, one, err = run("edge-classify", model, *words)
    assert (code, len(one.splitlines())) == (0, 3), err
    code, other, err = run("edge-sdk", "classify", model, *words)
    assert code == 0, err
    for a, b in zip(one.splitlines(), other.splitlines(), strict=True):
        assert json.loads(a)["labels"] == json.loads(b)["labels"]
        assert json.loads(a)["simulated"] is True


def test_json_is_the_output_of_classify_too(run: Any, models: Path) -> None:
    code, out, _ = run(
        "edge-sdk", "classify", models / "tiny-int8.tflite", *SMALL, "--once", "--json"
    )
    assert code == 0
    assert json.loads(out)["frame"] == 0


def test_a_configuration_is_enough_and_options_overrule_it(
    run: Any, models: Path, tmp_path: Path
) -> None:
    (file := tmp_path / "c.toml").write_text(
        f'model = "{models / "tiny-int8.tflite"}"\ncamera = "simulated"\nbackend = "fake"\n'
        'frames = 5\noutput = "csv"\n[camera_options]\nsize = [64, 48]\ncells = 2\ndiameter = 16\n'
    )
    code, out, err = run("edge-classify", "--config", file, "--frames", "2")
    assert code == 0, err
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*SMALL, "a.png"), "leave out source 'a.png'"),
        (("--once",), "once: these options belong to --camera"),
        (("--camera", "webcam"), "unknown camera 'webcam'"),
        ((*SMALL, "--roi", "1,2"), "roi '1,2' must be"),
        ((*SMALL, "--camera-option", "sise=1"), "Did you mean size"),
    ],
)
def test_options_of_classify_that_do_not_fit(
    run: Any, models: Path, words: tuple[str, ...], message: str
) -> None:
    code, out, err = run("edge-sdk", "classify", models / "tiny-int8.tflite", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give MODEL, or --config with the key model"),
        (("m",), "give --camera: picamera2, v4l2, folder or simulated"),
        (("--config", "/none.toml"), "configuration /none.toml cannot be read"),
    ],
)
def test_edge_classify_that_was_told_too_little(
    run: Any, words: tuple[str, ...], message: str
) -> None:
    code, _, err = run("edge-classify", *words)
    assert code == 2
    assert message in err
