"""Runs a float .tflite forwards, piece by piece, on a fixed set of samples.

Rounding layer after layer asks for the input of each layer in turn. Running the whole file for
each would take as many passes as there are layers; here what is alive between two pieces is kept,
so that all together take about one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.rewrite import rewrite
from edge_sdk.errors import BackendError
from edge_sdk.quiet import quiet
from edge_sdk.tflite_file import Graph

Floats = npt.NDArray[np.float32]
Edit = Callable[[Any, Any], None]
Alive = dict[int, Floats]

# Activations of all samples that may be kept. What is larger is computed again: the first few
# layers' maps.
KEPT_BYTES = 300_000_000


def no_edit(tree: Any, schema: Any) -> None:
    """For a walk through the model as it is."""
    del tree, schema


class Walk:
    """One walk through a model, whose weights `edit` may change in layers not yet passed.

    samples(): the inputs, each (1, H, W, 3), the same every time it is called."""

    def __init__(
        self, model: bytes, graph: Graph, samples: Callable[[], Iterator[Floats]], edit: Edit
    ) -> None:
        self._model = model
        self._graph = graph
        self._edit = edit
        self._position = 0
        source = graph.inputs[0]
        self._states: Callable[[], Iterator[Alive]] = lambda: ({source: x} for x in samples())

    def before(self, position: int) -> Iterator[Alive]:
        """For each sample the tensors alive before the operator at `position`, by their index.

        position: no smaller than that of the call before, whose iterator has ended."""
        return self._keep(self._run(position, self._edit), position)

    def answers(self, edit: Edit) -> Iterator[Floats]:
        """The model's output for each sample, (1, classes), with `edit` in place of the walk's
        own. It may change what lies behind the last position asked for."""
        output = self._graph.outputs[0]
        return (state[output] for state in self._run(len(self._graph.operators), edit))

    def _run(self, stop: int, edit: Edit) -> Iterator[Alive]:
        if self._position == stop:
            return self._states()
        run = _runner(self._model, self._graph, edit, self._position, stop)
        alive = alive_before(self._graph, stop)
        return ({i: a for i, a in run(s).items() if i in alive} for s in self._states())

    def _keep(self, moved: Iterator[Alive], position: int) -> Iterator[Alive]:
        """The same; at its end the walk stands at `position` if what is alive there is small."""
        kept: list[Alive] = []
        held = 0
        for state in moved:
            held += sum(a.nbytes for a in state.values())
            if held <= KEPT_BYTES:
                kept.append(state)
            else:
                kept.clear()
            yield state
        if held <= KEPT_BYTES:
            self._position, self._states = position, lambda: iter(kept)


def alive_before(graph: Graph, position: int) -> set[int]:
    """Activations made before the operator at `position` that it or a later one reads."""
    made = {graph.inputs[0], *(o for op in graph.operators[:position] for o in op.outputs)}
    read = {i for op in graph.operators[position:] for i in op.inputs} | set(graph.outputs)
    return made & read


def _runner(
    model: bytes, graph: Graph, edit: Edit, start: int, stop: int
) -> Callable[[Alive], Alive]:
    given = alive_before(graph, start)
    wanted = sorted(alive_before(graph, stop) - given)
    fed = sorted(given & {i for op in graph.operators[start:stop] for i in op.inputs})

    def cut(tree: Any, schema: Any) -> None:
        edit(tree, schema)
        main = tree.subgraphs[0]
        main.operators = main.operators[start:stop]
        main.inputs, main.outputs = fed, wanted
        tree.signatureDefs = None
        used = {main.tensors[i].buffer for op in main.operators for i in op.inputs if i >= 0}
        for index, buffer in enumerate(tree.buffers):
            if index not in used:
                buffer.data = None

    interpreter = _open(rewrite(model, cut))

    def run(state: Alive) -> Alive:
        for index in fed:
            interpreter.set_tensor(index, state[index])
        interpreter.invoke()
        return state | {i: interpreter.get_tensor(i) for i in wanted}

    return run


def _open(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as e:
        raise BackendError(
            "ai-edge-litert is not installed: pip install 'edge-sdk[convert]'"
        ) from e
    with quiet("opening a piece of the float model"):
        interpreter = Interpreter(model_content=model, num_threads=os.cpu_count() or 1)
        interpreter.allocate_tensors()
    return interpreter
