"""Classifier.classify on decoded frames beside the bare interpreter's invoke: ratio of medians.

Both run on the same model, turn by turn, in one process; the frame has the model's size, as from
a camera that was asked for it. Models: `.tflite` files or artifacts given as arguments; without
any, int8 MobileNets V2 0.35 at 96 pixels (the embedded default) and at 224 pixels (random weights).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_sdk.runtime import Classifier

ROUNDS = 1000


def compare(model: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    with Classifier(model, backend="litert") as classifier:
        spec = classifier.model.preprocess
        rng = np.random.default_rng(0)
        frame = rng.integers(0, 256, (spec.height, spec.width, 3), np.uint8)
        bare = Interpreter(model_path=str(classifier.model.path), num_threads=1)
        bare.allocate_tensors()
        index = bare.get_input_details()[0]["index"]
        dtype = np.dtype(classifier.backend.input.dtype)
        bare.set_tensor(index, np.zeros((1, *frame.shape), dtype))
        ours, theirs = [], []
        for i in range(ROUNDS + 50):
            start = time.perf_counter()
            bare.invoke()
            middle = time.perf_counter()
            classifier.classify(frame)
            end = time.perf_counter()
            if i >= 50:
                theirs.append(middle - start)
                ours.append(end - middle)
    a, b = statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3
    print(
        f"{classifier.model.name}: Classifier {a:.3f} ms, bare invoke {b:.3f} ms, "
        f"ratio {a / b:.3f}, overhead {(a - b) * 1e3:.0f} us (measured, medians of {ROUNDS})"
    )


def default_models(folder: Path) -> list[Path]:
    import subprocess

    from edge_sdk.simulate import write_cells

    cells = write_cells(folder / "cells", 60, seed=0)
    script = (
        "import keras, sys;"
        "keras.applications.MobileNetV2((224, 224, 3), 0.35, weights=None, classes=2)"
        ".save(sys.argv[1])"
    )
    net = folder / "mobilenetv2-0.35-224.keras"
    subprocess.run([sys.executable, "-c", script, str(net)], check=True, capture_output=True)
    edge = [sys.executable, "-m", "edge_sdk.cli", "convert"]
    common = ["--to", "int8", "--data", str(cells), "--out", str(folder), "--max-drop", "100"]
    subprocess.run([*edge, *common], check=True, capture_output=True)
    subprocess.run([*edge, str(net), *common], check=False, capture_output=True)
    return sorted(p for p in folder.iterdir() if "-int8" in p.name)


def main() -> None:
    if len(sys.argv) > 1:
        for argument in sys.argv[1:]:
            compare(Path(argument))
        return
    with tempfile.TemporaryDirectory() as folder:
        for model in default_models(Path(folder)):
            compare(model)


if __name__ == "__main__":
    main()
