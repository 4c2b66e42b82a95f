"""A slide's counts to its result: three outcomes, and never a claim beyond the evidence.

Pure functions: the same counts, rule, rate and blood count give the same result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edge_sdk.artifact import CellRate, SlideRule
from edge_sdk.errors import ArtifactError, DataError, UsageError
from edge_sdk.screening.limits import (
    Estimate,
    Limits,
    Spread,
    chance_of,
    corrected,
    flags_needed,
    limits,
    spread,
)
from edge_sdk.screening.proportions import wilson
from edge_sdk.screening.site import MIN_CELLS, MIN_SLIDES

DISCLAIMER = (
    "Screening aid for research; not a medical device; confirm by expert microscopy or RDT."
)
RED_CELLS_PER_PERCENT = 125_600.0  # per uL and percent of haematocrit: 5.02e6 at 40
ASSUMED_HAEMATOCRIT = 40.0
HAEMATOCRIT = (5.0, 75.0)  # percent; what lies outside is a wrong unit or a slip
RED_CELLS = (0.3e6, 10e6)  # per uL
FEWER_THAN_CLEAR = 0.001

Outcome = Literal["flagged", "not detected", "insufficient"]
Reason = Literal["no site calibration", "too few cells", "no limit", "fewer flags than clear"]


@dataclass(frozen=True)
class Review:
    """What a person said of the flagged cells; those not looked at are in none of them."""

    confirmed: int = 0
    rejected: int = 0
    unsure: int = 0


@dataclass(frozen=True)
class SlideCounts:
    """flagged: red cells, however many parasites are in one. counted: all red cells of the accepted
    fields, the flagged among them. review: None before there was one."""

    flagged: int
    counted: int
    review: Review | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.flagged <= self.counted:
            raise DataError(
                f"flagged {self.flagged} must be from 0 to counted ({self.counted}): a red cell "
                "counts once, however many parasites are in it"
            )
        if (r := self.review) is None:
            return
        if min(r.confirmed, r.rejected, r.unsure) < 0 or (
            r.confirmed + r.rejected + r.unsure > self.flagged
        ):
            raise DataError(
                f"review of {r.confirmed} confirmed, {r.rejected} rejected, {r.unsure} unsure does "
                f"not fit {self.flagged} flagged cells"
            )


@dataclass(frozen=True)
class RedCells:
    """Red cells per uL of blood, and where the figure is from."""

    per_ul: float
    origin: Literal["count", "haematocrit", "assumed"]


@dataclass(frozen=True)
class Reading:
    """x flagged of N as they are, uncorrected, with Wilson's 95 % interval."""

    flagged: int
    counted: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class PerUl:
    """Parasites, as infected red cells, per uL. Limits: None where there is none."""

    estimate: float
    low: float
    high: float
    blank: float
    detection: float | None


@dataclass(frozen=True)
class Note:
    """code: for other languages."""

    code: str
    text: str


@dataclass(frozen=True)
class SlideResult:
    """raw: as the model flagged; reviewed: without the cells a person rejected, None before review.
    estimate, limits, per_ul: None without a site calibration or cells. reason: why it is
    insufficient, else None. statement: the outcome in one sentence."""

    outcome: Outcome
    reason: Reason | None
    statement: str
    counts: SlideCounts
    raw: Reading
    reviewed: Reading | None
    estimate: Estimate | None
    limits: Limits | None
    per_ul: PerUl | None
    red_cells: RedCells
    notes: tuple[Note, ...]
    label: str = DISCLAIMER


def red_cells(count: float | None = None, haematocrit: float | None = None) -> RedCells:
    """From the patient's red cell count per uL, else 125,600 x haematocrit (percent), else as for
    a haematocrit of 40, which the result then says. Raises UsageError for a value outside
    RED_CELLS or HAEMATOCRIT, or both."""
    if count is not None and haematocrit is not None:
        raise UsageError("red cell count and haematocrit are both given: give one of them")
    for name, value, (least, most), unit in (
        ("red cell count", count, RED_CELLS, "per uL, as 4.8e6"),
        ("haematocrit", haematocrit, HAEMATOCRIT, "percent, as 40"),
    ):
        if value is not None and not least <= value <= most:
            raise UsageError(f"{name} {value:g} must be from {least:g} to {most:g} ({unit})")
    if count is not None:
        return RedCells(float(count), "count")
    if haematocrit is not None:
        return RedCells(RED_CELLS_PER_PERCENT * haematocrit, "haematocrit")
    return RedCells(RED_CELLS_PER_PERCENT * ASSUMED_HAEMATOCRIT, "assumed")


def reading(flagged: int, counted: int) -> Reading:
    return Reading(
        flagged, counted, flagged / counted if counted else 0.0, *wilson(flagged, counted)
    )


def live_limits(counted: int, rule: SlideRule, site: CellRate) -> Limits:
    """The limits of the cells counted so far, at this site."""
    return limits(counted, spread(site), spread(rule.infected), rule.specificity, rule.sensitivity)


def check_rule(rule: SlideRule) -> None:
    """Raises ArtifactError when the flags of a manifest are not those of its own rates."""
    needed = flags_needed(rule.cells, spread(rule.clear), rule.specificity)
    if rule.flags != needed:
        raise ArtifactError(
            f"screening.flags {rule.flags} of {rule.cells} cells does not follow from "
            f"screening.clear, which needs {needed}: the manifest was changed; choose the "
            "rule again"
        )


def judge_slide(
    counts: SlideCounts, rule: SlideRule, site: CellRate | None, blood: RedCells
) -> SlideResult:
    """The result of a slide. site: `SiteCalibration.rate`; None: quantification is refused, and a
    slide can only be flagged, by the validation patients' rate, or insufficient.

    Judge once, when counting is over: a slide that is judged again and again until it is flagged
    has more chances to be so than `specificity` allows for."""
    x, n = counts.flagged, counts.counted
    clear = spread(site or rule.clear)
    needed = flags_needed(n, clear, rule.specificity)
    estimate = found = per_ul = None
    if site is not None and n:
        found = live_limits(n, rule, site)
        estimate = corrected(x, n, site, rule.infected)
        per_ul = _per_ul(estimate, found, blood)
    outcome, reason = _outcome(counts, needed, clear, site is not None, found)
    return SlideResult(
        outcome,
        reason,
        _statement(outcome, reason, counts, needed, per_ul),
        counts,
        reading(x, n),
        None if counts.review is None else reading(x - counts.review.rejected, n),
        estimate,
        found,
        per_ul,
        blood,
        _notes(counts, rule, site, blood, needed),
    )


def _per_ul(estimate: Estimate, found: Limits, blood: RedCells) -> PerUl:
    per = blood.per_ul
    detection = None if found.detection is None else found.detection * per
    return PerUl(
        estimate.share * per, estimate.low * per, estimate.high * per, found.blank * per, detection
    )


def _outcome(
    counts: SlideCounts, needed: int, clear: Spread, calibrated: bool, found: Limits | None
) -> tuple[Outcome, Reason | None]:
    if counts.counted < MIN_CELLS:
        return "insufficient", "too few cells"
    # A person who saw a parasite outweighs a count that is too low; a person who saw none does not
    # take a flag back.
    if counts.flagged >= needed or (counts.review and counts.review.confirmed):
        return "flagged", None
    if not calibrated or found is None:
        return "insufficient", "no site calibration"
    if found.detection is None:
        return "insufficient", "no limit"
    if 1 - chance_of(counts.flagged + 1, counts.counted, clear) < FEWER_THAN_CLEAR:
        return "insufficient", "fewer flags than clear"
    return "not detected", None


def _statement(
    outcome: Outcome, reason: Reason | None, counts: SlideCounts, needed: int, per_ul: PerUl | None
) -> str:
    seen = f"{counts.flagged:,} of {counts.counted:,} red cells flagged"
    if outcome == "flagged":
        if counts.flagged < needed:
            return f"flagged: a person confirmed cells; {seen}, {needed:,} flag a slide by count"
        return f"flagged: {seen}, {needed:,} flag a slide"
    if outcome == "not detected" and per_ul and per_ul.detection is not None:
        limit = round_up(per_ul.detection)
        return f"not detected above {limit:,.0f} per uL: {seen}, {needed:,} would flag it"
    why = {
        "too few cells": f"fewer than {MIN_CELLS} red cells: count more fields",
        "no site calibration": "this site is not calibrated: run `edge-sdk screen calibrate-site` "
        f"on {MIN_SLIDES} or more known-clear slides; without it there is neither a limit nor a "
        "parasitaemia",
        "no limit": "with so few cells, or clear slides so different, no parasitaemia is sure to "
        "be flagged: count more fields, or calibrate the site with more known-clear slides",
        "fewer flags than clear": "known-clear slides of this site have more flags: stain, focus "
        "or camera have changed; calibrate the site again",
    }
    return f"insufficient: {seen}; {why[reason or 'no limit']}"


def round_up(value: float) -> float:
    """To two significant digits, upwards: a limit is never said to be lower than it is."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step - 1e-9) * step


def _notes(
    counts: SlideCounts, rule: SlideRule, site: CellRate | None, blood: RedCells, needed: int
) -> tuple[Note, ...]:
    notes = [
        Note("label", DISCLAIMER),
        Note("once", "A red cell counts once, however many parasites are in it."),
        Note(
            "gametocytes",
            "Gametocytes do not belong in an asexual count. Stages are not told apart: reject "
            "gametocytes in the review.",
        ),
        Note(
            "sensitivity",
            f"Sensitivity per cell is that of {rule.infected.slides} validation patients, not "
            "measured at this site.",
        ),
    ]
    if site is None:
        notes.append(
            Note(
                "no site calibration",
                f"{needed:,} flags needed is by the validation patients' rate: how often clear "
                "slides of this site are flagged is not known.",
            )
        )
    if blood.origin == "assumed":
        notes.append(
            Note(
                "assumed haematocrit",
                f"Red cells per uL are those of a haematocrit of {ASSUMED_HAEMATOCRIT:g} %, "
                "assumed: give the patient's own.",
            )
        )
    if counts.counted and counts.counted < rule.cells:
        notes.append(
            Note(
                "below target",
                f"{counts.counted:,} of the {rule.cells:,} red cells aimed for: more lower the "
                "limit.",
            )
        )
    if (r := counts.review) is not None:
        left = counts.flagged - r.confirmed - r.rejected - r.unsure
        notes.append(
            Note(
                "review",
                f"Review: {r.confirmed:,} confirmed, {r.rejected:,} rejected, {r.unsure:,} unsure, "
                f"{left:,} not looked at. Outcome and corrected estimate are by the raw count: "
                "the site's false-positive rate is that of unreviewed cells.",
            )
        )
    if rule.decision.simulated:
        notes.append(Note("simulated", "Thresholds were chosen on simulated images."))
    return tuple(notes)
