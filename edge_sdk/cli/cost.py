"""`edge-sdk cost`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_sdk.errors import UsageError

N = TypeVar("N", int, float)


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--arch", metavar="NAME", help="mobilenet_v1, mobilenet_v2 and others, computed.")
@click.option("--alpha", type=float, help="Width of --arch [1.0].")
@click.option("--size", type=int, help="Pixels a side of --arch's input [224].")
@click.option(
    "--classes", type=click.IntRange(1, 1_000_000), help="Classes of --arch or --grid [1000]."
)
@click.option("--dtype", metavar="TYPE", help="Of --arch or --grid: int8, int4 ... [float32].")
@click.option("--layers", is_flag=True, help="A row per layer instead of one per kind.")
@click.option("--grid", is_flag=True, help="Many widths and sizes of --arch [V1 and V2].")
@click.option("--alphas", metavar="A,B,...", help="Widths of --grid [the paper's].")
@click.option("--sizes", metavar="A,B,...", help="Sizes of --grid [the paper's].")
@click.option(
    "--plot",
    metavar="FILE.png",
    type=click.Path(path_type=Path),
    help="Draw --grid (needs matplotlib).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def cost(
    model: Path | None, layers: bool, grid: bool, plot: Path | None, as_json: bool, **given: Any
) -> None:
    """Count Mult-Adds, parameters and activation bytes.

    Of MODEL (an artifact folder, a .tflite, a Keras file or a SavedModel folder), of a MobileNet
    named with --arch, or of many with --grid. Nothing is run.
    """
    from edge_sdk import report
    from edge_sdk.cost_grid import architecture_cost, cost_grid
    from edge_sdk.strict import to_plain

    _check_cost_options({"MODEL": model, "layers": layers, "grid": grid, "plot": plot, **given})
    net = {k: given[k] for k in ("alpha", "size", "classes", "dtype") if given[k] is not None}
    if grid:
        points = cost_grid(
            given["arch"],
            _numbers("alphas", given["alphas"], float),
            _numbers("sizes", given["sizes"], int),
            **net,
        )
        if plot is not None:
            from edge_sdk.plots import write_grid_plot

            write_grid_plot(plot, points)
            click.echo(f"plot: {plot}", err=True)
        click.echo(json.dumps(to_plain(points)) if as_json else report.grid_table(points))
        return
    if model is not None:
        from edge_sdk.convert.count import cost_of_model

        found, counted = cost_of_model(model)
    else:
        found, counted = architecture_cost(given["arch"], **net)
    if as_json:
        click.echo(json.dumps(report.cost_data(found, counted, layers=layers), ensure_ascii=False))
        return
    click.echo(report.cost_layers(found) if layers else report.cost_table(found))
    click.echo("\n".join(report.cost_summary(found, counted)))


def _check_cost_options(given: dict[str, Any]) -> None:
    """What is named is used or is an error."""
    rules: dict[str, tuple[str, str]] = {
        "grid": ("MODEL layers alpha size", "does not go with --grid"),
        "MODEL": ("arch alpha size classes dtype alphas sizes plot", "does not go with a MODEL"),
        "arch": ("alphas sizes plot", "goes with --grid only"),
    }
    present = {k for k, v in given.items() if v is not None and v is not False}
    what = next((k for k in rules if k in present), None)
    if what is None:
        raise UsageError("nothing to count: give a MODEL, --arch NAME or --grid")
    wrong, why = rules[what]
    for name in wrong.split():
        if name in present:
            raise UsageError(f"{name if name == 'MODEL' else '--' + name} {why}")


def _numbers(option: str, text: str | None, kind: Callable[[str], N]) -> list[N] | None:
    if text is None:
        return None
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        example = "0.5,0.75" if option == "alphas" else "160,224"
        raise UsageError(f"--{option} {text}: expected numbers, as {example}") from None
