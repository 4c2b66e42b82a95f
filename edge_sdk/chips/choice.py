"""Which chip a backend is to be, and the images that its converters are calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.runtime import Model

IMAGES = 64


@dataclass(frozen=True)
class ChipChoice:
    """profile: None is an error that names the profiles. images: a folder, of which at most IMAGES
    are taken, from every label and group in turn."""

    profile: str | None
    seed: int = 0
    time_s: float = 0.0
    temperature_c: float | None = None
    images: Path | None = None

    def options(
        self, model: Model, judged: tuple[Path, Path | None] | None = None
    ) -> dict[str, Any]:
        """The options of backend cim for a model. judged: a data folder, and a split file, that
        the images must not be of. Raises as reading model and images does."""
        calibration = None
        if self.images is not None:
            from edge_sdk.backends.cim.deployed import open_deployed
            from edge_sdk.chips.images import calibration_images

            spec = open_deployed(model.path).input
            calibration = calibration_images(model, spec, self.images, judged, IMAGES)
        return {
            "profile": self.profile,
            "seed": self.seed,
            "time_s": self.time_s,
            "temperature_c": self.temperature_c,
            "calibration": calibration,
        }
