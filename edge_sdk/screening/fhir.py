"""A slide's record as a FHIR R4 (4.0.1) bundle: report (preliminary), observations, device,
provenance.

LOINC has no code for what the model flags, only for infected cells: raw counts go without one, and
the coded quantities are the corrected ones. The same record gives the same bytes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from html import escape
from typing import Any

from edge_sdk.screening.record import SlideRecord
from edge_sdk.screening.slide import Reading, SlideResult, round_up
from edge_sdk.screening.texts import outcome_text, pair, statement, text

Json = dict[str, Any]

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
TERMS = "http://terminology.hl7.org/CodeSystem/"
PRESENCE = ("51587-4", "Plasmodium sp [Presence] in Blood by Light microscopy")
# In a laboratory's catalogue as percent parasitaemia; its long name was not found: the code goes
# alone, with our own words beside it.
PERCENT = ("53556-7", "")
PER_1000 = ("48427-9", "Erythrocytes.Plasmodium sp infected/1000 erythrocytes in Blood")
DIGITS = 4  # significant ones, of a quantity

# --- bundle --------------------------------------------------------------------------------


def bundle(record: SlideRecord) -> Json:
    """JSON data. Raises UsageError for a language without texts."""
    observations = [
        _presence(record),
        *_quantities(record),
        _count(record, "raw", record.result.raw),
    ]
    if record.result.reviewed is not None:
        observations.append(_count(record, "reviewed", record.result.reviewed))
    resources = [
        _report(record, len(observations)),
        *(
            _resource(record, "Observation", f"observation-{i}", found)
            for i, found in enumerate(observations, 1)
        ),
        _device(record),
        _provenance(record, len(observations)),
    ]
    whole: Json = _plain_spaces(
        {
            "resourceType": "Bundle",
            "id": _id(record, "bundle"),
            "meta": _meta(record),
            "language": record.language,
            "identifier": {"system": "urn:ietf:rfc:3986", "value": _url(record, "bundle")},
            "type": "collection",
            "timestamp": record.finished,
            "entry": [{"fullUrl": f"urn:uuid:{r['id']}", "resource": r} for r in resources],
        }
    )
    return whole


def _plain_spaces(data: Any) -> Any:
    """R4's pattern for strings, `[ \\r\\n\\t\\S]+`, has no place for the no-break spaces of French
    texts where a reader's regular expressions know Unicode: such readers refuse them."""
    if isinstance(data, dict):
        return {k: _plain_spaces(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_plain_spaces(v) for v in data]
    return re.sub(r"[^\S \r\n\t]", " ", data) if isinstance(data, str) else data


def _id(record: SlideRecord, name: str) -> str:
    """The same for the same session: a report made twice is one report."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"edge-sdk/{record.session}/{name}"))


def _url(record: SlideRecord, name: str) -> str:
    return f"urn:uuid:{_id(record, name)}"


def _reference(record: SlideRecord, name: str) -> Json:
    return {"reference": _url(record, name)}


def _resource(record: SlideRecord, kind: str, name: str, content: Json) -> Json:
    said = [_label(record), *([content["code"]["text"]] if "code" in content else [])]
    return {
        "resourceType": kind,
        "id": _id(record, name),
        "meta": _meta(record),
        "language": record.language,
        "text": _narrative(said),
        **content,
    }


def _meta(record: SlideRecord) -> Json:
    """Drawn slides are labelled as the standard labels test data."""
    label = {"system": f"{TERMS}v3-ActReason", "code": "HTEST", "display": "test health data"}
    tag = {"display": _label(record)}
    return {"tag": [tag], **({"security": [label]} if record.simulated else {})}


def _narrative(lines: list[str]) -> Json:
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}


def _label(record: SlideRecord) -> str:
    said = text("label", record.language)
    return f"{text('simulated', record.language)} — {said}" if record.simulated else said


def _report(record: SlideRecord, observations: int) -> Json:
    said = statement(record.result, record.rule, record.language)
    content = {
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": _url(record, "report")}],
        "status": "preliminary",
        "category": [_coded(f"{TERMS}v2-0074", "LAB", "Laboratory")],
        "code": _loinc(PRESENCE, text("title", record.language)),
        "effectiveDateTime": record.finished,
        "issued": record.finished,
        "performer": [{"display": record.operator}],
        "result": [_reference(record, f"observation-{i + 1}") for i in range(observations)],
        "conclusion": f"{said}. {text('preliminary', record.language)} {_label(record)}",
    }
    found = _resource(record, "DiagnosticReport", "report", content)
    return {**found, "text": _narrative([_label(record), said])}


def _device(record: SlideRecord) -> Json:
    versions = [
        ("edge-sdk", record.app_version),
        ("model", record.model.name),
        ("model SHA-256", record.model.sha256),
        ("interpreter", record.model.runtime),
        ("rule SHA-256", record.rule_sha256),
        *([("site calibration SHA-256", record.site_sha256)] if record.site_sha256 else []),
    ]
    content = {
        "deviceName": [{"name": f"edge-sdk, {record.device}", "type": "user-friendly-name"}],
        "version": [{"type": {"text": name}, "value": value} for name, value in versions],
        "note": [
            {"text": _label(record)},
            {"text": pair(text("camera", record.language), record.camera, record.language)},
        ],
    }
    return _resource(record, "Device", "device", content)


def _provenance(record: SlideRecord, observations: int) -> Json:
    system = f"{TERMS}provenance-participant-type"
    targets = ["report", *(f"observation-{i + 1}" for i in range(observations))]
    entries = text("hash.audit", record.language, entries=str(record.audit_entries))
    reviewers = sorted({o.operator for o in record.overrides})
    content = {
        "target": [_reference(record, name) for name in targets],
        "occurredPeriod": {"start": record.created, "end": record.finished},
        "recorded": record.finished,
        "agent": [
            {
                "type": _coded(system, "assembler", "Assembler"),
                "who": _reference(record, "device"),
            },
            {
                "type": _coded(system, "performer", "Performer"),
                "who": {"display": record.operator},
            },
            *(
                {"type": _coded(system, "verifier", "Verifier"), "who": {"display": name}}
                for name in reviewers
            ),
        ],
        "entity": [
            {
                "role": "source",
                "what": {
                    "identifier": {"value": f"sha256:{record.audit_head}"},
                    "display": entries,
                },
            }
        ],
    }
    return _resource(record, "Provenance", "provenance", content)


# --- observations --------------------------------------------------------------------------


def _observation(record: SlideRecord, code: Json, content: Json) -> Json:
    return {
        "status": "preliminary",
        "category": [_coded(f"{TERMS}observation-category", "laboratory", "Laboratory")],
        "code": code,
        "effectiveDateTime": record.finished,
        "performer": [{"display": record.operator}],
        "device": _reference(record, "device"),
        "note": [{"text": _label(record)}],
        **content,
    }


def _presence(record: SlideRecord) -> Json:
    """Our three outcomes in words: the usual coded answers say more than a screening knows."""
    r = record.result
    content = {
        "valueCodeableConcept": {"text": outcome_text(r, record.language)},
        "note": [
            {"text": _label(record)},
            {"text": statement(r, record.rule, record.language)},
        ],
    }
    return _observation(record, _loinc(PRESENCE, text("title", record.language)), content)


def _quantities(record: SlideRecord) -> list[Json]:
    r, language = record.result, record.language
    if r.estimate is None or r.limits is None or r.per_ul is None:
        return []
    shares = (r.estimate.share, r.estimate.low, r.estimate.high, r.limits.blank, r.limits.detection)
    per_ul = (r.per_ul.estimate, r.per_ul.low, r.per_ul.high, r.per_ul.blank, r.per_ul.detection)
    found = text("parasitaemia", language)
    kinds: tuple[tuple[Json, tuple[float | None, ...], float, Callable[[float], Json]], ...] = (
        (_loinc(PERCENT, f"{found}, %"), shares, 100, lambda v: _quantity(v, "%", "%")),
        (
            _loinc(PER_1000, f"{found}, /1000"),
            shares,
            1000,
            lambda v: _quantity(v, "/1000", "{#}/10*3{RBC}"),
        ),
        (
            {"text": text("per ul", language)},
            per_ul,
            1,
            lambda v: _quantity(v, "/uL", "{#}/uL"),
        ),
    )
    return [_quantified(record, *kind) for kind in kinds]


def _quantified(
    record: SlideRecord,
    code: Json,
    values: tuple[float | None, ...],
    scale: float,
    quantity: Callable[[float], Json],
) -> Json:
    """values: estimate, low, high, limits of blank and of detection."""
    estimate, low, high, blank, detection = (None if v is None else v * scale for v in values)
    language = record.language
    parts: list[Json] = [
        {
            "code": {"text": text("interval", language)},
            "valueRange": {"low": quantity(low or 0.0), "high": quantity(high or 0.0)},
        },
        {"code": {"text": text("blank", language)}, "valueQuantity": quantity(blank or 0.0)},
    ]
    if detection is not None:
        parts.append(
            {"code": {"text": text("detection", language)}, "valueQuantity": quantity(detection)}
        )
    content: Json = {**_value(record.result, estimate or 0.0, detection, quantity)}
    return _observation(record, code, {**content, "component": parts})


def _value(
    r: SlideResult, estimate: float, detection: float | None, quantity: Callable[[float], Json]
) -> Json:
    """A number only of a flagged slide; else below the limit of detection, or none."""
    if r.outcome == "flagged":
        return {"valueQuantity": quantity(estimate)}
    if r.outcome == "not detected" and detection is not None:
        return {"valueQuantity": {**quantity(round_up(detection)), "comparator": "<"}}
    return {"dataAbsentReason": _coded(f"{TERMS}data-absent-reason", "unknown", "Unknown")}


def _count(record: SlideRecord, kind: str, found: Reading) -> Json:
    language = record.language
    content = {
        "valueInteger": found.flagged,
        "component": [
            {"code": {"text": text("counted", language)}, "valueInteger": found.counted},
            {
                "code": {"text": f"{text('plot.shares', language)}; {text('interval', language)}"},
                "valueRange": {
                    "low": _quantity(100 * found.low, "%", "%"),
                    "high": _quantity(100 * found.high, "%", "%"),
                },
            },
        ],
    }
    return _observation(
        record, {"text": pair(text("flagged", language), text(kind, language), language)}, content
    )


def _quantity(value: float, unit: str, code: str) -> Json:
    return {"value": float(f"{value:.{DIGITS}g}"), "unit": unit, "system": UCUM, "code": code}


def _coded(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _loinc(code: tuple[str, str], said: str) -> Json:
    coding = {"system": LOINC, "code": code[0], **({"display": code[1]} if code[1] else {})}
    return {"coding": [coding], "text": said}
