"""`edge-sdk cim`: a model on emulated compute-in-memory chips."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.options import Bars
from edge_sdk.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=PATH)
@click.option("--profile", metavar="NAME", help="cim-nor-generic, ...; or a .toml file.")
@click.option("--data", type=PATH, help="Labelled images; without them: what it takes and costs.")
@click.option(
    "--split-file",
    type=PATH,
    metavar="CSV",
    help="A training's split.csv: judge its test part, calibrate converters on its training part.",
)
@click.option("--calibration", type=PATH, help="Images to calibrate converters on.")
@click.option("--calibration-images", default=64, show_default=True, help="At most this many.")
@click.option("--chips", default=10, show_default=True, help="Chips a setting, each a seed.")
@click.option("--time", "times", default="0s", show_default=True, help="As 0s,1h,1d,30d.")
@click.option("--temperature", "temperatures", help="Degrees C, as 25,55,85 [the reference].")
@click.option("--adc-bits", help="As 4,6,8: each at the first time and temperature.")
@click.option("--programming", help="% of the largest conductance, as 0,1,2,4; as --adc-bits.")
@click.option("--digital", default="", help="Layers kept off the arrays, by name, with commas.")
@click.option("--compensate-drift", is_flag=True, help="Scale sums by a layer's mean conductance.")
@click.option("--images", default=0, help="At most this many [all; of --check-exact 20].")
@click.option("--sensitivity", is_flag=True, help="Instead: what each layer alone on arrays loses.")
@click.option(
    "--plan-points", type=float, help="Which layers to keep digital to lose this at most."
)
@click.option("--plan-uj", type=float, help="The same, for this many microjoules an image.")
@click.option(
    "--check-exact",
    type=PATH,
    metavar="DIR",
    help="Instead: each tensor beside LiteRT's reference kernels on these images, without a chip.",
)
@click.option("--processes", type=int, help="At a time [one a core].")
@click.option("--rows", type=PATH, help="Keep each chip's result here, and go on from them.")
@click.option("--html", type=PATH, help="Also write a page with plots.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def cim(model: Path, profile: str | None, html: Path | None, as_json: bool, **given: Any) -> None:
    """Run MODEL on emulated compute-in-memory chips: accuracy, fit, time and energy.

    MODEL is an artifact, a quantised .tflite, or the integer model that `train --qat w4a4` ends
    in. Every layer is executed as the chip of the profile would, for every chip drawn.
    """
    from edge_sdk import report_chips
    from edge_sdk.backends.cim.cost import cost_of_network
    from edge_sdk.backends.cim.deployed import open_deployed
    from edge_sdk.backends.cim.profile import cim_profile_names, load_cim_profile
    from edge_sdk.runtime import load_model
    from edge_sdk.strict import to_plain

    loaded = load_model(model)
    if given["check_exact"] is not None:
        _check(loaded, given["check_exact"], given["images"], as_json)
        return
    if profile is None:
        raise UsageError(
            f"name a chip: --profile {cim_profile_names()[0]}; valid: "
            f"{', '.join(cim_profile_names())} or a .toml file"
        )
    described = load_cim_profile(profile)
    cost = cost_of_network(open_deployed(loaded.path).kernels, described)
    result = layers = None
    planned = given["sensitivity"] or _budgeted(given)
    if (given["data"] is None or planned) and (html is not None or given["rows"] is not None):
        raise UsageError("--html and --rows are of an experiment: give --data too, and no plan")
    if planned:
        layers = _layers(model, profile, given)
    elif given["data"] is not None:
        from edge_sdk.chips.run import run_chips

        with Bars() as bars:
            result = run_chips(_request(model, profile, given), bars)
    if html is not None and result is not None:
        report_chips.write_page(html, result, cost, described)
    if as_json:
        plain = {"cost": to_plain(cost), "experiment": to_plain(result)}
        if layers is not None:
            plain["layers"] = to_plain(layers)
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    click.echo(report_chips.cost_text(loaded.name, cost))
    if result is not None:
        click.echo("\n" + report_chips.chips_text(result))
    if layers is not None:
        click.echo(f"\n{layers}")


def _budgeted(given: dict[str, Any]) -> bool:
    return given["plan_points"] is not None or given["plan_uj"] is not None


def _check(model: Any, data: Path, images: int, as_json: bool) -> None:
    from edge_sdk.chips.check import IMAGES, check_exact
    from edge_sdk.strict import to_plain

    with Bars() as bars:
        found = check_exact(model, data, images or IMAGES, bars)
    click.echo(json.dumps(to_plain(found)) if as_json else str(found))
    if found.difference is not None:
        sys.exit(1)


def _layers(model: Path, profile: str, given: dict[str, Any]) -> Any:
    from edge_sdk.chips.layers import layer_sensitivity

    if given["data"] is None:
        raise UsageError("--sensitivity and plans try layers on images: give --data too")
    for option in ("plan_points", "plan_uj"):
        if given[option] is not None and not given[option] >= 0:
            raise UsageError(f"--{option.replace('_', '-')} {given[option]:g} must be 0 or more")
    points = given["plan_points"]
    with Bars() as bars:
        return layer_sensitivity(
            _request(model, profile, given),
            bars,
            most_lost=None if points is None else points / 100,
            most_uj=given["plan_uj"],
        )


def _request(model: Path, profile: str, given: dict[str, Any]) -> Any:
    from edge_sdk.chips.settings import ChipsRequest, duration, numbers

    def optional(option: str, text: str | None) -> list[float]:
        return [] if text is None else list(numbers(option, text))

    bits = optional("--adc-bits", given["adc_bits"])
    if any(b != int(b) for b in bits):
        raise UsageError(f"--adc-bits {given['adc_bits']}: expected whole numbers, as 4,6,8")
    return ChipsRequest(
        model=model,
        profile=profile,
        data=given["data"],
        chips=given["chips"],
        times=tuple(duration(text) for text in given["times"].split(",")),
        temperatures=tuple(optional("--temperature", given["temperatures"])) or (None,),
        adc_bits=tuple(int(b) for b in bits),
        programming=tuple(v / 100 for v in optional("--programming", given["programming"])),
        split_file=given["split_file"],
        calibration=given["calibration"],
        images=given["images"],
        calibration_images=given["calibration_images"],
        digital=tuple(name for name in given["digital"].split(",") if name),
        compensate_drift=given["compensate_drift"],
        rows=given["rows"],
        processes=given["processes"] or len(os.sched_getaffinity(0)),
    )
