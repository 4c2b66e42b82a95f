from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.artifact import Check
from edge_sdk.convert import gate
from edge_sdk.convert.gate import (
    Judged,
    Runtime,
    compare,
    expected_loss,
    file_faults,
    find_runtimes,
    judge,
    signal_to_noise_db,
)
from edge_sdk.errors import BackendError
from edge_sdk.preprocess import Preprocess
from edge_sdk.strict import to_plain
from edge_sdk.tflite_file import read_tflite

REPORT: dict[str, object] = {"backend": "litert", "version": "9", "python": "3", "machine": "m"}
NAN, INF = float("nan"), float("inf")


def one_hot(classes: list[int], sure: float = 0.9) -> np.ndarray:
    """Scores of three classes, `sure` for the given one and the rest shared."""
    scores = np.full((len(classes), 3), (1 - sure) / 2, np.float32)
    scores[np.arange(len(classes)), classes] = sure
    return scores


TRUTH = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def judged(reference: np.ndarray, truth: list[int] | None = None) -> Judged:
    pixels = np.zeros((len(reference), 4, 4, 3), np.uint8)
    return Judged(pixels, reference, np.array(truth) if truth is not None else None)


def check(
    scores: np.ndarray, j: Judged, max_drop: float = 1.5, faults: tuple[str, ...] = ()
) -> Check:
    found = compare(scores, j, "softmax", max_drop, faults, REPORT)
    # What is in a manifest has to be readable again.
    json.dumps(to_plain(found), allow_nan=False)
    assert found.passed == (not found.problems)
    return found


def test_equal_answers_pass() -> None:
    j = judged(one_hot(TRUTH), TRUTH)
    found = check(j.reference, j)
    assert found.passed
    assert (found.accuracy, found.float_accuracy, found.agreement, found.drop) == (100, 100, 100, 0)
    assert found.snr_db == 200
    assert (found.runtime, found.version, found.samples) == ("litert", "9", 10)
    assert j.measure == "accuracy"


@pytest.mark.parametrize(("max_drop", "passed"), [(9.9, False), (10.0, True), (10.1, True)])
def test_accuracy_lost_is_held_against_the_limit(max_drop: float, passed: bool) -> None:
    found = check(one_hot([1, *TRUTH[1:]]), judged(one_hot(TRUTH), TRUTH), max_drop)
    assert found.drop == pytest.approx(10)
    assert (found.accuracy, found.agreement, found.passed) == (90, 90, passed)
    if not passed:
        assert found.problems == ("accuracy lost: 10.00 points, more than the 9.9 allowed",)


def test_a_model_that_gets_better_passes() -> None:
    found = check(one_hot(TRUTH), judged(one_hot([1, *TRUTH[1:]]), TRUTH), 0.0)
    assert found.passed
    assert found.drop == pytest.approx(-10)


@pytest.mark.parametrize(("max_drop", "passed"), [(8.4, False), (8.6, True)])
def test_without_labels_the_float_models_probabilities_judge(max_drop: float, passed: bool) -> None:
    j = judged(one_hot(TRUTH))
    found = check(one_hot([1, *TRUTH[1:]]), j, max_drop)
    # One answer in ten goes from p = 0.9 to p = 0.05.
    assert found.drop == pytest.approx(8.5, abs=1e-4)
    assert (found.accuracy, found.float_accuracy, found.passed) == (None, None, passed)
    assert j.measure == "estimated-accuracy"
    if not passed:
        assert "estimated accuracy lost: 8.50 points" in found.problems[0]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("truth", [TRUTH, None], ids=["labelled", "unlabelled"])
def test_answers_that_are_no_numbers_never_pass(bad: float, truth: list[int] | None) -> None:
    j = judged(one_hot(TRUTH), truth)
    one = j.reference.copy()
    one[3, 1] = bad
    assert "1 of 10 answers are not finite numbers" in check(one, j, 100).problems
    every = check(np.full((10, 3), bad, np.float32), j, 100)
    assert "10 of 10 answers are not finite numbers" in every.problems
    assert "gives the same answer to every image" in every.problems


@pytest.mark.parametrize("truth", [TRUTH, None], ids=["labelled", "unlabelled"])
def test_a_trained_model_that_answers_nan_is_a_problem(truth: list[int] | None) -> None:
    j = judged(np.full((10, 3), NAN, np.float32), truth)
    for scores in (j.reference, one_hot(TRUTH)):
        found = check(scores, j, 100)
        assert any("trained model" in p for p in found.problems)


@pytest.mark.parametrize("truth", [TRUTH, None], ids=["labelled", "unlabelled"])
def test_a_constant_answer_never_passes(truth: list[int] | None) -> None:
    found = check(one_hot([0] * 10), judged(one_hot(TRUTH), truth), 100)
    assert found.problems == ("gives the same answer to every image",)


def test_a_constant_answer_is_right_where_the_trained_one_is_constant() -> None:
    assert check(one_hot([1] * 10), judged(one_hot([1] * 10)), 1).passed


def test_a_limit_that_is_no_number_lets_nothing_pass() -> None:
    j = judged(one_hot(TRUTH), TRUTH)
    assert not compare(j.reference, j, "softmax", NAN, (), REPORT).passed


def test_faults_of_the_file_are_problems() -> None:
    j = judged(one_hot(TRUTH), TRUTH)
    assert check(j.reference, j, faults=("holds X",)).problems == ("holds X",)


def test_huge_scores_are_compared_without_overflow() -> None:
    reference = (one_hot(TRUTH) * 3e38).astype(np.float32)
    found = compare(-reference, judged(reference), "logits", 100, (), REPORT)
    assert found.snr_db == pytest.approx(-6.02, abs=0.01)


def test_expected_loss_of_logits_is_that_of_their_softmax() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)
    choices = np.array([1, 2])
    assert expected_loss(p, choices, "softmax") == pytest.approx(0.25)
    logits = np.log(p) + np.float32(1000)
    assert expected_loss(logits, choices, "logits") == pytest.approx(0.25, abs=1e-4)
    assert expected_loss(p, p.argmax(axis=1), "softmax") == 0


def test_signal_to_noise() -> None:
    ones = np.ones((2, 3), np.float32)
    assert signal_to_noise_db(ones, ones * np.float32(0.9)) == pytest.approx(20, abs=1e-4)
    assert signal_to_noise_db(ones, ones) == 200
    assert signal_to_noise_db(ones, ones + np.float32(1e-30)) == 200
    assert signal_to_noise_db(ones, -ones) == pytest.approx(-6.02, abs=0.01)
    # Nothing to compare with: any answer is noise, none is as good as it gets.
    assert signal_to_noise_db(0 * ones, ones) <= 0
    assert signal_to_noise_db(0 * ones, 0 * ones) == 200


def test_a_whole_file_has_no_faults(models: Path) -> None:
    for name in ("tiny-float32", "tiny-int8", "tiny-w4a8", "tiny-uint8"):
        assert file_faults(read_tflite(models / f"{name}.tflite"), 491) == []


def test_variables_and_lost_weights_are_faults(models: Path) -> None:
    (fault,) = file_faults(read_tflite(models / "variables.tflite"), 10)
    assert fault.startswith("holds READ_VARIABLE, VAR_HANDLE: its weights are variables")
    (fault,) = file_faults(read_tflite(models / "tiny-int8.tflite"), 5000)
    assert fault.endswith("constants for 5,000 trained parameters")


def test_each_runtime_is_judged_and_a_failing_one_fails_the_gate(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, j = models / "tiny-int8.tflite", judged(one_hot(TRUTH), TRUTH)
    j = Judged(np.zeros((10, 16, 16, 3), np.uint8), j.reference, j.truth)
    seen = []

    def run(backend: str, path: Path, inputs: np.ndarray, python: str) -> Any:
        seen.append((backend, path, inputs.dtype, inputs.shape, python))
        if backend == "bad":
            raise BackendError("bad crashed")
        return (one_hot(TRUTH, 0.98) * 256 - 128).round().astype(np.int8), REPORT

    monkeypatch.setattr(gate, "run_inputs", run)
    runtimes = [Runtime("good", "py1"), Runtime("bad", "py2")]
    result = judge(model, Preprocess(16, 16), "softmax", 491, j, runtimes, 1.5)
    assert seen == [
        (b, model, np.int8, (10, 16, 16, 3), p) for b, p in (("good", "py1"), ("bad", "py2"))
    ]
    assert (result.measure, result.max_drop, result.passed) == ("accuracy", 1.5, False)
    good, bad = result.checks
    assert (good.passed, good.accuracy, good.problems) == (True, 100, ())
    assert (bad.passed, bad.runtime, bad.problems) == (False, "bad", ("bad crashed",))
    assert judge(model, Preprocess(16, 16), "softmax", 491, j, runtimes[:1], 1.5).passed


@pytest.mark.parametrize(
    ("here", "chosen"),
    [
        (["litert", "tensorflow"], ["litert"]),
        (["litert", "tflite-runtime"], ["litert", "tflite-runtime"]),
        (["tensorflow"], ["tensorflow"]),
    ],
)
def test_tensorflow_judges_only_where_nothing_lighter_is(
    monkeypatch: pytest.MonkeyPatch, here: list[str], chosen: list[str]
) -> None:
    monkeypatch.setattr(gate, "installed_backends", lambda _: here)
    assert [r.backend for r in find_runtimes(())] == chosen


def test_a_python_without_an_interpreter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"other": ["tflite-runtime", "tensorflow"], "bare": ["tensorflow"]}
    monkeypatch.setattr(gate, "installed_backends", lambda p: there.get(p, []))
    assert find_runtimes(["other"]) == [Runtime("tflite-runtime", "other")]
    with pytest.raises(BackendError, match="--runtime-python bare: neither"):
        find_runtimes(["bare"])
    with pytest.raises(BackendError, match="no interpreter to judge on: pip install"):
        find_runtimes([])
