"""What training inside a conversion refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.convert.choose import METHODS, Candidate, Workshop
from edge_sdk.convert.retrain import check_request
from edge_sdk.errors import UsageError


def test_the_method_needs_images() -> None:
    with pytest.raises(UsageError, match="--train-data"):
        check_request("trained", None, Path("model.keras"))


@pytest.mark.parametrize("name", ["model.tflite", "saved_model_folder"])
def test_only_a_keras_model_is_trained_on(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be trained on"):
        check_request("auto", Path("cells"), Path(name))


def test_other_requests_pass() -> None:
    check_request("auto", None, Path("model.tflite"))
    check_request("trained", Path("cells"), Path("model.h5"))


def test_without_training_images_nothing_is_trained() -> None:
    shop = Workshop(make=None, sensitivities=list, max_drop=1.5)  # type: ignore[arg-type]
    assert list(METHODS["trained"](shop, ())) == []


def test_training_comes_after_adaptive_and_before_mixed() -> None:
    assert list(METHODS) == ["min-max", "adaptive", "trained", "mixed"]
    trained = Candidate(Path("x"), gate=_Gate(passed=True), method="trained")  # type: ignore[arg-type]
    shop = Workshop(
        make=None,  # type: ignore[arg-type]
        sensitivities=list,
        max_drop=1.5,
        retrain=lambda: trained,
    )
    assert list(METHODS["trained"](shop, ())) == [trained]


class _Gate:
    def __init__(self, *, passed: bool) -> None:
        self.passed = passed
