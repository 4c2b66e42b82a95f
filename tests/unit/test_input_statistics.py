"""What drift is measured by, and when it is called so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_artifact import manifest_of

from edge_sdk.artifact import manifest_json, read_artifact
from edge_sdk.input_statistics import input_statistics, picture_statistics
from edge_sdk.live.drift import ENOUGH, DriftWatch

RNG = np.random.default_rng(1)


def pictures(count: int, level: int = 100, spread: int = 20) -> np.ndarray:
    shift = RNG.integers(-10, 11, (count, 1, 1, 1))
    noise = RNG.integers(-spread, spread + 1, (count, 12, 10, 3))
    return np.clip(level + shift + noise, 0, 255).astype(np.uint8)


def test_a_pictures_statistics_are_numpys() -> None:
    picture = RNG.integers(0, 256, (17, 9, 3), np.uint8)
    plain = picture.reshape(-1, 3).astype(np.float64)
    expected = np.concatenate([plain.mean(0), plain.std(0)])
    assert np.allclose(picture_statistics(picture), expected, rtol=0, atol=1e-9)
    assert picture_statistics(np.full((3, 3, 3), 200, np.uint8)).tolist() == [200.0] * 3 + [0.0] * 3


def test_a_part_of_a_frame_counts_like_a_copy() -> None:
    frame = RNG.integers(0, 256, (40, 30, 3), np.uint8)
    part = frame[3:20, 5:17]
    assert np.array_equal(picture_statistics(part), picture_statistics(part.copy()))


def test_statistics_of_many_are_means_and_spreads_over_pictures() -> None:
    found = input_statistics(pictures(50))
    rows = np.array([picture_statistics(p) for p in pictures(50)])
    assert found.images == 50
    assert found.mean == pytest.approx(rows[:, :3].mean(0), abs=6)
    assert found.mean_spread == pytest.approx((6.0, 6.0, 6.0), abs=2)


def test_the_manifest_keeps_them_and_older_ones_have_none(models: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes((models / "tiny-int8.tflite").read_bytes())
    manifest = manifest_of(tmp_path / "model.tflite")
    statistics = input_statistics(pictures(5))
    text = manifest_json(replace(manifest, input_statistics=statistics))
    (tmp_path / "manifest.json").write_text(text)
    assert read_artifact(tmp_path).manifest.input_statistics == statistics
    older = json.loads(text)
    del older["input_statistics"]
    (tmp_path / "manifest.json").write_text(json.dumps(older))
    assert read_artifact(tmp_path).manifest.input_statistics is None


def watched(shown: np.ndarray) -> DriftWatch:
    watch = DriftWatch(input_statistics(pictures(100)))
    for number, picture in enumerate(shown):
        assert watch.due(float(number))
        watch.add(picture, float(number))
        assert not watch.due(number + 0.5)
    return watch


def test_the_same_camera_and_stain_do_not_drift() -> None:
    state = watched(pictures(60)).state()
    assert state is not None
    assert state.drifted == ()
    assert state.distance < 1


def test_too_few_pictures_say_nothing() -> None:
    assert watched(pictures(ENOUGH - 1, level=200)).state() is None


def test_another_light_is_named_by_its_colours() -> None:
    brighter = pictures(40)
    brighter[..., 0] = np.minimum(brighter[..., 0].astype(int) + 60, 255)
    state = watched(brighter).state()
    assert state is not None
    assert [d[:8] for d in state.drifted] == ["red mean"]
    assert state.mean[0] == pytest.approx(160, abs=5)


def test_a_picture_out_of_focus_is_named_by_its_contrast() -> None:
    state = watched(pictures(40, spread=0)).state()
    assert state is not None
    assert {d[:8] for d in state.drifted} == {"red sd 0", "green sd", "blue sd "}


def test_calibration_pictures_that_are_all_alike_leave_two_grey_levels() -> None:
    flat = np.full((5, 4, 4, 3), 90, np.uint8)
    for level, drifted in ((91, 0), (93, 3)):
        watch = DriftWatch(input_statistics(flat))
        for number in range(ENOUGH):
            watch.add(np.full((4, 4, 3), level, np.uint8), float(number))
        state = watch.state()
        assert state is not None
        assert len(state.drifted) == drifted
