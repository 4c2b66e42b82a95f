"""Drawn cells: the same everywhere, black outside the mask, labelled as simulated."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_sdk.dataset import read_dataset
from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.simulate import KINDS, SimulatedCell, draw_cell, draw_cells, write_cells

INFECTED = [k for k in KINDS if k != "uninfected"]


def near_parasites(cell: SimulatedCell) -> npt.NDArray[np.bool_]:
    """Pixels of the cell within a parasite's radius, bool (H, W)."""
    y, x = np.mgrid[: cell.mask.shape[0], : cell.mask.shape[1]] + 0.5
    near = np.zeros(cell.mask.shape, bool)
    for px, py, radius in cell.parasites:
        near |= np.hypot(x - px, y - py) < 1.25 * radius
    return near & cell.mask


def contrast(pixels: npt.NDArray[np.uint8]) -> float:
    """How much darker in green the darkest half per cent is than the median."""
    green = pixels[:, 1].astype(float)
    return float(np.median(green) - np.percentile(green, 0.5))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**70), st.integers(0, 500))
def test_a_cell_is_black_outside_its_mask_only_and_its_box_is_tight(
    kind: str, seed: int, patient: int
) -> None:
    cell = draw_cell(kind, seed, patient)
    assert cell.pixels.dtype == np.uint8
    assert cell.mask.dtype == np.bool_
    assert cell.pixels.shape == (*cell.mask.shape, 3)
    assert (cell.pixels[~cell.mask] == 0).all()
    assert (cell.pixels[cell.mask].max(axis=1) > 30).all()
    assert cell.mask[0].any()
    assert cell.mask[-1].any()
    assert cell.mask[:, 0].any()
    assert cell.mask[:, -1].any()
    assert min(cell.mask.shape) >= 60
    assert max(cell.mask.shape) <= 260
    assert (cell.kind, cell.patient) == (kind, patient)
    assert bool(cell.parasites) == (kind != "uninfected")
    for x, y, radius in cell.parasites:
        assert cell.mask[int(y), int(x)]
        assert 1 / 7 < 2 * radius / np.sqrt(cell.mask.sum() * 4 / np.pi) < 3 / 4


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**64), st.integers(0, 99))
def test_equal_arguments_give_equal_bytes_and_others_do_not(
    kind: str, seed: int, patient: int
) -> None:
    first = draw_cell(kind, seed, patient)
    again = draw_cell(kind, seed, patient)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.parasites == again.parasites
    others = [draw_cell(kind, seed + 1, patient), draw_cell(kind, seed, patient + 1)]
    others += [draw_cell(k, seed, patient) for k in KINDS if k != kind]
    for other in others:
        assert other.pixels.tobytes() != first.pixels.tobytes()


def test_the_pixels_are_those_of_every_machine() -> None:
    # A changed figure in the drawing changes these on purpose; another machine must not.
    digest = hashlib.sha256()
    for cell in draw_cells(12, seed=7):
        digest.update(cell.pixels.tobytes())
    assert digest.hexdigest()[:16] == "405c39e1a896ace8"


def test_sizes_follow_the_real_crops() -> None:
    heights = [c.mask.shape[0] for c in draw_cells(120, seed=3, patients=30)]
    assert 120 <= np.median(heights) <= 140
    assert 95 <= np.percentile(heights, 5) <= 118
    assert 145 <= np.percentile(heights, 95) <= 180


def test_patients_differ_in_stain_and_a_patient_is_like_itself() -> None:
    cells = [draw_cell("uninfected", seed, patient) for patient in range(12) for seed in range(4)]
    colours = np.array([np.median(c.pixels[c.mask], axis=0) for c in cells]).reshape(12, 4, 3)
    within = colours.std(axis=1).mean(axis=0)
    between = colours.mean(axis=1).std(axis=0)
    assert (between > 2 * within).all()
    assert (between > 8).all()


@pytest.mark.parametrize("kind", INFECTED)
def test_a_parasite_is_darker_and_more_purple_than_its_cell(kind: str) -> None:
    darker, redder = [], []
    for seed in range(20):
        cell = draw_cell(kind, seed, patient=seed)
        near = near_parasites(cell)
        spot = cell.pixels[near].astype(float)
        dark = spot[spot[:, 1] <= np.percentile(spot[:, 1], 8)].mean(axis=0)
        rest = np.median(cell.pixels[cell.mask & ~near].astype(float), axis=0)
        drop = rest - dark
        darker.append(drop[1])
        redder.append(drop[1] - max(drop[0], drop[2]))  # purple: green is what is missing
    assert np.median(darker) > 40
    assert min(darker) > 12
    assert np.median(redder) > 25


def test_kinds_differ_in_contrast_and_in_the_parasites_size() -> None:
    cells = {k: [draw_cell(k, s, s) for s in range(20)] for k in KINDS}
    spread = {k: np.median([contrast(c.pixels[c.mask]) for c in v]) for k, v in cells.items()}
    assert spread["uninfected"] * 2 < min(spread[k] for k in INFECTED)
    radius = {k: np.median([c.parasites[0][2] for c in cells[k]]) for k in INFECTED}
    assert radius["trophozoite"] > 1.3 * radius["ring"]


def test_draw_cells_keeps_the_share_and_mixes_kinds_and_patients() -> None:
    cells = list(draw_cells(60, seed=2, patients=4, infected=0.25))
    assert sum(c.kind != "uninfected" for c in cells) == 15
    assert {c.kind for c in cells} == set(KINDS)
    assert {c.patient for c in cells} == {0, 1, 2, 3}
    again = [c.pixels.tobytes() for c in draw_cells(5, seed=2, patients=4, infected=0.25)]
    assert again == [c.pixels.tobytes() for c in cells[:5]]


@pytest.mark.parametrize(("infected", "expected"), [(0.0, 0), (1.0, 6)])
def test_all_or_none_infected(infected: float, expected: int) -> None:
    cells = draw_cells(6, seed=1, infected=infected)
    assert sum(c.kind != "uninfected" for c in cells) == expected


def test_an_unknown_kind_is_named_with_its_near_miss() -> None:
    with pytest.raises(UsageError, match=r"unknown kind 'rings'.*Did you mean ring.*trophozoite"):
        draw_cell("rings", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0, "seed": 1}, "count 0 must be at least 1"),
        ({"count": 1, "seed": -1}, "seed -1 must be at least 0"),
        ({"count": 1, "seed": 1, "patients": 0}, "patients 0 must be at least 1"),
        ({"count": 1, "seed": 1, "infected": 1.5}, "infected 1.5 must be from 0 to 1"),
        ({"count": 1, "seed": 1, "infected": float("nan")}, "infected nan must be from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(draw_cells(**arguments))


def test_a_patient_below_zero_is_named() -> None:
    with pytest.raises(UsageError, match="patient -2 must be at least 0"):
        draw_cell("ring", 0, -2)


def test_written_cells_are_read_back_and_say_that_they_are_simulated(tmp_path: Path) -> None:
    out = tmp_path / "cells"
    assert write_cells(out, 12, seed=5, patients=3) == out
    data = read_dataset(out)
    assert data.labels == ("Parasitized", "Uninfected")
    assert len(data) == 12
    assert sorted(i.label or "" for i in data.items) == ["Parasitized"] * 6 + ["Uninfected"] * 6
    drawn = {c.pixels.tobytes(): c for c in draw_cells(12, seed=5, patients=3)}
    for item in data.items:
        assert item.path.name.startswith("simulated_")
        assert item.path.parent.name == item.label
        with Image.open(item.path) as image:
            assert image.info["Source"] == "simulated by edge-sdk, seed 5"
            cell = drawn.pop(np.asarray(image).tobytes())
        assert item.group == f"simulated-patient-{cell.patient:02d}"
        assert (item.label == "Uninfected") == (cell.kind == "uninfected")
    note = (out / "SIMULATED.txt").read_text(encoding="utf-8")
    assert "simulated" in note
    assert "not photographs" in note
    assert "seed 5" in note
    assert (out / "index.csv").read_text(encoding="utf-8").startswith("file,label,group\n")
    assert list(tmp_path.iterdir()) == [out]


def test_an_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=str(tmp_path)):
        write_cells(tmp_path, 2, seed=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Image.Image.save
    saved: list[Path] = []

    def save(self: Image.Image, path: Path, **options: Any) -> None:
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        saved.append(path)
        real(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(EdgeError, match="No space left"):
        write_cells(tmp_path / "cells", 8, seed=1)
    assert len(saved) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_number_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="count 0"):
        write_cells(tmp_path / "cells", 0, seed=1)
    assert list(tmp_path.iterdir()) == []
