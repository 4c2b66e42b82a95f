"""Runs a network on batches of images, layers with weights through a hook."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.kernel import Accumulate
from edge_sdk.backends.cim.layers import Layer
from edge_sdk.backends.cim.network import Network, Step
from edge_sdk.backends.cim.sums import depthwise_levels, exact_sums, levels_of_sums
from edge_sdk.errors import BackendError

Array = npt.NDArray[Any]
# Images at a time: enough for the matrices of the last layers, few enough for the cache.
BATCH = 4


def run(
    network: Network,
    x: Array,
    accumulate: Accumulate = exact_sums,
    *,
    digital: Collection[str] = (),
    batch: int = BATCH,
) -> Array:
    """Output levels (N, ...) of images x, (N, height, width, 3) in the input's type.

    accumulate: sums of the layers with weights. digital: names of kernels that are summed exactly,
    without it. Raises BackendError for images that are no input of this network."""
    results = [
        values[network.result]
        for part in _parts(network, x, batch)
        for values in [_values(network, part, accumulate, digital, keep=False)]
    ]
    return np.concatenate(results)


def tensors(
    network: Network,
    x: Array,
    accumulate: Accumulate = exact_sums,
    *,
    digital: Collection[str] = (),
    batch: int = BATCH,
) -> dict[int, Array]:
    """Every tensor that is not a constant, by its index in the file, images first."""
    parts = [
        _values(network, part, accumulate, digital, keep=True) for part in _parts(network, x, batch)
    ]
    return {i: np.concatenate([p[i] for p in parts]) for i in parts[0]}


def _parts(network: Network, x: Array, batch: int) -> Iterator[Array]:
    shape, dtype = network.input.shape[1:], np.dtype(network.input.dtype)
    if x.shape[1:] != shape or x.dtype != dtype or not len(x):
        raise BackendError(
            f"input has shape {x.shape} and type {x.dtype}; the model takes (images, "
            f"{', '.join(map(str, shape))}) {dtype}"
        )
    x = np.ascontiguousarray(x)
    return (x[i : i + batch] for i in range(0, len(x), batch))


def _values(
    network: Network, x: Array, accumulate: Accumulate, digital: Collection[str], *, keep: bool
) -> dict[int, Array]:
    values = {network.source: x}
    for step in network.steps:
        values[step.output] = _output(step, values, accumulate, digital)
        if not keep:
            for spent in step.spent:
                del values[spent]
    return values


def _output(
    step: Step, values: dict[int, Array], accumulate: Accumulate, digital: Collection[str]
) -> Array:
    work, inputs = step.work, [values[i] for i in step.inputs]
    if not isinstance(work, Layer):
        return work(*inputs)
    (x,) = inputs
    if work.flatten:
        x = x.reshape(len(x), -1)
    exact = accumulate is exact_sums or work.kernel.name in digital
    if exact and work.kernel.kind == "depthwise":
        return depthwise_levels(work.kernel, x, work.rescale)
    sums = (exact_sums if exact else accumulate)(work.kernel, x)
    return levels_of_sums(sums, work.rescale).reshape(len(x), *work.shape)
