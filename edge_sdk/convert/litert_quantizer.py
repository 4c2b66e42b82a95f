"""The only module that names litert-quantizer: its API is unstable and pinned exactly.

It writes the integer file; what the integers are is decided here: activation ranges come from our
own statistics (its own calibration follows a moving average, which cost MobileNet V2 1.0 nine
points of agreement), weights are rounded min-max per output channel. Static recipes only: its
dynamic ones give 4-6 % accuracy or NaN on tflite-runtime 2.14, and int4 fully connected layers do
not run there, so neither is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_sdk.errors import BackendError
from edge_sdk.quiet import quiet


def write_integer_model(
    float_model: Path,
    ranges: dict[str, tuple[float, float]],
    activation_bits: int,
    four_bit: Sequence[str],
    four_bit_depthwise: Sequence[str] = (),
) -> bytes:
    """A float .tflite as integers, input and output too.

    ranges: the clipping range of every activation tensor, by its name. four_bit,
    four_bit_depthwise: the convolutions and depthwise convolutions with 4-bit weights, by the
    names of their outputs; all other weights have 8."""
    try:
        from litert_quantizer import qtyping, quantizer
        from litert_quantizer.qtyping import TFLOperationName
    except ModuleNotFoundError as e:
        raise BackendError(
            "litert-quantizer is not installed: pip install 'edge-sdk[convert]'"
        ) from e
    with quiet(f"quantising {float_model.name}"):
        engine = quantizer.Quantizer(str(float_model))
        engine.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_bits, 8)
        for name in four_bit:  # later rules win
            scope = f"^{re.escape(name)}"
            engine.add_static_config(scope, TFLOperationName.CONV_2D, activation_bits, 4)
        # Its list of what TFLite runs lacks int4 depthwise kernels, which both runtimes run.
        unchecked = qtyping.OpQuantizationConfig(
            qtyping.TensorQuantizationConfig(activation_bits, symmetric=activation_bits == 16),
            qtyping.TensorQuantizationConfig(
                4, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE
            ),
            qtyping.ComputePrecision.INTEGER,
            skip_checks=True,
        )
        for name in four_bit_depthwise:
            engine.update_quantization_recipe(
                f"^{re.escape(name)}", TFLOperationName.DEPTHWISE_CONV_2D, unchecked
            )
        calibration = {
            name: {"min": _scalar(low), "max": _scalar(high)}
            for name, (low, high) in ranges.items()
        }
        result = engine.quantize(
            calibration, enable_progress_bar=False, enable_progress_report=False
        )
    return bytes(result.quantized_model)


def _scalar(value: float) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]]:
    return np.full((1, 1, 1, 1), value, np.float32)
