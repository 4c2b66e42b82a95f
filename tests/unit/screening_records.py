"""Slide records for tests: drawn pictures, real arithmetic."""

from __future__ import annotations

import dataclasses
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from edge_sdk.artifact import CellRate, Decision, SlideRule
from edge_sdk.screening.limits import cell_rate, flags_needed, spread
from edge_sdk.screening.record import (
    FORMAT,
    FieldRecord,
    FlaggedCell,
    GateResult,
    ModelUsed,
    Override,
    SlideRecord,
    Verdict,
)
from edge_sdk.screening.slide import Review, SlideCounts, judge_slide, red_cells

SIZE = (320, 240)
CLEAR = cell_rate([(4, 2000), (6, 2000), (5, 2000), (7, 2000), (3, 2000), (5, 2000)])
INFECTED = cell_rate([(190, 200), (188, 200), (193, 200), (191, 200)])
SITE = cell_rate([(5, 2000), (4, 2000), (7, 2000)])
FEW = CellRate(20, 40, 3, 0.9, 3.0)


def rule(simulated: bool = True) -> SlideRule:
    decision = Decision(1.2, 0.91, "infected", "drawn cells", simulated, 4000, 12)
    flags = flags_needed(2000, spread(CLEAR), 0.95)
    return SlideRule(decision, 2000, flags, 0.95, 0.95, CLEAR, INFECTED)


@functools.cache
def record(
    flagged: int = 30,
    counted: int = 2100,
    *,
    site: CellRate | None = SITE,
    language: str = "en",
    simulated: bool = True,
    verdicts: tuple[Verdict, ...] = (),
    fields: int = 18,
    haematocrit: float | None = None,
) -> SlideRecord:
    """verdicts: of the first cells; without any there was no review."""
    given = [*verdicts, *[None] * (flagged - len(verdicts))]
    count = {v: verdicts.count(v) for v in ("confirmed", "rejected", "unsure")}
    counts = SlideCounts(flagged, counted, Review(**count) if verdicts else None)
    taken = [i for i in range(1, fields + 1) if i % 6 != 5]
    share = [len(part) for part in np.array_split(np.arange(counted), len(taken))]
    owner = [taken[i % len(taken)] for i in range(flagged)]
    rows = [
        _field(i, share[taken.index(i)], owner.count(i)) if i in taken else _rejected(i)
        for i in range(1, fields + 1)
    ]
    cells = tuple(
        FlaggedCell(
            n + 1,
            owner[n],
            (17 * n % 290, 23 * n % 210, 26, 25),
            ("clump",) if n % 7 == 3 else (),
            round(0.999 - 0.08 * n / max(flagged, 1), 4),
            given[n],
            f"cells/{n + 1:05}.png",
        )
        for n in range(flagged)
    )
    overrides = tuple(
        Override(f"2026-03-01T10:{30 + n // 60:02}:{n % 60:02}Z", "op-2", n + 1, None, v)
        for n, v in enumerate(verdicts)
    )
    used = rule(simulated)
    return SlideRecord(
        FORMAT,
        "s-7f3a91c2",
        simulated,
        0.015 if simulated else None,
        "0.4.0",
        ModelUsed("malaria-064-int8", "ab" * 32, "ai-edge-litert 2.1.0"),
        used,
        "cd" * 32,
        None if site is None else "Clinic A, microscope 2",
        None if site is None else "ef" * 32,
        "Raspberry Pi 5",
        "op-1",
        "simulated" if simulated else "v4l2:/dev/video0",
        "2026-03-01T10:00:00Z",
        "2026-03-01T10:29:30Z",
        language,
        tuple(rows),
        cells,
        overrides,
        judge_slide(counts, used, site, red_cells(haematocrit=haematocrit)),
        64,
        "12" * 32,
    )


def _field(number: int, cells: int, flagged: int) -> FieldRecord:
    gates = (
        GateResult("focus", True, 182.4, 140.0, ""),
        GateResult("exposure", True, 0.01, 0.05, ""),
    )
    where = f"fields/{number:05}.png"
    return FieldRecord(number, _time(number), True, gates, cells, flagged, where, "34" * 32)


def _rejected(number: int) -> FieldRecord:
    gates = (
        (GateResult("focus", False, 61.2, 140.0, "Turn the fine focus, then take it again."),)
        if number % 12 == 5
        else (GateResult("duplicate", False, 0.71, 0.2, "Move the stage to a new place."),)
    )
    return FieldRecord(number, _time(number), False, gates, 0, 0, None, None)


def _time(number: int) -> str:
    return f"2026-03-01T10:{number % 60:02}:00Z"


def drawn(seed: int, size: tuple[int, int]) -> bytes:
    """A PNG of a pink disc with a dark dot."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]] / np.array(size[::-1])[:, None, None] - 0.5
    image = np.full((size[1], size[0], 3), (236, 226, 214), np.float64)
    image[x**2 + y**2 < 0.17] = (222, 160, 150)
    dx, dy = rng.uniform(-0.18, 0.18, 2)
    image[(x - dx) ** 2 + (y - dy) ** 2 < 0.008] = (92, 60, 130)
    image += rng.normal(0, 3, image.shape)
    file = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_pictures(r: SlideRecord, folder: Path) -> Path:
    """The pictures that a record names, in a session's folder."""
    for cell in r.cells:
        path = folder / cell.thumbnail
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn(cell.number, (48, 46)))
    for field in r.fields:
        if field.image:
            path = folder / field.image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(drawn(field.number, SIZE))
    return folder


@functools.cache
def every_outcome(language: str = "en") -> dict[str, SlideRecord]:
    """By name: each way that a slide's result can come out."""
    verdicts: tuple[Verdict, ...] = ("confirmed",) * 6 + ("rejected",) * 3 + ("unsure",) * 2
    worse = dataclasses.replace(SITE, flagged=100)
    return {
        "flagged": record(verdicts=verdicts, language=language),
        "flagged, real": record(simulated=False, language=language, haematocrit=38),
        "confirmed": record(4, verdicts=("confirmed",), language=language),
        "not detected": record(4, language=language),
        "none": record(0, language=language),
        "too few": record(3, 300, fields=4, language=language),
        "no site": record(4, site=None, language=language),
        "no site, flagged": record(site=None, language=language),
        "no limit": record(2, 500, site=FEW, language=language),
        "fewer than clear": record(0, 4000, site=worse, fields=40, language=language),
    }
