"""Executed ARM instructions of any model, from the counts of `tools/arm_counts`.

The counts are of MobileNets under LiteRT; a small model of them, a sum over kinds of layer, gives
those of other widths, sizes and networks. Instructions are work, not time (docs/arm-counts.md).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from edge_sdk.benchmark.solve import Predictor, fitted, left_out, relative_nnls
from edge_sdk.cost import LayerCost, ModelCost, cost_of_architecture
from edge_sdk.tflite_file import BITS

Array = npt.NDArray[np.float64]
Key = tuple[str, float, int]  # arch, alpha, size

TABLE = "arm-instructions.csv"
CLASSES = 1000
# The cores that are counted, and the one that stands for all where a fit uses the counts: within
# one data type it hardly matters which (rows left out: 4.57, 4.57 and 4.58 % with either).
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76")
CORE = "cortex-a72"
# Pixels and channels that LiteRT's matrix products compute together on an A72, nearly: 4 by 8.
TILE = (4, 8)
# Millions of Mult-Adds (1x1 convolutions with tiles filled) and of values read.
WORK = ("pointwise", "depthwise", "conv", "fully-connected", "pointwise values", "other values",
        "constant")  # fmt: skip


@dataclass(frozen=True)
class CountScore:
    """A model of the counts of `rows` networks as one core and dtype. one_out, group_out: its mean
    errors on a network, and an (arch, alpha), left out."""

    cpu: str
    dtype: str
    rows: int
    one_out: float
    group_out: float


@dataclass(frozen=True)
class CountModel:
    """Millions of instructions as a sum over WORK, none negative, times what like networks are off
    by."""

    score: CountScore
    predictor: Predictor

    def by_layer(self, cost: ModelCost) -> list[float]:
        """Millions of instructions of each layer, without what an invoke costs beside them."""
        factor = float(self.predictor.factor(_place(cost)[None, :])[0])
        coefficients = self.predictor.coefficients
        return [float(_work(layer) @ coefficients) * factor for layer in cost.layers]

    def __call__(self, cost: ModelCost) -> float:
        """Millions of instructions of one invoke."""
        return float(self.predictor(_total(cost)[None, :], _place(cost)[None, :])[0])


def core_of(cpu: str) -> str | None:
    """The one of CPUS that a profile's first core is, as '4x Cortex-A72' has it."""
    found = re.match(r"\d+x (Cortex-A\d+)\b", cpu)
    name = found[1].lower() if found else ""
    return name if name in CPUS else None


@lru_cache(maxsize=1)
def counted() -> dict[tuple[str, str], dict[Key, int]]:
    """Instructions per invoke by (cpu, dtype) and network, as shipped."""
    text = (files("device_profiles") / "counts" / TABLE).read_text(encoding="utf-8")
    found: dict[tuple[str, str], dict[Key, int]] = {}
    for row in csv.DictReader(text.splitlines()):
        key = (row["arch"], float(row["alpha"]), int(row["size"]))
        found.setdefault((row["cpu"], row["dtype"]), {})[key] = int(row["instructions"])
    return found


@lru_cache(maxsize=16)
def count_model(cpu: str, dtype: str) -> CountModel:
    """The count model of one of CPUS; dtype: float32, int8 or w4a8."""
    counts = counted()[cpu, dtype]
    keys = sorted(counts)
    costs = [cost_of_architecture(*key, CLASSES, "int8") for key in keys]
    X = np.array([_total(cost) for cost in costs])
    Z = np.array([_place(cost) for cost in costs])
    y = np.array([counts[key] for key in keys]) / 1e6
    one_out = left_out(X, Z, y, range(len(y)), relative_nnls)
    group_out = left_out(X, Z, y, [key[:2] for key in keys], relative_nnls)
    score = CountScore(
        cpu=cpu,
        dtype=dtype,
        rows=len(y),
        one_out=float(np.abs(one_out - 1).mean()),
        group_out=float(np.abs(group_out - 1).mean()),
    )
    return CountModel(score, fitted(X, Z, y, relative_nnls))


def tiled(layer: LayerCost, tile: Sequence[int]) -> float:
    """Mult-Adds of a 1x1 convolution with pixels and output channels rounded up to `tile`."""
    kernel = layer.parameters - layer.biases
    bits = BITS.get(layer.activation_dtype, 0)
    if kernel <= 0 or bits == 0 or layer.mult_adds == 0:
        return float(layer.mult_adds)
    pixels = layer.mult_adds / kernel
    channels = layer.activation_bytes_out * 8 / bits / pixels
    if channels < 1:
        return float(layer.mult_adds)
    sides = zip((pixels, channels), tile, strict=True)
    return layer.mult_adds * math.prod(math.ceil(n / side) * side / n for n, side in sides)


def _work(layer: LayerCost) -> Array:
    """WORK of a layer. Values are counted, not bytes: the same for every data type."""
    values = layer.activation_bytes_in * 8 / BITS.get(layer.activation_dtype, 8) / 1e6
    macs = layer.mult_adds / 1e6
    kind = layer.kind
    return np.array(
        [
            tiled(layer, TILE) / 1e6 if kind == "pointwise" else 0.0,
            macs if kind == "depthwise" else 0.0,
            macs if kind == "conv" else 0.0,
            macs if kind == "fully-connected" else 0.0,
            values if kind == "pointwise" else 0.0,
            values if kind == "other" else 0.0,
            0.0,
        ]
    )


def _total(cost: ModelCost) -> Array:
    total = np.sum([_work(layer) for layer in cost.layers], axis=0)
    total[-1] = 1.0
    return np.asarray(total, np.float64)


def _place(cost: ModelCost) -> Array:
    """Where a model lies among others, as features.coordinates, in values rather than bytes."""
    image = sum(
        layer.activation_bytes_in * 8 / BITS.get(layer.activation_dtype, 8)
        for layer in cost.layers
        if layer.kind == "conv"
    )
    depth = max(1, sum(layer.parameters > 0 for layer in cost.layers))
    return np.array(
        [
            math.log(max(image, 1.0)),
            math.log(max(cost.parameters, 1)),
            math.log(depth) / math.log(53 / 28),
        ]
    )
