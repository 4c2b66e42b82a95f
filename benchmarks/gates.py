"""How well the capture gates tell bad fields from good ones, on real fields spoilt on purpose.

    python benchmarks/gates.py FIELDS [NIH] [--half odd|even|all]

FIELDS: folder with images/ and boxes.json (iml-fields); NIH: folder of cell crops with index.csv,
for the stain's range. Limits were chosen on the even half; the odd half judges them.

The fields have no slide ids: a pause of more than 50 s between two pictures (EXIF) is taken as a
new slide, and each slide as a session, in the order of its pictures; the sharpest field is that of
the session so far. The scale bar and its text, which are drawn into every picture, are cut off:
they are always sharp, and any figure of the whole picture sees little else.

A blurred field takes its own place in the session. It gets the noise back that the blur took away,
measured in the field's flat parts, as a defocused camera's picture has it; without that any
sharpness figure looks better than it is. The first field of a session has nothing beside it and
cannot be caught; it is counted as missed, and the share without it is given too. Some of the real
fields are out of focus: those that are rejected are named, to be looked at. The peer is the plain
variance of the Laplacian of the whole picture, at the limit of ours.
Overlapping windows are cut from one field, each with its own noise and light.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from edge_sdk.report import table
from edge_sdk.screening import gates
from edge_sdk.screening.segment import segment
from edge_sdk.stain_range import StainRange

SIGMAS = (0.7, 1.0, 1.5, 2.0, 3.0)
OVERLAPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
WINDOW = (760, 570)
BAR = 120  # rows at the bottom with the scale bar
PAUSE = 50.0  # seconds
DATE_TIME = 306  # EXIF


def spoil(pixels: Any, sigma: float, rng: np.random.Generator) -> Any:
    bend = cv2.Laplacian(np.ascontiguousarray(pixels[..., 1]), cv2.CV_32F)
    noise = float(np.median(np.abs(bend))) / 0.6745 / 20**0.5
    blurred = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return np.clip(blurred + rng.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)


def plain(pixels: Any) -> float:
    return float(cv2.Laplacian(np.ascontiguousarray(pixels[..., 1]), cv2.CV_64F).var())


def auc(good: Any, bad: Any) -> float:
    good, bad = np.asarray(good)[:, None], np.asarray(bad)[None]
    return float((good > bad).mean() + 0.5 * (good == bad).mean())


@dataclass(frozen=True)
class Taken:
    """A real field. slide: the number of its session."""

    name: str
    pixels: Any
    slide: int


def read_fields(folder: Path) -> list[Taken]:
    names = sorted(r["image"] for r in json.loads((folder / "boxes.json").read_text()))
    taken, slide, before = [], 0, None
    for name in names:
        with Image.open(folder / "images" / name) as image:
            now = datetime.strptime(image.getexif()[DATE_TIME], "%Y:%m:%d %H:%M:%S")
            pixels = np.asarray(image.convert("RGB"))[:-BAR]
        if before is not None and (now - before).total_seconds() > PAUSE:
            slide += 1
        before = now
        taken.append(Taken(name, pixels, slide))
    return taken


def in_order(fields: list[Taken], figures: Any, blurred: Any, limit: float) -> Any:
    """Each session as it comes: (rejected fields' names, blurred ones caught, first of a session),
    the latter two bool (fields,)."""
    best: dict[int, float] = {}
    rejected, caught, first = [], [], []
    for field, figure, spoilt in zip(fields, figures, blurred, strict=True):
        least = limit * max(best.get(field.slide, 0.0), figure)
        first.append(field.slide not in best)
        caught.append(spoilt < limit * max(best.get(field.slide, 0.0), spoilt))
        if figure < least:
            rejected.append(f"{field.name} ({figure / least * limit:.2f})")
        best[field.slide] = max(best.get(field.slide, 0.0), figure)
    return rejected, np.array(caught), np.array(first)


def edges(pixels: Any) -> float:
    return gates.sharpness(pixels, segment(pixels)) or 0.0


def focus(fields: list[Taken]) -> None:
    rows = []
    ways = (("edges of the cells", edges, gates.Limits().sharpness),
            ("plain variance of Laplacian", plain, gates.Limits().sharpness))  # fmt: skip
    named = {}
    for name, figure, limit in ways:
        sharp = np.array([figure(f.pixels) for f in fields])
        for sigma in SIGMAS:
            rng = np.random.default_rng(1)
            blurred = np.array([figure(spoil(f.pixels, sigma, rng)) for f in fields])
            rejected, caught, first = in_order(fields, sharp, blurred, limit)
            rows.append(
                [name, f"{sigma}", f"{auc(sharp, blurred):.4f}", f"{caught.mean():.1%}",
                 f"{caught[~first].mean():.1%}", f"{len(rejected)} of {len(fields)}"]
            )  # fmt: skip
        named[name] = rejected
    head = ["focus", "blur sigma", "AUC", "caught", "but the first", "real fields rejected"]
    print(table(head, rows))
    for name, rejected in named.items():
        print(f"{name} rejects (share of the best so far): {', '.join(rejected) or 'none'}")
    print(f"{first.sum()} sessions")


def duplicates(pictures: list[Any]) -> None:
    rng = np.random.default_rng(2)
    w, h = WINDOW

    def window(picture: Any, x: int, y: int) -> Any:
        cut = picture[y : y + h, x : x + w].astype(np.float32) * rng.uniform(0.9, 1.1)
        return gates.spectrum(np.clip(cut + rng.normal(0, 2, cut.shape), 0, 255).astype(np.uint8))

    places = [window(p, 0, 0) for p in pictures]
    apart = [gates.overlap(a, b) for i, a in enumerate(places) for b in places[:i]]
    rows = []
    for share in OVERLAPS:
        told = []
        for a, p in zip(places, pictures, strict=True):
            turn = rng.uniform(0, np.pi / 2)
            far = 1.0  # the shift along this direction that leaves `share` of the window
            while (1 - far * np.cos(turn)) * (1 - far * np.sin(turn)) < share:
                far -= 0.002
            x, y = round(far * np.cos(turn) * w), round(far * np.sin(turn) * h)
            if x + w <= p.shape[1] and y + h <= p.shape[0]:
                told.append(gates.overlap(a, window(p, x, y)))
        bound = gates.Limits().overlap
        rows.append([f"{share:.0%}", str(len(told)), f"{auc(told, apart):.4f}", f"{min(told):.3f}",
                     f"{np.mean(np.array(told) > bound):.1%}"])  # fmt: skip
    print(table(["overlap", "pairs", "AUC", "least peak", "caught"], rows))
    wrong = np.mean(np.array(apart) > gates.Limits().overlap)
    print(f"{len(apart)} pairs of different fields: {wrong:.2%} called duplicates, "
          f"largest peak {max(apart):.3f}\n")  # fmt: skip


def whole(fields: list[Taken], stain: StainRange | None) -> None:
    """Every real field through all gates, slide after slide, each a session."""
    fails: dict[str, list[str]] = defaultdict(list)
    spent = []
    out = 0
    sessions: dict[int, gates.Gates] = {}
    for f in fields:
        session = sessions.setdefault(f.slide, gates.Gates(stain=stain))
        found = segment(f.pixels)
        start = time.thread_time()
        results = session.check(f.pixels, found)
        spent.append(time.thread_time() - start)
        bad = gates.rejected(results)
        out += any(r.gate != "stain" for r in bad)
        for r in bad:
            fails[r.gate].append(f.name)
    print(
        f"{len(fields)} real fields in {len(sessions)} sessions: {out} rejected by gates other "
        f"than stain ({out / len(fields):.1%}); {statistics.median(spent) * 1e3:.1f} ms a field"
    )
    for gate, names in fails.items():
        print(f"  {gate} {len(names)}: {', '.join(names)}")


def nih_range(folder: Path) -> StainRange:
    by_patient: dict[str, list[str]] = defaultdict(list)
    with (folder / "index.csv").open(newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            by_patient[row["patient"]].append(row["file"])
    read: Callable[[str], Any] = lambda name: np.asarray(Image.open(folder / name).convert("RGB"))  # noqa: E731
    return StainRange.around(
        gates.crop_colour([read(n) for n in files[:: max(1, len(files) // 8)]])
        for files in by_patient.values()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fields", type=Path)
    parser.add_argument("nih", type=Path, nargs="?")
    parser.add_argument("--half", choices=("odd", "even", "all"), default="odd")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    every = read_fields(options.fields)
    fields = {"odd": every[1::2], "even": every[::2], "all": every}[options.half]
    print(f"{len(fields)} real fields, {options.half} half\n")
    focus(fields)
    print()
    duplicates([f.pixels for f in fields])
    whole(fields, nih_range(options.nih) if options.nih else None)


if __name__ == "__main__":
    main()
