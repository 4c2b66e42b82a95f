"""Reports as files: whole, in three languages, with their label, nothing beyond the evidence."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import re

import pytest
from screening_records import every_outcome, record, write_pictures
from screening_words import forbidden

from edge_sdk.errors import DataError, UsageError
from edge_sdk.screening import report_cells
from edge_sdk.screening.record import FieldRecord, GateResult, SlideRecord
from edge_sdk.screening.report import cells_csv, write_report
from edge_sdk.screening.slide import DISCLAIMER
from edge_sdk.screening.texts import LANGUAGES, number, statement, text
from edge_sdk.strict import from_plain

FILES = {"report.html", "cells.csv", "result.json", "bundle.fhir.json", "SHA256SUMS"}
CASES = [(name, language) for language in LANGUAGES for name in every_outcome()]


def written(r: SlideRecord, tmp_path):
    folder = write_report(r, write_pictures(r, tmp_path / "session") / "report")
    return {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()}


def page_of(r, tmp_path):
    return written(r, tmp_path)["report.html"]


@pytest.mark.parametrize(("name", "language"), CASES)
def test_every_file_carries_label_outcome_and_simulated_and_no_claim(name, language, tmp_path):
    r = every_outcome(language)[name]
    files = written(r, tmp_path)
    assert set(files) == FILES
    del files["SHA256SUMS"]
    for file, said in files.items():
        own = "en" if file.endswith("csv") else language
        label = text("label", own)
        if file == "bundle.fhir.json":
            label = " ".join(label.split())  # without no-break spaces: see fhir.py
        assert label in said.replace("&#x27;", "'"), file
        assert (text("simulated", own) in said) == r.simulated, file
        assert forbidden(said.replace("DiagnosticReport", "")) == [], file
        if file != "bundle.fhir.json":
            assert "DiagnosticReport" not in said
    assert files["bundle.fhir.json"].count("iagnos") == 1
    page = files["report.html"].replace("&#x27;", "'")
    assert statement(r.result, r.rule, language) in page
    assert f'<html lang="{language}">' in page


def test_the_page_needs_nothing_else(tmp_path):
    page = page_of(record(), tmp_path)
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', page) == []
    assert re.findall(r"https?://|url\(|@import", page) == []


def test_the_sums_are_those_of_the_files(tmp_path):
    r = record()
    folder = write_report(r, write_pictures(r, tmp_path) / "report")
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    found = dict(reversed(line.split("  ")) for line in lines)
    assert set(found) == FILES - {"SHA256SUMS"}
    for name, value in found.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == value
    page = (folder / "report.html").read_text()
    for value in (found["cells.csv"], found["result.json"], found["bundle.fhir.json"],
                  r.model.sha256, r.rule_sha256, r.site_sha256, r.audit_head):  # fmt: skip
        assert value in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_raw_and_reviewed_counts_interval_and_limits_are_on_the_page(language, tmp_path):
    verdicts = ("confirmed",) * 6 + ("rejected",) * 3
    r = record(language=language, verdicts=verdicts)
    page = page_of(r, tmp_path)
    rows = re.findall(
        r'<tr><th scope="row">([^<]+)</th><td[^>]*>([^<]+)</td><td[^>]*>([^<]+)<', page
    )
    found = {a: (b, c) for a, b, c in rows}
    assert found[text("flagged", language)] == ("30", "27")
    counted = number(2100, language)
    assert found[text("counted", language)] == (counted, counted)
    limits = r.result.limits
    said = (number(100 * limits.detection, language, 3), number(32221, language))
    assert found[text("detection", language)] == said
    assert found[text("blank", language)][0] == number(100 * limits.blank, language, 3)
    raw, reviewed = r.result.raw, r.result.reviewed
    for value in (raw.low, raw.high, reviewed.low, reviewed.high):
        assert number(100 * value, language, 3) in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_rejected_fields_are_there_with_their_reason(language, tmp_path):
    page = page_of(record(language=language), tmp_path)
    assert page.count(text("gate.focus", language)) == 2
    assert page.count(text("gate.duplicate", language)) == 1
    assert number(61.2, language, 2) in page
    summary = text("fields.summary", language, taken="18", accepted="15", rejected="3")
    assert summary in page


def test_a_gate_without_a_text_goes_by_its_name():
    assert report_cells.gate_text("tilt", "fr") == "tilt"


def test_a_site_without_calibration_gets_no_quantity(tmp_path):
    page = page_of(record(site=None), tmp_path)
    assert text("estimate.refused", "en") in page
    assert text("detection", "en") not in page


def test_changes_by_a_person_are_there_and_their_absence_is_said(tmp_path):
    page = page_of(record(verdicts=("rejected",)), tmp_path / "a")
    assert "op-2" in page
    assert "✗ rejected" in page
    assert text("reviewed.not", "en") in page_of(record(), tmp_path / "b")


def test_what_a_person_typed_is_text_and_no_html(tmp_path):
    bad = '<script>alert("1")</script>&'
    r = dataclasses.replace(record(), operator=bad, device=bad, site=bad, session=bad, camera=bad)
    files = written(r, tmp_path)
    assert "<script" not in files["report.html"]
    assert "&lt;script&gt;" in files["report.html"]
    for entry in json.loads(files["bundle.fhir.json"])["entry"]:
        assert "<script" not in entry["resource"]["text"]["div"]


def test_purged_pictures_are_said_to_be_gone(tmp_path):
    r = record(3)
    page = write_report(r, tmp_path / "report") / "report.html"
    assert page.read_text().count(text("thumbnail.gone", "en")) == 3


def test_all_thumbnails_are_inside_the_page_most_probable_first(tmp_path):
    r = record()
    page = page_of(r, tmp_path)
    assert page.count('src="data:image/png;base64,') == len(r.cells)
    shown = [float(v) for v in re.findall(r"<b>probability ([\d.]+)</b>", page)]
    assert shown == sorted(shown, reverse=True)
    assert page.count('class="place"') == len(r.cells)


def test_more_cells_than_a_page_holds_are_counted_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(report_cells, "GALLERY", 10)
    page = page_of(record(), tmp_path)
    assert page.count("<b>probability") == 10
    assert text("gallery.some", "en", shown="10", all="30") in page


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "cells/../../x.png"])
def test_a_picture_outside_the_session_is_refused(name, tmp_path):
    r = record(1)
    r = dataclasses.replace(r, cells=(dataclasses.replace(r.cells[0], thumbnail=name),))
    with pytest.raises(DataError, match="lies outside"):
        write_report(r, tmp_path / "session" / "report")
    assert not (tmp_path / "session" / "report").exists()


def test_a_thumbnail_that_is_no_png_is_refused_and_the_old_report_stays(tmp_path):
    r = record(2)
    folder = write_report(r, write_pictures(r, tmp_path) / "report")
    before = (folder / "report.html").read_bytes()
    (tmp_path / r.cells[1].thumbnail).write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(DataError, match="no PNG"):
        write_report(r, folder)
    assert (folder / "report.html").read_bytes() == before


def test_another_language_is_refused(tmp_path):
    with pytest.raises(UsageError, match="unknown language 'de'"):
        write_report(dataclasses.replace(record(), language="de"), tmp_path / "report")


def test_the_csv_is_read_by_its_heading():
    r = record(verdicts=("confirmed", "rejected"))
    rows = list(csv.DictReader(io.StringIO(cells_csv(r), newline="")))
    assert [int(row["cell"]) for row in rows] == [c.number for c in r.cells]
    assert [row["verdict"] for row in rows[:3]] == ["confirmed", "rejected", ""]
    assert [float(row["probability"]) for row in rows] == [c.probability for c in r.cells]
    assert rows[3]["segmentation"] == "clump"
    assert list(rows[0])[-1] == f"SIMULATED {DISCLAIMER}"
    assert rows[0][f"SIMULATED {DISCLAIMER}"] == "SIMULATED"
    assert cells_csv(record(0, simulated=False)).count("\n") == 1


def test_the_json_gives_the_record_back(tmp_path):
    r = record(verdicts=("confirmed", "unsure"))
    data = json.loads(written(r, tmp_path)["result.json"])
    assert list(data)[:2] == ["label", "simulated"]
    assert from_plain(SlideRecord, data["record"], "result.json", DataError) == r


def test_the_same_record_gives_the_same_files(tmp_path):
    assert written(record(), tmp_path / "a") == written(record(), tmp_path / "b")


def test_a_rejected_field_says_its_limit_as_it_was_kept() -> None:
    gates = (
        GateResult("duplicate", False, 0.9723, None, "Move on.", "<= 0.33"),
        GateResult("picture", False, None, None, "cannot be read"),
        GateResult("focus", True, 1.0, 0.5, ""),
    )
    field = FieldRecord(1, "2026-01-01T00:00:00.000+00:00", False, gates, 0, 0, None, None)
    first, second = report_cells.why(field, "en").split("; ")
    assert first == "taken before (measured 0.9723, limit <= 0.33)"
    assert second == report_cells.gate_text("picture", "en")
