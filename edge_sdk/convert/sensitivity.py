"""How much each 4-bit layer of a model costs, measured on the calibration images only.

One layer at a time is rounded in the float model, and the answers are compared with the float
model's: the mean Kullback-Leibler divergence, which unlike a count of changed answers is smooth
enough to tell layers apart on a hundred images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.adaptive_rounding import rounded_alone
from edge_sdk.convert.bias_correction import has_bias
from edge_sdk.convert.gate import probabilities
from edge_sdk.convert.walk import Walk, no_edit
from edge_sdk.progress import Progress, watched
from edge_sdk.tflite_file import Graph

Floats = npt.NDArray[np.float32]
WIDE = 8


@dataclass(frozen=True)
class Sensitivity:
    """layer: its output tensor. harm: divergence in nats that its rounding alone causes. cost:
    bytes that 8 bits for its weights would add."""

    layer: int
    name: str
    harm: float
    cost: int


def measure(
    model: bytes,
    graph: Graph,
    samples: Callable[[], Iterator[Floats]],
    bits: Mapping[int, int],
    activation: str,
    progress: Progress,
) -> list[Sensitivity]:
    """Of every layer with fewer than 8 bits, in the graph's order.

    bits: weight bits by output tensor. activation: of the output, see Manifest."""
    walk = Walk(model, graph, samples, no_edit)
    reference = probabilities(np.concatenate(list(walk.answers(no_edit))), activation)
    narrow = [op for op, _ in graph.weights() if bits[op.outputs[0]] < WIDE and has_bias(op)]
    found = []
    for op in watched(narrow, "measure each layer", progress):
        width = bits[op.outputs[0]]
        edit = rounded_alone(walk, graph, graph.operators.index(op), width)
        answers = probabilities(np.concatenate(list(walk.answers(edit))), activation)
        kernel = graph.tensors[op.inputs[1]]
        found.append(
            Sensitivity(
                op.outputs[0],
                graph.tensors[op.outputs[0]].name.split(";")[0],
                divergence(reference, answers),
                kernel.elements * (WIDE - width) // 8,
            )
        )
    return found


def by_worth(layers: Sequence[Sensitivity]) -> list[Sensitivity]:
    """Most harm per byte first."""
    return sorted(layers, key=lambda s: -s.harm / max(s.cost, 1))


def shares_left(layers: Sequence[Sensitivity]) -> list[float]:
    """Share of all harm that is left when the first 0, 1, ... layers have 8 bits; ends at 0."""
    harm = np.array([max(s.harm, 0.0) for s in layers])
    left = np.concatenate([np.cumsum(harm[::-1])[::-1], [0.0]])
    return [float(x) for x in (left / left[0] if left[0] > 0 else left)]


def divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Mean over rows of sum p log(p / q), in nats; below 1e-7 a probability counts as that."""
    p, q = np.maximum(p, 1e-7), np.maximum(q, 1e-7)
    return float((p * np.log(p / q)).sum(axis=1).mean())
