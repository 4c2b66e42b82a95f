"""A decision that is stored in an artifact, applied by the Classifier and named on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_artifact import manifest_of

from edge_sdk import metrics, runtime
from edge_sdk.artifact import Decision, manifest_json
from edge_sdk.backends.base import TensorSpec
from edge_sdk.classify import decision_line
from edge_sdk.cli import cli
from edge_sdk.dataset import open_image
from edge_sdk.errors import ArtifactError
from edge_sdk.preprocess import Preprocess, Quantisation
from edge_sdk.runtime import Classifier, Model, Prediction, as_probabilities, load_model

DECISION = Decision(1.5, 0.3, "ring", "cells", True, 100, 10)
FRAME = np.zeros((4, 4, 3), np.uint8)
PAIR = ("blank", "ring")


class Fixed:
    """A backend whose answer is always the same."""

    def __init__(self, scores: Sequence[float], step: float | None) -> None:
        q = None if step is None else Quantisation(step, 0)
        dtype = "float32" if step is None else "uint8"
        self.input = TensorSpec("x", (1, 4, 4, 3), "float32", None)
        self.output = TensorSpec("y", (1, len(scores)), dtype, q)
        self.answer = np.asarray([scores], dtype)

    def invoke(self, x: Any) -> Any:
        del x
        return self.answer


def answer(
    scores: Sequence[float],
    decision: Decision | None,
    *,
    labels: tuple[str, ...] = PAIR,
    step: float | None = None,
    activation: Any = "softmax",
) -> Prediction:
    model = Model(Path("m"), "m", labels, Preprocess(4, 4), activation, (), decision)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "open_backend", lambda *_, **__: Fixed(scores, step))
        return Classifier(model).classify(FRAME)


@pytest.mark.parametrize(
    ("threshold", "first"), [(0.25, "ring"), (0.26, "blank"), (0.0, "ring"), (1.0, "blank")]
)
def test_the_threshold_says_which_of_two_comes_first(threshold: float, first: str) -> None:
    # 64 of 256 steps: a quarter exactly, and a temperature of 1 leaves it there.
    decision = replace(DECISION, temperature=1.0, threshold=threshold)
    found = answer([192, 64], decision, step=1 / 256)
    assert found.probabilities == pytest.approx([0.75, 0.25])
    assert found.label == first
    assert [label for label, _ in found.top(2)] == [first, *(set(PAIR) - {first})]
    assert found.top(1) == found.top(2)[:1]
    assert dict(found.top(2))["ring"] == pytest.approx(0.25)


def test_a_threshold_above_a_half_takes_the_first_place_away() -> None:
    decision = replace(DECISION, temperature=1.0, threshold=0.9)
    assert answer([0.2, 0.8], decision).label == "blank"
    assert answer([0.2, 0.8], decision).top(2)[0] == ("blank", pytest.approx(0.2))


def test_without_a_decision_nothing_changes() -> None:
    found = answer([0.7, 0.7], None, activation="sigmoid")
    assert found.probabilities == pytest.approx([0.7, 0.7])
    assert (found.called, found.label) == (None, "blank")


@given(
    st.lists(st.integers(0, 255), min_size=2, max_size=5),
    st.floats(0.001, 50),
    st.sampled_from([None, 1 / 256]),
)
def test_the_temperature_is_the_one_that_was_fitted(
    scores: list[int], temperature: float, step: float | None
) -> None:
    """The formula of metrics.scaled, over what evaluate fits on, for two classes and for more."""
    decision = replace(DECISION, temperature=temperature, threshold=None, positive=None)
    labels = tuple("abcde"[: len(scores)])
    values = scores if step else [s / 255 for s in scores]
    found = answer(values, decision, labels=labels, step=step)
    plain = np.asarray([scores], np.float64)
    p = plain / plain.sum() if plain.any() else np.full_like(plain, 1 / len(scores))
    wanted = metrics.scaled(p, temperature, step / 2 if step else 1e-7)[0]
    # A step of float32 in the scores grows by 1 / temperature.
    assert found.probabilities == pytest.approx(wanted, abs=1e-6 * max(1, 1 / temperature))
    assert found.probabilities.dtype == np.float32
    assert found.called is None


@pytest.mark.parametrize("scores", [[0, 255], [255, 0], [0, 255, 0]])
def test_a_zero_counts_as_half_a_step(scores: list[int]) -> None:
    decision = replace(DECISION, temperature=4.0, threshold=None, positive=None)
    found = answer(scores, decision, labels=tuple("abc"[: len(scores)]), step=1 / 256)
    least = (1 / 512) ** 0.25
    assert min(found.probabilities) == pytest.approx(least / (1 + least * (len(scores) - 1)))


def test_the_temperature_of_logits_works_on_their_softmax() -> None:
    plain = np.exp([1.0, 3.0]) / np.exp([1.0, 3.0]).sum()
    found = answer([1.0, 3.0], replace(DECISION, temperature=2.0), activation="logits")
    assert found.probabilities == pytest.approx(np.exp([0.5, 1.5]) / np.exp([0.5, 1.5]).sum())
    assert found.probabilities[1] < plain[1]


def test_scores_become_rows_that_sum_to_1() -> None:
    rows = as_probabilities([[0.5, 0.5], [0.9, 0.9], [0.0, 0.0], [-0.2, 0.2], [np.nan, 1.0]])
    assert rows.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0], [0.5, 0.5]]


@pytest.fixture
def store(models: Path, tmp_path: Path) -> Callable[[Decision], Path]:
    """An artifact of three classes with this decision in its manifest."""

    def write(decision: Decision) -> Path:
        folder = tmp_path / "tiny-int8"
        folder.mkdir()
        file = folder / "model.tflite"
        shutil.copyfile(models / "tiny-int8.tflite", file)
        manifest = replace(manifest_of(file), decision=decision)
        (folder / "manifest.json").write_text(manifest_json(manifest))
        return folder

    return write


def test_a_stored_decision_is_used_and_named(
    store: Callable[[Decision], Path], make_images: Callable[..., Path]
) -> None:
    decision = replace(DECISION, temperature=3.0, threshold=None, positive=None)
    folder = store(decision)
    images = make_images(["a.png"])
    args = ["classify", str(folder), str(images), "--backend", "fake", "--top", "3", "--json"]
    result = CliRunner().invoke(cli, args)
    assert "decision: temperature 3 (fitted on 100 simulated images of cells)" in result.stderr
    shown = [entry["probability"] for entry in json.loads(result.stdout)["labels"]]
    model = load_model(folder)
    assert model.decision == decision
    plain = Classifier(replace(model, decision=None), backend="fake")
    (path,) = images.iterdir()
    p = as_probabilities([plain.classify(open_image(path)).probabilities])
    wanted = np.sort(metrics.scaled(p, 3.0, plain.floor)[0])[::-1]
    assert shown == pytest.approx(wanted, abs=2e-6)


def test_a_threshold_for_three_classes_is_an_error(store: Callable[[Decision], Path]) -> None:
    with pytest.raises(ArtifactError, match=r"threshold 0\.3 .* is for two classes, .* has 3"):
        load_model(store(DECISION))


def test_the_line_names_threshold_temperature_and_where_they_are_from() -> None:
    assert decision_line(replace(DECISION, simulated=False)) == (
        "decision: temperature 1.5, ring from 0.3 on (fitted on 100 images of cells)"
    )
