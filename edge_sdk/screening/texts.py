"""Texts in English, French and Chinese: one table by key; numbers as each language writes them."""

from __future__ import annotations

from edge_sdk.artifact import SlideRule
from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.screening.limits import flags_needed, spread
from edge_sdk.screening.site import MIN_CELLS, MIN_SLIDES
from edge_sdk.screening.slide import ASSUMED_HAEMATOCRIT, SlideResult, round_up
from edge_sdk.screening.texts_pages import PAGES
from edge_sdk.screening.texts_result import RESULT

LANGUAGES = ("en", "fr", "zh")
TABLE = {**RESULT, **PAGES}
HARD = "\u00a0"
NARROW = "\u202f"  # French groups digits by it


def text(key: str, language: str, **values: str) -> str:
    """Raises UsageError for a language there is no text in."""
    return phrase(TABLE[key], language, **values)


def phrase(said: tuple[str, str, str], language: str, **values: str) -> str:
    """The one of LANGUAGES, filled in. Raises UsageError for another language."""
    if language not in LANGUAGES:
        raise UsageError(unknown_name("language", language, LANGUAGES))
    filled = said[LANGUAGES.index(language)].format(**values)
    return _unbroken(filled) if language == "fr" else filled


def _unbroken(said: str) -> str:
    """French puts a space before these signs, and no line may end there."""
    for sign in (";", ":", "?", "%", "»"):
        said = said.replace(f" {sign}", f"{HARD}{sign}")
    return said.replace("« ", f"«{HARD}")


def number(value: float, language: str, decimals: int = 0) -> str:
    """1,234.5 in English and Chinese, 1 234,5 in French."""
    said = f"{value:,.{decimals}f}"
    if language != "fr":
        return said
    return said.replace(",", NARROW).replace(".", ",")


def pair(name: str, value: str, language: str) -> str:
    return text("pair", language, name=name, value=value)


def needed_flags(result: SlideResult, rule: SlideRule) -> int:
    """How many flags of the cells counted make the slide flagged: by the site, without a
    calibration by the validation patients (as `judge_slide`)."""
    if result.limits is not None:
        return result.limits.flags
    return flags_needed(result.counts.counted, spread(rule.clear), rule.specificity)


def outcome_text(result: SlideResult, language: str) -> str:
    """One of three."""
    limit = ""
    if result.per_ul is not None and result.per_ul.detection is not None:
        limit = number(round_up(result.per_ul.detection), language)
    return text(f"outcome.{result.outcome}", language, limit=limit)


def statement(result: SlideResult, rule: SlideRule, language: str) -> str:
    """The outcome in one sentence: `SlideResult.statement`, in another language."""
    counts, needed = result.counts, needed_flags(result, rule)
    values = {
        "seen": text(
            "seen",
            language,
            flagged=number(counts.flagged, language),
            counted=number(counts.counted, language),
        ),
        "needed": number(needed, language),
    }
    key = f"statement.{result.outcome}"
    if result.outcome == "flagged" and counts.flagged < needed:
        key = "statement.confirmed"
    if result.per_ul is not None and result.per_ul.detection is not None:
        values["limit"] = number(round_up(result.per_ul.detection), language)
    if result.reason is not None:
        values["why"] = text(
            f"reason.{result.reason}",
            language,
            cells=number(MIN_CELLS, language),
            slides=number(MIN_SLIDES, language),
        )
    return text(key, language, **values)


def notes(result: SlideResult, rule: SlideRule, language: str) -> list[str]:
    """The texts of `SlideResult.notes` in another language; its label is left out."""
    counts = result.counts
    values = {
        "slides": rule.infected.slides,
        "needed": needed_flags(result, rule),
        "haematocrit": ASSUMED_HAEMATOCRIT,
        "counted": counts.counted,
        "target": rule.cells,
    }
    if (r := counts.review) is not None:
        left = counts.flagged - r.confirmed - r.rejected - r.unsure
        values |= {"confirmed": r.confirmed, "rejected": r.rejected, "unsure": r.unsure}
        values["left"] = left
    said = {name: number(value, language) for name, value in values.items()}
    return [text(f"note.{n.code}", language, **said) for n in result.notes if n.code != "label"]
