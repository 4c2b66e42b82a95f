"""The slide rule of the embedded model, chosen as a user does."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_sdk.artifact import read_artifact
from edge_sdk.dataset import read_dataset
from edge_sdk.errors import DataError, UsageError
from edge_sdk.evaluate.slide_rule import make_rule
from edge_sdk.simulate import write_cells
from edge_sdk.zoo import DEFAULT

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture
def artifact(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted / f"{DEFAULT}-int8", tmp_path / "model"))


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "drawn", 240, seed=8, patients=12)


def split(drawn: Path, file: Path, part: Callable[[str], str]) -> Path:
    data = read_dataset(drawn)
    with file.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["file", "part"])
        writer.writerows([data.name_of(i), part(i.group or "")] for i in data.items)
    return file


def test_the_validation_part_chooses_and_the_manifest_keeps_it(
    artifact: Path, drawn: Path, tmp_path: Path
) -> None:
    groups = sorted({i.group or "" for i in read_dataset(drawn).items})
    parts = {g: "validation" if n < 8 else "test" for n, g in enumerate(groups)}
    file = split(drawn, tmp_path / "split.csv", lambda g: parts[g])
    rule = make_rule(artifact, drawn, file, "Parasitized")
    kept = read_artifact(artifact).manifest
    assert kept.screening == rule
    assert rule.decision.groups == 8
    assert rule.decision.simulated
    assert rule.clear.slides == 8
    assert rule.flags >= 1
    assert rule.infected.flagged / rule.infected.counted > rule.clear.flagged / rule.clear.counted


def test_what_cannot_be_is_refused_and_nothing_is_stored(
    artifact: Path, drawn: Path, tmp_path: Path
) -> None:
    groups = sorted({i.group or "" for i in read_dataset(drawn).items})
    few = split(drawn, tmp_path / "few.csv", lambda g: "validation" if g in groups[:3] else "train")
    with pytest.raises(DataError, match="at least 5 are needed"):
        make_rule(artifact, drawn, few, "Parasitized")
    with pytest.raises(UsageError, match="--positive Infected"):
        make_rule(artifact, drawn, few, "Infected")
    with pytest.raises(UsageError, match="no artifact folder"):
        make_rule(artifact / "model.tflite", drawn, few, "Parasitized")
    assert read_artifact(artifact).manifest.screening is None
