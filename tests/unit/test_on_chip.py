"""Compute-in-memory chips beside other devices in a benchmark."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_sdk.backends.cim.profile import is_cim_profile, load_cim_profile
from edge_sdk.benchmark.on_chip import on_chip
from edge_sdk.benchmark.run import benchmark
from edge_sdk.cli import cli
from edge_sdk.errors import ModelError
from edge_sdk.profiles import load_profile
from edge_sdk.report_benchmark import page
from edge_sdk.runtime import load_model

HERMES = load_cim_profile("cim-hermes-pcm")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("cim-hermes-pcm", True), ("CIM-none", True), ("cim-hermes-pcm:one-phase", True),
     ("rpi4", False), ("missing.toml", False)],
)  # fmt: skip
def test_names_of_chips_are_told_from_devices(name: str, is_one: bool) -> None:
    assert is_cim_profile(name) == is_one


def test_files_of_chips_are_told_from_devices(tmp_path: Path) -> None:
    chip, device = tmp_path / "a.toml", tmp_path / "b.toml"
    chip.write_text('[chip]\nmedium = "PCM"\n')
    device.write_text("[hardware]\ncores = 4\n")
    assert is_cim_profile(str(chip))
    assert not is_cim_profile(str(device))


def test_more_work_takes_more_of_a_chip(models: Path) -> None:
    found = on_chip(models / "tiny-int8.tflite", HERMES)
    assert found.fits
    assert 0 < found.arrays <= 64
    assert 0 < found.latency_ms < 10
    assert found.fps >= 1e3 / found.latency_ms
    assert "18 of 62 are published" in found.evidence[0]
    slow = on_chip(models / "tiny-int8.tflite", load_cim_profile("cim-samsung-mram"))
    assert slow.arrays > found.arrays  # arrays of 64 x 64


def test_a_benchmark_has_chips_beside_devices(models: Path) -> None:
    model = load_model(models / "tiny-int8.tflite")
    made = benchmark(model, [load_profile("rpi4")], [HERMES], timer=None)
    assert [c.profile for c in made.chips] == ["cim-hermes-pcm:four-phase"]
    assert "cim-hermes-pcm:four-phase" in page([made], [None], [load_profile("rpi4")])


def test_a_float_model_has_no_estimate_and_alone_is_an_error(models: Path) -> None:
    model = load_model(models / "tiny-float32.tflite")
    made = benchmark(model, [load_profile("rpi4")], [HERMES], timer=None)
    assert made.chips == ()
    assert "type float32" in made.missing[0].reason
    with pytest.raises(ModelError, match="float32"):
        benchmark(model, [], [HERMES], timer=None)


def test_the_command_prints_them(models: Path) -> None:
    arguments = ["benchmark", str(models / "tiny-int8.tflite"), "--estimate-only"]
    arguments += ["--profile", "cim-wtm2101"]
    said = CliRunner().invoke(cli, arguments)
    assert said.exit_code == 0, said.output
    assert "cim-wtm2101: 3 arrays" in said.output
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(cli, [*arguments, "--csv"]).stdout)))
    assert [r["where"] for r in rows] == ["cim-wtm2101"]
    assert float(rows[0]["latency_ms"]) > 0
    wrong = CliRunner().invoke(cli, [*arguments[:-1], "cim-hermes"])
    assert wrong.exit_code != 0
    assert "cim-hermes-pcm" in str(wrong.exception)


def test_chips_are_listed_and_shown() -> None:
    assert "cim-neurram" in CliRunner().invoke(cli, ["profiles"]).output
    shown = CliRunner().invoke(cli, ["profiles", "cim-neurram"]).output
    assert "assumed" in shown
    assert "published" in shown
