"""Image folders: which pictures there are, their labels and groups, and seeded draws from them.

A folder is read in one of three forms, the first that fits:

    index.csv        columns file, label and, where known, group (or patient)
    a folder a class  two or more sub-folders that hold images: their names are the labels
    flat             every image below the folder, without labels
"""

from __future__ import annotations

import csv
import random
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.errors import DataError
from edge_sdk.files import sha256
from edge_sdk.preprocess import to_rgb

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})
# Past this share of unreadable images a folder is broken rather than imperfect.
MAX_UNREADABLE = 0.10
# In every folder of drawn images: what is made from one is labelled as simulated.
SIMULATED_MARK = "SIMULATED.txt"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One picture. group: what must never straddle a split (a patient, a slide), or None."""

    path: Path
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Pictures in a fixed order. labels: the class names in sorted order, empty if unlabelled.
    part: which part of a split it is, if one (see read_part)."""

    root: Path
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    part: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def simulated(self) -> bool:
        return (self.root / SIMULATED_MARK).is_file()

    @property
    def name(self) -> str:
        """What records and tables call it."""
        name = self.root.resolve().name
        return name if self.part is None else f"{name} ({self.part} part)"

    def subset(self, items: Sequence[Item]) -> Dataset:
        return replace(self, items=tuple(items))

    def name_of(self, item: Item) -> str:
        """The item's path below the root, with forward slashes on every system."""
        return item.path.relative_to(self.root).as_posix()


def read_dataset(root: Path) -> Dataset:
    """The pictures of a folder, sorted by path.

    Raises DataError for a folder that is missing, empty, or has a wrong index."""
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist: give a folder of images")
    index = root / "index.csv"
    if index.is_file():
        return _read_index(root, index)
    folders = [d for d in sorted(root.iterdir()) if d.is_dir()]
    classes = {d.name: found for d in folders if (found := list(_images(d)))}
    if len(classes) >= 2 and not any(_is_image(p) for p in root.iterdir()):
        items = [Item(p, label) for label, found in classes.items() for p in found]
        return Dataset(root, tuple(items), tuple(sorted(classes)))
    items = [Item(p) for p in _images(root)]
    if not items:
        raise DataError(
            f"data folder {root} holds no images: expected {', '.join(sorted(IMAGE_SUFFIXES))} "
            "files, a folder per class, or an index.csv with file, label and group"
        )
    return Dataset(root, tuple(items), ())


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _images(root: Path) -> Iterator[Path]:
    return (p for p in sorted(root.rglob("*")) if _is_image(p))


def _read_index(root: Path, index: Path) -> Dataset:
    try:
        with index.open(newline="", encoding="utf-8-sig") as f:
            items = _index_items(root, index, csv.DictReader(f))
    except (csv.Error, ValueError) as e:  # no UTF-8, no CSV, or a path that no system has
        raise DataError(f"{index} cannot be read: {e}") from e
    if not items:
        raise DataError(f"{index} lists no images")
    if missing := [i for i in items if not i.path.is_file()]:
        raise DataError(
            f"{index}: {len(missing)} of {len(items)} files are missing, the first is "
            f"{missing[0].path}"
        )
    unlabelled = sum(i.label is None for i in items)
    if 0 < unlabelled < len(items):
        raise DataError(f"{index}: {unlabelled} of {len(items)} rows have no label: all or none")
    labels = sorted({i.label for i in items if i.label is not None})
    return Dataset(root, tuple(sorted(items, key=lambda i: i.path)), tuple(labels))


def _index_items(root: Path, index: Path, reader: csv.DictReader[str]) -> list[Item]:
    columns = reader.fieldnames or []
    if "file" not in columns:
        raise DataError(f"{index}: no column 'file' among {', '.join(columns) or 'none'}")
    group_column = next((c for c in ("group", "patient") if c in columns), None)
    inside = root.resolve()
    items = {}
    for row in reader:
        where = f"{index} line {reader.line_num}"
        if not row["file"]:
            raise DataError(f"{where}: no file is named")
        path = root / row["file"]
        real = path.resolve()
        if not real.is_relative_to(inside):
            raise DataError(f"{where}: '{row['file']}' lies outside {root}")
        # Twice, and with two groups, it could calibrate and judge.
        if real in items:
            raise DataError(f"{where}: '{row['file']}' is listed twice")
        group = row[group_column] if group_column else None
        items[real] = Item(path, row.get("label") or None, group or None)
    return list(items.values())


def split_groups(
    items: Sequence[Item], fractions: Sequence[float], seed: int
) -> list[tuple[Item, ...]]:
    """Items in len(fractions) parts that share no group; ungrouped items are their own group.

    Groups are shuffled with `seed` and dealt to the part that is furthest below its share of
    items, so the parts' sizes follow `fractions` as closely as whole groups allow."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.group if item.group is not None else f"\0{item.path}"].append(item)
    keys = sorted(groups)
    random.Random(seed).shuffle(keys)
    total = sum(fractions)
    parts: list[list[Item]] = [[] for _ in fractions]
    for key in keys:
        lack = [f / total * len(items) - len(p) for f, p in zip(fractions, parts, strict=True)]
        parts[lack.index(max(lack))].extend(groups[key])
    return [tuple(sorted(p, key=lambda i: i.path)) for p in parts]


def read_split(data: Dataset, file: Path) -> dict[str, tuple[Item, ...]]:
    """Every part's items, as the columns file and part of a CSV say; `edge-sdk train` writes one.

    Raises DataError for a file that does not give every image of `data` exactly one part, or that
    spreads a group over parts: what is learned from a group must not be judged on it."""
    named = _named_parts(file)
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    of_group: dict[str, set[str]] = defaultdict(set)
    for item in data.items:
        part = named.get(data.name_of(item))
        if part is None:
            raise DataError(f"{file} names no part for '{data.name_of(item)}' of {data.root}")
        parts[part].append(item)
        if item.group is not None:
            of_group[item.group].add(part)
    if straddling := sorted(g for g, found in of_group.items() if len(found) > 1):
        raise DataError(
            f"{file}: {len(straddling)} groups straddle parts, the first is '{straddling[0]}' in "
            f"{' and '.join(sorted(of_group[straddling[0]]))}: keep each group in one part"
        )
    return {part: tuple(found) for part, found in parts.items()}


def _named_parts(file: Path) -> dict[str, str]:
    named: dict[str, str] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as f:
            reader = csv.DictReader(f)
            if not {"file", "part"} <= set(reader.fieldnames or ()):
                raise DataError(f"{file}: expected the columns file and part")
            for row in reader:
                where = f"{file} line {reader.line_num}"
                if row["part"] not in PARTS:
                    raise DataError(
                        f"{where}: part '{row['part'] or ''}' is not one of {', '.join(PARTS)}"
                    )
                if named.setdefault(row["file"], row["part"]) != row["part"]:
                    raise DataError(f"{where}: '{row['file']}' is in two parts")
    except (OSError, ValueError, csv.Error) as e:
        raise DataError(f"split file {file} cannot be read: {e}") from e
    return named


def read_part(data: Dataset, file: Path, part: str) -> Dataset:
    """The images of one part of a split (see read_split). Raises DataError where it has none."""
    found = read_split(data, file)[part]
    if not found:
        raise DataError(f"{file}: no image of {data.root} is in the part {part}")
    return replace(data, items=found, part=part)


def refuse_twins(used: Dataset, judged: Dataset, why: str) -> None:
    """Raises DataError, with `why`, when the two share a group or an image (by sha256)."""
    groups = {i.group for i in judged.items if i.group is not None}
    if both := sorted({i.group for i in used.items if i.group in groups and i.group}):
        raise DataError(
            f"{used.root} and the judged images of {judged.root} share {len(both)} groups, the "
            f"first is '{both[0]}': {why}"
        )
    known = {sha256(i.path): i.path for i in judged.items}
    for item in used.items:
        if twin := known.get(sha256(item.path)):
            raise DataError(f"{item.path} is the same image as the judged {twin}: {why}")


def draw(items: Sequence[Item], count: int, seed: int) -> tuple[Item, ...]:
    """`count` items, drawn with `seed`, taken in turn from every label and every group.

    Taking turns keeps a small draw from missing a rare class or consisting of one patient.
    Raises DataError when there are fewer."""
    if count > len(items):
        raise DataError(f"{count} images asked for, {len(items)} are there")
    rng = random.Random(seed)
    strata: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        strata[item.label or ""][item.group or ""].append(item)
    queues = []
    for label in sorted(strata):
        groups = [strata[label][g] for g in sorted(strata[label])]
        for group in groups:
            rng.shuffle(group)
        rng.shuffle(groups)
        queues.append(_in_turn(groups))
    picked = [item for item, _ in zip(_in_turn(queues), range(count), strict=False)]
    return tuple(sorted(picked, key=lambda i: i.path))


def _in_turn(sources: Iterable[Iterable[Item]]) -> Iterator[Item]:
    live = [iter(s) for s in sources]
    while live:
        still = []
        for it in live:
            for item in it:
                yield item
                still.append(it)
                break
        live = still


def open_image(path: Path) -> Image.Image:
    """A decoded RGB image, upright. Raises DataError for a file that is no whole image."""
    # Not at import: an artifact needs no images.
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on damage that it got over
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                # A phone stores a portrait on its side and says so in the EXIF data.
                return to_rgb(ImageOps.exif_transpose(image))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as e:
        raise DataError(f"{path} is not a readable image: {e}") from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise DataError(f"{path} is too large to open safely: shrink it ({e})") from e


def check_unreadable(bad: Sequence[Path], total: int) -> None:
    """Raises DataError when too large a share of `total` images was unreadable."""
    if total and len(bad) / total > MAX_UNREADABLE:
        raise DataError(
            f"{len(bad)} of {total} images are unreadable (the limit is {MAX_UNREADABLE:.0%}), "
            f"the first is {bad[0]}"
        )
