from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edge_sdk.errors import DataError, UsageError
from edge_sdk.preprocess import Pixels
from edge_sdk.screening.gates import (
    GateResult,
    Gates,
    Limits,
    rejected,
    sharpness,
    stain_colour,
)
from edge_sdk.screening.segment import segment
from edge_sdk.simulate_field import draw_field
from edge_sdk.stain_range import StainRange

pytest.importorskip("cv2")


def picture(seed: int, patient: int = 3, cells: int = 45) -> Pixels:
    return draw_field(seed, patient, (800, 600), cells=cells).pixels


def told(gates: Gates, pixels: Pixels) -> dict[str, GateResult]:
    return {r.gate: r for r in gates.check(pixels, segment(pixels))}


def test_good_fields_pass_and_a_gate_without_a_range_says_so() -> None:
    gates = Gates()
    for seed in range(3):
        results = told(gates, picture(seed))
        assert rejected(results.values()) == ()
        assert results["stain"].verdict == "not judged"
        assert all(r.instruction == "" for r in results.values())
    assert list(results) == ["focus", "exposure", "density", "duplicate", "stain"]


def test_a_blurred_field_fails_beside_a_sharp_one() -> None:
    gates, sharp = Gates(), picture(0)
    told(gates, sharp)
    blurred = np.asarray(Image.fromarray(picture(1)).filter(ImageFilter.GaussianBlur(2.0)))
    result = told(gates, blurred)["focus"]
    assert (result.verdict, result.passed) == ("fail", False)
    assert "Focus" in result.instruction


def figure(pixels: Pixels) -> float:
    found = sharpness(pixels, segment(pixels))
    assert found is not None
    return found


def blurred(pixels: Pixels, radius: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def test_noise_does_not_look_like_focus() -> None:
    rng = np.random.default_rng(0)
    soft = blurred(picture(0), 2.0)
    noisy = np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)
    assert figure(noisy) < 0.36 * figure(picture(0))


def test_focus_is_that_of_the_cells_whatever_else_the_picture_has() -> None:
    sharp = picture(0)
    assert figure(picture(0, cells=10)) == pytest.approx(figure(sharp), rel=0.25)
    faint = np.clip(220 + (sharp.astype(np.float64) - 220) * 0.6, 0, 255).astype(np.uint8)
    assert figure(faint) == pytest.approx(figure(sharp), rel=0.25)
    soft = blurred(sharp, 2.0).copy()
    without = figure(soft)
    soft[570:590:2, 560:780] = 0  # the lines of a scale bar, sharp as drawn ones are
    assert figure(soft) == pytest.approx(without, rel=0.1)
    assert without < 0.36 * figure(sharp)


def test_without_cells_focus_is_not_judged_and_sets_no_mark() -> None:
    gates, dirt = Gates(), np.full((600, 800, 3), 200, np.uint8)
    dirt[300:303, 400:403] = 0
    assert told(gates, dirt)["focus"].verdict == "not judged"
    assert gates.sharpest == 0.0
    assert told(gates, blurred(picture(0), 2.0))["focus"].verdict == "pass"  # nothing beside it


def test_dark_and_bright_fields_fail() -> None:
    pixels = picture(0)
    assert "dark" in told(Gates(), pixels // 4)["exposure"].instruction
    bright = np.clip(pixels.astype(np.int64) * 2, 0, 255).astype(np.uint8)
    assert "bright" in told(Gates(), bright)["exposure"].instruction


def test_too_few_cells_fail() -> None:
    assert "Too few" in told(Gates(), picture(0, cells=4))["density"].instruction
    blank = np.full((600, 800, 3), 200, np.uint8)
    assert told(Gates(), blank)["density"].verdict == "fail"


def test_a_field_that_was_taken_is_found_again_and_a_rejected_one_is_not_kept() -> None:
    wide = draw_field(5, 3, (1000, 600), cells=60).pixels
    gates = Gates()
    assert told(gates, wide[:, :800])["duplicate"].verdict == "pass"
    assert told(gates, wide[:, 200:])["duplicate"].verdict == "fail"  # 75 % is the same
    assert told(gates, picture(9))["duplicate"].verdict == "pass"
    few = picture(11, cells=4)
    for _ in range(2):  # it never counted, so it is no duplicate of itself
        assert told(gates, few)["duplicate"].verdict == "pass"


def test_a_stain_outside_the_range_fails() -> None:
    colours = [stain_colour(p, segment(p).counted) for p in (picture(s) for s in range(3))]
    known = StainRange.around(colours)
    assert told(Gates(stain=known), picture(8))["stain"].verdict == "pass"
    swapped = np.ascontiguousarray(picture(8)[..., ::-1])  # BGR taken for RGB
    assert told(Gates(stain=known), swapped)["stain"].verdict == "fail"


def test_wrong_limits_and_ranges_are_refused() -> None:
    with pytest.raises(UsageError, match="overlap"):
        Limits(overlap=1.5)
    with pytest.raises(UsageError, match="rising"):
        StainRange((1.0, 0.0, 0.0), (0.0, 1.0, 1.0))
    with pytest.raises(DataError, match="at least"):
        StainRange.around([(1.0, 2.0, 3.0)])
    pixels = picture(0)
    with pytest.raises(UsageError, match="not that of the picture"):
        Gates().check(pixels[:300], segment(pixels))
