"""Site blank calibration: what this microscope, stain and camera flag on known-clear slides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.artifact import CellRate, SlideRule
from edge_sdk.errors import DataError
from edge_sdk.files import write_whole
from edge_sdk.screening.limits import cell_rate, chance_of, spread
from edge_sdk.strict import from_plain, to_plain

FORMAT = 1
MIN_SLIDES = 3
MIN_CELLS = 500  # the fewest a parasitaemia is read from, on any slide
ODD = 0.001


@dataclass(frozen=True)
class BlankSlide:
    """A slide known to be clear by an independent method. name: the site's own, no person's."""

    name: str
    flagged: int
    counted: int

    def __post_init__(self) -> None:
        if not 0 <= self.flagged <= self.counted:
            raise DataError(
                f"slide '{self.name}': flagged {self.flagged} must be from 0 to counted "
                f"({self.counted})"
            )
        if self.counted < MIN_CELLS:
            raise DataError(
                f"slide '{self.name}': {self.counted} red cells counted, {MIN_CELLS} are needed: "
                "add fields"
            )


@dataclass(frozen=True)
class SiteCalibration:
    """model_sha256: of the model file; rule_sha256: of its slide rule (`rule_hash`), thresholds
    among it. created: ISO 8601 time with its zone."""

    format: int
    site: str
    created: str
    model_sha256: str
    rule_sha256: str
    slides: tuple[BlankSlide, ...]

    def __post_init__(self) -> None:
        names = [s.name for s in self.slides]
        if twice := [n for n in names if names.count(n) > 1]:
            raise DataError(f"slide '{twice[0]}' is there twice: a slide counts once")
        if len(names) < MIN_SLIDES:
            raise DataError(
                f"{len(names)} known-clear slides, at least {MIN_SLIDES} are needed: slides differ "
                "in what is flagged on them, and fewer cannot show it"
            )

    def rate(self, rule: SlideRule) -> CellRate:
        """This site's rate of flags on clear cells. A few slides cannot show how much slides
        differ: they are taken to at least as much as the validation patients, by the coefficient
        of variation, as a rate that is a tenth has a tenth of the spread."""
        return site_rate([(s.flagged, s.counted) for s in self.slides], rule.clear)


def site_rate(slides: Sequence[tuple[int, int]], patients: CellRate) -> CellRate:
    """The rate of (flagged, counted) slides, with at least the coefficient of variation of these
    patients: rho (1 - m) / m is its square for a mean m."""
    here, there = (
        (x + 0.5) / (n + 1)
        for x, n in (map(sum, zip(*slides, strict=True)), (patients.flagged, patients.counted))
    )
    squared = patients.dispersion * (1 - there) / there
    return cell_rate(slides, squared * here / (1 - here))


def rule_hash(rule: SlideRule) -> str:
    """The SHA-256 of a slide rule's JSON, keys sorted, without what it does not say."""
    plain = {k: v for k, v in to_plain(rule).items() if v is not None}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def calibrate_site(
    site: str, created: str, slides: Sequence[BlankSlide], model_sha256: str, rule: SlideRule
) -> SiteCalibration:
    """Raises DataError for too few slides or cells, a slide given twice, or slides on which as
    many cells are flagged as on infected ones."""
    found = SiteCalibration(FORMAT, site, created, model_sha256, rule_hash(rule), tuple(slides))
    share, infected = (r.flagged / r.counted for r in (found.rate(rule), rule.infected))
    if share >= infected:
        raise DataError(
            f"{share:.1%} of these slides' cells are flagged, no fewer than of infected ones "
            f"({infected:.1%}): check that they are known to be clear, the stain and the focus"
        )
    return found


def odd_slides(calibration: SiteCalibration, rule: SlideRule) -> tuple[str, ...]:
    """The names of slides with more flags than the others lead to expect (probability below ODD):
    their clearness, stain and focus are worth a second look before the calibration is used."""
    odd = []
    for slide in calibration.slides:
        others = [(s.flagged, s.counted) for s in calibration.slides if s is not slide]
        expected = spread(site_rate(others, rule.clear))
        if chance_of(slide.flagged, slide.counted, expected) < ODD:
            odd.append(slide.name)
    return tuple(odd)


def write_site(path: Path, calibration: SiteCalibration) -> None:
    """Writes the file, whole or not at all."""
    text = json.dumps(to_plain(calibration), indent=1, ensure_ascii=False) + "\n"
    write_whole(path, text.encode("utf-8"))


def read_site(path: Path, model_sha256: str, rule: SlideRule) -> SiteCalibration:
    """Raises DataError for a file that cannot be read, is from another version, or was made with
    another model or other thresholds than these."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"site calibration {path} does not exist: run `edge-sdk screen calibrate-site` on "
            f"{MIN_SLIDES} or more known-clear slides"
        ) from None
    except (OSError, ValueError, RecursionError) as e:
        raise DataError(f"site calibration {path} cannot be read: {e}") from e
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise DataError(
            f"{path}: format {data.get('format')!r} is not {FORMAT}; calibrate the site again with "
            "this version, or use the version that wrote it"
        )
    found = from_plain(SiteCalibration, data, str(path), DataError)
    for what, there, here in (
        ("model", found.model_sha256, model_sha256),
        ("slide rule (its thresholds)", found.rule_sha256, rule_hash(rule)),
    ):
        if there != here:
            raise DataError(
                f"{path} was made with another {what}: sha256 {there}, in use {here}; use that "
                "one, or calibrate the site again"
            )
    return found
