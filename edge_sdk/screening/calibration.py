"""A site's calibration from sessions on its known-clear slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_sdk.errors import UsageError
from edge_sdk.screening.site import (
    BlankSlide,
    SiteCalibration,
    calibrate_site,
    odd_slides,
    rule_hash,
    write_site,
)
from edge_sdk.screening.state import after
from edge_sdk.screening.store import Store, utc_now


def calibrate_from(
    site: str, folders: Sequence[Path], out: Path
) -> tuple[SiteCalibration, tuple[str, ...]]:
    """Writes the calibration; gives it and the names of slides that stand out. The raw counts are
    taken: the site's rate is that of unreviewed cells.

    Raises UsageError for sessions of different models or rules, drawn and real ones together, or
    one whose counting has not ended; DataError as `site.calibrate_site`."""
    if not folders:
        raise UsageError("give the sessions of known-clear slides, three or more")
    slides, models = [], []
    for folder in folders:
        with Store(folder, write=False) as store:
            s = store.settings
            after(store.state, "calibrate", s.session)
            if problems := store.problems():
                raise UsageError(f"session {s.session} is not as it was written: {problems[0]}")
            slides.append(BlankSlide(s.session, *store.counts()))
            models.append((s.model_sha256, rule_hash(s.rule), s.simulated))
            rule = s.rule
    if len(set(models)) > 1:
        raise UsageError(
            "these sessions differ in model, slide rule, or in being simulated: one calibration is "
            "of one kind"
        )
    created = utc_now().isoformat(timespec="seconds")
    found = calibrate_site(site, created, slides, models[0][0], rule)
    odd = odd_slides(found, rule)
    write_site(out, found)
    return found, odd
