"""One chip: everything that differs between chips drawn once from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim import array, cells, converters, folding, noise
from edge_sdk.backends.cim.array import Desk, Layer
from edge_sdk.backends.cim.converters import AdcRanges, RangeMeter
from edge_sdk.backends.cim.kernel import Accumulate, Kernel, Levels
from edge_sdk.backends.cim.profile import CimProfile, Errors, Spread
from edge_sdk.backends.cim.sums import exact_sums
from edge_sdk.errors import ProfileError, UsageError, unknown_name


class Chip:
    """Accumulate on a chip. Not thread-safe: read noise is one stream of draws.

    time_s: since programming. temperature_c: None is the profile's reference. digital: names of
    layers computed exactly beside the arrays. ranges: of converters, from `calibrated`; needed
    where the profile's range is not max. compensate_drift: each layer's sums are scaled so that
    its cells' mean conductance appears as it was programmed (global drift compensation, Joshi et
    al. 2020). exact_wires: networks of wires are solved as a whole, slowly, for comparison. Draws
    depend on the seed and the layer's name only.

    Raises ProfileError for a profile that cannot be, UsageError for a time, temperature or layer
    that cannot be."""

    def __init__(
        self,
        profile: CimProfile,
        kernels: Iterable[Kernel],
        *,
        seed: int = 0,
        time_s: float = 0.0,
        temperature_c: float | None = None,
        digital: frozenset[str] = frozenset(),
        ranges: AdcRanges | None = None,
        compensate_drift: bool = False,
        exact_wires: bool = False,
    ) -> None:
        check(profile)
        kernels = tuple(kernels)
        self.profile, self.kernels, self.seed = profile, kernels, seed
        self.time_s, self.digital, self.ranges = time_s, digital, ranges
        self.compensate_drift, self.exact_wires = compensate_drift, exact_wires
        self.temperature_c = _temperature(profile, temperature_c)
        _check_time(time_s)
        _check_names(digital, self.kernels)
        state = folding.State(profile, seed, time_s, self.temperature_c, ranges, compensate_drift)
        self.layers = {k.name: folding.fold(k, state) for k in kernels if not self.is_digital(k)}
        self._desk = Desk(noise.Stream((seed, 0)))

    def at(self, time_s: float, temperature_c: float | None = None) -> Chip:
        """This very chip at another time and temperature."""
        return Chip(
            self.profile,
            self.kernels,
            seed=self.seed,
            time_s=time_s,
            temperature_c=temperature_c,
            digital=self.digital,
            ranges=self.ranges,
            compensate_drift=self.compensate_drift,
            exact_wires=self.exact_wires,
        )

    def new_reads(self, key: int) -> None:
        """Starts read noise anew, the same for the same key: of an image, whoever computes it."""
        self._desk.reads = noise.Stream((self.seed, key))

    def is_digital(self, kernel: Kernel) -> bool:
        """Whether the sums of a layer are exact, computed beside the arrays."""
        profile = self.profile
        beside = kernel.kind == "depthwise" and profile.layers.depthwise == "digital"
        return beside or profile.chip.paradigm == "digital" or kernel.name in self.digital

    @property
    def exact(self) -> frozenset[str]:
        """The names of the layers whose sums are exact."""
        return frozenset(k.name for k in self.kernels if self.is_digital(k))

    def __call__(self, kernel: Kernel, levels: Levels) -> Levels:
        if self.is_digital(kernel):
            return exact_sums(kernel, levels)
        return _run(self.layers[kernel.name], levels, self._desk)


def needs_images(profile: CimProfile) -> bool:
    """Whether its converters' ranges are calibrated on images."""
    ideal = profile.chip.paradigm == "digital" or profile.adc.ideal
    return not ideal and profile.adc.range != "max"


def calibrated(
    profile: CimProfile, kernels: Iterable[Kernel], run: Callable[[Accumulate], None]
) -> AdcRanges:
    """The converters' ranges for a model on a chip: run(accumulate) sends calibration images
    through it. Chips share them: they are of the cells without errors. Nothing runs where the
    profile's range is max."""
    check(profile)
    if not needs_images(profile):
        return {}
    meter = RangeMeter()
    desk = Desk(noise.Stream((0, 0)), meter)
    ideal = replace(profile, adc=replace(profile.adc, ideal=True))
    chip = Chip(cells.only(ideal), kernels)

    def accumulate(kernel: Kernel, levels: Levels) -> Levels:
        if chip.is_digital(kernel):
            return exact_sums(kernel, levels)
        return _run(chip.layers[kernel.name], levels, desk)

    run(accumulate)
    balanced = profile.cells.mapping == "balanced"
    signed = {n: balanced or layer.drive.signed for n, layer in chip.layers.items()}
    return meter.ranges(profile.adc, signed)


def _run(layer: Layer, levels: Levels, desk: Desk) -> npt.NDArray[np.int32]:
    kernel, step = layer.kernel, array.per_pass(layer.kernel)
    shape = (kernel.outputs,) if kernel.kind == "dense" else (*kernel.positions, kernel.outputs)
    sums = np.empty((len(levels), *shape), np.int32)
    for first in range(0, len(levels), step):
        part = slice(first, first + step)
        x = array.inputs(kernel, levels[part], layer.drive.reference, desk, layer.dtype)
        array.multiply(layer, x, desk, sums[part].reshape(len(x), kernel.outputs))
    return sums


def check(profile: CimProfile) -> None:
    """Raises ProfileError, naming the field, for what no chip can be."""
    converters.check_adc(profile.adc)
    if profile.dac.bits < 1:
        raise ProfileError(f"dac.bits is {profile.dac.bits}; at least 1")
    if profile.cells.bits < 1:
        raise ProfileError(f"cells.bits is {profile.cells.bits}; at least 1")
    if profile.cells.on_off and not profile.cells.on_off > 1:
        raise ProfileError(f"cells.on_off is {profile.cells.on_off}; above 1, or 0 for no limit")
    for name in ("rows", "columns", "adcs"):
        if getattr(profile.array, name) < 1:
            raise ProfileError(f"array.{name} is {getattr(profile.array, name)}; at least 1")
    if profile.array.rows * 255 * 128 >= 1 << 31:
        raise ProfileError(
            f"array.rows is {profile.array.rows}: 8-bit sums of so many rows pass the 32 bits that "
            "layers add up in; at most 65792"
        )
    _check_errors(profile.errors)


def _check_errors(errors: Errors) -> None:
    for name in ("programming", "read"):
        table: Spread = getattr(errors, name)
        if any(not s >= 0 for row in table.sigma for s in row):
            raise ProfileError(f"errors.{name}.sigma is {table.sigma}; none of it below 0")
    for name in ("stuck_on", "stuck_off"):
        if not 0 <= getattr(errors, name) <= 1:
            raise ProfileError(f"errors.{name} is {getattr(errors, name)}; a share, 0 to 1")
    for name in ("row_ohm", "column_ohm"):
        if not getattr(errors, name) >= 0:
            raise ProfileError(f"errors.{name} is {getattr(errors, name)}; it cannot be below 0")
    if (errors.row_ohm or errors.column_ohm) and not errors.cell_ohm > 0:
        raise ProfileError(f"errors.cell_ohm is {errors.cell_ohm}; wires need it above 0")
    if not errors.drift.nu_sigma >= 0:
        raise ProfileError(f"errors.drift.nu_sigma is {errors.drift.nu_sigma}; not below 0")
    if (errors.drift.nu or errors.drift.nu_sigma) and not errors.drift.t0_s > 0:
        raise ProfileError(f"errors.drift.t0_s is {errors.drift.t0_s}; drift needs it above 0")


def _check_time(time_s: float) -> None:
    if not 0 <= time_s < float("inf"):
        raise UsageError(f"time since programming is {time_s} s; 0 or more")


def _temperature(profile: CimProfile, celsius: float | None) -> float:
    known = profile.errors.temperature
    if celsius is None:
        return known.reference_c
    if not known.low_c <= celsius <= known.high_c:
        raise UsageError(
            f"temperature {celsius} C is outside of what profile '{profile.name}' knows "
            f"(errors.temperature.low_c to high_c): {known.low_c} to {known.high_c} C"
        )
    return celsius


def _check_names(digital: frozenset[str], kernels: tuple[Kernel, ...]) -> None:
    names = [k.name for k in kernels]
    for name in sorted(digital):
        if name not in names:
            raise UsageError(unknown_name("layer", name, names))
