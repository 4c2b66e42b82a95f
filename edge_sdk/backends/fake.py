"""A backend that computes nothing: for tests, and for trying a pipeline without an interpreter.

It keeps a real backend's contract (shapes, types, errors) and answers with scores that depend
only on the input's bytes, so equal pictures get equal answers.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.base import classifier_specs
from edge_sdk.errors import BackendError
from edge_sdk.preprocess import quantise


class FakeBackend:
    name = "fake"
    version = "1"
    note = "answers are made up"

    def __init__(self, name: str, model: Path, *, threads: int = 1) -> None:
        del name, threads
        _, self.input, self.output = classifier_specs(model)

    def invoke(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if x.shape != self.input.shape or x.dtype != np.dtype(self.input.dtype):
            raise BackendError(
                f"input has shape {x.shape} and type {x.dtype}; the model takes "
                f"{self.input.shape} {self.input.dtype}"
            )
        rng = np.random.default_rng(zlib.crc32(x.tobytes()))
        scores = rng.dirichlet(np.ones(self.output.shape[-1])).reshape(self.output.shape)
        if self.output.quantisation is None:
            return scores.astype(self.output.dtype)
        return quantise(scores, self.output.dtype, self.output.quantisation)

    def close(self) -> None:
        pass
