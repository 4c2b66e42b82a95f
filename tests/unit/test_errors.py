from __future__ import annotations

import re

import pytest

from edge_sdk import errors
from edge_sdk.errors import EdgeError, UsageError, unknown_name

EVERY = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, EdgeError)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^[ |]*(?:[|`]- )?(\w+Error) .* exit (\d)$", errors.__doc__ or "", re.M)
    assert drawn == [(e.__name__, str(e.exit_code)) for e in EVERY]
    assert errors.ArtifactError.__base__ is errors.ModelError


@pytest.mark.parametrize("kind", EVERY)
def test_only_usage_ends_with_2(kind: type[EdgeError]) -> None:
    assert kind("x").exit_code == (2 if kind is UsageError else 1)


@pytest.mark.parametrize(
    ("name", "near"), [("int", "int8"), ("INT8", "int8"), ("w4a4", "w4a8"), ("flaot32", "float32")]
)
def test_an_unknown_name_suggests_near_misses_and_lists_the_valid(name: str, near: str) -> None:
    valid = ["w4a8", "int8", "float32"]
    text = unknown_name("scheme", name, valid)
    assert text.startswith(f"unknown scheme '{name}'. Did you mean ")
    assert near in text.split("?")[0]
    assert text.endswith("Valid: float32, int8, w4a8.")


def test_nothing_near_is_nothing_suggested() -> None:
    assert unknown_name("fit", "zzz", {"crop", "pad"}) == "unknown fit 'zzz'. Valid: crop, pad."


def test_a_suggestion_keeps_the_names_own_case() -> None:
    assert "Did you mean RGB?" in unknown_name("colour order", "rgb", ["RGB", "xyz"])
