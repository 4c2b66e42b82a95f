"""A camera's frame to the model's input tensor, and the whole loop with the simulated camera.

First: 640x480 in each format to int8 (96, 96, 3), as formats.decode_frame, fit_image and Encoder
do it; the peer is Pillow's bare resize of an RGB picture that is there already. Second: frames a
second of Classifier over the simulated camera beside 1 / (capture + preprocess + invoke), each
measured by itself. Argument: an int8 artifact or .tflite for the second part, which is left out
without one.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_sdk.camera import open_camera
from edge_sdk.camera.formats import PACKED, decode_frame
from edge_sdk.preprocess import Encoder, Preprocess, Quantisation, fit_image
from edge_sdk.runtime import Classifier

ROUNDS = 500
SIZE = (640, 480)


def median_ms(call: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median of the wall clock, and of this thread's own time, which others' load blurs less."""
    wall, own = [], []
    for i in range(rounds + 20):
        a, b = time.perf_counter(), time.thread_time()
        call()
        if i >= 20:
            own.append(time.thread_time() - b)
            wall.append(time.perf_counter() - a)
    return statistics.median(wall) * 1e3, statistics.median(own) * 1e3


def frame_to_tensor() -> None:
    spec = Preprocess(96, 96)
    encode = Encoder(spec, np.int8, Quantisation(2 / 255, -1))
    rng = np.random.default_rng(0)
    pixels = SIZE[0] * SIZE[1]
    picture = Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8))
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("Pillow's resize alone", lambda: picture.resize((96, 96), Image.Resampling.BILINEAR))
    ]
    frame = np.asarray(picture)
    cases.append(("RGB frame", lambda: encode(fit_image(frame, spec))))
    for name in (*PACKED, "NV12", "YUV420", "YUYV"):
        size = pixels * (PACKED[name][0] if name in PACKED else 2)
        raw = rng.integers(0, 256, size, np.uint8)
        if name in ("NV12", "YUV420"):
            raw = raw[: pixels * 3 // 2].copy()

        def path(raw: Any = raw, name: str = name) -> Any:
            return encode(fit_image(decode_frame(raw, name, SIZE), spec))

        cases.append((name, path))
    for name, call in cases:
        wall, own = median_ms(call)
        print(
            f"{name:22s} {wall:6.2f} ms, {own:6.2f} ms of processor time "
            f"(measured, medians of {ROUNDS})"
        )


def whole_loop(model: Path) -> None:
    with Classifier(model) as classifier, open_camera("simulated") as camera:
        spec = classifier.model.preprocess
        frames = iter(camera)
        shown = list(islice(frames, 8))  # all fields are drawn now
        own = classifier.backend.input
        encode = Encoder(spec, own.dtype, own.quantisation)
        x = encode(fit_image(shown[0].pixels, spec))[None]
        parts = {
            "capture": median_ms(lambda: next(frames))[0],
            "preprocess": median_ms(lambda: encode(fit_image(shown[0].pixels, spec)))[0],
            "invoke": median_ms(lambda: classifier.backend.invoke(x))[0],
        }
        start = time.perf_counter()
        for frame in islice(frames, ROUNDS):
            classifier.classify(frame.pixels)
        rate = ROUNDS / (time.perf_counter() - start)
        bound = 1e3 / sum(parts.values())
        named = ", ".join(f"{k} {v:.2f} ms" for k, v in parts.items())
        print(f"{classifier.model.name}: {named}: at most {bound:.0f} frames a second")
        print(f"  the loop: {rate:.0f} frames a second, {rate / bound:.0%} of that (measured)")


def main() -> None:
    frame_to_tensor()
    for argument in sys.argv[1:]:
        whole_loop(Path(argument))


if __name__ == "__main__":
    main()
