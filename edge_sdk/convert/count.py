"""What a model costs, whatever its form: an artifact, a .tflite, or a model still to convert."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_sdk.artifact import read_artifact
from edge_sdk.cost import ModelCost, cost_of_graph
from edge_sdk.errors import ModelError
from edge_sdk.tflite_file import read_tflite


def cost_of_model(path: Path) -> tuple[ModelCost, str]:
    """The cost, and what it was counted from. TensorFlow is loaded only for a Keras file or a
    SavedModel, which is counted as the float .tflite that it converts to.

    Raises ModelError (or ArtifactError) for what cannot be read; BackendError without TensorFlow
    where that is needed."""
    if not path.exists():
        raise ModelError(
            f"model {path} does not exist: give an artifact folder, a .tflite or a Keras file"
        )
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        artifact = read_artifact(path)
        m = artifact.manifest
        failed = "" if m.gate.passed else ", which did not pass the gate"
        return cost_of_graph(read_tflite(artifact.model)), f"artifact {m.name}-{m.scheme}{failed}"
    if path.suffix == ".tflite":
        return cost_of_graph(read_tflite(path)), path.name
    from edge_sdk.convert.ingest import open_model
    from edge_sdk.convert.quantise import float_tflite

    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        scratch = Path(folder)
        with open_model(path, scratch) as model:
            converted = scratch / f"{path.stem}.tflite"
            converted.write_bytes(float_tflite(model))
        return cost_of_graph(read_tflite(converted)), f"{path.name}, as the float .tflite it gives"
