"""What is on the screen before it is taken: a frame, its picture for the browser, its gates."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from edge_sdk.preprocess import Pixels
from edge_sdk.screening.gates import Gates
from edge_sdk.screening.reader import FieldReader
from edge_sdk.screening.session import Seen, see

WIDEST = 1280
JPEG_QUALITY = 80


@dataclass(frozen=True, eq=False)
class Preview:
    """number: never given twice; seen: what `session.take` counts, just these pixels."""

    number: int
    seen: Seen
    jpeg: bytes

    def live(self) -> dict[str, Any]:
        """The contract's `live`."""
        height, width = self.seen.pixels.shape[:2]
        found = self.seen.found
        return {
            "number": self.number,
            "size": [width, height],
            "cells": 0 if found is None else len(found[0].counted),
            "green": self.seen.green,
            "lights": self._lights(),
        }

    def _lights(self) -> list[dict[str, Any]]:
        if self.seen.found is None:
            return [
                _light(g.gate, "pass" if g.passed else "fail", None, g.bounds, g.instruction)
                for g in self.seen.passed
            ]
        return [
            _light(g.gate, g.verdict, g.figure, g.limit, g.instruction)
            for g in self.seen.found[1].results
        ]


def preview(number: int, pixels: Pixels, digest: str, reader: FieldReader, gates: Gates) -> Preview:
    """Leaves no trace in the gates: only what is taken is remembered. digest: of the pixels."""
    return Preview(number, see(pixels, digest, reader, gates), jpeg(pixels))


def jpeg(pixels: Pixels) -> bytes:
    """At most WIDEST wide."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if image.width > WIDEST:
        image = image.resize((WIDEST, max(1, round(image.height * WIDEST / image.width))))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _light(
    gate: str, verdict: str, figure: float | None, limit: str, instruction: str
) -> dict[str, Any]:
    return {
        "gate": gate,
        "verdict": verdict,
        "figure": figure,
        "limit": limit,
        "instruction": instruction,
    }
