from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.dataset import (
    PARTS,
    Dataset,
    Item,
    read_dataset,
    read_part,
    read_split,
    refuse_twins,
)
from edge_sdk.errors import DataError, EdgeError
from edge_sdk.preprocess import Preprocess
from edge_sdk.progress import silent
from edge_sdk.train import parts
from edge_sdk.train.parts import (
    Images,
    check_classes,
    class_names,
    load_pixels,
    names_of,
    split_csv,
    split_items,
    truth_of,
)
from edge_sdk.train.settings import Split

Make = Callable[..., Path]
ROOT = Path("data")


def data_of(groups: list[str | None], labels: tuple[str, ...] = ("a", "b")) -> Dataset:
    items = [Item(ROOT / f"{i:03}.png", labels[i % len(labels)], g) for i, g in enumerate(groups)]
    return Dataset(ROOT, tuple(items), tuple(sorted(labels)))


def groups_in(items: tuple[Item, ...]) -> set[str]:
    return {i.group for i in items if i.group is not None}


some_groups = st.lists(
    st.one_of(st.none(), st.sampled_from([f"p{i}" for i in range(12)])), min_size=30, max_size=80
)


@given(
    some_groups, st.integers(0, 2**32 - 1), st.sampled_from([(60, 10, 30), (8, 1, 1), (1, 1, 0)])
)
def test_parts_share_no_group_and_cover_everything(
    groups: list[str | None], seed: int, shares: tuple[float, float, float]
) -> None:
    data = data_of(groups)
    try:
        found = split_items(data, Split(shares), seed)
    except DataError:
        assert len(set(groups) - {None}) + groups.count(None) < 20
        return
    assert list(found) == list(PARTS)
    assert sorted(i.path for p in found.values() for i in p) == [i.path for i in data.items]
    a, b, c = (groups_in(found[p]) for p in PARTS)
    assert len(a) + len(b) + len(c) == len(a | b | c)
    assert split_items(data, Split(shares), seed) == found


@settings(deadline=None)
@given(some_groups, st.integers(0, 1000), st.integers(2, 5))
def test_folds_partition_the_items(groups: list[str | None], seed: int, n: int) -> None:
    data = data_of([*groups, *(f"extra{i}" for i in range(20))])
    tests = []
    for k in range(1, n + 1):
        found = split_items(data, Split(fold=(k, n)), seed)
        a, b, c = (groups_in(found[p]) for p in PARTS)
        assert len(a) + len(b) + len(c) == len(a | b | c)
        assert sum(map(len, found.values())) == len(data)
        tests += found["test"]
    assert sorted(i.path for i in tests) == [i.path for i in data.items]


def test_ignoring_groups_deals_single_images() -> None:
    data = data_of(["same"] * 40)
    with pytest.raises(DataError, match="validation part is empty: 40 images of 1 groups"):
        split_items(data, Split(), 0)
    found = split_items(data, Split(ignore_groups=True), 0)
    assert [len(found[p]) for p in PARTS] == [24, 4, 12]
    assert "same" not in split_csv(data, found)


def test_no_test_part_may_be_asked_for() -> None:
    assert split_items(data_of([None] * 10), Split((9, 1, 0)), 0)["test"] == ()


NAMES = ["plain.png", 'quote"d, and comma.png', "newline\nname.png", "ümlaut ☃.png", " space.png"]


def test_a_split_comes_back_from_its_file(tmp_path: Path) -> None:
    items = tuple(Item(ROOT / n, "a", f'g"{i // 2},') for i, n in enumerate(sorted(NAMES)))
    data = Dataset(ROOT, items, ("a",))
    given_parts = dict(zip(PARTS, (items[:2], items[2:4], items[4:]), strict=True))
    text = split_csv(data, given_parts)
    assert {r["file"] for r in csv.DictReader(io.StringIO(text, newline=""))} == set(NAMES)
    file = tmp_path / "split.csv"
    file.write_text(text, encoding="utf-8", newline="")
    assert read_split(data, file) == given_parts
    assert split_items(data, Split(file=file), 5) == given_parts
    assert read_part(data, file, "validation").items == items[2:4]
    with pytest.raises(DataError, match="no image of data is in the part test"):
        read_part(data.subset(items[:4]), file, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,part\n000.png,train\n001.png,test\n", "1 groups straddle .* 'p' in test and train"),
        ("file,part\n000.png,train\n", "names no part for '001.png'"),
        ("file,part\n000.png,train\n001.png,dev\n", "line 3: part 'dev' is not one of train"),
        ("file,part\n000.png,train\n001.png\n", "line 3: part '' is not one of"),
        ("file,part\n000.png,train\n000.png,test\n", "line 3: '000.png' is in two parts"),
        ("name,part\n000.png,train\n", "expected the columns file and part"),
        ("", "expected the columns"),
        (b"file,part\n\xff\xfe,train\n", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_split_file_is_refused(
    text: str | bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "split.csv"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        split_items(data_of(["p", "p"]), Split(file=file), 0)


def test_a_straddling_split_may_be_used_without_groups(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text("file,part\n000.png,train\n001.png,validation\n")
    found = split_items(data_of(["p", "p"]), Split(file=file, ignore_groups=True), 0)
    assert [len(found[p]) for p in PARTS] == [1, 1, 0]


def test_twins_and_groups_in_both_are_refused(make_images: Make) -> None:
    judged = read_dataset(make_images(["0.png", "1.png"], "judged"))
    other = make_images(["2.png", "3.png", "4.png"], "other")
    (other / "2.png").unlink()  # pictures differ by their number: the first two are twins
    (other / "3.png").unlink()
    refuse_twins(read_dataset(other), judged, "no")
    twins = read_dataset(make_images(["0.png"], "twins"))
    with pytest.raises(DataError, match=r"twins/0.png is the same image as the judged .*: why not"):
        refuse_twins(twins, judged, "why not")


def test_there_must_be_classes_to_tell_apart() -> None:
    assert class_names(data_of([None] * 3), "softmax") == ("a", "b")
    with pytest.raises(DataError, match="has one class only, 'a'"):
        class_names(data_of([None], ("a",)), "softmax")
    unlabelled = Dataset(ROOT, (Item(ROOT / "x.png"),), ())
    for head in ("softmax", "sigmoid"):
        with pytest.raises(DataError, match="has no labels: give a folder per class"):
            class_names(unlabelled, head)  # type: ignore[arg-type]
    assert class_names(unlabelled, "embedding") == ()


def test_a_cell_may_name_several_classes_or_none() -> None:
    assert names_of(" ring ; gametocyte") == ["ring", "gametocyte"]
    assert names_of("-") == names_of(";") == []
    data = data_of([None] * 4, ("b;a", "-", "a", "c"))
    labels = class_names(data, "sigmoid")
    assert labels == ("a", "b", "c")
    truth = truth_of(data.items, labels, "sigmoid")
    assert truth.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(DataError, match="no image has a label: every cell is '-'"):
        class_names(data_of([None] * 2, ("-",)), "sigmoid")
    # For one class an image the same cell is one name.
    assert class_names(data, "softmax") == ("-", "a", "b;a", "c")


def test_every_class_must_be_in_every_part() -> None:
    both, one = np.eye(2, dtype=np.float32), np.array([[1, 0]], np.float32)
    none = np.zeros((0, 2), np.float32)
    check_classes({"train": both, "validation": both, "test": none}, ("a", "b"))
    with pytest.raises(DataError, match="the test part has no image of b"):
        check_classes({"train": both, "validation": both, "test": one}, ("a", "b"))
    with pytest.raises(DataError, match="no image of the validation part can be read"):
        check_classes({"train": both, "validation": none, "test": both}, ("a", "b"))


def test_an_image_without_a_group_is_its_own() -> None:
    data = data_of(["p", "p", None])
    rows = {"train": np.array([0, 2])}
    images = Images(data.items, ("a",), np.zeros(0, np.uint8), np.zeros(0, np.float32), rows, ())
    assert images.groups("train") == ["p", str(ROOT / "002.png")]


SPEC = Preprocess(8, 6)


def load(folder: Path, cache: Path, spec: Preprocess = SPEC) -> tuple[Any, tuple[int, ...]]:
    data = read_dataset(folder)
    return load_pixels(data.items, data.root, spec, cache, silent)


@pytest.fixture
def eleven(make_images: Make) -> Path:
    """Ten images and one that is none."""
    folder = make_images([f"{i:02}.png" for i in range(10)])
    (folder / "99.png").write_bytes(b"no image")
    return folder


def test_pixels_are_decoded_once(
    eleven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    pixels, bad = load(eleven, cache)
    assert (pixels.shape, pixels.dtype, bad) == ((11, 8, 6, 3), np.uint8, (10,))
    assert not pixels[10].any()
    assert pixels[:10].any(axis=(1, 2, 3)).all()
    assert sorted(p.suffix for p in cache.iterdir()) == [".json", ".npy"]
    monkeypatch.setattr(parts, "open_image", None)
    again, bad = load(eleven, cache)
    assert bad == (10,)
    np.testing.assert_array_equal(again, pixels)


def test_other_images_are_not_taken_from_the_cache(
    eleven: Path, tmp_path: Path, make_images: Make
) -> None:
    cache = tmp_path / "cache"
    first, _ = load(eleven, cache)
    wider, _ = load(eleven, cache, Preprocess(8, 7))
    assert wider.shape == (11, 8, 7, 3)
    os.utime(eleven / "99.png", ns=(1, 1))  # another file of the same name and size
    load(eleven, cache)
    assert len(list(cache.glob("*.npy"))) == 3
    # The same names, sizes and times in another folder.
    other = make_images([f"{i:02}.png" for i in range(10)], "other")
    (other / "99.png").write_bytes(b"an image")
    for path in eleven.iterdir():
        (other / path.name).write_bytes(bytes(path.stat().st_size))
        os.utime(other / path.name, ns=(1, 1))
        os.utime(path, ns=(1, 1))
    load(eleven, cache)
    with pytest.raises(DataError, match="11 of 11 images are unreadable"):
        load(other, cache)
    np.testing.assert_array_equal(load(eleven, cache)[0], first)


def test_too_many_unreadable_images_are_refused(eleven: Path, tmp_path: Path) -> None:
    (eleven / "98.png").write_bytes(b"")
    for _ in range(2):  # from the images, then from the cache
        with pytest.raises(DataError, match=r"2 of 12 images are unreadable .*98\.png"):
            load(eleven, tmp_path / "cache")


class FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() > 500:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_leaves_nothing_half_written(
    eleven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    plain = Path.open

    def full(path: Path, *args: Any, **options: Any) -> IO[Any]:
        return FullDisk() if path.suffix == ".npy" else plain(path, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(EdgeError, match=r"cannot write .*\.npy: No space left on device"):
        load(eleven, cache)
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    assert load(eleven, cache)[1] == (10,)


def test_a_cache_that_cannot_be_made_is_an_error(eleven: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match=r"cannot write .*file"):
        load(eleven, tmp_path / "file")
