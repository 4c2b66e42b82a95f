from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.artifact import CellRate, Decision, SlideRule
from edge_sdk.errors import ArtifactError, DataError, UsageError
from edge_sdk.screening.limits import flags_needed, spread
from edge_sdk.screening.slide import (
    DISCLAIMER,
    Review,
    SlideCounts,
    SlideResult,
    check_rule,
    judge_slide,
    live_limits,
    reading,
    red_cells,
    round_up,
)

CLEAR = CellRate(100, 10_000, 30, 0.0, 10_000.0)
RULE = SlideRule(
    Decision(1.0, 0.9, "infected", "validation", False, 20_000, 40),
    2000,
    flags_needed(2000, spread(CLEAR), 0.95),
    0.95,
    0.95,
    CLEAR,
    CellRate(9500, 10_000, 35, 0.0, 10_000.0),
)
SITE = CellRate(60, 6000, 3, 0.0, 6000.0)
BLOOD = red_cells(haematocrit=40)


def judged(x: int, n: int, review: Review | None = None, **options: object) -> SlideResult:
    site = options.get("site", SITE)
    assert site is None or isinstance(site, CellRate)
    return judge_slide(SlideCounts(x, n, review), RULE, site, BLOOD)


def codes(result: SlideResult) -> set[str]:
    return {note.code for note in result.notes}


def test_density_divides_by_the_cells_counted() -> None:
    """The worked example of the peer's fault: 14 of 1,400 at haematocrit 40, where infected x Hct x
    125.6 prints 70,336; right only at 1,000 cells."""
    assert reading(14, 1400).share * BLOOD.per_ul == pytest.approx(50_240)
    assert reading(14, 1000).share * BLOOD.per_ul == pytest.approx(14 * 40 * 125.6)
    nothing = CellRate(0, 10**8, 3, 0.0, 1e8)
    perfect = replace(RULE, infected=CellRate(10**8, 10**8, 3, 0.0, 1e8))
    found = judge_slide(SlideCounts(14, 1400), perfect, nothing, BLOOD)
    assert found.per_ul is not None
    assert found.per_ul.estimate == pytest.approx(50_240)


def test_red_cells_from_count_haematocrit_or_assumed() -> None:
    assert red_cells(haematocrit=40).per_ul == pytest.approx(5.024e6)
    assert red_cells(haematocrit=25).per_ul == pytest.approx(3.14e6)
    assert red_cells(count=4.1e6).per_ul == 4.1e6
    assumed = red_cells()
    assert (assumed.per_ul, assumed.origin) == (pytest.approx(5.024e6), "assumed")
    with pytest.raises(UsageError, match=r"haematocrit 0.4 must be from 5 to 75 \(percent"):
        red_cells(haematocrit=0.4)
    with pytest.raises(UsageError, match=r"red cell count 4.8 must be .* 4.8e6"):
        red_cells(count=4.8)
    with pytest.raises(UsageError, match="nan"):
        red_cells(count=math.nan)
    with pytest.raises(UsageError, match="give one"):
        red_cells(5e6, 40)


def test_flagged_from_k_on_and_not_detected_below() -> None:
    k = live_limits(2000, RULE, SITE).flags
    yes, no = judged(k, 2000), judged(k - 1, 2000)
    assert (yes.outcome, no.outcome) == ("flagged", "not detected")
    assert yes.reason is None
    assert yes.statement == f"flagged: {k} of 2,000 red cells flagged, {k} flag a slide"
    assert no.limits is not None
    assert no.per_ul is not None
    assert no.per_ul.detection is not None
    said = float(no.statement.split(" per uL")[0].split("above ")[1].replace(",", ""))
    assert no.per_ul.detection <= said <= 1.1 * no.per_ul.detection
    assert no.per_ul.detection == pytest.approx((no.limits.detection or 0) * 5.024e6)
    assert no.per_ul.blank == pytest.approx(((k - 1) / 2000 - 60.5 / 6001) / (0.95 - 60.5 / 6001)
                                            * 5.024e6, rel=1e-3)  # fmt: skip


def test_without_a_site_calibration_nothing_is_quantified() -> None:
    few, many = judged(3, 2000, site=None), judged(200, 2000, site=None)
    assert (few.outcome, few.reason) == ("insufficient", "no site calibration")
    assert "edge-sdk screen calibrate-site" in few.statement
    assert "3 or more known-clear slides" in few.statement
    assert many.outcome == "flagged"
    for result in (few, many):
        assert result.estimate is result.limits is result.per_ul is None
        assert "no site calibration" in codes(result)
        assert result.raw.high > result.raw.share


def test_too_few_cells_are_insufficient_whatever_is_flagged() -> None:
    for x, n in ((0, 0), (0, 499), (499, 499)):
        found = judged(x, n)
        assert (found.outcome, found.reason) == ("insufficient", "too few cells")
        assert "count more fields" in found.statement
    assert judged(500, 500).outcome == "flagged"


def test_a_limit_that_does_not_exist_is_not_claimed() -> None:
    blind = replace(RULE, infected=CellRate(150, 10_000, 35, 0.0, 10_000.0))
    found = judge_slide(SlideCounts(5, 500), blind, SITE, BLOOD)
    assert (found.outcome, found.reason) == ("insufficient", "no limit")
    assert found.per_ul is not None
    assert found.per_ul.detection is None


def test_fewer_flags_than_known_clear_slides_have_is_no_result() -> None:
    assert judged(10, 2000).outcome == "not detected"
    found = judged(1, 2000)
    assert (found.outcome, found.reason) == ("insufficient", "fewer flags than clear")
    assert "calibrate the site again" in found.statement


def test_a_review_is_shown_beside_the_raw_count_and_takes_no_flag_back() -> None:
    before = judged(60, 2000)
    after = judged(60, 2000, Review(confirmed=5, rejected=50, unsure=2))
    assert before.reviewed is None
    assert after.reviewed == reading(10, 2000)
    assert (after.raw, after.outcome, after.estimate) == (before.raw, "flagged", before.estimate)
    note = next(n.text for n in after.notes if n.code == "review")
    assert "5 confirmed, 50 rejected, 2 unsure, 3 not looked at" in note


def test_a_person_who_saw_a_parasite_flags_a_slide_that_the_count_does_not() -> None:
    assert judged(10, 2000, Review(rejected=10)).outcome == "not detected"
    found = judged(10, 2000, Review(confirmed=1))
    assert found.outcome == "flagged"
    assert found.statement.startswith("flagged: a person confirmed cells; 10 of 2,000")


@pytest.mark.parametrize(
    ("flagged", "counted", "review"),
    [(3, 2, None), (-1, 2, None), (3, 9, Review(2, 2, 0)), (3, 9, Review(-1, 0, 0))],
)
def test_counts_that_cannot_be(flagged: int, counted: int, review: Review | None) -> None:
    with pytest.raises(DataError, match=f"{flagged}"):
        SlideCounts(flagged, counted, review)


def test_every_result_carries_its_label_and_what_was_assumed() -> None:
    result = judge_slide(SlideCounts(5, 1000), RULE, SITE, red_cells())
    assert result.label == DISCLAIMER
    assert {"label", "once", "gametocytes", "sensitivity"} <= codes(result)
    assert {"assumed haematocrit", "below target"} <= codes(result)
    assert not {"assumed haematocrit", "below target", "simulated"} & codes(judged(5, 2000))
    drawn = replace(RULE, decision=replace(RULE.decision, simulated=True))
    assert "simulated" in codes(judge_slide(SlideCounts(5, 2000), drawn, SITE, BLOOD))


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 6000),
    x=st.integers(0, 6000),
    calibrated=st.booleans(),
    review=st.none() | st.tuples(*[st.integers(0, 3)] * 3),
)
def test_three_outcomes_finite_numbers_and_no_forbidden_word(
    n: int, x: int, calibrated: bool, review: tuple[int, int, int] | None
) -> None:
    x = min(x, n)
    seen = Review(*review) if review and sum(review) <= x else None
    found = judged(x, n, seen, site=SITE if calibrated else None)
    assert found.outcome in ("flagged", "not detected", "insufficient")
    assert (found.reason is not None) == (found.outcome == "insufficient")
    assert found.statement.startswith(found.outcome)
    assert calibrated or found.outcome != "not detected"
    for part in (found.raw, found.estimate, found.per_ul, found.limits):
        if part is not None:
            values = [v for v in dataclasses.astuple(part) if v is not None]
            assert all(math.isfinite(v) and v >= 0 for v in values)
    if found.per_ul:
        assert found.per_ul.low <= found.per_ul.estimate <= found.per_ul.high
    text = " ".join([found.statement, *(note.text for note in found.notes)]).lower()
    assert not any(word in text for word in ("negative", "diagnos", "positive for"))


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e8))
def test_a_limit_is_rounded_up_to_two_digits(value: float) -> None:
    up = round_up(value)
    assert value * (1 - 1e-9) <= up <= 1.1 * value
    assert float(f"{up:.1e}") == pytest.approx(up)


def test_the_live_limit_falls_as_cells_are_counted() -> None:
    found = [live_limits(n, RULE, SITE).detection for n in (200, 500, 1000, 2000, 5000, 20000)]
    assert None not in found
    assert found == sorted(found, reverse=True)
    assert live_limits(0, RULE, SITE).detection is None


def test_a_manifest_whose_flags_were_changed_is_refused() -> None:
    check_rule(RULE)
    with pytest.raises(ArtifactError, match=f"screening.flags {RULE.flags - 5} of 2000"):
        check_rule(replace(RULE, flags=RULE.flags - 5))


def test_slides_of_calibrated_sites_keep_specificity_and_sensitivity() -> None:
    """Whole slides through the same function, each site with three blank slides of its own."""
    rng = np.random.default_rng(21)
    f, n, slides = 0.002, 2000, 800

    @functools.cache
    def limit(blanks: int) -> float:
        return live_limits(n, RULE, CellRate(blanks, 6000, 3, 0.0, 6000.0)).detection or 1.0

    @functools.cache
    def flagged(x: int, blanks: int) -> bool:
        found = judged(x, n, site=CellRate(blanks, 6000, 3, 0.0, 6000.0))
        return found.outcome == "flagged"

    called = {"clear": 0, "ill": 0}
    for blanks in rng.binomial(6000, f, slides).tolist():
        for kind in called:
            ill = int(rng.binomial(n, 0.0 if kind == "clear" else limit(blanks)))
            x = int(rng.binomial(ill, 0.95) + rng.binomial(n - ill, f))
            called[kind] += flagged(x, blanks)
    error = 3 * math.sqrt(0.05 * 0.95 / slides)
    assert called["clear"] / slides <= 0.05 + error
    assert called["ill"] / slides >= 0.95 - error
