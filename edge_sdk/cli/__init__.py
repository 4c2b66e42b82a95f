"""The command line: click only, one function call per command. Nothing heavy at import."""

from __future__ import annotations

import sys

import click

from edge_sdk import __version__
from edge_sdk.cli import (
    benchmark,
    bundle,
    cim,
    classify,
    compare,
    convert,
    cost,
    data,
    deploy,
    evaluate,
    keys,
    profiles,
    screen,
    screen_site,
    train,
)
from edge_sdk.errors import EdgeError

# Every command of the program, a line for each; what it needs it imports in its function.
COMMANDS = (
    convert.convert,
    benchmark.benchmark,
    profiles.profiles,
    compare.compare,
    cost.cost,
    evaluate.evaluate,
    classify.classify,
    classify.simulate,
    data.data,
    train.train,
    cim.cim,
    bundle.bundle,
    deploy.deploy,
    keys.keys,
    screen.screen,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-sdk")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """From a trained MobileNet to a small device: convert, benchmark, classify."""


for command in COMMANDS:
    cli.add_command(command)
for command in screen_site.SITE_COMMANDS:
    screen.screen.add_command(command)


def main() -> None:
    run_command(cli)


def run_command(command: click.Command) -> None:
    """Runs a command line: one line per error; status 2 for usage, 1 for failure."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing half-written was left under its final name", err=True)
        sys.exit(130)
    except (EdgeError, OSError) as e:
        if "--debug" in sys.argv:
            raise
        click.echo(f"error: {_one_line(e)}", err=True)
        sys.exit(e.exit_code if isinstance(e, EdgeError) else 1)


def _one_line(error: EdgeError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    return " ".join(str(error).split())
