"""Compute-in-memory: runs the deployed file on an emulated chip.

Layers with weights go to the array model (chip.py), everything else is integer arithmetic as in
TensorFlow Lite's reference kernels. Needs the `cim` extra.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import BackendError, UsageError


def require_extra() -> None:
    """Raises BackendError where what the emulator compiles its loops with is missing."""
    if importlib.util.find_spec("numba") is None:
        raise BackendError("backend 'cim' is not installed: pip install 'edge-sdk[cim]'")


class CimBackend:
    """A deployed model on one chip. Every invocation reads the cells anew.

    profile: a name of device_profiles/cim, a .toml file, either with `:MODE` where it has modes.
    seed: which chip. time_s: since it was programmed. temperature_c: None is the profile's
    reference. calibration: levels of images, (N, height, width, 3) in the input's type, on which
    converters' ranges are set; a profile whose range is max needs none. digital: layers kept off
    the arrays. compensate_drift: see chip.Chip."""

    name = "cim"
    note = ""

    def __init__(
        self,
        name: str,
        model: Path,
        *,
        threads: int = 1,
        profile: str | None = None,
        seed: int = 0,
        time_s: float = 0.0,
        temperature_c: float | None = None,
        calibration: npt.NDArray[Any] | None = None,
        digital: Sequence[str] = (),
        compensate_drift: bool = False,
    ) -> None:
        """Raises UsageError for options that cannot be and for a chip that is too small,
        BackendError without the `cim` extra, ModelError for a file that is not run here."""
        del name
        require_extra()
        from edge_sdk.backends.cim.chip import Chip, needs_images
        from edge_sdk.backends.cim.deployed import converter_ranges, open_deployed
        from edge_sdk.backends.cim.mapping import map_network, require_fit
        from edge_sdk.backends.cim.profile import cim_profile_names, load_cim_profile

        if profile is None:
            raise UsageError(
                f"backend cim runs on a chip: name its profile, --chip {cim_profile_names()[0]}; "
                f"valid: {', '.join(cim_profile_names())} or a .toml file"
            )
        if threads != 1:
            raise UsageError(f"threads {threads}: backend cim runs on one; start more processes")
        described = load_cim_profile(profile)
        deployed = open_deployed(model)
        require_fit(map_network(deployed.kernels, described), described)
        ranges = None
        if calibration is None and needs_images(described):
            raise UsageError(
                f"profile {described.name}: adc.range is '{described.adc.range}', so its "
                "converters are calibrated on images: give --chip-images DIR"
            )
        if calibration is not None:
            ranges = converter_ranges(deployed, described, calibration)
        self.chip = Chip(
            described,
            deployed.kernels,
            seed=seed,
            time_s=time_s,
            temperature_c=temperature_c,
            digital=frozenset(digital),
            ranges=ranges,
            compensate_drift=compensate_drift,
        )
        self._exact = self.chip.exact
        self._run = deployed.run
        self.input, self.output = deployed.input, deployed.output
        self.version = f"{described.name}, chip {seed}"

    def invoke(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if x.shape != self.input.shape or x.dtype != np.dtype(self.input.dtype):
            raise BackendError(
                f"input has shape {x.shape} and type {x.dtype}; the model takes "
                f"{self.input.shape} {self.input.dtype}"
            )
        return np.asarray(self._run(x, self.chip, self._exact)).reshape(self.output.shape)

    def close(self) -> None:
        pass
