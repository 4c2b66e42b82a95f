"""How well the capture gates tell bad fields from good ones, on real fields spoilt on purpose.

    python benchmarks/gates.py FIELDS [NIH] [--half odd|even|all] [--every 1]

FIELDS: folder with images/ and boxes.json (iml-fields); NIH: folder of cell crops with index.csv,
for the stain's range. Limits were chosen on the even half. Blurred fields get the noise back that
the blur took away, measured in the field's flat parts, as a defocused camera's picture has it;
without that any sharpness figure looks better than it is. The peer for focus is the plain variance
of the Laplacian. The fields have no slide ids: the best seen is that of the 5 files before and the
5 after. Overlapping windows are cut from one field, each with its own noise and light.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
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


def focus(pictures: list[Any]) -> None:
    rows = []
    limits = gates.Limits()
    for name, figure in (("ours", gates.sharpness), ("plain variance of Laplacian", plain)):
        sharp = np.array([figure(p) for p in pictures])
        best = np.array([sharp[max(0, i - 5) : i + 6].max() for i in range(len(sharp))])
        for sigma in SIGMAS:
            rng = np.random.default_rng(1)
            blurred = np.array([figure(spoil(p, sigma, rng)) for p in pictures])
            least = limits.sharpness * best
            rows.append(
                [name, f"{sigma}", f"{auc(sharp, blurred):.4f}",
                 f"{auc(sharp / best, blurred / best):.4f}", f"{(blurred < least).mean():.1%}",
                 f"{(sharp < least).mean():.1%}"]
            )  # fmt: skip
    head = ["focus", "blur sigma", "AUC", "AUC beside best seen", "caught", "good rejected"]
    print(table(head, rows))


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
            if x + w <= p.shape[1] and y + h <= p.shape[0] - 120:  # the scale bar is below
                told.append(gates.overlap(a, window(p, x, y)))
        bound = gates.Limits().overlap
        rows.append([f"{share:.0%}", str(len(told)), f"{auc(told, apart):.4f}", f"{min(told):.3f}",
                     f"{np.mean(np.array(told) > bound):.1%}"])  # fmt: skip
    print(table(["overlap", "pairs", "AUC", "least peak", "caught"], rows))
    wrong = np.mean(np.array(apart) > gates.Limits().overlap)
    print(f"{len(apart)} pairs of different fields: {wrong:.2%} called duplicates, "
          f"largest peak {max(apart):.3f}\n")  # fmt: skip


def whole(pictures: list[Any], stain: StainRange | None) -> None:
    """Every good field through all gates, in file order, as one session would."""
    session = gates.Gates(stain=stain)
    fails: dict[str, int] = defaultdict(int)
    spent = []
    out = 0
    for picture in pictures:
        found = segment(picture)
        start = time.thread_time()
        results = session.check(picture, found)
        spent.append(time.thread_time() - start)
        bad = gates.rejected(results)
        out += any(r.gate != "stain" for r in bad)
        for r in bad:
            fails[r.gate] += 1
    print(f"{len(pictures)} real fields as one session: {out} rejected by gates other than stain "
          f"({out / len(pictures):.1%}); by gate: {dict(fails) or 'none'}; "
          f"{statistics.median(spent) * 1e3:.1f} ms a field\n")  # fmt: skip


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
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    names = sorted(r["image"] for r in json.loads((options.fields / "boxes.json").read_text()))
    names = {"odd": names[1::2], "even": names[::2], "all": names}[options.half][:: options.every]
    read = [np.asarray(Image.open(options.fields / "images" / n).convert("RGB")) for n in names]
    print(f"{len(read)} real fields, {options.half} half\n")
    focus(read)
    print()
    duplicates(read)
    whole(read, nih_range(options.nih) if options.nih else None)


if __name__ == "__main__":
    main()
