"""How bright and how varied the model's input pictures are, per colour: what drift is seen by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.preprocess import Pixels

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class InputStatistics:
    """Over pictures at the model's size, before normalisation: red, green, blue, from 0 to 255.

    mean, sd: of a picture's pixels, averaged over the pictures. mean_spread, sd_spread: how far
    pictures lie apart in these, as a standard deviation."""

    images: int
    mean: Channels
    sd: Channels
    mean_spread: Channels
    sd_spread: Channels


def picture_statistics(pixels: Pixels) -> npt.NDArray[np.float64]:
    """float64 (6,): a picture's mean per channel, then its standard deviation."""
    flat = pixels.reshape(-1, 3)
    # Sums of whole numbers are exact, and need no copy of the picture in float64.
    total = flat.sum(0, dtype=np.int64)
    squares = np.einsum("ij,ij->j", flat, flat, dtype=np.int64)
    mean = total / len(flat)
    return np.concatenate([mean, np.sqrt(np.maximum(squares / len(flat) - mean**2, 0.0))])


def input_statistics(pictures: Pixels) -> InputStatistics:
    """pictures: uint8 RGB (N, H, W, 3), N at least 1."""
    rows = np.array([picture_statistics(p) for p in pictures])
    average, spread = rows.mean(0), rows.std(0)
    return InputStatistics(
        len(rows), _three(average[:3]), _three(average[3:]), _three(spread[:3]), _three(spread[3:])
    )


def _three(values: npt.NDArray[Any]) -> Channels:
    r, g, b = (round(float(v), 4) for v in values)
    return r, g, b
