from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.artifact import (
    FORMAT,
    Attempt,
    Check,
    Gate,
    Manifest,
    Sample,
    Source,
    TensorInfo,
    manifest_json,
    read_artifact,
)
from edge_sdk.errors import ArtifactError, DataError, UsageError
from edge_sdk.files import sha256
from edge_sdk.preprocess import Preprocess
from edge_sdk.runtime import Classifier, load_model
from edge_sdk.sidecar import PreprocessOptions
from edge_sdk.strict import to_plain

Change = Callable[[dict[str, Any]], object]


def manifest_of(model: Path, passed: bool = True) -> Manifest:
    check = Check("fake", "1", "3.11", "x86_64", 4, 75.0, 100.0, 75.0, 25.0, 12.0, passed, ())
    return Manifest(
        format=FORMAT,
        name="tiny",
        scheme="int8",
        labels=("blank", "ring", "smear"),
        preprocess=Preprocess(16, 16),
        activation="softmax",
        input=TensorInfo("image", (1, 16, 16, 3), "int8", 2 / 255, -1),
        output=TensorInfo("scores", (1, 3), "int8", 1 / 256, -128),
        ops={"CONV_2D": 2},
        weight_types={"CONV_2D int8": 2},
        model_bytes=model.stat().st_size,
        float_bytes=6000,
        sha256=sha256(model),
        source=Source("tiny.keras", "keras", "0" * 64, 100, 500),
        calibration=None,
        judged=Sample("cells", True, 0, ()),
        gate=Gate("accuracy", 1.5, passed, (check,)),
        tools={"numpy": "2"},
    )


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    out = tmp_path / "tiny-int8"
    out.mkdir()
    (out / "model.tflite").write_bytes((models / "tiny-int8.tflite").read_bytes())
    manifest = manifest_of(out / "model.tflite")
    (out / "manifest.json").write_text(manifest_json(manifest), encoding="utf-8")
    return out


def edit(folder: Path, change: Change) -> None:
    file = folder / "manifest.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_an_artifact_says_all_there_is_to_know(folder: Path) -> None:
    artifact = read_artifact(folder)
    assert artifact.manifest == manifest_of(artifact.model)
    assert artifact.model == folder / "model.tflite"
    model = load_model(folder)
    assert (model.name, model.labels, model.notes) == ("tiny-int8", artifact.manifest.labels, ())
    with Classifier(model, backend="fake") as classifier:
        prediction = classifier.classify(np.zeros((20, 30, 3), np.uint8))
    assert prediction.label in model.labels
    assert len(prediction.top(5)) == 3


def test_the_manifest_is_kept_as_readable_json(folder: Path) -> None:
    manifest = read_artifact(folder).manifest
    text = manifest_json(manifest)
    assert json.loads(text) == to_plain(manifest)
    assert text.endswith("}\n")


def test_attempts_of_before_their_bytes_were_noted_are_readable(folder: Path) -> None:
    edit(folder, lambda d: d.update(attempts=[{"method": "min-max", "drop": 1, "passed": True}]))
    assert read_artifact(folder).manifest.attempts == (Attempt("min-max", 1.0, True),)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: d["gate"]["checks"][0].update(score=1), r"gate\.checks\[0\]: unknown key"),
        (lambda d: d.pop("labels"), "missing key 'labels'"),
        (lambda d: d.update(format=2), "format 2 is not 1; convert the model again"),
        (lambda d: d.update(format="1"), "format '1' is not 1"),
        (lambda d: d.pop("format"), "format None is not 1"),
        (lambda d: d.update(format=True), "format"),
        (lambda d: d.update(format=1.0), "format"),
        (lambda d: d.update(labels=[1, 2, 3]), r"labels\[0\]: 1 must be of type str"),
        (lambda d: d["preprocess"].update(height=0), r"manifest\.json\.preprocess: .*0x16"),
        (lambda d: d["preprocess"].update(std=[1, 1, 0]), r"manifest\.json\.preprocess: .*std"),
        (lambda d: d["gate"].update(max_drop=float("nan")), "max_drop.*finite"),
        (lambda d: d.update(sha256="0" * 64), "is not the model .* sha256 .* expected 0000"),
    ],
)
def test_a_manifest_that_is_wrong_is_an_artifact_error(
    folder: Path, change: Change, says: str
) -> None:
    edit(folder, change)
    with pytest.raises(ArtifactError, match=says) as e:
        read_artifact(folder)
    assert str(folder) in str(e.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "1", '"x"', "\ufeff{}", "\xff"])
def test_a_manifest_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode("latin-1" if text == "\xff" else "utf-8"))
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        read_artifact(folder)


def test_files_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        read_artifact(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"empty is no artifact: it has no manifest\.json"):
        read_artifact(tmp_path / "empty")
    (folder / "model.tflite").unlink()
    with pytest.raises(ArtifactError, match=r"model\.tflite cannot be read: No such file"):
        read_artifact(folder)


def test_a_model_of_one_changed_byte_is_another_model(folder: Path) -> None:
    raw = bytearray((folder / "model.tflite").read_bytes())
    raw[-1] ^= 1
    (folder / "model.tflite").write_bytes(raw)
    with pytest.raises(ArtifactError, match="changed or damaged"):
        read_artifact(folder)


@pytest.mark.parametrize("shape", [[1, 4], [], [2]])
def test_labels_that_do_not_fit_the_output(folder: Path, shape: list[int]) -> None:
    edit(folder, lambda d: d["output"].update(shape=shape))
    with pytest.raises(DataError, match="3 labels for"):
        load_model(folder)


def test_a_rejected_artifact_says_so(folder: Path) -> None:
    edit(folder, lambda d: d["gate"].update(passed=False))
    assert "did not pass the gate" in load_model(folder).notes[0]


def test_an_artifact_takes_no_options(folder: Path, tmp_path: Path) -> None:
    for given in ({"options": PreprocessOptions(fit="crop")}, {"labels": tmp_path / "l.txt"}):
        with pytest.raises(UsageError, match="is an artifact: its manifest has the labels"):
            load_model(folder, **given)  # type: ignore[arg-type]
