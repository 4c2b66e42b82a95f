"""The command line: click only, one function call per command. Nothing heavy at import."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_sdk import __version__
from edge_sdk.errors import EdgeError, UsageError

F = TypeVar("F", bound=Callable[..., Any])
N = TypeVar("N", int, float)
SCHEME_NAMES = "float32, float16, int8, int16x8, w4a8"
BACKEND_NAMES = "auto, litert, tflite-runtime, tensorflow or fake"


class _Number(click.FloatRange):
    """A range that infinity and NaN are not in: NaN compares false with every limit."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-sdk")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """From a trained MobileNet to a small device: convert, benchmark, classify."""


def _preprocess_options(command: F) -> F:
    options = [
        click.option("--normalise", metavar="NAME", help="tf, torch, unit or none."),
        click.option("--mean", metavar="R,G,B", help="Raw pixel units, with --std."),
        click.option("--std", metavar="R,G,B", help="value = (pixel - mean) / std."),
        click.option("--fit", metavar="HOW", help="stretch, crop or pad to the input size."),
        click.option("--crop-fraction", type=float, help="Share of the crop kept, e.g. 0.875."),
        click.option("--colour", metavar="ORDER", help="RGB or BGR, as the model expects."),
        click.option(
            "--labels", type=click.Path(path_type=Path), help="Text file, one label a line."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _read_options(given: dict[str, Any]) -> Any:
    from edge_sdk.sidecar import PreprocessOptions

    def three(option: str) -> tuple[float, float, float] | None:
        if given[option] is None:
            return None
        try:
            r, g, b = (float(v) for v in given[option].split(","))
        except ValueError:
            raise UsageError(
                f"--{option} {given[option]}: expected three numbers, as 127.5,127.5,127.5"
            ) from None
        return r, g, b

    return PreprocessOptions(
        given["normalise"],
        three("mean"),
        three("std"),
        given["fit"],
        given["crop_fraction"],
        given["colour"],
    )


@cli.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "schemes",
    multiple=True,
    required=True,
    metavar="SCHEME",
    help=f"{SCHEME_NAMES}; may be repeated.",
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of images: a folder per class, flat, or with index.csv.",
)
@click.option(
    "--out",
    default="edge-artifacts",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the artifact folders go.",
)
@_preprocess_options
@click.option(
    "--calibration",
    type=click.IntRange(1),
    help="Images to calibrate on [200, or half of a small folder].",
)
@click.option(
    "--samples", type=click.IntRange(1), help="Images to judge on [500, or half of a small folder]."
)
@click.option("--seed", default=0, show_default=True, help="Draws the images.")
@click.option(
    "--max-drop",
    type=_Number(0),
    help="Points of accuracy the gate lets go [1.5 int8, 3 w4a8].",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="How weights are rounded: min-max, adaptive, or auto (the first that passes).",
)
@click.option(
    "--runtime-python",
    "pythons",
    multiple=True,
    metavar="PYTHON",
    help="Also judge in this Python's environment (tflite-runtime).",
)
@click.option("--overwrite", is_flag=True, help="Replace artifacts once the new ones are complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def convert(
    model: Path | None,
    schemes: tuple[str, ...],
    data: Path,
    out: Path,
    pythons: tuple[str, ...],
    as_json: bool,
    labels: Path | None,
    **given: Any,
) -> None:
    """Convert MODEL and prove it on real samples.

    MODEL is a .keras or .h5 file, a SavedModel folder or a float .tflite; without one the
    embedded malaria-cell classifier. Each scheme gives a folder with model.tflite and
    manifest.json. One that loses too much, or fails on a runtime, is kept as *.rejected and the
    command ends with status 1.
    """
    from edge_sdk import report
    from edge_sdk.convert.pipeline import ConvertRequest, conversion_report
    from edge_sdk.convert.pipeline import convert as run

    request = ConvertRequest(
        model=model,
        schemes=schemes,
        data=data,
        out=out,
        labels=labels,
        preprocess=_read_options(given),
        calibration=given["calibration"],
        samples=given["samples"],
        seed=given["seed"],
        max_drop=given["max_drop"],
        runtime_pythons=pythons,
        method=given["method"],
        overwrite=given["overwrite"],
    )
    with _Bars() as bars:
        result = run(request, bars)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(json.dumps(conversion_report(result), ensure_ascii=False))
    else:
        click.echo(report.conversion_table(result.artifacts))
        click.echo("\n".join(report.conversion_summary(result.artifacts)))
    if not result.passed:
        raise SystemExit(1)


@cli.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    help="Estimate for this device; may be repeated.",
)
@click.option("--backend", default="auto", show_default=True, help=f"{BACKEND_NAMES}.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Threads of the interpreter.",
)
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1), help="Timed runs.")
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=_Number(0.1),
    help="Stop timing a model after this long.",
)
@click.option("--estimate-only", is_flag=True, help="Do not measure on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def benchmark(
    models: tuple[Path, ...],
    profiles: tuple[str, ...],
    backend: str,
    threads: int,
    runs: int,
    seconds: float,
    estimate_only: bool,
    as_json: bool,
) -> None:
    """Measure MODELS here and estimate them on profiles.

    MODELS are artifact folders or any .tflite classifiers; without one the embedded default's
    int8 and w4a8 (converted once, then cached). Every figure says measured or estimated.
    """
    from edge_sdk import report
    from edge_sdk.benchmark.run import benchmark as run
    from edge_sdk.profiles import load_profile
    from edge_sdk.runtime import load_model
    from edge_sdk.strict import to_plain

    devices = [load_profile(name) for name in profiles]
    with _Bars() as bars:
        if not models:
            from edge_sdk.convert.default import default_artifacts

            models = tuple(a.path for a in default_artifacts(bars))
        loaded = [load_model(path) for path in models]
        results = []
        for i, model in enumerate(loaded):
            bars("benchmark", i, len(loaded))
            results.append(
                run(
                    model,
                    devices,
                    here=not estimate_only,
                    backend=backend,
                    threads=threads,
                    runs=runs,
                    seconds=seconds,
                )
            )
        bars("benchmark", len(loaded), len(loaded))
    if as_json:
        click.echo(json.dumps(to_plain(results), ensure_ascii=False))
        return
    click.echo(report.benchmark_table(results))
    click.echo("\n".join(report.benchmark_notes(results)))


@cli.command()
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
@click.option("--store", is_flag=True, help="Keep what --calibrate fits in the manifests.")
@click.option("--backend", default="auto", show_default=True, help=f"{BACKEND_NAMES}.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Threads of the interpreter.",
)
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

    with _Bars() as bars:
        result = run(EvaluateRequest(models=models, **given), bars)
    if html is not None:
        write_page(html, result)
    if as_json:
        click.echo(json.dumps(to_plain(result), ensure_ascii=False))
    else:
        click.echo(comparison_text(result))


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True)
@click.option("--backend", default="auto", show_default=True, help=f"{BACKEND_NAMES}.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Threads of the interpreter.",
)
@click.option(
    "--top", default=1, show_default=True, type=click.IntRange(1), help="Labels to print per image."
)
@click.option(
    "--threshold",
    default=0.0,
    show_default=True,
    type=_Number(0, 1),
    help="Leave out labels below this probability.",
)
@_preprocess_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
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
    """Classify SOURCES (images, folders, globs) with MODEL.

    MODEL is an artifact folder, or a bare .tflite with --labels where it has none inside.
    """
    from edge_sdk.classify import ClassifyRun, json_line, text_line
    from edge_sdk.runtime import Classifier, load_model

    loaded = load_model(model, labels=labels, options=_read_options(given))
    for note in loaded.notes:
        click.echo(f"note: {note}", err=True)
    with Classifier(loaded, backend=backend, threads=threads) as classifier:
        b = classifier.backend
        click.echo(
            f"{loaded.name} on {b.name} {b.version}" + (f" ({b.note})" if b.note else ""), err=True
        )
        run = ClassifyRun(classifier, sources)
        for path, prediction in run:
            line = json_line if as_json else text_line
            click.echo(line(path, prediction, top, threshold))
    click.echo(run.summary(), err=True)


@cli.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--arch", metavar="NAME", help="mobilenet_v1, mobilenet_v2 and others, computed.")
@click.option("--alpha", type=float, help="Width of --arch [1.0].")
@click.option("--size", type=int, help="Pixels a side of --arch's input [224].")
@click.option(
    "--classes", type=click.IntRange(1, 1_000_000), help="Classes of --arch or --grid [1000]."
)
@click.option("--dtype", metavar="TYPE", help="Of --arch or --grid: int8, int4 ... [float32].")
@click.option("--layers", is_flag=True, help="A row per layer instead of one per kind.")
@click.option("--grid", is_flag=True, help="Many widths and sizes of --arch [V1 and V2].")
@click.option("--alphas", metavar="A,B,...", help="Widths of --grid [the paper's].")
@click.option("--sizes", metavar="A,B,...", help="Sizes of --grid [the paper's].")
@click.option(
    "--plot",
    metavar="FILE.png",
    type=click.Path(path_type=Path),
    help="Draw --grid (needs matplotlib).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def cost(
    model: Path | None, layers: bool, grid: bool, plot: Path | None, as_json: bool, **given: Any
) -> None:
    """Count Mult-Adds, parameters and activation bytes.

    Of MODEL (an artifact folder, a .tflite, a Keras file or a SavedModel folder), of a MobileNet
    named with --arch, or of many with --grid. Nothing is run.
    """
    from edge_sdk import report
    from edge_sdk.cost_grid import architecture_cost, cost_grid
    from edge_sdk.strict import to_plain

    _check_cost_options({"MODEL": model, "layers": layers, "grid": grid, "plot": plot, **given})
    net = {k: given[k] for k in ("alpha", "size", "classes", "dtype") if given[k] is not None}
    if grid:
        points = cost_grid(
            given["arch"],
            _numbers("alphas", given["alphas"], float),
            _numbers("sizes", given["sizes"], int),
            **net,
        )
        if plot is not None:
            from edge_sdk.plots import write_grid_plot

            write_grid_plot(plot, points)
            click.echo(f"plot: {plot}", err=True)
        click.echo(json.dumps(to_plain(points)) if as_json else report.grid_table(points))
        return
    if model is not None:
        from edge_sdk.convert.count import cost_of_model

        found, counted = cost_of_model(model)
    else:
        found, counted = architecture_cost(given["arch"], **net)
    if as_json:
        click.echo(json.dumps(report.cost_data(found, counted, layers=layers), ensure_ascii=False))
        return
    click.echo(report.cost_layers(found) if layers else report.cost_table(found))
    click.echo("\n".join(report.cost_summary(found, counted)))


def _check_cost_options(given: dict[str, Any]) -> None:
    """What is named is used or is an error."""
    rules: dict[str, tuple[str, str]] = {
        "grid": ("MODEL layers alpha size", "does not go with --grid"),
        "MODEL": ("arch alpha size classes dtype alphas sizes plot", "does not go with a MODEL"),
        "arch": ("alphas sizes plot", "goes with --grid only"),
    }
    present = {k for k, v in given.items() if v is not None and v is not False}
    what = next((k for k in rules if k in present), None)
    if what is None:
        raise UsageError("nothing to count: give a MODEL, --arch NAME or --grid")
    wrong, why = rules[what]
    for name in wrong.split():
        if name in present:
            raise UsageError(f"{name if name == 'MODEL' else '--' + name} {why}")


def _numbers(option: str, text: str | None, kind: Callable[[str], N]) -> list[N] | None:
    if text is None:
        return None
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        example = "0.5,0.75" if option == "alphas" else "160,224"
        raise UsageError(f"--{option} {text}: expected numbers, as {example}") from None


@cli.command()
@click.argument("name", required=False)
def profiles(name: str | None) -> None:
    """List the device profiles, or show NAME (a profile, or a .toml file of your own)."""
    from edge_sdk import report
    from edge_sdk.profiles import load_profile, profile_names

    if name is None:
        click.echo(report.profiles_table([load_profile(n) for n in profile_names()]))
    else:
        click.echo(report.profile_page(load_profile(name)))


@cli.command()
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


class _Bars:
    """Progress bars on standard error, one per step; lines where that is no terminal."""

    def __init__(self) -> None:
        self._step = ""
        self._bar: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != self._step:
            self._close()
            self._step = step
            self._bar = click.progressbar(length=total, label=f"{step:<28}", file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos)
        if done >= total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar, self._step = None, ""

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()


def main() -> None:
    """Runs the command line: one line per error; status 2 for usage, 1 for failure."""
    try:
        cli.main(standalone_mode=False)
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


if __name__ == "__main__":
    main()
