from pathlib import Path

import pytest

from edge_sdk import report
from edge_sdk.benchmark.estimate import NoEvidenceError
from edge_sdk.benchmark.run import benchmark
from edge_sdk.profiles import load_profile
from edge_sdk.runtime import load_model


def test_a_profile_without_evidence_does_not_stop_the_others(models: Path) -> None:
    model = load_model(models / "tiny-int8.tflite")
    known, unknown = load_profile("rpi4"), load_profile("hikey960-armnn")
    made = benchmark(model, [unknown, known], timer=None)
    assert [e.profile for e in made.estimates] == ["rpi4"]
    assert [m.profile for m in made.missing] == ["hikey960-armnn"]
    assert "no evidence for int8 models on profile hikey960-armnn" in made.missing[0].reason
    assert "hikey960-armnn: no evidence" in report.benchmark_table([made])
    assert made.missing[0].reason in " ".join(" ".join(report.benchmark_notes([made])).split())
    with pytest.raises(NoEvidenceError, match="no evidence for int8"):
        benchmark(model, [unknown], timer=None)
