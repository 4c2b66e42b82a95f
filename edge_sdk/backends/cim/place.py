"""An operator of a .tflite file among its tensors, and what its record is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.fixed_point import half_away
from edge_sdk.backends.cim.operators import Grid
from edge_sdk.errors import ModelError
from edge_sdk.tflite_file import Graph, Operator, Tensor

LEVELS = ("int8", "uint8")


@dataclass(frozen=True, eq=False)
class Place:
    """An operator among its tensors."""

    graph: Graph
    path: Path
    op: Operator
    name: str
    limits: dict[int, tuple[int, int]]

    def error(self, what: str) -> ModelError:
        return ModelError(f"{self.path}: {self.op.name} '{self.name}' {what}")

    def tensor(self, place: int) -> Tensor:
        if place >= len(self.op.inputs) or self.op.inputs[place] < 0:
            raise self.error(f"lacks its input {place}")
        return self.graph.tensors[self.op.inputs[place]]

    @property
    def output(self) -> Tensor:
        return self.graph.tensors[self.op.outputs[0]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output, without the images."""
        return self.output.shape[1:]

    def option(self, name: str) -> int:
        return int(self.op.options[name])

    def grid(self, tensor: Tensor) -> Grid:
        if tensor.dtype not in LEVELS:
            raise self.error(
                f"has the tensor '{tensor.name}' of type {tensor.dtype}; the emulator runs "
                f"{' and '.join(LEVELS)} only: convert the model with --to int8 or --to w4a8"
            )
        if len(tensor.scales) != 1 or not 0 < tensor.scales[0] < np.inf:
            raise self.error(f"has the tensor '{tensor.name}' without one scale above 0")
        zero = int(tensor.zero_points[0]) if len(tensor.zero_points) else 0
        return Grid(float(tensor.scales[0]), zero, np.dtype(tensor.dtype))

    def constant(self, place: int) -> npt.NDArray[Any]:
        tensor = self.tensor(place)
        if tensor.data is None:
            raise self.error(f"computes its input '{tensor.name}', which must be a constant here")
        if tensor.dtype not in ("int8", "uint8", "int32"):
            raise self.error(f"has the constant '{tensor.name}' of type {tensor.dtype}")
        return np.frombuffer(tensor.data, np.dtype(tensor.dtype)).reshape(tensor.shape)

    def clamp(self) -> tuple[int, int]:
        """The output's levels within its fused activation."""
        return self.clamp_of(self.option("activation"))

    def input_limits(self) -> tuple[int, int]:
        index = self.op.inputs[0]
        return self.limits.get(index) or self.grid(self.tensor(0)).limits()

    def clamp_of(self, activation: int) -> tuple[int, int]:
        grid = self.grid(self.output)
        low, high = grid.limits()
        if activation not in (0, 1, 2, 3):
            raise self.error(
                f"has the fused activation {activation}; executed are none, ReLU and ReLU6"
            )

        def level(real: float) -> int:
            return grid.zero + half_away(float(np.float32(real) / np.float32(grid.scale)))

        if activation in (1, 3):
            low = max(low, level(0))
        if activation == 2:
            low, high = max(low, level(-1)), min(high, level(1))
        if activation == 3:
            high = min(high, level(6))
        return low, high

    def window(
        self, size: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
        """Stride, padding and positions; SAME padding puts the odd one behind."""
        stride = self.option("stride_y"), self.option("stride_x")
        height, width = self.tensor(0).shape[1:3]
        sides: list[int] = []
        positions: list[int] = []
        for length, window, step in zip((height, width), size, stride, strict=True):
            if self.option("padding") == 0:
                count = -(-length // step)
                missing = max((count - 1) * step + window - length, 0)
            else:
                count, missing = (length - window + step) // step, 0
            positions.append(count)
            sides += [missing // 2, missing - missing // 2]
        top, bottom, left, right = sides
        return stride, (top, bottom, left, right), (positions[0], positions[1])
