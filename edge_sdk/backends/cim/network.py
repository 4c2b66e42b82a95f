"""A quantised .tflite file as steps: layers with weights as integers, operators as their tables.

Everything that does not depend on the input is computed here, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.backends.base import TensorSpec, classifier_specs
from edge_sdk.backends.cim import layers
from edge_sdk.backends.cim import read_operators as plain
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.layers import Layer
from edge_sdk.backends.cim.operators import Operation, Pad, Reshape
from edge_sdk.backends.cim.place import Place
from edge_sdk.errors import ModelError
from edge_sdk.tflite_file import Graph, Operator


@dataclass(frozen=True, eq=False)
class Step:
    """name: the output tensor's. inputs, output: tensor indices, constants left out.
    spent: the tensors that no later step needs."""

    op: str
    name: str
    inputs: tuple[int, ...]
    output: int
    work: Layer | Operation
    spent: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Network:
    """input, output: as in the file, with a batch of 1. source, result: their tensor indices.
    names: of all tensors, by index."""

    input: TensorSpec
    output: TensorSpec
    source: int
    result: int
    steps: tuple[Step, ...]
    names: tuple[str, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The layers with weights, in the order they run."""
        return tuple(s.work.kernel for s in self.steps if isinstance(s.work, Layer))


def read_network(path: Path) -> Network:
    """The steps of a quantised classifier.

    Raises ModelError, naming operator, layer or tensor, for a file that is damaged, is not
    quantised to 8 bits or less, or holds what is not executed here."""
    graph, source, result = classifier_specs(path)
    try:
        steps = _steps(graph, path)
    except (IndexError, ValueError, KeyError, OverflowError, ZeroDivisionError) as e:
        raise ModelError(f"{path} is damaged: {e}") from e
    return Network(
        input=source,
        output=result,
        source=graph.inputs[0],
        result=graph.outputs[0],
        steps=_with_spent(steps, graph.outputs[0]),
        names=tuple(t.name for t in graph.tensors),
    )


def _with_spent(steps: list[Step], result: int) -> tuple[Step, ...]:
    last = {i: n for n, step in enumerate(steps) for i in (step.output, *step.inputs)}
    last.pop(result, None)
    return tuple(
        replace(step, spent=tuple(i for i in sorted(last) if last[i] == n))
        for n, step in enumerate(steps)
    )


def _steps(graph: Graph, path: Path) -> list[Step]:
    # What a tensor can hold is narrower than its type behind a ReLU.
    limits: dict[int, tuple[int, int]] = {}
    made: list[Step] = []
    for number, op in enumerate(graph.operators):
        name = _name(graph, op, number, {step.name for step in made})
        if op.name not in _WORK:
            raise ModelError(
                f"{path}: operator {number}, {op.name} ('{name}'), is not executed by the "
                f"compute-in-memory emulator; it knows {', '.join(_WORK)}"
            )
        place = Place(graph, path, op, name, limits)
        work = _WORK[op.name](place)
        if held := _limits(place, work):
            limits[op.outputs[0]] = held
        inputs = tuple(i for i in op.inputs if i >= 0 and graph.tensors[i].data is None)
        made.append(Step(op.name, name, inputs, op.outputs[0], work))
    return made


def _name(graph: Graph, op: Operator, number: int, taken: set[str]) -> str:
    """The output tensor's name, told apart where the file gives one twice or none."""
    name = graph.tensors[op.outputs[0]].name
    return f"{name}#{number}" if name in taken or not name else name


def _limits(place: Place, work: Layer | Operation) -> tuple[int, int] | None:
    """What the output can hold; None: as much as its type."""
    if isinstance(work, Layer):
        return work.rescale.low, work.rescale.high
    return place.input_limits() if isinstance(work, (Reshape, Pad)) else None


_WORK: dict[str, Callable[[Place], Layer | Operation]] = {
    "CONV_2D": layers.convolution,
    "DEPTHWISE_CONV_2D": layers.depthwise,
    "FULLY_CONNECTED": layers.dense,
    "ADD": plain.pair,
    "MUL": plain.pair,
    "AVERAGE_POOL_2D": plain.pool,
    "MAX_POOL_2D": plain.pool,
    "MEAN": plain.mean,
    "PAD": plain.pad,
    "PADV2": plain.pad,
    "RESHAPE": plain.reshape,
    "SQUEEZE": plain.reshape,
    "SOFTMAX": plain.softmax,
    "LOGISTIC": plain.logistic,
    "RELU": plain.relu,
    "RELU6": plain.relu,
    "QUANTIZE": plain.quantise,
    "DEQUANTIZE": plain.dequantise,
    "CONCATENATION": plain.concatenate,
}
