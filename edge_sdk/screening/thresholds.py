"""The choice of (t, k): a cell is flagged from probability t on, a slide from k flags on.

Made on validation patients only, then stored in the manifest and left alone; test patients judge
it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_sdk.artifact import (
    MANIFEST_FILE,
    CellRate,
    Decision,
    SlideRule,
    manifest_json,
    read_artifact,
)
from edge_sdk.errors import DataError, UsageError
from edge_sdk.files import write_whole
from edge_sdk.metrics import Bools, Floats, Ints
from edge_sdk.screening.limits import CONFIDENCE, cell_rate, flags_needed, limits, spread
from edge_sdk.stain_range import StainRange

TARGET_CELLS = 2000
CANDIDATES = 60
FOLDS = 5
MIN_PATIENTS = 5  # with each kind of cells


def choose_rule(
    score: Floats,
    infected: Bools,
    patients: Ints,
    decision: Decision,
    *,
    cells: int = TARGET_CELLS,
    specificity: float = CONFIDENCE,
    sensitivity: float = CONFIDENCE,
) -> SlideRule:
    """The threshold of the lowest limit of detection for `cells`, of equal ones the highest; and
    its rates by cross-fitting: each fifth of the patients is flagged by the threshold that the
    others choose.

    score: probability of `decision.positive` after its temperature, (n,); infected, patients: each
    cell's truth and patient number, (n,). decision: says what the scores are and of which images;
    its own threshold is replaced.
    Raises DataError for fewer than MIN_PATIENTS patients with clear or with infected cells, or
    where no threshold can tell slides apart; UsageError for a decision without positive label."""
    if decision.positive is None:
        raise UsageError("the slide rule needs a decision with its positive label: --positive")
    for name, kind in (("clear", ~infected), ("infected", infected)):
        if (found := len(np.unique(patients[kind]))) < MIN_PATIENTS:
            raise DataError(
                f"{found} patients have {name} cells, at least {MIN_PATIENTS} are needed: how "
                "patients differ decides how sure a slide can be; give data with groups"
            )
    wanted = cells, specificity, sensitivity
    t = _choose(score, infected, patients, wanted)
    # The rates of a threshold on the cells it was chosen on flatter it: it is the luckiest of many.
    called, folds = np.zeros_like(infected), _folds(infected, patients)
    for fold in range(FOLDS):
        held = folds == fold
        others = _choose(score[~held], infected[~held], patients[~held], wanted)
        called[held] = score[held] >= others
    clear, hit = (_rate(called, kind, patients) for kind in (~infected, infected))
    flags = flags_needed(cells, spread(clear), specificity)
    chosen = replace(decision, threshold=t)
    return SlideRule(chosen, cells, flags, specificity, sensitivity, clear, hit)


def _choose(
    score: Floats, infected: Bools, patients: Ints, wanted: tuple[int, float, float]
) -> float:
    cells, specificity, sensitivity = wanted
    best: tuple[float, float] | None = None
    for t in _candidates(score, infected):
        clear, hit = (_rate(score >= t, kind, patients) for kind in (~infected, infected))
        if hit.flagged / hit.counted <= clear.flagged / clear.counted:
            continue
        limit = limits(cells, spread(clear), spread(hit), specificity, sensitivity).detection
        if limit is not None and (best is None or (limit, -t) < best):
            best = limit, -t
    if best is None:
        raise DataError(
            f"no threshold tells slides of {cells} cells apart with specificity {specificity:g} "
            f"and sensitivity {sensitivity:g}: more cells, a better model, or lower demands"
        )
    return -best[1]


def store_rule(artifact: Path, rule: SlideRule | None, stain: StainRange | None = None) -> None:
    """Rewrites an artifact's manifest with these, whole or not at all."""
    manifest = replace(read_artifact(artifact).manifest, screening=rule, stain=stain)
    write_whole(artifact / MANIFEST_FILE, manifest_json(manifest).encode("utf-8"))


def _folds(infected: Bools, patients: Ints) -> Ints:
    """Each cell's fold; patients with infected cells are spread over the folds, and the others."""
    names, place = np.unique(patients, return_inverse=True)
    with_infected = np.bincount(place, infected) > 0
    fold = np.empty(len(names), np.int64)
    fold[np.argsort(with_infected, kind="stable")] = np.arange(len(names)) % FOLDS
    return np.asarray(fold[place], np.int64)


def _candidates(score: Floats, infected: Bools) -> Sequence[float]:
    """Halfway between neighbours among the distinct scores, so that a rounding flips no cell; of
    many, those at even steps of the clear and of the infected cells' ranks."""
    distinct = np.unique(score)
    halfway = (distinct[1:] + distinct[:-1]) / 2
    if len(halfway) <= CANDIDATES:
        return [float(t) for t in halfway]
    # Clear cells' upper ranks by their logarithm: limits are decided among the rarest flags.
    clear = np.sort(score[~infected])
    ranks = len(clear) - np.geomspace(1, len(clear), CANDIDATES // 2)
    marks = np.r_[clear[ranks.astype(np.int64)],
                  np.quantile(score[infected], np.linspace(0, 1, CANDIDATES // 2))]  # fmt: skip
    places = np.clip(np.searchsorted(distinct, marks), 0, len(halfway) - 1)
    return [float(t) for t in halfway[np.unique(places)]]


def _rate(called: Bools, kind: Bools, patients: Ints) -> CellRate:
    counted = np.bincount(patients[kind])
    flagged = np.bincount(patients[kind], called[kind], minlength=len(counted))
    rows = zip(flagged.astype(np.int64).tolist(), counted.tolist(), strict=True)
    return cell_rate(list(rows))
