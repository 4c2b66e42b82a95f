"""The models that a calibration times are the ones its features are computed for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.benchmark.estimate import family_of
from edge_sdk.benchmark.features import features
from edge_sdk.cost import cost_of_architecture, cost_of_graph
from edge_sdk.errors import UsageError
from edge_sdk.tflite_file import read_tflite

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("arch", ["mobilenet_v1", "mobilenet_v2"])
def test_what_is_built_costs_what_the_architecture_does(
    tmp_path: Path, arch: str, dtype: str
) -> None:
    from edge_sdk.convert.untrained import untrained_tflite

    path = tmp_path / "net.tflite"
    path.write_bytes(untrained_tflite(arch, 0.5, 96, dtype))
    built = cost_of_graph(read_tflite(path))
    known = cost_of_architecture(arch, 0.5, 96, 1001, dtype)
    assert family_of(built) == arch
    assert built.mult_adds == pytest.approx(known.mult_adds, rel=0.02)
    kind = "float" if dtype == "float32" else "int8"
    for a, b in zip(features(built, kind), features(known, kind), strict=True):
        assert a == pytest.approx(b, rel=0.10, abs=0.01)


def test_another_name_is_refused() -> None:
    from edge_sdk.convert.untrained import untrained_tflite

    with pytest.raises(UsageError, match="unknown architecture"):
        untrained_tflite("resnet", 1.0, 96, "int8")
    with pytest.raises(UsageError, match="unknown dtype"):
        untrained_tflite("mobilenet_v1", 1.0, 96, "int4")
