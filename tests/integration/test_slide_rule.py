"""The slide rule of the embedded model, chosen as a user does."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_sdk.artifact import read_artifact
from edge_sdk.convert.default import default_artifacts
from edge_sdk.dataset import read_dataset
from edge_sdk.errors import DataError, UsageError
from edge_sdk.evaluate.slide_rule import make_rule
from edge_sdk.screening.slide import check_rule
from edge_sdk.simulate import write_cells
from edge_sdk.zoo import DEFAULT, default_model

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
    rule, stain = make_rule(artifact, drawn, file, "Parasitized")
    kept = read_artifact(artifact).manifest
    assert (kept.screening, kept.stain) == (rule, stain)
    assert rule.model_sha256 == kept.sha256
    assert stain is not None
    assert (stain.simulated, stain.groups) == (True, 8)  # the test part's patients are not in it
    assert rule.decision.groups == 8
    assert rule.decision.simulated
    assert rule.clear.slides == 8
    assert rule.flags >= 1
    assert rule.infected.flagged / rule.infected.counted > rule.clear.flagged / rule.clear.counted


@pytest.mark.shared
def test_the_record_of_the_embedded_model_is_what_is_measured_now(
    converted: Path, shared: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(converted / f"{DEFAULT}-float32", tmp_path / "float"))
    shipped = read_artifact(model).manifest
    parts = json.loads(default_model().with_name("patients.json").read_text())
    part_of = {patient: part for part, patients in parts.items() for patient in patients}
    file = split(shared / "data" / "nih-malaria", tmp_path / "nih.csv", lambda p: part_of[p])
    rule, stain = make_rule(model, shared / "data" / "nih-malaria", file, "Parasitized")
    assert shipped.stain == stain
    assert shipped.screening is not None
    assert shipped.screening.decision.threshold == pytest.approx(rule.decision.threshold, abs=1e-4)
    assert (
        replace(shipped.screening, decision=rule.decision, model_sha256=rule.model_sha256) == rule
    )


def test_only_the_measured_forms_of_the_embedded_model_have_its_rule(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = {a.manifest.scheme: a.manifest for a in default_artifacts()}
    assert set(made) == {"int8", "w4a8"}
    for m in made.values():
        assert m.screening is not None
        assert m.screening.model_sha256 == m.sha256, "measured on another computer's conversion?"
        assert m.stain is not None
        check_rule(m.screening)
    assert made["int8"].screening != made["w4a8"].screening
    # Calibrated on other cells, the same scheme has other scores.
    other = read_artifact(converted / f"{DEFAULT}-int8").manifest
    assert (other.screening, other.stain) == (None, made["int8"].stain)
    assert "int8: no slide rule" in (converted / f"{DEFAULT}-report.json").read_text()


def test_what_cannot_be_is_refused_and_nothing_is_stored(
    artifact: Path, drawn: Path, tmp_path: Path
) -> None:
    before = read_artifact(artifact).manifest.screening
    groups = sorted({i.group or "" for i in read_dataset(drawn).items})
    few = split(drawn, tmp_path / "few.csv", lambda g: "validation" if g in groups[:3] else "train")
    with pytest.raises(DataError, match="at least 5 are needed"):
        make_rule(artifact, drawn, few, "Parasitized")
    with pytest.raises(UsageError, match="--positive Infected"):
        make_rule(artifact, drawn, few, "Infected")
    with pytest.raises(UsageError, match="no artifact folder"):
        make_rule(artifact / "model.tflite", drawn, few, "Parasitized")
    assert read_artifact(artifact).manifest.screening == before
