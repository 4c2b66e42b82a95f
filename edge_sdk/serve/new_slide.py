"""A new slide as a browser asks for it, and the list of those that are there."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.ondevice import disk
from edge_sdk.screening.database import full_disk
from edge_sdk.screening.identity import new_pseudonym
from edge_sdk.screening.make_session import NewSession, new_session, session_rule
from edge_sdk.screening.session import session_folder, session_ids, session_summary
from edge_sdk.screening.store import DATABASE, Store
from edge_sdk.serve.settings import ServeSettings
from edge_sdk.strict import from_plain

LISTED = 100  # each is opened and checked: a few milliseconds, on a small device ten times that
REQUESTS = ".requests"  # beside the slides: which id a request was given


@dataclass(frozen=True)
class Asked:
    """The body of POST /api/slides. camera_options: `seed` of a drawn slide and nothing else: a
    path is never a browser's to name. request: a UUID that the client made."""

    operator: str
    request: str
    camera: str | None = None
    camera_options: dict[str, int] = field(default_factory=dict)
    device: str | None = None
    parasitaemia: float | None = None
    target: int = 2000
    diameter: float | None = None
    red_cells: float | None = None
    haematocrit: float | None = None
    language: str = "en"


def make_slide(settings: ServeSettings, body: Any) -> tuple[str, bool]:
    """The slide's id, and whether it was made now: the same request gives the same slide, also
    after the program was killed in between. Raises UsageError for what does not fit."""
    asked = from_plain(Asked, body, "slide", UsageError)
    new = _new(settings, asked)
    known = settings.sessions / REQUESTS / _name(asked.request)
    session = known.read_text(encoding="ascii").strip() if known.is_file() else new_pseudonym()
    if (settings.sessions / session).exists():
        return session_folder(settings.sessions, session).name, False
    # The id is promised first: a kill in between makes the next try take the same one.
    with full_disk(f"slide {session}"):
        disk.write_whole(known, session.encode(), 0o600)
    return new_session(settings.sessions, new, session=session).name, True


def prepare(settings: ServeSettings) -> None:
    """The rule of drawn slides: choosing it takes a while, the first slide need not wait."""
    session_rule(settings.sessions, settings.artifact, "simulated")


def _name(request: str) -> str:
    try:
        found = uuid.UUID(request)
    except ValueError:
        raise UsageError("request must be a UUID that the page made") from None
    return hashlib.sha256(found.bytes).hexdigest()[:32]


def _new(settings: ServeSettings, asked: Asked) -> NewSession:
    camera = asked.camera or settings.camera
    if camera not in settings.cameras:
        raise UsageError(f"camera '{camera[:40]}' must be one of {', '.join(settings.cameras)}")
    if any(name != "seed" for name in asked.camera_options) or (
        asked.camera_options and camera != "simulated"
    ):
        raise UsageError(
            "camera_options: only the seed of a simulated slide is a page's to choose; everything "
            "else is named where `edge-sdk serve` is started"
        )
    if not 0 <= asked.camera_options.get("seed", 0) < 2**31:
        raise UsageError("camera_options.seed must be from 0 to 2147483647")
    if asked.parasitaemia is not None and not 0 <= asked.parasitaemia <= 100:
        raise UsageError(f"parasitaemia {asked.parasitaemia:g} must be from 0 to 100 percent")
    if asked.diameter is not None and not 1 <= asked.diameter <= 10_000:
        raise UsageError(f"diameter {asked.diameter:g} must be from 1 to 10000 pixels")
    told = settings.camera_options if camera == settings.camera else {}
    return NewSession(
        artifact=settings.artifact,
        operator=asked.operator,
        device=asked.device or settings.device,
        camera=camera,
        camera_options={**told, **asked.camera_options},
        parasitaemia=asked.parasitaemia,
        # The site's was made with the thresholds of its own camera's slides.
        calibration=settings.calibration if camera == settings.camera else None,
        red_cells=asked.red_cells,
        haematocrit=asked.haematocrit,
        target=asked.target,
        diameter=asked.diameter,
        language=asked.language,
    )


def slide_list(sessions: Path) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Summaries of the LISTED slides that were written last, the newest first and without purged
    ones; and those that cannot be read."""
    found, unreadable = [], []
    changed = {n: _written_s(sessions / n) for n in session_ids(sessions)}
    for name in sorted(changed, key=lambda n: changed[n])[-LISTED:]:
        try:
            with Store(sessions / name, write=False) as store:
                s = store.settings
                if store.state == "purged":
                    continue
                summary: dict[str, Any] = dict(session_summary(store))
                summary |= {"operator": s.operator, "device": s.device, "url": f"/slide/{name}"}
                found.append(summary)
        except EdgeError as e:
            unreadable.append({"session": name, "error": str(e)})
    return sorted(found, key=lambda s: str(s["created"]), reverse=True), unreadable


def _written_s(folder: Path) -> float:
    """When its database was written last, 0 where it has none."""
    found = 0.0
    for name in (DATABASE, f"{DATABASE}-wal"):
        with suppress(OSError):
            found = max(found, (folder / name).stat().st_mtime)
    return found
