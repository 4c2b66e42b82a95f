"""A layer on a seeded chip: cells drawn, aged, and folded into the weights that arrays compute
with."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim import array, cells, converters, parasitics
from edge_sdk.backends.cim.array import Block, Layer
from edge_sdk.backends.cim.cells import Draws, Slice
from edge_sdk.backends.cim.converters import AdcRanges, Codes, Drive
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.profile import CimProfile, Spread
from edge_sdk.errors import ProfileError

_STREAMS = ("programming", "drift", "stuck", "converters")

Matrix = npt.NDArray[Any]


@dataclass(frozen=True)
class State:
    """What a chip is, and when; as for Chip."""

    profile: CimProfile
    seed: int
    time_s: float
    temperature_c: float
    ranges: AdcRanges | None = None
    compensate_drift: bool = False
    exact_wires: bool = False


def fold(kernel: Kernel, state: State) -> Layer:
    """Raises ProfileError for converters without a calibrated range."""
    profile = state.profile
    drive = converters.drive(kernel, profile.dac)
    layout, group = _layout(kernel, profile)
    rngs = {name: _rng(state.seed, kernel.name, name) for name in _STREAMS}
    blocks: list[Block] = []
    driven = 0.0
    for index, part in enumerate(cells.sliced(_matrix(kernel), kernel.bits, profile.cells)):
        pieces = [
            _piece(kernel, state, drive, index, part, rows, columns, held, rngs)
            for rows, columns, held in _cut(kernel, profile, layout, group)
        ]
        gain = _compensation(pieces) if state.compensate_drift else 1.0
        blocks += [replace(p.block, worth=p.block.worth * gain) for p in pieces]
        if profile.cells.mapping == "offset":
            scale = cells.level_scale(part, profile.cells)
            driven -= part.worth * cells.smallest(profile.cells) * scale
    if profile.cells.mapping == "offset":
        driven -= 1 << (kernel.bits - 1)
    own = float(-kernel.zero)
    if layout == "grouped" and profile.layers.zero_cells == "isolated":
        own, driven = own + driven, 0.0
    dtype = _arithmetic(kernel, state, drive, blocks, abs(own) + abs(driven))
    return Layer(
        kernel,
        drive,
        tuple(replace(b, weights=b.weights.astype(dtype)) for b in blocks),
        layout,
        group,
        own,
        driven,
        _constant(kernel, drive),
        dtype,
    )


def _rng(seed: int, name: str, what: str) -> np.random.Generator:
    """Of the seed and the layer's name alone: a layer's cells are the same whatever else is on the
    chip, and each kind of draw the same whichever others are on."""
    key = (zlib.crc32(name.encode()), _STREAMS.index(what))
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def _layout(kernel: Kernel, profile: CimProfile) -> tuple[str, int]:
    """Layout of a layer's inputs, and of a grouped one how many channels share an array. A
    depthwise layer whose other cells are cut off, or whose channels are read one after the other,
    is diagonal: nothing else adds to a column."""
    if kernel.kind != "depthwise":
        return "matrix", 0
    mode, noisy = profile.layers.depthwise, profile.layers.zero_cells == "noisy"
    if mode == "dense":
        return "grouped", kernel.outputs
    if mode == "packed" and noisy and kernel.rows <= profile.array.rows:
        return "grouped", min(profile.array.rows // kernel.rows, _width(kernel, profile))
    return "diagonal", 0


def _width(kernel: Kernel, profile: CimProfile) -> int:
    """Outputs on one array: the slices of a weight lie next to each other."""
    return max(1, profile.array.columns // cells.slice_count(kernel.bits, profile.cells))


def _matrix(kernel: Kernel) -> npt.NDArray[np.int8]:
    """Weights (rows, columns), of a depthwise layer (taps, channels)."""
    return kernel.weights.reshape(kernel.rows, kernel.outputs)


def _constant(kernel: Kernel, drive: Drive) -> npt.NDArray[np.int32]:
    """sum (w - zero) (x - input_zero) less what depends on x: with d = input_zero - reference,
    -d sum w + rows zero d."""
    distance = kernel.input_zero - drive.reference
    sums = _matrix(kernel).sum(axis=0, dtype=np.int64)
    constant: npt.NDArray[np.int32] = (distance * (kernel.rows * kernel.zero - sums)).astype(
        np.int32
    )
    return constant


_Cut = tuple[slice, slice, "npt.NDArray[np.bool_] | None"]


def _cut(kernel: Kernel, profile: CimProfile, layout: str, group: int) -> Iterator[_Cut]:
    """Parts of a layer's matrix on one array's rows: rows, columns, and which cells hold the
    kernel's own weights, None for all."""
    limit = profile.array.rows
    if layout != "grouped":
        for rows in array.row_blocks(kernel.rows, limit):
            yield rows, slice(0, kernel.outputs), None
        return
    taps, channels = kernel.rows, kernel.outputs
    for start in range(0, channels, group):
        columns = slice(start, min(start + group, channels))
        for rows in array.row_blocks((columns.stop - start) * taps, limit):
            first, last = start * taps + rows.start, start * taps + rows.stop
            own = np.arange(first, last)[:, None] // taps == np.arange(start, columns.stop)
            yield slice(first, last), columns, own


@dataclass(frozen=True, eq=False)
class _Piece:
    """A block before its gain, with the sums of its conductances without drift and with it."""

    block: Block
    before: float
    now: float


def _piece(
    kernel: Kernel,
    state: State,
    drive: Drive,
    index: int,
    part: Slice,
    rows: slice,
    columns: slice,
    held: npt.NDArray[np.bool_] | None,
    rngs: dict[str, np.random.Generator],
) -> _Piece:
    profile = state.profile
    placed = replace(part, levels=_levels(part, kernel, rows, columns, held))
    scale = cells.level_scale(part, profile.cells)
    pair = cells.conductances(placed, profile.cells)
    now = [_aged(g, state, rngs) for g in pair]
    if perfect(state):
        low = cells.smallest(profile.cells) if len(pair) == 1 else 0.0
        weights = placed.levels + np.float64(low * scale)
    else:
        gain = cells.gain(profile.errors.temperature, state.temperature_c)
        weights = _difference([_wired(g, kernel, state) for g in now]) * np.float32(scale * gain)
    weights, variance = _cut_off(weights, _variance(now, state, scale), profile, held)
    active = len(weights) if held is None else int(held.sum(axis=0).max())
    limit = active * (1 if drive.digits else round(drive.largest / drive.step)) * scale
    codes = _codes(state, kernel, index, limit, drive)
    offset, bow = _bends(kernel, profile, len(weights.T), rngs["converters"])
    block = Block(
        rows,
        columns,
        weights,
        variance,
        codes,
        offset,
        bow,
        part.worth,
        limit,
        index,
    )
    return _Piece(block, float(sum(g.sum() for g in pair)), float(sum(g.sum() for g in now)))


def _levels(
    part: Slice,
    kernel: Kernel,
    rows: slice,
    columns: slice,
    held: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.int32]:
    """Levels of a part of the matrix; where the kernel has no weight, that of 0."""
    if held is None:
        return part.levels[rows, columns]
    taps = kernel.rows
    tap = np.arange(rows.start, rows.stop) % taps
    levels: npt.NDArray[np.int32] = part.levels[tap][:, columns]
    filled: npt.NDArray[np.int32] = np.where(held, levels, np.int32(part.zero))
    return filled


def perfect(state: State) -> bool:
    """Whether cells hold exactly what they were meant to."""
    errors, drift = state.profile.errors, state.profile.errors.drift
    return not (
        _any(errors.programming)
        or (state.time_s > drift.t0_s and (drift.nu or drift.nu_sigma))
        or errors.stuck_on
        or errors.stuck_off
        or errors.row_ohm
        or errors.column_ohm
        or cells.gain(errors.temperature, state.temperature_c) != 1
    )


def _any(table: Spread) -> bool:
    return any(map(any, table.sigma))


def _aged(g: Matrix, state: State, rngs: dict[str, np.random.Generator]) -> Matrix:
    """Conductances now. Draws are made whenever a profile has the error, whatever the time, so that
    a chip keeps its cells."""
    errors, none = state.profile.errors, np.float32(0)

    def normal(what: str, there: bool) -> Matrix | np.float32:
        return rngs[what].standard_normal(g.shape, dtype=np.float32) if there else none

    broken = bool(errors.stuck_on or errors.stuck_off)
    draws = Draws(
        normal("programming", _any(errors.programming)),
        normal("drift", bool(errors.drift.nu_sigma)),
        rngs["stuck"].random(g.shape, dtype=np.float32) if broken else np.float32(0.5),
    )
    low = cells.smallest(state.profile.cells)
    aged: Matrix = cells.aged(g, draws, errors, low, state.time_s, np)
    return aged.astype(np.float32)


def _difference(arrays: list[Matrix]) -> Matrix:
    return arrays[0] - arrays[1] if len(arrays) == 2 else arrays[0]


def _wired(g: Matrix, kernel: Kernel, state: State) -> Matrix:
    """What wires leave of conductances, array by array. Both cells of a pair lie at the same place
    of an array of their own, as in CrossSim 3.2, and so do the slices of a weight."""
    errors = state.profile.errors
    if not (errors.row_ohm or errors.column_ohm):
        return g
    row, column = errors.row_ohm / errors.cell_ohm, errors.column_ohm / errors.cell_ohm
    width = _width(kernel, state.profile)
    solve = parasitics.reference if state.exact_wires else parasitics.first_order
    tiles = [g[:, i : i + width] for i in range(0, g.shape[1], width)]
    return np.concatenate([solve(t, row, column) for t in tiles], axis=1)


def _variance(arrays: list[Matrix], state: State, scale: float) -> Matrix | None:
    table = state.profile.errors.read
    if not _any(table):
        return None
    squares = [cells.spread(g, table, state.time_s, np) ** 2 for g in arrays]
    variance: Matrix = (sum(squares[1:], squares[0]) * scale**2).astype(np.float32)
    return variance


def _cut_off(
    weights: Matrix,
    variance: Matrix | None,
    profile: CimProfile,
    held: npt.NDArray[np.bool_] | None,
) -> tuple[Matrix, Matrix | None]:
    if held is None or profile.layers.zero_cells == "noisy":
        if variance is not None and not np.ptp(variance):
            variance = np.ascontiguousarray(variance[:, :1])
        return weights, variance
    return weights * held, None if variance is None else variance * held


def _codes(state: State, kernel: Kernel, index: int, limit: float, drive: Drive) -> Codes | None:
    adc = state.profile.adc
    if adc.ideal:
        return None
    bound = limit
    if adc.range != "max":
        if state.ranges is None or (kernel.name, index) not in state.ranges:
            raise ProfileError(
                f"adc.range is {adc.range}, and nothing is known of layer '{kernel.name}', slice "
                f"{index}: calibrate the ranges on images first"
            )
        bound = state.ranges[kernel.name, index]
    signed = drive.signed or state.profile.cells.mapping == "balanced"
    return converters.codes(adc, bound, signed=signed)


def _bends(
    kernel: Kernel, profile: CimProfile, columns: int, rng: np.random.Generator
) -> tuple[Matrix | None, Matrix | None]:
    """Of a block's columns, array by array."""
    adc, width = profile.adc, _width(kernel, profile)
    if adc.ideal or not (adc.inl_lsb or adc.offset_lsb):
        return None, None
    found = [
        converters.bends(adc, min(width, columns - i), profile.array.adcs, rng)
        for i in range(0, columns, width)
    ]
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def _compensation(pieces: list[_Piece]) -> float:
    now = sum(p.now for p in pieces)
    return sum(p.before for p in pieces) / now if now else 1.0


def _arithmetic(
    kernel: Kernel, state: State, drive: Drive, blocks: list[Block], digital: float
) -> type[np.floating[Any]]:
    """float32, but for sums that have to be exact and can pass 2^24, or are no integers."""
    if blocks[0].codes is not None or blocks[0].variance is not None or not perfect(state):
        return np.float32
    if state.profile.cells.mapping == "offset" and state.profile.cells.on_off:
        return np.float64
    largest = digital * kernel.rows * drive.largest
    for block in blocks:
        largest += block.worth * drive.largest * float(np.abs(block.weights).sum(axis=0).max())
    return np.float32 if largest < 1 << 24 else np.float64
