"""Which image is in which part, what is to be learned of it, and its pixels."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.dataset import (
    PARTS,
    Dataset,
    Item,
    check_unreadable,
    open_image,
    read_split,
    split_groups,
)
from edge_sdk.errors import DataError, EdgeError
from edge_sdk.files import write_whole
from edge_sdk.preprocess import Pixels, Preprocess, fit_image
from edge_sdk.progress import Progress, watched
from edge_sdk.strict import to_plain
from edge_sdk.train.settings import Head, Split

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NO_LABEL = "-"
SEPARATOR = ";"


@dataclass(frozen=True)
class Images:
    """Decoded images with what is to be learned of each.

    items and pixels, uint8 (n, H, W, 3), belong together. truth: (n, classes), rows one-hot, or
    any number of ones for a sigmoid head; zeros where only a teacher knows. rows: indices of each
    part. dropped: files that could not be read."""

    items: tuple[Item, ...]
    labels: tuple[str, ...]
    pixels: Pixels
    truth: Floats
    rows: dict[str, Ints]
    dropped: tuple[Path, ...]

    def groups(self, part: str) -> list[str]:
        """The group of every image of a part; an image without one is its own."""
        items = (self.items[i] for i in self.rows[part])
        return [i.group if i.group is not None else str(i.path) for i in items]


def split_items(data: Dataset, split: Split, seed: int) -> dict[str, tuple[Item, ...]]:
    """The parts' items. Raises DataError for a split file that does not fit the data."""
    items = [replace(i, group=None) for i in data.items] if split.ignore_groups else data.items
    if split.file is not None:
        parts = read_split(data.subset(items), split.file)
    elif split.fold is not None:
        k, n = split.fold
        folds = split_groups(items, [1] * n, seed)
        rest = [i for j, f in enumerate(folds, start=1) if j != k for i in f]
        train, validation = split_groups(rest, split.fractions[:2], seed)
        parts = dict(zip(PARTS, (train, validation, folds[k - 1]), strict=True))
    else:
        parts = dict(zip(PARTS, split_groups(items, split.fractions, seed), strict=True))
    for part in PARTS[:2]:
        if not parts[part]:
            groups = len({i.group for i in items})
            raise DataError(
                f"{data.root}: the {part} part is empty: {len(items)} images of {groups} groups "
                "are too few for this split; give --split, --split-file or more groups"
            )
    return parts


def split_csv(data: Dataset, parts: dict[str, tuple[Item, ...]]) -> str:
    """The split as --split-file reads it."""
    rows = sorted((data.name_of(i), i.group or "", p) for p, items in parts.items() for i in items)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("file", "group", "part"), *rows])
    return text.getvalue()


def class_names(data: Dataset, head: Head) -> tuple[str, ...]:
    """What the outputs stand for. Raises DataError where there is nothing to tell apart."""
    if head == "embedding":
        return ()
    if not data.labels:
        raise DataError(
            f"{data.root} has no labels: give a folder per class or an index.csv with the column "
            "label (or learn a teacher's vectors: --head embedding --distil TEACHER)"
        )
    if head == "sigmoid":
        names = tuple(sorted({n for label in data.labels for n in names_of(label)}))
        if not names:
            raise DataError(f"{data.root}: no image has a label: every cell is '{NO_LABEL}'")
        return names
    if len(data.labels) < 2:
        raise DataError(
            f"{data.root} has one class only, '{data.labels[0]}': a classifier needs two or more"
        )
    return data.labels


def names_of(label: str) -> list[str]:
    """The names in a multi-label cell: separated by semicolons, '-' for none."""
    return [n.strip() for n in label.split(SEPARATOR) if n.strip() not in ("", NO_LABEL)]


def truth_of(items: Sequence[Item], labels: tuple[str, ...], head: Head) -> Floats:
    truth = np.zeros((len(items), len(labels)), np.float32)
    place = {name: i for i, name in enumerate(labels)}
    for row, item in enumerate(items):
        if item.label is not None and labels:
            for name in names_of(item.label) if head == "sigmoid" else [item.label]:
                truth[row, place[name]] = 1
    return truth


def check_classes(parts: dict[str, Floats], labels: Sequence[str]) -> None:
    """Raises DataError when a class has no image to learn from or to be judged by. An empty test
    part was asked for."""
    for part, truth in parts.items():
        if part != "test" and not len(truth):
            raise DataError(f"no image of the {part} part can be read: add images to it")
        missing = [name for name, n in zip(labels, truth.sum(axis=0), strict=True) if n == 0]
        if missing and len(truth):
            raise DataError(
                f"the {part} part has no image of {', '.join(missing)}: add images, or deal the "
                "groups otherwise with --seed or --split"
            )


def load_pixels(
    items: Sequence[Item], root: Path, spec: Preprocess, folder: Path, progress: Progress
) -> tuple[Pixels, tuple[int, ...]]:
    """Images at the model's size, uint8 (n, H, W, 3), and which of them could not be read.

    They are decoded once, into a file in `folder` that is mapped rather than loaded, so a data set
    may be larger than memory."""
    stats = [(i.path.relative_to(root), i.path.stat()) for i in items]
    named = [str(root.resolve()), *(f"{n} {s.st_size} {s.st_mtime_ns}" for n, s in stats)]
    key = hashlib.sha256("\n".join([*named, json.dumps(to_plain(spec))]).encode()).hexdigest()[:16]
    final = folder / f"pixels-{key}.npy"
    failed = folder / f"pixels-{key}.json"
    if not (final.is_file() and failed.is_file()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A folder of its own: another training may be writing the same file.
            with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as scratch:
                _write_pixels(items, spec, Path(scratch) / final.name, failed, progress)
                (Path(scratch) / final.name).replace(final)
        except OSError as e:
            raise EdgeError(f"cannot write {final}: {e.strerror or e}") from e
    pixels: Pixels = np.load(final, mmap_mode="r")
    unreadable = tuple(json.loads(failed.read_text()))
    check_unreadable([items[i].path for i in unreadable], len(items))
    return pixels, unreadable


def _write_pixels(
    items: Sequence[Item], spec: Preprocess, file: Path, failed: Path, progress: Progress
) -> None:
    shape = (len(items), spec.height, spec.width, 3)
    with file.open("wb") as f:  # written rather than mapped: a full disk is then an error
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(f, header)
        bad = _decode(items, spec, f, progress)
    write_whole(failed, json.dumps(bad).encode())


def _decode(items: Sequence[Item], spec: Preprocess, file: Any, progress: Progress) -> list[int]:
    bad = []
    blank = np.zeros((spec.height, spec.width, 3), np.uint8)
    for i, item in enumerate(watched(items, "read images", progress)):
        try:
            pixels = fit_image(open_image(item.path), spec)
        except DataError:
            bad.append(i)
            pixels = blank
        file.write(np.ascontiguousarray(pixels).tobytes())
    return bad
