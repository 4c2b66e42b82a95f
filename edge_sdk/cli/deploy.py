"""`edge-sdk deploy`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.cli.device import ssh_option
from edge_sdk.cli.options import Bars, Number
from edge_sdk.errors import DeviceError

if TYPE_CHECKING:
    from edge_sdk.device.deploy import Plan


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("host", metavar="HOST")
@click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
@click.option(
    "--trust",
    type=click.Path(path_type=Path),
    metavar="KEY.pub",
    help="The first time: trust this key there from now on.",
)
@click.option("--allow-older", is_flag=True, help="Install an older version, too.")
@click.option(
    "--root", default="/", metavar="FOLDER", help="Install into this folder there (images, tests)."
)
@click.option(
    "--services",
    type=click.Choice(["auto", "systemd", "none"]),
    default="auto",
    show_default=True,
    help="Who starts the classifier there.",
)
@ssh_option
@click.option(
    "--timeout",
    type=Number(1),
    metavar="SECONDS",
    help="Wait so long for the installation, which goes on there after it [900].",
)
@click.option("--json", "as_json", is_flag=True, help="The plan, or the device's status, as JSON.")
def deploy(
    bundle: Path,
    host: str,
    dry_run: bool,
    trust: Path | None,
    allow_older: bool,
    root: str,
    services: str,
    ssh_option: tuple[str, ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Install BUNDLE (X.edge.zip) on HOST, as pi@rpi4, over SSH.

    A copy that was cut off goes on where it stopped. The device tests the new release before it
    switches to it, and goes back where it does not come up healthy.
    """
    from edge_sdk.device.deploy import INSTALL_S, Deployment

    options = {"trust": trust, "allow_older": allow_older, "root": root, "services": services}
    with Deployment(bundle, host, options=ssh_option, **options) as device:  # type: ignore[arg-type]
        plan = device.plan()
        if dry_run:
            click.echo(json.dumps(asdict(plan), indent=1) if as_json else _plan(plan))
            if plan.problems:
                raise DeviceError(f"{host} would refuse it: {'; '.join(plan.problems)}")
            return
        click.echo(_plan(plan), err=True)
        with Bars() as bars:
            status = device.deploy(
                plan,
                timeout_s=timeout or INSTALL_S,
                say=lambda line: click.echo(line, err=True),
                progress=bars,
            )
    if as_json:
        click.echo(json.dumps(status, indent=1))
        return
    width = max(map(len, status), default=0)
    for name, value in status.items():
        click.echo(f"{name.replace('_', ' '):{width}}  {value}")


def _plan(plan: Plan) -> str:
    left = plan.size_bytes - plan.there_bytes
    there = f", {plan.there_bytes / 1e6:.1f} MB are there" if plan.there_bytes else ""
    lines = {
        "bundle": f"{plan.bundle} for {plan.target}",
        "device": f"{plan.host}: {plan.device}",
        "installed": plan.installed or "nothing",
        "to copy": f"{left / 1e6:.1f} MB{there}",
        "to unpack": f"{plan.unpacked_bytes / 1e6:.1f} MB, {plan.free_bytes / 1e6:.0f} MB are free",
    }
    if plan.nothing_to_do:
        lines |= {"to copy": "nothing", "to unpack": "nothing: it is installed, and whole"}
    return "\n".join(f"{name:9}  {value}" for name, value in lines.items())
