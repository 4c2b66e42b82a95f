"""What is tried on chips: when, how warm, with which converters and cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.backends.cim.profile import CimProfile, Spread
from edge_sdk.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """One point of an experiment. temperature_c: None is the profile's reference. adc_bits: None
    is the profile's. programming: a constant standard deviation in shares of the largest
    conductance, instead of the profile's table; None: the table."""

    time_s: float = 0.0
    temperature_c: float | None = None
    adc_bits: int | None = None
    programming: float | None = None


@dataclass(frozen=True)
class ChipsRequest:
    """model: an artifact, a quantised .tflite, or the folder of an integer model. profile: as
    load_cim_profile takes it. chips: how many, seeds 0 to chips - 1. times, temperatures: every
    pair is tried; adc_bits, programming: each at the first pair.

    data: labelled images; split_file: judge its test part, and calibrate converters on its training
    part. calibration: a folder to calibrate converters on instead. images, calibration_images: at
    most this many, drawn from every label and group in turn; images 0: all. digital: layers kept
    off the arrays. compensate_drift: see Chip. rows: a file that keeps every result as it
    comes; named again, the experiment goes on. processes: at a time."""

    model: Path
    profile: str
    data: Path
    chips: int = 10
    times: tuple[float, ...] = (0.0,)
    temperatures: tuple[float | None, ...] = (None,)
    adc_bits: tuple[int, ...] = ()
    programming: tuple[float, ...] = ()
    split_file: Path | None = None
    calibration: Path | None = None
    images: int = 0
    calibration_images: int = 64
    digital: tuple[str, ...] = ()
    compensate_drift: bool = False
    rows: Path | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--chips", self.chips, 1),
            ("--images", self.images, 0),
            ("--calibration-images", self.calibration_images, 1),
            ("--processes", self.processes, 1),
        ):
            if value < least:
                raise UsageError(f"{option} {value} must be at least {least}")
        for bits in self.adc_bits:
            if not 1 <= bits <= 16:
                raise UsageError(f"--adc-bits {bits} must be between 1 and 16")
        for sigma in self.programming:
            if not 0 <= sigma < 1:
                raise UsageError(
                    f"--programming {100 * sigma:g} is in % of the largest conductance: 0 or more, "
                    "below 100"
                )

    def settings(self) -> tuple[Setting, ...]:
        """Every point, once each, in the order they are reported."""
        pairs = [Setting(t, c) for t in self.times for c in self.temperatures]
        base = pairs[0]
        found = [
            *pairs,
            *(replace(base, adc_bits=bits) for bits in self.adc_bits),
            *(replace(base, programming=sigma) for sigma in self.programming),
        ]
        return tuple(dict.fromkeys(found))


def chip_of(profile: CimProfile, setting: Setting) -> CimProfile:
    """The profile with a setting's converters and cells."""
    if setting.adc_bits is not None:
        profile = replace(profile, adc=replace(profile.adc, ideal=False, bits=setting.adc_bits))
    if setting.programming is not None:
        constant = Spread((0.0,), (0.0,), ((setting.programming,),))
        profile = replace(profile, errors=replace(profile.errors, programming=constant))
    return profile


def duration(text: str) -> float:
    """Seconds of a text as 0s, 90s, 10m, 1h, 5d or 1y. Raises UsageError for another."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}
    try:
        seconds = float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"'{text}' is no time: a number with s, m, h, d or y, as 0s, 1h or 30d")
    return seconds


def duration_text(seconds: float) -> str:
    """The shortest of the forms that `duration` reads."""
    for unit, size in (("y", 365.25 * 86400), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def numbers(option: str, text: str) -> Sequence[float]:
    """The numbers of a list as 4,6,8. Raises UsageError, naming the option, for another text."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text}: expected numbers, as 4,6,8") from None
