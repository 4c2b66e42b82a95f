"""Writes small quantised .tflite files tensor by tensor, for the operators a test is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int4": schema.TensorType.INT4,
}


class File:
    """A graph that grows: the tensors and operators of one .tflite file."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.model.operatorCodes = []
        self.model.buffers = [schema.BufferT()]

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        scale: Any = (),
        zero: Any = 0,
        data: np.ndarray[Any, Any] | None = None,
        axis: int = 0,
    ) -> int:
        """data: of a constant; int4 as int8 levels. scale: one, or one for each index of axis."""
        t = schema.TensorT()
        t.name = f"t{len(self.graph.tensors)}".encode()
        t.shape, t.type = list(shape), TYPES[dtype]
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        if len(scales):
            t.quantization = schema.QuantizationParametersT()
            t.quantization.scale = scales
            t.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
            t.quantization.quantizedDimension = axis
        t.buffer = 0
        if data is not None:
            t.buffer = len(self.model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(_packed(data, dtype), np.uint8)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def operator(
        self, name: str, inputs: list[int], output: int, options: str = "", **values: Any
    ) -> int:
        """options: the name of the table they go in, "Pool2DOptions". Returns the output."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        op = schema.OperatorT()
        op.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        op.inputs, op.outputs = inputs, [output]
        if options:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            op.builtinOptions = getattr(schema, options + "T")()
            for key, value in values.items():
                assert hasattr(op.builtinOptions, key), key
                setattr(op.builtinOptions, key, value)
        self.graph.operators.append(op)
        return output

    def write(self, path: Path, source: int, result: int) -> Path:
        self.graph.inputs, self.graph.outputs = [source], [result]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def _packed(data: np.ndarray[Any, Any], dtype: str) -> bytes:
    if dtype != "int4":
        return np.ascontiguousarray(data, dtype).tobytes()
    nibbles = np.append(data.reshape(-1).astype(np.uint8) & 15, np.zeros(data.size % 2, np.uint8))
    return (nibbles[::2] | nibbles[1::2] << 4).astype(np.uint8).tobytes()
