from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.convert.sampling import CALIBRATION, JUDGED, choose, load, record
from edge_sdk.dataset import Dataset, Item, read_dataset
from edge_sdk.errors import DataError
from edge_sdk.files import sha256
from edge_sdk.preprocess import Preprocess
from edge_sdk.progress import silent

Make = Callable[..., Path]
SPEC = Preprocess(6, 5)


def dataset(count: int, group_size: int = 0) -> Dataset:
    root = Path("data")
    items = tuple(
        Item(root / f"{i:04}.png", "ab"[i % 2], f"g{i // group_size}" if group_size else None)
        for i in range(count)
    )
    return Dataset(root, items, ("a", "b"))


def test_the_defaults_and_half_of_a_small_folder() -> None:
    for count, sizes in ((2000, (CALIBRATION, JUDGED)), (100, (50, 50)), (2, (1, 1))):
        calibration, judged = choose(dataset(count), None, None, 0)
        assert (len(calibration), len(judged)) == sizes


def test_a_count_asked_for_comes_before_a_default() -> None:
    for asked, sizes in (((80, None), (80, 20)), ((None, 70), (30, 70)), ((99, 1), (99, 1))):
        calibration, judged = choose(dataset(100), *asked, 0)
        assert (len(calibration), len(judged)) == sizes


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 300), st.integers(0, 20), st.none() | st.integers(1, 60),
    st.none() | st.integers(1, 60), st.integers(0, 9),
)  # fmt: skip
def test_no_image_and_no_group_is_on_both_sides(
    count: int, group_size: int, calibration: int | None, judged: int | None, seed: int
) -> None:
    data = dataset(count, group_size)
    try:
        left, right = choose(data, calibration, judged, seed)
    except DataError as e:
        assert "cannot be split" in str(e) or "leaves" in str(e)  # noqa: PT017
        return
    assert not set(left) & set(right)
    if group_size:
        assert not {i.group for i in left} & {i.group for i in right}
    assert calibration in (None, len(left))
    assert judged in (None, len(right))
    assert (left, right) == choose(data, calibration, judged, seed)


@pytest.mark.parametrize(
    ("calibration", "judged", "option"),
    [(100, None, "--calibration 100"), (None, 100, "--samples 100"), (60, 60, "--calibration 60")],
)
def test_fewer_images_than_asked_for(
    calibration: int | None, judged: int | None, option: str
) -> None:
    with pytest.raises(DataError, match=rf"{option}: of its 100 images data leaves"):
        choose(dataset(100), calibration, judged, 0)


@pytest.mark.parametrize(("count", "group_size"), [(1, 0), (5, 10)])
def test_one_image_or_one_group_cannot_be_split(count: int, group_size: int) -> None:
    with pytest.raises(DataError, match="two different groups, are needed"):
        choose(dataset(count, group_size), None, None, 0)


def test_images_are_fitted_in_order(make_images: Make) -> None:
    data = read_dataset(make_images([f"{i}.png" for i in range(3)]))
    loaded = load(data.items, SPEC, "read", silent)
    assert loaded.pixels.shape == (3, 6, 5, 3)
    assert loaded.pixels.dtype == np.uint8
    assert (loaded.items, loaded.unreadable) == (data.items, ())
    again = load(data.items[::-1], SPEC, "read", silent)
    assert np.array_equal(again.pixels[::-1], loaded.pixels)


def test_a_tenth_may_be_unreadable_and_is_named(make_images: Make) -> None:
    files = {f"{i}.png": "broken" if i == 4 else "good" for i in range(10)}
    data = read_dataset(make_images(files))
    loaded = load(data.items, SPEC, "read", silent)
    assert [p.name for p in loaded.unreadable] == ["4.png"]
    assert len(loaded.items) == len(loaded.pixels) == 9


@pytest.mark.parametrize("broken", [2, 10])
def test_more_than_a_tenth_unreadable_is_an_error(make_images: Make, broken: int) -> None:
    files = {f"{i}.png": "broken" if i < broken else "good" for i in range(10)}
    data = read_dataset(make_images(files))
    with pytest.raises(DataError, match=rf"{broken} of 10 images .*0\.png"):
        load(data.items, SPEC, "read", silent)


def test_progress_is_told(make_images: Make) -> None:
    calls: list[tuple[str, int, int]] = []
    data = read_dataset(make_images(["a.png", "b.png"]))
    load(data.items, SPEC, "read", lambda *a: calls.append(a))
    assert calls == [("read", 0, 2), ("read", 1, 2), ("read", 2, 2)]


def test_a_record_names_what_was_drawn(make_images: Make) -> None:
    folder = make_images(["x/a.png", "x/b.png"])
    (folder / "index.csv").write_text("file,patient\nx/a.png,p1\nx/b.png,p2\n")
    data = read_dataset(folder)
    sample = record(data, data.items[:1], 7)
    assert (sample.data, sample.simulated, sample.seed) == ("images", False, 7)
    (image,) = sample.images
    assert (image.file, image.group) == ("x/a.png", "p1")
    assert image.sha256 == sha256(folder / "x" / "a.png")
    (folder / "SIMULATED.txt").write_text("drawn")
    assert record(data, (), 0).simulated


def test_a_split_keeps_its_test_part_out(tmp_path: Path) -> None:
    data = dataset(60, group_size=10)
    parts = ("train", "train", "validation", "test", "test", "test")
    split = tmp_path / "split.csv"
    rows = [f"{data.name_of(item)},{parts[i // 10]}" for i, item in enumerate(data.items)]
    split.write_text("\n".join(["file,part", *rows]))
    calibration, judged = choose(data, None, None, 0, split)
    assert calibration == data.items[:20]
    assert judged == data.items[20:30]
    calibration, judged = choose(data, 5, 7, 0, split)
    assert (len(calibration), len(judged)) == (5, 7)
    assert set(calibration) < set(data.items[:20])
    assert set(judged) < set(data.items[20:30])
    with pytest.raises(DataError, match="--samples 11: of its 60 images data leaves 10"):
        choose(data, None, 11, 0, split)
    with pytest.raises(DataError, match="no image of data is in the part validation"):
        choose(data.subset(data.items[:20]), None, None, 0, split)


def test_a_record_names_the_part(make_images: Make) -> None:
    data = read_dataset(make_images(["0.png"]))
    assert record(data, data.items, 0).data == "images"
    assert record(replace(data, part="train"), data.items, 0).data == "images (train part)"
