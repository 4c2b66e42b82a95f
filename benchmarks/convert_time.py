"""`edge-sdk convert --to int8`, gate included, beside the plain TensorFlow converter.

Both are whole commands in fresh processes on the same model and the same calibration images, in
one run, alternating. Arguments: a .keras model and an image folder; without them MobileNet V2 1.0
at 224 pixels with random weights and simulated cells.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CALIBRATION = 100
JUDGED = 100
ROUNDS = 3
PLAIN = """
import sys, tempfile
from pathlib import Path
import numpy as np
import tensorflow as tf
from PIL import Image
model = tf.keras.models.load_model(sys.argv[1], compile=False)
size = model.inputs[0].shape[1:3]
images = []
for name in Path(sys.argv[2]).read_text().splitlines():
    image = Image.open(name).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    images.append((np.asarray(image, np.float32) - 127.5) / 127.5)
with tempfile.TemporaryDirectory() as folder:
    signature = [tf.TensorSpec((1, *size, 3), tf.float32)]
    model.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(sys.argv[3]).write_bytes(converter.convert())
"""


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    # Random weights may fail the gate, which is the gate's business; an error is ours.
    if (done.returncode and "error:" in done.stderr + done.stdout) or "Traceback" in done.stderr:
        sys.exit(done.stderr)
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, data = _inputs(folder)
        from edge_sdk.convert.sampling import choose
        from edge_sdk.dataset import read_dataset

        images, _ = choose(read_dataset(data), CALIBRATION, JUDGED, 0)
        (folder / "calibration.txt").write_text("\n".join(str(i.path) for i in images))
        plain = [sys.executable, "-c", PLAIN, str(model), str(folder / "calibration.txt")]
        ours = [sys.executable, "-m", "edge_sdk.cli", "convert", str(model), "--to", "int8"]
        ours += ["--data", str(data), "--out", str(folder / "out"), "--overwrite"]
        ours += ["--calibration", str(CALIBRATION), "--samples", str(JUDGED), "--max-drop", "100"]
        times: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(ROUNDS):
            times["plain"].append(timed([*plain, str(folder / "plain.tflite")]))
            times["ours"].append(timed(ours))
        a, b = statistics.median(times["ours"]), statistics.median(times["plain"])
        print(
            f"{model.name} to int8, {CALIBRATION} calibration images: edge-sdk {a:.1f} s with "
            f"{JUDGED} judged images and the gate, plain converter {b:.1f} s, ratio {a / b:.2f} "
            f"(measured, medians of {ROUNDS})"
        )


def _inputs(folder: Path) -> tuple[Path, Path]:
    if len(sys.argv) == 3:
        return Path(sys.argv[1]), Path(sys.argv[2])
    from edge_sdk.simulate import write_cells

    script = (
        "import keras, sys;"
        "keras.applications.MobileNetV2((224, 224, 3), weights=None, classes=2).save(sys.argv[1])"
    )
    net = folder / "mobilenetv2-1.0-224.keras"
    subprocess.run([sys.executable, "-c", script, str(net)], check=True, capture_output=True)
    return net, write_cells(folder / "cells", 2 * (CALIBRATION + JUDGED), seed=0)


if __name__ == "__main__":
    main()
