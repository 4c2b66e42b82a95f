"""TensorFlow and Keras models, opened without their chatter."""

from __future__ import annotations

import os
from typing import Any

from edge_sdk.errors import BackendError
from edge_sdk.quiet import quiet


def import_tensorflow(*, gpu: bool = False) -> Any:
    """TensorFlow, with its start-up log off; gpu: may use one where there is one.

    Raises BackendError when it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not gpu:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with quiet("importing TensorFlow"):
        try:
            import tensorflow as tf
        except ModuleNotFoundError as e:
            raise BackendError(
                "TensorFlow is not installed: pip install 'edge-sdk[convert]'. Training and "
                "converting need it; running an artifact does not"
            ) from e
    return tf
