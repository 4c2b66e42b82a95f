"""cost on a model that has to be converted first, and on what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_sdk.zoo import default_model

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def test_a_keras_file_costs_what_its_tflite_does(converted: Path, edge_sdk) -> None:
    artifact = next(p for p in converted.iterdir() if p.name.endswith("-float32"))
    found = []
    for model in (default_model(), artifact / "model.tflite", artifact):
        done = edge_sdk("cost", model, "--layers", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        found.append(json.loads(done.stdout))
    keras, bare, whole = found
    assert keras.pop("counted") == f"{default_model().name}, as the float .tflite it gives"
    assert bare.pop("counted") == "model.tflite"
    assert whole.pop("counted") == f"artifact {artifact.name}"
    assert keras == bare == whole
    assert keras["mult_adds"] > 10e6


def test_an_artifact_of_fewer_bits_costs_the_same_work(converted: Path, edge_sdk) -> None:
    found = {
        scheme: json.loads(edge_sdk("cost", next(converted.glob(f"*-{scheme}")), "--json").stdout)
        for scheme in ("float32", "int8", "w4a8")
    }
    assert len({f["mult_adds"] for f in found.values()}) == 1
    sizes = [found[s]["weight_bytes"] for s in ("float32", "int8", "w4a8")]
    assert sizes == sorted(sizes, reverse=True)
