"""Where the emulator first differs from LiteRT's reference kernels, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.execute import tensors
from edge_sdk.backends.cim.network import Network, read_network
from edge_sdk.errors import BackendError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """The first tensor, in the order of execution, that differs in any image, and in it the first
    element. element: (image, ...). count: of elements that differ, elements: of all."""

    tensor: str
    index: int
    operator: str
    element: tuple[int, ...]
    ours: float
    theirs: float
    count: int
    elements: int

    def __str__(self) -> str:
        place = ", ".join(map(str, self.element))
        return (
            f"{self.operator} '{self.tensor}' (tensor {self.index}): {self.count:,} of "
            f"{self.elements:,} elements differ, first [{place}]: {self.ours:g} here, "
            f"{self.theirs:g} in LiteRT's reference kernels"
        )


def first_difference(path: Path, x: Array) -> Difference | None:
    """Ideal sums against LiteRT's reference kernels on images x (N, height, width, 3).

    Raises ModelError for the file, BackendError without ai-edge-litert."""
    network = read_network(path)
    theirs = reference_tensors(path, network, x)
    ours = tensors(network, x)
    for step in network.steps:
        a, b = ours[step.output], theirs[step.output]
        differ = np.argwhere(a != b.reshape(a.shape))
        if len(differ):
            place = tuple(int(i) for i in differ[0])
            return Difference(
                tensor=network.names[step.output],
                index=step.output,
                operator=step.op,
                element=place,
                ours=float(a[place]),
                theirs=float(b.reshape(a.shape)[place]),
                count=len(differ),
                elements=a.size,
            )
    return None


def reference_tensors(path: Path, network: Network, x: Array) -> dict[int, Array]:
    """What LiteRT's reference kernels compute: every step's output, by index, images first."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as e:
        raise BackendError(
            "comparing tensors needs LiteRT's reference kernels: pip install ai-edge-litert"
        ) from e
    interpreter = Interpreter(
        model_path=str(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    indices = [network.source, *(step.output for step in network.steps)]
    found: dict[int, list[Array]] = {i: [] for i in indices}
    for image in x:
        interpreter.set_tensor(network.source, image[None])
        interpreter.invoke()
        for i in indices:
            found[i].append(interpreter.get_tensor(i))
    return {i: np.concatenate(values) for i, values in found.items()}
