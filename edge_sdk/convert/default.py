"""The embedded default's artifacts, converted once and kept in the user's cache.

They are calibrated and judged on simulated cells, which their manifests say: no data set ships
with the package. Their slide rules were measured on real ones, see default_screening.py.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import edge_sdk
from edge_sdk.artifact import REJECTED, Artifact, read_artifact
from edge_sdk.convert.default_screening import record_file
from edge_sdk.convert.pipeline import ConvertRequest, convert
from edge_sdk.errors import ArtifactError
from edge_sdk.files import sha256, write_whole
from edge_sdk.progress import Progress, silent
from edge_sdk.simulate import write_cells
from edge_sdk.zoo import DEFAULT, default_model

SCHEMES = ("int8", "w4a8")
CELLS = 400


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/edge-sdk, or ~/.cache/edge-sdk."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge-sdk"


def drawn_cells(scratch: Path) -> Path:
    """The cells that calibrate and judge the default, in a new folder of `scratch`."""
    return write_cells(scratch / "simulated-cells", CELLS, seed=0)


def default_artifacts(progress: Progress = silent) -> list[Artifact]:
    """int8 and w4a8 of the embedded default, from the cache or made now.

    Raises BackendError when they have to be made and TensorFlow is not installed."""
    model_sha = sha256(default_model())
    measured = sha256(record_file())
    folder = cache_folder() / f"{edge_sdk.__version__}-{model_sha[:12]}-{measured[:8]}"
    found = [a for s in SCHEMES if (a := _cached(folder, s, model_sha)) is not None]
    if len(found) == len(SCHEMES):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as scratch:
        cells = drawn_cells(Path(scratch))
        made = convert(
            ConvertRequest(model=None, schemes=SCHEMES, data=cells, out=folder, overwrite=True),
            progress,
        )
    write_whole(folder / "README.txt", b"Made by edge-sdk; may be deleted at any time.\n")
    return list(made.artifacts)


def _cached(folder: Path, scheme: str, model_sha: str) -> Artifact | None:
    for suffix in ("", REJECTED):
        try:
            artifact = read_artifact(folder / f"{DEFAULT}-{scheme}{suffix}")
        except ArtifactError:
            continue
        if artifact.manifest.source.sha256 == model_sha:
            return artifact
    return None
