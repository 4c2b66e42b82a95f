"""`edge-sdk benchmark`: measured here or on a device, estimated on profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.device import adb_options, open_timer, ssh_options
from edge_sdk.cli.options import Bars, Number, backend_option, threads_option
from edge_sdk.errors import UsageError


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    help="Estimate for this device; may be repeated.",
)
@backend_option
@threads_option
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1), help="Timed runs.")
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=Number(0.1),
    help="Stop timing a model after this long.",
)
@click.option("--estimate-only", is_flag=True, help="Do not measure at all.")
@click.option(
    "--battery-wh",
    type=Number(0.001),
    metavar="WH",
    help="Derive how long a battery of WH watt hours lasts.",
)
@click.option(
    "--duty",
    default=1.0,
    show_default=True,
    type=Number(0, 1),
    help="Share of the time spent computing, for --battery-wh.",
)
@click.option(
    "--emulate",
    is_flag=True,
    help="Count the instructions of an invoke as each --profile's core, under qemu.",
)
@ssh_options
@adb_options
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page with plots.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the results as CSV, a row a figure.")
def benchmark(
    models: tuple[Path, ...],
    profiles: tuple[str, ...],
    backend: str,
    threads: int,
    runs: int,
    seconds: float,
    estimate_only: bool,
    battery_wh: float | None,
    duty: float,
    emulate: bool,
    html: Path | None,
    as_json: bool,
    as_csv: bool,
    **device: Any,
) -> None:
    """Measure MODELS, here or on a device, and estimate them on profiles.

    MODELS are artifact folders or any .tflite classifiers; without one the embedded default's
    int8 and w4a8 (converted once, then cached). Every figure says measured or estimated.
    """
    from edge_sdk import report
    from edge_sdk.backends.cim.profile import is_cim_profile, load_cim_profile
    from edge_sdk.benchmark.emulate import counter, counts_text
    from edge_sdk.benchmark.run import Use
    from edge_sdk.benchmark.run import benchmark as run
    from edge_sdk.profiles import load_profile
    from edge_sdk.progress import watched
    from edge_sdk.runtime import load_model
    from edge_sdk.strict import to_plain

    on_chips = [name for name in profiles if is_cim_profile(name)]
    chips = [load_cim_profile(name) for name in on_chips]
    devices = [load_profile(name) for name in profiles if name not in on_chips]
    if as_json and as_csv:
        raise UsageError("--json and --csv: give one of them")
    if emulate and as_csv:
        raise UsageError("--emulate: --csv has no column for what is counted; use --json")
    count = counter(devices) if emulate else None
    with Bars() as bars:
        if not models:
            from edge_sdk.convert.default import default_artifacts

            models = tuple(a.path for a in default_artifacts(bars))
        loaded = [load_model(path) for path in models]
        results = []
        use = None if battery_wh is None else Use(battery_wh, duty)
        how = {"threads": threads, "runs": runs, "seconds": seconds}
        with open_timer(device, backend, how, estimate_only=estimate_only) as timer:
            for i, model in enumerate(loaded):
                bars("benchmark", i, len(loaded))
                results.append(run(model, devices, chips, timer=timer, use=use))
        bars("benchmark", len(loaded), len(loaded))
        counted = [count(m.path) for m in watched(loaded, "count", bars)] if count else []
    if html is not None:
        from edge_sdk.artifact import read_artifact
        from edge_sdk.report_benchmark import write_page

        manifests = [read_artifact(p).manifest if p.is_dir() else None for p in models]
        write_page(html, results, manifests, devices, counted)
    if as_json:
        plain = to_plain(results)
        for result, found in zip(plain, counted, strict=False):
            result["counted"] = to_plain(found)
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    if as_csv:
        from edge_sdk.benchmark.rows import as_csv as csv_text

        click.echo(csv_text(to_plain(results)), nl=False)
        return
    click.echo(report.benchmark_table(results))
    click.echo("\n".join(report.benchmark_notes(results)))
    for model, found in zip(loaded, counted, strict=False):
        click.echo(counts_text(model.name, found))
