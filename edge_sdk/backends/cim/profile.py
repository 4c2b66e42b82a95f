"""A compute-in-memory chip as a profile: arrays, cells, converters, errors, costs.

A profile is a TOML file read strictly, shipped in device_profiles/cim or a user's own. Each value
is published or assumed, and the file says which: `known` maps keys ("adc.bits", or "adc" for all
below it) to sources, `assumed` to reasons; a key in neither, or in both, is a ProfileError.

Where a chip has modes (fewer read phases, fewer bits), the file states one, `mode`, and the others
follow from it by physics alone (`in_mode`): their quoted figures are there to be compared with.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from edge_sdk.errors import ProfileError, UsageError, unknown_name
from edge_sdk.strict import from_plain

Paradigm = Literal["analog", "digital"]
Depthwise = Literal["digital", "packed", "column-serial", "dense"]


@dataclass(frozen=True)
class Chip:
    """medium: NOR flash, PCM, ReRAM, MRAM, SRAM. node_nm: of the process. arrays: on the chip; 0:
    as many as a model needs. reload: whether layers may take turns on arrays that are too few."""

    device: str
    paradigm: Paradigm
    medium: str
    node_nm: float
    arrays: int
    reload: bool


@dataclass(frozen=True)
class Array:
    """rows: inputs of one array. columns: weight columns of one array, each of as many cells as
    `cells` says. adcs: converters of one array, which its columns share. read_ns: one
    matrix-vector multiplication of the whole array, conversions included, bit-serial inputs
    included. phases: reads that it is made of, as each polarity of inputs and weights in turn.
    overhead_ns: of it, what neither phases nor input bits prolong."""

    rows: int
    columns: int
    adcs: int
    read_ns: float
    phases: int = 1
    overhead_ns: float = 0.0


@dataclass(frozen=True)
class Cells:
    """mapping: balanced (a pair of cells, their difference) or offset (one cell, and a digital
    subtraction of half the range). sides: of balanced; 1: one cell of the pair stays at its
    minimum; 2: both move from the middle. bits: a cell holds; wider weights are sliced over cells.
    on_off: largest over smallest conductance; 0: no limit."""

    mapping: Literal["balanced", "offset"]
    sides: Literal[1, 2]
    bits: int
    on_off: float


@dataclass(frozen=True)
class Dac:
    """mode: parallel (a level is a voltage or a pulse) or serial (a bit after the other, each
    converted and shifted). bits: of one input. coding: of a parallel level; pulse: as long as the
    level is high, so a read takes 2^bits steps; voltage: one step."""

    mode: Literal["parallel", "serial"]
    bits: int
    coding: Literal["voltage", "pulse"] = "voltage"

    @property
    def steps(self) -> int:
        """Equal steps of time that one phase of a read takes."""
        if self.mode == "serial":
            return self.bits
        return 1 << self.bits if self.coding == "pulse" else 1


@dataclass(frozen=True)
class Adc:
    """bits: 0 is refused; ideal: no conversion at all. range: max (no sum is clipped), percentile
    (of sums on calibration images) or mse (least squared error on them); calibrated per layer and
    slice. inl_lsb: largest integral nonlinearity; offset_lsb: standard deviation over converters.
    """

    ideal: bool
    bits: int
    range: Literal["max", "percentile", "mse"]
    percentile: float
    inl_lsb: float
    offset_lsb: float


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a cell's conductance, in shares of the largest conductance: linear
    between conductances g (shares, rising), and between times_s (rising; log scale above 0), held
    beyond both. sigma: a row per time."""

    g: tuple[float, ...]
    times_s: tuple[float, ...]
    sigma: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Drift:
    """g(t) = g (t / t0_s)^-nu beyond t0_s, nu drawn per cell, never below 0."""

    nu: float
    nu_sigma: float
    t0_s: float


@dataclass(frozen=True)
class Temperature:
    """gain_per_k: relative change of every sum per kelvin from reference_c. Known between low_c
    and high_c only."""

    gain_per_k: float
    reference_c: float
    low_c: float
    high_c: float


@dataclass(frozen=True)
class Errors:
    """programming: fixed per chip, growing with time since programming (retention). read: drawn
    anew at every read. stuck_on, stuck_off: shares of cells at the largest and smallest
    conductance. row_ohm, column_ohm: of a wire from cell to cell; cell_ohm: of a cell at its
    largest conductance."""

    programming: Spread
    read: Spread
    drift: Drift
    temperature: Temperature
    stuck_on: float
    stuck_off: float
    row_ohm: float
    column_ohm: float
    cell_ohm: float


@dataclass(frozen=True)
class Layers:
    """depthwise: digital, packed (a block diagonal), column-serial (channels share rows, read one
    after the other) or dense (filled up with zeros). zero_cells: whether a cell of weight 0 outside
    of a layer's kernel adds its error (noisy) or is cut off (isolated)."""

    depthwise: Depthwise
    zero_cells: Literal["isolated", "noisy"]


@dataclass(frozen=True)
class Costs:
    """Energies in picojoules. adc_pj: per conversion. dac_pj: per input per MVM. cell_fj: per cell
    per MVM, femtojoules. shift_add_pj: per conversion. sram_pj, interconnect_pj: per byte of
    activations. mac_pj: per digital 8-bit Mult-Add. output_pj: rescaling of an output, digital.
    mac_per_ns: digital Mult-Adds per nanosecond.
    program_uj, program_us: per array row written. static_mw: of the chip while it runs.
    peak_tops, peak_tops_per_w: quoted for the chip, for weights and inputs of peak_*_bits; 0: not
    quoted. area_mm2: 0: not known."""

    adc_pj: float
    dac_pj: float
    cell_fj: float
    shift_add_pj: float
    sram_pj: float
    interconnect_pj: float
    mac_pj: float
    mac_per_ns: float
    program_uj: float
    program_us: float
    static_mw: float
    peak_tops: float
    peak_tops_per_w: float
    area_mm2: float
    peak_weight_bits: int = 8
    peak_input_bits: int = 8
    output_pj: float = 0.0


@dataclass(frozen=True)
class Mode:
    """A way to run the chip. phases: reads per multiplication; dac_bits, adc_bits: converters."""

    phases: int
    dac_bits: int
    adc_bits: int
    source: str


@dataclass(frozen=True)
class Quote:
    """A published efficiency in one mode. workload: "" for the chip's peak. tops: 0: not quoted."""

    mode: str
    workload: str
    tops: float
    tops_per_w: float
    source: str


@dataclass(frozen=True)
class CimProfile:
    """mode: the one of `modes` that every other value is stated for; "" for a chip of one."""

    name: str
    title: str
    chip: Chip
    array: Array
    cells: Cells
    dac: Dac
    adc: Adc
    errors: Errors
    layers: Layers
    costs: Costs
    known: dict[str, str]
    assumed: dict[str, str]
    mode: str = ""
    modes: dict[str, Mode] = field(default_factory=dict)
    quoted: tuple[Quote, ...] = ()


SECTIONS = ("chip", "array", "cells", "dac", "adc", "errors", "layers", "costs")


def leaves(profile: CimProfile) -> dict[str, Any]:
    """Every value that is known or assumed, by its dotted key, in the order of the fields."""
    return {key: v for name in SECTIONS for key, v in _leaves(name, getattr(profile, name))}


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not is_dataclass(value):
        yield key, value
        return
    for f in fields(value):
        yield from _leaves(f"{key}.{f.name}", getattr(value, f.name))


def evidence(profile: CimProfile, key: str) -> tuple[Literal["known", "assumed"], str]:
    """Whether the value of a leaf is published, and its source or the reason for it."""
    if found := [text for k, text in profile.known.items() if covers(k, key)]:
        return "known", found[0]
    return "assumed", next(text for k, text in profile.assumed.items() if covers(k, key))


def covers(key: str, leaf: str) -> bool:
    """Whether a key of known or assumed speaks of a leaf."""
    return leaf == key or leaf.startswith(f"{key}.")


# --- modes ---------------------------------------------------------------------------------


def in_mode(profile: CimProfile, name: str) -> CimProfile:
    """The profile as it is in another of its modes, predicted.

    A read takes overhead_ns + phases x steps x one step's time, steps being 2^bits of a pulse, the
    bits of a serial input, 1 of a voltage. Converters (which count while the inputs pulse), input
    drivers and cells draw energy as long as they are on, so theirs is in proportion to that time;
    all else costs per output or per byte and stays. The peak is the one quoted for the mode.

    Raises UsageError for a mode that the chip has not."""
    if name == profile.mode:
        return profile
    if name not in profile.modes:
        raise UsageError(unknown_name(f"mode of {profile.name}", name, profile.modes))
    mode, array, costs = profile.modes[name], profile.array, profile.costs
    step_ns = (array.read_ns - array.overhead_ns) / (array.phases * profile.dac.steps)
    dac = replace(profile.dac, bits=mode.dac_bits)
    read_ns = array.overhead_ns + mode.phases * dac.steps * step_ns
    longer = read_ns / array.read_ns
    peak = peak_quote(profile, name)
    return replace(
        profile,
        mode=name,
        array=replace(array, phases=mode.phases, read_ns=read_ns),
        dac=dac,
        adc=replace(profile.adc, bits=mode.adc_bits),
        costs=replace(
            costs,
            adc_pj=costs.adc_pj * longer,
            dac_pj=costs.dac_pj * longer,
            cell_fj=costs.cell_fj * longer,
            peak_tops=peak.tops if peak else 0.0,
            peak_tops_per_w=peak.tops_per_w if peak else 0.0,
            peak_input_bits=mode.dac_bits,
        ),
    )


def peak_quote(profile: CimProfile, mode: str) -> Quote | None:
    """The peak that is published for a mode."""
    return next((q for q in profile.quoted if (q.mode, q.workload) == (mode, "")), None)


# --- files ---------------------------------------------------------------------------------


def cim_profile_names() -> list[str]:
    """The shipped profiles, in sorted order."""
    folder = files("device_profiles") / "cim"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def is_cim_profile(name_or_path: str) -> bool:
    """Whether a name means a chip: `cim-...`, or a .toml file whose table is [chip]."""
    for text in (name_or_path, _split(name_or_path)[0]):
        if text.endswith(".toml"):
            try:
                return "chip" in tomllib.loads(Path(text).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return False  # whoever reads it says what is wrong
    return name_or_path.lower().startswith("cim-")


def load_cim_profile(name_or_path: str) -> CimProfile:
    """A shipped profile by name, in any case, or a .toml file by path; either may end in :MODE.

    Raises UsageError for an unknown name or mode, with near misses, and ProfileError for a file
    that is missing or wrong, with the key."""
    for whole, mode in ((name_or_path, None), _split(name_or_path)):
        if whole.endswith(".toml"):
            read = _read(Path(whole), whole)
        elif match := [n for n in cim_profile_names() if n.lower() == whole.lower()]:
            read = _read(files("device_profiles") / "cim" / f"{match[0]}.toml", f"{match[0]}.toml")
            if read.name != match[0]:
                raise ProfileError(f"{match[0]}.toml: name is '{read.name}', must be '{match[0]}'")
        else:
            continue
        return read if mode is None else in_mode(read, mode)
    message = unknown_name("compute-in-memory profile", name_or_path, cim_profile_names())
    raise UsageError(f"{message} Your own profile: the path of a .toml file.")


def _split(text: str) -> tuple[str, str]:
    name, _, mode = text.rpartition(":")
    return name, mode


def _read(file: Traversable, where: str) -> CimProfile:
    from edge_sdk.backends.cim.profile_checks import problems  # which knows this module

    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ProfileError(f"cannot read profile {where}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ProfileError(f"profile {where} is not valid TOML: {e}") from e
    profile = from_plain(CimProfile, data, where, ProfileError)
    for problem in problems(profile):
        raise ProfileError(f"{where}: {problem}")
    return profile
