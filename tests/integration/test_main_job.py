"""The three commands on the embedded default, as a user runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.artifact import read_artifact
from edge_sdk.dataset import open_image, read_dataset
from edge_sdk.model_metadata import read_metadata
from edge_sdk.runtime import Classifier
from edge_sdk.zoo import DEFAULT

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

MEDIAPIPE = """
import json, sys
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=1
)
with vision.ImageClassifier.create_from_options(options) as classifier:
    for name in sys.argv[2:]:
        top = classifier.classify(mp.Image.create_from_file(name)).classifications[0].categories[0]
        print("LABEL", json.dumps([top.category_name, top.score]))
"""


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8", "int16x8", "w4a8"])
def test_artifact_says_what_it_is(converted: Path, scheme: str) -> None:
    m = read_artifact(converted / f"{DEFAULT}-{scheme}").manifest
    assert m.scheme == scheme
    assert m.labels == ("Parasitized", "Uninfected")
    assert m.preprocess.fit == "pad"
    assert m.gate.passed
    assert all(c.passed and c.samples == len(m.judged.images) for c in m.gate.checks)
    assert m.judged.simulated
    assert read_metadata(converted / f"{DEFAULT}-{scheme}" / "model.tflite").labels == m.labels
    expected = {"int8": "int8", "w4a8": "int8", "int16x8": "int16"}.get(scheme, "float32")
    assert (m.input.dtype, m.output.dtype) == (expected, expected)


def test_weights_have_the_scheme_s_width(converted: Path) -> None:
    def types(scheme: str) -> dict[str, int]:
        return read_artifact(converted / f"{DEFAULT}-{scheme}").manifest.weight_types

    rest = {"DEPTHWISE_CONV_2D int8": 10, "FULLY_CONNECTED int8": 1}
    assert types("int8") == {"CONV_2D int8": 21, **rest}
    assert types("w4a8") == {"CONV_2D int4": 20, "CONV_2D int8": 1, **rest}


def test_calibration_and_judged_share_no_image_and_no_patient(converted: Path) -> None:
    m = read_artifact(converted / f"{DEFAULT}-int8").manifest
    assert m.calibration is not None
    calibration = {(i.sha256, i.group) for i in m.calibration.images}
    judged = {(i.sha256, i.group) for i in m.judged.images}
    assert {s for s, _ in calibration}.isdisjoint(s for s, _ in judged)
    assert {g for _, g in calibration}.isdisjoint(g for _, g in judged)


def test_every_pixel_value_has_its_own_input_step(converted: Path) -> None:
    with Classifier(converted / f"{DEFAULT}-int8") as classifier:
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        assert len(np.unique(classifier._encode(ramp))) == 256


def test_same_input_gives_the_same_file(
    converted: Path, cells: Path, tmp_path: Path, edge_sdk
) -> None:
    done = edge_sdk("convert", "--to", "int8", "--data", cells, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = (read_artifact(d / f"{DEFAULT}-int8").manifest for d in (converted, tmp_path))
    assert one.sha256 == two.sha256


def test_classify_prints_a_json_line_per_image(converted: Path, cells: Path, edge_sdk) -> None:
    done = edge_sdk("classify", converted / f"{DEFAULT}-int8", cells, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    truth = {str(i.path): i.label for i in read_dataset(cells).items}
    assert {line["file"] for line in lines} == set(truth)
    right = sum(line["labels"][0]["label"] == truth[line["file"]] for line in lines)
    # Simulated cells are easy; this guards against swapped labels or colours, not accuracy.
    assert right / len(lines) > 0.9
    assert "120 images" in done.stderr
    assert "litert" in done.stderr


def test_benchmark_never_mixes_measured_and_estimated(converted: Path, edge_sdk) -> None:
    models = [converted / f"{DEFAULT}-{s}" for s in ("int8", "w4a8")]
    profiles = ["--profile", "rpi4", "--profile", "RPi5"]
    done = edge_sdk("benchmark", *models, *profiles, "--runs", 20, "--json")
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout):
        assert row["measured"]["runs"] == 20
        assert row["measured"]["p50_ms"] <= row["measured"]["p99_ms"]
        assert [e["profile"] for e in row["estimates"]] == ["rpi4", "rpi5"]
        for e in row["estimates"]:
            assert e["label"] == "estimated"
            assert e["low_ms"] < e["latency_ms"] < e["high_ms"]
    table = edge_sdk("benchmark", models[0], *profiles, "--runs", 20).stdout
    assert table.count("measured") >= 1
    assert table.count("estimated") >= 2


def test_benchmark_without_a_model_converts_once_and_caches(tmp_path: Path, edge_sdk) -> None:
    import os

    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    first = edge_sdk("benchmark", "--runs", 5, "--json", env=env)
    assert first.returncode == 0, first.stderr
    assert [r["model"] for r in json.loads(first.stdout)] == [f"{DEFAULT}-int8", f"{DEFAULT}-w4a8"]
    assert "calibrate" in first.stderr
    again = edge_sdk("benchmark", "--runs", 5, "--json", env=env)
    assert "calibrate" not in again.stderr


@pytest.mark.mediapipe
@pytest.mark.parametrize("scheme", ["float32", "float16"])
def test_mediapipe_reads_labels_and_normalisation(
    cells: Path, tmp_path: Path, edge_sdk, scheme: str, mediapipe_python: str
) -> None:
    """MediaPipe's ImageClassifier takes float and uint8 inputs only, so the float schemes; and one
    mean and deviation for all channels, so another normalisation than the model's own."""
    options = ("--data", cells, "--out", tmp_path, "--normalise", "tf")
    assert edge_sdk("convert", "--to", scheme, *options).returncode == 0
    artifact = tmp_path / f"{DEFAULT}-{scheme}"
    images = [sorted((cells / label).iterdir())[0] for label in ("Parasitized", "Uninfected")]
    command = [mediapipe_python, "-c", MEDIAPIPE, artifact / "model.tflite", *images]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    lines = [x for x in done.stdout.splitlines() if x.startswith("LABEL ")]
    assert len(lines) == 2, done.stderr
    with Classifier(artifact) as classifier:
        for line, path in zip(lines, images, strict=True):
            label, score = json.loads(line.removeprefix("LABEL "))
            ours = classifier.classify(open_image(path))
            assert label == ours.label
            # It stretches where we pad, so the scores are near, not equal.
            assert score == pytest.approx(float(ours.probabilities.max()), abs=0.1)


@pytest.mark.tflite_runtime
def test_gate_judges_in_the_environment_named(
    cells: Path, tmp_path: Path, edge_sdk, tflite_runtime_python: str
) -> None:
    done = edge_sdk(
        "convert", "--to", "int8", "--to", "w4a8", "--data", cells, "--out", tmp_path,
        "--runtime-python", tflite_runtime_python,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for scheme in ("int8", "w4a8"):
        checks = read_artifact(tmp_path / f"{DEFAULT}-{scheme}").manifest.gate.checks
        assert [c.runtime for c in checks] == ["litert", "tflite-runtime"]


def test_damaged_artifact_is_refused(
    converted: Path, cells: Path, tmp_path: Path, edge_sdk
) -> None:
    copy = shutil.copytree(converted / f"{DEFAULT}-int8", tmp_path / "copy")
    raw = bytearray((copy / "model.tflite").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / "model.tflite").write_bytes(raw)
    done = edge_sdk("classify", copy, cells)
    assert done.returncode == 1
    assert "sha256" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
