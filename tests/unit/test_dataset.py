from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_sdk.dataset import (
    Item,
    check_unreadable,
    draw,
    open_image,
    read_dataset,
    split_groups,
)
from edge_sdk.errors import DataError

Make = Callable[..., Path]


def write_index(folder: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    (folder / "index.csv").write_bytes(data)
    return folder


def test_a_flat_folder_has_no_labels(make_images: Make) -> None:
    data = read_dataset(make_images(["b.png", "a.PNG", "deep/er/c.png"]))
    assert [data.name_of(i) for i in data.items] == ["a.PNG", "b.png", "deep/er/c.png"]
    assert data.labels == ()
    assert {(i.label, i.group) for i in data.items} == {(None, None)}
    assert len(data) == 3


def test_a_folder_a_class(make_images: Make) -> None:
    folder = make_images(["dog/1.png", "cat/1.png", "cat/deep/2.png"])
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("x")
    data = read_dataset(folder)
    assert data.labels == ("cat", "dog")
    assert [i.label for i in data.items] == ["cat", "cat", "dog"]


def test_one_folder_or_loose_pictures_are_no_classes(make_images: Make) -> None:
    assert read_dataset(make_images(["cat/1.png", "cat/2.png"], "one")).labels == ()
    assert read_dataset(make_images(["cat/1.png", "dog/2.png", "3.png"], "loose")).labels == ()


@pytest.mark.parametrize("column", ["group", "patient"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_an_index_gives_labels_and_groups(make_images: Make, column: str, mark: bytes) -> None:
    folder = make_images(["x/b.png", "a.png", "unlisted.png"])
    write_index(folder, mark + f"file,label,{column}\nx/b.png,k,p1\na.png,j,\n".encode())
    data = read_dataset(folder)
    assert [(data.name_of(i), i.label, i.group) for i in data.items] == [
        ("a.png", "j", None),
        ("x/b.png", "k", "p1"),
    ]
    assert data.labels == ("j", "k")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'file' among none"),
        ("name,label\na.png,x\n", "no column 'file' among name, label"),
        ("file\n", "lists no images"),
        ("file\na.png\nmissing.png\n", "1 of 2 files are missing, the first is .*missing.png"),
        ("file,label\na.png,x\nb.png,\n", "1 of 2 rows have no label"),
        ("file\n../secret.png\n", "line 2: '../secret.png' lies outside"),
        ("file\na.png\n/etc/passwd\n", "line 3: '/etc/passwd' lies outside"),
        ("file\nlink/secret.png\n", "line 2: 'link/secret.png' lies outside"),
        ("label,file\nx,a.png\ny\n", "line 3: no file is named"),
        ("file,label\n,x\n", "line 2: no file is named"),
        ("file,label\na.png,x\nsub/../a.png,y\n", "line 3: .* is listed twice"),
        (b"file\n\xff\xfe.png\n", "cannot be read"),
        ("file\na\0b.png\n", "null|NUL|cannot be read|missing"),
        ('file\n"' + "x" * 200_000 + '"\n', "cannot be read"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_a_wrong_index_is_named(make_images: Make, text: str | bytes, says: str) -> None:
    folder = make_images(["a.png", "b.png", "sub/c.png"])
    (folder.parent / "secret.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "link").symlink_to(folder.parent)
    with pytest.raises(DataError, match=says) as e:
        read_dataset(write_index(folder, text))
    assert "index.csv" in str(e.value)


def test_a_folder_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none does not exist"):
        read_dataset(tmp_path / "none")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"holds no images: expected .*\.png"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "a.txt")


groups = st.one_of(st.none(), st.sampled_from("abcdefgh"))
item_lists = st.lists(groups, max_size=60).map(
    lambda gs: [Item(Path(f"{i}.png"), "x", g) for i, g in enumerate(gs)]
)


@settings(deadline=None)
@given(item_lists, st.lists(st.integers(1, 500), min_size=1, max_size=4), st.integers())
def test_no_group_straddles_and_no_item_is_lost(
    items: list[Item], fractions: list[int], seed: int
) -> None:
    parts = split_groups(items, fractions, seed)
    assert len(parts) == len(fractions)
    assert sorted((i for p in parts for i in p), key=str) == sorted(items, key=str)
    homes = [{i.group for i in p if i.group is not None} for p in parts]
    assert sum(len(h) for h in homes) == len(set().union(*homes))
    assert parts == split_groups(list(reversed(items))[::-1], fractions, seed)


def test_a_split_follows_its_fractions_and_its_seed() -> None:
    items = [Item(Path(f"{i:03}.png"), None, f"g{i // 4}") for i in range(200)]
    sizes = [len(p) for p in split_groups(items, (3, 1), 0)]
    assert sizes == [pytest.approx(150, abs=4), pytest.approx(50, abs=4)]
    assert split_groups(items, (3, 1), 0) != split_groups(items, (3, 1), 1)


def test_a_draw_takes_turns_between_labels_and_groups() -> None:
    items = [Item(Path(f"c{i:03}.png"), "common", f"g{i % 5}") for i in range(100)]
    items += [Item(Path(f"r{i}.png"), "rare", "g9") for i in range(3)]
    drawn = draw(items, 10, 0)
    assert sum(i.label == "rare" for i in drawn) == 3
    assert {i.group for i in drawn if i.label == "common"} == {f"g{i}" for i in range(5)}
    assert list(drawn) == sorted(drawn, key=lambda i: i.path)


def test_a_draw_smaller_than_the_groups_picks_them_by_the_seed() -> None:
    items = [Item(Path(f"{i:03}.png"), "x", f"g{i // 4:02}") for i in range(80)]
    assert len({frozenset(i.group for i in draw(items, 3, seed)) for seed in range(8)}) > 4


@settings(deadline=None)
@given(item_lists, st.data(), st.integers())
def test_a_draw_is_of_the_asked_size_without_repeats(
    items: list[Item], data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(0, len(items)))
    drawn = draw(items, count, seed)
    assert len(set(drawn)) == len(drawn) == count
    assert set(drawn) <= set(items)
    assert drawn == draw(items, count, seed)


def test_more_than_there_are_is_an_error() -> None:
    with pytest.raises(DataError, match="2 images asked for, 1 are there"):
        draw([Item(Path("a.png"))], 2, 0)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF"])
def test_a_damaged_picture_is_a_data_error_or_a_picture(tmp_path: Path, kind: str) -> None:
    file, good = tmp_path / "x.png", encoded(kind)
    file.write_bytes(good)
    assert open_image(file).size == (7, 9)
    rng = np.random.default_rng(1)
    for turn in range(60):
        raw = bytearray(good)
        if turn % 3 == 0:
            raw = raw[: rng.integers(0, len(raw))]
        for _ in range(rng.integers(1, 4) if raw else 0):
            raw[rng.integers(0, min(len(raw), 80 if turn % 2 else len(raw)))] = rng.integers(256)
        file.write_bytes(raw)
        with suppress(DataError):
            assert open_image(file).mode == "RGB"


def test_a_picture_that_is_not_there_or_no_picture(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="is not a readable image"):
            open_image(path)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    file = tmp_path / "x.png"
    file.write_bytes(encoded("PNG"))
    with pytest.raises(DataError, match="too large to open safely"):
        open_image(file)


def test_a_16_bit_picture_is_not_clipped(tmp_path: Path) -> None:
    Image.new("I;16", (2, 2), 0x4000).save(tmp_path / "x.png")
    assert open_image(tmp_path / "x.png").getpixel((0, 0)) == (64, 64, 64)


@pytest.mark.parametrize(("bad", "total", "fails"), [(0, 0, 0), (1, 10, 0), (2, 10, 1), (1, 1, 1)])
def test_past_a_tenth_unreadable_is_an_error(bad: int, total: int, fails: int) -> None:
    paths = [Path(f"{i}.png") for i in range(bad)]
    if not fails:
        check_unreadable(paths, total)
        return
    with pytest.raises(DataError, match=rf"{bad} of {total} images .*10%.*0\.png"):
        check_unreadable(paths, total)


def test_a_picture_stored_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 4))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    picture.save(tmp_path / "phone.png", exif=exif)
    upright = open_image(tmp_path / "phone.png")
    assert upright.size == (4, 8)
    assert upright.getpixel((3, 0)) == (255, 0, 0)
