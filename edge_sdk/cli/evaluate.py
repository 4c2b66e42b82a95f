"""`edge-sdk evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.options import Bars, backend_option, chip_options, read_chip, threads_option


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled images: a folder per class, or with index.csv.",
)
@click.option(
    "--group", metavar="COLUMN", help="Column of index.csv with the groups [group or patient]."
)
@click.option("--positive", metavar="LABEL", help="What is looked for, of two classes [the first].")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    help="Fit temperature and threshold on these images, of other groups.",
)
@click.option(
    "--split-file",
    metavar="CSV",
    type=click.Path(path_type=Path),
    help="A training's split.csv: judge its test part; with --calibrate and the same folder, fit "
    "on its validation part.",
)
@click.option("--store", is_flag=True, help="Keep what --calibrate fits in the manifests.")
@backend_option
@chip_options
@threads_option
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page with the curves.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def evaluate(models: tuple[Path, ...], html: Path | None, as_json: bool, **given: Any) -> None:
    """Compare MODELS on labelled images, with intervals.

    MODELS are artifact folders or bare .tflite files of the same classes; the first is the one
    the others are tested against. Intervals draw whole groups (patients, say).
    """
    from edge_sdk.evaluate.html import write_page
    from edge_sdk.evaluate.run import EvaluateRequest
    from edge_sdk.evaluate.run import evaluate as run
    from edge_sdk.evaluate.text import comparison_text
    from edge_sdk.strict import to_plain

    chip = read_chip(given, given["backend"])
    with Bars() as bars:
        result = run(EvaluateRequest(models=models, chip=chip, **given), bars)
    if html is not None:
        write_page(html, result)
    if as_json:
        click.echo(json.dumps(to_plain(result), ensure_ascii=False))
    else:
        click.echo(comparison_text(result))
