"""One seed per cell, and the pixels that are its own.

A cell's outline votes for its centre: every edge pixel for the places about one radius towards
its darker side (the generalised Hough transform of a circle, Ballard 1981). That finds cells that
lie on one another, whose outlines are seen through each other; the distance transform adds those
whose shape is no circle. Each pixel then goes to the seed of its clump with the smallest power
distance (squared distance - squared radius)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.screening.foreground import Foreground, Pixels, Plane, disc

Seed = tuple[int, int, float]  # x, y, radius of the largest circle around it, pixels

_STEEP, _STEEPEST = (
    0.5,
    2.0,
)  # gradient (Scharr) in medians of density: votes from, counts in full from
_RADII = (0.7, 0.8, 0.9, 1.0, 1.1)  # that are voted for, in radii of the median cell
_APART = 0.7  # least distance of two seeds, radii
_BODY = 0.5  # weight of the distance transform beside the votes
_BAR = 0.6  # least score of a seed; a lone round cell has 1.5
_LONGEST = 1.3  # of two seeds in one cell, radii
_NECK = 0.95  # of two circles' radius: two cells 0.65 radii apart have this between them
_FAR = 1.6  # radii from its seed that a cell can reach
_TRIED = np.geomspace(0.55, 1.45, 9)  # diameters that are tried, in units of the first guess


@dataclass(frozen=True, eq=False)
class Edges:
    """Pixels on a slope. x, y: float32 (n,); dx, dy: unit vector to the darker side; weight: 0
    to 1."""

    x: Plane
    y: Plane
    dx: Plane
    dy: Plane
    weight: Plane

    def halved(self, step: int) -> Edges:
        """Every step-th one, in a picture of half the size."""
        half = np.float32(0.5)
        x, y = self.x[::step] * half, self.y[::step] * half
        return Edges(x, y, self.dx[::step], self.dy[::step], self.weight[::step])


def find_edges(cv2: Any, ground: Foreground) -> Edges:
    smooth = cv2.GaussianBlur(ground.density, (0, 0), 1.0)
    gx, gy = cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    steep = cv2.magnitude(gx, gy)
    # A slope is several pixels wide: every second one tells as much.
    where = np.flatnonzero(steep > _STEEP * ground.typical)[::2]
    size = steep.ravel()[where]
    y, x = np.divmod(where.astype(np.int32), np.int32(steep.shape[1]))
    weight = np.minimum(size / np.float32(_STEEPEST * ground.typical), np.float32(1.0))
    dx, dy = gx.ravel()[where] / size, gy.ravel()[where] / size
    return Edges(x.astype(np.float32), y.astype(np.float32), dx, dy, weight)


def vote(
    cv2: Any, edges: Edges, shape: tuple[int, int], radius: float, shares: tuple[float, ...]
) -> Plane:
    """Where the edges' centres lie, float32 (h, w), for circles of `shares` of the radius."""
    pad = math.ceil(max(shares) * radius) + 1
    h, w = shape[0] + 2 * pad, shape[1] + 2 * pad
    total = np.zeros(h * w)
    for share in shares:
        away = np.float32(share * radius)
        x = (edges.x + (edges.dx * away + np.float32(pad + 0.5))).astype(np.int32)
        y = (edges.y + (edges.dy * away + np.float32(pad + 0.5))).astype(np.int32)
        total += np.bincount(y * np.int32(w) + x, weights=edges.weight, minlength=h * w)
    inner = total.reshape(h, w)[pad:-pad, pad:-pad].astype(np.float32)
    out: Plane = cv2.GaussianBlur(inner, (0, 0), 0.15 * radius)
    return out


def find_diameter(cv2: Any, ground: Foreground) -> float | None:
    """Of the median cell in the shrunk field, pixels: from cells that lie alone, each weighted by
    its area so that debris does not count; where those are few, the diameter at which the edges
    agree best on where the centres are. None where there is nothing."""
    outlines, _ = cv2.findContours(ground.filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = []
    for outline in outlines:
        area, (_, reach) = cv2.contourArea(outline), cv2.minEnclosingCircle(outline)
        if area > 30 and area > 0.8 * math.pi * reach**2:
            areas.append(area)
    order = np.sort(np.asarray(areas))
    if len(areas) >= 8:
        half = int(np.searchsorted(np.cumsum(order), 0.5 * order.sum()))
        return 2.0 * math.sqrt(float(order[half]) / math.pi)
    depth = cv2.distanceTransform(ground.filled, cv2.DIST_L2, 5)
    tops = depth[(depth == cv2.dilate(depth, disc(cv2, 4))) & (depth > 3)]
    if not tops.size:
        return None
    guess = 2.0 * float(np.average(tops, weights=tops))
    edges = find_edges(cv2, ground).halved(2)
    shape = ((depth.shape[0] + 1) // 2, (depth.shape[1] + 1) // 2)
    tried = guess * _TRIED
    # A full circle's votes grow with its radius, their blur's area with its square.
    told = [float(np.percentile(vote(cv2, edges, shape, d / 4, (1.0,)), 99)) * d for d in tried]
    best = int(np.argmax(told))
    if told[best] <= 0:
        return guess
    around = slice(max(0, best - 1), best + 2)
    return float(np.average(tried[around], weights=np.square(told[around])))


def find_seeds(
    cv2: Any, ground: Foreground, filled: Pixels, depth: Plane, radius: float
) -> list[Seed]:
    """depth: float32 (h, w), distance transform of `filled`; the highest score comes first."""
    votes = vote(cv2, find_edges(cv2, ground), filled.shape, radius, _RADII)
    around = np.ones((2 * max(1, round(0.5 * radius)) + 1,) * 2, np.uint8)
    sure = votes[(votes >= cv2.dilate(votes, around)) & (depth > 0.6 * radius)]
    unit = float(np.median(sure)) if sure.size else 0.0
    score = np.minimum(depth * np.float32(1 / radius), np.float32(1.0)) * np.float32(_BODY)
    if unit > 0:
        score += votes * np.float32(1 / unit)
    score[depth <= 0.25 * radius] = 0.0
    ys, xs = np.nonzero((score >= cv2.dilate(score, around)) & (score > _BAR))
    order = np.argsort(-score[ys, xs], kind="stable")
    ys, xs = ys[order], xs[order]
    free, chosen = np.ones(len(xs), np.bool_), np.zeros(len(xs), np.bool_)
    kept: list[Seed] = []
    for i in range(len(xs)):
        if not free[i]:
            continue
        x, y = int(xs[i]), int(ys[i])
        away = np.hypot(xs - x, ys - y)
        free &= away > _APART * radius
        near = np.flatnonzero(chosen & (away <= _LONGEST * radius)).tolist()
        if not any(_one_cell(depth, (x, y), (int(xs[j]), int(ys[j])), radius) for j in near):
            chosen[i] = True
            kept.append((x, y, min(radius, max(0.6 * radius, float(depth[y, x])))))
    return kept


def _one_cell(depth: Plane, one: tuple[int, int], other: tuple[int, int], radius: float) -> bool:
    """Whether two seeds that are near each other lie in one long cell: background in sight, and no
    neck between them."""
    x, y = one
    apart = math.hypot(x - other[0], y - other[1])
    steps = np.linspace(0.0, 1.0, max(4, round(apart / 2)))
    xs = np.rint(x + steps * (other[0] - x)).astype(np.intp)
    ys = np.rint(y + steps * (other[1] - y)).astype(np.intp)
    line = depth[ys, xs]
    return bool(line.min() > _NECK * min(line[0], line[-1]) and line.max() < 1.25 * radius)


def split(parts: npt.NDArray[np.int32], seeds: list[Seed], radius: float) -> npt.NDArray[np.uint16]:
    """parts: number of each pixel's clump, int32 (h, w). Returns uint16 (h, w): i + 1 for what
    belongs to seed i, 0 for what is nobody's."""
    owner = np.zeros(parts.shape, np.uint16)
    best = np.full(parts.shape, np.float32(np.inf))
    far = math.ceil(_FAR * radius)
    axis = np.arange(-far, far + 1, dtype=np.float32)
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    square[square > (_FAR * radius) ** 2] = np.inf
    for i, (x, y, r) in enumerate(seeds):
        y0, y1 = max(0, y - far), min(parts.shape[0], y + far + 1)
        x0, x1 = max(0, x - far), min(parts.shape[1], x + far + 1)
        here = (slice(y0, y1), slice(x0, x1))
        cost = square[y0 - y + far : y1 - y + far, x0 - x + far : x1 - x + far] - np.float32(r * r)
        mine = (parts[here] == parts[y, x]) & (cost < best[here])
        best[here][mine] = cost[mine]
        owner[here][mine] = i + 1
    for i, (x, y, _) in enumerate(seeds):  # a large neighbour must not take a small cell's seed
        owner[y, x] = i + 1
    return owner
