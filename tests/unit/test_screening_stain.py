"""A model's range of colours on its way into a session, and to its gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from screening_records import rule
from screening_sessions import settings
from test_artifact import manifest_of

from edge_sdk.artifact import Artifact, manifest_json, read_artifact
from edge_sdk.dataset import read_dataset
from edge_sdk.errors import DataError
from edge_sdk.evaluate.stain import measure_stain
from edge_sdk.progress import silent
from edge_sdk.screening import store as store_module
from edge_sdk.screening.make_session import NewSession, new_session
from edge_sdk.screening.store import Store, create
from edge_sdk.screening.thresholds import store_rule
from edge_sdk.simulate import write_cells
from edge_sdk.stain_range import StainRange
from edge_sdk.strict import to_plain

STAIN = StainRange((50.0, 0.0, -20.0), (75.0, 40.0, 15.0), "cells (train part)", False, 9, 300)


@pytest.fixture
def artifact(models: Path, tmp_path: Path) -> Artifact:
    out = tmp_path / "tiny-int8"
    out.mkdir()
    (out / "model.tflite").write_bytes((models / "tiny-int8.tflite").read_bytes())
    m = replace(manifest_of(out / "model.tflite"), labels=("blank", "infected", "smear"))
    (out / "manifest.json").write_text(manifest_json(m), encoding="utf-8")
    store_rule(out, rule(), STAIN)
    return read_artifact(out)


def test_the_manifest_keeps_it_and_an_older_one_has_none(artifact: Artifact) -> None:
    assert artifact.manifest.stain == STAIN
    file = artifact.path / "manifest.json"
    data = json.loads(file.read_text())
    del data["stain"]
    file.write_text(json.dumps(data))
    assert read_artifact(artifact.path).manifest.stain is None


def test_a_session_has_the_range_of_its_model(artifact: Artifact, tmp_path: Path) -> None:
    new = NewSession(artifact, "op-1", "scope", "folder", {"path": str(tmp_path)})
    with Store(new_session(tmp_path / "sessions", new), write=False) as store:
        assert store.settings.stain == STAIN


def test_a_session_that_was_made_before_ranges_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(value: Any) -> Any:
        found = to_plain(value)
        if isinstance(found, dict):
            found.pop("stain", None)
        return found

    monkeypatch.setattr(store_module, "to_plain", older)
    create(tmp_path / "session", settings())
    monkeypatch.undo()
    with Store(tmp_path / "session", write=False) as store:
        assert store.settings.stain is None
        assert store.problems() == ()


def test_cells_on_black_give_a_range_and_uncut_ones_none(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    drawn = read_dataset(write_cells(tmp_path / "drawn", 60, seed=1, patients=5))
    found = measure_stain(drawn, silent)
    assert found is not None
    assert (found.groups, found.cells, found.simulated) == (5, 60, True)
    assert found.low[0] > 20  # of the cells: black has 0
    for item in drawn.items:
        pixels = np.asarray(Image.open(item.path).convert("RGB")).copy()
        pixels[pixels.max(axis=2) == 0] = (235, 235, 230)
        Image.fromarray(pixels).save(item.path)
    assert measure_stain(drawn, silent) is None


def test_what_a_lossy_file_leaves_of_black_is_no_colour(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    drawn = read_dataset(write_cells(tmp_path / "drawn", 60, seed=1, patients=5))
    clean = measure_stain(drawn, silent)
    for item in drawn.items:
        pixels = np.asarray(Image.open(item.path).convert("RGB")).copy()
        black = pixels.max(axis=2) == 0
        black[::2] = False
        pixels[black] = (3, 1, 2)
        Image.fromarray(pixels).save(item.path)
    assert clean is not None
    assert measure_stain(drawn, silent) == clean


def test_too_few_patients_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    drawn = read_dataset(write_cells(tmp_path / "drawn", 20, seed=1, patients=2))
    with pytest.raises(DataError, match="at least"):
        measure_stain(drawn, silent)
