"""The gates of one session, whose memory outlives the process: sharpest field, fields taken."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sdk.errors import DataError
from edge_sdk.preprocess import Pixels
from edge_sdk.screening.gates import Gates, spectrum
from edge_sdk.screening.record import GateResult
from edge_sdk.screening.segment import Field


@dataclass
class SessionGates(Gates):
    @property
    def sharpest(self) -> float:
        return self._best

    def results(self, pixels: Pixels, field: Field) -> tuple[GateResult, ...]:
        """As `check`, in the form that is stored."""
        return tuple(
            GateResult(g.gate, g.passed, g.figure, None, g.instruction, g.limit)
            for g in self.check(pixels, field)
        )

    def recall(self, sharpest: float, taken: Pixels | None) -> None:
        """What a field left behind that was judged before: the sharpest until then, and itself
        where it was accepted."""
        self._best = sharpest
        if taken is not None:
            self._taken.append(spectrum(taken))


def unusable(error: DataError) -> tuple[GateResult, ...]:
    """For a picture that cannot be taken as a field at all."""
    return (GateResult("picture", False, None, None, str(error)),)
