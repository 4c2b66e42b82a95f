"""`edge-sdk data`: public data sets."""

from __future__ import annotations

from pathlib import Path

import click

from edge_sdk.cli.options import Bars
from edge_sdk.errors import UsageError, unknown_name

DATA_SETS = ("nih-malaria",)


@click.group()
def data() -> None:
    """Get public data sets to train and judge on."""


@data.command()
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The new folder [NAME, here].", metavar="DIR"
)
@click.option("--keep-archive", is_flag=True, help="Leave the checked DIR.zip beside DIR.")
@click.option("--url", help="A mirror: https, and the same bytes as the official archive.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Unpack this file, fetched elsewhere, once it is checked.",
)
@click.option("--overwrite", is_flag=True, help="Replace DIR once the new one is complete.")
def fetch(
    name: str,
    out: Path | None,
    keep_archive: bool,
    url: str | None,
    archive: Path | None,
    overwrite: bool,
) -> None:
    """Fetch the data set NAME, check it and unpack it.

    NAME is nih-malaria: 27,558 cell crops of thin blood smears, 353 MB, from the U.S. National
    Library of Medicine, with an index.csv that names every crop's label and patient. Run again
    after an interruption to go on where it stopped."""
    from edge_sdk.fetch import nih_malaria, sources

    if name not in DATA_SETS:
        raise UsageError(unknown_name("data set", name, DATA_SETS))
    for option, given in (("--url", url), ("--keep-archive", keep_archive)):
        if archive is not None and given:
            raise UsageError(f"{option} does not go with --archive, which is a file to keep")
    source = sources.NIH_MALARIA
    with Bars() as progress:
        done = nih_malaria.fetch(
            out or Path(name),
            source=source,
            url=url,
            archive=archive,
            keep_archive=keep_archive,
            replace_old=overwrite,
            progress=progress,
        )
    counts = ", ".join(f"{count} {label}" for label, count in done.images.items())
    click.echo(f"{done.folder}: {counts}, of {done.patients} patients (index.csv)")
    for note in done.notes:
        click.echo(f"note: {note}")
    click.echo(f"{source.terms}\n{source.citation}")
