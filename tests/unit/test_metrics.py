from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk import metrics
from edge_sdk.errors import DataError

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
CALLED = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1])  # TP 3, FN 1, FP 1, TN 5
SEPARATE = np.array([0.9, 0.8, 0.2, 0.1])
TWO = np.array([True, True, False, False])


def figures_of(truth: np.ndarray, called: np.ndarray, classes: int, positive: int | None) -> dict:
    table = metrics.confusion(truth, called, classes).astype(np.float64)
    found = metrics.figures(table.diagonal(), table.sum(1), table.sum(0), positive)
    return {name: float(value) for name, value in found.items()}


def one(n: int) -> np.ndarray:
    return np.ones((1, n))


def test_two_classes_by_hand() -> None:
    found = figures_of(TRUTH, CALLED, 2, 0)
    mcc = (3 * 5 - 1) / math.sqrt(4 * 4 * 6 * 6)
    expected = {"accuracy": 0.8, "sensitivity": 0.75, "specificity": 5 / 6, "precision": 0.75}
    assert found == pytest.approx({**expected, "f1": 0.75, "mcc": mcc})
    assert metrics.confusion(TRUTH, CALLED, 2).tolist() == [[3, 1], [1, 5]]


def test_three_classes_by_hand() -> None:
    found = figures_of(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0]), 3, None)
    assert found["macro_recall"] == pytest.approx(2 / 3)
    assert found["macro_precision"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert found["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert found["mcc"] == pytest.approx((4 * 6 - 12) / math.sqrt((36 - 14) * (36 - 12)))


def test_a_class_that_nobody_has_is_left_out_of_the_means() -> None:
    assert figures_of(np.array([0, 1]), np.array([0, 1]), 5, None)["macro_recall"] == 1


def test_a_perfect_and_a_constant_classifier() -> None:
    assert set(figures_of(TRUTH, TRUTH, 2, 0).values()) == {1.0}
    constant = figures_of(TRUTH, np.ones_like(TRUTH), 2, 0)
    assert (constant["sensitivity"], constant["specificity"], constant["mcc"]) == (0, 1, 0)
    assert math.isnan(constant["precision"])
    roc, pr = metrics.areas(np.full(10, 0.5), TRUTH == 0, one(10))
    assert (roc[0], pr[0]) == pytest.approx((0.5, 0.4))
    roc, pr = metrics.areas(SEPARATE, TWO, one(4))
    assert (roc[0], pr[0]) == (1, 1)


def test_a_missing_class_is_named() -> None:
    with pytest.raises(DataError, match="no image is labelled 'b'"):
        metrics.check_two_classes(np.array([0, 0]), ("a", "b"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(1, 3)), min_size=2))
def test_areas_are_those_of_all_pairs(rows: list[tuple[int, bool, int]]) -> None:
    score, y = np.array([r[0] / 5 for r in rows]), np.array([r[1] for r in rows])
    if y.all() or not y.any():
        return
    times = np.array([r[2] for r in rows])
    s, t = np.repeat(score, times), np.repeat(y, times)
    pairs = [(a > b) + (a == b) / 2 for a in s[t] for b in s[~t]]
    roc, pr = metrics.areas(score, y, times[None].astype(np.float64))
    assert roc[0] == pytest.approx(np.mean(pairs))
    steps, before = 0.0, 0.0
    for limit in sorted(set(s), reverse=True):
        called = s >= limit
        recall = (called & t).sum() / t.sum()
        steps, before = steps + (recall - before) * (called & t).sum() / called.sum(), recall
    assert pr[0] == pytest.approx(steps)


def test_curves_run_from_corner_to_corner() -> None:
    roc, pr = metrics.curves(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    assert roc.tolist() == [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]
    assert pr.tolist() == [[0.5, 1], [1, 2 / 3], [1, 0.5]]


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    truth = np.array([0, 1, 1, 1])  # bins: 0.9 half right, 0.7 and 0.6 right
    assert metrics.calibration_error(p, truth) == pytest.approx((2 * 0.4 + 0.3 + 0.4) / 4)
    assert metrics.reliability(p, truth)[:, 0].sum() == 4


def test_a_known_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 20_000)
    truth = (rng.random((len(p), 1)) > np.cumsum(p, 1)).sum(1).clip(0, 2)
    sharper = metrics.scaled(p, 0.5, 1e-12)
    assert metrics.fit_temperature(sharper, truth, 1e-12) == pytest.approx(2, rel=0.03)
    assert np.allclose(metrics.scaled(sharper, 2, 1e-12), p)


def test_the_threshold_lies_between_what_it_parts() -> None:
    assert metrics.fit_threshold(SEPARATE, TWO) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1.0),
        (1, 5, 14 / 64),
        (5, 1, 14 / 64),
        (3, 3, 1.0),
        (10, 20, math.erfc(math.sqrt(81 / 60))),
        (15, 15, 1.0),
        (121, 59, 5.450e-06),
    ],
)
def test_mcnemar(b: int, c: int, p: float) -> None:
    assert metrics.mcnemar(b, c) == pytest.approx(p, rel=1e-3)


def test_the_worst_tenth_leaves_out_small_groups() -> None:
    groups = np.repeat(np.arange(12), [2, *[10] * 11])
    right = np.ones(len(groups), bool)
    right[:2] = False  # group 0, too small
    right[2:7] = False  # group 1: half
    right[12:14] = False  # group 2: 0.8
    assert metrics.worst_groups(right, groups) == pytest.approx((0.65, 2, 0.5, 1))
    assert metrics.worst_groups(right[:2], groups[:2]) is None


def test_intervals_are_repeatable_and_hold_the_figure() -> None:
    rng = np.random.default_rng(1)
    truth, groups = rng.integers(2, size=300), np.repeat(np.arange(30), 10)
    score = np.where(truth == 1, 0.6, 0.4) + rng.normal(0, 0.2, 300)
    called = (score > 0.5).astype(np.int64)

    def draw(seed: int) -> dict[str, tuple[float, float]]:
        return metrics.intervals(
            truth, called, 2, groups, positive=1, score=score, draws=300, seed=seed
        )

    assert draw(0) == draw(0) != draw(1)
    low, high = draw(0)["accuracy"]
    assert low < (called == truth).mean() < high
    assert {"roc_auc", "pr_auc", "sensitivity", "mcc"} <= set(draw(0))


def test_whole_groups_are_drawn() -> None:
    # One group all right, one all wrong: draws give 0, 1/2 or 1, never anything between.
    truth, groups = np.zeros(200, np.int64), np.repeat([0, 1], 100)
    assert metrics.intervals(truth, groups, 2, groups, positive=0)["accuracy"] == (0.0, 1.0)
