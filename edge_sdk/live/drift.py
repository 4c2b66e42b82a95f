"""Whether the camera still shows what the model was calibrated on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_sdk.input_statistics import Channels, InputStatistics, picture_statistics
from edge_sdk.preprocess import Pixels

# A figure has drifted when its mean over the window lies this many spreads of single calibration
# pictures from theirs: three pictures in a thousand do, if they are normally distributed, and a
# mean of many hardly ever does. Never less than LEAST grey levels: calibration pictures that are
# all alike have no spread. Both are our choice, not fitted.
LIMIT = 3.0
LEAST = 2.0
WINDOW, ENOUGH = 60, 20
NAMES = ("red mean", "green mean", "blue mean", "red sd", "green sd", "blue sd")


@dataclass(frozen=True)
class Drift:
    """mean, sd: of the last `pictures` sampled inputs, as in InputStatistics. distance: of the
    figure that is furthest off, in spreads. drifted: which are too far, in words."""

    pictures: int
    mean: Channels
    sd: Channels
    distance: float
    drifted: tuple[str, ...]


class DriftWatch:
    """Samples an input each `every_s` seconds at most: drift is slow, a sample costs a resize."""

    def __init__(self, calibrated: InputStatistics, every_s: float = 1.0) -> None:
        c = calibrated
        self._centre = np.array([*c.mean, *c.sd])
        self._spread = np.maximum(np.array([*c.mean_spread, *c.sd_spread]), LEAST / LIMIT)
        self._kept: deque[npt.NDArray[np.float64]] = deque(maxlen=WINDOW)
        self._every_s, self._next_s = every_s, float("-inf")

    def due(self, now_s: float) -> bool:
        return now_s >= self._next_s

    def add(self, pixels: Pixels, now_s: float) -> None:
        """pixels: uint8 RGB at the model's size; now_s: monotonic seconds."""
        self._next_s = now_s + self._every_s
        self._kept.append(picture_statistics(pixels))

    def state(self) -> Drift | None:
        """None until ENOUGH pictures were sampled."""
        if len(self._kept) < ENOUGH:
            return None
        found = np.mean(self._kept, axis=0)
        distance = np.abs(found - self._centre) / self._spread
        r, g, b, *sd = (round(float(v), 2) for v in found)
        drifted = tuple(
            f"{name} {value:.0f} instead of {centre:.0f}"
            for name, value, centre, d in zip(NAMES, found, self._centre, distance, strict=True)
            if d > LIMIT
        )
        three = (sd[0], sd[1], sd[2])
        return Drift(len(self._kept), (r, g, b), three, round(float(distance.max()), 2), drifted)
