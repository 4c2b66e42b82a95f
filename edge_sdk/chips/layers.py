"""The layers of a deployed model that a chip hurts, on images that are not judged."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sdk.backends.cim.chip import needs_images
from edge_sdk.backends.cim.cost import cost_of_network
from edge_sdk.backends.cim.deployed import converter_ranges, open_deployed
from edge_sdk.backends.cim.kernel import short_names
from edge_sdk.backends.cim.profile import load_cim_profile
from edge_sdk.chips.images import Levels, calibration_images, judged_images, probabilities
from edge_sdk.chips.plan import (
    LayerLoss,
    Loss,
    Plan,
    Trial,
    lost_together,
    plan,
    sensitivity,
    sensitivity_text,
)
from edge_sdk.chips.settings import ChipsRequest, Setting, chip_of
from edge_sdk.errors import UsageError
from edge_sdk.progress import Progress, silent
from edge_sdk.runtime import load_model


@dataclass(frozen=True)
class Sensitivity:
    """images: of the validation part, chips: that each layer was tried on. plan: with the loss of
    the whole network run as planned; None: not asked for."""

    images: int
    chips: int
    layers: tuple[LayerLoss, ...]
    plan: Plan | None = None
    together: Loss | None = None

    def __str__(self) -> str:
        lines = [
            f"Each layer alone on arrays, {self.images} images of the validation part, "
            f"{self.chips} chips (points of accuracy, emulated)",
            sensitivity_text(self.layers, self.plan),
        ]
        if self.plan is not None and self.together is not None:
            loss = self.together
            lines.append(
                f"run as planned: {100 * loss.judged_by:.2f} +- {100 * loss.sd:.2f} points lost"
            )
            short = short_names([x.name for x in self.layers])
            named = ",".join(short[name] for name in self.plan.digital)
            lines.append(f"judge it with --digital {named or '(no layer)'}")
        return "\n".join(lines)


def layer_sensitivity(
    request: ChipsRequest,
    progress: Progress = silent,
    *,
    most_lost: float | None = None,
    most_uj: float | None = None,
) -> Sensitivity:
    """At the request's first time and temperature. most_lost (a share), most_uj: the budget of a
    plan; none: no plan.

    Raises UsageError without a split file, as its validation part is what layers are tried on."""
    if request.split_file is None:
        raise UsageError(
            "--sensitivity tries layers on images that are not judged: give --data and the "
            "--split-file of a training, whose validation part they are"
        )
    if request.digital:
        raise UsageError(
            f"--digital {','.join(request.digital)} is of an experiment: --sensitivity tries every "
            "layer that the profile puts on arrays"
        )
    if most_lost is not None and most_uj is not None:
        raise UsageError("give one budget: --plan-points or --plan-uj")
    model = load_model(request.model)
    deployed = open_deployed(model.path)
    setting: Setting = request.settings()[0]
    profile = chip_of(load_cim_profile(request.profile), setting)
    judged = judged_images(
        model, deployed.input, request.data, request.split_file, request.images, progress,
        "validation",
    )  # fmt: skip
    ranges = None
    if needs_images(profile):
        images = calibration_images(
            model, deployed.input, request.calibration, (request.data, request.split_file),
            request.calibration_images, progress, "validation",
        )  # fmt: skip
        assert images is not None  # a split file is given
        ranges = converter_ranges(deployed, profile, images)

    def calls(raw: Levels) -> Levels:
        found: Levels = probabilities(model, deployed.output, raw).argmax(1)
        return found

    trial = Trial(
        deployed=deployed,
        profile=profile,
        levels=judged.levels,
        calls=calls,
        truth=judged.truth,
        ranges=ranges,
        time_s=setting.time_s,
        temperature_c=setting.temperature_c,
        chips=request.chips,
        compensate_drift=request.compensate_drift,
    )
    layers = sensitivity(trial, progress)
    found = Sensitivity(len(judged.truth), request.chips, layers)
    if most_lost is None and most_uj is None:
        return found
    cost = cost_of_network(deployed.kernels, profile)
    kept = plan(layers, cost, most_lost=most_lost, most_uj=most_uj)
    together = lost_together(trial, kept.digital)
    return Sensitivity(found.images, found.chips, layers, kept, together)
