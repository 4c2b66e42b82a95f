"""Experiments over chips: settings, rows that survive, figures, the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.backends.cim.cost import cost_of_network
from edge_sdk.backends.cim.deployed import open_deployed
from edge_sdk.backends.cim.kernel import short_names
from edge_sdk.backends.cim.profile import load_cim_profile
from edge_sdk.chips.results import Row, points_of
from edge_sdk.chips.rows import RowsFile, missing
from edge_sdk.chips.run import run_chips
from edge_sdk.chips.settings import (
    ChipsRequest,
    Setting,
    chip_of,
    duration,
    duration_text,
    numbers,
)
from edge_sdk.errors import DataError, UsageError
from edge_sdk.report_chips import chips_text, cost_text, page

NOISY, EXACT = "cim-nor-generic", "cim-sram-28nm"


@pytest.fixture
def data(make_images: Callable[..., Path]) -> Path:
    files = [f"{label}/{i}.png" for label in ("blank", "ring", "smear") for i in range(4)]
    return make_images(files)


@pytest.fixture
def others(make_images: Callable[..., Path]) -> Path:
    # Pictures are drawn from their number: those that `data` has go.
    names = [f"{label}/{i}.png" for i in range(12) for label in ("blank", "ring", "smear")]
    folder = make_images(names, "others")
    for name in names[:12]:
        (folder / name).unlink()
    return folder


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny-int8.tflite"
    path.write_bytes((models / "tiny-int8.tflite").read_bytes())
    (tmp_path / "labels.txt").write_text("blank\nring\nsmear\n")
    return path


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("1.5h", 5400), ("30d", 2_592_000), ("2m", 120)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    assert duration(duration_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "5", "d", "-1s", "1w", "infs", "nanh"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        duration(text)


def test_settings_are_each_pair_and_sweeps_from_the_first() -> None:
    request = ChipsRequest(
        Path("m"), NOISY, Path("d"), times=(0.0, 60.0), temperatures=(25.0, 85.0),
        adc_bits=(6, 6), programming=(0.02,),
    )  # fmt: skip
    assert request.settings() == (
        Setting(0.0, 25.0), Setting(0.0, 85.0), Setting(60.0, 25.0), Setting(60.0, 85.0),
        Setting(0.0, 25.0, 6), Setting(0.0, 25.0, None, 0.02),
    )  # fmt: skip
    profile = load_cim_profile(NOISY)
    assert chip_of(profile, Setting(adc_bits=6)).adc.bits == 6
    assert chip_of(profile, Setting(programming=0.02)).errors.programming.sigma == ((0.02,),)
    assert chip_of(profile, Setting()) == profile


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("chips", 0, "--chips 0"),
        ("images", -1, "--images -1"),
        ("processes", 0, "--processes 0"),
        ("adc_bits", (0,), "--adc-bits 0"),
        ("programming", (-0.01,), "--programming -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(field: str, value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ChipsRequest(Path("m"), NOISY, Path("d"), **{field: value})  # type: ignore[arg-type]


def test_lists_of_numbers() -> None:
    assert numbers("--adc-bits", "4,6") == [4, 6]
    with pytest.raises(UsageError, match="--adc-bits 4;6"):
        numbers("--adc-bits", "4;6")


def test_points_are_means_and_spreads_between_chips() -> None:
    rows = [Row(Setting(), n, a, 1.0, b, 0.1) for n, (a, b) in enumerate([(0.8, 0.9), (0.9, 1.0)])]
    (point,) = points_of(rows)
    assert (point.chips, point.worst) == (2, 0.8)
    assert point.accuracy == pytest.approx(0.85)
    assert point.accuracy_sd == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert point.roc_auc == pytest.approx(0.95)
    assert points_of(rows[:1])[0].accuracy_sd == 0


def test_rows_survive_a_cut_and_belong_to_one_experiment(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = Row(Setting(60.0), 4, 0.5, 0.75, None, 1.0)
    RowsFile(path, {"model": "a"}).add(row)
    with path.open("a") as f:
        f.write('{"setting": {"time')  # a crash in the middle of a line
    again = RowsFile(path, {"model": "a"})
    assert again.rows == [row]
    assert missing(again.rows, [(Setting(60.0), 4), (Setting(60.0), 5)]) == [(Setting(60.0), 5)]
    again.add(row)
    assert len(RowsFile(path, {"model": "a"}).rows) == 2
    with pytest.raises(UsageError, match="of another experiment"):
        RowsFile(path, {"model": "b"})
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(DataError, match="line 4"):
        RowsFile(path, {"model": "a"})


def test_an_exact_chip_loses_nothing_and_its_page_says_so(model: Path, data: Path) -> None:
    r = run_chips(ChipsRequest(model, EXACT, data, chips=2))
    (point,) = r.points
    assert point.accuracy == r.ideal.accuracy
    assert (point.agreement, point.chips, r.images) == (1.0, 2, 12)
    profile = load_cim_profile(EXACT)
    cost = cost_of_network(open_deployed(model).kernels, profile)
    html, text = page(r, cost, profile), chips_text(r)
    assert "0.00" in text
    assert "exact arithmetic" in text
    assert "measured on silicon" in html
    assert "estimated" in cost_text("m", cost)


def test_a_noisy_chip_goes_on_from_its_rows(
    model: Path, data: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    request = ChipsRequest(
        model, NOISY, data, chips=2, times=(0.0, 86400.0), programming=(0.2,), calibration=others,
        rows=rows,
    )  # fmt: skip
    first = run_chips(request)
    assert first.points[-1].agreement < 1 or first.points[-1].accuracy != first.ideal.accuracy
    lines = rows.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 6
    rows.write_text("".join(lines[:4]))
    done: list[object] = []
    from edge_sdk.chips import run

    real = run.one_chip
    monkeypatch.setattr(run, "one_chip", lambda *a: done.append(a) or real(*a))
    second = run_chips(request)
    assert len(done) == 3
    assert [p.accuracy for p in second.points] == [p.accuracy for p in first.points]
    assert "Accuracy against time" in page(
        second, cost_of_network(open_deployed(model).kernels, load_cim_profile(NOISY)),
        load_cim_profile(NOISY),
    )  # fmt: skip


def test_processes_find_what_one_finds(model: Path, data: Path, others: Path) -> None:
    request = ChipsRequest(model, NOISY, data, chips=2, calibration=others)
    two = ChipsRequest(model, NOISY, data, chips=2, calibration=others, processes=2)
    assert run_chips(request).points == run_chips(two).points


def test_converters_need_images_that_are_not_judged(model: Path, data: Path) -> None:
    with pytest.raises(UsageError, match=r"adc\.range is 'mse'.*--calibration"):
        run_chips(ChipsRequest(model, NOISY, data))
    with pytest.raises(DataError, match="must not be calibrated on"):
        run_chips(ChipsRequest(model, NOISY, data, calibration=data))


def test_wrong_names_and_temperatures_are_refused_before_anything_runs(
    model: Path, data: Path, others: Path
) -> None:
    with pytest.raises(UsageError, match="--digital conv9 is no layer"):
        run_chips(ChipsRequest(model, NOISY, data, calibration=others, digital=("conv9",)))
    with pytest.raises(UsageError, match="temperature"):
        run_chips(ChipsRequest(model, NOISY, data, calibration=others, temperatures=(400.0,)))
    with pytest.raises(UsageError, match=r"Did you mean .*cim-nor-generic"):
        run_chips(ChipsRequest(model, "cim-nor", data))


def test_the_command_prints_what_a_model_takes_and_costs(model: Path, data: Path) -> None:
    from click.testing import CliRunner

    from edge_sdk.cli import cli

    run = CliRunner()
    plain = run.invoke(cli, ["cim", str(model), "--profile", EXACT])
    assert plain.exit_code == 0, plain.output
    assert "arrays" in plain.output
    found = run.invoke(
        cli, ["cim", str(model), "--profile", EXACT, "--data", str(data), "--chips", "1", "--json",
              "--processes", "1"],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["experiment"]["points"][0]["chips"] == 1
    assert said["cost"]["total_uj"] > 0


def test_layers_are_named_by_what_tells_them_apart() -> None:
    names = ["net/a/Relu6;net/a/conv;net/a/bn", "net/b/Relu6;x", "net/c/MatMul"]
    assert short_names(names) == dict(zip(names, ("a/Relu6", "b/Relu6", "c/MatMul"), strict=True))
    assert short_names(["a;1", "a;2"]) == {"a;1": "a;1", "a;2": "a;2"}
    assert short_names(["conv", "dense"]) == {"conv": "conv", "dense": "dense"}
    assert short_names([]) == {}


def test_layers_are_kept_digital_by_short_names_too(model: Path, data: Path, others: Path) -> None:
    names = [k.name for k in open_deployed(model).kernels]
    short = tuple(short_names(names).values())
    r = run_chips(ChipsRequest(model, NOISY, data, chips=1, calibration=others, digital=short))
    assert r.points[0].agreement == 1
    assert short_names(names)[names[0]] != names[0]
