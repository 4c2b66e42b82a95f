from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from edge_sdk import __version__, cli
from edge_sdk.errors import DataError, EdgeError

Make = Callable[..., Path]


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli.cli, [str(a) for a in args])


def run(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_sdk.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: object
) -> tuple[int, str, str]:
    """What `main` ends with, in this process: status, standard output and error."""
    monkeypatch.setattr(sys, "argv", ["edge-sdk", *map(str, args)])
    try:
        cli.main()
        status = 0
    except SystemExit as e:
        status = int(e.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    return lambda *args: ends(monkeypatch, capsys, *args)


def test_images_are_classified_line_by_line(models: Path, make_images: Make) -> None:
    folder = make_images(["a.png", "b.png"])
    result = invoke("classify", models / "tiny-int8.tflite", folder, "--backend", "fake")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(folder / n) for n in ("a.png", "b.png")]
    assert "tiny-int8 on fake 1 (answers are made up)" in result.stderr
    assert "2 images in" in result.stderr


def test_standard_output_is_json_and_nothing_else(models: Path, make_images: Make) -> None:
    folder = make_images(["a.png", "b.png"])
    args = ("classify", models / "tiny-uint8.tflite", folder, "--backend", "fake", "--json")
    result = invoke(*args, "--top", 2, "--threshold", 0.01)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(f["labels"]) for f in found] == [2, 2]
    assert "note: no labels given" in result.stderr


def test_unreadable_images_are_counted_and_named(models: Path, make_images: Make) -> None:
    files = {f"{i}.png": "broken" if i == 0 else "good" for i in range(10)}
    folder = make_images(files)
    result = invoke("classify", models / "tiny-int8.tflite", folder, "--backend", "fake")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 9
    assert f"1 unreadable and skipped: {folder / '0.png'}" in result.stderr


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["--backend", "fkae"], 2, "unknown backend 'fkae'. Did you mean fake?"),
        (["--backend", "fake", "--normalise", "tft"], 2, "unknown normalisation 'tft'"),
        (["--backend", "fake", "--mean", "1,2"], 2, "--mean 1,2: expected three numbers"),
        (["--backend", "fake", "--mean", "1,2,x"], 2, "--mean 1,2,x: expected three numbers"),
        (["--backend", "fake", "--std", "1,2,3"], 2, "give both or neither"),
        (["--backend", "fake", "--fit", "squash"], 2, "'squash' is not one of 'stretch'"),
        (["--backend", "fake", "--threads", "0"], 2, "0 is not in the range"),
        (["--backend", "fake", "--top", "0"], 2, "0 is not in the range"),
        (["--backend", "fake", "--threshold", "1.5"], 2, "1.5 is not in the range"),
        (["--backend", "fake", "--labels", "none.txt"], 1, "none.txt cannot be read"),
        (["--nonsense"], 2, "No such option"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_wrong_options_of_classify(
    main: Callable[..., tuple[int, str, str]],
    models: Path,
    make_images: Make,
    args: list[str],
    status: int,
    says: str,
) -> None:
    folder = make_images(["a.png"])
    found, out, err = main("classify", models / "tiny-int8.tflite", folder, *args)
    assert (found, out) == (status, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "x"])
def test_a_limit_that_is_no_number_is_refused(
    main: Callable[..., tuple[int, str, str]], tmp_path: Path, number: str
) -> None:
    status, _, err = main("convert", "--to", "int8", "--data", tmp_path, "--max-drop", number)
    assert status == 2
    assert "--max-drop" in err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["profiles", "rpi44"], "Did you mean"),
        (["benchmark", "x.tflite", "--profile", "rpi44"], "Did you mean"),
    ],
)
def test_an_unknown_profile_suggests_near_misses(
    main: Callable[..., tuple[int, str, str]], args: list[str], says: str
) -> None:
    status, _, err = main(*args)
    assert status == 2
    assert says in err
    assert "rpi4" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "args", [["nonsense"], ["classify"], ["classify", "x.tflite"], ["convert"]]
)
def test_usage_ends_with_2(main: Callable[..., tuple[int, str, str]], args: list[str]) -> None:
    status, _, err = main(*args)
    assert status == 2
    assert "Usage:" in err


def test_an_os_error_is_one_line_that_names_the_file(
    main: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.bin")

    monkeypatch.setattr(cli.cli, "main", fail)
    assert main() == (1, "", "error: secret.bin: Permission denied\n")


@pytest.mark.parametrize("error", [click.Abort(), KeyboardInterrupt()])
def test_ctrl_c_ends_with_130(
    main: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    status, _, err = main()
    assert status == 130
    assert err.startswith("interrupted")


def test_a_message_of_many_lines_becomes_one(
    main: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise EdgeError("one\n  two\nthree")

    monkeypatch.setattr(cli.cli, "main", fail)
    assert main() == (1, "", "error: one two three\n")
    monkeypatch.setattr(sys, "argv", ["edge-sdk", "--debug"])
    with pytest.raises(EdgeError):
        cli.main()


def test_simulated_cells_are_drawn_into_a_new_folder(tmp_path: Path) -> None:
    out = tmp_path / "cells"
    result = invoke("simulate", out, "--count", 4, "--patients", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"4 simulated cells (drawn, not photographed) in {out}\n"
    again = invoke("simulate", out, "--count", 4, "--patients", 2)
    assert isinstance(again.exception, EdgeError)
    assert "exists" in str(again.exception)


def test_profiles_are_listed_and_shown() -> None:
    assert "rpi4" in invoke("profiles").stdout
    assert invoke("profiles", "rpi4").stdout.startswith("rpi4: ")


def test_a_failure_is_one_line_and_status_1_and_debug_shows_the_traceback(tmp_path: Path) -> None:
    missing = tmp_path / "none.tflite"
    plain = run("classify", missing, "a.png")
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr == (
        f"error: model {missing} does not exist: give an artifact folder or a .tflite file\n"
    )
    debug = run("--debug", "classify", missing, "a.png")
    assert debug.returncode == 1
    assert debug.stderr.startswith("Traceback")
    assert "edge_sdk.errors.ModelError: model" in debug.stderr


def test_usage_is_status_2_and_version_and_help_are_0() -> None:
    assert run("classify").returncode == 2
    version = run("--version")
    assert (version.returncode, version.stdout) == (0, f"edge-sdk, version {__version__}\n")


def test_a_data_error_keeps_its_status(
    main: Callable[..., tuple[int, str, str]], models: Path, tmp_path: Path
) -> None:
    status, _, err = main(
        "classify", models / "tiny-int8.tflite", tmp_path / "none", "--backend", "fake"
    )
    assert status == DataError.exit_code
    assert err.splitlines()[-1].startswith("error: source ")
