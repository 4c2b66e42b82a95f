"""TFLite Model Metadata: labels and normalisation inside the .tflite, where other tools read them.

The metadata is a FlatBuffer of its own (schema metadata_schema.fbs of tflite-support, identifier
M001) kept as a model buffer named TFLITE_METADATA; the label file is a zip archive appended to the
model. Reading needs NumPy only; writing is in convert/embed_metadata.py.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.errors import ModelError
from edge_sdk.tflite_file import Table, named_buffer

NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"


# A label file is a few kilobytes; what unpacks to more is no label file.
_LARGEST_LABELS = 1_000_000
# What zipfile raises on damage, beside the reader's own: it takes old, encrypted and exotic zips
# for programming errors.
_DAMAGE = (
    struct.error,
    IndexError,
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)


Floats = tuple[float, ...]


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
    except _DAMAGE as e:
        raise ModelError(f"{model}: its metadata is damaged: {e}") from e


def _labels(model: Path) -> tuple[str, ...]:
    if not zipfile.is_zipfile(model):
        return ()
    with zipfile.ZipFile(model) as archive:
        names = [n for n in archive.namelist() if "label" in n.lower() and n.endswith(".txt")]
        if not names:
            return ()
        if archive.getinfo(names[0]).compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError(f"{names[0]} is compressed in a way that label files are not")
        with archive.open(names[0]) as file:
            data = file.read(_LARGEST_LABELS + 1)
    if len(data) > _LARGEST_LABELS:
        raise ValueError(f"{names[0]} holds more than {_LARGEST_LABELS} bytes")
    text = data.decode("utf-8-sig")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _normalisation(raw: bytes) -> tuple[Floats, Floats]:
    root = Table(raw, int(struct.unpack_from("<I", raw, 0)[0]))
    for subgraph in root.tables(3)[:1]:
        for tensor in subgraph.tables(2)[:1]:
            for unit in tensor.tables(4):
                options = unit.table(1)
                if unit.scalar(0, "B") == 1 and options is not None:  # NormalizationOptions
                    mean, std = options.array(0, "<f4"), options.array(1, "<f4")
                    return _usable(tuple(mean.tolist()), tuple(std.tolist()))
    return (), ()


def _usable(mean: Floats, std: Floats) -> tuple[Floats, Floats]:
    numbers = (*mean, *std)
    if (
        not {len(mean), len(std)} <= {0, 1, 3}
        or not all(map(math.isfinite, numbers))
        or any(s <= 0 for s in std)
    ):
        raise ValueError(f"its normalisation is mean {list(mean)}, std {list(std)}")
    return mean, std
