"""The integer-only network that training at 4 bits ends in: its layers, files and arithmetic."""

from edge_sdk.integer_model.file import (
    is_integer_model,
    read_integer_model,
    write_integer_model,
)
from edge_sdk.integer_model.layers import (
    IMAGE,
    IMAGE_GRID,
    Convolution,
    Dense,
    Depthwise,
    Grid,
    IntegerModel,
    Layer,
    MaxPool,
    Pool,
    Requantise,
    Sum,
    rescaling,
    sources,
)
from edge_sdk.integer_model.run import Accumulate, exact_sums, run, tensors

__all__ = [
    "IMAGE",
    "IMAGE_GRID",
    "Accumulate",
    "Convolution",
    "Dense",
    "Depthwise",
    "Grid",
    "IntegerModel",
    "Layer",
    "MaxPool",
    "Pool",
    "Requantise",
    "Sum",
    "exact_sums",
    "is_integer_model",
    "read_integer_model",
    "rescaling",
    "run",
    "sources",
    "tensors",
    "write_integer_model",
]
