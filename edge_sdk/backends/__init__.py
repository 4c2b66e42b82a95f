"""Backends by name. A named one that is missing is an error; only `auto` chooses, and says what.

`auto` takes the first of LiteRT, tflite-runtime and TensorFlow that is installed and works; a model
that it cannot load is an error, not a reason to try another. The fake backend is never chosen.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

from edge_sdk.backends.base import Backend, TensorSpec, classifier_specs
from edge_sdk.errors import BackendError, UsageError, unknown_name

__all__ = ["AUTO_ORDER", "BACKENDS", "Backend", "TensorSpec", "classifier_specs", "open_backend"]

# name -> "module:class"; the class is called with (name, model path, **options)
BACKENDS = {
    "litert": "edge_sdk.backends.tflite:TFLiteBackend",
    "tflite-runtime": "edge_sdk.backends.tflite:TFLiteBackend",
    "tensorflow": "edge_sdk.backends.tflite:TFLiteBackend",
    "cim": "edge_sdk.backends.cim:CimBackend",
    "fake": "edge_sdk.backends.fake:FakeBackend",
}
AUTO_ORDER = ("litert", "tflite-runtime", "tensorflow")


def open_backend(name: str, model: Path, *, threads: int = 1, **options: Any) -> Backend:
    """Opens a .tflite file in the backend `name`, or in the first that works here for `auto`.

    Raises UsageError for an unknown name, BackendError for a missing or broken interpreter and
    ModelError for a file that cannot be run."""
    if threads < 1:
        raise UsageError(f"threads {threads} must be at least 1")
    if name == "auto":
        return _open_first(model, threads, options)
    if name not in BACKENDS:
        raise UsageError(unknown_name("backend", name, ["auto", *BACKENDS]))
    module, _, attribute = BACKENDS[name].partition(":")
    backend_class = getattr(importlib.import_module(module), attribute)
    return cast(Backend, backend_class(name, model, threads=threads, **options))


def _open_first(model: Path, threads: int, options: dict[str, Any]) -> Backend:
    refused = []
    for name in AUTO_ORDER:
        try:
            backend = open_backend(name, model, threads=threads, **options)
        except BackendError as e:
            refused.append(str(e))
            continue
        backend.note = "; ".join(refused)
        return backend
    raise BackendError(
        "no interpreter is installed: pip install 'edge-sdk[runtime]' "
        f"(tried {', '.join(AUTO_ORDER)}: {'; '.join(refused)})"
    )
