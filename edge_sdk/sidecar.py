"""What a bare model does not say, from files beside it and from options: labels, preprocessing.

For a model M the files `M.preprocess.json` and `M.labels.txt` (M without its suffix) are read, or
else `preprocess.json` and `labels.txt` in its folder. An option overrules the file. What is found
nowhere is assumed and said aloud.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.errors import DataError, UsageError, unknown_name
from edge_sdk.model_metadata import ModelMetadata
from edge_sdk.preprocess import NORMALISATIONS, Preprocess
from edge_sdk.strict import from_plain


@dataclass(frozen=True)
class PreprocessOptions:
    """Options as the user gave them; None where not given. normalise: a name of
    NORMALISATIONS; mean, std: raw pixel units and instead of it."""

    normalise: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    fit: str | None = None
    crop_fraction: float | None = None
    colour: str | None = None

    def __post_init__(self) -> None:
        if self.normalise is not None and self.normalise not in NORMALISATIONS:
            raise UsageError(unknown_name("normalisation", self.normalise, NORMALISATIONS))
        if (self.mean is None) != (self.std is None):
            raise UsageError("--mean and --std go together: give both or neither")
        if self.normalise is not None and self.mean is not None:
            raise UsageError("--normalise and --mean/--std exclude each other: give one")


def resolve_preprocess(
    model: Path,
    height: int,
    width: int,
    options: PreprocessOptions,
    assumed: str,
    inside: ModelMetadata | None = None,
) -> tuple[Preprocess, list[str]]:
    """The preprocessing for a model of that input size, and notes on what was assumed.

    assumed: the normalisation's name where neither option nor file nor the model's own metadata
    (`inside`) says."""
    values: dict[str, Any] = {}
    notes = []
    if (file := find_sidecar(model, "preprocess.json")) is not None:
        values = _read_json(file)
        if ("mean" in values) != ("std" in values):
            raise UsageError(f"{file}: mean and std go together: give both or neither")
    stated = (values.get("height", height), values.get("width", width))
    if stated != (height, width):
        raise UsageError(f"{file}: size {stated} differs from the model's {(height, width)}")
    values |= {"height": height, "width": width}
    if options.normalise is not None:
        values["mean"], values["std"] = map(list, NORMALISATIONS[options.normalise])
    elif options.mean is not None and options.std is not None:
        values["mean"], values["std"] = list(options.mean), list(options.std)
    elif "mean" in values and "std" in values:
        pass
    elif inside is not None and inside.mean and inside.std:
        values["mean"] = (list(inside.mean) * 3)[:3]
        values["std"] = (list(inside.std) * 3)[:3]
    else:
        values["mean"], values["std"] = map(list, NORMALISATIONS[assumed])
        notes.append(
            f"the model does not say how it was normalised: assumed '{assumed}', (pixel - "
            f"{values['mean'][0]:g}) / {values['std'][0]:g}; --normalise changes it"
        )
    for key in ("fit", "crop_fraction", "colour"):
        if (given := getattr(options, key)) is not None:
            values[key] = given
    return from_plain(Preprocess, values, str(file or "options"), UsageError), notes


def resolve_labels(model: Path, option: Path | None, classes: int) -> tuple[str, ...] | None:
    """The labels from --labels or beside the model, or None.

    Raises DataError when their number is not the number of outputs."""
    file = option or find_sidecar(model, "labels.txt")
    return None if file is None else read_labels(file, classes)


def read_labels(file: Path, classes: int) -> tuple[str, ...]:
    """One label a line. Raises DataError unless there are exactly `classes`.

    Two may be equal: ImageNet has two cranes."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"labels file {file} cannot be read: {e}") from e
    return check_labels(tuple(x.strip() for x in lines if x.strip()), classes, str(file))


def check_labels(labels: tuple[str, ...], classes: int, where: str) -> tuple[str, ...]:
    if len(labels) != classes:
        hint = " (one too many: a 'background' entry?)" if len(labels) == classes + 1 else ""
        raise DataError(f"{where}: {len(labels)} labels for {classes} outputs{hint}")
    return labels


def find_sidecar(model: Path, name: str) -> Path | None:
    beside = model.parent
    candidates = (beside / f"{model.stem}.{name}", beside / name)
    return next((c for c in candidates if c.is_file()), None)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UsageError(f"{file} cannot be read: {e}") from e
    if not isinstance(data, dict):
        raise UsageError(f"{file} must hold one JSON object")
    return data
