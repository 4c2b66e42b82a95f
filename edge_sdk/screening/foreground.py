"""What of a field is no background: flat-field, optical density, threshold, pallor filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import BackendError

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

WORK_DIAMETER = 40.0  # of a red cell, pixels, where the work is done

_FAINTEST = 0.05  # optical density of a cell that can be told from an empty slide
_PALE = 0.2  # of the median cell's density: an edge at it is still a cell's
_DENSEST = 2.2  # medians: two cells on one another; what is denser casts no more votes
_NUCLEUS = 2.5  # medians of density in a white cell's nucleus


@dataclass(frozen=True, eq=False)
class Foreground:
    """The shrunk field. density: float32 (h, w), optical density of the channel, cut at that of
    two cells; bound: the density that parts cells from background;
    typical: the median cell's; dark: uint8 (h, w), 1 where
    nothing but a nucleus or a stain deposit is that dense; filled: uint8 (h, w), 255 where there
    is no background, pallor filled; background: RGB of the empty slide."""

    density: Plane
    bound: float
    typical: float
    dark: Pixels
    filled: Pixels
    channel: int
    background: tuple[float, float, float]


def opencv() -> Any:
    try:
        import cv2
    except ImportError as e:
        raise BackendError(
            f"OpenCV is not installed: pip install 'edge-sdk[screening]' ({e})"
        ) from e
    return cv2


def disc(cv2: Any, radius: float) -> Any:
    n = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (n, n))


def find_foreground(cv2: Any, pixels: Pixels, scale: float) -> Foreground | None:
    """pixels: uint8 (H, W, 3) RGB, shrunk by `scale`. None where nothing stands out."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if min(size) < 16:
        return None
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    coarse = cv2.resize(
        small, (max(8, size[0] // 8), max(8, size[1] // 8)), interpolation=cv2.INTER_AREA
    )
    told = [_otsu(cv2, coarse[..., c]) for c in range(3)]
    channel = int(np.argmax([apart for _, apart in told]))
    light = _empty_slide(coarse, channel, told[channel][0])
    density = _density(cv2, small, light, channel)
    found = _threshold(cv2, density)
    if found is None:
        return None
    bound, typical = found
    red = density if channel == 0 else _density(cv2, small, light, 0)
    usual = max(float(np.median(red[::2, ::2][density[::2, ::2] > 0.5 * typical])), _FAINTEST)
    # By its channel where cells are pale; by red where the stain leaves no more green to take.
    dark = (density > _NUCLEUS * typical) | ((red > _NUCLEUS * usual) & (density > 1.2 * typical))
    density = np.minimum(density, np.float32(_DENSEST * typical))
    r, g, b = light.reshape(-1, 3).mean(axis=0).tolist()
    filled = _fill(cv2, density, bound)
    return Foreground(density, bound, typical, dark.astype(np.uint8), filled, channel, (r, g, b))


def _otsu(cv2: Any, plane: Pixels) -> tuple[float, float]:
    """Otsu's threshold, and the spread between its two classes in grey levels."""
    plane = np.ascontiguousarray(plane)
    bound, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    low = plane <= bound
    share = float(low.mean())
    if share in (0.0, 1.0):
        return float(bound), 0.0
    apart = float(plane[~low].mean()) - float(plane[low].mean())
    return float(bound), apart * math.sqrt(share * (1.0 - share))


def _empty_slide(coarse: Pixels, channel: int, bound: float) -> npt.NDArray[np.float64]:
    """The empty slide's light, float64 (h, w, 3): a quadratic surface through what is brighter
    than `bound`, fitted twice, the second time without what lies far from the first."""
    h, w = coarse.shape[:2]
    v, u = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1).reshape(-1, 6)
    # Damped, so that the surface stays level where there is no background to fit.
    damp = np.diag([0.0, 1.0, 1.0, 2.0, 2.0, 2.0]) * (0.01 * len(terms))
    values = coarse.reshape(-1, 3).astype(np.float64)
    empty = values[:, channel] > bound
    out = np.broadcast_to(np.percentile(values, 99, axis=0), values.shape)
    for _ in range(2):
        if empty.sum() < 0.02 * len(empty):
            break
        level = np.median(values[empty], axis=0)
        a = terms[empty]
        out = level + terms @ np.linalg.solve(a.T @ a + damp, a.T @ (values[empty] - level))
        empty &= np.abs(values[:, channel] / np.maximum(out[:, channel], 1.0) - 1.0) < 0.06
    return np.maximum(out, 1.0).reshape(h, w, 3)


def _density(cv2: Any, small: Pixels, light: npt.NDArray[np.float64], channel: int) -> Plane:
    plane = np.maximum(small[..., channel], 1).astype(np.float32)
    even = cv2.resize(np.log(light[..., channel]).astype(np.float32), plane.shape[::-1])
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
    typical, level = float(np.median(inside)), float(np.median(outside))
    noise = 1.4826 * float(np.median(np.abs(outside - level)))
    return min(otsu, max(_PALE * typical, level + 4.0 * noise)), typical


def _fill(cv2: Any, density: Plane, bound: float) -> Pixels:
    raw: Pixels = (cv2.GaussianBlur(density, (3, 3), 0) > bound).astype(np.uint8) * 255
    raw = cv2.morphologyEx(raw, cv2.MORPH_OPEN, disc(cv2, 2))
    outlines, tree = cv2.findContours(raw, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for i, outline in enumerate(outlines):
        if tree[0][i][3] >= 0 and _is_pallor(cv2, outline):
            cv2.drawContours(raw, outlines, i, 255, -1)
    return raw


def _is_pallor(cv2: Any, hole: Any) -> bool:
    """Small and round; the gaps between cells have hollow sides."""
    area, around = cv2.contourArea(hole), cv2.arcLength(hole, True)
    if area <= 12:
        return True
    if area > 0.4 * math.pi / 4 * WORK_DIAMETER**2:
        return False
    hull = cv2.contourArea(cv2.convexHull(hole))
    return bool(4 * math.pi * area > 0.65 * around**2 and area > 0.85 * hull)
