"""The command line: click only, one function call per command. Nothing heavy at import."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import click

from edge_sdk import __version__
from edge_sdk.errors import EdgeError, UsageError, shown

# Every command of the program, a line for each; what it needs it imports in its function. A device
# has those that its bundle was made with: bundle/own.py.
COMMANDS = {
    "convert": "edge_sdk.cli.convert:convert",
    "benchmark": "edge_sdk.cli.benchmark:benchmark",
    "profiles": "edge_sdk.cli.profiles:profiles",
    "compare": "edge_sdk.cli.compare:compare",
    "cost": "edge_sdk.cli.cost:cost",
    "evaluate": "edge_sdk.cli.evaluate:evaluate",
    "classify": "edge_sdk.cli.classify:classify",
    "simulate": "edge_sdk.cli.classify:simulate",
    "data": "edge_sdk.cli.data:data",
    "train": "edge_sdk.cli.train:train",
    "cim": "edge_sdk.cli.cim:cim",
    "bundle": "edge_sdk.cli.bundle:bundle",
    "deploy": "edge_sdk.cli.deploy:deploy",
    "keys": "edge_sdk.cli.keys:keys",
    "screen": "edge_sdk.cli.screen_site:screen",
    "serve": "edge_sdk.cli.serve:serve",
}
# Commands that a bundle has when it was made `--with` this.
BUNDLED_WITH = {"screen": "screening", "keys": "screening", "serve": "serve"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-sdk")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """From a trained MobileNet to a small device: convert, benchmark, classify."""


def _absent(name: str) -> click.Command:
    """Stands for a command that this device's bundle was made without; in no list."""

    def refuse() -> None:
        extra = BUNDLED_WITH.get(name)
        there = f"its bundle has to be made --with {extra}" if extra else "it is for a workstation"
        raise UsageError(f"`edge-sdk {name}` is not installed on this device: {there}")

    anything = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command(name, anything, refuse, hidden=True)


for name, place in COMMANDS.items():
    module, _, attribute = place.partition(":")
    if importlib.util.find_spec(module) is None:
        cli.add_command(_absent(name))
    else:
        cli.add_command(getattr(importlib.import_module(module), attribute))


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
    except ModuleNotFoundError as e:
        if "--debug" in sys.argv or not (e.name or "").startswith("edge_sdk."):
            raise
        click.echo(f"error: this is for a workstation: {e.name} is not on this device", err=True)
        sys.exit(1)
    except (EdgeError, OSError) as e:
        if "--debug" in sys.argv:
            raise
        click.echo(f"error: {_one_line(e)}", err=True)
        sys.exit(e.exit_code if isinstance(e, EdgeError) else 1)


def _one_line(error: EdgeError | OSError) -> str:
    if isinstance(error, OSError):
        return shown(f"{error.filename or 'system'}: {error.strerror or error}")
    return shown(" ".join(str(error).split()))
