"""Drawn thin-smear blood cells: seeded pictures for the demo and the tests, no download.

Every picture is a drawing, never a photograph, and says so in its file name, in a PNG text chunk
and in a note beside it. A cell is drawn as the microscope sees it: stain absorbs light, so that

    pixel = background of the slide * exp(-(haemoglobin * thickness + Giemsa stain * density))

with one background, haemoglobin colour, focus and colour fringe per simulated patient. The
fields are computed on every second pixel and enlarged, which gives the softness of a real crop;
the mask is cut in squares of three pixels, as in the real crops, and black outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edge_sdk import __version__
from edge_sdk.dataset import SIMULATED_MARK
from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.files import whole_folder

Field = npt.NDArray[np.float64]
Parasite = tuple[float, float, float]

KINDS: tuple[str, ...] = ("uninfected", "ring", "trophozoite")
LABELS = {"uninfected": "Uninfected", "ring": "Parasitized", "trophozoite": "Parasitized"}
RING_SHARE = 0.75  # of the infected cells; the others are trophozoites

_NOTE = """\
These images are simulated. They were drawn by a program and are not photographs: no blood, no
patient and no microscope was involved. They serve demonstrations and tests. Accuracy that is
measured on them says nothing about real smears.

Drawn by edge-sdk {version}: {count} cells, {patients} simulated patients, seed {seed}.
"""

# The figures below are our own drawn constants. They were chosen so that the colours, sizes and
# spreads match those of the public NLM cell images (Rajaraman et al., PeerJ 2018); no pixel of
# those images is in them.
#
# Per stain: its share of patients, the background (RGB), and the haemoglobin's optical density
# in R, G and B.
_STAINS = (
    (0.50, (212.0, 185.0, 173.0), (0.050, 0.210, 0.145)),  # salmon
    (0.26, (200.0, 199.0, 196.0), (0.135, 0.185, 0.080)),  # lilac
    (0.08, (212.0, 180.0, 178.0), (0.120, 0.370, 0.150)),  # pink
    (0.16, (197.0, 196.0, 193.0), (0.230, 0.285, 0.080)),  # bluish-grey
)
# Optical densities of the parasite's parts at density 1.
_CHROMATIN = np.array([0.235, 1.0, 0.185])
_CYTOPLASM = np.array([0.310, 1.0, 0.260])
_PIGMENT = np.array([0.55, 0.80, 0.95])
_SPECK = np.array([0.45, 1.0, 0.50])

_MEDIAN_DIAMETER = 121.0  # without the margin that the mask leaves around the cell
_BLOCK = 3  # pixels a side of the mask's squares
_STEP = 2  # pixels between two points of the drawn fields
_ANGLES = 720
_THETA = np.arange(_ANGLES) * (2 * math.pi / _ANGLES) - math.pi


@dataclass(frozen=True)
class SimulatedCell:
    """One drawn cell. pixels: uint8 (H, W, 3) RGB, black outside the mask; mask: bool (H, W);
    kind: one of KINDS; patient: the simulated patient's number; parasites: centre and radius
    (x, y, radius) of each parasite in pixels, x to the right and y down, empty if uninfected."""

    pixels: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    kind: str
    patient: int
    parasites: tuple[Parasite, ...]


class Dice:
    """Random draws that are the same everywhere.

    All are made from the generator's plain doubles: the stream of those is fixed, that of
    numpy's own normal and choice may change with its version."""

    def __init__(self, *key: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def flat(self, low: float, high: float) -> float:
        return low + (high - low) * self._rng.random()

    def bell(self, mean: float, spread: float) -> float:
        """Close to a normal draw, at most 6 spreads from the mean."""
        return mean + spread * (float(self._rng.random(12).sum()) - 6.0)

    def bells(self, spread: float, shape: tuple[int, ...]) -> Field:
        """float64 of `shape`, mean 0: as `bell`, from four doubles each."""
        out: Field = self._rng.random((4, *shape)).sum(axis=0) - 2.0
        return out * (spread * math.sqrt(3.0))

    def chance(self, share: float) -> bool:
        return self._rng.random() < share

    def angle(self) -> float:
        return self.flat(-math.pi, math.pi)


@dataclass(frozen=True)
class Slide:
    """What a patient's cells share. background, haemoglobin: float64 (3,); soft: pixels over
    which an edge blurs; fringe: (x, y) shift of red against blue; margin: of the mask, pixels."""

    background: Field
    haemoglobin: Field
    soft: float
    fringe: tuple[int, int]
    margin: float
    pallor: float


def slide_of(patient: int) -> Slide:
    dice = Dice(patient, 77)
    # Steps of the golden ratio spread any run of patients evenly over the stains.
    place = (0.35 + patient * 0.6180339887498949) % 1.0
    upper = np.cumsum([stain[0] for stain in _STAINS])
    _, background, density = _STAINS[int(np.searchsorted(upper[:-1], place, side="right"))]
    light = dice.bell(0.0, 4.5)
    strength = math.exp(dice.bell(0.0, 0.22))
    return Slide(
        background=np.array([c + light + dice.bell(0.0, 2.5) for c in background]),
        haemoglobin=np.array([d * strength * math.exp(dice.bell(0.0, 0.10)) for d in density]),
        soft=dice.flat(1.3, 2.4),
        fringe=(round(dice.bell(0.0, 0.5)), round(dice.bell(0.0, 0.8))),
        margin=dice.flat(0.5, 6.0),
        pallor=dice.flat(0.0, 0.35),
    )


def _wave(dice: Dice, first: int, last: int, size: float) -> Field:
    """A smooth random curve around the circle, float64 (_ANGLES,), spread about `size`."""
    out = np.zeros(_ANGLES)
    for k in range(first, last + 1):
        out += dice.bell(0.0, size * first / k) * np.cos(k * _THETA + dice.angle())
    return out


def _at(curve: Field, theta: Field | float) -> Field:
    """A curve of `_wave`'s form, read at angles of any shape."""
    index = np.rint((np.asarray(theta) + math.pi) * (_ANGLES / (2 * math.pi)))
    return np.take(curve, index.astype(np.intp), mode="wrap")


def _step(distance: Field, soft: float) -> Field:
    """0 far outside, 1 far inside, over about `soft` pixels."""
    out: Field = 1.0 / (1.0 + np.exp(np.clip(-distance / soft, -30.0, 30.0)))
    return out


class _Canvas:
    """The cell's fields, float64 (n, n) each, on every second pixel; the origin is the centre.

    x, y: in pixels; inside: pixels to the outline, negative outside; thick: haemoglobin, 1 in
    the cell's body; stain: float64 (n, n, 3), optical density added to it; outline, cut: radius
    of the cell and of its mask at each angle, float64 (_ANGLES,); bite: what a neighbour's mask
    takes, as (x, y, radius)."""

    def __init__(self, dice: Dice, slide: Slide) -> None:
        self.dice, self.slide = dice, slide
        diameter = _MEDIAN_DIAMETER * math.exp(min(0.26, max(-0.24, dice.bell(0.0, 0.12))))
        squash = math.exp(dice.bell(0.0, 0.085))
        theta = _THETA + dice.angle()
        ellipse = 1.0 / np.hypot(np.cos(theta) / squash, np.sin(theta) * squash)
        self.radius = diameter / 2
        self.outline = self.radius * ellipse * (1.0 + _wave(dice, 2, 6, dice.flat(0.012, 0.042)))
        self.cut = self.outline + slide.margin + _wave(dice, 7, 19, dice.flat(0.3, 1.1))
        self.bite: Parasite | None = None
        if dice.chance(0.25):
            turn, depth = dice.angle(), dice.flat(0.05, 0.30)
            size = self.radius * dice.flat(0.35, 1.1)
            away = float(_at(self.outline, turn)) - self.radius * depth + size
            self.bite = (away * math.cos(turn), away * math.sin(turn), size)
        block = _BLOCK * _STEP
        self.side = block * (math.ceil(2 * float(self.cut.max()) / block) + 4)
        axis = np.arange(0, self.side, _STEP) + (_STEP - self.side) / 2
        self.x, self.y = np.meshgrid(axis, axis)
        self.inside = _at(self.outline, np.arctan2(self.y, self.x)) - np.hypot(self.x, self.y)
        if self.bite:
            bx, by, size = self.bite
            gap = np.hypot(self.x - bx, self.y - by) - size - slide.margin * 0.6
            self.inside = np.minimum(self.inside, gap)
        self.thick = _step(self.inside, slide.soft)
        self.stain = np.zeros((*self.x.shape, 3))

    def mask(self) -> npt.NDArray[np.bool_]:
        """bool (side, side), in squares of _BLOCK pixels."""
        axis = np.arange(0, self.side, _BLOCK) + (_BLOCK - self.side) / 2
        x, y = np.meshgrid(axis, axis)
        kept: npt.NDArray[np.bool_] = np.hypot(x, y) < _at(self.cut, np.arctan2(y, x))
        if self.bite:
            kept &= np.hypot(x - self.bite[0], y - self.bite[1]) > self.bite[2]
        return kept.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)

    def spot(self, x: float, y: float, size: float, hard: float = 4.0, long: float = 1.0) -> Field:
        """A round or oval spot, 1 in its middle, float64 (n, n); `long` is its aspect ratio."""
        c, s = self.near(0.0, 0.0, 1.0)
        u, v = self.x - x, self.y - y
        r2 = ((u * c + v * s) / long) ** 2 + ((v * c - u * s) * long) ** 2
        out: Field = np.exp(-np.minimum((r2 / size**2) ** (hard / 2), 40.0))
        return out

    def blob(self, x: float, y: float, size: float, rough: float) -> tuple[Field, Field]:
        """Distance from an irregular outline of mean radius `size` (positive inside) and the
        angle around its centre, float64 (n, n) each."""
        u, v = self.x - x, self.y - y
        theta = np.arctan2(v, u)
        return size * (1.0 + _at(_wave(self.dice, 2, 5, rough), theta)) - np.hypot(u, v), theta

    def add(self, density: Field, colour: Field) -> None:
        """More stain of a colour: density is float64 (n, n), colour (3,)."""
        self.stain += density[..., None] * colour

    def place(self, low: float, high: float) -> tuple[float, float]:
        """A point at a share `low` to `high` of the way to the outline, away from the bite."""
        x = y = 0.0
        for _ in range(20):
            turn, share = self.dice.angle(), self.dice.flat(low, high)
            away = share * float(_at(self.outline, turn))
            x, y = away * math.cos(turn), away * math.sin(turn)
            bx, by, size = self.bite or (9e9, 0.0, 0.0)
            if math.hypot(x - bx, y - by) - size > 0.42 * self.radius:
                break
        return x, y

    def near(self, x: float, y: float, away: float) -> tuple[float, float]:
        """A point `away` pixels from another, in any direction."""
        turn = self.dice.angle()
        return x + away * math.cos(turn), y + away * math.sin(turn)

    def body(self) -> None:
        """Central pallor, a rim that may be darker, uneven thickness."""
        dice = self.dice
        px, py = self.near(0.0, 0.0, dice.bell(0.0, 0.12) * self.radius)
        depth, size, hard = dice.flat(0.2, 1.8) * self.slide.pallor, dice.flat(0.35, 0.6), 2.0
        if dice.chance(0.12):  # a sharp disc
            depth, size, hard = dice.flat(0.45, 0.85), dice.flat(0.16, 0.32), dice.flat(4.0, 8.0)
        self.thick *= 1.0 - depth * self.spot(px, py, size * self.radius, hard)
        self.thick *= 1.0 + dice.flat(0.0, 0.16) * np.exp(-(((self.inside - 7.0) / 7.0) ** 2))
        for _ in range(4):
            pace, turn = dice.flat(0.03, 0.09), dice.angle()
            wave = np.cos(pace * (self.x * math.cos(turn) + self.y * math.sin(turn)) + dice.angle())
            self.thick *= 1.0 + dice.bell(0.0, 0.035) * wave
        self.thick *= math.exp(dice.bell(0.0, 0.19))

    def clutter(self) -> None:
        """What any cell may carry that is no parasite: specks, a pale spot, a stain deposit."""
        dice = self.dice
        for _ in range(math.floor(dice.flat(0.0, 1.0) ** 3 * 5)):
            x, y = self.place(0.05, 0.85)
            size, weight = dice.flat(1.8, 3.8), dice.flat(0.06, 0.24)
            self.add(weight * self.spot(x, y, size, 2.0, dice.flat(1.0, 1.6)), _SPECK)
        if dice.chance(0.15):
            x, y = self.place(0.05, 0.7)
            self.thick *= 1.0 - dice.flat(0.3, 0.8) * self.spot(x, y, dice.flat(3.0, 7.0))
        if dice.chance(0.06):
            x, y = self.place(0.3, 0.95)
            streak = self.spot(x, y, dice.flat(2.5, 5.0), 2.0, dice.flat(1.5, 2.5))
            self.add(dice.flat(0.15, 0.45) * streak, _CYTOPLASM)

    def ring(self) -> Parasite:
        """A ring stage: a thin ring of cytoplasm with one or two dots of chromatin on it."""
        dice, size = self.dice, self.radius * self.dice.flat(0.20, 0.33)
        edge = dice.chance(0.35)  # applique: the ring lies on the cell's rim
        x, y = self.place(0.74, 0.84) if edge else self.place(0.10, 0.72)
        depth, theta = self.blob(x, y, size, 0.07)
        turn = dice.angle()
        swell = 0.65 + 0.35 * np.cos(theta - turn)
        width = dice.flat(1.4, 2.6) * self.radius / 65 * (0.7 + 0.5 * swell)
        line = np.exp(-np.minimum((depth / width) ** 2, 40.0)) * swell
        self.add((0.12 + 0.55 * dice.flat(0.0, 1.0) ** 2) * line, _CYTOPLASM)
        self.thick *= 1.0 - dice.flat(0.05, 0.35) * _step(depth, 1.5)
        for k in range(2 if dice.chance(0.35) else 1):
            at, far = turn + k * dice.flat(0.9, 2.6), size * dice.flat(0.75, 1.0)
            self.dot(x + far * math.cos(at), y + far * math.sin(at), 1.0 if k == 0 else 0.75)
        return x, y, size

    def dot(self, x: float, y: float, share: float) -> None:
        """A dot of chromatin with a faint halo, moved inside the outline where it lies out."""
        dice = self.dice
        room = 0.90 * float(_at(self.outline, math.atan2(y, x)))
        scale = min(1.0, room / max(math.hypot(x, y), 1.0))
        x, y = x * scale, y * scale
        size, weight = dice.flat(3.4, 6.8) * share * self.radius / 65, dice.flat(0.55, 1.30)
        self.add(weight * self.spot(x, y, size, 3.2, dice.flat(1.0, 1.4)), _CHROMATIN)
        self.add(0.10 * weight * self.spot(x, y, size * 1.9, 2.0), _CYTOPLASM)

    def trophozoite(self) -> Parasite:
        """A growing stage: irregular cytoplasm, a larger chromatin mass, brownish pigment."""
        dice, size = self.dice, self.radius * self.dice.flat(0.30, 0.50)
        x, y = self.place(0.05, 0.45)
        depth, _ = self.blob(x, y, size, 0.15)
        body = _step(depth, dice.flat(1.5, 3.5)) * (1.0 + dice.bells(0.12, self.x.shape))
        hole = self.spot(*self.near(x, y, size * dice.flat(0.1, 0.5)), size * 0.35, 3.0)
        self.add(dice.flat(0.20, 0.48) * body * (1.0 - 0.5 * hole), _CYTOPLASM)
        self.dot(*self.near(x, y, size * dice.flat(0.2, 0.6)), dice.flat(1.2, 1.7))
        for _ in range(3 + math.floor(dice.flat(0.0, 5.0))):
            px, py = self.near(x, y, size * dice.flat(0.0, 0.7))
            self.add(dice.flat(0.2, 0.55) * self.spot(px, py, dice.flat(1.5, 2.8), 2.0), _PIGMENT)
        return x, y, size

    def picture(self) -> npt.NDArray[np.uint8]:
        """uint8 (side, side, 3): the fields seen through the slide's light and focus."""
        density = self.thick[..., None] * self.slide.haemoglobin + self.stain
        light = (self.slide.background + self.dice.bell(0.0, 2.0)) * np.exp(-density)
        light += self.dice.bells(1.3, (*self.x.shape, 1)) + self.dice.bells(0.7, light.shape)
        small = np.clip(np.rint(light), 1, 255).astype(np.uint8)
        side = (self.side, self.side)
        out = np.array(Image.fromarray(small).resize(side, Image.Resampling.BILINEAR))
        dx, dy = self.slide.fringe
        out[..., 0] = np.roll(out[..., 0], (dy, dx), axis=(0, 1))
        out[..., 2] = np.roll(out[..., 2], (-dy, -dx), axis=(0, 1))
        return out


def draw_cell(kind: str, seed: int, patient: int = 0) -> SimulatedCell:
    """One cell of a kind (see KINDS): the same arguments give the same pixels on every machine.

    A patient's number alone sets the slide. Raises UsageError for an unknown kind and for a
    number below 0."""
    if kind not in KINDS:
        raise UsageError(unknown_name("kind", kind, KINDS))
    at_least(0, seed=seed, patient=patient)
    dice = Dice(seed, patient, KINDS.index(kind))
    canvas = _Canvas(dice, slide_of(patient))
    canvas.body()
    canvas.clutter()
    found: list[Parasite] = []
    if kind == "ring":
        found += [canvas.ring() for _ in range(2 if dice.chance(0.15) else 1)]
    elif kind == "trophozoite":
        found.append(canvas.trophozoite())
    mask = canvas.mask()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, y1, x0, x1 = (int(i) for i in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    mask = np.ascontiguousarray(mask[y0:y1, x0:x1])
    pixels = canvas.picture()[y0:y1, x0:x1] * mask[..., None]
    left, top = canvas.side / 2 - x0, canvas.side / 2 - y0
    parasites = tuple((x + left, y + top, r) for x, y, r in found)
    return SimulatedCell(pixels, mask, kind, patient, parasites)


def draw_cells(
    count: int, seed: int, patients: int = 10, infected: float = 0.5
) -> Iterator[SimulatedCell]:
    """`count` cells of mixed kinds and of patients 0 to patients-1, in a seeded order.

    infected: the share of parasitised cells, met as exactly as whole cells allow.
    Raises UsageError for a number out of range, at the first cell that is asked for."""
    at_least(0, seed=seed)
    at_least(1, count=count, patients=patients)
    if not 0.0 <= infected <= 1.0:
        raise UsageError(f"infected {infected} must be from 0 to 1")
    dice = Dice(seed, patients)
    for i in range(count):
        kind = "uninfected"
        if math.floor((i + 1) * infected) > math.floor(i * infected):
            kind = "ring" if dice.chance(RING_SHARE) else "trophozoite"
        patient = math.floor(dice.flat(0.0, patients))
        yield draw_cell(kind, math.floor(dice.flat(0.0, 2.0**52)), patient)


def at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise UsageError(f"{name} {value} must be at least {least}")


def write_cells(out: Path, count: int, seed: int, patients: int = 10) -> Path:
    """`count` drawn cells as PNG files in a new folder `out`, which is returned.

    The folder has the labels' names as sub-folders, an index.csv (file, label, group) and a
    SIMULATED.txt. It appears whole or not at all. Raises UsageError where `out` exists or a
    number is out of range, EdgeError where it cannot be written."""
    source = PngInfo()
    source.add_text("Source", f"simulated by edge-sdk, seed {seed}")
    rows = ["file,label,group\n"]
    with whole_folder(out) as part:
        for label in sorted(set(LABELS.values())):
            (part / label).mkdir()
        for i, cell in enumerate(draw_cells(count, seed, patients)):
            label = LABELS[cell.kind]
            name = f"{label}/simulated_{i:05d}_p{cell.patient:02d}_{cell.kind}.png"
            Image.fromarray(cell.pixels).save(part / name, pnginfo=source)
            rows.append(f"{name},{label},simulated-patient-{cell.patient:02d}\n")
        (part / "index.csv").write_text("".join(rows), encoding="utf-8")
        note = _NOTE.format(version=__version__, count=count, patients=patients, seed=seed)
        (part / SIMULATED_MARK).write_text(note, encoding="utf-8")
    return out
