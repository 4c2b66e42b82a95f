"""`edge-sdk classify`, and `simulate`, which draws images to classify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.live import live_options, read_live
from edge_sdk.cli.options import (
    Number,
    backend_option,
    chip_options,
    preprocess_options,
    read_chip,
    read_preprocess,
    threads_option,
)
from edge_sdk.errors import UsageError


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1)
@backend_option
@chip_options
@threads_option
@click.option(
    "--top", default=1, show_default=True, type=click.IntRange(1), help="Labels to print per image."
)
@click.option(
    "--threshold",
    default=0.0,
    show_default=True,
    type=Number(0, 1),
    help="Leave out labels below this probability.",
)
@preprocess_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@live_options
def classify(
    model: Path,
    sources: tuple[str, ...],
    backend: str,
    threads: int,
    top: int,
    threshold: float,
    labels: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Classify SOURCES (images, folders, globs), or a --camera's frames, with MODEL.

    MODEL is an artifact folder, or a bare .tflite with --labels where it has none inside. A
    temperature and threshold that `evaluate --store` kept in an artifact are used and named: the
    threshold says which of two labels comes first.
    """
    from edge_sdk.classify import ClassifyRun, decision_line, json_line, text_line
    from edge_sdk.runtime import Classifier, load_model

    chip = read_chip(given, backend)
    live = read_live(given)
    if "camera" in live:
        if sources or chip is not None:
            what = f"source '{sources[0]}'" if sources else "--backend cim"
            raise UsageError(f"--camera takes its frames by itself: leave out {what}")
        live |= {"model": str(model), "backend": backend, "threads": threads}
        live |= {"top": top, "threshold": threshold} | ({"output": "json"} if as_json else {})
        _watch_camera(live, labels, given)
        return
    if live:
        raise UsageError(f"{', '.join(sorted(live))}: these options belong to --camera")
    if not sources:
        raise click.UsageError("Give SOURCES to classify, or --camera.")
    loaded = load_model(model, labels=labels, options=read_preprocess(given))
    for note in loaded.notes:
        click.echo(f"note: {note}", err=True)
    options = {} if chip is None else chip.options(loaded)
    with Classifier(loaded, backend=backend, threads=threads, **options) as classifier:
        b = classifier.backend
        click.echo(
            f"{loaded.name} on {b.name} {b.version}" + (f" ({b.note})" if b.note else ""), err=True
        )
        if loaded.decision is not None:
            click.echo(decision_line(loaded.decision), err=True)
        run = ClassifyRun(classifier, sources)
        for path, prediction in run:
            line = json_line if as_json else text_line
            click.echo(line(path, prediction, top, threshold))
    click.echo(run.summary(), err=True)


def _watch_camera(live: dict[str, Any], labels: Path | None, given: dict[str, Any]) -> None:
    from edge_sdk.live.program import run_live
    from edge_sdk.live.settings import read_settings
    from edge_sdk.runtime import load_model

    options = read_preprocess(given)
    run_live(
        read_settings(None, live),
        load=lambda s: load_model(Path(s.model), labels=labels, options=options),
    )


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--count", default=200, show_default=True, type=click.IntRange(2), help="Cells to draw."
)
@click.option("--seed", default=0, show_default=True, help="The same seed draws the same cells.")
@click.option(
    "--patients",
    default=10,
    show_default=True,
    type=click.IntRange(2),
    help="Simulated patients, each with its own stain.",
)
def simulate(out: Path, count: int, seed: int, patients: int) -> None:
    """Draw simulated thin-smear cells into the new folder OUT."""
    from edge_sdk.simulate import write_cells

    folder = write_cells(out, count, seed, patients)
    click.echo(f"{count} simulated cells (drawn, not photographed) in {folder}")
