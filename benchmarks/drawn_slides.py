"""Whole drawn slides through real sessions: is a slide's result what its drawing says?

    python benchmarks/drawn_slides.py --out slides.csv [--slides 10] [--cells 2000] [--model A]

SIMULATED throughout: drawn fields with clumps, white cells, platelets, blurred and repeated
pictures, counted by segmentation, gates, model and the rule that drawn slides take; each slide is
another drawn patient. First three clear slides calibrate the site, as `edge-sdk screen
calibrate-site` does, then --slides slides at each parasitaemia. A slide is a line of --out, written
when it ends; run it again and it goes on. The truth is that of the fields that were counted.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edge_sdk.artifact import Artifact, read_artifact
from edge_sdk.camera import Frame
from edge_sdk.convert.default import default_artifacts
from edge_sdk.report import table
from edge_sdk.screening import session
from edge_sdk.screening.calibration import calibrate_from
from edge_sdk.screening.drawn_slide import DrawnSlide
from edge_sdk.screening.gates import Gates
from edge_sdk.screening.make_session import NewSession, new_session
from edge_sdk.screening.proportions import wilson
from edge_sdk.screening.reader import FieldReader
from edge_sdk.screening.store import Store

PERCENT = (0.0, 0.5, 1.0, 2.0, 5.0)
BLANKS = 3
WHO = "benchmark"


@dataclass(frozen=True)
class Slide:
    """percent: asked of the drawing; drawn, infected: cells of the fields that were counted;
    low, share, high: the corrected parasitaemia; blurred, repeated: pictures of these
    kinds, and how many of them were kept out; lost: good pictures that were kept out."""

    percent: float
    seed: int
    outcome: str
    flagged: int
    counted: int
    drawn: int
    infected: int
    low: float
    share: float
    high: float
    detection: float
    pictures: int
    blurred: int
    blurred_out: int
    repeated: int
    repeated_out: int
    lost: int


class Watched:
    """Frames of a drawn slide, with what each of them is."""

    def __init__(self, camera: DrawnSlide) -> None:
        self._camera = camera
        self.kinds: list[str] = []
        self.cells: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[Frame]:
        before = None
        for frame in self._camera:
            field = frame.metadata["field"]
            repeated = field.seed == before
            before = field.seed
            self.kinds.append("repeated" if repeated else "blurred" if field.defocus else "good")
            self.cells.append((len(field.cells), sum(c.infected for c in field.cells)))
            yield frame


def run_slide(
    artifact: Artifact, root: Path, percent: float, seed: int, cells: int, site: Path | None
) -> tuple[Path, Slide]:
    new = NewSession(
        artifact=artifact, operator=WHO, device=WHO, camera="simulated", parasitaemia=percent,
        camera_options={"seed": seed}, target=cells, calibration=site,
    )  # fmt: skip
    folder = new_session(root, new)
    watched = Watched(DrawnSlide(parasitaemia=percent / 100, seed=seed))
    with Store(folder, write=True) as store, FieldReader(store.settings) as reader:
        gates = Gates(stain=store.settings.stain)
        session.begin(store, reader, WHO, gates)
        accepted = [
            step.field.accepted for step in session.capture(store, watched, reader, gates, WHO)
        ]
        result = session.finish(store, WHO)
    seen = list(zip(watched.kinds, accepted, watched.cells, strict=True))
    e, limits = result.estimate, result.limits
    slide = Slide(
        percent=percent,
        seed=seed,
        outcome=result.outcome,
        flagged=result.counts.flagged,
        counted=result.counts.counted,
        drawn=sum(c[0] for _, good, c in seen if good),
        infected=sum(c[1] for _, good, c in seen if good),
        low=e.low if e else 0.0,
        share=e.share if e else 0.0,
        high=e.high if e else 1.0,
        detection=(limits.detection or 1.0) if limits else 1.0,
        pictures=len(seen),
        blurred=sum(k == "blurred" for k, _, _ in seen),
        blurred_out=sum(k == "blurred" and not good for k, good, _ in seen),
        repeated=sum(k == "repeated" for k, _, _ in seen),
        repeated_out=sum(k == "repeated" and not good for k, good, _ in seen),
        lost=sum(k == "good" and not good for k, good, _ in seen),
    )
    return folder, slide


def read(out: Path) -> dict[tuple[float, int], Slide]:
    if not out.is_file():
        return {}
    kinds = {f.name: {"str": str, "int": int, "float": float}[str(f.type)] for f in fields(Slide)}
    with out.open(newline="") as file:
        rows = [Slide(**{k: kinds[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]
    return {(s.percent, s.seed): s for s in rows}


def write(out: Path, slide: Slide) -> None:
    new = not out.is_file()
    with out.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Slide)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(slide))


def summary(slides: list[Slide]) -> str:
    rows = []
    for percent in PERCENT:
        mine = [s for s in slides if s.percent == percent]
        if not mine:
            continue
        flagged = sum(s.outcome == "flagged" for s in mine)
        low, high = wilson(flagged, len(mine))
        truth = [s.infected / s.drawn for s in mine]
        held = sum(s.low <= t <= s.high for s, t in zip(mine, truth, strict=True))
        rows.append(
            [
                f"{percent:g} %",
                f"{100 * sum(truth) / len(mine):.2f} %",
                f"{flagged} of {len(mine)} ({100 * low:.0f} to {100 * high:.0f} %)",
                f"{100 * sum(s.share for s in mine) / len(mine):.2f} %",
                f"{held} of {len(mine)}",
                f"{100 * sum(s.detection for s in mine) / len(mine):.2f} %",
            ]
        )
    heads = ["asked", "drawn", "flagged (Wilson 95 %)", "corrected", "truth inside", "LoD"]
    total = {f.name: sum(getattr(s, f.name) for s in slides) for f in fields(Slide)[7:]}
    good = total["pictures"] - total["blurred"] - total["repeated"]
    return table(heads, rows) + (
        f"\npictures: {total['blurred_out']} of {total['blurred']} blurred and "
        f"{total['repeated_out']} of {total['repeated']} repeated ones kept out, "
        f"{total['lost']} of {good} good ones"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slides", type=int, default=10)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    artifact = read_artifact(given.model) if given.model else default_artifacts()[0]
    done = read(given.out)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        blanks = [
            run_slide(artifact, root, 0.0, 4000 + n, given.cells, None)[0] for n in range(BLANKS)
        ]
        site = root / "site.json"
        found, _ = calibrate_from("drawn", blanks, site)
        print("SIMULATED; blank slides:", [(s.flagged, s.counted) for s in found.slides])
        for n in range(given.slides):  # each level in turn, so that an early end has all of them
            for place, percent in enumerate(PERCENT):
                seed = 100 * (place + 1) + n
                if (percent, seed) not in done:
                    slide = run_slide(artifact, root, percent, seed, given.cells, site)[1]
                    write(given.out, slide)
                    done[percent, seed] = slide
                    print(f"{percent:g} %, seed {seed}: {slide.outcome}", flush=True)
    print(summary(list(done.values())))


if __name__ == "__main__":
    main()
