"""Bundles against HL7's definitions, and what they say.

By two libraries that are generated from them: fhirclient from R4, 4.0.1 (types, cardinalities, no
element that is not there), fhir.resources from R4B, 4.3.0 (also patterns of values)."""

from __future__ import annotations

import copy
import importlib
import json
import re

import pytest
from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError
from screening_records import every_outcome, record
from screening_words import forbidden

from edge_sdk.screening.fhir import bundle
from edge_sdk.screening.texts import LANGUAGES, text

CASES = [(name, language) for language in LANGUAGES for name in every_outcome()]


def resources(data, kind):
    return [e["resource"] for e in data["entry"] if e["resource"]["resourceType"] == kind]


def observation(data, code):
    found = [
        o
        for o in resources(data, "Observation")
        if any(c["code"] == code for c in o["code"].get("coding", []))
    ]
    assert len(found) == 1
    return found[0]


def per_ul(data):
    return next(
        o
        for o in resources(data, "Observation")
        if any(p.get("valueQuantity", {}).get("code") == "{#}/uL" for p in o.get("component", []))
    )


WRONG = [
    ("DiagnosticReport", {"status": None}),
    ("DiagnosticReport", {"issued": "yesterday"}),
    ("Observation", {"code": "51587-4"}),
    ("Observation", {"valueInteger": "many"}),
    ("Device", {"version": [{"type": {"text": "model"}}]}),
    ("Provenance", {"recorded": "yesterday"}),
    ("Provenance", {"agent": None}),
    ("Provenance", {"invented": 1}),
]


def wrong_bundle(kind, change):
    data = copy.deepcopy(bundle(record()))
    found = resources(data, kind)[0]
    found.update(change)
    for name in [k for k, v in change.items() if v is None]:
        del found[name]
    return data


@pytest.mark.parametrize(("name", "language"), CASES)
def test_every_bundle_fits_the_definitions_of_r4(name, language):
    r4 = pytest.importorskip(
        "fhirclient.models.bundle", reason="no fhirclient: pip install -e .[dev]"
    )
    data = bundle(every_outcome(language)[name])
    assert r4.Bundle(copy.deepcopy(data)).as_json() == data


@pytest.mark.parametrize(
    ("kind", "change"),
    [*WRONG, ("Observation", {"instantiatesCanonical": "of R5"}), ("Device", {"name": [{}]})],
)
def test_r4_refuses_what_is_wrong(kind, change):
    r4 = pytest.importorskip(
        "fhirclient.models.bundle", reason="no fhirclient: pip install -e .[dev]"
    )
    base = importlib.import_module("fhirclient.models.fhirabstractbase")
    with pytest.raises(base.FHIRValidationError, match="entry"):
        r4.Bundle(wrong_bundle(kind, change))


@pytest.mark.parametrize(("name", "language"), CASES)
def test_every_text_fits_the_pattern_of_r4_whatever_whitespace_its_reader_knows(name, language):
    def texts(data):
        if isinstance(data, dict):
            data = list(data.values())
        return [t for v in data for t in texts(v)] if isinstance(data, list) else [data]

    found = [t for t in texts(bundle(every_outcome(language)[name])) if isinstance(t, str)]
    assert len(found) > 100
    assert [t for t in found if not re.fullmatch(r"[ \r\n\t\S]+", t)] == []


@pytest.mark.parametrize(("name", "language"), CASES)
def test_every_bundle_fits_the_schemas_of_r4b(name, language):
    data = bundle(every_outcome(language)[name])
    checked = Bundle.model_validate_json(json.dumps(data))
    kinds = [e.resource.get_resource_type() for e in checked.entry]
    assert kinds[0] == "DiagnosticReport"
    assert kinds[-2:] == ["Device", "Provenance"]
    assert set(kinds[1:-2]) == {"Observation"}
    # What the library read is what was written: nothing was dropped.
    assert len(checked.model_dump_json()) > 0.9 * len(json.dumps(data, ensure_ascii=False))


@pytest.mark.parametrize(("kind", "change"), WRONG)
def test_the_schemas_refuse_what_is_wrong(kind, change):
    with pytest.raises(ValidationError):
        Bundle.model_validate_json(json.dumps(wrong_bundle(kind, change)))


@pytest.mark.parametrize(("name", "language"), CASES)
def test_reports_are_preliminary_and_carry_the_label(name, language):
    r = every_outcome(language)[name]
    data = bundle(r)
    (report,) = resources(data, "DiagnosticReport")
    found = [report, *resources(data, "Observation")]
    assert {o["status"] for o in found} == {"preliminary"}
    for entry in data["entry"]:
        said = json.dumps(entry["resource"], ensure_ascii=False)
        assert " ".join(text("label", language).split()) in said
        assert (text("simulated", language) in said) == r.simulated
        assert ("HTEST" in said) == r.simulated
    plain = json.dumps(data, ensure_ascii=False).replace('"DiagnosticReport"', "")
    assert forbidden(plain) == []


@pytest.mark.parametrize("name", every_outcome())
def test_codes_are_those_of_microscopy_and_none_of_dna(name):
    said = json.dumps(bundle(every_outcome()[name]))
    codes = set(re.findall(r'"http://loinc.org", "code": "([^"]+)"', said))
    assert codes <= {"51587-4", "53556-7", "48427-9"}
    assert "47260-5" not in said
    assert "70568-1" not in said


def test_references_lead_to_resources_of_the_bundle():
    data = bundle(record(verdicts=("confirmed", "rejected")))
    there = {e["fullUrl"] for e in data["entry"]}
    assert len(there) == len(data["entry"])
    wanted = set(re.findall(r'"reference": "([^"]+)"', json.dumps(data)))
    assert wanted <= there
    (report,) = resources(data, "DiagnosticReport")
    assert len(report["result"]) == len(resources(data, "Observation")) == 6


def test_a_flagged_slide_has_its_corrected_quantities_with_interval_and_limits():
    r = record()
    data = bundle(r)
    percent = observation(data, "53556-7")
    assert percent["valueQuantity"]["value"] == pytest.approx(100 * r.result.estimate.share, 1e-3)
    assert percent["valueQuantity"]["code"] == "%"
    per_1000 = observation(data, "48427-9")["valueQuantity"]["value"]
    assert per_1000 == pytest.approx(10 * percent["valueQuantity"]["value"], 1e-3)
    found = per_ul(data)
    assert found["valueQuantity"]["value"] == pytest.approx(r.result.per_ul.estimate, 1e-3)
    interval, blank, detection = found["component"]
    assert interval["valueRange"]["low"]["value"] == pytest.approx(r.result.per_ul.low, 1e-3)
    assert interval["valueRange"]["high"]["value"] == pytest.approx(r.result.per_ul.high, 1e-3)
    assert blank["valueQuantity"]["value"] == pytest.approx(r.result.per_ul.blank, 1e-3)
    assert detection["valueQuantity"]["value"] == pytest.approx(r.result.per_ul.detection, 1e-3)


def test_not_detected_is_below_the_limit_and_no_number_of_its_own():
    r = record(4)
    assert r.result.outcome == "not detected"
    value = per_ul(bundle(r))["valueQuantity"]
    assert value["comparator"] == "<"
    assert value["value"] >= r.result.per_ul.detection


@pytest.mark.parametrize("name", ["too few", "no limit", "fewer than clear"])
def test_an_insufficient_slide_has_no_quantity(name):
    r = every_outcome()[name]
    if r.result.estimate is None:
        return
    found = observation(bundle(r), "53556-7")
    assert "valueQuantity" not in found
    assert found["dataAbsentReason"]["coding"][0]["code"] == "unknown"


def test_without_a_site_calibration_there_is_no_quantity_at_all():
    data = bundle(every_outcome()["no site, flagged"])
    assert "53556-7" not in json.dumps(data)
    assert "/uL" not in json.dumps(data)


def test_raw_and_reviewed_counts_are_both_there():
    data = bundle(record(verdicts=("rejected",) * 5))
    found = [o["valueInteger"] for o in resources(data, "Observation") if "valueInteger" in o]
    assert found == [30, 25]


def test_device_and_provenance_say_with_what_it_was_made():
    r = record(verdicts=("rejected",))
    data = bundle(r)
    versions = {v["type"]["text"]: v["value"] for v in resources(data, "Device")[0]["version"]}
    assert versions["edge-sdk"] == r.app_version
    assert versions["model SHA-256"] == r.model.sha256
    assert versions["rule SHA-256"] == r.rule_sha256
    assert versions["site calibration SHA-256"] == r.site_sha256
    (provenance,) = resources(data, "Provenance")
    assert r.audit_head in provenance["entity"][0]["what"]["identifier"]["value"]
    assert [a["who"].get("display") for a in provenance["agent"]] == [None, "op-1", "op-2"]


def test_the_same_record_gives_the_same_bundle():
    assert bundle(record()) == bundle(record())
    other = bundle(record(5))
    assert other["id"] == bundle(record())["id"]  # of the same session
