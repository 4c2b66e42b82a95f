"""What it takes to make a session, and to take it up again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edge_sdk
from edge_sdk.artifact import Artifact, SlideRule
from edge_sdk.camera import Camera, camera_class, open_camera
from edge_sdk.errors import ArtifactError, UsageError, unknown_name
from edge_sdk.progress import Progress, silent
from edge_sdk.screening.drawn_slide import DrawnSlide, drawn_rule
from edge_sdk.screening.identity import new_pseudonym, seal
from edge_sdk.screening.settings import Settings
from edge_sdk.screening.site import read_site
from edge_sdk.screening.slide import check_rule, red_cells
from edge_sdk.screening.store import Store, create, utc_now
from edge_sdk.screening.texts import LANGUAGES

MOST_TARGET = 100_000
_LONGEST = 100


@dataclass(frozen=True)
class NewSession:
    """artifact: the model. camera: in the table of cameras; parasitaemia: percent, of a simulated
    one. calibration: file of the site, None for none. identifiers are sealed with `key`."""

    artifact: Artifact
    operator: str
    device: str
    camera: str
    camera_options: Mapping[str, Any] = field(default_factory=dict)
    parasitaemia: float | None = None
    calibration: Path | None = None
    red_cells: float | None = None
    haematocrit: float | None = None
    target: int = 2000
    diameter: float | None = None
    language: str = "en"
    identifiers: Mapping[str, str] = field(default_factory=dict)
    key: bytes | None = None


def new_session(
    sessions: Path, new: NewSession, progress: Progress = silent, *, session: str | None = None
) -> Path:
    """Makes a session's folder and gives it; session: its id, drawn by chance where none is given.
    Raises UsageError for what does not fit."""
    _check(new)
    blood = red_cells(new.red_cells, new.haematocrit)
    rule = session_rule(sessions, new.artifact, new.camera, progress)
    m = new.artifact.manifest
    site = None if new.calibration is None else read_site(new.calibration, m.sha256, rule)
    session = session or new_pseudonym()
    sealed = () if new.key is None else seal(session, new.identifiers, new.key)
    simulated = new.camera == "simulated"
    settings = Settings(
        session=session,
        app_version=edge_sdk.__version__,
        created=utc_now().isoformat(timespec="milliseconds"),
        operator=new.operator,
        device=new.device,
        language=new.language,
        model=f"{m.name}-{m.scheme}",
        # Links stay: on a device `current` leads to the model of whatever release runs.
        model_path=str(new.artifact.path.absolute()),
        model_sha256=m.sha256,
        rule=rule,
        site=site,
        blood=blood,
        target=new.target,
        diameter=new.diameter,
        camera=new.camera,
        camera_options=json.dumps(dict(new.camera_options)),
        simulated=simulated,
        drawn_parasitaemia=(1.0 if new.parasitaemia is None else new.parasitaemia) / 100
        if simulated
        else None,
        stain=None if simulated else m.stain,
    )
    sessions.mkdir(parents=True, exist_ok=True)
    folder = sessions / session
    create(folder, settings)
    if sealed:
        with Store(folder, write=True) as store:
            store.seal_identifiers(sealed, new.operator)
    return folder


def _check(new: NewSession) -> None:
    if new.language not in LANGUAGES:
        raise UsageError(unknown_name("language", new.language, LANGUAGES))
    for name, value in (("operator", new.operator), ("device", new.device)):
        if not value.strip() or len(value) > _LONGEST or not value.isprintable():
            raise UsageError(f"{name} '{value[:40]}' must be 1 to {_LONGEST} printable letters")
    if not 1 <= new.target <= MOST_TARGET:
        raise UsageError(f"target {new.target} must be from 1 to {MOST_TARGET} red cells")
    camera_class(new.camera)
    if new.parasitaemia is not None and new.camera != "simulated":
        raise UsageError(f"--parasitaemia belongs to --camera simulated, and it is {new.camera}")
    if new.identifiers and new.key is None:
        raise UsageError("identifiers need --site-key FILE: they are never stored in clear")


def session_rule(
    sessions: Path, artifact: Artifact, camera: str, progress: Progress = silent
) -> SlideRule:
    """What slides of this camera are judged by. Raises ArtifactError where a real one has none."""
    m = artifact.manifest
    if camera == "simulated":
        # Never the manifest's: a threshold chosen on photographs does not hold for drawings.
        return drawn_rule(artifact, sessions / f".drawn-rule-{m.sha256[:12]}.json", progress)
    if m.screening is None:
        raise ArtifactError(
            f"{artifact.path} has no slide rule in its manifest: thresholds are chosen on "
            "validation patients before slides are screened with it (edge-sdk screen rule); "
            "--camera simulated takes a rule from drawings"
        )
    check_rule(m.screening)
    return m.screening


def open_session_camera(settings: Settings, taken: int) -> Camera:
    """taken: pictures that are stored already; a drawn slide goes on after them."""
    options: dict[str, Any] = json.loads(settings.camera_options)
    if "size" in options:
        options["size"] = tuple(options["size"])
    if not settings.simulated:
        return open_camera(settings.camera, **options)
    try:
        return DrawnSlide(parasitaemia=settings.drawn_parasitaemia or 0.0, first=taken, **options)
    except TypeError as e:
        raise UsageError(
            f"camera options {', '.join(options)}: a simulated slide takes seed, fields, size, "
            "cells, blurred and repeated"
        ) from e
