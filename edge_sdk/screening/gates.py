"""Gates that a field passes before anything in it is counted, each with what the operator is to do.

    focus      detail of the cells' edges beside that of the sharpest field of the session
    exposure   light of the empty slide, and share of pixels at the upper end
    density    red cells in the field, and share of it that they cover
    duplicate  peak of the phase correlation with every field that was taken before
    stain      colour of the cells, beside the range of the cells that the model was calibrated for

The limits are defaults; where they come from is in benchmarks/gates.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import DataError, UsageError
from edge_sdk.preprocess import Pixels
from edge_sdk.screening.crop import crop_cell
from edge_sdk.screening.foreground import opencv
from edge_sdk.screening.segment import Cell, Field, check_field
from edge_sdk.stain_range import Colour, StainRange

Gate = Literal["focus", "exposure", "density", "duplicate", "stain"]
Verdict = Literal["pass", "fail", "not judged"]
Spectrum = npt.NDArray[np.complex64]

_THUMBNAIL = (160, 120)
_FLAT_TO_MEAN = 1.089  # power of noise alone: mean of its blocks over their 20th percentile
_BAND = 0.06  # of a cell's diameter, to either side of its edge
_EDGE_CELLS = 60  # are enough for the median edge
_LEAST_CONTRAST = 8.0  # grey levels: what is fainter has no edge to judge by
_FINEST = 0.08  # waves a pixel of the thumbnail
_STAIN_CELLS = 60  # are enough for the median colour
_LEAST_CELLS = 5  # for a colour at all


@dataclass(frozen=True)
class GateResult:
    """figure: what was measured, None where the verdict is `not judged`; limit: what it was held
    against; instruction: to the operator, empty where the gate was passed."""

    gate: Gate
    verdict: Verdict
    figure: float | None
    limit: str
    instruction: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict != "fail"


@dataclass(frozen=True)
class Limits:
    """sharpness: least share of the sharpest field's; light: of the empty slide, grey levels;
    clipped: share of pixels at the upper end; cells: least number that counts; covered: largest
    share of the field; unsplit: largest share of cells that may be several; overlap: largest peak
    of the phase correlation."""

    sharpness: float = 0.36
    light: tuple[float, float] = (100.0, 250.0)
    clipped: float = 0.05
    cells: int = 15
    covered: float = 0.85
    unsplit: float = 0.2
    overlap: float = 0.33

    def __post_init__(self) -> None:
        for name in ("sharpness", "clipped", "covered", "unsplit", "overlap"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"limit {name} {getattr(self, name)} must be from 0 to 1")
        if self.cells < 0 or not self.light[0] < self.light[1]:
            raise UsageError(
                f"limit cells {self.cells} must be at least 0, light {self.light} from low to high"
            )


def sharpness(pixels: Pixels, found: Field) -> float | None:
    """How much fine detail the edge of a cell has: power of the Laplacian in a band along it, over
    the cell's contrast squared, of the median cell. None where there is no cell to judge by.

    Neither the number of cells nor stain or light matters, nor what else is in the picture, as a
    scale bar. The channel is blurred by 0.5 pixels first, which costs noise more than edges, and
    the power of what noise is left, that of the flattest fifth of the field's blocks of 16 pixels,
    is taken off."""
    if found.channel is None or found.diameter is None:
        return None
    cv2 = opencv()
    plane = np.ascontiguousarray(pixels[..., found.channel]).astype(np.float32)
    bend = cv2.Laplacian(cv2.GaussianBlur(plane, (0, 0), 0.5), cv2.CV_32F)
    power = bend * bend
    size = (max(1, pixels.shape[1] // 16), max(1, pixels.shape[0] // 16))
    blocks = cv2.resize(power, size, interpolation=cv2.INTER_AREA)
    noise = _FLAT_TO_MEAN * float(np.percentile(blocks, 20))
    reach = max(2, round(_BAND * found.diameter))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    light = found.background[found.channel]
    told = []
    for cell in found.counted[:: max(1, len(found.counted) // _EDGE_CELLS)]:
        x, y, w, h = cell.box
        left, top = max(0, x - reach), max(0, y - reach)
        here = (slice(top, y + h + reach), slice(left, x + w + reach))
        mask = np.zeros(power[here].shape, np.uint8)
        mask[y - top : y - top + h, x - left : x - left + w] = cell.mask
        core = cv2.erode(mask, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        if not core.any():
            continue
        contrast = abs(light - float(np.median(plane[here][core])))
        if contrast >= _LEAST_CONTRAST:
            band = (cv2.dilate(mask, disc) > 0) & ~core
            told.append((float(power[here][band].mean()) - noise) / contrast**2)
    return max(0.0, float(np.median(told))) if told else None


def spectrum(pixels: Pixels) -> Spectrum:
    """What duplicates are found by: the phases of a 160x120 picture's coarse waves, complex64.

    The fine ones are left out: there the pattern of the camera and of JPEG's blocks, which stays
    where it is, makes any two fields alike."""
    cv2 = opencv()
    green = np.ascontiguousarray(pixels[..., 1])
    small = cv2.resize(green, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= cv2.GaussianBlur(small, (0, 0), 20)
    waves = np.fft.rfft2(small * cv2.createHanningWindow(_THUMBNAIL, cv2.CV_32F))
    size = np.abs(waves)
    fy = np.fft.fftfreq(_THUMBNAIL[1])[:, None]
    fx = np.fft.rfftfreq(_THUMBNAIL[0])[None]
    kept = np.exp(-(fx**2 + fy**2) / (2 * _FINEST**2))
    out: Spectrum = (waves / np.maximum(size, 1e-3) * np.sqrt(kept)).astype(np.complex64)
    return out


def overlap(one: Spectrum, other: Spectrum) -> float:
    """Peak of the phase correlation of two spectra, 1 for the same picture."""
    both = one * np.conj(other)
    peak = float(np.fft.irfft2(both, _THUMBNAIL[::-1]).max())
    full = float(np.fft.irfft2(np.abs(one) * np.abs(other), _THUMBNAIL[::-1]).max())
    return peak / full if full > 0 else 0.0


def crop_colour(crops: Sequence[Pixels]) -> Colour:
    """Median CIE L*a*b* of masked cells, uint8 (H, W, 3) RGB and black outside. Raises DataError
    where no pixel is left."""
    cv2 = opencv()
    inside = [c[::3, ::3][c[::3, ::3].max(axis=2) > 0] for c in crops]
    if not sum(len(i) for i in inside):
        raise DataError("stain: no pixel of a cell to take a colour from")
    rgb = (np.concatenate(inside)[None].astype(np.float32)) / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)[0]
    lightness, a, b = np.median(lab, axis=0).tolist()
    return lightness, a, b


@dataclass(frozen=True, eq=False)
class Look:
    """What the gates say of a field now. sharpest: what the focus gate remembers once this field is
    remembered; spectrum: what the field would be known by."""

    results: tuple[GateResult, ...]
    sharpest: float
    spectrum: Spectrum


class Gates:
    """The gates of one session: it remembers the sharpest field and every field that was taken.

    stain: range of the model's calibration; None and the stain gate is `not judged`."""

    def __init__(self, limits: Limits | None = None, stain: StainRange | None = None) -> None:
        self.limits, self.stain = limits or Limits(), stain
        self.sharpest = 0.0
        self._taken: list[Spectrum] = []

    def check(self, pixels: Pixels, found: Field) -> tuple[GateResult, ...]:
        """All gates for one field, in a fixed order, and remembers it.

        pixels: uint8 (H, W, 3) RGB; found: its `segment`."""
        look = self.look(pixels, found)
        self.remember(look)
        return look.results

    def look(self, pixels: Pixels, found: Field) -> Look:
        """What `check` would say now; nothing is remembered."""
        pixels = check_field(pixels)
        if found.size != (pixels.shape[1], pixels.shape[0]):
            raise UsageError(
                f"gates: field of {found.size} is not that of the picture {pixels.shape}"
            )
        small = spectrum(pixels)
        focus, sharpest = self._focus(pixels, found)
        results = (
            focus,
            self._exposure(pixels, found),
            self._density(found),
            self._duplicate(small),
            self._stain(pixels, found),
        )
        return Look(results, sharpest, small)

    def remember(self, look: Look) -> None:
        """A field that passed them all is remembered as taken; one that did not leaves no trace but
        its sharpness."""
        self.sharpest = max(self.sharpest, look.sharpest)
        if all(r.passed for r in look.results):
            self._taken.append(look.spectrum)

    def recall(self, sharpest: float, taken: Pixels | None) -> None:
        """What a field left behind that was judged in another process: the sharpest until then, and
        itself where it was accepted."""
        self.sharpest = sharpest
        if taken is not None:
            self._taken.append(spectrum(taken))

    def _focus(self, pixels: Pixels, found: Field) -> tuple[GateResult, float]:
        figure = sharpness(pixels, found)
        if figure is None:
            return GateResult("focus", "not judged", None, "cells to judge by"), self.sharpest
        sharpest = max(self.sharpest, figure)
        least = self.limits.sharpness * sharpest
        text = "The picture is blurred. Focus until the cells' edges are sharp, then take it again."
        return _result("focus", figure >= least, figure, f">= {least:.3g}", text), sharpest

    def _exposure(self, pixels: Pixels, found: Field) -> GateResult:
        low, high = self.limits.light
        clipped = float((pixels[::4, ::4].max(axis=2) >= 254).mean())
        light = float(np.mean(found.background))
        limit = f"{low:g} to {high:g}, at most {self.limits.clipped:.0%} of pixels at the upper end"
        if light < low:
            text = "The picture is too dark. Turn up the lamp or lengthen the exposure."
            return GateResult("exposure", "fail", light, limit, text)
        bright = light > high or clipped > self.limits.clipped
        text = "The picture is too bright. Turn down the lamp or shorten the exposure."
        return _result("exposure", not bright, light, limit, text)

    def _density(self, found: Field) -> GateResult:
        count, limits = len(found.counted), self.limits
        unsplit = sum("unsplit" in c.flags for c in found.cells) / max(1, len(found.cells))
        limit = (
            f">= {limits.cells} cells, <= {limits.covered:.0%} covered, <= {limits.unsplit:.0%} "
            "of cells that could not be parted"
        )
        if count < limits.cells:
            text = "Too few cells. Move to a part of the smear where cells lie side by side."
            return GateResult("density", "fail", float(count), limit, text)
        crowded = found.covered > limits.covered or unsplit > limits.unsplit
        text = "Cells lie on one another. Move towards the feathered edge, where they lie apart."
        return _result("density", not crowded, float(count), limit, text)

    def _duplicate(self, small: Spectrum) -> GateResult:
        figure = max((overlap(small, taken) for taken in self._taken), default=0.0)
        text = "This part of the slide was taken already. Move on by a whole field."
        most = self.limits.overlap
        return _result("duplicate", figure <= most, figure, f"<= {most:g}", text)

    def _stain(self, pixels: Pixels, found: Field) -> GateResult:
        if self.stain is None:
            return GateResult("stain", "not judged", None, "no range for these pictures")
        if len(found.counted) < _LEAST_CELLS:
            return GateResult("stain", "not judged", None, f">= {_LEAST_CELLS} cells to judge by")
        figure = self.stain.outside(stain_colour(pixels, found.counted))
        text = (
            "The stain or the lamp's colour differs from what the model knows. Check the white "
            "balance, the filter, and the stain's pH and time."
        )
        return _result("stain", figure == 0.0, figure, "0 L*a*b* units outside the range", text)


def stain_colour(pixels: Pixels, cells: Sequence[Cell]) -> Colour:
    """`crop_colour` of a field's cells, of evenly picked ones where they are many."""
    step = max(1, len(cells) // _STAIN_CELLS)
    return crop_colour([crop_cell(pixels, c) for c in cells[::step]])


def _result(gate: Gate, passed: bool, figure: float, limit: str, text: str) -> GateResult:
    return GateResult(gate, "pass" if passed else "fail", figure, limit, "" if passed else text)


def rejected(results: Iterable[GateResult]) -> tuple[GateResult, ...]:
    """The gates that keep a field out of the counts, with their reasons; none where it counts."""
    return tuple(r for r in results if not r.passed)
