from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edge_sdk.artifact import ArtifactError
from edge_sdk.cli import cli
from edge_sdk.convert.count import cost_of_model
from edge_sdk.cost import ModelCost, cost_of_architecture, cost_of_graph
from edge_sdk.cost_grid import GridPoint, architecture_cost, cost_grid, pareto_front
from edge_sdk.errors import BackendError, EdgeError, ModelError, UsageError
from edge_sdk.plots import write_grid_plot
from edge_sdk.report import cost_table
from edge_sdk.tflite_file import read_tflite


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli, ["cost", *map(str, args)])


def test_an_architecture_prints_totals_per_kind_with_shares() -> None:
    result = invoke("--arch", "mobilenet_v1")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["pointwise", "13", "539,492,352", "94.86", "3,145,536", "74.52"] in [
        r[:6] for r in rows
    ]
    assert ["total", "30", "568,740,352", "4,221,032", "40,963,808"] in rows
    assert (
        "counted, not measured: mobilenet_v1, alpha 1, 224x224 pixels, 1000 classes, float32"
        in result.stdout
    )


def test_every_option_of_an_architecture_is_used() -> None:
    result = invoke(
        "--arch", "mobilenet_v2", "--alpha", 0.35, "--size", 96, "--classes", 2, "--dtype", "int8",
        "--json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    cost = cost_of_architecture("mobilenet_v2", 0.35, 96, 2, "int8")
    assert found["counted"] == "mobilenet_v2, alpha 0.35, 96x96 pixels, 2 classes, int8"
    assert "layers" not in found
    for total in (
        "mult_adds", "parameters", "kernel_parameters", "weight_bytes", "activation_bytes",
        "peak_activation_bytes",
    ):  # fmt: skip
        assert found[total] == getattr(cost, total)
    for what in ("mult_adds", "parameters", "weight_bytes", "activation_bytes"):
        assert sum(kind[what] for kind in found["kinds"].values()) == found[what]


def test_a_layer_a_row() -> None:
    layers = cost_of_architecture("mobilenet_v1").layers
    lines = invoke("--arch", "mobilenet_v1", "--layers").stdout.splitlines()
    assert lines[2].split() == ["0", "conv_0", "conv", "10,838,016", "896", "602,112",
                                "1,605,632", "2,207,744"]  # fmt: skip
    assert len(lines) == 2 + len(layers) + 2
    found = json.loads(invoke("--arch", "mobilenet_v1", "--layers", "--json").stdout)["layers"]
    assert [x["mult_adds"] for x in found] == [x.mult_adds for x in layers]
    assert [x["live_bytes"] for x in found] == [x.live_bytes for x in layers]


def test_a_bare_file_is_counted_from_its_graph(models: Path) -> None:
    path = models / "tiny-int8.tflite"
    found = json.loads(invoke(path, "--json").stdout)
    cost = cost_of_graph(read_tflite(path))
    assert (found["counted"], found["mult_adds"]) == ("tiny-int8.tflite", cost.mult_adds)
    assert found["weight_bytes"] == cost.weight_bytes
    assert "int8 kernels, int8 activations" in invoke(path).stdout
    # Names of a file may be long and fused; rows stay short.
    assert max(map(len, invoke(path, "--layers").stdout.splitlines()[:-1])) < 120


def test_counting_a_file_loads_no_tensorflow(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "edge_sdk.convert.ingest", raising=False)
    assert invoke(models / "tiny-float32.tflite").exit_code == 0
    assert "edge_sdk.convert.ingest" not in sys.modules


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    (tmp_path / "net.tflite").write_bytes(b"x" * 100)
    for name, error, says in [
        ("missing.tflite", ModelError, "does not exist"),
        ("net.onnx", ModelError, "'.onnx' is not one of"),
        ("net.tflite", ModelError, "net.tflite"),
        (".", ArtifactError, "is no artifact"),
    ]:
        with pytest.raises(error, match=says):
            cost_of_model(tmp_path / name)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "nothing to count"),
        (["--layers"], "nothing to count"),
        (["x.tflite", "--grid"], "MODEL does not go with --grid"),
        (["x.tflite", "--arch", "mobilenet_v1"], "--arch does not go with a MODEL"),
        (["x.tflite", "--alpha", "0"], "--alpha does not go with a MODEL"),
        (["x.tflite", "--dtype", "int8"], "--dtype does not go with a MODEL"),
        (["--grid", "--layers"], "--layers does not go with --grid"),
        (["--grid", "--alpha", "0.5"], "--alpha does not go with --grid"),
        (["--arch", "mobilenet_v1", "--plot", "x.png"], "--plot goes with --grid only"),
        (["--arch", "mobilenet_v1", "--sizes", "96"], "--sizes goes with --grid only"),
        (["--arch", "mobilnet_v1"], "unknown architecture 'mobilnet_v1'. Did you mean"),
        (["--grid", "--arch", "mobilnet_v2"], "Did you mean mobilenet_v2"),
        (["--arch", "mobilenet_v1", "--dtype", "int9"], "unknown dtype 'int9'"),
        (["--arch", "mobilenet_v1", "--alpha", "0"], "alpha is 0.0; valid: 1/32"),
        (["--arch", "mobilenet_v1", "--alpha", "-1"], "alpha is -1.0; valid: 1/32"),
        (["--arch", "mobilenet_v1", "--alpha", "nan"], "alpha is nan"),
        (["--arch", "mobilenet_v1", "--alpha", "1e308"], "alpha is 1e+308"),
        (["--arch", "mobilenet_v1", "--size", "31"], "size is 31; valid: 32"),
        (["--arch", "mobilenet_v1", "--size", "9999"], "size is 9999"),
        (["--grid", "--alphas", "0.5,0"], "alpha is 0.0"),
        (["--grid", "--alphas", ""], "--alphas : expected numbers"),
        (["--grid", "--alphas", "a"], "--alphas a: expected numbers, as 0.5,0.75"),
        (["--grid", "--sizes", "96,1.5"], "--sizes 96,1.5: expected numbers, as 160,224"),
        (["--grid", "--sizes", "16"], "size is 16"),
        (["--grid", "--plot", "x.svg"], "--plot x.svg: the plot is a PNG"),
    ],
)
def test_wrong_options_end_with_2(args: list[str], says: str) -> None:
    result = invoke(*args)
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert says in str(result.exception)


def test_zero_classes_are_refused() -> None:
    assert invoke("--arch", "mobilenet_v1", "--classes", 0).exit_code == 2


# --- grid ----------------------------------------------------------------------------------


def test_the_grid_has_the_papers_widths_and_sizes() -> None:
    points = cost_grid()
    assert [p.arch for p in points] == ["mobilenet_v1"] * 16 + ["mobilenet_v2"] * 25
    assert sum(p.published_top1 is not None for p in points) == 9
    for p in points[::7]:
        cost, _ = architecture_cost(p.arch, p.alpha, p.size)
        assert (p.mult_adds, p.parameters) == (cost.mult_adds, cost.parameters)


def test_the_grid_is_printed_and_says_what_is_published() -> None:
    result = invoke("--grid", "--arch", "mobilenet_v1", "--alphas", "1,0.3,1", "--sizes", "224")
    lines = result.stdout.splitlines()
    assert lines[0].endswith("published top-1 %")
    assert [line.split()[1] for line in lines[2:]] == ["1", "0.3"]
    assert [line.split()[-1] for line in lines[2:]] == ["70.6", "-"]
    found = json.loads(
        invoke("--grid", "--arch", "mobilenet_v2", "--sizes", "224", "--json").stdout
    )
    assert [p["alpha"] for p in found] == [0.35, 0.5, 0.75, 1.0, 1.4]
    assert [p["published_top1"] for p in found] == [None, None, None, 72.0, None]


@pytest.mark.parametrize("other", [{"classes": 10}, {"dtype": "int8"}])
def test_a_published_accuracy_is_of_the_published_network_only(other: dict[str, object]) -> None:
    points = cost_grid("mobilenet_v1", **other)  # type: ignore[arg-type]
    assert {p.published_top1 for p in points} == {None}


def test_the_pareto_front_leaves_out_what_is_beaten() -> None:
    assert [(p.alpha, p.size) for p in pareto_front(cost_grid())] == [
        (0.25, 224), (0.5, 160), (0.5, 224), (1.0, 128), (1.0, 160), (1.0, 224),
    ]  # fmt: skip
    [one] = cost_grid("mobilenet_v1", [1.0], [224])
    worse = replace(one, published_top1=60.0)
    assert pareto_front([worse, one]) == [one]
    assert pareto_front([one, one]) == [one]
    assert pareto_front([]) == []


@pytest.mark.parametrize(
    ("points", "wide"),
    [
        (cost_grid(), True),
        (cost_grid("mobilenet_v1_shallow", [1.0], [224]), True),
        (cost_grid("mobilenet_v2", [0.3, 0.31, 0.32, 1.4], range(32, 300, 32)), False),
    ],
    ids=["published", "one point", "nothing published"],
)
def test_the_plot_is_a_png(tmp_path: Path, points: list[GridPoint], wide: bool) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "grid.png"
    write_grid_plot(path, points)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert (picture.width > 1.5 * picture.height) is wide
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_the_command_plots_and_says_where(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "grid.png"
    result = invoke("--grid", "--arch", "mobilenet_v1", "--plot", path, "--json")
    assert len(json.loads(result.stdout)) == 16
    assert result.stderr == f"plot: {path}\n"
    lost = invoke("--grid", "--plot", tmp_path / "none" / "grid.png")
    assert isinstance(lost.exception, EdgeError)
    assert "cannot write" in str(lost.exception)


def test_without_matplotlib_the_plot_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match=r"pip install 'edge-sdk\[plots\]'"):
        write_grid_plot(tmp_path / "grid.png", cost_grid("mobilenet_v1"))
    assert list(tmp_path.iterdir()) == []
    assert invoke("--grid").exit_code == 0


def test_a_network_of_nothing_has_no_shares() -> None:
    assert cost_table(ModelCost(())).splitlines()[-1].split() == ["total", "0", "0", "0", "0"]
