from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_artifact import manifest_of

from edge_sdk.artifact import Decision, SlideRule, manifest_json, read_artifact
from edge_sdk.errors import ArtifactError, DataError, UsageError
from edge_sdk.metrics import Bools, Floats, Ints, fit_threshold
from edge_sdk.screening.limits import cell_rate, limits, spread
from edge_sdk.screening.slide import check_rule
from edge_sdk.screening.thresholds import CANDIDATES, choose_rule, store_rule

DECISION = Decision(1.3, None, None, "validation", False, 9000, 20)
POSITIVE = replace(DECISION, threshold=0.5, positive="ring")


def cells(seed: int = 1, n: int = 9000, patients: int = 20) -> tuple[Floats, Bools, Ints]:
    """Scores of two classes that overlap; patients differ in their clear cells."""
    rng = np.random.default_rng(seed)
    infected, who = rng.random(n) < 0.4, rng.integers(patients, size=n)
    z = rng.normal(np.where(infected, 2.0, -2.0 + 0.3 * (who % 3 - 1)), 1.2)
    return 1 / (1 + np.exp(-z)), infected, who


@pytest.fixture(scope="module")
def rule() -> SlideRule:
    return choose_rule(*cells(), POSITIVE)


def test_the_threshold_is_that_of_the_lowest_limit_and_stricter_than_youdens(
    rule: SlideRule,
) -> None:
    score, infected, who = cells()
    t = rule.decision.threshold
    assert t is not None
    assert t > fit_threshold(score, infected)

    def detection(at: float) -> float:
        called = score >= at
        rates = [
            cell_rate([(int(called[k & (who == i)].sum()), int((k & (who == i)).sum()))
                       for i in range(20)])
            for k in (~infected, infected)
        ]  # fmt: skip
        return limits(2000, *map(spread, rates)).detection or 1.0

    for other in (0.5, 0.7, 0.8, 0.95, 0.99):
        assert detection(other) >= detection(t)


def test_its_rates_are_of_patients_that_did_not_choose_it(rule: SlideRule) -> None:
    score, infected, _ = cells()
    assert (rule.clear.counted, rule.clear.slides) == (int((~infected).sum()), 20)
    called = score >= (rule.decision.threshold or 1)
    assert rule.clear.flagged > called[~infected].sum()
    check_rule(rule)


def test_the_decision_says_what_it_was_chosen_on(rule: SlideRule) -> None:
    assert replace(rule.decision, threshold=0.5) == POSITIVE


def test_every_threshold_is_tried_when_there_are_few() -> None:
    score, infected, who = cells()
    coarse = np.round(score * 8) / 8
    rule = choose_rule(coarse, infected, who, POSITIVE)
    assert len(np.unique(coarse)) <= CANDIDATES
    t = rule.decision.threshold
    assert t is not None
    assert (t * 16) % 2 == 1  # halfway between two scores


def test_patients_with_infected_cells_are_in_every_fold() -> None:
    score, infected, who = cells()
    infected = infected & (who % 5 == 0)  # four patients, whose numbers would share a fold
    who = np.where(infected, who + 100 * (np.arange(len(who)) % 3), who)
    rule = choose_rule(score, infected, who, POSITIVE)
    assert rule.infected.slides == len(np.unique(who[infected])) == 12


def test_what_cannot_be_chosen_from() -> None:
    score, infected, who = cells()
    with pytest.raises(UsageError, match="--positive"):
        choose_rule(score, infected, who, DECISION)
    with pytest.raises(DataError, match="2 patients have clear cells, at least 5"):
        choose_rule(score, infected, np.where(infected, who, who % 2), POSITIVE)
    with pytest.raises(DataError, match="0 patients have infected cells"):
        choose_rule(score, np.zeros_like(infected), who, POSITIVE)
    with pytest.raises(DataError, match="no threshold tells slides of 2000 cells apart"):
        choose_rule(1 - score, infected, who, POSITIVE)
    with pytest.raises(DataError, match="no threshold"):
        choose_rule(np.full_like(score, 0.5), infected, who, POSITIVE)


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    out = tmp_path / "tiny-int8"
    out.mkdir()
    (out / "model.tflite").write_bytes((models / "tiny-int8.tflite").read_bytes())
    (out / "manifest.json").write_text(manifest_json(manifest_of(out / "model.tflite")))
    return out


def test_a_rule_is_kept_in_the_manifest_beside_the_decision(folder: Path, rule: SlideRule) -> None:
    before = read_artifact(folder).manifest
    store_rule(folder, rule)
    assert read_artifact(folder).manifest == replace(before, screening=rule)
    store_rule(folder, None)
    assert read_artifact(folder).manifest == before


def test_a_manifest_of_before_there_were_rules_is_readable(folder: Path) -> None:
    file = folder / "manifest.json"
    data = json.loads(file.read_text())
    del data["screening"]
    file.write_text(json.dumps(data))
    assert read_artifact(folder).manifest.screening is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["decision"].update(positive="spot"), "screening.decision.positive 'spot'"),
        (lambda d: d["decision"].update(positive=None, threshold=None), "needs a threshold"),
        (lambda d: d.update(flags=0), "flags 0 must be from 1 to cells"),
        (lambda d: d.update(specificity=95.0), "specificity 95.0 must be from 0.5"),
        (lambda d: d["clear"].update(flagged=-1), "-1 flagged of"),
        (lambda d: d["clear"].update(dispersion=1.0), "dispersion 1.0 must be in"),
        (lambda d: d["infected"].update(effective=0.0), "effective 0.0 above 0"),
        (lambda d: d.update(k=4), "unknown key 'k'"),
    ],
)
def test_a_rule_that_is_wrong_is_an_artifact_error(
    folder: Path, rule: SlideRule, change: Callable[[dict[str, object]], object], message: str
) -> None:
    store_rule(folder, rule)
    file = folder / "manifest.json"
    data = json.loads(file.read_text())
    change(data["screening"])
    file.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=message):
        read_artifact(folder)


@pytest.mark.slow
def test_clear_slides_of_new_patients_are_seldom_flagged() -> None:
    """Six choices, each judged on patients of its own. Rates that were measured on the cells the
    threshold was chosen on gave 0.88."""
    rng = np.random.default_rng(9)
    kept = []
    for seed in range(6):
        chosen = choose_rule(*cells(seed, 5000), POSITIVE)
        score, infected, who = cells(seed + 100, 40_000)
        called = score >= (chosen.decision.threshold or 1)
        shares = [called[~infected & (who == i)].mean() for i in range(20)]
        kept.append((rng.binomial(2000, rng.choice(shares, 2000)) < chosen.flags).mean())
    assert np.mean(kept) >= 0.93
