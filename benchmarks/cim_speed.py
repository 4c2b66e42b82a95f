"""MobileNet V2 1.0 224 on an emulated compute-in-memory chip, in images a second.

    python benchmarks/cim_speed.py [--model FILE] [--peer-python PYTHON]

End to end from the input's levels (decoding is left out) to the output's: int8 file, 256 x 256
arrays, 8-bit converters, 2 % programming error. One thread in a process of its own per case, then
two processes on two cores beside one alone. FILE: default, the model of ../shared converted once,
or one with random weights where that is missing; a speed does not depend on them. PYTHON: of an
environment with aihwkit, which then runs layers of the same shapes in the same run (its torch tile;
depthwise layers by torch alone, since it refuses them).

Wall time is what a user waits and is worth something on an idle machine only; processor time is
printed beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "cim_speed"
WEIGHTS = "mobilenet_v2_1.0_224_torchvision"
IMAGES, ROUNDS, WARM = 8, 7, 4
PHASES = ("inputs", "multiply and convert", "sums to levels", "depthwise")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Case:
    """read: standard deviation of a read, in shares of the largest conductance, at conductances 0
    and 1. aim: images a second, 0 for none. peers: figures of others, run before.
    """

    title: str
    aim: float = 0.0
    peers: str = ""
    ideal: bool = False
    depthwise: Literal["digital", "packed"] = "digital"
    read: tuple[float, float] = (0.0, 0.0)


CASES = (
    Case(
        "programming error", 40, "CrossSim 3.2 16.5, aihwkit 1.2 10.6-12.1 (torch), 6.4-6.8 (C++)"
    ),
    Case("and read noise, the same at every conductance", 16, "", read=(0.0079, 0.0079)),
    Case("and read noise by conductance", 16, "CrossSim 3.2 0.44 (96 x 96)", read=(0.005, 0.01)),
    Case("depthwise as packed diagonals on arrays", 0, "CrossSim 3.2 2.0", depthwise="packed"),
    Case("exact arithmetic", ideal=True),
)


@dataclass(frozen=True)
class Measured:
    """wall, cpu: milliseconds an image, medians; phases: of cpu. images_per_s: whole run."""

    wall: float
    cpu: float
    phases: dict[str, float]
    begin: float
    end: float


# --- in a process of its own -----------------------------------------------------------------


class Clock:
    """Processor time by phase, of functions that are wrapped for it."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PHASES, 0.0)

    def wrap(self, owner: Any, name: str, phase: Callable[..., str]) -> None:
        inner = getattr(owner, name)

        def timed(*given: Any, **named: Any) -> Any:
            start = time.thread_time()
            result = inner(*given, **named)
            self.spent[phase(*given)] += time.thread_time() - start
            return result

        setattr(owner, name, timed)


def measure(path: Path, case: Case, core: int | None = None, barrier: Any = None) -> Measured:
    import numpy as np

    from edge_sdk.backends.cim import array, execute, sums
    from edge_sdk.backends.cim.chip import Chip
    from edge_sdk.backends.cim.network import read_network

    if core is not None:
        os.sched_setaffinity(0, {core})
    network = read_network(path)
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (IMAGES, *network.input.shape[1:]), np.uint8)
    x = levels.view(network.input.dtype)
    clock = Clock()

    def kind(of: Callable[..., Any], phase: str) -> Callable[..., str]:
        return lambda *given: "depthwise" if of(*given).kind == "depthwise" else phase

    if case.ideal:
        digital = frozenset(k.name for k in network.kernels if k.kind == "depthwise")
        accumulate: Any = lambda kernel, levels: sums.exact_sums(kernel, levels)  # noqa: E731
        clock.wrap(sums, "exact_sums", lambda *_: "multiply and convert")
        clock.wrap(sums, "window_rows", lambda *_: "inputs")
    else:
        accumulate = Chip(profile_of(case), network.kernels, seed=0)
        digital = frozenset(k.name for k in network.kernels if accumulate.is_digital(k))
        clock.wrap(array, "inputs", kind(lambda kernel, *_: kernel, "inputs"))
        clock.wrap(array, "multiply", kind(lambda layer, *_: layer.kernel, "multiply and convert"))
    clock.wrap(execute, "levels_of_sums", lambda *_: "sums to levels")
    clock.wrap(execute, "depthwise_levels", lambda *_: "depthwise")
    execute.run(network, x[:WARM], accumulate, digital=digital)
    clock.spent = dict.fromkeys(PHASES, 0.0)
    if barrier is not None:
        barrier.wait()
    walls, cpus, begin = [], [], time.monotonic()
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        execute.run(network, x, accumulate, digital=digital)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    end = time.monotonic()
    phases = {name: 1e3 * s / (ROUNDS * IMAGES) for name, s in clock.spent.items()}
    if case.ideal:  # its windows are made inside the sums
        phases["multiply and convert"] -= phases["inputs"]
    cpu = 1e3 * statistics.median(cpus) / IMAGES
    phases["rest"] = 1e3 * sum(cpus) / (ROUNDS * IMAGES) - sum(phases.values())
    return Measured(1e3 * statistics.median(walls) / IMAGES, cpu, phases, begin, end)


def profile_of(case: Case) -> Any:
    from edge_sdk.backends.cim.profile import Spread, load_cim_profile

    shipped = load_cim_profile("cim-nor-generic")
    errors = replace(
        shipped.errors,
        programming=Spread((0.0,), (0.0,), ((0.02,),)),
        read=Spread((0.0, 1.0), (0.0,), (case.read,)),
        row_ohm=0.0,
        column_ohm=0.0,
    )
    return replace(
        shipped,
        cells=replace(shipped.cells, bits=8),
        adc=replace(shipped.adc, range="max"),
        errors=errors,
        layers=replace(shipped.layers, depthwise=case.depthwise),
    )


# --- the parent ------------------------------------------------------------------------------


@contextmanager
def _pool(processes: int) -> Any:
    os.environ.update(ONE_THREAD)  # of the processes that start now
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool


def alone(path: Path, case: Case, core: int | None = None) -> Measured:
    with _pool(1) as pool:
        return pool.apply(measure, (path, case, core))  # type: ignore[no-any-return]


def beside(path: Path, case: Case, cores: list[int]) -> float:
    """Images a second of processes that begin together, one a core."""
    with multiprocessing.Manager() as manager, _pool(len(cores)) as pool:
        barrier = manager.Barrier(len(cores))
        found = pool.starmap(measure, [(path, case, c, barrier) for c in cores], chunksize=1)
    seconds = max(m.end for m in found) - min(m.begin for m in found)
    return float(len(found) * ROUNDS * IMAGES / seconds)


def report(case: Case, m: Measured) -> None:
    aim = f", aim >= {case.aim:g}" if case.aim else ""
    print(
        f"{case.title}: {1e3 / m.wall:.1f} images/s ({m.wall:.1f} ms wall, {m.cpu:.1f} ms "
        f"processor, {1e3 / m.cpu:.1f} images per processor second{aim}; measured, medians of "
        f"{ROUNDS} x {IMAGES} images)"
    )
    print("  processor ms: " + ", ".join(f"{n} {v:.1f}" for n, v in m.phases.items()))
    if case.peers:
        print(f"  found before on another machine, not run here: {case.peers} images/s")


def two_processes(path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        print("two processes: this machine gives one core, not measured")
        return
    rates = {1: [], 2: []}  # type: dict[int, list[float]]
    for _ in range(3):
        for count in (1, 2):
            rates[count].append(beside(path, CASES[0], cores[:count]))
    one, two = (statistics.median(rates[n]) for n in (1, 2))
    print(
        f"two processes on two cores: {two:.1f} images/s, one on one {one:.1f}, ratio "
        f"{two / one:.2f} x (aim >= 1.8 x on idle cores; measured, medians of 3)"
    )


def model_path() -> Path:
    """The int8 model, made once."""
    shared = ROOT.parent / "shared" / "data"
    weights = shared / "weights" / f"{WEIGHTS}.keras"
    folder = CACHE / f"{WEIGHTS}-int8"
    if weights.exists():
        if not folder.exists():
            _convert(weights, shared / "imagenet")
        return folder / "model.tflite"
    path = CACHE / "untrained.tflite"
    if not path.exists():
        from edge_sdk.convert.untrained import untrained_tflite
        from edge_sdk.files import write_whole

        CACHE.mkdir(parents=True, exist_ok=True)
        write_whole(path, untrained_tflite("mobilenet_v2", 1.0, 224, "int8"))
    return path


def _convert(weights: Path, images: Path) -> None:
    command = [sys.executable, "-m", "edge_sdk.cli", "convert", weights, "--to", "int8"]
    command += ["--method", "min-max", "--data", images, "--out", CACHE, "--normalise", "torch"]
    command += ["--fit", "crop", "--crop-fraction", "0.875", "--calibration", "50"]
    done = subprocess.run([*map(str, command), "--samples", "20"], check=False, capture_output=True)
    if done.returncode not in (0, 1):  # 1: its accuracy on 20 images, which is not asked here
        sys.exit(done.stderr.decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--peer-python", type=Path)
    given = parser.parse_args()
    path = given.model or model_path()
    print(f"{path.parent.name}/{path.name}, load average {os.getloadavg()[0]:.1f} at the start")
    first = alone(path, CASES[0])
    report(CASES[0], first)
    if given.peer_python:
        peer(path, given.peer_python, first)
    for case in CASES[1:]:
        report(case, alone(path, case))
    two_processes(path)


# --- the peer --------------------------------------------------------------------------------

# Layers of the shapes in a file, in order, each fed with what it expects: no activations, no
# additions, no requantisation, so less work than ours.
PEER = """
import json, statistics, sys, time
import torch
from aihwkit.nn import AnalogConv2d, AnalogLinear
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from importlib.metadata import version
torch.set_num_threads(1)
torch.manual_seed(0)
given = json.load(sys.stdin)
config = TorchInferenceRPUConfig()
config.mapping.max_input_size = config.mapping.max_output_size = 256
config.mapping.weight_scaling_omega = 1.0
config.mapping.weight_scaling_columnwise = True
config.forward.inp_res = config.forward.out_res = 1 / 254
config.forward.inp_noise = config.forward.out_noise = config.forward.w_noise = 0.0
config.forward.out_bound = 64.0
layers = []
for kind, kh, kw, inputs, outputs, stride, size in given["layers"]:
    if kind == "dense":
        layers.append((AnalogLinear(inputs, outputs, bias=False, rpu_config=config), (inputs,)))
        continue
    options = dict(stride=stride, padding=(kh // 2, kw // 2), bias=False)
    if kind == "depthwise":
        layer = torch.nn.Conv2d(inputs, outputs, (kh, kw), groups=inputs, **options)
    else:
        layer = AnalogConv2d(inputs, outputs, (kh, kw), rpu_config=config, **options)
    layers.append((layer, (inputs, *size)))
with torch.no_grad():
    for layer, _ in layers:  # a programming error of 2 % of the largest weight, in the weights
        if not isinstance(layer, torch.nn.Conv2d) or hasattr(layer, "analog_tiles"):
            for tile in layer.analog_tiles():
                tile.tile.weight.data += 0.02 * torch.randn_like(tile.tile.weight)
batch = given["batch"]
inputs = [torch.rand(batch, *shape) for _, shape in layers]
for layer, _ in layers:
    layer.eval()
def whole():
    with torch.no_grad():
        for (layer, _), x in zip(layers, inputs):
            layer(x)
whole()
walls, cpus = [], []
for _ in range(given["rounds"]):
    wall, cpu = time.perf_counter(), time.process_time()
    whole()
    walls.append((time.perf_counter() - wall) / batch)
    cpus.append((time.process_time() - cpu) / batch)
medians = [1e3 * statistics.median(found) for found in (walls, cpus)]
print(json.dumps([version("aihwkit"), *medians]))
"""


def peer(path: Path, python: Path, ours: Measured) -> None:
    from edge_sdk.backends.cim.network import read_network

    layers = []
    for k in read_network(path).kernels:
        size = [p * s for p, s in zip(k.positions, k.stride, strict=True)]
        kh, kw = (1, 1) if k.kind == "dense" else k.weights.shape[:2]
        layers.append([k.kind, kh, kw, k.inputs, k.outputs, list(k.stride), size])
    done = subprocess.run(
        [str(python), "-c", PEER],
        input=json.dumps({"layers": layers, "batch": IMAGES, "rounds": ROUNDS}),
        env={**os.environ, **ONE_THREAD},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    version, wall, cpu = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  aihwkit {version}, torch tile, the bare layers: {1e3 / wall:.1f} images/s ({wall:.1f} "
        f"ms wall, {cpu:.1f} ms processor): ours {wall / ours.wall:.2f} x as fast by the wall, "
        f"{cpu / ours.cpu:.2f} x by processor time (measured, same run)"
    )


if __name__ == "__main__":
    main()
