"""`edge-sdk profiles`: list, show, fit, validate and calibrate device profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.device import adb_options, open_timer, ssh_options
from edge_sdk.cli.options import Bars, Number, backend_option, threads_option


class _Profiles(click.Group):
    """`edge-sdk profiles rpi4` is `edge-sdk profiles show rpi4`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            return super().resolve_command(ctx, ["show", *args])
        return super().resolve_command(ctx, args)


@click.group(cls=_Profiles, invoke_without_command=True)
@click.pass_context
def profiles(ctx: click.Context) -> None:
    """List device profiles, show, fit, validate or calibrate them.

    Without a command: the list, the shipped ones and your own. `profiles NAME` shows one.
    """
    if ctx.invoked_subcommand is None:
        from edge_sdk import report_profiles
        from edge_sdk.backends.cim.profile import cim_profile_names, load_cim_profile
        from edge_sdk.profiles import load_profile, profile_names, user_profile_names
        from edge_sdk.report_cim import cim_profiles_table

        names = [*profile_names(), *user_profile_names()]
        click.echo(report_profiles.profiles_table([load_profile(n) for n in names]))
        chips = [load_cim_profile(n) for n in cim_profile_names()]
        click.echo("\n" + cim_profiles_table(chips))


@profiles.command()
@click.argument("name")
def show(name: str) -> None:
    """Show profile NAME (or a .toml file of your own) with every source."""
    from edge_sdk import report_profiles
    from edge_sdk.backends.cim.profile import is_cim_profile, load_cim_profile
    from edge_sdk.profiles import load_profile
    from edge_sdk.report_cim import cim_profile_page

    if is_cim_profile(name):
        click.echo(cim_profile_page(load_cim_profile(name)))
    else:
        click.echo(report_profiles.profile_page(load_profile(name)))


@profiles.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the fits [default: `fits` beside each profile].",
)
def fit(files: tuple[Path, ...], out: Path | None) -> None:
    """Derive the latency models of profiles from their measurement tables.

    FILES are .toml profiles of your own; without one, the shipped profiles are fitted again, in
    a checkout's device_profiles/fits or in --out. Coefficients, rows, errors and date are written
    by this command alone.
    """
    from edge_sdk import report_profiles
    from edge_sdk.benchmark.fit import fit_all, shipped_fits_folder
    from edge_sdk.errors import UsageError
    from edge_sdk.profiles import load_profile, profile_names

    for path in files:
        if path.suffix != ".toml":
            raise UsageError(f"FILES: '{path}' is no .toml file; give profiles of your own")
    if files:
        made = [
            each
            for path in files
            for each in fit_all([load_profile(str(path))], out or path.parent / "fits")
        ]
    else:
        shipped = [load_profile(name) for name in profile_names()]
        made = fit_all(shipped, out or shipped_fits_folder())
    click.echo(report_profiles.fits_table(made))


@profiles.command()
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with plots as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def validate(html: Path | None, as_json: bool) -> None:
    """How far off the estimates are, on published rows that the fits have not seen."""
    from edge_sdk import report_profiles
    from edge_sdk.benchmark.validate import validate as run
    from edge_sdk.strict import to_plain

    made = run()
    if html is not None:
        from edge_sdk.report_validation import write_page

        write_page(html, made)
    if as_json:
        click.echo(json.dumps(to_plain(made), ensure_ascii=False))
        return
    click.echo(report_profiles.validation_text(made))
    if html is not None:
        click.echo(f"\npage: {html}")


@profiles.command()
@click.argument("base")
@click.option("--here", is_flag=True, help="Time the models on this machine.")
@ssh_options
@adb_options
@click.option(
    "--rows",
    type=click.Path(path_type=Path),
    help="Do not time: a CSV of what was, model,alpha,resolution,dtype,latency_ms.",
)
@click.option("--name", help="Name of the new profile [default: my-BASE].")
@backend_option
@threads_option
@click.option("--clock-ghz", type=Number(0.01), help="Clock while timing [default: as in BASE].")
def calibrate(
    base: str,
    here: bool,
    rows: Path | None,
    name: str | None,
    backend: str,
    threads: int,
    clock_ghz: float | None,
    **device: Any,
) -> None:
    """Make a profile of your own unit from a few models timed on it.

    BASE is the profile nearest to the unit. With --host, --adb or --here ten small untrained
    MobileNets are built (this needs TensorFlow, here) and timed there, some minutes in all.
    Without any of these and without --rows: the list of them. The profile goes to your own
    folder, $XDG_CONFIG_HOME/edge-sdk/profiles, and is used by its name from then on.
    """
    from datetime import date

    from edge_sdk import report_profiles
    from edge_sdk.benchmark.calibrate import (
        Run,
        calibrated_profile,
        calibration_models,
        check_name,
        read_timed,
        store,
        time_models,
    )
    from edge_sdk.errors import UsageError
    from edge_sdk.profiles import DTYPE_CLASSES, load_profile, user_folder

    known = load_profile(base)
    called = name or f"my-{known.name}"
    check_name(called)
    timing = here or device["host"] is not None or device["adb"] is not None
    if rows is not None and timing:
        raise UsageError("--rows is of models timed before; --here, --host and --adb time: one")
    if rows is None and not timing:
        click.echo("model,alpha,resolution,dtype,latency_ms")
        for dtype, kind in (("float32", "float"), ("int8", "int8")):
            for model, alpha, size in calibration_models(kind):
                click.echo(f"{model},{alpha:g},{size},{dtype},")
        return
    runs = {}
    for kind in DTYPE_CLASSES:
        at = known.latency.get(kind) or next(iter(known.latency.values()))
        clock = clock_ghz or at.clock_ghz
        runs[kind] = Run("not stated", "not stated", threads, at.abi, clock)
    warnings: list[str] = []
    if rows is not None:
        timed = read_timed(rows)
    else:
        from edge_sdk.convert.untrained import untrained_tflite

        how = {"threads": threads, "runs": 50, "seconds": 20.0}
        with Bars() as bars, open_timer(device, backend, how, estimate_only=False) as timer:
            assert timer is not None
            timed, runs, warnings = time_models(timer, untrained_tflite, runs, bars)
    made, text = calibrated_profile(known, timed, runs, called, date.today().isoformat())
    fitted = store(made, text)
    click.echo(report_profiles.fits_table([fitted]))
    for text in (*warnings, *report_profiles.calibration_warnings(fitted)):
        click.echo(f"warning: {text}")
    click.echo(f"profile {called}: {user_folder() / called}.toml")
