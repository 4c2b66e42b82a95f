from __future__ import annotations

import html as html_module
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_artifact import manifest_of

from edge_sdk import cli
from edge_sdk.artifact import Decision, manifest_json, read_artifact
from edge_sdk.errors import ArtifactError, DataError, EdgeError, UsageError
from edge_sdk.evaluate import run as run_module
from edge_sdk.evaluate.html import page
from edge_sdk.evaluate.results import Comparison
from edge_sdk.evaluate.run import EvaluateRequest, evaluate
from edge_sdk.evaluate.text import all_rows, comparison_text, short_names
from edge_sdk.files import sha256
from edge_sdk.runtime import Classifier, Model, Prediction
from edge_sdk.strict import to_plain

Make = Callable[..., Path]
LABELS = ("blank", "ring", "smear")


@pytest.fixture
def data(make_images: Make) -> Path:
    return make_indexed(make_images, "judged", "p")


def make_indexed(make_images: Make, name: str, group: str, start: int = 0) -> Path:
    """36 images of 6 groups; `start` makes other pictures of them."""
    spare = {f"spare{i}.png": "good" for i in range(start)}
    files = {f"{i:02}.png": "good" for i in range(36)}
    folder = make_images({**spare, **files}, name)
    rows = [f"{f},{LABELS[i % 3]},{group}{i // 6},slide{i // 18}" for i, f in enumerate(files)]
    (folder / "index.csv").write_text("\n".join(["file,label,group,slide", *rows]))
    return folder


@pytest.fixture
def artifact(models: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-int8"
    folder.mkdir()
    shutil.copyfile(models / "tiny-int8.tflite", folder / "model.tflite")
    (folder / "manifest.json").write_text(manifest_json(manifest_of(folder / "model.tflite")))
    return folder


def run(*models: Path, data: Path, **options: Any) -> Comparison:
    return evaluate(EvaluateRequest(models, data, backend="fake", **options))


def test_models_side_by_side(models: Path, artifact: Path, data: Path) -> None:
    c = run(artifact, models / "tiny-float32.tflite", data=data)
    assert [e.model for e in c.models] == ["tiny-int8", "tiny-float32"]
    assert (c.data.images, c.data.groups, c.data.counts) == (36, 6, dict.fromkeys(LABELS, 12))
    assert "whole groups (6)" in c.interval_method
    first, second = c.models
    assert first.mcnemar is None
    assert second.mcnemar is not None
    diagonal = sum(first.confusion[i][i] for i in range(3))
    assert first.figures["accuracy"].value == pytest.approx(diagonal / 36)
    assert first.worst is not None
    assert first.runtime == "fake"
    text = comparison_text(c)
    assert "simulated" not in text
    assert "measured  " in text


def test_a_class_without_images_and_images_without_groups_are_said(
    models: Path, make_images: Make
) -> None:
    judged = make_images([f"{label}/{i}.png" for label in LABELS[:2] for i in range(6)], "two")
    with pytest.raises(UsageError, match="--positive ring: only for two classes"):
        run(models / "tiny-int8.tflite", data=judged, positive="ring")
    c = run(models / "tiny-int8.tflite", data=judged)
    assert (c.positive, c.models[0].roc) == (None, ())
    assert any("no image of 1 of 3 classes" in n for n in c.notes)
    assert any("no groups" in n for n in c.notes)
    assert "images: no groups known" in c.interval_method


def test_two_classes_have_curves_and_a_threshold(
    models: Path, make_images: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Two(Classifier):
        """Only the first two classes of the tiny model."""

        def __init__(self, model: Model, **options: Any) -> None:
            super().__init__(model, **options)
            self.model = replace(self.model, labels=LABELS[:2])

        def classify(self, frame: Any) -> Prediction:
            p = super().classify(frame)
            return replace(p, labels=LABELS[:2], probabilities=p.probabilities[:2])

    load = run_module.load_model
    monkeypatch.setattr(run_module, "Classifier", Two)
    monkeypatch.setattr(
        run_module, "load_model", lambda path: replace(load(path), labels=LABELS[:2])
    )
    files = [f"{label}/{i}.png" for label in LABELS[:2] for i in range(12)]
    judged = make_images(files, "judged")
    fitting = make_images([f"{label}/{i}.png" for label in LABELS[:2] for i in range(12, 30)], "f")
    for i, path in enumerate(sorted(fitting.rglob("*.png"))):
        Image.fromarray(np.full((9, 9, 3), i, np.uint8)).save(path)
    c = run(models / "tiny-int8.tflite", data=judged, calibrate=fitting, positive="ring")
    e = c.models[0]
    assert e.roc[0] == (0, 0)
    assert e.roc[-1] == (1, 1)
    assert e.decision is not None
    assert e.decision.positive == "ring"
    assert 0 <= (e.decision.threshold or -1) <= 1
    assert e.at_threshold["sensitivity"].value is not None
    made = page(c)
    for title in ("ROC", "Precision and recall", "Reliability after temperature scaling"):
        assert f"<figcaption>{title}</figcaption>" in made
    assert "looked for: ring" in made
    with pytest.raises(UsageError, match="--positive cat is not one of blank, ring"):
        run(models / "tiny-int8.tflite", data=judged, positive="cat")
    (judged / "index.csv").write_text("file,label\nring/0.png,ring\nring/1.png,ring\n")
    with pytest.raises(DataError, match="no image is labelled 'blank'"):
        run(models / "tiny-int8.tflite", data=judged)


def test_another_column_holds_the_groups(models: Path, data: Path) -> None:
    c = run(models / "tiny-int8.tflite", data=data, group="slide")
    assert (c.data.groups, c.data.group_word) == (2, "slide")
    with pytest.raises(DataError, match=r"--group bed: .* has the columns file, label, group"):
        run(models / "tiny-int8.tflite", data=data, group="bed")


def test_the_page_has_every_figure_and_loads_nothing(
    models: Path, artifact: Path, data: Path
) -> None:
    c = run(artifact, models / "tiny-float32.tflite", data=data)
    made = page(c)
    text = html_module.unescape(re.sub(r"<[^>]+>", "\n", made)).split("\n")
    for head, cells in all_rows(c):
        wanted = cells if " called " in head else [head.strip(), *cells]
        assert set(wanted) <= {t.strip() for t in text}, head
    assert not re.search(r"<script|https?://|src=|@import|url\((?!#)", made)
    assert made.count("<svg role") == made.count("<desc") == 1
    assert "Simulated" not in made


def test_simulated_images_are_called_so_everywhere(models: Path, data: Path) -> None:
    (data / "SIMULATED.txt").write_text("drawn")
    c = run(models / "tiny-int8.tflite", data=data)
    assert to_plain(c)["data"]["simulated"] is True
    assert "measured, simulated images" in comparison_text(c)
    made = page(c)
    titles = re.findall(r"<(?:title|h1|figcaption|caption)[^>]*>([^<]*)", made)
    assert [t for t in titles if "simulated" not in t and t != "tiny-int8"] == []
    assert "these figures say nothing about real ones" in made.lower()


def test_a_calibration_is_stored_and_used_again(
    artifact: Path, data: Path, make_images: Make
) -> None:
    other = make_indexed(make_images, "fitting", "q", start=40)
    c = run(artifact, data=data, calibrate=other, store=True)
    fitted = c.models[0].decision
    assert fitted is not None
    assert (fitted.data, fitted.images, fitted.groups) == ("fitting", 36, 6)
    assert (fitted.threshold, fitted.positive) == (None, None)
    assert read_artifact(artifact).manifest.decision == fitted
    again = run(artifact, data=data).models[0]
    assert (again.decision, again.decision_origin) == (fitted, "stored")
    assert again.ece_scaled == c.models[0].ece_scaled is not None


def test_nothing_is_stored_unless_asked_for(artifact: Path, data: Path, make_images: Make) -> None:
    before = sha256(artifact / "manifest.json")
    run(artifact, data=data, calibrate=make_indexed(make_images, "fitting", "q", start=40))
    assert sha256(artifact / "manifest.json") == before


def test_what_calibrates_may_not_judge(artifact: Path, data: Path, make_images: Make) -> None:
    before = sha256(artifact / "manifest.json")
    same_groups = make_indexed(make_images, "groups", "p", start=40)
    with pytest.raises(DataError, match="share 6 groups, the first is 'p0'"):
        run(artifact, data=data, calibrate=same_groups, store=True)
    same_images = make_indexed(make_images, "images", "q")
    with pytest.raises(DataError, match="is the same image as the judged"):
        run(artifact, data=data, calibrate=same_images, store=True)
    assert sha256(artifact / "manifest.json") == before


def test_labels_that_are_not_the_models(models: Path, make_images: Make) -> None:
    with pytest.raises(DataError, match=r"label 'cat' is not one of the model's: blank, ring"):
        run(models / "tiny-int8.tflite", data=make_images(["cat/1.png", "ring/1.png"], "a"))
    with pytest.raises(DataError, match="has no labels"):
        run(models / "tiny-int8.tflite", data=make_images(["1.png"], "b"))


def test_a_split_says_what_is_judged_and_what_calibrates(
    artifact: Path, data: Path, tmp_path: Path
) -> None:
    parts = ["train", "train", "validation", "validation", "test", "test"]  # of groups p0 to p5
    rows = [f"{i:02}.png,{parts[i // 6]}" for i in range(36)]
    split = tmp_path / "split.csv"
    split.write_text("\n".join(["file,part", *rows]))
    c = run(artifact, data=data, split_file=split)
    assert (c.data.images, c.data.groups) == (12, 2)
    assert c.data.name == "judged (test part)"
    c = run(artifact, data=data, split_file=split, calibrate=data)
    assert c.calibration is not None
    assert (c.calibration.images, c.data.images) == (12, 12)
    # The same again by folders of their own.
    cut = {}
    for part in ("validation", "test"):
        cut[part] = tmp_path / part
        shutil.copytree(data, cut[part])
        kept = (data / "index.csv").read_text().splitlines()[1:]
        kept = [r for i, r in enumerate(kept) if parts[i // 6] == part]
        (cut[part] / "index.csv").write_text("\n".join(["file,label,group,slide", *kept]))
    apart = run(artifact, data=cut["test"], calibrate=cut["validation"])
    assert apart.models[0].figures == c.models[0].figures
    decision, other = c.models[0].decision, apart.models[0].decision
    assert decision is not None
    assert decision.data == "judged (validation part)"
    assert other == replace(decision, data="validation")
    # Another folder is calibrated on as it is.
    assert run(artifact, data=data, split_file=split, calibrate=cut["validation"]).calibration
    split.write_text("\n".join(["file,part", *rows]).replace("01.png,train", "01.png,test"))
    with pytest.raises(DataError, match="1 groups straddle parts, the first is 'p0'"):
        run(artifact, data=data, split_file=split)
    with pytest.raises(DataError, match="2 groups straddle parts, the first is 'slide0'"):
        run(artifact, data=data, split_file=split, group="slide")


@pytest.mark.parametrize("options", [{}, {"calibrate": "data"}])
def test_storing_needs_a_calibration_and_a_manifest(
    models: Path, data: Path, options: dict[str, Any]
) -> None:
    given = dict.fromkeys(options, data)
    with pytest.raises(UsageError, match="--store"):
        run(models / "tiny-int8.tflite", data=data, store=True, **given)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": 0.0}, "temperature 0.0 must be above 0"),
        ({"threshold": None}, "belong together"),
        ({"threshold": 1.5}, "between 0 and 1"),
    ],
)
def test_a_decision_that_cannot_be(change: dict[str, Any], says: str) -> None:
    good = Decision(1.5, 0.4, "ring", "cells", False, 10, 2)
    with pytest.raises(ArtifactError, match=says):
        replace(good, **change)


def test_manifests_from_before_and_with_wrong_labels(artifact: Path) -> None:
    file = artifact / "manifest.json"
    plain = json.loads(file.read_text())
    del plain["decision"]
    file.write_text(json.dumps(plain))
    assert read_artifact(artifact).manifest.decision is None
    plain["decision"] = to_plain(Decision(1.5, 0.4, "cat", "cells", False, 10, 2))
    file.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match="'cat' is not one of"):
        read_artifact(artifact)


def test_the_command(artifact: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    args = ["evaluate", artifact, "--data", data, "--backend", "fake", "--html", out]
    result = CliRunner().invoke(cli.cli, [str(a) for a in [*args, "--json"]])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["models"][0]["figures"]["accuracy"]["low"] is not None
    assert out.read_text().startswith("<!doctype html>")
    result = CliRunner().invoke(cli.cli, [str(a) for a in args])
    assert "36 images of 'judged' of 6 groups" in result.stdout


def test_short_names() -> None:
    assert short_names(["net-96-int8", "net-96-int16"]) == ["int8", "int16"]
    assert short_names(["a", "b"]) == ["a", "b"]
    assert short_names(["net-int8"]) == ["net-int8"]
    assert issubclass(DataError, EdgeError)
