"""MobileNets as kernels of zeros, from their papers' shapes: enough to count with."""

from __future__ import annotations

import numpy as np

from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.cost import cost_of_architecture


def mobilenet(arch: str = "mobilenet_v2", alpha: float = 1.0, size: int = 224, bits: int = 8):
    """int8 inputs. A convolution's window is folded into its input channels."""
    kernels = []
    for layer in cost_of_architecture(arch, alpha, size, dtype="int8").layers:
        if not layer.parameters:
            continue
        outputs, depthwise = layer.biases, layer.kind == "depthwise"
        rows = (layer.parameters - outputs) // outputs
        side = round((layer.mult_adds // (rows * outputs)) ** 0.5)
        kernels.append(
            kernel(layer.name, (3, 3, outputs) if depthwise else (1, 1, rows, outputs), side, bits)
        )
    return tuple(kernels)


def kernel(name: str, shape: tuple[int, ...], side: int = 1, bits: int = 8, low: int = -128):
    return Kernel(
        name=name,
        kind="depthwise" if len(shape) == 3 else "convolution",
        weights=np.zeros(shape, np.int8),
        bits=bits,
        zero=0,
        input_zero=low,
        input_low=low,
        input_high=127,
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        positions=(side, side),
    )
