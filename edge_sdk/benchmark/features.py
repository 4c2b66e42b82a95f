"""What a model's latency is a sum of: amounts of work and traffic, counted per layer.

Each feature has a physical meaning and grows with the model, so that a sum of them with
coefficients that are not negative is monotone in work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_sdk.benchmark.executed import CORE, count_model, tiled
from edge_sdk.cost import KINDS, ModelCost, cost_of_architecture

Array = npt.NDArray[np.float64]

# pointwise: millions of Mult-Adds, both sides of the product rounded up to TILE; depthwise, conv
# (with the fully connected): millions of Mult-Adds; activations, parameters, spill (what a layer
# touches beyond CACHE), image (what spatial convolutions read, hence unfolded): megabytes;
# instructions: millions that LiteRT's own ARM code executes (edge_sdk/benchmark/executed.py).
FEATURES = (
    "pointwise", "depthwise", "conv", "activations", "parameters", "spill", "image",
    "instructions", "constant",
)  # fmt: skip
COUNTS = FEATURES.index("instructions")
OVERHEAD = "overhead"
# Pixels and channels that a matrix product computes together: kernels of 4 to 12 by 4 to 16,
# times the blocks handed to threads. Of 1, 4, 8, 12, 16, 24, 32 this pair serves most tables.
TILE = (8, 32)
# Second-level caches of the boards and phones here: 0.5 to 2 MB.
CACHE = 1e6


def layer_features(cost: ModelCost, dtype_class: str) -> Iterator[tuple[str, Array]]:
    """(kind, the FEATURES of one layer, the constant 0). Parameters count 4 bytes (float) or 1
    (int8) whatever their storage: float16 and int4 kernels are unpacked before they are used."""
    width = 4 if dtype_class == "float" else 1
    counts = count_model(CORE, "float32" if dtype_class == "float" else "int8").by_layer(cost)
    for layer, instructions in zip(cost.layers, counts, strict=True):
        traffic = layer.activation_bytes_in + layer.activation_bytes_out
        parameters = layer.parameters * width
        yield (
            layer.kind,
            np.array(
                [
                    tiled(layer, TILE) / 1e6 if layer.kind == "pointwise" else 0.0,
                    layer.mult_adds / 1e6 if layer.kind == "depthwise" else 0.0,
                    layer.mult_adds / 1e6 if layer.kind in ("conv", "fully-connected") else 0.0,
                    traffic / 1e6,
                    parameters / 1e6,
                    max(0.0, traffic + parameters - CACHE) / 1e6,
                    layer.activation_bytes_in / 1e6 if layer.kind == "conv" else 0.0,
                    instructions,
                    0.0,
                ]
            ),
        )


def features(cost: ModelCost, dtype_class: str) -> Array:
    """A model's FEATURES, the constant 1."""
    total = np.zeros(len(FEATURES))
    for _, x in layer_features(cost, dtype_class):
        total += x
    total[-1] = 1.0
    return total


def breakdown(
    cost: ModelCost, dtype_class: str, coefficients: dict[str, float]
) -> dict[str, float]:
    """Milliseconds by kind of layer and OVERHEAD; in sum coefficients . features."""
    c = np.array([coefficients[name] for name in FEATURES])
    out = dict.fromkeys(KINDS, 0.0)
    for kind, x in layer_features(cost, dtype_class):
        out[kind] += float(c @ x)
    return out | {OVERHEAD: coefficients["constant"]}


def reference(dtype_class: str) -> Array:
    """The features a fit's shares are stated at: the geometric mean of V1 and V2 1.0 at 224."""
    dtype = "float32" if dtype_class == "float" else "int8"
    both = [
        features(cost_of_architecture(arch, dtype=dtype), dtype_class)
        for arch in ("mobilenet_v1", "mobilenet_v2")
    ]
    return np.asarray(np.sqrt(both[0] * both[1]) + 1e-9, np.float64)


def coordinates(cost: ModelCost, x: Array) -> Array:
    """Where a model with FEATURES x lies among others: logarithms of input size and of width
    (parameters), and the depth, by which V1 (28 layers with weights) and V2 (53) are 1 apart."""
    at = dict(zip(FEATURES, x, strict=True))
    depth = max(1, sum(layer.parameters > 0 for layer in cost.layers))
    return np.array(
        [
            math.log(max(at["image"], 1e-6)),
            math.log(max(at["parameters"], 1e-6)),
            math.log(depth) / math.log(53 / 28),
        ]
    )
