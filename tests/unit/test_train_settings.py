from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_sdk.cli.train import _request, train
from edge_sdk.errors import UsageError
from edge_sdk.train.settings import RECIPES, Distillation, Recipe, Split, TrainRequest

NAN, INF = float("nan"), float("inf")


def request(**options: Any) -> TrainRequest:
    return TrainRequest(Path("cells"), Path("out"), **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs 0 must be at least 1"),
        ({"batch": 1}, "--batch 1 must be at least 2"),
        ({"patience": 0}, "--patience 0"),
        ({"warmup": -1}, "--warmup -1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0 must be above 0"),
        ({"learning_rate": NAN}, "--learning-rate nan"),
        ({"label_smoothing": 1.0}, "--label-smoothing 1.0"),
        ({"dropout": -0.1}, "--dropout -0.1"),
        ({"average_decay": NAN}, "--average-decay nan"),
        ({"weight_decay": NAN}, "--weight-decay nan"),
        ({"weight_decay": INF}, "--weight-decay inf"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'. Did you mean cosine"),
    ],
)
def test_a_recipe_says_what_is_wrong_with_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fractions": (0, 10, 30)}, "--split 0:10:30"),
        ({"fractions": (60, NAN, 30)}, "--split 60:nan:30"),
        ({"fractions": (INF, 10, 30)}, "--split inf:10:30"),
        ({"fractions": (60, 10, -1)}, "--split 60:10:-1"),
        ({"fold": (0, 5)}, "--fold 0/5"),
        ({"fold": (6, 5)}, "--fold 6/5"),
        ({"fold": (1, 1)}, "--fold 1/1"),
        ({"fold": (1, 5), "file": Path("s.csv")}, "--split-file excludes --fold and --split"),
        ({"fractions": (1, 1, 1), "file": Path("s.csv")}, "--split-file excludes"),
    ],
)
def test_a_split_says_what_is_wrong_with_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Split(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 0.0}, "--distil-weight 0.0"),
        ({"weight": NAN}, "--distil-weight nan"),
        ({"temperature": 0.0}, "--distil-temperature 0.0"),
        ({"temperature": INF}, "--distil-temperature inf"),
    ],
)
def test_a_distillation_says_what_is_wrong_with_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Distillation(Path("t.keras"), **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "ful"}, "unknown strategy 'ful'. Did you mean full"),
        ({"head": "softmx"}, "unknown head 'softmx'. Did you mean softmax"),
        ({"size": 7}, "--size 7 must be at least 8"),
        ({"blocks": 0, "strategy": "partial"}, "--blocks 0"),
        ({"blocks": 2}, "--blocks 2 belongs to --strategy partial, and it is full"),
        ({"alpha": NAN}, "--alpha nan"),
        ({"seed": -1}, "--seed -1 must be between 0 and 4294967295"),
        ({"weights": "none", "strategy": "frozen"}, "--strategy frozen keeps layers"),
        ({"strategy": "scratch"}, "--strategy scratch starts from random weights"),
        ({"head": "embedding"}, "give --distil TEACHER"),
        (
            {"head": "embedding", "distillation": Distillation(Path("t"), temperature=3.0)},
            "--distil-weight and --distil-temperature",
        ),
        ({"head": "sigmoid", "recipe": Recipe(class_weights=True)}, "--class-weights needs one"),
        ({"qat": "w4a8"}, "--qat w4a8 trains a model on: say with --from"),
        ({"thresholds": "lsq"}, "--thresholds belongs to --qat"),
        ({"normalise": "tf"}, "--normalise belongs to --arch FILE.keras"),
        ({"arch": "m.keras"}, "--weights imagenet: --arch m.keras brings its own"),
        ({"arch": "m.keras", "weights": "m.keras", "alpha": 0.5}, "no width multiplier"),
        ({"arch": "basic-cnn", "alpha": 0.5}, "--alpha 0.5: basic-cnn has no width multiplier"),
    ],
)
def test_a_request_says_what_is_wrong_with_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request(**values)


def test_settings_are_json_and_hold_what_decides_the_result() -> None:
    r = request(distillation=Distillation(Path("t.keras")), recipe=Recipe(epochs=3))
    settings = json.loads(json.dumps(r.settings()))
    assert settings["recipe"]["epochs"] == 3
    assert settings["distillation"]["teacher"] == "t.keras"
    assert settings["data"] == "cells"
    moved = TrainRequest(Path("cells"), Path("elsewhere"), resume=True, cache=Path("c"))
    assert moved.settings() == request().settings()
    assert request(seed=1).settings() != request().settings()


def given(*arguments: str) -> TrainRequest:
    """The request that a command line makes."""
    words = ["cells", "--out", "out", *arguments]
    values = train.make_context("train", words).params
    values.pop("as_json")
    made: TrainRequest = _request(values.pop("data"), values.pop("out"), values)
    return made


@pytest.mark.parametrize(
    ("words", "strategy", "weights", "recipe"),
    [
        ("", "full", "imagenet", "full"),
        ("--weights none", "scratch", "none", "scratch"),
        ("--strategy scratch", "scratch", "none", "scratch"),
        ("--strategy frozen", "frozen", "imagenet", "frozen"),
        ("--arch basic-cnn", "scratch", "none", "scratch"),
        ("--arch m.keras --cut relu", "full", "m.keras", "full"),
        ("--weights other.keras", "full", "other.keras", "full"),
        ("--qat w4a8 --from m.keras", "full", "none", "qat"),
    ],
)
def test_the_command_line_fills_in_what_is_not_given(
    words: str, strategy: str, weights: str, recipe: str
) -> None:
    made = given(*words.split())
    assert (made.strategy, made.weights, made.recipe) == (strategy, weights, RECIPES[recipe])


def test_the_command_line_reads_splits_and_recipes() -> None:
    made = given("--split", "8:1:1", "--epochs", "2", "--class-weights", "--augment", "cells")
    assert made.split == Split((8, 1, 1))
    assert (made.recipe.epochs, made.recipe.class_weights) == (2, True)
    assert made.recipe.augmentation == "cells"
    assert given("--fold", "2/5").split.fold == (2, 5)
    taught = given("--distil", "t.keras", "--distil-weight", "0.5").distillation
    assert taught == Distillation(Path("t.keras"), 0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--split 60:40", "--split 60:40: expected three shares"),
        ("--fold 3", "--fold 3: expected K/N"),
        ("--strategy fine", "unknown strategy 'fine'"),
        ("--unlabelled more", "belong to --distil TEACHER"),
        ("--distil-weight 0.5", "belong to --distil TEACHER"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given(*words.split())


def test_help_names_every_head_and_strategy() -> None:
    text = CliRunner().invoke(train, ["--help"]).output
    for word in ("frozen", "partial", "scratch", "softmax", "sigmoid", "embedding", "w4a4"):
        assert word in text


@pytest.mark.parametrize("option", ["arch", "alpha", "size", "weights", "strategy", "fit"])
def test_training_with_rounding_refuses_what_its_model_has_decided(option: str) -> None:
    words = ["cells", "--out", "out", "--qat", "w4a8", "--from", "m.keras", f"--{option}", "1"]
    result = CliRunner().invoke(train, words)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith(f"--{option} does not go with --from")
