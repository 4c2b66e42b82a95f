"""Reads a .tflite file's graph without an interpreter: tensors, operators, quantisation.

A FlatBuffer is a tree of tables; a table starts with the offset of its vtable, which gives the
place of each field (https://flatbuffers.dev/internals/). The field numbers below are those of
TensorFlow Lite's schema (tensorflow/compiler/mlir/lite/schema/schema.fbs). Reading them here
keeps the device free of TensorFlow and of twenty thousand generated lines.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import ModelError

T = TypeVar("T")

TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool",
    7: "int16", 8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64",
    13: "resource", 14: "variant", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16",
    19: "int2", 20: "uint4",
}  # fmt: skip
BITS = {
    "float32": 32, "float16": 16, "int32": 32, "uint8": 8, "int64": 64, "bool": 8, "int16": 16,
    "int8": 8, "float64": 64, "uint64": 64, "uint32": 32, "uint16": 16, "int4": 4,
    "bfloat16": 16, "int2": 2, "uint4": 4, "complex64": 64, "complex128": 128,
}  # fmt: skip
# Only the operators a name is needed for; the rest print as their number.
OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE", 9: "FULLY_CONNECTED", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL",
    19: "RELU", 21: "RELU6", 22: "RESHAPE", 23: "RESIZE_BILINEAR", 25: "SOFTMAX", 28: "TANH",
    32: "CUSTOM", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV",
    43: "SQUEEZE", 45: "STRIDED_SLICE", 47: "EXP", 53: "CAST", 54: "PRELU", 55: "MAXIMUM",
    57: "MINIMUM", 60: "PADV2", 67: "TRANSPOSE_CONV", 70: "EXPAND_DIMS", 74: "SUM", 77: "SHAPE",
    81: "REDUCE_PROD", 82: "REDUCE_MAX", 83: "PACK", 98: "LEAKY_RELU", 99: "SQUARED_DIFFERENCE",
    114: "QUANTIZE", 117: "HARD_SWISH", 126: "BATCH_MATMUL", 129: "CALL_ONCE",
    142: "VAR_HANDLE", 143: "READ_VARIABLE", 144: "ASSIGN_VARIABLE", 150: "GELU",
}  # fmt: skip
# Options of an operator: field number, form, default. padding: 0 same, 1 valid. activation: 0 none,
# 1 ReLU, 2 ReLU from -1 to 1, 3 ReLU6, 4 tanh, 5 sign.
_Fields = dict[str, tuple[int, str, float]]
_WINDOW: _Fields = {"padding": (0, "b", 0), "stride_x": (1, "i", 0), "stride_y": (2, "i", 0)}
_POOL: _Fields = {**_WINDOW, "width": (3, "i", 0), "height": (4, "i", 0), "activation": (5, "b", 0)}
OPTIONS: dict[str, _Fields] = {
    "ADD": {"activation": (0, "b", 0)},
    "MUL": {"activation": (0, "b", 0)},
    "CONCATENATION": {"axis": (0, "i", 0), "activation": (1, "b", 0)},
    "CONV_2D": {
        **_WINDOW,
        "activation": (3, "b", 0),
        "dilation_x": (4, "i", 1),
        "dilation_y": (5, "i", 1),
    },
    "DEPTHWISE_CONV_2D": {
        **_WINDOW,
        "activation": (4, "b", 0),
        "dilation_x": (5, "i", 1),
        "dilation_y": (6, "i", 1),
    },
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "FULLY_CONNECTED": {"activation": (0, "b", 0)},
    "SOFTMAX": {"beta": (0, "f", 0.0)},
}


@dataclass(frozen=True)
class Tensor:
    """shape: of the file's signature; -1 marks a dimension that is free at run time.
    scales, zero_points: empty for a float tensor, one or one per channel otherwise.
    data: the constant's raw bytes (int4 packed two to a byte, low nibble first), or None."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    quantised_dimension: int
    data: memoryview | None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the values, sub-byte types packed."""
        return -(-self.elements * BITS.get(self.dtype, 0) // 8)


@dataclass(frozen=True)
class Operator:
    """options: those of OPTIONS that its name has, with the format's defaults."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Graph:
    """The first subgraph of a .tflite file. inputs, outputs: tensor indices."""

    size: int
    subgraphs: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metadata: tuple[str, ...]

    def op_counts(self) -> dict[str, int]:
        return dict(sorted(Counter(op.name for op in self.operators).items()))

    def weights(self) -> list[tuple[Operator, Tensor]]:
        """Every operator that computes with a constant kernel, with that kernel."""
        kinds = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
        return [
            (op, self.tensors[op.inputs[1]])
            for op in self.operators
            if op.name in kinds and len(op.inputs) > 1 and self.tensors[op.inputs[1]].shape
        ]

    def weight_types(self) -> dict[str, int]:
        """Number of kernels by operator and type, as {"CONV_2D int4": 35}."""
        return dict(sorted(Counter(f"{op.name} {t.dtype}" for op, t in self.weights()).items()))


def read_tflite(path: Path) -> Graph:
    """The graph of a file. Raises ModelError for a file that is missing, truncated or no TFLite."""
    return _parse(path, _read_graph)


def named_buffer(path: Path, name: str) -> bytes | None:
    """The bytes a model keeps as metadata under `name`, or None. Raises as `read_tflite` does."""
    return _parse(path, lambda raw: _read_named(raw, name))


def _parse(path: Path, read: Callable[[bytes], T]) -> T:
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ModelError(f"cannot read model {path}: {e.strerror}") from e
    if len(raw) < 16 or raw[4:8] != b"TFL3":
        raise ModelError(f"{path} is not a TensorFlow Lite model (no TFL3 mark)")
    try:
        return read(raw)
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as e:
        raise ModelError(f"{path} is damaged or cut short: {e}") from e


@dataclass(frozen=True)
class Table:
    """A FlatBuffer table: `raw` and the table's position in it."""

    raw: bytes
    at: int

    def _field(self, number: int) -> int:
        vtable = self.at - _i32(self.raw, self.at)
        if vtable < 0:
            raise ValueError("a table points outside the file")
        entry = 4 + 2 * number
        if entry >= _u16(self.raw, vtable):
            return 0
        offset = _u16(self.raw, vtable + entry)
        return self.at + offset if offset else 0

    def scalar(self, number: int, form: str, default: int = 0) -> int:
        return int(self.number(number, form, default))

    def number(self, number: int, form: str, default: float = 0) -> float:
        at = self._field(number)
        found: float = struct.unpack_from("<" + form, self.raw, at)[0] if at else default
        return found

    def _vector(self, number: int) -> tuple[int, int]:
        """Position of the first element and the number of elements."""
        at = self._field(number)
        if not at:
            return 0, 0
        at += _u32(self.raw, at)
        return at + 4, _u32(self.raw, at)

    def array(self, number: int, dtype: str) -> npt.NDArray[np.generic]:
        at, count = self._vector(number)
        return np.frombuffer(self.raw, dtype, count, at) if count else np.empty(0, dtype)

    def bytes(self, number: int) -> memoryview | None:
        at, count = self._vector(number)
        return _slice(self.raw, at, count) if at else None

    def string(self, number: int) -> str:
        view = self.bytes(number)
        return bytes(view).decode() if view is not None else ""

    def table(self, number: int) -> Table | None:
        at = self._field(number)
        return Table(self.raw, at + _u32(self.raw, at)) if at else None

    def tables(self, number: int) -> list[Table]:
        at, count = self._vector(number)
        if count * 4 > len(self.raw):
            raise ValueError("a vector is longer than the file")
        places = range(at, at + 4 * count, 4)
        return [Table(self.raw, p + _u32(self.raw, p)) for p in places]


def _u16(raw: bytes, at: int) -> int:
    return int(struct.unpack_from("<H", raw, at)[0])


def _u32(raw: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", raw, at)[0])


def _i32(raw: bytes, at: int) -> int:
    return int(struct.unpack_from("<i", raw, at)[0])


def _slice(raw: bytes, at: int, count: int) -> memoryview:
    if at + count > len(raw):
        raise ValueError(f"a buffer ends at byte {at + count}, the file at {len(raw)}")
    return memoryview(raw)[at : at + count]


def _read_graph(raw: bytes) -> Graph:
    model = Table(raw, _u32(raw, 0))
    subgraphs = model.tables(2)
    if not subgraphs:
        raise ValueError("it has no graph")
    buffers = [_read_buffer(b) for b in model.tables(4)]
    codes = []
    for code in model.tables(1):
        # The old 8-bit code is 127 when the number needs the newer field.
        number = max(code.scalar(0, "b"), code.scalar(3, "i"))
        codes.append(code.string(1) or OPERATORS.get(number, f"OPERATOR_{number}"))
    graph = subgraphs[0]
    tensors = tuple(_read_tensor(i, t, buffers) for i, t in enumerate(graph.tables(0)))
    count = len(tensors)
    operators = tuple(
        # -1 stands for an optional input that is left out.
        Operator(
            codes[op.scalar(0, "I")],
            _indices(op, 1, count, -1),
            _indices(op, 2, count),
            _read_options(codes[op.scalar(0, "I")], op.table(4)),
        )
        for op in graph.tables(3)
    )
    return Graph(
        size=len(raw),
        subgraphs=len(subgraphs),
        tensors=tensors,
        operators=operators,
        inputs=_indices(graph, 1, count),
        outputs=_indices(graph, 2, count),
        metadata=tuple(m.string(0) for m in model.tables(6)),
    )


def _read_options(name: str, table: Table | None) -> dict[str, float]:
    fields = OPTIONS.get(name, {})
    if table is None:
        return {key: default for key, (_, _, default) in fields.items()}
    return {key: table.number(*place) for key, place in fields.items()}


def _read_named(raw: bytes, name: str) -> bytes | None:
    model = Table(raw, _u32(raw, 0))
    for entry in model.tables(6):
        if entry.string(0) == name:
            data = _read_buffer(model.tables(4)[entry.scalar(1, "I")])
            return bytes(data) if data is not None else None
    return None


def _indices(table: Table, number: int, count: int, lowest: int = 0) -> tuple[int, ...]:
    found = tuple(int(i) for i in table.array(number, "<i4"))
    if any(not lowest <= i < count for i in found):
        raise ValueError(f"it names tensors {list(found)} of {count}")
    return found


def _read_buffer(buffer: Table) -> memoryview | None:
    # Writers of large files, and litert-quantizer always, put the bytes behind the FlatBuffer.
    offset, size = buffer.scalar(1, "Q"), buffer.scalar(2, "Q")
    if offset > 1:
        return _slice(buffer.raw, offset, size)
    return buffer.bytes(0)


def _read_tensor(index: int, t: Table, buffers: list[memoryview | None]) -> Tensor:
    shape = t.array(7, "<i4") if len(t.array(7, "<i4")) else t.array(0, "<i4")
    q = t.table(4)
    data = buffers[t.scalar(2, "I")]
    return Tensor(
        index=index,
        name=t.string(3),
        shape=tuple(int(d) for d in shape),
        dtype=TYPES.get(t.scalar(1, "b"), "unknown"),
        scales=np.asarray(q.array(2, "<f4") if q else [], np.float32),
        zero_points=np.asarray(q.array(3, "<i8") if q else [], np.int64),
        quantised_dimension=q.scalar(6, "i") if q else 0,
        data=data if data is not None and len(data) else None,
    )
