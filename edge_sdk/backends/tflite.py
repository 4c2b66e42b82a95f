"""The TensorFlow Lite interpreter, as three packages ship it: LiteRT, tflite-runtime, TensorFlow.

They share one Python interface and differ in import name, size and kernels, so one class serves
all three and keeps which one it is.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.base import classifier_specs
from edge_sdk.errors import BackendError, ModelError

# backend name -> (module with Interpreter, attribute path, distribution)
PACKAGES = {
    "litert": ("ai_edge_litert.interpreter", "Interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "Interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow", "lite.Interpreter", "tensorflow"),
}


class TFLiteBackend:
    """A .tflite file in one of the interpreters of PACKAGES."""

    note = ""

    def __init__(self, name: str, model: Path, *, threads: int = 1) -> None:
        """Raises BackendError when the package is missing or broken, ModelError for the file."""
        module, attribute, distribution = PACKAGES[name]
        self.name = name
        self.version = _installed_version(name, distribution)
        _, self.input, self.output = classifier_specs(model)
        interpreter_class = _interpreter_class(name, module, attribute)
        with _held_stderr() as said, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow's, that its interpreter is deprecated
            try:
                self._interpreter = interpreter_class(model_path=str(model), num_threads=threads)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as e:
                reason = " ".join(f"{e} {said()}".split())
                raise ModelError(f"{name} {self.version} cannot load {model}: {reason}") from e
        self._in = self._interpreter.get_input_details()[0]["index"]
        self._out = self._interpreter.get_output_details()[0]["index"]
        self._expected = (self.input.shape, np.dtype(self.input.dtype))

    def invoke(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if (x.shape, x.dtype) != self._expected:
            shape, dtype = self._expected
            raise BackendError(
                f"input has shape {x.shape} and type {x.dtype}; the model takes {shape} {dtype}"
            )
        try:
            self._interpreter.set_tensor(self._in, x)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as e:
            reason = " ".join(str(e).split())
            raise BackendError(f"{self.name} {self.version} failed to run: {reason}") from e
        result: npt.NDArray[Any] = self._interpreter.get_tensor(self._out)
        return result

    def close(self) -> None:
        # The interpreter frees its arena when it is collected; there is no call for it.
        self._interpreter = None


def _installed_version(name: str, distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise BackendError(
            f"backend '{name}' is not installed: pip install {distribution}"
        ) from None


def _interpreter_class(name: str, module: str, attribute: str) -> Any:
    if name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        # It imports under NumPy 2 and then fails, or crashes, when an interpreter is built.
        raise BackendError(
            f"tflite-runtime does not work with NumPy {np.__version__}: pip install 'numpy<2', or "
            "use ai-edge-litert"
        )
    try:
        found: Any = importlib.import_module(module)
    except Exception as e:  # a broken binary wheel raises whatever its loader raises
        raise BackendError(f"backend '{name}' is installed but does not import: {e}") from e
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


@contextmanager
def _held_stderr() -> Iterator[Callable[[], str]]:
    """Holds back what native code writes to standard error; the yielded function reads it.

    The interpreters announce their delegate there on every start, and the reason why a model
    does not load, which the exception lacks."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)

        def said() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
