"""Gates' answers in the form that a session stores."""

from __future__ import annotations

from collections.abc import Iterable

from edge_sdk.errors import DataError
from edge_sdk.screening import gates
from edge_sdk.screening.record import GateResult


def stored(results: Iterable[gates.GateResult]) -> tuple[GateResult, ...]:
    return tuple(
        GateResult(g.gate, g.passed, g.figure, None, g.instruction, g.limit) for g in results
    )


def unusable(error: DataError) -> tuple[GateResult, ...]:
    """For a picture that cannot be taken as a field at all."""
    return (GateResult("picture", False, None, None, str(error)),)
