"""A slide rule for an artifact, from the validation patients of its training, and the colours that
its cells had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_sdk import metrics
from edge_sdk.artifact import SlideRule
from edge_sdk.dataset import read_dataset, read_split
from edge_sdk.errors import UsageError
from edge_sdk.evaluate.answers import read_labelled, run_all
from edge_sdk.evaluate.judge import fit_decision
from edge_sdk.evaluate.stain import measure_stain
from edge_sdk.files import sha256
from edge_sdk.progress import Progress, silent
from edge_sdk.runtime import Classifier, load_model
from edge_sdk.screening.thresholds import TARGET_CELLS, choose_rule, store_rule
from edge_sdk.stain_range import StainRange


def make_rule(
    artifact: Path,
    data: Path,
    split_file: Path,
    positive: str,
    *,
    cells: int = TARGET_CELLS,
    backend: str = "auto",
    progress: Progress = silent,
) -> tuple[SlideRule, StainRange | None]:
    """Chooses a rule on the validation part of `data` and stores it in the artifact's manifest,
    with the range of colours of its training and validation parts; None for cells that are not
    cut out on black. The test part is not looked at.

    Raises UsageError for a model that is no artifact or lacks the label, DataError for what cannot
    be read or too few patients (see choose_rule)."""
    if not artifact.is_dir():
        raise UsageError(f"{artifact} is no artifact folder and has no manifest to keep a rule in")
    model = replace(load_model(artifact), decision=None)
    if len(model.labels) != 2 or positive not in model.labels:
        raise UsageError(f"--positive {positive}: {model.name} has {', '.join(model.labels)}")
    chosen_on = read_labelled(data, None, model.labels, split_file, "validation")
    with Classifier(model, backend=backend) as classifier:
        found, (answers,) = run_all([classifier], chosen_on, model.labels, None, 1, progress)
    stain = training_stain(data, split_file, progress)
    decision = fit_decision(answers, found, model.labels, positive)
    at = model.labels.index(positive)
    score = metrics.scaled(answers.p, decision.temperature, answers.floor)[:, at]
    rule = choose_rule(score, found.truth == at, found.groups, decision, cells=cells)
    rule = replace(rule, model_sha256=sha256(model.path))
    store_rule(artifact, rule, stain)
    return rule, stain


def training_stain(data: Path, split_file: Path, progress: Progress = silent) -> StainRange | None:
    """See measure_stain; of the training and the validation part together."""
    whole = read_dataset(data)
    parts = read_split(whole, split_file)
    used = replace(whole.subset((*parts["train"], *parts["validation"])), part="train, validation")
    return measure_stain(used, progress)
