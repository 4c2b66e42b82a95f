"""A camera over drawn smear fields: seeded, with the ground truth, always labelled simulated."""

from __future__ import annotations

from typing import Any

from edge_sdk.camera.base import DEFAULT_SIZE, Size, Source
from edge_sdk.camera.folder import check_rate
from edge_sdk.errors import UsageError
from edge_sdk.preprocess import Pixels
from edge_sdk.simulate_field import SimulatedField, draw_field


class SimulatedCamera(Source):
    """Shows `fields` drawn fields in turn, each drawn when it is first shown.

    seed: of the first field, the others follow; size: (width, height); rate: frames a second, None
    for as fast as they are read; frames: after which it ends, None for never; patient, cells,
    infected, clumped, white_cells, diameter, defocus: see simulate_field.draw_field.

    A frame's metadata say `simulated`, the field's `seed`, and the SimulatedField as `field`. Its
    pixels cannot be written to: they are shown again."""

    name = "simulated"

    def __init__(
        self,
        *,
        seed: int = 0,
        size: Size = DEFAULT_SIZE,
        rate: float | None = None,
        frames: int | None = None,
        fields: int = 4,
        patient: int = 0,
        cells: int = 40,
        infected: float = 0.1,
        clumped: float = 0.2,
        white_cells: int = 1,
        diameter: float = 60.0,
        defocus: float = 0.0,
    ) -> None:
        super().__init__()
        check_rate(rate)
        if frames is not None and frames < 1:
            raise UsageError(f"frames {frames} must be at least 1, or None for no end")
        if not 1 <= fields <= 1000:
            raise UsageError(f"fields {fields} must be from 1 to 1000")
        self.size = size
        self.notes = ("simulated: every frame is a drawing",)
        self._rate, self._left, self._count, self._seed = rate, frames, fields, seed
        self._shown = 0
        self._drawn: list[SimulatedField] = []
        self._options: dict[str, Any] = {
            "patient": patient, "size": size, "cells": cells, "infected": infected,
            "clumped": clumped, "white_cells": white_cells, "diameter": diameter,
            "defocus": defocus,
        }  # fmt: skip
        self._draw(seed)  # what is out of range is an error now, not at the first frame

    def _draw(self, seed: int) -> None:
        field = draw_field(seed, **self._options)
        field.pixels.flags.writeable = False
        self._drawn.append(field)

    def _grab(self) -> tuple[Pixels, dict[str, Any]] | None:
        if self._left is not None:
            if not self._left:
                return None
            self._left -= 1
        number = self._shown % self._count
        self._shown += 1
        if number == len(self._drawn):
            self._draw(self._seed + number)
        self._pace(self._rate)
        field = self._drawn[number]
        return field.pixels, {"simulated": True, "seed": field.seed, "field": field}
