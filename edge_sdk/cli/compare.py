"""`edge-sdk compare`: two benchmarks, and whether the second is worse."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edge_sdk.cli.options import Number
from edge_sdk.errors import EdgeError


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--limit",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    type=Number(0),
    help="Fail when a figure grew by more than this.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def compare(before: Path, after: Path, limit: float, as_json: bool) -> None:
    """Compare two outputs of `benchmark --json`: BEFORE and AFTER.

    Latency, memory and file size of each model in each place. Ends with status 1 when one grew by
    more than --limit, or is missing in AFTER: for continuous integration.
    """
    from edge_sdk.benchmark import rows
    from edge_sdk.report import NOTHING, table

    changes = rows.compare(rows.read_rows(before), rows.read_rows(after))
    if as_json:
        said = [{**asdict(c), "percent": c.percent, "worse": c.worse(limit)} for c in changes]
        click.echo(json.dumps(said, ensure_ascii=False))
    else:
        lines = [
            [
                c.model,
                c.where,
                c.figure,
                c.what,
                *(NOTHING if v is None else f"{v:,.6g}" for v in (c.before, c.after)),
                NOTHING if c.percent is None else f"{c.percent:+.1f}",
                "WORSE" if c.worse(limit) else "new" if c.before is None else "",
            ]
            for c in changes
        ]
        head = ["model", "where", "figure", "what", "before", "after", "%", ""]
        click.echo(table(head, lines, left=4))
    worse = sum(c.worse(limit) for c in changes)
    if worse:
        raise EdgeError(
            f"{worse} of {len(changes)} figures grew by more than {limit:g} % or are missing"
        )
