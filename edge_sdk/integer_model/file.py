"""An integer model as a folder: model.json says what there is, model.npz holds the arrays."""

from __future__ import annotations

import dataclasses
import json
import typing
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.artifact import Activation
from edge_sdk.errors import ArtifactError
from edge_sdk.files import sha256, whole_folder
from edge_sdk.integer_model.layers import (
    Convolution,
    Dense,
    Depthwise,
    IntegerModel,
    Layer,
    MaxPool,
    Pool,
    Requantise,
    Sum,
)
from edge_sdk.preprocess import Preprocess
from edge_sdk.strict import from_plain, to_plain

FORMAT = 1
JSON_FILE = "model.json"
ARRAYS_FILE = "model.npz"
KINDS: dict[str, type[Layer]] = {
    "convolution": Convolution,
    "depthwise": Depthwise,
    "sum": Sum,
    "max-pool": MaxPool,
    "pool": Pool,
    "requantise": Requantise,
    "dense": Dense,
}


@dataclasses.dataclass(frozen=True)
class _Header:
    format: int
    sha256: str
    preprocess: Preprocess
    labels: tuple[str, ...]
    activation: Activation


def write_integer_model(folder: Path, model: IntegerModel, *, replace: bool = False) -> None:
    """Raises UsageError when the folder exists and `replace` is false."""
    with whole_folder(folder, replace=replace) as partial:
        arrays = {
            f"{i}.{field}": getattr(layer, field)
            for i, layer in enumerate(model.layers)
            for field in _array_fields(type(layer))
        }
        np.savez(partial / ARRAYS_FILE, **arrays)
        digest = sha256(partial / ARRAYS_FILE)
        header = _Header(FORMAT, digest, model.preprocess, model.labels, model.activation)
        layers = [_plain_layer(layer) for layer in model.layers]
        text = json.dumps({**to_plain(header), "layers": layers}, indent=1, ensure_ascii=False)
        (partial / JSON_FILE).write_text(text + "\n", encoding="utf-8")


def is_integer_model(folder: Path) -> bool:
    return (folder / JSON_FILE).is_file()


def read_integer_model(folder: Path) -> IntegerModel:
    """Raises ArtifactError for a folder that is missing, damaged or of another format."""
    path = folder / JSON_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        digest = sha256(folder / ARRAYS_FILE)
    except (OSError, ValueError, RecursionError) as e:
        raise ArtifactError(f"{folder} is no integer model, or a damaged one: {e}") from e
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ArtifactError(f"{path}: the format must be {FORMAT}; export the model again")
    layers = data.pop("layers", None)
    header = from_plain(_Header, data, str(path), ArtifactError)
    if digest != header.sha256:
        raise ArtifactError(
            f"{folder / ARRAYS_FILE} is not the file that {JSON_FILE} describes: sha256 {digest}, "
            f"expected {header.sha256}. It was changed or damaged: export or copy it again"
        )
    if not isinstance(layers, list):
        raise ArtifactError(f"{path}: layers must be a list")
    try:
        with np.load(folder / ARRAYS_FILE, allow_pickle=False) as arrays:
            read = tuple(_read_layer(i, x, arrays, str(path)) for i, x in enumerate(layers))
        return IntegerModel(header.preprocess, header.labels, header.activation, read)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as e:
        raise ArtifactError(f"{folder / ARRAYS_FILE} cannot be read: {e}") from e
    except ArtifactError as e:
        raise ArtifactError(f"{folder}: {e}") from e


def _plain_layer(layer: Layer) -> dict[str, Any]:
    kind = next(k for k, v in KINDS.items() if v is type(layer))
    arrays = _array_fields(type(layer))
    fields = [f.name for f in dataclasses.fields(layer) if f.name not in arrays]
    return {"kind": kind, **{f: to_plain(getattr(layer, f)) for f in fields}}


def _read_layer(index: int, data: Any, arrays: Any, where: str) -> Layer:
    where = f"{where}: layers[{index}]"
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        raise ArtifactError(f"{where}: kind must be one of {', '.join(KINDS)}")
    kind = KINDS[data.pop("kind")]
    types = _array_fields(kind)
    hints = typing.get_type_hints(kind)
    fields = [(f.name, hints[f.name]) for f in dataclasses.fields(kind) if f.name not in types]
    plain_kind: type[Any] = dataclasses.make_dataclass("Plain", fields)
    plain = from_plain(plain_kind, data, where, ArtifactError)
    values = {name: getattr(plain, name) for name, _ in fields}
    for name, dtype in types.items():
        values[name] = arrays[f"{index}.{name}"]
        if values[name].dtype != dtype:
            raise ArtifactError(f"{where}: {name} is {values[name].dtype}, not {dtype}")
    return kind(**values)


def _array_fields(kind: type[Layer]) -> dict[str, np.dtype[Any]]:
    """The layer's array fields with their number types."""
    if issubclass(kind, Convolution):
        return {"weights": np.dtype("int8")} | dict.fromkeys(
            ("bias", "mantissa", "shift", "offset"), np.dtype("int32")
        )
    if kind is Dense:
        return {"weights": np.dtype("int8")} | dict.fromkeys(("scale", "bias"), np.dtype("float32"))
    return {}
