"""Models that ship with the package, each in a folder with its labels and training record."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "malaria-mobilenetv2-96"


def default_model() -> Path:
    """The embedded default: a float Keras malaria-cell classifier (see its README.md)."""
    return Path(__file__).parent / DEFAULT / "model.keras"
