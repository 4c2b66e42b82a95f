from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.artifact import CellRate, Decision, SlideRule
from edge_sdk.errors import DataError
from edge_sdk.screening.limits import spread
from edge_sdk.screening.site import (
    BlankSlide,
    SiteCalibration,
    calibrate_site,
    odd_slides,
    read_site,
    rule_hash,
    site_rate,
    write_site,
)

RULE = SlideRule(
    Decision(1.0, 0.9, "infected", "validation", False, 20_000, 40),
    2000,
    35,
    0.95,
    0.95,
    CellRate(280, 10_000, 30, 0.01, 5000.0),
    CellRate(9500, 10_000, 35, 0.0, 10_000.0),
)
MODEL = "ab" * 32
SLIDES = (BlankSlide("s1", 20, 2000), BlankSlide("s2", 24, 2000), BlankSlide("s3", 17, 2100))


def calibrated(slides: Sequence[BlankSlide] = SLIDES) -> SiteCalibration:
    return calibrate_site("clinic 1", "2026-05-01T10:00:00+00:00", slides, MODEL, RULE)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    write_site(path, calibrated())
    assert read_site(path, MODEL, RULE) == calibrated()


def test_another_model_or_threshold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    write_site(path, calibrated())
    with pytest.raises(DataError, match="another model: sha256 abab"):
        read_site(path, "cd" * 32, RULE)
    other = replace(RULE, decision=replace(RULE.decision, threshold=0.8999))
    with pytest.raises(DataError, match="another slide rule"):
        read_site(path, MODEL, other)
    with pytest.raises(DataError, match="another slide rule"):
        read_site(path, MODEL, replace(RULE, flags=36))
    assert rule_hash(RULE) == rule_hash(replace(RULE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must be a table"),
        ('{"format": 2}', "format 2 is not 1"),
        ('{"format": 1}', "missing key 'site'"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_site(path, MODEL, RULE)


def test_a_file_with_too_few_slides_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    write_site(path, calibrated())
    data = json.loads(path.read_text())
    del data["slides"][1:]
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"site\.json: 1 known-clear slides, at least 3"):
        read_site(path, MODEL, RULE)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="calibrate-site` on 3 or more known-clear slides"):
        read_site(tmp_path / "none.json", MODEL, RULE)


def test_slides_that_cannot_calibrate() -> None:
    with pytest.raises(DataError, match="2 known-clear slides, at least 3"):
        calibrated(SLIDES[:2])
    with pytest.raises(DataError, match="'s1' is there twice"):
        calibrated((*SLIDES, SLIDES[0]))
    with pytest.raises(DataError, match="499 red cells counted, 500 are needed"):
        BlankSlide("s4", 0, 499)
    with pytest.raises(DataError, match="flagged 501 must be from 0 to counted"):
        BlankSlide("s4", 501, 500)
    with pytest.raises(DataError, match="check that they are known to be clear"):
        calibrated([BlankSlide(n, 1990, 2000) for n in "abc"])


def test_its_slides_differ_at_least_as_validation_patients_do() -> None:
    even = [(20, 2000)] * 3
    rate = site_rate(even, RULE.clear)
    assert (rate.flagged, rate.counted, rate.slides) == (60, 6000, 3)

    def variation(mean: float, rho: float) -> float:
        return rho * (1 - mean) / mean

    assert variation(60.5 / 6001, rate.dispersion) == pytest.approx(
        variation(280.5 / 10_001, RULE.clear.dispersion)
    )
    uneven = site_rate([(0, 2000), (10, 2000), (300, 2000)], RULE.clear)
    assert uneven.dispersion > 5 * rate.dispersion
    assert site_rate(even, replace(RULE.clear, dispersion=0.0)).dispersion == 0


def test_a_site_without_any_flag_still_expects_some() -> None:
    s = spread(site_rate([(0, 2000)] * 3, RULE.clear))
    assert 0 < s.mean < 0.001
    assert s.bounds()[1] > s.mean


def test_a_slide_that_is_unlike_the_others_is_named() -> None:
    assert odd_slides(calibrated(), RULE) == ()
    odd = calibrated((*SLIDES, BlankSlide("s4", 400, 2000)))
    assert odd_slides(odd, RULE) == ("s4",)


def test_honest_slides_are_seldom_named() -> None:
    rng = np.random.default_rng(5)
    rule = replace(RULE, clear=CellRate(280, 10_000, 30, 0.0, 10_000.0))
    named = 0
    for _ in range(200):
        slides = [BlankSlide(str(i), int(rng.binomial(2000, 0.01)), 2000) for i in range(3)]
        named += len(odd_slides(calibrated(slides), rule))
    assert named / 600 <= 0.01
