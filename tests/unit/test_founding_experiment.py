"""The 4-bit CIFAR experiment's tool: its split, its rows and its table."""

from __future__ import annotations

import csv
import importlib
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_sdk.integer_model import Convolution, Dense, Depthwise, Grid, IntegerModel, MaxPool
from edge_sdk.integer_model import write_integer_model as write_model
from edge_sdk.preprocess import Preprocess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module("founding_experiment")
    sys.modules.pop("founding_experiment", None)


def archives(folder: Path, train: int, test: int) -> Path:
    for part, count in (("train", train), ("test", test)):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for name in ("cat", "dog"):
                for i in range(count):
                    archive.writestr(f"{name}/{i:04}.jpg", f"{part} {name} {i}")
    return folder


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as f:
        return list(csv.DictReader(f))


def test_validation_is_drawn_from_training_images_alone(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "VALIDATION", 8)
    folder = tmp_path / "cifar"
    tool.unpack(archives(tmp_path, 20, 5), folder)
    split = {r["file"]: r["part"] for r in rows_of(folder / "split.csv")}
    assert len(split) == 50
    assert {n for n, p in split.items() if p == "test"} == {n for n in split if n[:4] == "test"}
    assert sum(p == "validation" for p in split.values()) == 8
    labels = {r["file"]: r["label"] for r in rows_of(folder / "index.csv")}
    assert labels["train/dog/0003.jpg"] == "dog"
    assert (folder / "test/cat/0004.jpg").read_text() == "test cat 4"
    (folder / "train/cat/0000.jpg").unlink()
    tool.unpack(tmp_path / "nowhere", folder)  # all is there: index.csv says so
    again = tmp_path / "again"
    tool.unpack(tmp_path, again)
    assert (again / "split.csv").read_text() == (folder / "split.csv").read_text()


def record(test: float, integer: float | None = None, parameters: int = 1000) -> dict[str, Any]:
    def figures(accuracy: float) -> dict[str, Any]:
        parts = (("validation", 0.5), ("test", accuracy))
        return {p: {"images": 100, "figures": {"accuracy": a}} for p, a in parts}

    return {
        "settings": {"recipe": {"epochs": 4}},
        "metrics": figures(test) | ({} if integer is None else {"integer": figures(integer)}),
        "model": {"parameters": parameters},
        "run": {"epoch_kept": 3, "wall_seconds": 60, "machine": "2 cores, made up"},
    }


def keep(folder: Path, name: str, content: dict[str, Any]) -> Path:
    run = folder / "runs" / name
    run.mkdir(parents=True)
    (run / "training.json").write_text(json.dumps(content))
    return run


def test_the_loss_is_to_the_float_net_of_the_same_budget(tool: ModuleType, tmp_path: Path) -> None:
    for seed, (begun, after, rounded, integer) in enumerate(
        [(0.80, 0.82, 0.815, 0.81), (0.79, 0.80, 0.79, 0.775)]
    ):
        base = f"vgg16-cifar-0.25-{seed}"
        keep(tmp_path, f"{base}-float", record(begun))
        keep(tmp_path, f"{base}-continued", record(after))
        run = keep(tmp_path, f"{base}-w4a4", record(rounded, integer))
        write_model(run / "integer-model", network())
    keep(tmp_path, "vgg16-cifar-0.25-2-float", record(0.9))
    keep(tmp_path, "resnet18-cifar-0.125-0-float", record(0.7))
    rows = tool.results(tmp_path)
    assert len(rows) == 8
    short = next(r for r in rows if r["kind"] == "w4a4" and r["seed"] == 1)
    assert (short["integer_test"], short["mult_adds"]) == (77.5, WORK)
    resnet, vgg = (
        [c.strip() for c in line.split("|")[1:-1]] for line in tool.table(rows).splitlines()[2:]
    )
    assert vgg[:4] == ["vgg16-cifar", "0.25", "2", "4+4"]
    assert vgg[5] == "81.00 ± 1.41"
    assert vgg[7] == "79.25 ± 2.47"
    assert vgg[8] == "1.75 ± 1.06"
    assert vgg[10] == f"{WORK:,}"
    assert resnet[4:10] == ["70.00", "", "", "", "", "1,000"]


def network() -> IntegerModel:
    """A convolution to 8x8x2, a depthwise one, a pooling to 4x4x2, a score of each of two."""
    grid = Grid(4, False, 1.0)

    def weighted(kind: type[Convolution], name: str, source: str, *shape: int) -> Convolution:
        one = np.ones(2, np.int32)
        weights, inputs = np.ones(shape, np.int8), np.zeros(shape[2], np.int32)
        return kind(
            name, source, (1, 1), (1, 1, 1, 1), 4, grid, 0, 15, 0, weights, one, one, one, inputs
        )

    last = Dense("c", "p", 8, np.ones((32, 2), np.int8), np.ones(2, "f4"), np.ones(2, "f4"))
    layers = (
        weighted(Convolution, "a", "image", 3, 3, 3, 2),
        weighted(Depthwise, "b", "a", 3, 3, 2),
        MaxPool("p", "b", (2, 2), (2, 2), grid),
        last,
    )
    return IntegerModel(Preprocess(8, 8), (), "softmax", layers)


WORK = 8 * 8 * 3 * 3 * 3 * 2 + 8 * 8 * 3 * 3 * 2 + 32 * 2


def test_a_training_goes_on_and_a_finished_one_is_left_alone(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(tool.subprocess, "run", lambda c, **_: commands.append(c))
    args = SimpleNamespace(
        folder=tmp_path, epochs=7, more=3, batch=128, learning_rate="1e-2", more_rate="1e-3",
        dropout="0",
    )  # fmt: skip
    runs = tmp_path / "runs"
    names = [f"alexnet-cifar-0.5-4-{kind}" for kind in tool.KINDS]
    tool.train_net(args, "alexnet-cifar:0.5", 4)
    outs = [c[c.index("--out") + 1] for c in commands]
    assert outs == [str(runs / name) for name in names]
    assert not any("--resume" in c for c in commands)
    plain, rounded = ([w for w in c if w not in outs] for c in commands[1:])
    assert rounded == [*plain, "--qat", "w4a4", "--thresholds", "dynamic"]
    commands.clear()
    keep(tmp_path, names[0], record(0.5))
    (runs / f"{names[1]}.state" / "checkpoint").mkdir(parents=True)
    tool.train_net(args, "alexnet-cifar:0.5", 4)
    assert ["--resume" in c for c in commands] == [True, False]
    assert [c[c.index("--out") + 1] for c in commands] == outs[1:]
    written = json.loads((tmp_path / "results.json").read_text())
    assert [r["test"] for r in written] == [50.0]


def test_images_do_not_go_into_the_project(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tool", "--zips", "cifar", "--folder", str(ROOT / "docs" / "cifar")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        tool.main()
    assert "do not belong into the project" in capsys.readouterr().err


@pytest.mark.shared
def test_cifar_is_what_the_tool_takes_it_for(tool: ModuleType, shared: Path) -> None:
    for part, count in (("train", 50_000), ("test", 10_000)):
        with zipfile.ZipFile(shared / "data" / "cifar-10" / f"{part}.zip") as archive:
            names = [n for n in archive.namelist() if not n.endswith("/")]
        assert len(names) == count
        assert len({n.split("/")[0] for n in names}) == 10
        assert all(n.count("/") == 1 for n in names)
    assert {n.partition(":")[0] for n in tool.NETS} == set(tool.PUBLISHED)
