"""What is fixed when a session is made."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sdk.artifact import SlideRule
from edge_sdk.screening.site import SiteCalibration
from edge_sdk.screening.slide import RedCells
from edge_sdk.stain_range import StainRange


@dataclass(frozen=True)
class Settings:
    """model: name, model_path: artifact folder, model_sha256:
    of its model file. site: None without a calibration. diameter: of a red cell, pixels, None to
    find it. camera_options: JSON. target: red cells to count. stain: what the
    stain gate goes by, None where the model has none, and for drawn fields."""

    session: str
    app_version: str
    created: str
    operator: str
    device: str
    language: str
    model: str
    model_path: str
    model_sha256: str
    rule: SlideRule
    site: SiteCalibration | None
    blood: RedCells
    target: int
    diameter: float | None
    camera: str
    camera_options: str
    simulated: bool
    drawn_parasitaemia: float | None
    stain: StainRange | None = None
