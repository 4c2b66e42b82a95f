"""Texts in three languages: all there, of the same figures, and none says what may not be said."""

from __future__ import annotations

import string
from typing import get_args

import pytest
from screening_records import every_outcome, record
from screening_words import forbidden

from edge_sdk.errors import UsageError
from edge_sdk.screening.record import VERDICTS
from edge_sdk.screening.slide import DISCLAIMER, Outcome, Reason, RedCells
from edge_sdk.screening.texts import (
    LANGUAGES,
    TABLE,
    needed_flags,
    notes,
    number,
    outcome_text,
    pair,
    statement,
    text,
)
from edge_sdk.screening.texts_pages import PAGES
from edge_sdk.screening.texts_result import RESULT


def placeholders(said: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(said) if name is not None}


@pytest.mark.parametrize("key", TABLE)
def test_every_key_is_in_every_language_with_the_same_figures(key):
    said = TABLE[key]
    assert len(said) == len(LANGUAGES)
    assert all(words.strip() for words in said)
    assert len({frozenset(placeholders(words)) for words in said}) == 1


def test_no_key_is_there_twice():
    assert len(TABLE) == len(PAGES) + len(RESULT)


@pytest.mark.parametrize("key", TABLE)
def test_no_text_says_what_may_not_be_said(key):
    assert [forbidden(words) for words in TABLE[key]] == [[]] * len(LANGUAGES)


@pytest.mark.parametrize(
    "said",
    ["Diagnosis: malaria", "negative for malaria", "négatif", "un diagnostic", "阴性", "诊断",
     "P. falciparum", "trophozoites", "裂殖体"],
)  # fmt: skip
def test_the_word_list_finds_its_words(said):
    assert forbidden(said)


def test_chinese_is_chinese_and_french_is_not_english():
    same = [k for k, (en, fr, _) in TABLE.items() if en == fr and len(en) > 12]
    assert same == []
    plain = [k for k, (_, _, zh) in TABLE.items() if not any("\u4e00" <= c <= "\u9fff" for c in zh)]
    assert plain == ["pair"]


def test_there_is_a_text_for_each_outcome_reason_origin_and_verdict():
    origins = get_args(RedCells.__dataclass_fields__["origin"].type) or (
        "count", "haematocrit", "assumed")  # fmt: skip
    wanted = [
        *(f"outcome.{o}" for o in get_args(Outcome)),
        *(f"reason.{r}" for r in get_args(Reason)),
        *(f"origin.{o}" for o in origins),
        *(f"verdict.{v}" for v in VERDICTS),
    ]
    assert [w for w in wanted if w not in TABLE] == []


@pytest.mark.parametrize("name", every_outcome())
def test_english_says_what_the_slide_s_result_says(name):
    r = every_outcome()[name]
    assert statement(r.result, r.rule, "en") == r.result.statement
    assert notes(r.result, r.rule, "en") == [n.text for n in r.result.notes if n.code != "label"]
    assert text("label", "en") == r.result.label == DISCLAIMER


def test_the_outcomes_of_these_tests_are_all_there_are():
    found = {(r.result.outcome, r.result.reason) for r in every_outcome().values()}
    assert {o for o, _ in found} == set(get_args(Outcome))
    assert {r for _, r in found} - {None} == set(get_args(Reason))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", every_outcome())
def test_every_language_says_the_same_figures(name, language):
    r = every_outcome(language)[name]
    said = statement(r.result, r.rule, language)
    counts = r.result.counts
    for value in (counts.flagged, counts.counted):
        assert number(value, language) in said
    if r.result.outcome != "insufficient":
        assert number(needed_flags(r.result, r.rule), language) in said
    assert len(notes(r.result, r.rule, language)) == len(r.result.notes) - 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_not_detected_never_goes_without_its_limit(language):
    r = record(4, language=language).result
    assert r.outcome == "not detected"
    assert number(33_000, language) in outcome_text(r, language)  # 32,220 upwards
    for said in TABLE["outcome.not detected"]:
        assert "{limit}" in said


def test_numbers_are_written_as_each_language_does():
    assert number(12345.678, "en", 2) == number(12345.678, "zh", 2) == "12,345.68"
    assert number(12345.678, "fr", 2) == "12\u202f345,68"


def test_french_lines_do_not_end_before_a_sign():
    assert pair("nom", "x", "fr") == "nom\u00a0: x"
    assert "«\u00a0Non détecté\u00a0»" in text("limit.absence", "fr")


def test_another_language_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"unknown language 'sw'.*en, fr, zh"):
        text("label", "sw")
