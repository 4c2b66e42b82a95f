"""Which arrays a network's layers take, how often they are read, and whether a chip has enough.

Counts only; what they cost is in cost.py. Weights of more bits than a cell holds take a column per
slice. Nothing is drawn here and no weight is looked at, but for the shape it is stored in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edge_sdk.backends.cim.cells import slice_count
from edge_sdk.backends.cim.converters import drive
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.profile import CimProfile, Depthwise
from edge_sdk.errors import UsageError

How = Literal["array", "digital", "packed", "column-serial", "dense"]
Placed = Literal["apart", "shared", "reloaded", "too small"]


@dataclass(frozen=True)
class Block:
    """What one layer has on one array: rows, and columns of cells."""

    layer: int
    rows: int
    columns: int


@dataclass(frozen=True)
class LayerMapping:
    """One layer with weights. how: digital, or on arrays.

    rows, columns: of the whole layer as it lies on arrays, columns with all slices. blocks: one per
    array. use: share of the arrays' cells that hold a weight. steps: reads one after the other,
    arrays beside each other reading at once. mvms: array reads. cycles: conversions of a column per
    read. adc_conversions, dac_conversions, cell_reads: per image, cell_reads in columns of one cell
    or pair. All counts are per image."""

    name: str
    how: How
    rows: int
    columns: int
    row_blocks: int
    column_blocks: int
    slices: int
    blocks: tuple[Block, ...]
    use: float
    positions: int
    outputs: int
    cycles: int
    steps: int
    mvms: int
    adc_conversions: int
    dac_conversions: int
    cell_reads: int
    mult_adds: int

    @property
    def arrays(self) -> int:
        return len(self.blocks)


@dataclass(frozen=True)
class Mapping:
    """A network on a chip.

    arrays: with one layer per array. shared: with blocks of several layers on one array, where
    they are read one after the other. placed: apart (an array has one layer), shared, reloaded
    (layers take turns on the last array: `reloads` times per image it is written, reload_rows rows
    in all) or too small. bins: the blocks of each array as placed, of a chip that is too small as
    if it had arrays enough. on_chip: arrays of the chip, 0: as many as needed. remedies: what
    would make it fit."""

    layers: tuple[LayerMapping, ...]
    arrays: int
    shared: int
    on_chip: int
    placed: Placed
    reloads: int
    reload_rows: int
    bins: tuple[tuple[Block, ...], ...]
    remedies: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return self.placed != "too small"

    @property
    def use(self) -> float:
        """Share of cells in use over arrays that have one layer each."""
        return sum(m.use * m.arrays for m in self.layers) / max(1, self.arrays)


def map_network(kernels: Sequence[Kernel], profile: CimProfile) -> Mapping:
    """Raises UsageError for a kernel that no array of the profile can hold."""
    layers = tuple(map_layer(k, profile, i) for i, k in enumerate(kernels))
    apart = tuple((b,) for m in layers for b in m.blocks)
    bins = shared = share_arrays([b for m in layers for b in m.blocks], profile)
    on_chip, needed, turns = profile.chip.arrays, len(shared), shared[:0]
    placed: Placed = "too small"
    if on_chip == 0 or len(apart) <= on_chip:
        placed, bins = "apart", apart
    elif needed <= on_chip:
        placed = "shared"
    elif profile.chip.reload:
        # All but one array keep their weights; those of fewest rows take turns on the last.
        placed = "reloaded"
        stay, turns = shared[: on_chip - 1], shared[on_chip - 1 :]
        bins = (*stay, tuple(b for blocks in turns for b in blocks))
    return Mapping(
        layers=layers,
        arrays=len(apart),
        shared=needed,
        on_chip=on_chip,
        placed=placed,
        reloads=len(turns),
        reload_rows=sum(min(profile.array.rows, sum(b.rows for b in t)) for t in turns),
        bins=bins,
        remedies=() if placed in ("apart", "shared") else _remedies(kernels, profile, needed),
    )


def require_fit(mapping: Mapping, profile: CimProfile) -> None:
    """Raises UsageError where the chip is too small and may not be reloaded."""
    if not mapping.fits:
        raise UsageError(
            f"profile {profile.name}: the model needs {mapping.shared} arrays of "
            f"{profile.array.rows} x {profile.array.columns} even where layers share them "
            f"({mapping.arrays} apart), chip.arrays is {mapping.on_chip} and chip.reload is false. "
            f"What would make it fit: {'; '.join(mapping.remedies)}"
        )


def map_layer(kernel: Kernel, profile: CimProfile, index: int = 0) -> LayerMapping:
    """Raises UsageError for a kernel that no array of the profile can hold."""
    how: How = profile.layers.depthwise if kernel.kind == "depthwise" else "array"
    slices = slice_count(kernel.bits, profile.cells)
    wide = profile.array.columns // slices
    if wide < 1:
        raise UsageError(
            f"layer {kernel.name}: weights of {kernel.bits} bits take {slices} columns, "
            f"array.columns of profile {profile.name} is {profile.array.columns}"
        )
    if how in ("packed", "column-serial") and kernel.rows > profile.array.rows:
        raise UsageError(
            f"layer {kernel.name}: {kernel.rows} rows of one channel, array.rows of profile "
            f"{profile.name} is {profile.array.rows}; set layers.depthwise to digital or dense"
        )
    if how == "digital":
        return _digital(kernel, slices)
    if how == "packed":
        return _packed(kernel, profile, index, slices, min(profile.array.rows // kernel.rows, wide))
    if how == "column-serial":
        return _column_serial(kernel, profile, index, slices, wide)
    return _dense(kernel, profile, index, how, slices, wide)


def _dense(
    kernel: Kernel, profile: CimProfile, index: int, how: How, slices: int, wide: int
) -> LayerMapping:
    rows = kernel.rows * (kernel.inputs if how == "dense" else 1)
    row_parts = _parts(rows, profile.array.rows)
    column_parts = [n * slices for n in _parts(kernel.outputs, wide)]
    positions, cycles = math.prod(kernel.positions), cycles_of(kernel, profile)
    filled = rows * kernel.outputs if profile.layers.zero_cells == "noisy" else kernel.weights.size
    return LayerMapping(
        name=kernel.name,
        how=how,
        rows=rows,
        columns=kernel.outputs * slices,
        row_blocks=len(row_parts),
        column_blocks=len(column_parts),
        slices=slices,
        blocks=tuple(Block(index, r, c) for r in row_parts for c in column_parts),
        use=_use(kernel, profile, slices, len(row_parts) * len(column_parts)),
        positions=positions,
        outputs=kernel.outputs,
        cycles=cycles,
        steps=positions,
        mvms=positions * len(row_parts) * len(column_parts),
        adc_conversions=positions * cycles * len(row_parts) * sum(column_parts),
        dac_conversions=positions * rows * len(column_parts),
        cell_reads=positions * cycles * filled * slices,
        mult_adds=kernel.mult_adds,
    )


def _packed(
    kernel: Kernel, profile: CimProfile, index: int, slices: int, channels: int
) -> LayerMapping:
    """Each channel's column has rows of its own: a block diagonal of `channels` per array."""
    parts = _parts(kernel.outputs, channels)
    whole = _column_serial(kernel, profile, index, slices, kernel.outputs)
    positions, cycles = math.prod(kernel.positions), cycles_of(kernel, profile)
    filled = (
        sum(kernel.rows * n * n for n in parts)
        if profile.layers.zero_cells == "noisy"
        else kernel.weights.size
    )
    return replace(
        whole,
        how="packed",
        rows=kernel.rows * kernel.outputs,
        column_blocks=len(parts),
        blocks=tuple(Block(index, kernel.rows * n, n * slices) for n in parts),
        use=_use(kernel, profile, slices, len(parts)),
        steps=positions,
        mvms=positions * len(parts),
        cell_reads=positions * cycles * filled * slices,
    )


def _column_serial(
    kernel: Kernel, profile: CimProfile, index: int, slices: int, wide: int
) -> LayerMapping:
    """Channels share rows; a read gives one channel, so nothing else is on its column."""
    parts = _parts(kernel.outputs, wide)
    positions, cycles = math.prod(kernel.positions), cycles_of(kernel, profile)
    reads = positions * kernel.outputs
    return LayerMapping(
        name=kernel.name,
        how="column-serial",
        rows=kernel.rows,
        columns=kernel.outputs * slices,
        row_blocks=1,
        column_blocks=len(parts),
        slices=slices,
        blocks=tuple(Block(index, kernel.rows, n * slices) for n in parts),
        use=_use(kernel, profile, slices, len(parts)),
        positions=positions,
        outputs=kernel.outputs,
        cycles=cycles,
        steps=positions * max(parts),
        mvms=reads,
        adc_conversions=reads * cycles * slices,
        dac_conversions=reads * kernel.rows,
        cell_reads=reads * cycles * kernel.rows * slices,
        mult_adds=kernel.mult_adds,
    )


def _digital(kernel: Kernel, slices: int) -> LayerMapping:
    return LayerMapping(
        name=kernel.name,
        how="digital",
        rows=kernel.rows,
        columns=kernel.outputs,
        row_blocks=0,
        column_blocks=0,
        slices=slices,
        blocks=(),
        use=0.0,
        positions=math.prod(kernel.positions),
        outputs=kernel.outputs,
        cycles=0,
        steps=0,
        mvms=0,
        adc_conversions=0,
        dac_conversions=0,
        cell_reads=0,
        mult_adds=kernel.mult_adds,
    )


def _parts(count: int, most: int) -> list[int]:
    """`count` in parts of at most `most`."""
    full, rest = divmod(count, most)
    return [most] * full + [rest] * (rest > 0)


def cycles_of(kernel: Kernel, profile: CimProfile) -> int:
    """Conversions of a column per read: one, or one per digit of a serial input."""
    return max(1, drive(kernel, profile.dac).digits)


def _use(kernel: Kernel, profile: CimProfile, slices: int, arrays: int) -> float:
    cells = profile.array.rows * profile.array.columns * arrays
    return kernel.weights.size * slices / cells


# --- several layers on an array ------------------------------------------------------------


def share_arrays(blocks: Sequence[Block], profile: CimProfile) -> tuple[tuple[Block, ...], ...]:
    """Blocks to arrays without overlap: first fit on shelves, highest blocks first.

    A shelf is a band of rows; blocks stand side by side on it. One at a time is read."""
    bins: list[list[Block]] = []
    shelves: list[list[int]] = []  # array, rows, columns left; only where a block may still stand
    open_arrays: dict[int, int] = {}  # rows left
    narrowest = min((b.columns for b in blocks), default=1)
    lowest = min((b.rows for b in blocks), default=1)
    for block in sorted(blocks, key=lambda b: (-b.rows, -b.columns)):
        shelf = next((s for s in shelves if block.rows <= s[1] and block.columns <= s[2]), None)
        if shelf is None:
            array = next((a for a, left in open_arrays.items() if block.rows <= left), len(bins))
            if array == len(bins):
                bins.append([])
            left = open_arrays.pop(array, profile.array.rows) - block.rows
            if left >= lowest:
                open_arrays[array] = left
            shelf = [array, block.rows, profile.array.columns]
            shelves.append(shelf)
        shelf[2] -= block.columns
        if shelf[2] < narrowest:
            shelves.remove(shelf)
        bins[shelf[0]].append(block)
    return tuple(map(tuple, bins))


def _remedies(kernels: Sequence[Kernel], profile: CimProfile, needed: int) -> tuple[str, ...]:
    on_chip = profile.chip.arrays
    found = [f"{needed} arrays on the chip instead of {on_chip}"]
    depthwise: Depthwise = profile.layers.depthwise
    if depthwise != "digital":
        digital = replace(profile, layers=replace(profile.layers, depthwise="digital"))
        blocks = [b for i, k in enumerate(kernels) for b in map_layer(k, digital, i).blocks]
        fewer = len(share_arrays(blocks, digital))
        if fewer < needed:
            enough = "enough" if fewer <= on_chip else f"still above {on_chip}"
            found.append(f"layers.depthwise digital: {fewer} arrays, {enough}")
    if not profile.chip.reload:
        found.append(f"chip.reload true: {needed - on_chip + 1} arrays written anew per image")
    found.append(
        f"a narrower model: weights grow with the square of the width, so about "
        f"{math.sqrt(on_chip / needed):.2f} of this width"
    )
    return tuple(found)
