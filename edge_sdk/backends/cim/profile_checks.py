"""What can be wrong with a compute-in-memory profile whose values have the right types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from edge_sdk.backends.cim.profile import (
    CimProfile,
    Costs,
    Spread,
    covers,
    leaves,
    peak_quote,
)

# What each number is at least and at most.
_BITS = (1, 16)
_BOUNDS: dict[str, tuple[float, float]] = {
    "chip.node_nm": (1, 1000),
    "chip.arrays": (0, 1_000_000),
    "array.rows": (1, 65_536),
    "array.columns": (1, 65_536),
    "array.adcs": (1, 65_536),
    "array.read_ns": (1e-3, 1e9),
    "array.phases": (1, 64),
    "array.overhead_ns": (0, 1e9),
    "cells.bits": (1, 8),
    "cells.on_off": (0, 1e12),
    "dac.bits": _BITS,
    "adc.bits": _BITS,
    "adc.inl_lsb": (0, 1e4),
    "adc.offset_lsb": (0, 1e4),
    "errors.drift.nu": (0, 1),
    "errors.drift.nu_sigma": (0, 1),
    "errors.drift.t0_s": (1e-9, 1e9),
    "errors.temperature.gain_per_k": (-0.1, 0.1),
    "errors.stuck_on": (0, 1),
    "errors.stuck_off": (0, 1),
    "errors.row_ohm": (0, 1e9),
    "errors.column_ohm": (0, 1e9),
    "errors.cell_ohm": (1, 1e12),
    **{f"costs.{f.name}": (0, 1e12) for f in fields(Costs)},
    "costs.peak_weight_bits": (1, 8),
    "costs.peak_input_bits": _BITS,
}


def problems(p: CimProfile) -> Iterator[str]:
    """Each names the key, its value and the valid ones."""
    values = leaves(p)
    for key, (low, high) in _BOUNDS.items():
        if not low <= values[key] <= high:
            yield f"{key} is {values[key]}; valid: {low:g} to {high:g}"
    if not 50 < p.adc.percentile <= 100:
        yield f"adc.percentile is {p.adc.percentile}; valid: above 50 and up to 100"
    if not (p.cells.on_off == 0 or p.cells.on_off > 1):
        yield f"cells.on_off is {p.cells.on_off}; valid: above 1, or 0 for no limit"
    if p.array.overhead_ns >= p.array.read_ns:
        yield f"array.overhead_ns is {p.array.overhead_ns}, not below read_ns, {p.array.read_ns}"
    if p.errors.stuck_on + p.errors.stuck_off > 1:
        yield "errors.stuck_on and stuck_off are above 1 together; both are shares of all cells"
    for name in ("programming", "read"):
        yield from (f"errors.{name}.{text}" for text in _spread(getattr(p.errors, name)))
    t = p.errors.temperature
    if not -273 <= t.low_c <= t.reference_c <= t.high_c:
        yield (
            f"errors.temperature: low_c {t.low_c}, reference_c {t.reference_c}, high_c {t.high_c} "
            "must not fall, nor start below -273"
        )
    if p.chip.paradigm == "digital":
        yield from _inexact(p)
    yield from _marks(p)
    yield from _modes(p)


def _spread(s: Spread) -> Iterator[str]:
    if not s.g or any(not 0 <= g <= 1 for g in s.g) or list(s.g) != sorted(set(s.g)):
        yield f"g is {list(s.g)}; it must rise and lie within 0 to 1"
    if not s.times_s or s.times_s[0] < 0 or list(s.times_s) != sorted(set(s.times_s)):
        yield f"times_s is {list(s.times_s)}; it must rise from 0 or more"
    if len(s.sigma) != len(s.times_s) or any(len(row) != len(s.g) for row in s.sigma):
        yield f"sigma must have a row for each of times_s ({len(s.times_s)}), of {len(s.g)} entries"
    for value in (v for row in s.sigma for v in row if not 0 <= v <= 1):
        yield f"sigma has {value}; valid: 0 to 1, a share of the largest conductance"


def _inexact(p: CimProfile) -> Iterator[str]:
    """A digital array has nothing that could be inexact."""
    e = p.errors
    if not p.adc.ideal:
        yield "adc.ideal is false; chip.paradigm digital has no converters: true"
    drawn = [v for s in (e.programming, e.read) for row in s.sigma for v in row]
    others = [e.drift.nu, e.drift.nu_sigma, e.temperature.gain_per_k, e.stuck_on, e.stuck_off]
    if any((*drawn, *others, e.row_ohm, e.column_ohm)):
        yield "errors must all be 0, for chip.paradigm is digital"


def _marks(p: CimProfile) -> Iterator[str]:
    """known and assumed name each value once."""
    keys = [*p.known, *p.assumed]
    values = leaves(p)
    for key, text in [*p.known.items(), *p.assumed.items()]:
        if not any(covers(key, leaf) for leaf in values):
            yield f"known or assumed has '{key}', which is no value of the profile"
        if not text.strip():
            yield f"known or assumed '{key}' is empty; give the source, or the reason"
    for leaf in values:
        marks = [k for k in keys if covers(k, leaf)]
        if not marks:
            yield f"{leaf} is in neither known nor assumed; say where its value is from"
        if len(marks) > 1:
            yield f"{leaf} is marked {len(marks)} times, by {', '.join(marks)}; once only"


def _modes(p: CimProfile) -> Iterator[str]:
    if p.modes and p.mode not in p.modes:
        yield f"mode is '{p.mode}'; valid: {', '.join(p.modes)}"
    if p.mode in p.modes:
        m = p.modes[p.mode]
        stated = (p.array.phases, p.dac.bits, p.adc.bits)
        if stated != (m.phases, m.dac_bits, m.adc_bits):
            yield f"modes.{p.mode} is not what array.phases, dac.bits and adc.bits say: {stated}"
    for name, m in p.modes.items():
        if m.phases < 1 or not all(1 <= b <= 16 for b in (m.dac_bits, m.adc_bits)):
            yield f"modes.{name}: phases must be 1 or more, dac_bits and adc_bits 1 to 16"
    for q in p.quoted:
        if q.mode not in (p.modes or {""}):
            yield f"quoted: mode '{q.mode}' is none of {', '.join(p.modes) or 'modes'}"
        if q.tops < 0 or q.tops_per_w <= 0:
            yield f"quoted: tops is {q.tops}, tops_per_w {q.tops_per_w}; they must be above 0"
    peak = peak_quote(p, p.mode)
    stated_peak = (p.costs.peak_tops, p.costs.peak_tops_per_w)
    if peak and stated_peak != (peak.tops, peak.tops_per_w):
        yield f"costs.peak_tops, peak_tops_per_w are {stated_peak}, the quoted ones differ"
