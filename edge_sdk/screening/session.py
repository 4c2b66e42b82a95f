"""Fields are captured until enough red cells are counted; then the slide has its result."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import edge_sdk
from edge_sdk.camera import Frame
from edge_sdk.errors import DataError, UsageError, unknown_name
from edge_sdk.preprocess import Pixels
from edge_sdk.screening.gates import Gates, Look
from edge_sdk.screening.gating import stored, unusable
from edge_sdk.screening.limits import Limits
from edge_sdk.screening.reader import FieldReader, Reading, pixels_hash
from edge_sdk.screening.record import FieldRecord, GateResult, Verdict
from edge_sdk.screening.segment import Field
from edge_sdk.screening.slide import (
    Review,
    SlideCounts,
    SlideResult,
    judge_slide,
    live_limits,
)
from edge_sdk.screening.store import NewField, Store

PATIENCE = 100  # pictures in a row without an accepted one
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True)
class Step:
    """One picture that was stored. limits: of all cells so far; None without a site calibration."""

    field: FieldRecord
    flagged: int
    counted: int
    target: int
    limits: Limits | None


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture that was segmented and judged, and of which nothing is kept yet. found: None where
    it cannot be taken as a field; digest: of its pixels."""

    pixels: Pixels
    digest: str
    passed: tuple[GateResult, ...]
    found: tuple[Field, Look] | None

    @property
    def green(self) -> bool:
        return all(g.passed for g in self.passed)


def session_folder(sessions: Path, session: str) -> Path:
    """The folder of a session by its id, or by the beginning of it that no other has.

    Raises UsageError for a name that is none, or is not there."""
    if not _ID.fullmatch(session):
        raise UsageError(f"session '{session[:80]}' is no id, as 7K3M-Q2FX")
    there = session_ids(sessions)
    found = [s for s in there if s.startswith(session.upper())]
    if session.upper() in there:
        found = [session.upper()]
    if len(found) != 1:
        raise UsageError(
            f"session '{session}' is the beginning of several: {', '.join(found)}"
            if found
            else unknown_name("session", session, there) + f" In {sessions}."
        )
    return sessions / found[0]


def session_ids(sessions: Path) -> list[str]:
    if not sessions.is_dir():
        return []
    return sorted(p.name for p in sessions.iterdir() if p.is_dir() and _ID.fullmatch(p.name))


def begin(store: Store, reader: FieldReader, operator: str, gates: Gates) -> tuple[str, ...]:
    """Takes up a session that is new or was cut short: what was never committed is removed and
    named, the gates are told what was accepted."""
    stray = store.tidy()
    said = {"runtime": reader.runtime, "app_version": edge_sdk.__version__, "removed": list(stray)}
    store.act("capture", operator, said)
    for field in store.fields():
        taken = None if field.image is None else read_picture(store.folder / field.image)
        gates.recall(store.sharpest(field.number), taken)
    return stray


def capture(
    store: Store, frames: Iterable[Frame], reader: FieldReader, gates: Gates, operator: str
) -> Iterator[Step]:
    """Counts field after field until the target is reached or the frames end; a step for each
    picture. Pictures that were taken before, to the pixel, are passed over: a folder may be given
    again. Raises UsageError after PATIENCE pictures in a row that gave nothing."""
    target, in_vain, last = store.settings.target, 0, "all were taken before"
    if store.counts()[1] >= target:
        return
    for frame in frames:
        pixels = frame.pixels
        digest = pixels_hash(pixels)
        accepted = False
        if not store.knows(digest):
            step = take(store, see(pixels, digest, reader, gates), reader, gates, operator)
            accepted = step.field.accepted
            last = "; ".join(g.instruction for g in step.field.gates if not g.passed)
            yield step
            if step.counted >= target:
                return
        in_vain = 0 if accepted else in_vain + 1
        if in_vain >= PATIENCE:
            raise UsageError(
                f"{PATIENCE} pictures in a row gave no new field: {last}. What was counted is "
                "kept; see to it and run capture again"
            )


def see(pixels: Pixels, digest: str, reader: FieldReader, gates: Gates) -> Seen:
    """pixels: uint8 (H, W, 3) RGB; digest: their `pixels_hash`. Leaves no trace in the gates."""
    try:
        field = reader.segment(pixels)
    except DataError as e:
        return Seen(pixels, digest, unusable(e), None)
    look = gates.look(pixels, field)
    return Seen(pixels, digest, stored(look.results), (field, look))


def take(store: Store, seen: Seen, reader: FieldReader, gates: Gates, operator: str) -> Step:
    """Counts one picture, or keeps why it does not count; nothing else may have been taken since it
    was seen. What could not be stored leaves no trace in the gates either."""
    reading, image = Reading(0, (), None), None
    accepted = seen.green
    if accepted and seen.found is not None:
        reading = reader.read(seen.pixels, seen.found[0])
        image = encode_picture(seen.pixels, simulated=store.settings.simulated)
    new = NewField(
        seen.passed,
        accepted,
        reading.cells,
        reading.flagged,
        image,
        seen.digest,
        reading.sha256,
        gates.sharpest if seen.found is None else seen.found[1].sharpest,
    )
    record = store.add_field(new, operator)
    if seen.found is not None:
        gates.remember(seen.found[1])
    flagged, counted = store.counts()
    return Step(record, flagged, counted, store.settings.target, limits_so_far(store))


def finish(store: Store, operator: str) -> SlideResult:
    """Ends the counting: a slide is judged once. Raises UsageError in another state."""
    store.act("finish", operator, dict(zip(("flagged", "counted"), store.counts(), strict=True)))
    return result_of(store)


def limits_so_far(store: Store) -> Limits | None:
    s, counted = store.settings, store.counts()[1]
    if s.site is None or not counted:
        return None
    return live_limits(counted, s.rule, s.site.rate(s.rule))


def slide_counts(store: Store) -> SlideCounts:
    flagged, counted = store.counts()
    said = [c.verdict for c in store.cells() if c.verdict is not None]
    return SlideCounts(flagged, counted, _review(said) if said else None)


def _review(verdicts: list[Verdict]) -> Review:
    return Review(*(verdicts.count(v) for v in ("confirmed", "rejected", "unsure")))


def result_of(store: Store, counts: SlideCounts | None = None) -> SlideResult:
    """The slide's result from what is stored, or from other counts."""
    s = store.settings
    rate = None if s.site is None else s.site.rate(s.rule)
    return judge_slide(counts or slide_counts(store), s.rule, rate, s.blood)


def encode_picture(pixels: Pixels, *, simulated: bool = False) -> bytes:
    """PNG, without loss; a drawn one says so inside."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if simulated:
        info.add_text("Comment", "SIMULATED: drawn, not photographed")
    out = io.BytesIO()
    # RLE (3): of zlib's strategies the smallest on real fields, by a fifth, and no slower.
    Image.fromarray(pixels).save(out, "PNG", compress_level=1, compress_type=3, pnginfo=info)
    return out.getvalue()


def read_picture(path: Path) -> Pixels:
    import numpy as np

    from edge_sdk.dataset import open_image

    return np.asarray(open_image(path))


def session_summary(store: Store) -> dict[str, object]:
    """Where a session stands, in plain data."""
    s, (flagged, counted) = store.settings, store.counts()
    fields = store.fields()
    found = limits_so_far(store)
    detection = None if found is None or found.detection is None else found.detection
    return {
        "session": s.session,
        "simulated": s.simulated,
        "state": store.state,
        "created": s.created,
        "finished": store.finished,
        "model": s.model,
        "fields_accepted": sum(f.accepted for f in fields),
        "fields_rejected": sum(not f.accepted for f in fields),
        "flagged": flagged,
        "counted": counted,
        "target": s.target,
        "limit_of_detection_per_ul": None if detection is None else detection * s.blood.per_ul,
        "reviewed": sum(c.verdict is not None for c in store.cells()),
    }
