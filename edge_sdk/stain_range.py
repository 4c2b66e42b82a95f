"""The colours that a model's cells had: what a slide's stain is held against, in the manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import DataError, UsageError

Colour = tuple[float, float, float]

MARGIN = 2.0
_LEAST = 3


@dataclass(frozen=True)
class StainRange:
    """CIE L*a*b* of cells that the model was made with, lowest and highest of each.

    data, simulated: what it was measured on, cut-out cells and not fields; groups: the patients,
    each of which gave one median colour; cells: the cells looked at. Empty and 0 where not told."""

    low: Colour
    high: Colour
    data: str = ""
    simulated: bool = False
    groups: int = 0
    cells: int = 0

    def __post_init__(self) -> None:
        if len(self.low) != 3 or len(self.high) != 3 or not np.all(np.less(self.low, self.high)):
            raise UsageError(f"stain range {self.low} to {self.high} must be three rising pairs")

    @classmethod
    def around(
        cls,
        colours: Iterable[Colour],
        margin: float = MARGIN,
        *,
        data: str = "",
        simulated: bool = False,
        cells: int = 0,
    ) -> StainRange:
        """From the median colour of each patient or slide; the range between their extremes,
        `margin` units wider on each side. Raises DataError for fewer than three."""
        told = np.asarray(list(colours), np.float64)
        if told.ndim != 2 or told.shape[1] != 3 or len(told) < _LEAST:
            raise DataError(
                f"stain range: colours of shape {told.shape} must be at least ({_LEAST}, 3)"
            )
        low, high = _three(told.min(axis=0) - margin), _three(told.max(axis=0) + margin)
        return cls(low, high, data, simulated, len(told), cells)

    def outside(self, colour: Colour) -> float:
        """Units by which the colour misses the range in its worst channel, 0 inside."""
        worst = np.maximum(np.subtract(self.low, colour), np.subtract(colour, self.high)).max()
        return max(0.0, float(worst))


def _three(values: npt.NDArray[np.float64]) -> Colour:
    lightness, a, b = (round(v, 3) for v in values.tolist())
    return lightness, a, b
