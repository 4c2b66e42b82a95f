"""The only module that names litert-quantizer: its API is unstable and pinned exactly.

Static recipes only. Its dynamic recipes give 4-6 % accuracy or NaN on tflite-runtime 2.14, and
int4 fully connected layers do not run there (both measured for this project), so neither is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.quiet import quiet
from edge_sdk.errors import BackendError, ModelError

DISTRIBUTION = "litert-quantizer"
# activation bits, weight bits of convolutions; everything else has 8-bit weights
_BITS = {"int8": (8, 8), "int16x8": (16, 8), "w4a8": (8, 4)}


def quantise_tflite(
    float_model: Path, scheme: str, samples: Iterator[npt.NDArray[np.float32]]
) -> bytes:
    """A float .tflite, calibrated on `samples` (each (1, H, W, 3), normalised), as `scheme`.

    Integer input and output. Weights are rounded min-max per output channel."""
    try:
        from litert_quantizer import quantizer
        from litert_quantizer.qtyping import TFLOperationName
        from litert_quantizer.utils import tfl_interpreter_utils
    except ModuleNotFoundError as e:
        raise BackendError(
            "litert-quantizer is not installed: pip install 'edge-sdk[convert]'"
        ) from e
    activation_bits, convolution_bits = _BITS[scheme]
    with quiet(f"quantising {float_model.name} to {scheme}"):
        engine = quantizer.Quantizer(str(float_model))
        every = TFLOperationName.ALL_SUPPORTED
        engine.add_static_config(".*", every, activation_bits, 8)
        if convolution_bits != 8:  # later rules win
            convolution = TFLOperationName.CONV_2D
            engine.add_static_config(".*", convolution, activation_bits, convolution_bits)
        key, input_name = _signature(float_model, tfl_interpreter_utils)
        data = {key: [{input_name: x} for x in samples]}  # it walks them more than once
        calibration = engine.calibrate(data, num_threads=os.cpu_count() or 1)
        result = engine.quantize(
            calibration, enable_progress_bar=False, enable_progress_report=False
        )
    return bytes(result.quantized_model)


def _signature(float_model: Path, utils: Any) -> tuple[str, str]:
    interpreter = utils.create_tfl_interpreter(str(float_model), num_threads=1)
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        raise ModelError(
            f"{float_model} has {len(signatures)} signatures, not one: save it again with "
            "TFLiteConverter, which writes 'serving_default'"
        )
    key, ends = next(iter(signatures.items()))
    return str(key), str(ends["inputs"][0])
