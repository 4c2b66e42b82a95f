"""What ships with the embedded model of its slide rules, and which artifacts get one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_artifact import manifest_of

from edge_sdk.artifact import Artifact, Gate, ImageRecord, Manifest, Sample
from edge_sdk.convert import default_screening
from edge_sdk.convert.default_screening import (
    Measured,
    form_of,
    read_record,
    record_file,
    with_screening,
    without_rule,
)
from edge_sdk.errors import ArtifactError
from edge_sdk.files import sha256
from edge_sdk.screening.slide import check_rule
from edge_sdk.zoo import default_model

RECORD = read_record(record_file())


def test_the_record_is_of_this_model_and_of_its_validation_patients_alone() -> None:
    parts = json.loads(default_model().with_name("patients.json").read_text())
    training = json.loads(default_model().with_name("training.json").read_text())["data"]["parts"]
    assert RECORD.source_sha256 == sha256(default_model())
    for measured in RECORD.measured:
        rule, decision = measured.rule, measured.rule.decision
        assert decision.data == "nih-malaria (validation part)"
        assert not decision.simulated
        assert decision.groups == len(parts["validation"])
        assert decision.images == training["validation"]["images"]
        counts = training["validation"]["classes"]
        assert rule.clear.counted == counts["Uninfected"]
        assert rule.infected.counted == counts["Parasitized"]
        check_rule(rule)
    assert RECORD.stain.groups == len(parts["train"]) + len(parts["validation"])


def test_each_scheme_has_figures_of_its_own() -> None:
    schemes = [m.form.scheme for m in RECORD.measured]
    assert len(set(schemes)) == len(schemes)
    assert {"float32", "int8", "w4a8"} <= set(schemes)
    assert len({m.rule.model_sha256 for m in RECORD.measured}) == len(schemes)
    assert len({m.rule.decision.temperature for m in RECORD.measured}) == len(schemes)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A manifest of the embedded model, in the one form that the record then measured."""
    m = manifest_of(default_model().with_name("labels.txt"))
    names = [ImageRecord(f"cell-{i}.png", "0" * 64, None) for i in range(3)]
    m = replace(
        m,
        scheme="int8",
        method="min-max",
        source=replace(m.source, sha256=RECORD.source_sha256),
        calibration=Sample("simulated-cells", True, 0, tuple(names)),
        gate=replace(m.gate, passed=True),
        labels=("Parasitized", "Uninfected"),
    )
    rule = RECORD.measured[0].rule
    record = replace(RECORD, measured=(Measured(form_of(m), rule),))
    monkeypatch.setattr(default_screening, "read_record", lambda _: record)
    return m


def test_the_measured_form_gets_its_rule_and_the_colours(shipped: Manifest) -> None:
    found = with_screening(shipped)
    assert found.screening == RECORD.measured[0].rule
    assert found.stain == RECORD.stain
    assert without_rule([Artifact(default_model(), found)]) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "w4a8"},
        {"method": "adaptive"},
        {"weight_types": {"CONV_2D int4": 1}},
        {"calibration": None},
        {"calibration": Sample("mine", False, 0, (ImageRecord("a.png", "0" * 64, None),))},
        {"gate": Gate("accuracy", 1.5, False, ())},
    ],
)
def test_another_form_of_it_gets_the_colours_alone_and_says_so(
    shipped: Manifest, change: dict[str, object]
) -> None:
    other = with_screening(replace(shipped, **change))  # type: ignore[arg-type]
    assert (other.screening, other.stain) == (None, RECORD.stain)
    assert "edge-sdk screen rule" in without_rule([Artifact(default_model(), other)])[0]


def test_another_model_gets_nothing(shipped: Manifest) -> None:
    other = replace(shipped, source=replace(shipped.source, sha256="1" * 64))
    assert with_screening(other) == other
    assert without_rule([Artifact(default_model(), other)]) == ()


def test_a_record_of_another_version_or_model_is_refused(
    shipped: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = default_model().with_name("labels.txt")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_record(file)
    old = replace(RECORD, source_sha256="1" * 64)
    monkeypatch.setattr(default_screening, "read_record", lambda _: old)
    with pytest.raises(ArtifactError, match="of another model"):
        with_screening(shipped)
