"""What the commands of a slide's screening share: sessions, their folder, the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.cli.options import Bars

if TYPE_CHECKING:
    from edge_sdk.artifact import Artifact

PATH = click.Path(path_type=Path)


def sessions_folder(given: Path | None) -> Path:
    """The one of --sessions, else the user's."""
    import os

    if given is not None:
        return given
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "edge-sdk" / "screening"


sessions_option = click.option(
    "--sessions", type=PATH, help="Folder of all sessions [~/.local/share/edge-sdk/screening]."
)
device_option = click.option("--device", help="Which microscope or unit [this computer's name].")
camera_options = click.option(
    "--camera-option",
    "camera_option",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of that camera, as path=photos or size=1280x960; may be repeated.",
)
model_option = click.option(
    "--model",
    type=PATH,
    help="Artifact folder [on a device its release's, else the embedded one as int8].",
)
calibration_option = click.option(
    "--calibration", type=PATH, help="The site's file from calibrate-site."
)
operator_option = click.option("--operator", help="Who does it, for the log [the session's].")


def session_at(sessions: Path | None, session: str) -> Path:
    from edge_sdk.screening.session import session_folder

    return session_folder(sessions_folder(sessions), session)


def screening_model(model: Path | None) -> Artifact:
    """The artifact of --model, else that of the installed release, else the embedded one, which is
    made where it is not there yet."""
    from edge_sdk.artifact import read_artifact

    model = model or _installed_model()
    if model is not None:
        return read_artifact(model)
    from edge_sdk.convert.default import default_artifacts

    with Bars() as bars:
        return default_artifacts(bars)[0]


def _installed_model() -> Path | None:
    """Of the release that runs, where this package lies in one: see ondevice/layout.py."""
    from edge_sdk.ondevice.selftest import own_release

    release = own_release()
    current = release.parent.parent / "current"
    return current / "model" if current.resolve() == release else None
