from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.errors import DataError, EdgeError, UsageError
from edge_sdk.model_metadata import ModelMetadata
from edge_sdk.preprocess import NORMALISATIONS, Preprocess
from edge_sdk.sidecar import (
    PreprocessOptions,
    check_labels,
    find_sidecar,
    read_labels,
    resolve_labels,
    resolve_preprocess,
)

NONE = PreprocessOptions()
TORCH = NORMALISATIONS["torch"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "net.tflite"


def resolve(model: Path, options: PreprocessOptions = NONE, **more: Any) -> Preprocess:
    return resolve_preprocess(model, 8, 9, options, "tf", **more)[0]


def beside(model: Path, data: Any, name: str = "preprocess.json") -> None:
    text = data if isinstance(data, str) else json.dumps(data)
    (model.parent / name).write_text(text, encoding="utf-8")


def test_what_nobody_says_is_assumed_aloud(model: Path) -> None:
    spec, notes = resolve_preprocess(model, 8, 9, NONE, "tf")
    assert spec == Preprocess(8, 9)
    assert len(notes) == 1
    assert "assumed 'tf'" in notes[0]
    assert "--normalise" in notes[0]


def test_options_overrule_the_file_and_the_file_the_metadata(model: Path) -> None:
    inside = ModelMetadata((), (1.0,), (2.0,))
    assert resolve(model, inside=inside).mean == (1.0,) * 3
    beside(model, {"mean": [5, 6, 7], "std": [1, 1, 1], "fit": "crop", "crop_fraction": 0.5})
    from_file, notes = resolve_preprocess(model, 8, 9, NONE, "tf", inside)
    assert from_file == Preprocess(8, 9, "crop", 0.5, "RGB", (5.0, 6.0, 7.0), (1.0, 1.0, 1.0))
    assert notes == []
    named = resolve(model, PreprocessOptions(normalise="torch", fit="pad"), inside=inside)
    assert (named.mean, named.std, named.fit, named.crop_fraction) == (*TORCH, "pad", 0.5)
    given = PreprocessOptions(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), colour="BGR")
    assert resolve(model, given).std == (4.0, 5.0, 6.0)
    assert resolve(model, given).colour == "BGR"


def test_the_models_own_file_comes_before_the_folders(model: Path) -> None:
    beside(model, {}, "preprocess.json")
    assert find_sidecar(model, "preprocess.json") == model.parent / "preprocess.json"
    beside(model, {}, "net.preprocess.json")
    assert find_sidecar(model, "preprocess.json") == model.parent / "net.preprocess.json"
    assert find_sidecar(model, "labels.txt") is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "must hold one JSON object"),
        ({"means": [1, 2, 3]}, "unknown key 'means'"),
        ({"mean": [1, 2, 3]}, "mean and std go together"),
        ({"std": [1, 2, 3]}, "mean and std go together"),
        ({"mean": [1, 2], "std": [1, 2, 3]}, "mean"),
        ({"fit": "squash"}, "fit"),
        ({"height": 7}, r"size \(7, 9\) differs from the model's \(8, 9\)"),
        ({"height": "8"}, "differs from the model's"),
        ({"std": [1, 1, 0], "mean": [0, 0, 0]}, "std"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_wrong_file_is_named(model: Path, data: Any, says: str) -> None:
    beside(model, data)
    with pytest.raises(UsageError, match=says) as e:
        resolve(model)
    assert "preprocess.json" in str(e.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"normalise": "torhc"}, "Did you mean torch"),
        ({"mean": (1.0, 2.0, 3.0)}, "give both or neither"),
        ({"std": (1.0, 2.0, 3.0)}, "give both or neither"),
        ({"normalise": "tf", "mean": TORCH[0], "std": TORCH[1]}, "exclude each other"),
    ],
    ids=str,
)
def test_options_that_contradict(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        PreprocessOptions(**given)


@pytest.mark.parametrize(
    "given", [{"fit": "squash"}, {"colour": "XYZ"}, {"crop_fraction": 2.0}], ids=str
)
def test_an_option_that_is_wrong_is_named(model: Path, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        resolve(model, PreprocessOptions(**given))


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "bom"])
def test_labels_are_read_in_order(model: Path, mark: str) -> None:
    beside(model, mark + "b \na\n\n", "labels.txt")
    assert resolve_labels(model, None, 2) == ("b", "a")
    other = model.parent / "other.txt"
    other.write_text("x\ny\nz\n")
    assert resolve_labels(model, other, 3) == ("x", "y", "z")


def test_no_labels_are_none(model: Path) -> None:
    assert resolve_labels(model, None, 2) is None


@pytest.mark.parametrize(("count", "hint"), [(2, False), (3, None), (4, True), (5, False)], ids=str)
def test_the_number_of_labels_is_the_number_of_outputs(count: int, hint: bool | None) -> None:
    labels = tuple("abcde"[:count])
    if hint is None:
        assert check_labels(labels, 3, "f") == labels
        return
    with pytest.raises(DataError, match=f"f: {count} labels for 3 outputs") as e:
        check_labels(labels, 3, "f")
    assert ("background" in str(e.value)) == hint


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "labels.txt"
    bad.write_bytes(b"\xff\xfe")
    for file in (bad, tmp_path / "none.txt", tmp_path):
        with pytest.raises(EdgeError, match=f"labels file {file} cannot be read"):
            read_labels(file, 2)
