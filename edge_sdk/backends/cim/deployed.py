"""What runs on a chip: a quantised .tflite, or the integer network that training at 4 bits exports.

Both come down to kernels, whose sums a chip computes, and integer arithmetic around them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk import integer_model as integer
from edge_sdk.backends.base import TensorSpec
from edge_sdk.backends.cim.chip import calibrated
from edge_sdk.backends.cim.converters import AdcRanges
from edge_sdk.backends.cim.execute import run as run_network
from edge_sdk.backends.cim.kernel import Accumulate, Kernel, Kind, Levels
from edge_sdk.backends.cim.network import read_network
from edge_sdk.backends.cim.profile import CimProfile
from edge_sdk.backends.cim.sums import exact_sums
from edge_sdk.preprocess import Quantisation


@dataclass(frozen=True, eq=False)
class Deployed:
    """A model as integers. input, output: as of a backend.

    run: output levels of input levels (N, height, width, 3), from the sums that `accumulate`
    gives; sums of the kernels named in `digital` are exact."""

    input: TensorSpec
    output: TensorSpec
    kernels: tuple[Kernel, ...]
    run: Callable[[Levels, Accumulate, Collection[str]], Levels]


def open_deployed(path: Path) -> Deployed:
    """A quantised .tflite file, or the folder of an integer model.

    Raises ModelError for a file that is neither, is not quantised, or holds an operator that is
    not executed here."""
    return _integer_network(path) if path.is_dir() else _tflite(path)


def converter_ranges(deployed: Deployed, profile: CimProfile, levels: Levels) -> AdcRanges:
    """The converters' ranges of a model on a chip, from images' levels (see chip.calibrated)."""

    def run(sums: Accumulate) -> None:
        deployed.run(levels, sums, ())

    return calibrated(profile, deployed.kernels, run)


def _tflite(path: Path) -> Deployed:
    network = read_network(path)

    def run(levels: Levels, accumulate: Accumulate, digital: Collection[str]) -> Levels:
        return run_network(network, levels, accumulate, digital=digital)

    return Deployed(network.input, network.output, network.kernels, run)


def _integer_network(folder: Path) -> Deployed:
    model = integer.read_integer_model(folder)
    kernels = integer_kernels(model)

    def run(levels: Levels, accumulate: Accumulate, digital: Collection[str]) -> Levels:
        def sums(layer: integer.Convolution | integer.Dense, x: Levels) -> Levels:
            if layer.name in digital or accumulate is exact_sums:
                return integer.exact_sums(layer, x)
            return accumulate(kernels[layer.name], x)

        return integer.run(model, levels, sums)

    spec, classes = model.preprocess, kernels[model.layers[-1].name].outputs
    return Deployed(
        # Pixels as they are: mean and std are in the first layer.
        TensorSpec("image", (1, spec.height, spec.width, 3), "uint8", Quantisation(1.0, 0)),
        TensorSpec("probabilities", (1, classes), "float32", None),
        tuple(kernels.values()),
        run,
    )


def integer_kernels(model: integer.IntegerModel) -> dict[str, Kernel]:
    """The layers with weights of an integer model, by name, in the order they run."""
    shapes, grids = model.shapes(), model.grids()
    return {
        layer.name: _kernel(layer, grids[layer.input], shapes[layer.name])
        for layer in model.layers
        if isinstance(layer, (integer.Convolution, integer.Dense))
    }


def _kernel(
    layer: integer.Convolution | integer.Dense, grid: integer.Grid, shape: tuple[int, ...]
) -> Kernel:
    kind: Kind = "dense"
    stride, padding, positions = (1, 1), (0, 0, 0, 0), (1, 1)
    if not isinstance(layer, integer.Dense):
        kind = "depthwise" if isinstance(layer, integer.Depthwise) else "convolution"
        stride, padding, positions = layer.stride, layer.padding, (shape[0], shape[1])
    return Kernel(
        name=layer.name,
        kind=kind,
        weights=np.ascontiguousarray(layer.weights),
        bits=layer.weight_bits,
        zero=0,
        input_zero=0,
        input_low=grid.low,
        input_high=grid.high,
        stride=stride,
        padding=padding,
        positions=positions,
    )
