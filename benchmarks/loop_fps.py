"""edge-classify's whole loop beside 1 / (capture + preprocess + invoke), and its start.

    nice -n -5 python benchmarks/loop_fps.py MODEL [FRAMES]

The loop runs with the simulated camera, which draws its fields once and then shows them again, all
answers going to a line of JSON each (to nowhere), and a heartbeat. The parts are timed by
themselves, in turn with the loop, so that a busy moment hits all alike. Processor time is of the
process; other programs blur the wall clock more. MODEL: an artifact folder, or a bare .tflite with
--normalise tf assumed.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from edge_sdk.camera import open_camera
from edge_sdk.live.log import Log
from edge_sdk.live.program import run_live
from edge_sdk.live.settings import Settings
from edge_sdk.preprocess import Encoder, fit_image
from edge_sdk.runtime import Classifier

ROUNDS, STARTS = 5, 7
START = """
import time
began = time.perf_counter(), time.process_time()
import numpy as np
from edge_sdk.runtime import Classifier
with Classifier({model!r}) as c:
    c.classify(np.zeros((480, 640, 3), np.uint8))
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""


def bare(parts: dict[str, Callable[[], Any]], frames: int) -> dict[str, tuple[float, float]]:
    """Seconds a call of each part, wall clock and processor: in turn, frame after frame, so that
    each finds the processor's cache as the one before leaves it."""
    spent = {name: [0.0, 0.0] for name in parts}
    for _ in range(frames):
        for name, call in parts.items():
            a, b = time.perf_counter(), time.process_time()
            call()
            spent[name][0] += time.perf_counter() - a
            spent[name][1] += time.process_time() - b
    return {name: (wall / frames, own / frames) for name, (wall, own) in spent.items()}


def loop(model: str, frames: int, folder: str) -> tuple[float, float]:
    """Seconds a frame, from the 20th to the last: what it takes to start is left out."""
    marks: list[tuple[int, float, float]] = []

    def mark(answer: Any) -> None:
        if answer.frame.index + 1 in (20, frames):
            marks.append((answer.frame.index, time.perf_counter(), time.process_time()))

    settings = Settings(
        model, camera="simulated", frames=frames, output="json", heartbeat=f"{folder}/heartbeat"
    )
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        run_live(settings, call=mark, log=Log(io.StringIO()))
    (i, a, b), (j, c, d) = marks
    return (c - a) / (j - i), (d - b) / (j - i)


def main() -> None:
    model = sys.argv[1]
    frames = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    found: dict[str, list[tuple[float, float]]] = {}
    with (
        Classifier(model) as classifier,
        open_camera("simulated") as camera,
        tempfile.TemporaryDirectory() as folder,
    ):
        spec, own = classifier.model.preprocess, classifier.backend.input
        encode = Encoder(spec, own.dtype, own.quantisation)
        shown = iter(camera)
        # The fields in turn, as in the loop: one picture alone would stay in the processor's cache.
        pictures = cycle([next(shown).pixels for _ in range(4)])
        x = encode(fit_image(next(pictures), spec))[None]
        parts: dict[str, Callable[[], Any]] = {
            "capture": lambda: next(shown),
            "preprocess": lambda: encode(fit_image(next(pictures), spec)),
            "invoke": lambda: classifier.backend.invoke(x),
        }
        for _ in range(ROUNDS):
            for name, seconds in bare(parts, frames).items():
                found.setdefault(name, []).append(seconds)
            found.setdefault("loop", []).append(loop(model, frames, folder))
    print(f"{classifier.model.name}, {frames} frames, medians of {ROUNDS} rounds, measured")
    for which, clock in enumerate(("wall clock", "processor")):
        ms = {n: statistics.median(t[which] for t in times) * 1e3 for n, times in found.items()}
        bound = 1e3 / sum(ms[name] for name in parts)
        rate = 1e3 / ms["loop"]
        named = ", ".join(f"{name} {ms[name]:.3f} ms" for name in parts)
        print(f"{clock}: {named}: at most {bound:.0f} frames/s")
        print(f"  the loop: {ms['loop']:.3f} ms, {rate:.0f} frames/s, {rate / bound:.1%} of that")
    starts = []
    for _ in range(STARTS):
        command = [sys.executable, "-c", START.format(model=model)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        starts.append(tuple(map(float, done.stdout.split())))
    wall, own_s = (statistics.median(s[i] for s in starts) for i in (0, 1))
    print(
        f"import to first classification: {wall:.3f} s, {own_s:.3f} s of processor time (measured)"
    )


if __name__ == "__main__":
    main()
