"""Time and energy of a network on a compute-in-memory chip: counts times the profile's constants.

Every figure is estimated. Constants that nobody published are marked in the profile; where a peak
efficiency is, the one constant that absorbs what has no name of its own (converters of an analog
array, cells of a digital one) is solved for so that a full array meets it (`calibrated`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edge_sdk.backends.cim.cells import slice_count
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.mapping import LayerMapping, Mapping, map_network
from edge_sdk.backends.cim.profile import CimProfile
from edge_sdk.errors import ProfileError

PARTS = ("adc", "dac", "cells", "shift_add", "sram", "interconnect", "digital", "reload", "static")


@dataclass(frozen=True)
class LayerCost:
    """Per image. energy_uj: by part."""

    name: str
    latency_us: float
    energy_uj: dict[str, float]


@dataclass(frozen=True)
class CimCost:
    """Per image, all estimated. latency_us: layer after layer, reloads included. interval_us: from
    image to image where layers work on different images at once; an array that layers share, and
    the digital unit, serve one layer at a time. bound_uj: at the quoted peak; 0: not quoted.
    program_uj, program_ms: writing all weights once. area_mm2: 0: not known."""

    mapping: Mapping
    layers: tuple[LayerCost, ...]
    latency_us: float
    interval_us: float
    energy_uj: dict[str, float]
    total_uj: float
    tops_per_w: float
    peak_tops_per_w: float
    bound_uj: float
    program_uj: float
    program_ms: float
    area_mm2: float


def cost_of_network(kernels: Sequence[Kernel], profile: CimProfile) -> CimCost:
    """A chip that is too small without reload is costed as if it had arrays enough; the mapping
    says so. Raises UsageError for a kernel that no array can hold."""
    mapping, costs = map_network(kernels, profile), profile.costs
    together = [1] * len(mapping.layers)
    for blocks in mapping.bins:
        for i, count in Counter(b.layer for b in blocks).items():
            together[i] = max(together[i], count)
    each = zip(kernels, mapping.layers, together, strict=True)
    layers = tuple(_layer(k, m, profile, n) for k, m, n in each)
    reload_us = mapping.reload_rows * costs.program_us
    latency_us = sum(c.latency_us for c in layers) + reload_us
    energy = {part: sum(c.energy_uj[part] for c in layers) for part in PARTS}
    energy["reload"] = mapping.reload_rows * costs.program_uj
    energy["static"] = costs.static_mw * latency_us / 1e3
    total, mult_adds = sum(energy.values()), sum(m.mult_adds for m in mapping.layers)
    peak = costs.peak_tops_per_w
    all_rows = sum(b.rows for m in mapping.layers for b in m.blocks)
    return CimCost(
        mapping=mapping,
        layers=layers,
        latency_us=latency_us,
        interval_us=max(_busy_us(mapping, layers, together)) + reload_us,
        energy_uj=energy,
        total_uj=total,
        tops_per_w=2 * mult_adds / total / 1e6 if total else 0.0,
        peak_tops_per_w=peak,
        bound_uj=2 * mult_adds / peak / 1e6 if peak else 0.0,
        program_uj=all_rows * costs.program_uj,
        program_ms=all_rows * costs.program_us / 1e3,
        area_mm2=costs.area_mm2,
    )


def _layer(kernel: Kernel, m: LayerMapping, profile: CimProfile, together: int) -> LayerCost:
    """One layer, in picojoules first. together: blocks that it has on one array at most, which
    are read one after the other. Activations are fetched from memory for every position
    (nothing is kept between windows) and written once, in whole bits; partial sums of row blocks
    travel in as many bytes as the converter's bits need."""
    c = profile.costs
    bits = min(profile.dac.bits, max(1, (kernel.input_high - kernel.input_low).bit_length()))
    cells = 2 if profile.cells.mapping == "balanced" else 1
    fetched = m.positions * (m.mult_adds // m.positions if m.how == "digital" else m.rows)
    if m.how == "column-serial":
        fetched = m.positions * kernel.rows * kernel.inputs
    written = m.positions * m.outputs
    sum_bytes = 4 if profile.adc.ideal else -(-profile.adc.bits // 8)
    moved = (fetched * max(1, m.column_blocks) + written) * bits / 8
    if m.how == "packed":
        moved = (fetched + written) * bits / 8
    if m.row_blocks > 1:
        moved += written * m.slices * m.row_blocks * sum_bytes
    picojoules = dict.fromkeys(PARTS, 0.0) | {
        "adc": 0.0 if profile.adc.ideal else m.adc_conversions * c.adc_pj,
        "dac": m.dac_conversions * c.dac_pj,
        "cells": m.cell_reads * cells * c.cell_fj / 1e3,
        "shift_add": m.adc_conversions * c.shift_add_pj,
        "sram": (fetched + written) * bits / 8 * c.sram_pj,
        "interconnect": moved * c.interconnect_pj,
        "digital": written * c.output_pj + (m.mult_adds * c.mac_pj if m.how == "digital" else 0.0),
    }
    if m.how == "digital":
        latency_us = m.mult_adds / c.mac_per_ns / 1e3
    else:
        latency_us = m.steps * together * _read_ns(profile, m.cycles) / 1e3
    return LayerCost(m.name, latency_us, {k: v / 1e6 for k, v in picojoules.items()})


def _read_ns(profile: CimProfile, cycles: int) -> float:
    """Of an array; a serial input takes as many cycles as it has digits."""
    array = profile.array
    share = cycles / profile.dac.bits if profile.dac.mode == "serial" else 1.0
    return array.overhead_ns + (array.read_ns - array.overhead_ns) * share


def _busy_us(
    mapping: Mapping, layers: Sequence[LayerCost], together: Sequence[int]
) -> Iterator[float]:
    """How long the digital unit, and each array, work on one image."""
    yield sum(c.latency_us for m, c in zip(mapping.layers, layers, strict=True) if not m.blocks)
    for blocks in mapping.bins:
        yield sum(layers[b.layer].latency_us / together[b.layer] for b in blocks)


# --- calibration ---------------------------------------------------------------------------


def peak(profile: CimProfile) -> tuple[float, float]:
    """(TOPS, TOPS/W) of full arrays that are read all the time, memory and network not counted,
    for weights and inputs of costs.peak_*_bits. One array where the profile names no number."""
    ops, read_ns, energy_pj = _full_read(profile)
    arrays = max(1, profile.chip.arrays)
    energy_pj += profile.costs.static_mw * read_ns / arrays
    return arrays * ops / read_ns / 1e3, ops / energy_pj


def _full_read(profile: CimProfile) -> tuple[float, float, float]:
    """(operations, ns, pJ) of one read of one full array, without static power."""
    a, c = profile.array, profile.costs
    slices = slice_count(c.peak_weight_bits, profile.cells)
    weights = a.columns // slices
    cycles = c.peak_input_bits if profile.dac.mode == "serial" else 1
    cells = a.rows * weights * slices * cycles * (2 if profile.cells.mapping == "balanced" else 1)
    conversions = weights * slices * cycles
    energy = a.rows * c.dac_pj + cells * c.cell_fj / 1e3 + conversions * c.shift_add_pj
    if not profile.adc.ideal:
        energy += conversions * c.adc_pj
    return 2.0 * a.rows * weights, _read_ns(profile, cycles), energy


def calibrated(profile: CimProfile) -> CimProfile:
    """The profile with one constant solved for from each quoted peak, the others kept:
    array.read_ns from costs.peak_tops, costs.adc_pj (costs.cell_fj where there are no converters)
    from costs.peak_tops_per_w.

    Raises ProfileError where the others alone cost more than the peak allows."""
    c, a = profile.costs, profile.array
    if c.peak_tops and profile.chip.arrays:
        ops, read_ns, _ = _full_read(profile)
        active = profile.chip.arrays * ops / c.peak_tops / 1e3 - a.overhead_ns
        longer = active / (read_ns - a.overhead_ns)
        read_ns = a.overhead_ns + (a.read_ns - a.overhead_ns) * longer
        profile = replace(profile, array=replace(a, read_ns=read_ns))
    if not c.peak_tops_per_w:
        return profile
    ops, read_ns, rest_pj = _full_read(_absorbing(profile, 0.0))
    per_unit = _full_read(_absorbing(profile, 1.0))[2] - rest_pj
    rest_pj += c.static_mw * read_ns / max(1, profile.chip.arrays)
    value = (ops / c.peak_tops_per_w - rest_pj) / per_unit
    if value < 0:
        raise ProfileError(
            f"profile {profile.name}: costs.peak_tops_per_w is {c.peak_tops_per_w}, but the other "
            f"costs alone allow {ops / rest_pj:.3g}; lower them"
        )
    return _absorbing(profile, value)


def _absorbing(profile: CimProfile, value: float) -> CimProfile:
    """The profile with another energy of what absorbs all that has no name."""
    c = profile.costs
    if profile.adc.ideal:
        return replace(profile, costs=replace(c, cell_fj=value))
    return replace(profile, costs=replace(c, adc_pj=value))
