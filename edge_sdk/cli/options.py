"""What several commands share: options, their values, progress bars."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_sdk.errors import UsageError

if TYPE_CHECKING:
    from edge_sdk.chips.choice import ChipChoice
    from edge_sdk.sidecar import PreprocessOptions

F = TypeVar("F", bound=Callable[..., Any])
BACKEND_NAMES = "auto, litert, tflite-runtime, tensorflow, cim or fake"


class Number(click.FloatRange):
    """A range that infinity and NaN are not in: NaN compares false with every limit."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


backend_option = click.option(
    "--backend", default="auto", show_default=True, help=f"{BACKEND_NAMES}."
)
threads_option = click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Threads of the interpreter.",
)


def preprocess_options(command: F) -> F:
    """Decorates a command with what a bare model may need to be told."""
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


def chip_options(command: F) -> F:
    """Decorates a command with what backend cim needs."""
    options = [
        click.option("--chip", metavar="PROFILE", help="With --backend cim: cim-nor-generic, ..."),
        click.option("--chip-seed", type=click.IntRange(0), help="Which chip of that kind [0]."),
        click.option("--chip-time", metavar="T", help="Since programming, as 0s, 1h or 5d [0s]."),
        click.option("--chip-temperature", type=Number(), help="Degrees C [the reference]."),
        click.option(
            "--chip-images",
            type=click.Path(path_type=Path),
            help="Images to calibrate its converters on.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_chip(given: dict[str, Any], backend: str) -> ChipChoice | None:
    """Takes the values of `chip_options` out of `given`. Raises UsageError where they do not go
    with the backend."""
    names = ("chip", "chip_seed", "chip_time", "chip_temperature", "chip_images")
    values = {name: given.pop(name) for name in names}
    if backend != "cim":
        if named := [n for n in names if values[n] is not None]:
            option = named[0].replace("_", "-")
            raise UsageError(f"--{option} belongs to --backend cim, and it is {backend}")
        return None
    from edge_sdk.chips.choice import ChipChoice
    from edge_sdk.chips.settings import duration

    return ChipChoice(
        profile=values["chip"],
        seed=values["chip_seed"] or 0,
        time_s=duration(values["chip_time"] or "0s"),
        temperature_c=values["chip_temperature"],
        images=values["chip_images"],
    )


def read_preprocess(given: dict[str, Any]) -> PreprocessOptions:
    """The values of `preprocess_options`; raises UsageError for numbers that are none."""
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


class Bars:
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

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
