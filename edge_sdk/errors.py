"""The one error tree.

    EdgeError                 anything this project raises on purpose       exit 1
    |- UsageError             an option, name or value that cannot be       exit 2
    |- DataError              images, folders, labels that cannot be used   exit 1
    |- ModelError             a model that cannot be read or converted      exit 1
    |  `- ArtifactError       a folder that is no (whole) artifact          exit 1
    |- TrainingError          a training that cannot go on                  exit 1
    |- BackendError           an interpreter that is missing or fails       exit 1
    |- ProfileError           a device profile that is wrong                exit 1
    |- BundleError            a bundle that is refused, or cannot be made   exit 1
    |- DeviceError            a device that is not reached or fails         exit 1
    `- CameraError            a camera that is missing, busy or vanished    exit 1

A message names the option or field, the bad value and the valid ones, and says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal


class EdgeError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(EdgeError):
    exit_code = 2


class DataError(EdgeError):
    pass


class ModelError(EdgeError):
    pass


class ArtifactError(ModelError):
    pass


class TrainingError(EdgeError):
    pass


class BackendError(EdgeError):
    pass


class ProfileError(EdgeError):
    pass


class BundleError(EdgeError):
    pass


class DeviceError(EdgeError):
    pass


CameraFault = Literal["missing", "busy", "vanished", "format"]


class CameraError(EdgeError):
    """fault: `missing` and `busy` at opening, `vanished` afterwards (no more frames, or broken
    ones), `format` for a size or pixel format that cannot be used: trying again does not help."""

    def __init__(self, message: str, fault: CameraFault = "vanished") -> None:
        super().__init__(message)
        self.fault = fault


def unknown_name(what: str, name: str, valid: Iterable[str]) -> str:
    """The message for a name that is not in a table: the name, its near misses, the valid ones."""
    names = sorted(valid)
    folded = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), list(folded), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(folded[n] for n in near)}?" if near else ""
    return f"unknown {what} '{name}'.{hint} Valid: {', '.join(names)}."


def shown(text: str) -> str:
    """Text for a terminal: what a file's name may hold to steer one is a plain mark."""
    return "".join(
        c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
