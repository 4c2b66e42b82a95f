"""Drawn fields of a thin smear, as a microscope's camera sees them; never photographs.

A field is made of the cells of `simulate`: each absorbs its share of the slide's light, so that
overlapping cells darken one another,

    pixel = background * uneven light * product of the cells' transmittances

blurred by the defocus, with the camera's noise on top. Where every cell lies, whether it is
infected and which cells touch is known: the ground truth for tests and demonstrations. Accuracy
that is measured on drawings says nothing about real smears.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from edge_sdk.errors import UsageError
from edge_sdk.simulate import (
    KINDS,
    RING_SHARE,
    Dice,
    Field,
    Parasite,
    SimulatedCell,
    Slide,
    at_least,
    draw_cell,
    slide_of,
)

# Our own drawn constants, as in simulate.py.
_DRAWN_DIAMETER = 121.0  # of a cell of simulate.py, median, pixels
_POOL = 12  # uninfected cells drawn for a field; turned and mirrored they serve all
_TRIES = 400  # throws for a free place, in all
_WHITE = 1.55  # diameter of a white cell beside a red one's
_NUCLEUS = np.array([0.75, 1.05, 0.35])
_PALE = np.array([0.16, 0.22, 0.08])

Canvas = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FieldCell:
    """A red cell of a field. x, y: its centre, radius: of a circle of its size, in pixels, x to
    the right and y down; kind: one of simulate.KINDS; parasites: (x, y, radius) in the field;
    clump: number of the clump it touches others in, None where it lies alone; whole: no part of
    it lies outside the field."""

    x: float
    y: float
    radius: float
    kind: str
    parasites: tuple[Parasite, ...]
    clump: int | None
    whole: bool

    @property
    def infected(self) -> bool:
        return bool(self.parasites)


@dataclass(frozen=True, eq=False)
class SimulatedField:
    """pixels: uint8 (H, W, 3) RGB; cells: from the first placed to the last; white_cells:
    (x, y, radius) each; defocus: standard deviation of the blur, pixels."""

    pixels: npt.NDArray[np.uint8]
    cells: tuple[FieldCell, ...]
    white_cells: tuple[Parasite, ...]
    seed: int
    patient: int
    defocus: float


def draw_field(
    seed: int,
    patient: int = 0,
    size: tuple[int, int] = (640, 480),
    *,
    cells: int = 40,
    infected: float = 0.1,
    clumped: float = 0.2,
    white_cells: int = 1,
    diameter: float = 60.0,
    defocus: float = 0.0,
) -> SimulatedField:
    """One field: the same arguments give the same ground truth everywhere, and the same pixels.

    patient: alone sets the stain and the light; size: (width, height); cells: red cells, fewer
    where there is no place for more; infected: their share with parasites, clumped: the share put
    against another cell; diameter: of a red cell, median, pixels; defocus: pixels of blur.
    Raises UsageError for a number out of range."""
    at_least(0, seed=seed, patient=patient, cells=cells, white_cells=white_cells)
    at_least(16, width=size[0], height=size[1])
    for name, share in (("infected", infected), ("clumped", clumped)):
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"{name} {share} must be from 0 to 1")
    if not 8.0 <= diameter <= 400.0:
        raise UsageError(f"diameter {diameter} must be from 8 to 400 pixels")
    if not 0.0 <= defocus <= 50.0:
        raise UsageError(f"defocus {defocus} must be from 0 to 50 pixels")
    dice, slide = Dice(seed, patient, 901), slide_of(patient)
    places, whites = _places(dice, size, cells, clumped, diameter, white_cells)
    through = np.ones((size[1], size[0], 3), np.float32)
    for place in whites:
        _stain_white(through, dice, place)
    pool = [draw_cell("uninfected", _seed(dice), patient) for _ in range(min(_POOL, len(places)))]
    kinds = _kinds(dice, len(places), infected)
    placed = []
    for i, ((x, y, clump), kind) in enumerate(zip(places, kinds, strict=True)):
        drawn = pool[i % len(pool)]
        if kind != "uninfected":
            drawn = draw_cell(kind, _seed(dice), patient)
        cell = _turned(dice, drawn)
        scale = diameter / _DRAWN_DIAMETER
        placed.append(_lay(through, slide, cell, (x, y), scale, clump))
    pixels = _seen(dice, slide, through, defocus)
    return SimulatedField(pixels, tuple(placed), tuple(whites), seed, patient, defocus)


def _seed(dice: Dice) -> int:
    return math.floor(dice.flat(0.0, 2.0**52))


def _places(
    dice: Dice, size: tuple[int, int], count: int, clumped: float, diameter: float, white: int
) -> tuple[list[tuple[float, float, int | None]], list[Parasite]]:
    """Centres of the red cells with their clump, and the white cells as (x, y, radius).

    Cells are thrown until they keep their distance, or put against one that lies already."""
    width, height = size
    whites: list[Parasite] = []
    for _ in range(white):
        radius = _WHITE * diameter / 2 * dice.flat(0.9, 1.15)
        x, y = dice.flat(0.1 * width, 0.9 * width), dice.flat(0.1 * height, 0.9 * height)
        if all(math.hypot(x - a, y - b) > radius + r for a, b, r in whites):
            whites.append((x, y, radius))
    out: list[tuple[float, float, int | None]] = []
    clumps = 0

    def free(x: float, y: float, apart: float, but: int | None = None) -> bool:
        return all(
            math.hypot(x - a, y - b) > apart for i, (a, b, _) in enumerate(out) if i != but
        ) and all(math.hypot(x - a, y - b) > r + 0.6 * diameter for a, b, r in whites)

    for _ in range(_TRIES + 10 * count):
        if len(out) >= count:
            break
        if out and dice.chance(clumped):
            partner = math.floor(dice.flat(0.0, len(out)))
            px, py, clump = out[partner]
            turn, away = dice.angle(), diameter * dice.flat(0.72, 0.95)
            x, y = px + away * math.cos(turn), py + away * math.sin(turn)
            if 0 <= x < width and 0 <= y < height and free(x, y, 1.15 * diameter, partner):
                if clump is None:
                    clump, clumps = clumps, clumps + 1
                    out[partner] = (px, py, clump)
                out.append((x, y, clump))
        else:
            x, y = dice.flat(0.0, width), dice.flat(0.0, height)
            if free(x, y, 1.25 * diameter):
                out.append((x, y, None))
    return out, whites


def _kinds(dice: Dice, count: int, infected: float) -> list[str]:
    """The share `infected` is met as exactly as whole cells allow, in a drawn order."""
    kinds = [KINDS[0]] * count
    left = round(infected * count)
    for i in range(count):
        if left and dice.flat(0.0, count - i) < left:
            kinds[i] = "ring" if dice.chance(RING_SHARE) else "trophozoite"
            left -= 1
    return kinds


def _turned(dice: Dice, cell: SimulatedCell) -> SimulatedCell:
    """The cell in one of eight positions, its parasites with it."""
    pixels, mask, parasites = cell.pixels, cell.mask, cell.parasites
    if dice.chance(0.5):
        parasites = tuple((mask.shape[1] - x, y, r) for x, y, r in parasites)
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    for _ in range(math.floor(dice.flat(0.0, 4.0))):  # a quarter turn to the left
        parasites = tuple((y, mask.shape[1] - x, r) for x, y, r in parasites)
        pixels, mask = np.rot90(pixels), np.rot90(mask)
    return SimulatedCell(pixels, mask, cell.kind, cell.patient, parasites)


def _lay(
    through: Canvas,
    slide: Slide,
    cell: SimulatedCell,
    centre: tuple[float, float],
    scale: float,
    clump: int | None,
) -> FieldCell:
    """Multiplies the cell's transmittance into the field's, at whole pixels."""
    share = np.clip(cell.pixels / slide.background, 0.02, 1.0)
    share[~cell.mask] = 1.0
    height, width = cell.mask.shape
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    # As a picture of 8 bits, whose resizing is the same on every machine.
    picture = Image.fromarray(np.rint(share * 255).astype(np.uint8))
    small = np.asarray(picture.resize((w, h), Image.Resampling.BILINEAR), np.float32) / 255
    left, top = round(centre[0] - w / 2), round(centre[1] - h / 2)
    rows, columns = through.shape[:2]
    y0, y1, x0, x1 = max(top, 0), min(top + h, rows), max(left, 0), min(left + w, columns)
    through[y0:y1, x0:x1] *= small[y0 - top : y1 - top, x0 - left : x1 - left]
    return FieldCell(
        x=left + w / 2,
        y=top + h / 2,
        radius=math.sqrt(cell.mask.sum() / math.pi) * scale,
        kind=cell.kind,
        parasites=tuple(
            (left + x * scale, top + y * scale, r * scale) for x, y, r in cell.parasites
        ),
        clump=clump,
        whole=left >= 0 and top >= 0 and left + w <= columns and top + h <= rows,
    )


def _stain_white(through: Canvas, dice: Dice, place: Parasite) -> None:
    """A white cell: pale cytoplasm and a nucleus of two to four dark lobes."""
    x, y, radius = place
    v, u = np.mgrid[: through.shape[0], : through.shape[1]].astype(np.float32)

    def disc(cx: float, cy: float, r: float, soft: float) -> Field:
        distance = (r - np.hypot(u - cx, v - cy)) / soft
        out: Field = 1.0 / (1.0 + np.exp(-np.clip(distance, -30.0, 30.0)))
        return out

    lobes = np.zeros(through.shape[:2])
    turn = dice.angle()
    for _ in range(2 + math.floor(dice.flat(0.0, 3.0))):
        away = radius * dice.flat(0.3, 0.5)
        cx, cy = x + away * math.cos(turn), y + away * math.sin(turn)
        lobes = np.maximum(lobes, disc(cx, cy, radius * dice.flat(0.3, 0.42), 1.5))
        turn += dice.flat(0.9, 1.8)
    body = disc(x, y, radius, 1.5)
    density = body[..., None] * _PALE + (lobes * body)[..., None] * _NUCLEUS
    through *= np.exp(-density).astype(np.float32)


def _seen(dice: Dice, slide: Slide, through: Canvas, defocus: float) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3): background and uneven light through the field, blurred, with noise."""
    height, width = through.shape[:2]
    v, u = np.mgrid[:height, :width].astype(np.float32)
    cx, cy = dice.flat(0.4, 0.6) * width, dice.flat(0.4, 0.6) * height
    fall = dice.flat(0.0, 0.12)  # of the light towards the corners
    light = 1.0 - fall * ((u - cx) ** 2 + (v - cy) ** 2) / (0.25 * (width**2 + height**2))
    picture = through * slide.background.astype(np.float32) * light[..., None]
    seen = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if defocus:
        blurred = Image.fromarray(seen).filter(ImageFilter.GaussianBlur(defocus))
        seen = np.asarray(blurred)
    noise = dice.bells(1.3, (height, width, 1)) + dice.bells(0.7, (height, width, 3))
    pixels: npt.NDArray[np.uint8] = np.clip(np.rint(seen + noise), 0, 255).astype(np.uint8)
    return pixels
