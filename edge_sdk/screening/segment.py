"""From a field of view to its cells: masks, boxes and flags, with OpenCV.

Everything is done on a picture shrunk so that a red cell is about 40 pixels wide:

    flat-field -> optical density of the most telling channel -> Otsu -> fill pallor
    -> distance transform, its peaks are seeds -> each pixel to the nearest seed of its clump

Distances to seeds are power distances (squared distance - squared radius of the seed), so that
a large cell keeps what is its own beside a small one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import BackendError, DataError, UsageError

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Plane = npt.NDArray[np.float32]
Flag = Literal["border", "clump", "unsplit"]
Why = Literal["white cell", "stain", "debris"]

MAX_PIXELS = 40_000_000
_WORK_DIAMETER = 40.0  # of a red cell, pixels, where the work is done
_FIRST_SIDE = 640  # longest side of the picture on which the scale is found
_SMALLEST = 0.25  # of the median cell's area: less is debris


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell. box: (x, y, width, height) in the field, inside it; mask: bool (height, width),
    with a margin of 1/40 diameter and without what belongs to a neighbour; centre: (x, y); area:
    pixels, without the margin; flags: `border` it is cut by the frame, `clump` it was split from
    others, `unsplit` it is so large that it may be several."""

    box: tuple[int, int, int, int]
    mask: Mask
    centre: tuple[float, float]
    area: float
    flags: frozenset[Flag]


@dataclass(frozen=True)
class Aside:
    """What is in the field and no red cell. box: (x, y, width, height)."""

    box: tuple[int, int, int, int]
    why: Why


@dataclass(frozen=True, eq=False)
class Field:
    """size: (width, height); cells: from top to bottom; diameter: of the median cell, pixels,
    None where there is none; covered: share of the field that is no background; channel: whose
    density was used; background: RGB of the empty slide."""

    size: tuple[int, int]
    cells: tuple[Cell, ...]
    aside: tuple[Aside, ...]
    diameter: float | None
    covered: float
    channel: int
    background: tuple[float, float, float]

    @property
    def whole(self) -> tuple[Cell, ...]:
        """The cells that count: all but those cut by the frame."""
        return tuple(c for c in self.cells if "border" not in c.flags)


def opencv() -> Any:
    try:
        import cv2
    except ImportError as e:
        raise BackendError(
            "screening: OpenCV is not installed; pip install 'edge-sdk[screening]'"
        ) from e
    return cv2


def segment(pixels: Pixels, *, diameter: float | None = None) -> Field:
    """The cells of one field, the same for the same pixels.

    pixels: uint8 (H, W, 3) RGB; diameter: of a red cell in pixels where it is known, else it is
    taken from the median cell. Raises DataError for anything that is no such picture or has more
    than MAX_PIXELS, UsageError for a diameter that cannot be."""
    _check(pixels, diameter)
    cv2 = opencv()
    height, width = pixels.shape[:2]
    side = max(height, width)
    scale = min(1.0, _FIRST_SIDE / side if diameter is None else _WORK_DIAMETER / diameter)
    work = _prepare(cv2, pixels, scale)
    if work is not None and diameter is None:
        found = _median_diameter(cv2, work.filled)
        if found is None:
            work = None
        else:
            diameter = found / scale
            if not 0.8 < found / _WORK_DIAMETER < 1.3 and (scale < 1.0 or found > _WORK_DIAMETER):
                work = _prepare(cv2, pixels, min(1.0, _WORK_DIAMETER / diameter))
    if work is None or diameter is None:
        background = tuple(float(v) for v in np.median(pixels[::8, ::8].reshape(-1, 3), axis=0))
        return Field((width, height), (), (), None, 0.0, 1, background)  # type: ignore[arg-type]
    return _cells(cv2, work, (width, height), diameter)


def _check(pixels: Pixels, diameter: float | None) -> None:
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or not pixels.size
    ):
        what = (
            f"dtype {pixels.dtype} and shape {pixels.shape}"
            if isinstance(pixels, np.ndarray)
            else f"a {type(pixels).__name__}"
        )
        raise DataError(f"field: {what} must be uint8 (H, W, 3) RGB")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise DataError(
            f"field: {pixels.shape[1]}x{pixels.shape[0]} pixels are more than the {MAX_PIXELS} "
            "that are taken; shrink the picture, a red cell needs no more than 100 pixels"
        )
    if diameter is not None and not 8.0 <= diameter <= 2000.0:
        raise UsageError(f"diameter {diameter} must be from 8 to 2000 pixels, or none to find it")


@dataclass(frozen=True, eq=False)
class _Work:
    """The shrunk field. density: float32 (h, w), optical density of the channel; red: that of red;
    filled: uint8 (h, w), 0 or 255, all that is no background, pallor filled."""

    density: Plane
    bound: float
    typical: float
    red: Plane
    filled: Pixels
    channel: int
    background: tuple[float, float, float]
    scale: float


def _prepare(cv2: Any, pixels: Pixels, scale: float) -> _Work | None:
    """None where nothing stands out from the background."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    if min(size) < 16:
        return None
    coarse = cv2.resize(
        small, (max(8, size[0] // 8), max(8, size[1] // 8)), interpolation=cv2.INTER_AREA
    )
    told = [_otsu(cv2, coarse[..., c]) for c in range(3)]
    channel = int(np.argmax([t[1] for t in told]))
    light = _background(coarse, channel, told[channel][0])
    density = _density(cv2, small, light, channel)
    red = density.copy() if channel == 0 else _density(cv2, small, light, 0)
    found = _threshold(cv2, density)
    if found is None:
        return None
    bound, typical = found
    np.minimum(density, 2.2 * typical, out=density)  # what is burned in casts no votes
    filled = _fill(cv2, density, bound)
    mean = light.reshape(-1, 3).mean(axis=0)
    return _Work(density, bound, typical, red, filled, channel, (float(mean[0]), float(mean[1]), float(mean[2])), size[0] / width)


def _otsu(cv2: Any, plane: Pixels) -> tuple[float, float]:
    """Otsu's threshold and the grey levels between the means of its two classes, weighted."""
    plane = np.ascontiguousarray(plane)
    bound, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    low = plane <= bound
    share = float(low.mean())
    if share in (0.0, 1.0):
        return float(bound), 0.0
    apart = float(plane[~low].mean()) - float(plane[low].mean())
    return float(bound), apart * math.sqrt(share * (1.0 - share))


def _background(coarse: Pixels, channel: int, bound: float) -> npt.NDArray[np.float64]:
    """The empty slide's light, float64 (h, w, 3): a quadratic surface through what is brighter
    than `bound`, fitted twice, the second time without what lies well below the first."""
    h, w = coarse.shape[:2]
    v, u = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1).reshape(-1, 6)
    values = coarse.reshape(-1, 3).astype(np.float64)
    empty = values[:, channel] > bound
    out = np.broadcast_to(np.percentile(values, 99, axis=0), values.shape)
    for _ in range(2):
        if empty.sum() < 0.02 * len(empty):
            break
        # A little damping keeps the surface level where there is no background to fit.
        a = terms[empty]
        damp = np.diag([0.0, 1.0, 1.0, 2.0, 2.0, 2.0]) * 0.01 * len(terms)
        level = np.median(values[empty], axis=0)
        fit = np.linalg.solve(a.T @ a + damp, a.T @ (values[empty] - level))
        out = level + terms @ fit
        ratio = values[:, channel] / np.maximum(out[:, channel], 1.0)
        empty &= (ratio > 0.94) & (ratio < 1.06)
    return np.maximum(out, 1.0).reshape(h, w, 3)


def _density(cv2: Any, small: Pixels, light: npt.NDArray[np.float64], channel: int) -> Plane:
    plane = np.maximum(small[..., channel], 1).astype(np.float32)
    size = (small.shape[1], small.shape[0])
    even = cv2.resize(np.log(light[..., channel]).astype(np.float32), size)
    out: Plane = even - cv2.log(plane)
    return out


def _threshold(cv2: Any, density: Plane) -> tuple[float, float] | None:
    """Optical density that parts cells from background, and the median cell's. The bound is low
    enough for a pale cell beside dark ones: a share of the median cell's density, above the
    background's noise, and never above Otsu's. None without contrast."""
    sample = density[::2, ::2]
    top = float(np.percentile(sample, 98))
    if top < _FAINTEST:
        return None
    grey = np.clip(sample * (255.0 / top), 0, 255).astype(np.uint8)
    step, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    otsu = float(step) * top / 255.0
    inside, outside = sample[sample > otsu], sample[sample <= 0.5 * otsu]
    if not inside.size or not outside.size or float(np.median(inside)) < _FAINTEST:
        return None
    typical = float(np.median(inside))
    level = float(np.median(outside))
    noise = 1.4826 * float(np.median(np.abs(outside - level)))
    return min(otsu, max(_PALE * typical, level + 4.0 * noise)), typical


_PALE = 0.3
_FAINTEST = 0.05  # optical density of a cell that can be told from an empty slide


def _fill(cv2: Any, density: Plane, bound: float) -> Pixels:
    smooth = cv2.GaussianBlur(density, (3, 3), 0)
    raw = (smooth > bound).astype(np.uint8) * 255
    raw = cv2.morphologyEx(raw, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    outlines, tree = cv2.findContours(raw, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for i, outline in enumerate(outlines):
        if tree[0][i][3] >= 0 and _is_pallor(cv2, outline, density):
            cv2.drawContours(raw, outlines, i, 255, -1)
    filled: Pixels = raw
    return filled


def _is_pallor(cv2: Any, outline: Any, density: Plane) -> bool:
    """A hole that is small and round: the gaps between cells have hollow sides."""
    area, around = cv2.contourArea(outline), cv2.arcLength(outline, True)
    if area <= 12:
        return True
    if area > 0.4 * math.pi / 4 * _WORK_DIAMETER**2:
        return False
    hull = cv2.contourArea(cv2.convexHull(outline))
    round_ = 4 * math.pi * area / max(around, 1.0) ** 2
    return bool(round_ > 0.65 and area > 0.85 * hull)


def _median_diameter(cv2: Any, filled: Pixels) -> float | None:
    """From round components, each weighted by its area so that debris does not count; where there
    are none, from the peaks of the distance transform."""
    outlines, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = []
    for outline in outlines:
        area = cv2.contourArea(outline)
        _, reach = cv2.minEnclosingCircle(outline)
        if area > 30 and area > 0.75 * math.pi * reach**2:
            areas.append(area)
    if len(areas) >= 3:
        order = np.sort(np.asarray(areas))
        half = np.searchsorted(np.cumsum(order), 0.5 * order.sum())
        return 2.0 * math.sqrt(float(order[half]) / math.pi)
    reach = cv2.distanceTransform(filled, cv2.DIST_L2, 5)
    tops = reach[(reach == cv2.dilate(reach, np.ones((9, 9), np.uint8))) & (reach > 3)]
    if not tops.size:
        return None
    return 2.0 * float(np.average(np.sort(tops), weights=np.sort(tops)))


def _votes(cv2: Any, density: Plane, bound: float, radius: float) -> Plane:
    """Where cells have their centres by their outlines: each edge votes for the places one radius
    towards its darker side. float32 (h, w), about 1 at the centre of a lone round cell. Edges seen
    through an overlapping cell vote as well; those of pallor vote apart from one another."""
    smooth = cv2.GaussianBlur(density, (0, 0), 1.0)
    gx, gy = cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    steep = cv2.magnitude(gx, gy)
    ys, xs = np.nonzero(steep > _STEEP * bound)
    size = steep[ys, xs]
    dx, dy = gx[ys, xs] / size, gy[ys, xs] / size
    weight = np.minimum(size / (_STEEP_FULL * bound), 1.0)
    h, w = density.shape
    total = np.zeros(h * w)
    for share in _RADII:
        vx = np.rint(xs + dx * (share * radius)).astype(np.intp)
        vy = np.rint(ys + dy * (share * radius)).astype(np.intp)
        ok = (vx >= 0) & (vx < w) & (vy >= 0) & (vy < h)
        total += np.bincount(vy[ok] * w + vx[ok], weights=weight[ok], minlength=h * w)
    out = total.reshape(h, w).astype(np.float32)
    out = cv2.GaussianBlur(out, (0, 0), 0.15 * radius)
    blurred: Plane = out
    return blurred


def _white_cells(cv2: Any, work: _Work, radius: float) -> list[Any]:
    """Outlines of the hulls of white cells' nuclei, which take far more red light than red cells
    do; a nucleus of several lobes is one."""
    cells = (work.filled > 0) & (work.density > 0.5 * work.typical)
    if not cells.any():
        return []
    usual = max(float(np.median(work.red[cells])), 0.03)
    dark = ((work.red > _NUCLEUS * usual) & (work.density > 1.2 * work.typical)).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, _disc(cv2, 0.15 * radius))
    dark = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, _disc(cv2, 0.35 * radius))
    outlines, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    least = _NUCLEUS_SHARE * math.pi * radius**2
    return [cv2.convexHull(o) for o in outlines if cv2.contourArea(o) > least]


def _disc(cv2: Any, radius: float) -> Any:
    n = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (n, n))


_NUCLEUS, _NUCLEUS_SHARE = 2.5, 0.4


def _seeds(
    cv2: Any, votes: Plane, reach: Plane, radius: float
) -> list[tuple[int, int, float]]:
    n = 2 * max(1, round(_APART * radius)) + 1
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (n, n))
    sure = votes[(votes >= cv2.dilate(votes, near)) & (reach > 0.6 * radius)]
    unit = max(float(np.median(sure)), 1e-6) if sure.size else 1.0
    score = votes / unit + _W * np.minimum(reach / radius, 1.0)
    score = np.where(reach > 0.25 * radius, score, 0).astype(np.float32)
    ys, xs = np.nonzero((score >= cv2.dilate(score, near)) & (score > _BAR))
    order = np.argsort(-score[ys, xs], kind="stable")
    kept: list[tuple[int, int, float]] = []
    for i in order:
        x, y = int(xs[i]), int(ys[i])
        if all(math.hypot(x - a, y - b) > _APART * radius for a, b, _ in kept):
            kept.append((x, y, min(radius, max(0.6 * radius, float(reach[y, x])))))
    return kept


_STEEP, _STEEP_FULL = 2.0, 8.0
_RADII = (0.7, 0.8, 0.9, 1.0, 1.1)
_W, _BAR, _APART = 0.5, 0.6, 0.7


def _split(
    parts: npt.NDArray[np.int32], seeds: list[tuple[int, int, float]], radius: float
) -> npt.NDArray[np.uint16]:
    """Each pixel to the seed of its component with the smallest power distance; uint16 (h, w),
    0 for what is nobody's, i + 1 for seed i."""
    owner = np.zeros(parts.shape, np.uint16)
    best = np.full(parts.shape, np.float32(np.inf))
    far = math.ceil(_FAR * radius)
    axis = np.arange(-far, far + 1, dtype=np.float32)
    disc = axis[:, None] ** 2 + axis[None, :] ** 2
    disc[disc > (_FAR * radius) ** 2] = np.inf
    for i, (x, y, r) in enumerate(seeds):
        y0, y1 = max(0, y - far), min(parts.shape[0], y + far + 1)
        x0, x1 = max(0, x - far), min(parts.shape[1], x + far + 1)
        here = (slice(y0, y1), slice(x0, x1))
        cost = disc[y0 - y + far : y1 - y + far, x0 - x + far : x1 - x + far] - np.float32(r * r)
        mine = (parts[here] == parts[y, x]) & (cost < best[here])
        best[here][mine] = cost[mine]
        owner[here][mine] = i + 1
    return owner


_FAR = 1.6  # radii from its seed that a cell can reach


def _cells(cv2: Any, work: _Work, size: tuple[int, int], diameter: float) -> Field:
    radius = diameter * work.scale / 2
    filled = work.filled.copy()
    cells: list[Cell] = []
    aside: list[Aside] = []
    up = 1.0 / work.scale
    for hull in _white_cells(cv2, work, radius):
        zone = np.zeros_like(filled)
        cv2.drawContours(zone, [hull], -1, 255, -1)
        zone = cv2.dilate(zone, _disc(cv2, 0.5 * radius))
        filled[zone > 0] = 0
        bx, by, bw, bh = cv2.boundingRect(zone)
        aside.append(Aside((round(bx*up), round(by*up), round(bw*up), round(bh*up)), "white cell"))
    reach = cv2.distanceTransform(filled, cv2.DIST_L2, 5)
    _, parts = cv2.connectedComponents(filled, connectivity=4)
    seeds = _seeds(cv2, _votes(cv2, work.density, work.bound, radius), reach, radius)
    owner = _split(parts, seeds, radius)
    per_part = np.bincount(parts.reshape(-1)[[y * parts.shape[1] + x for x, y, _ in seeds]] if seeds else [0], minlength=1)
    grown = cv2.dilate(owner, np.ones((3, 3), np.uint8))
    grown = np.where((owner == 0) & (filled == 0), grown, owner)
    h, w = filled.shape
    full = math.pi * radius**2
    for i, (x, y, r) in enumerate(seeds):
        far = math.ceil(max(3.2 * radius, 1.6 * r)) + 1
        x0, y0 = max(0, x - far), max(0, y - far)
        window = grown[y0 : y + far + 1, x0 : x + far + 1] == i + 1
        bx, by, bw, bh = cv2.boundingRect(window.astype(np.uint8))
        tight = owner[y0 : y + far + 1, x0 : x + far + 1] == i + 1
        area = int(tight.sum())
        bx, by = bx + x0, by + y0
        small = window[by - y0 : by - y0 + bh, bx - x0 : bx - x0 + bw]
        fx0, fy0 = round(bx * up), round(by * up)
        fx1, fy1 = min(size[0], round((bx + bw) * up)), min(size[1], round((by + bh) * up))
        box = (fx0, fy0, fx1 - fx0, fy1 - fy0)
        if area < _SMALLEST * full:
            aside.append(Aside(box, "debris"))
            continue
        flags: set[Flag] = set()
        if bx <= 1 or by <= 1 or bx + bw >= w - 1 or by + bh >= h - 1:
            flags.add("border")
        if per_part[parts[y, x]] > 1:
            flags.add("clump")
        if area > 1.6 * full:
            flags.add("unsplit")
        mask = cv2.resize(small.astype(np.uint8), (box[2], box[3]), interpolation=cv2.INTER_NEAREST) > 0
        ys, xs = np.nonzero(tight)
        centre = ((float(xs.mean()) + x0 + 0.5) * up, (float(ys.mean()) + y0 + 0.5) * up)
        cells.append(Cell(box, mask, centre, area * up * up, frozenset(flags)))
    return Field(size, tuple(cells), tuple(aside), diameter, float((filled > 0).mean()), work.channel, work.background)
