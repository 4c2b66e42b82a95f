"""Edits a .tflite file: unpack with the generated schema, change the tree, pack again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_sdk.errors import BackendError

_BUFFER_ALIGNMENT = 16


def rewrite(model: bytes, edit: Callable[[Any, Any], None]) -> bytes:
    """The file after edit(tree, schema): tree is the ModelT, schema the generated module.

    In the tree every buffer's `data` is bytes or None, also where the file had it behind the
    FlatBuffer. Raises BackendError when LiteRT or flatbuffers is not installed."""
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ModuleNotFoundError as e:
        raise BackendError(
            f"{e.name} is not installed: pip install 'edge-sdk[convert]' (it writes the model)"
        ) from e
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    for buffer in tree.buffers:
        if buffer.offset > 1:
            buffer.data = model[buffer.offset : buffer.offset + buffer.size]
        elif buffer.data is not None:
            buffer.data = bytes(buffer.data)
    edit(tree, schema)
    tree.buffers = [_AlignedBuffer(b.data, schema) for b in tree.buffers]
    builder = flatbuffers.Builder(len(model) + 65536)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer:
    """Packs a buffer on 16 bytes, as the schema asks and the generated code does not."""

    def __init__(self, data: bytes | None, schema: Any) -> None:
        self._data = data
        self._schema = schema

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (the generated code calls it so)
        vector = None
        if self._data:
            builder.StartVector(1, len(self._data), _BUFFER_ALIGNMENT)
            builder.head -= len(self._data)
            builder.Bytes[builder.head : builder.head + len(self._data)] = self._data
            vector = builder.EndVector()
        self._schema.BufferStart(builder)
        if vector is not None:
            self._schema.BufferAddData(builder, vector)
        return self._schema.BufferEnd(builder)
