"""The published MobileNets of the development data: agreement with float on unseen images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.shared, pytest.mark.slow]


@pytest.mark.parametrize(
    ("model", "normalise", "agreement", "size"),
    [
        ("mobilenet_v1_1.0_224_imagenet", "tf", 93.0, 4_700_000),
        ("mobilenet_v2_1.0_224_torchvision", "torch", 91.0, 4_700_000),
    ],
)
def test_int8_agrees_with_float(
    shared: Path, tmp_path: Path, edge_sdk, model: str, normalise: str, agreement: float, size: int
) -> None:
    done = edge_sdk(
        "convert", shared / "data/weights" / f"{model}.keras", "--to", "int8",
        "--data", shared / "data/imagenet", "--out", tmp_path, "--normalise", normalise,
        "--fit", "crop", "--crop-fraction", 0.875, "--calibration", 125, "--samples", 125, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    artifact = json.loads(done.stdout)["artifacts"][0]
    assert artifact["gate"]["measure"] == "estimated-accuracy"
    assert artifact["gate"]["checks"][0]["agreement"] >= agreement
    assert artifact["model_bytes"] <= size
