from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.classify import ClassifyRun, find_images, json_line, text_line
from edge_sdk.errors import BackendError, DataError, ModelError, UsageError
from edge_sdk.preprocess import Preprocess
from edge_sdk.runtime import Classifier, Model, Prediction, load_model
from edge_sdk.sidecar import PreprocessOptions

Make = Callable[..., Path]
PREDICTION = Prediction(("a", "b", "ç"), np.array([0.2, 0.5, 0.3], np.float32), 1.2345, 2.5)


@pytest.fixture
def classifier(models: Path) -> Classifier:
    return Classifier(models / "tiny-int8.tflite", backend="fake")


def test_files_folders_and_globs_in_the_order_given(make_images: Make) -> None:
    folder = make_images(["b.png", "a.png", "sub/c.png", "sub/d.JPG"])
    (folder / "notes.txt").write_text("x")
    (folder / "folder.png").mkdir()
    sources = [str(folder / "b.png"), str(folder / "sub"), str(folder / "*.png")]
    assert [p.name for p in find_images(sources)] == ["b.png", "c.png", "d.JPG", "a.png", "b.png"]
    assert [p.name for p in find_images([str(folder)])] == ["a.png", "b.png", "c.png", "d.JPG"]


def test_a_file_whose_name_is_a_pattern_is_that_file(make_images: Make) -> None:
    folder = make_images(["[ab].png", "a.png"])
    assert find_images([str(folder / "[ab].png")]) == [folder / "[ab].png"]


def test_a_source_with_nothing_is_named(make_images: Make) -> None:
    folder = make_images(["a.png"])
    (folder / "empty").mkdir()
    for source in ("none.png", "*.webp", "empty"):
        with pytest.raises(DataError, match="is no image, no folder with images and no glob"):
            find_images([str(folder / "a.png"), str(folder / source)])


def test_every_readable_image_gets_a_prediction(classifier: Classifier, make_images: Make) -> None:
    folder = make_images({f"{i:02}.png": "broken" if i == 3 else "good" for i in range(10)})
    run = ClassifyRun(classifier, [str(folder)])
    found = dict(run)
    assert [p.name for p in found] == [f"{i:02}.png" for i in range(10) if i != 3]
    assert {p.label for p in found.values()} <= {"blank", "ring", "smear"}
    assert run.summary().startswith("9 images in ")
    assert f"1 unreadable and skipped: {folder / '03.png'}" in run.summary()


def test_more_than_a_tenth_unreadable_is_an_error_after_the_others(
    classifier: Classifier, make_images: Make
) -> None:
    folder = make_images({f"{i}.png": "broken" if i < 2 else "good" for i in range(10)})
    done = []

    def go() -> None:
        done.extend(ClassifyRun(classifier, [str(folder)]))

    with pytest.raises(DataError, match=r"2 of 10 images are unreadable .*0\.png"):
        go()
    assert len(done) == 8


def test_a_line_of_json_is_json() -> None:
    data = json.loads(json_line(Path("x.png"), PREDICTION, 2, 0.0))
    assert data == {
        "file": "x.png",
        "labels": [{"label": "b", "probability": 0.5}, {"label": "ç", "probability": 0.3}],
        "invoke_ms": 1.234,
        "total_ms": 2.5,
    }
    assert json.loads(json_line(Path("x"), PREDICTION, 3, 0.6))["labels"] == []


def test_a_line_of_text() -> None:
    assert text_line(Path("x.png"), PREDICTION, 2, 0.0) == "x.png: b 0.500, ç 0.300"
    assert text_line(Path("x.png"), PREDICTION, 2, 0.4) == "x.png: b 0.500"
    assert text_line(Path("x.png"), PREDICTION, 1, 0.6) == "x.png: nothing at or above 0.6"


def test_the_best_come_first_and_no_more_than_there_are() -> None:
    assert [label for label, _ in PREDICTION.top(9)] == ["b", "ç", "a"]
    assert PREDICTION.label == "b"


def test_a_bare_model_says_what_it_knows(models: Path) -> None:
    named = load_model(models / "tiny-int8.tflite")
    assert (named.labels, named.notes) == (("blank", "ring", "smear"), ())
    assert named.preprocess == Preprocess(16, 16)
    assert named.activation == "softmax"
    bare = load_model(models / "tiny-uint8.tflite")
    assert bare.labels == ("class 0", "class 1", "class 2")
    assert "--labels" in bare.notes[0]
    # Raw pixels: the scale and zero point of the input say what they stand for.
    mean, std = np.array(bare.preprocess.mean), np.array(bare.preprocess.std)
    assert (-mean / std == pytest.approx(-1, abs=0.01)) is True
    assert ((255 - mean) / std == pytest.approx(1, abs=0.01)) is True


def test_labels_and_options_overrule_the_models_own(models: Path, tmp_path: Path) -> None:
    labels = tmp_path / "l.txt"
    labels.write_text("x\ny\nz\n")
    options = PreprocessOptions(normalise="unit", fit="pad")
    model = load_model(models / "tiny-int8.tflite", labels=labels, options=options)
    assert model.labels == ("x", "y", "z")
    assert (model.preprocess.fit, model.preprocess.std) == ("pad", (255.0,) * 3)
    labels.write_text("x\ny\n")
    with pytest.raises(DataError, match="2 labels for 3 outputs"):
        load_model(models / "tiny-int8.tflite", labels=labels)


def test_equal_frames_get_equal_answers_and_a_stream_is_lazy(classifier: Classifier) -> None:
    frames = [np.full((9, 9, 3), v, np.uint8) for v in (3, 200, 3)]
    asked = []

    def camera() -> object:
        for frame in frames:
            asked.append(1)
            yield frame

    stream = classifier.stream(camera())  # type: ignore[arg-type]
    first = next(stream)
    assert len(asked) == 1
    second, third = stream
    assert np.array_equal(first.probabilities, third.probabilities)
    assert not np.array_equal(first.probabilities, second.probabilities)
    assert first.total_ms >= first.invoke_ms >= 0


def test_logits_become_probabilities(models: Path) -> None:
    model = load_model(models / "tiny-float32.tflite")
    logits = Model(model.path, model.name, model.labels, model.preprocess, "logits")
    frame = np.full((16, 16, 3), 7, np.uint8)
    plain = Classifier(model, backend="fake").classify(frame).probabilities
    soft = Classifier(logits, backend="fake").classify(frame).probabilities
    assert soft.sum() == pytest.approx(1)
    assert soft == pytest.approx(np.exp(plain) / np.exp(plain).sum())


def test_wrong_models_frames_and_names(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist: give an artifact folder"):
        Classifier(tmp_path / "none.tflite", backend="fake")
    with pytest.raises(UsageError, match=r"unknown backend 'fkae'\. Did you mean fake"):
        Classifier(models / "tiny-int8.tflite", backend="fkae")
    with Classifier(models / "tiny-int8.tflite", backend="fake") as c:
        with pytest.raises(UsageError, match="frame: dtype float64"):
            c.classify(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
        with pytest.raises(BackendError, match="input has shape"):
            c.backend.invoke(np.zeros((1, 2, 2, 3), np.int8))
