"""The embedded model's slide results on test patients: (t, k) from validation, frozen, read once.

    python benchmarks/slide_table.py NIH [ARTIFACT ...] [--slides 50] [--seed 7]

NIH: folder of cell crops with index.csv (nih-malaria). ARTIFACT: of the embedded model, with its
slide rule; the int8 and w4a8 of `default_artifacts` where none is given.

1. Each test patient as a slide of all its cells, by the frozen rule. These are some dozens of cells
   of each, half of them infected by the data set's making: no slide as a microscope sees it.
2. Simulated mixtures of real cells: test patients' cells drawn with replacement to N cells at a
   given parasitaemia. `own`: a slide is one patient's, clear and infected cells both; `pooled`: of
   all test patients' cells, so that slides are alike. A patient has about 70 clear cells: own
   slides cannot tell a rate below 1.4 % from none, and make one flagged cell of a patient one in
   70; pooled ones leave out how patients differ. The truth lies between.
   The peer's rule on the same slides, in images of 200 cells: the median over images of an image's
   median probability among its cells from 0.5 on (0 without one) is above 0.75.

Intervals: Wilson's, 95 %; they count patients for `own` (a patient's slides share its cells), and
slides for `pooled`, which says nothing of other patients. Measured are the cells' scores; the
slides are simulated. No site calibration: flags needed are by the validation patients' rate.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_sdk import metrics
from edge_sdk.artifact import SlideRule, read_artifact
from edge_sdk.convert.default import default_artifacts
from edge_sdk.dataset import read_dataset
from edge_sdk.evaluate.answers import read_labelled, run_all
from edge_sdk.metrics import Bools, Floats
from edge_sdk.progress import silent
from edge_sdk.report import table
from edge_sdk.runtime import Classifier, load_model
from edge_sdk.screening.limits import flags_needed, limits, spread
from edge_sdk.screening.proportions import wilson
from edge_sdk.screening.slide import SlideCounts, check_rule, judge_slide, red_cells
from edge_sdk.zoo import default_model

SIZES = (2000, 5000)
SHARES = (0.0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
PER_IMAGE = 200
LEAST_CLEAR, LEAST_INFECTED = 20, 10  # cells, for slides of a patient's own
CONFIDENT, POSITIVE = 0.75, 0.5  # the peer's


@dataclass(frozen=True)
class Patient:
    """score: after the rule's temperature; raw: the model's probability; both of the infected."""

    name: str
    infected: Bools
    score: Floats
    raw: Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("artifacts", type=Path, nargs="*")
    parser.add_argument("--slides", type=int, default=50, help="of each patient")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    for path in args.artifacts or [a.path for a in default_artifacts()]:
        manifest = read_artifact(path).manifest
        rule = manifest.screening
        if rule is None:
            parser.error(f"{path} has no slide rule in its manifest")
        check_rule(rule)
        patients = scored(path, rule, args.data)
        d = rule.decision
        print(f"\n{manifest.name} {manifest.scheme}: t {d.threshold:.4f}, k {rule.flags} of "
              f"{rule.cells:,} cells, temperature {d.temperature:.3f}, chosen on {d.data}, "
              f"{d.groups} patients; frozen\n")  # fmt: skip
        print(cells_table(patients, rule), "\n")
        print(patients_table(patients, rule), "\n")
        print(mixtures(patients, rule, args.slides, np.random.default_rng(args.seed)))


def scored(path: Path, rule: SlideRule, data: Path) -> list[Patient]:
    """The test patients of the embedded model's training."""
    parts = json.loads(default_model().with_name("patients.json").read_text(encoding="utf-8"))
    part_of = {name: part for part, names in parts.items() for name in names}
    whole = read_dataset(data)
    model = replace(load_model(path), decision=None)
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "split.csv"
        with split.open("w", newline="", encoding="utf-8") as f:
            rows = csv.writer(f)
            rows.writerow(["file", "part"])
            rows.writerows([whole.name_of(i), part_of[i.group or ""]] for i in whole.items)
        test = read_labelled(data, None, model.labels, split, "test")
    with Classifier(model) as classifier:
        found, (answers,) = run_all([classifier], test, model.labels, None, 1, silent)
    at = model.labels.index(str(rule.decision.positive))
    score = metrics.scaled(answers.p, rule.decision.temperature, answers.floor)[:, at]
    out = []
    for number, name in enumerate(found.names):
        mine = found.groups == number
        out.append(Patient(name, found.truth[mine] == at, score[mine], answers.p[mine, at]))
    return out


def bound(rule: SlideRule) -> float:
    assert rule.decision.threshold is not None  # a SlideRule has one
    return rule.decision.threshold


def needed(cells: int, rule: SlideRule) -> int:
    return flags_needed(cells, spread(rule.clear), rule.specificity)


def cells_table(patients: Sequence[Patient], rule: SlideRule) -> str:
    infected = np.concatenate([p.infected for p in patients])
    called = np.concatenate([p.score for p in patients]) >= bound(rule)
    rows = []
    for name, kind, before in (
        ("clear", ~infected, rule.clear),
        ("infected", infected, rule.infected),
    ):
        low, high = wilson(int(called[kind].sum()), int(kind.sum()))
        rows.append([
            f"{name} cells", f"{before.flagged:,} of {before.counted:,}",
            f"{before.flagged / before.counted:.2%}", f"{called[kind].sum():,} of {kind.sum():,}",
            f"{called[kind].mean():.2%}", f"{low:.2%} to {high:.2%}",
        ])  # fmt: skip
    heads = ["flagged", "validation, cross-fitted", "share", "test", "share", "Wilson by cells"]
    return table(heads, rows)


def patients_table(patients: Sequence[Patient], rule: SlideRule) -> str:
    rows = []
    tally = {True: [0, 0], False: [0, 0]}
    for p in sorted(patients, key=lambda p: (p.infected.any(), p.name)):
        x, n = int((p.score >= bound(rule)).sum()), len(p.score)
        k = needed(n, rule)
        outcome = judge_slide(SlideCounts(x, n), rule, None, red_cells())
        ill = bool(p.infected.any())
        tally[ill][0] += x >= k
        tally[ill][1] += 1
        why = f" ({outcome.reason})" if outcome.reason else ""
        rows.append([
            p.name, f"{p.infected.sum()}", f"{x} of {n}", f"{k}",
            "yes" if x >= k else "no", outcome.outcome + why,
        ])  # fmt: skip
    heads = ["patient", "infected by label", "flagged", "k", "x >= k", "outcome"]
    lines = [table(heads, rows, left=1)]
    for ill, name in ((True, "with infected cells"), (False, "without")):
        hit, of = tally[ill]
        low, high = wilson(hit, of)
        lines.append(f"patients {name}: {hit} of {of} reach k ({low:.0%} to {high:.0%})")
    return "\n".join(lines)


def mixtures(
    patients: Sequence[Patient], rule: SlideRule, slides: int, rng: np.random.Generator
) -> str:
    out = []
    pool = Patient(
        "pooled",
        *(np.concatenate([getattr(p, f) for p in patients]) for f in ("infected", "score", "raw")),
    )
    own = [p for p in patients if (~p.infected).sum() >= LEAST_CLEAR]
    for n in SIZES:
        k = needed(n, rule)
        told = limits(n, spread(rule.clear), spread(rule.infected))
        rows = []
        lowest: dict[str, list[tuple[float, float]]] = {"own": [], "pooled": []}
        for share in SHARES:
            cells = [f"{share:.2%}"]
            for way in ("own", "pooled"):
                ready = [p for p in own if not share or p.infected.sum() >= LEAST_INFECTED]
                drawn = ready if way == "own" else [pool] * len(own)
                ours, peers = (
                    np.array(x)
                    for x in zip(*(called(p, rule, k, n, share, slides, rng) for p in drawn),
                                 strict=True)
                )  # fmt: skip
                units = len(drawn) if way == "own" else len(drawn) * slides
                cells += [rate(ours.mean(), units, share), rate(peers.mean(), units, share)]
                lowest[way].append((share, ours.mean()))
            rows.append(cells)
        heads = ["parasitaemia", "own slides", "peer's rule", "pooled slides", "peer's rule"]
        out.append(f"{n:,} cells, k {k}; {len(own)} patients with {LEAST_CLEAR} or more clear "
                   f"cells, of them infected slides of those with {LEAST_INFECTED} or more infected"
                   f"; first row specificity, then sensitivity\n{table(heads, rows)}")  # fmt: skip
        expected = "none" if told.detection is None else f"{told.detection:.2%}"
        seen = {w: next((f"{s:.2%}" for s, r in f if s and r >= 0.95), "none")
                for w, f in lowest.items()}  # fmt: skip
        out.append(
            f"limit of blank {told.blank:.2%}, of detection {expected} (computed from validation); "
            f"lowest parasitaemia above with 95 % of slides flagged: own {seen['own']}, pooled "
            f"{seen['pooled']}\n"
        )
    return "simulated mixtures of real cells\n" + "\n".join(out)


def called(
    p: Patient,
    rule: SlideRule,
    k: int,
    n: int,
    share: float,
    slides: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Of slides of this patient's cells, the share that our rule and that the peer's calls."""
    clear, ill = np.flatnonzero(~p.infected), np.flatnonzero(p.infected)
    picked = clear[rng.integers(len(clear), size=(slides, n))]
    if share:
        hit = rng.random((slides, n)) < share
        picked[hit] = ill[rng.integers(len(ill), size=int(hit.sum()))]
    ours = (p.score[picked] >= bound(rule)).sum(axis=1) >= k
    images = p.raw[picked].reshape(slides, n // PER_IMAGE, PER_IMAGE)
    ordered = -np.sort(-np.where(images >= POSITIVE, images, -1.0), axis=2)
    count = (images >= POSITIVE).sum(axis=2)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    middle = [np.take_along_axis(ordered, i[..., None], 2)[..., 0] for i in (low, high)]
    median = np.where(count > 0, (middle[0] + middle[1]) / 2, 0.0)
    return float(ours.mean()), float((np.median(median, axis=1) > CONFIDENT).mean())


def rate(share: float, units: int, parasitaemia: float) -> str:
    """Specificity without parasites, else sensitivity, with Wilson's interval of `units`."""
    value = share if parasitaemia else 1 - share
    low, high = wilson(round(value * units), units)
    return f"{value:.1%} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
