"""From a field of view to its cells: masks, boxes and flags, with OpenCV, on one thread's work.

All is done on a picture shrunk so that a red cell is about 40 pixels wide:

    foreground.py   flat-field -> optical density of the most telling channel -> Otsu -> pallor
    seeds.py        votes of the outlines + distance transform -> a seed per cell -> its pixels
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import DataError, UsageError
from edge_sdk.screening.foreground import (
    WORK_DIAMETER,
    Foreground,
    Pixels,
    disc,
    find_foreground,
    opencv,
)
from edge_sdk.screening.seeds import find_diameter, find_seeds, split

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
Flag = Literal["border", "clump", "unsplit"]
Why = Literal["white cell", "debris"]

MAX_PIXELS = 40_000_000
_FIRST_SIDE = 640  # longest side of the picture on which the scale is found
_SMALLEST = 0.25  # of the median cell's area: less is debris
_THINNEST = 0.4  # of its radius: what is thinner is a fibre
_LARGEST = 1.6  # of its area: more may be several cells
_NUCLEUS = 0.4  # of its area: more that is dark is a white cell
# What real smears are far from (least fill 0.68, widest spread 0.30, no debris that large, on 75
# fields) and photographs of other things are often beyond.
_FILL, _SPREAD, _DEBRIS, _TO_SAY = 0.62, 0.35, 0.2, 15
NO_SMEAR = (
    "This does not look like a thin smear: what stands out has neither the shape nor the even size "
    "of red cells. See that a stained film is in focus, and move to where its cells lie apart."
)


@dataclass(frozen=True, eq=False)
class Cell:
    """One red cell. box: (x, y, width, height), inside the field; mask: bool (height, width), with
    a margin of about 1/40 diameter as in the cells that classifiers are trained on, without what
    belongs to a neighbour; centre: (x, y); area: pixels, without the margin; flags: `border` it is
    cut by the frame, `clump` it was split from others, `unsplit` it may be several."""

    box: Box
    mask: Mask
    centre: tuple[float, float]
    area: float
    flags: frozenset[Flag]


@dataclass(frozen=True)
class Aside:
    """What is in the field and is no red cell. box: (x, y, width, height)."""

    box: Box
    why: Why


@dataclass(frozen=True, eq=False)
class Field:
    """size: (width, height); cells: from top to bottom; diameter: of the median cell in pixels, or
    the one that was set; None where nothing stands out; covered: share of the field that is no
    background; channel: whose density was used; background: RGB of the empty slide."""

    size: tuple[int, int]
    cells: tuple[Cell, ...]
    aside: tuple[Aside, ...]
    diameter: float | None
    covered: float
    channel: int | None
    background: tuple[float, float, float]

    @property
    def counted(self) -> tuple[Cell, ...]:
        """The cells that count: all but those that the frame cuts."""
        return tuple(c for c in self.cells if "border" not in c.flags)


def check_field(pixels: object) -> Pixels:
    """`pixels` as what it must be, uint8 (H, W, 3) RGB; raises DataError for anything else and for
    more than MAX_PIXELS."""
    if not isinstance(pixels, np.ndarray):
        raise DataError(f"field: a {type(pixels).__name__} must be an array, uint8 (H, W, 3) RGB")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DataError(
            f"field: dtype {pixels.dtype} and shape {pixels.shape} must be uint8 (H, W, 3) RGB"
        )
    height, width = pixels.shape[:2]
    if height * width > MAX_PIXELS:
        raise DataError(
            f"field: {width}x{height} is more than the {MAX_PIXELS} pixels that are taken; shrink "
            "it: a red cell needs no more than 100 pixels across"
        )
    return pixels


def segment(pixels: Pixels, *, diameter: float | None = None) -> Field:
    """The cells of one field, the same for the same pixels.

    pixels: uint8 (H, W, 3) RGB; diameter: of a red cell in pixels, None to find it.
    Raises DataError as `check_field`, UsageError for a diameter that cannot be, BackendError
    without OpenCV."""
    pixels = check_field(pixels)
    if diameter is not None and not 8.0 <= diameter <= 2000.0:
        raise UsageError(f"diameter {diameter} must be from 8 to 2000 pixels, or None to find it")
    cv2 = opencv()
    size = (pixels.shape[1], pixels.shape[0])
    first = _FIRST_SIDE / max(size) if diameter is None else WORK_DIAMETER / diameter
    scale = min(1.0, first)
    ground = find_foreground(cv2, pixels, scale)
    if ground is not None and diameter is None:
        found = find_diameter(cv2, ground)
        diameter = None if found is None else found / scale
        if found is not None and diameter is not None:
            better = min(1.0, WORK_DIAMETER / diameter)
            if not 0.75 < better / scale < 1.33:
                ground = find_foreground(cv2, pixels, better)
    if ground is None or diameter is None:
        r, g, b = np.median(pixels[::8, ::8].reshape(-1, 3), axis=0).tolist()
        return Field(size, (), (), None, 0.0, None, (r, g, b))
    return _cells(cv2, ground, size, diameter)


def smear_fault(found: Field) -> str | None:
    """Why a picture is hardly one of a thin smear, in words for who took it: red cells fill their
    boxes, are about as large as one another, and most of what stands out. None where it may be one,
    and where too little was found to say."""
    cells = found.counted
    if len(cells) < _TO_SAY:
        return None
    areas = np.array([c.area for c in cells])
    debris = sum(a.why == "debris" for a in found.aside)
    debris_share = debris / (debris + len(found.cells))
    fill = float(np.median([c.mask.mean() for c in cells]))
    spread = float(areas.std() / areas.mean())
    if fill >= _FILL and spread <= _SPREAD and debris_share <= _DEBRIS:
        return None
    return NO_SMEAR


@dataclass(frozen=True)
class _Grid:
    """From the shrunk field's pixels to the field's."""

    x: float
    y: float
    width: int
    height: int

    def box(self, x: int, y: int, w: int, h: int) -> Box:
        x0, y0 = max(0, round(x * self.x)), max(0, round(y * self.y))
        x1, y1 = min(self.width, round((x + w) * self.x)), min(self.height, round((y + h) * self.y))
        return x0, y0, max(1, x1 - x0), max(1, y1 - y0)


def _cells(cv2: Any, ground: Foreground, size: tuple[int, int], diameter: float) -> Field:
    h, w = ground.filled.shape
    grid = _Grid(size[0] / w, size[1] / h, size[0], size[1])
    radius = diameter / (grid.x + grid.y)
    filled = ground.filled.copy()
    aside = _white_cells(cv2, ground, filled, grid, radius)
    depth = cv2.distanceTransform(filled, cv2.DIST_L2, 5)
    _, parts = cv2.connectedComponents(filled, connectivity=4)
    seeds = find_seeds(cv2, ground, filled, depth, radius)
    owner = split(parts, seeds, radius)
    in_part = np.bincount([parts[y, x] for x, y, _ in seeds], minlength=1)
    # The margin grows into background only, never into a neighbour.
    margin = cv2.dilate(owner, np.ones((3, 3), np.uint8))
    margin[filled > 0] = 0
    whole = math.pi * radius**2
    far = math.ceil(2 * radius) + 2
    cells = []
    for i, (x, y, _) in enumerate(seeds):
        x0, y0 = max(0, x - far), max(0, y - far)
        mine = owner[y0 : y + far + 1, x0 : x + far + 1] == i + 1
        bx, by, bw, bh = cv2.boundingRect(mine.view(np.uint8))
        # Its own box and one pixel around it; the frame may cut that.
        x0, y0, x1, y1 = x0 + bx - 1, y0 + by - 1, x0 + bx + bw + 1, y0 + by + bh + 1
        x0, y0 = max(0, x0), max(0, y0)
        here = (slice(y0, y1), slice(x0, x1))
        tight = _piece(cv2, owner[here] == i + 1, (x - x0, y - y0))
        area = int(np.count_nonzero(tight))
        grown = tight | ((margin[here] == i + 1) & (cv2.dilate(tight, _NEXT) > 0))
        bx, by, bw, bh = cv2.boundingRect(grown)
        box = grid.box(bx + x0, by + y0, bw, bh)
        flags: set[Flag] = set()
        if bx + x0 == 0 or by + y0 == 0 or bx + x0 + bw == w or by + y0 + bh == h:
            flags.add("border")
        elif area < _SMALLEST * whole or depth[here][tight > 0].max() < _THINNEST * radius:
            aside.append(Aside(box, "debris"))
            continue
        if in_part[parts[y, x]] > 1:
            flags.add("clump")
        if area > _LARGEST * whole:
            flags.add("unsplit")
        small = grown[by : by + bh, bx : bx + bw]
        mask = cv2.resize(small, box[2:], interpolation=cv2.INTER_NEAREST) > 0
        sums = cv2.moments(tight, binaryImage=True)
        centre = (
            (sums["m10"] / area + x0 + 0.5) * grid.x,
            (sums["m01"] / area + y0 + 0.5) * grid.y,
        )
        full_area = area * grid.x * grid.y
        cells.append(Cell(box, mask, centre, full_area, frozenset(flags)))
    cells.sort(key=lambda c: (c.centre[1], c.centre[0]))
    covered = float(np.count_nonzero(ground.filled)) / ground.filled.size
    return Field(
        size, tuple(cells), tuple(aside), diameter, covered, ground.channel, ground.background
    )


_NEXT = np.ones((3, 3), np.uint8)


def _piece(cv2: Any, mine: Mask, seed: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Of a cell's pixels those that hang together with its seed, uint8 of 0 and 1."""
    pixels: npt.NDArray[np.uint8] = mine.view(np.uint8)
    count, labels = cv2.connectedComponents(pixels, connectivity=4)
    if count <= 2:
        return pixels
    out: npt.NDArray[np.uint8] = (labels == labels[seed[1], seed[0]]).astype(np.uint8)
    return out


def _white_cells(
    cv2: Any, ground: Foreground, filled: Pixels, grid: _Grid, radius: float
) -> list[Aside]:
    """White cells and large stain deposits by what is dark in them; they are taken out of
    `filled`. The lobes of a nucleus are one; at the frame a part of one is enough."""
    h, w = filled.shape
    if not ground.dark.any():
        return []
    dark = cv2.morphologyEx(ground.dark, cv2.MORPH_CLOSE, disc(cv2, 0.35 * radius))
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, disc(cv2, 0.2 * radius))
    outlines, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for outline in outlines:
        x, y, bw, bh = cv2.boundingRect(outline)
        cut = x == 0 or y == 0 or x + bw == w or y + bh == h
        least = _NUCLEUS * math.pi * radius**2 * (0.6 if cut else 1.0)
        if cv2.contourArea(outline) < least:
            continue
        zone = np.zeros_like(filled)
        cv2.drawContours(zone, [cv2.convexHull(outline)], -1, 255, -1)
        zone = cv2.dilate(zone, disc(cv2, 0.5 * radius))
        filled[zone > 0] = 0
        found.append(Aside(grid.box(*cv2.boundingRect(zone)), "white cell"))
    return found
