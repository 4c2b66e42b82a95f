"""Cells found in real fields and in drawn ones, beside plain connected components.

    python benchmarks/segmentation.py FIELDS [--half odd|even] [--every 1] [--drawn 12]

FIELDS: folder with images/ and boxes.json (iml-fields). Its boxes are not exhaustive: some cells
have none, clumps share one, so recall is what can be read; precision and F1 are lower bounds, and
the count's difference is signed and no error. Boxes that touch the frame are left out of recall.
Constants were chosen on the even half and on drawn seeds below 2000; the odd half and the seeds
from 2000 are the ones to believe. ms: this thread's own time, one thread, picture already decoded.
The peer is Otsu on green with holes filled and connected components of >= 200 pixels, in the same
run. By class: share of boxes found at an IoU of at least .5 and .75, and the median IoU of the
boxes found; boxes were drawn by hand around cells, masks are the cells' own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from edge_sdk.report import table
from edge_sdk.screening.segment import segment
from edge_sdk.simulate_field import SimulatedField, draw_field

RED = "red blood cell"
STAGES = ("ring", "trophozoite", "schizont", "gametocyte")
Boxes = list[tuple[float, float, float, float]]


def ours(pixels: Any) -> Boxes:
    return [c.box for c in segment(pixels).cells]


def components(pixels: Any) -> Boxes:
    """The peer: what a first attempt does."""
    green = np.ascontiguousarray(pixels[..., 1])
    _, mask = cv2.threshold(green, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [cv2.boundingRect(o) for o in outlines if cv2.contourArea(o) >= 200]


def iou(one: Boxes, other: Boxes) -> Any:
    a, b = np.array(one, float).reshape(-1, 1, 4), np.array(other, float).reshape(1, -1, 4)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    return both / (a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - both)


def centred(one: Boxes, other: Boxes) -> Any:
    """1 / (1 + distance) where the centre of `other` lies in the middle half of `one`, else 0."""
    a, b = np.array(one, float).reshape(-1, 1, 4), np.array(other, float).reshape(1, -1, 4)
    away = np.abs(a[..., :2] + a[..., 2:] / 2 - b[..., :2] - b[..., 2:] / 2)
    return np.where((away <= a[..., 2:] / 4).all(axis=-1), 1 / (1 + np.hypot(*away.T).T), 0.0)


def pairs(score: Any, least: float) -> list[tuple[int, int]]:
    """One to one, the best score first."""
    rows, columns = np.nonzero(score >= least)
    used: tuple[set[int], set[int]] = (set(), set())
    out = []
    for i in np.argsort(-score[rows, columns], kind="stable"):
        a, b = int(rows[i]), int(columns[i])
        if a not in used[0] and b not in used[1]:
            used[0].add(a)
            used[1].add(b)
            out.append((a, b))
    return out


@dataclass
class Tally:
    best: dict[str, list[float]] = field(default_factory=dict)  # IoU of each box, 0 if missed
    centres: list[bool] = field(default_factory=list)
    boxed: int = 0
    found: int = 0
    matched: int = 0
    ms: list[float] = field(default_factory=list)
    count: list[float] = field(default_factory=list)  # signed difference of each field, share

    def recall(self, *classes: str, least: float = 0.5) -> float:
        scores = [v for c in classes for v in self.best.get(c, [])]
        return float(np.mean(np.asarray(scores) >= least)) if scores else math.nan

    def row(self, name: str) -> list[str]:
        precision, recall = self.matched / max(1, self.found), self.matched / max(1, self.boxed)
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        return [
            name,
            f"{self.recall(RED):.3f}",
            f"{self.recall(*STAGES):.3f}",
            f"{np.mean(self.centres):.3f}",
            f"{precision:.3f}",
            f"{f1:.3f}",
            f"{(self.found - self.boxed) / max(1, self.boxed):+.1%}",
            f"{np.mean(self.count):+.1%}",
            f"{np.mean(np.abs(self.count)):.1%}",
            f"{statistics.median(self.ms):.1f}",
            f"{np.percentile(self.ms, 95):.1f}",
        ]

    def classes(self) -> list[list[str]]:
        return [
            [
                name,
                str(len(found)),
                f"{self.recall(name):.3f}",
                f"{self.recall(name, least=0.75):.3f}",
                f"{np.median([v for v in found if v >= 0.5] or [math.nan]):.2f}",
            ]
            for name, found in sorted(self.best.items(), key=lambda item: -len(item[1]))
        ]


HEAD = ["", "recall", "of stages", "centre in box", "precision", "F1", "count", "a field",
        "|count|", "ms", "p95"]  # fmt: skip
CLASSES = ["boxes of", "whole ones", "IoU >= .5", "IoU >= .75", "median IoU"]


def judge(
    tally: Tally, find: Callable[[Any], Boxes], pixels: Any, truth: Boxes, labels: list[str]
) -> None:
    start = time.thread_time()
    found = find(pixels)
    tally.ms.append((time.thread_time() - start) * 1e3)
    height, width = pixels.shape[:2]
    scores = iou(truth, found)
    hit = {a: float(scores[a, b]) for a, b in pairs(scores, 0.5)}
    near = {a for a, _ in pairs(centred(truth, found), 1e-9)}
    tally.boxed, tally.found = tally.boxed + len(truth), tally.found + len(found)
    tally.matched += len(hit)
    tally.count.append((len(found) - len(truth)) / max(1, len(truth)))
    for i, (x, y, w, h) in enumerate(truth):
        if x > 2 and y > 2 and x + w < width - 2 and y + h < height - 2:
            tally.centres.append(i in near)
            tally.best.setdefault(labels[i], []).append(hit.get(i, 0.0))


def clipped(x: float, y: float, w: float, h: float, size: tuple[int, int]) -> Any:
    x0, y0, x1, y1 = max(0, x), max(0, y), min(size[0], x + w), min(size[1], y + h)
    return x0, y0, x1 - x0, y1 - y0


def drawn_truth(drawn: SimulatedField) -> tuple[Boxes, list[str]]:
    """Cells whose centre lies in the field; a circle's box stands for the cell's."""
    height, width = drawn.pixels.shape[:2]
    seen = [c for c in drawn.cells if 0 <= c.x < width and 0 <= c.y < height]
    boxes = [
        clipped(c.x - c.radius, c.y - c.radius, 2 * c.radius, 2 * c.radius, (width, height))
        for c in seen
    ]
    return boxes, ["ring" if c.infected else RED for c in seen]


WAYS: dict[str, Callable[[Any], Boxes]] = {"ours": ours, "components": components}


def real_fields(folder: Path, records: list[Any]) -> dict[str, Tally]:
    out = {name: Tally() for name in WAYS}
    for record in records:
        picture = Image.open(folder / "images" / record["image"]).convert("RGB")
        boxes = [clipped(b["x"], b["y"], b["w"], b["h"], picture.size) for b in record["boxes"]]
        labels = [b["label"] for b in record["boxes"]]
        pixels = np.asarray(picture)
        for name, find in WAYS.items():
            judge(out[name], find, pixels, boxes, labels)
    return out


def drawn_fields(count: int, clumped: tuple[float, ...]) -> dict[str, Tally]:
    out = {name: Tally() for name in WAYS}
    for i in range(count):
        made = draw_field(
            2000 + i, 100 + i, (1280, 960), cells=(60, 120, 160)[i % 3],
            clumped=clumped[i // 3 % len(clumped)], white_cells=i % 3,
            diameter=(60, 75, 90)[i % 3],
        )  # fmt: skip
        truth, labels = drawn_truth(made)
        for name, find in WAYS.items():
            judge(out[name], find, made.pixels, truth, labels)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fields", type=Path)
    parser.add_argument("--half", choices=("odd", "even"), help="only this one")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--drawn", type=int, default=12)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    records = sorted(
        json.loads((options.fields / "boxes.json").read_text()), key=lambda r: str(r["image"])
    )
    halves = {"odd": records[1::2], "even": records[::2]}
    tallies = {
        f"real, {half} half": real_fields(options.fields, halves[half][:: options.every])
        for half in halves
        if options.half in (None, half)
    }
    tallies["drawn, no clumps"] = drawn_fields(options.drawn, (0.0,))
    tallies["drawn, 10 to 60 % in clumps"] = drawn_fields(options.drawn, (0.1, 0.3, 0.6))
    for title, found in tallies.items():
        a, b = found["ours"], found["components"]
        print(f"\n{title}: {len(a.ms)} fields")
        print(table(HEAD, [t.row(name) for name, t in found.items()]))
        print(f"ours / peer: recall {a.recall(RED) / b.recall(RED):.2f}, "
              f"time {statistics.median(a.ms) / statistics.median(b.ms):.1f}")  # fmt: skip
        if title.startswith("real"):
            print(table(CLASSES, a.classes()))


if __name__ == "__main__":
    main()
