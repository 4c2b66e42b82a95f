"""Writes TFLite Model Metadata into a model, for other tools (see model_metadata.py).

Field numbers are those of tflite-support's metadata_schema.fbs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from edge_sdk.convert.rewrite import rewrite
from edge_sdk.model_metadata import LABELS_FILE, NAME
from edge_sdk.preprocess import Preprocess

_TENSOR_AXIS_LABELS = 2
_NORMALISATION_OPTIONS = 1
_IMAGE_PROPERTIES = 2
_FEATURE_PROPERTIES = 1
_COLOUR_SPACE_RGB = 1


def embed_metadata(
    model: bytes, *, name: str, description: str, labels: Sequence[str], preprocess: Preprocess
) -> bytes:
    """The model with its labels and normalisation inside; what it already says is kept.

    Labels go in twice, as the format wants: named in the metadata, stored in an appended zip."""

    def add(tree: Any, schema: Any) -> None:
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = content
        tree.buffers.append(buffer)
        entry.name, entry.buffer = NAME, len(tree.buffers) - 1
        kept = [m for m in tree.metadata or [] if m.name not in (NAME, NAME.encode())]
        tree.metadata = [*kept, entry]

    content = _build_metadata(name, description, preprocess)
    return _append_zip(rewrite(model, add), LABELS_FILE, "\n".join(labels) + "\n")


def _build_metadata(name: str, description: str, spec: Preprocess) -> bytes:
    import flatbuffers

    b = flatbuffers.Builder(1024)
    source = _table(
        b,
        {
            0: b.CreateString("image"),
            1: b.CreateString(
                f"{spec.colour} image, {spec.height}x{spec.width}, fit '{spec.fit}' with crop "
                f"fraction {spec.crop_fraction:g}"
            ),
            3: _content(b, _IMAGE_PROPERTIES, _image_properties(b, spec)),
            4: _tables(b, [_normalisation(b, spec)]),
        },
    )
    file = _table(
        b,
        {0: b.CreateString(LABELS_FILE), 1: b.CreateString("one label a line, in output order")},
        lambda: b.PrependInt8Slot(2, _TENSOR_AXIS_LABELS, 0),
    )
    result = _table(
        b,
        {
            0: b.CreateString("scores"),
            3: _content(b, _FEATURE_PROPERTIES, _table(b, {})),
            6: _tables(b, [file]),
        },
    )
    graph = _table(b, {2: _tables(b, [source]), 3: _tables(b, [result])})
    root = _table(
        b,
        {
            0: b.CreateString(name),
            1: b.CreateString(description),
            3: _tables(b, [graph]),
            7: b.CreateString("1.0.0"),
        },
    )
    b.Finish(root, b"M001")
    return bytes(b.Output())


def _image_properties(b: Any, spec: Preprocess) -> int:
    # The format knows RGB and grey only: a BGR model leaves its colour space unknown.
    if spec.colour != "RGB":
        return _table(b, {})
    return _table(b, {}, lambda: b.PrependInt8Slot(0, _COLOUR_SPACE_RGB, 0))


def _content(b: Any, kind: int, properties: int) -> int:
    return _table(b, {1: properties}, lambda: b.PrependUint8Slot(0, kind, 0))


def _normalisation(b: Any, spec: Preprocess) -> int:
    options = _table(b, {0: _floats(b, spec.mean), 1: _floats(b, spec.std)})
    return _table(b, {1: options}, lambda: b.PrependUint8Slot(0, _NORMALISATION_OPTIONS, 0))


def _table(b: Any, offsets: dict[int, int], scalars: Callable[[], None] | None = None) -> int:
    """A table of offset fields by number and, through `scalars`, its scalar fields."""
    b.StartObject(10)
    for number, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(number, offset, 0)
    if scalars is not None:
        scalars()
    return int(b.EndObject())


def _tables(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _floats(b: Any, values: Sequence[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())


def _append_zip(model: bytes, name: str, text: str) -> bytes:
    stream = io.BytesIO()
    stream.write(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        # A fixed date: the same model and labels give the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return stream.getvalue()
