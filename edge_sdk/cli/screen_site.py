"""What a site sets up for `edge-sdk screen`: thresholds, calibration, the key of identifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.options import Bars, backend_option
from edge_sdk.cli.screen import screen
from edge_sdk.cli.screen_options import PATH, session_at, sessions_option


@click.command("rule")
@click.argument("model", type=PATH)
@click.option("--data", required=True, type=PATH, help="Labelled cells with patients.")
@click.option(
    "--split-file", required=True, type=PATH, help="The training's split.csv: its validation part."
)
@click.option("--positive", default="Parasitized", show_default=True, help="Label to be found.")
@click.option("--cells", default=2000, show_default=True, type=click.IntRange(100), help="A slide.")
@backend_option
def rule(model: Path, backend: str, **given: Any) -> None:
    """Choose when artifact MODEL flags a cell, and a slide.

    From which probability a cell is flagged, and from how many flags a slide of --cells cells; on
    validation patients alone, kept in the manifest for every session with this model, with the
    colours of the training's and validation's cells, which the stain gate goes by.
    """
    from edge_sdk.evaluate.slide_rule import make_rule

    with Bars() as bars:
        r, stain = make_rule(model, backend=backend, progress=bars, **given)
    click.echo(
        f"{model}: a cell is flagged from {r.decision.threshold:.4g} on, a slide of {r.cells:,} "
        f"cells from {r.flags} flags on (specificity {r.specificity:g})"
    )
    for name, rate in (("clear", r.clear), ("infected", r.infected)):
        click.echo(
            f"{name} cells: {rate.flagged:,} of {rate.counted:,} flagged (fitted across patients)"
        )
    if stain is None:
        click.echo("stain: not measured, these cells are not cut out on black", err=True)
    else:
        low, high = (", ".join(f"{v:.1f}" for v in end) for end in (stain.low, stain.high))
        click.echo(
            f"stain: L*a*b* {low} to {high}, measured on {stain.cells:,} cut-out cells of "
            f"{stain.groups} patients"
        )


@click.command("calibrate-site")
@click.argument("sessions_given", metavar="SESSION...", nargs=-1, required=True)
@click.option("--site", required=True, help="The site's name.")
@click.option("--out", required=True, type=PATH, help="File to write, for `new --calibration`.")
@sessions_option
def calibrate_site(
    sessions_given: tuple[str, ...], site: str, out: Path, sessions: Path | None
) -> None:
    """Calibrate a site from sessions on 3 or more known-clear slides.

    SESSIONS_GIVEN are their ids; their raw counts say how often clear cells are flagged here.
    """
    from edge_sdk.screening.calibration import calibrate_from

    folders = [session_at(sessions, s) for s in sessions_given]
    found, odd = calibrate_from(site, folders, out)
    for slide in found.slides:
        mark = "  stands out: look at it again" if slide.name in odd else ""
        click.echo(f"{slide.name}  {slide.flagged:,} of {slide.counted:,} flagged{mark}")
    click.echo(f"{out}: site {found.site}, {len(found.slides)} slides")


@click.command("key")
@click.argument("file", type=PATH)
def key(file: Path) -> None:
    """Make the site's key FILE, which identifiers are encrypted with."""
    from edge_sdk.screening.identity import new_key

    found = new_key(file)
    click.echo(f"{file}  key {found}: keep a copy in a safe place; without it nothing opens")


for command in (rule, calibrate_site, key):
    screen.add_command(command)
