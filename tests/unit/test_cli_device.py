"""Options that name a device: what goes with what. Reaching one is tested elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_sdk.cli import cli
from edge_sdk.errors import UsageError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "pi", "--adb"], "name two devices"),
        (["--remote-python", "python3"], "--remote-python goes with --host, which is not given"),
        (["--adb", "--ssh-option", "Port=1"], "--ssh-option goes with --host"),
        (["--host", "pi", "--delegate", "gpu"], "--delegate goes with --adb"),
        (["--benchmark-model", "b"], "--benchmark-model goes with --adb"),
        (["--timeout", "5"], "--timeout goes with --host or --adb"),
        (["--adb"], "--adb needs --benchmark-model"),
        (["--adb", "--benchmark-model", "b", "--backend", "litert"], "with --adb use --delegate"),
        (["--adb", "--benchmark-model", "none"], "none is no file"),
        (["--adb", "--benchmark-model", ".", "--delegate", "gpi"], "unknown delegate 'gpi'"),
        (["--adb", "{model}", "--benchmark-model", "b"], "put the models before --adb"),
        (["--host", "-v"], "'-v' is no host"),
        (["--host", "pi", "--ssh-option", "-v"], "is not NAME=VALUE"),
        (["--host", "pi", "--remote-python", ""], "--remote-python '' is no command"),
        (["--host", "pi", "--estimate-only"], "--estimate-only measures nothing"),
        (["--estimate-only", "--remote-python", "x"], "--remote-python goes with --host"),
        (["--json", "--csv"], "give one of them"),
    ],
)
def test_options_that_do_not_go_together(models: Path, options: list[str], said: str) -> None:
    model = str(models / "tiny-int8.tflite")
    given = [option.replace("{model}", model) for option in options]
    done = CliRunner().invoke(cli, ["benchmark", model, *given])
    assert isinstance(done.exception, UsageError), done.output
    assert said in str(done.exception)


@pytest.mark.parametrize("seconds", ["0", "nan", "-1", "x"])
def test_a_time_out_that_is_none(models: Path, seconds: str) -> None:
    model = str(models / "tiny-int8.tflite")
    done = CliRunner().invoke(cli, ["benchmark", model, "--host", "pi", "--timeout", seconds])
    assert done.exit_code == 2
