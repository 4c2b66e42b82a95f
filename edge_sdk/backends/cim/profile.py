"""A compute-in-memory chip as a profile: arrays, cells, converters, errors, costs.

A profile is a TOML file read strictly, shipped in device_profiles/cim or a user's own. Each value
is published or assumed, and the file says which: `known` maps keys ("adc.bits", or "adc" for all
below it) to sources, `assumed` to reasons; a key in neither, or in both, is a ProfileError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    included."""

    rows: int
    columns: int
    adcs: int
    read_ns: float


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
    converted and shifted). bits: of one input."""

    mode: Literal["parallel", "serial"]
    bits: int


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
    activations. mac_pj: per digital 8-bit Mult-Add. mac_per_ns: digital Mult-Adds per nanosecond.
    program_uj, program_us: per array row written. static_mw: of the chip while it runs.
    peak_tops, peak_tops_per_w: quoted for the chip; 0: not quoted. area_mm2: 0: not known."""

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


@dataclass(frozen=True)
class CimProfile:
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
