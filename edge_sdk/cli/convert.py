"""`edge-sdk convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.options import Bars, Number, preprocess_options, read_preprocess

SCHEME_NAMES = "float32, float16, int8, int16x8, w4a8"


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "schemes",
    multiple=True,
    required=True,
    metavar="SCHEME",
    help=f"{SCHEME_NAMES}; may be repeated.",
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of images: a folder per class, flat, or with index.csv.",
)
@click.option(
    "--out",
    default="edge-artifacts",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the artifact folders go.",
)
@preprocess_options
@click.option(
    "--calibration",
    type=click.IntRange(1),
    help="Images to calibrate on [200, or half of a small folder].",
)
@click.option(
    "--samples", type=click.IntRange(1), help="Images to judge on [500, or half of a small folder]."
)
@click.option(
    "--split-file",
    metavar="CSV",
    type=click.Path(path_type=Path),
    help="A training's split.csv: calibrate on its training part, judge on its validation part.",
)
@click.option("--seed", default=0, show_default=True, help="Draws the images.")
@click.option(
    "--max-drop",
    type=Number(0),
    help="Points of accuracy the gate lets go [1.5 int8 and w4a8].",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="How weights are rounded: min-max, adaptive, trained (on --train-data), mixed (adaptive, "
    "the most sensitive convolutions in 8 bits), or auto (the first that passes).",
)
@click.option(
    "--train-data",
    metavar="DATA",
    type=click.Path(path_type=Path),
    help="Labelled images to train on with rounded weights, where rounding alone loses too much.",
)
@click.option(
    "--depthwise-bits",
    default="8",
    show_default=True,
    type=click.Choice(["8", "4"]),
    help="Bits of w4a8's depthwise kernels.",
)
@click.option(
    "--runtime-python",
    "pythons",
    multiple=True,
    metavar="PYTHON",
    help="Also judge in this Python's environment (tflite-runtime).",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Draw what was lost against bytes into this PNG.",
)
@click.option("--overwrite", is_flag=True, help="Replace artifacts once the new ones are complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def convert(
    model: Path | None,
    schemes: tuple[str, ...],
    data: Path,
    out: Path,
    pythons: tuple[str, ...],
    as_json: bool,
    labels: Path | None,
    **given: Any,
) -> None:
    """Convert MODEL and prove it on real samples.

    MODEL is a .keras or .h5 file, a SavedModel folder or a float .tflite; without one the
    embedded malaria-cell classifier. Each scheme gives a folder with model.tflite and
    manifest.json. One that loses too much, or fails on a runtime, is kept as *.rejected and the
    command ends with status 1.
    """
    from edge_sdk import report
    from edge_sdk.convert.pipeline import ConvertRequest, conversion_report
    from edge_sdk.convert.pipeline import convert as run
    from edge_sdk.plots import check_plot, write_conversion_plot

    request = ConvertRequest(
        model=model,
        schemes=schemes,
        data=data,
        out=out,
        labels=labels,
        preprocess=read_preprocess(given),
        calibration=given["calibration"],
        samples=given["samples"],
        split_file=given["split_file"],
        seed=given["seed"],
        max_drop=given["max_drop"],
        runtime_pythons=pythons,
        method=given["method"],
        train_data=given["train_data"],
        depthwise_bits=int(given["depthwise_bits"]),
        overwrite=given["overwrite"],
    )
    if given["plot"] is not None:
        check_plot(given["plot"])
    with Bars() as bars:
        result = run(request, bars)
    if given["plot"] is not None:
        write_conversion_plot(given["plot"], result.name, result.artifacts)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(json.dumps(conversion_report(result), ensure_ascii=False))
    else:
        click.echo(report.conversion_table(result.artifacts))
        if tried := report.attempts_table(result.artifacts):
            click.echo(f"\n{tried}\n")
        click.echo("\n".join(report.conversion_summary(result.artifacts)))
    if not result.passed:
        raise SystemExit(1)
