"""TFLite Model Metadata: labels and normalisation inside the .tflite, where other tools read them.

The metadata is a FlatBuffer of its own (schema metadata_schema.fbs of tflite-support, identifier
M001) kept as a model buffer named TFLITE_METADATA; the label file is a zip archive appended to the
model. Reading needs NumPy only; writing is in convert/embed_metadata.py.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.errors import ModelError
from edge_sdk.tflite_file import Table, named_buffer

NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"


@dataclass(frozen=True)
class ModelMetadata:
    """What a model says about itself. mean, std: empty when it does not say."""

    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_metadata(model: Path) -> ModelMetadata:
    """The labels and normalisation in a .tflite; empty where it has none.

    Raises ModelError when there is metadata and it is damaged."""
    raw = named_buffer(model, NAME)
    try:
        mean, std = _normalisation(raw) if raw is not None else ((), ())
        return ModelMetadata(_labels(model), mean, std)
    except (struct.error, IndexError, ValueError, zipfile.BadZipFile) as e:
        raise ModelError(f"{model}: its metadata is damaged: {e}") from e


def _labels(model: Path) -> tuple[str, ...]:
    if not zipfile.is_zipfile(model):
        return ()
    with zipfile.ZipFile(model) as archive:
        names = [n for n in archive.namelist() if "label" in n.lower() and n.endswith(".txt")]
        if not names:
            return ()
        text = archive.read(names[0]).decode("utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _normalisation(raw: bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    root = Table(raw, int(struct.unpack_from("<I", raw, 0)[0]))
    for subgraph in root.tables(3)[:1]:
        for tensor in subgraph.tables(2)[:1]:
            for unit in tensor.tables(4):
                options = unit.table(1)
                if unit.scalar(0, "B") == 1 and options is not None:  # NormalizationOptions
                    mean, std = options.array(0, "<f4"), options.array(1, "<f4")
                    return tuple(mean.tolist()), tuple(std.tolist())
    return (), ()
