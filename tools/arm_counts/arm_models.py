"""The networks of the grid, with seeded random weights, as float32, int8 and w4a8 files.

What a model answers is of no interest here and no gate judges it: the instructions do not depend on
the weights' values. The graphs are those of `edge-sdk train`, 1000 classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.convert.ingest import open_model
from edge_sdk.convert.quantise import ROUNDINGS, float_tflite, integer_tflite, statistics_of
from edge_sdk.convert.schemes import SCHEMES
from edge_sdk.files import write_whole
from edge_sdk.preprocess import Preprocess, normalise
from edge_sdk.progress import silent
from edge_sdk.train.architectures import build
from edge_sdk.train.settings import TrainRequest
from edge_sdk.train.tensorflow import import_tensorflow

DTYPES = ("float32", "int8", "w4a8")
CLASSES = 1000
IMAGES = 4
V1 = "mobilenet_v1"
V2 = "mobilenet_v2"


@dataclass(frozen=True, order=True)
class Network:
    arch: str
    alpha: float
    size: int

    def file(self, dtype: str) -> str:
        return f"{self.arch}-{self.alpha:g}-{self.size}-{dtype}.tflite"


GRID = tuple(
    Network(arch, alpha, size)
    for arch, alphas, sizes in (
        (V1, (0.25, 0.5, 0.75, 1.0), (128, 160, 192, 224)),
        (V2, (0.35, 0.5, 1.0), (96, 128, 160, 192, 224)),
        (V2, (0.75, 1.4), (224,)),
    )
    for alpha in alphas
    for size in sizes
)


def in_order(networks: Iterable[Network]) -> list[Network]:
    """The ends of the grid first, so that a run that is cut off has seen them."""

    def late(n: Network) -> tuple[bool, int, float, str]:
        least, most = (0.25 if n.arch == V1 else 0.35), 1.0
        first = (n.alpha == least and n.size <= 128) or (n.alpha == most and n.size == 224)
        return not first, n.size, n.alpha, n.arch

    return sorted(networks, key=late)


def model_files(network: Network, folder: Path, dtypes: Sequence[str] = DTYPES) -> dict[str, Path]:
    """The network's files by dtype; those that are not in the folder yet are made."""
    files = {dtype: folder / network.file(dtype) for dtype in dtypes}
    if missing := [dtype for dtype, file in files.items() if not file.is_file()]:
        folder.mkdir(parents=True, exist_ok=True)
        for dtype, raw in _make(network, folder, missing):
            write_whole(folder / network.file(dtype), raw)
    return files


def _make(network: Network, folder: Path, dtypes: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    plain = folder / network.file("float32")
    if not plain.is_file():
        yield "float32", _float(network)
    spec = Preprocess(network.size, network.size)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (IMAGES, network.size, network.size, 3), np.uint8)

    def samples() -> Iterator[npt.NDArray[np.float32]]:
        return (normalise(image[None], spec) for image in images)

    integer = [dtype for dtype in dtypes if SCHEMES[dtype].integer]
    if not integer:
        return
    statistics = statistics_of(plain, samples())
    for dtype in integer:
        raw = integer_tflite(plain, SCHEMES[dtype], ROUNDINGS[0], statistics, spec, samples, silent)
        yield dtype, raw


def _float(network: Network) -> bytes:
    tf = import_tensorflow()
    tf.keras.backend.clear_session()
    request = TrainRequest(
        data=Path(),
        out=Path(),
        arch=network.arch,
        alpha=network.alpha,
        size=network.size,
        weights="none",
        strategy="scratch",
    )
    model = build(request, CLASSES, 0.0, "none")
    _randomise(model)
    with TemporaryDirectory(prefix="edge-sdk-") as scratch:
        file = Path(scratch) / "model.keras"
        model.save(file)
        with open_model(file, Path(scratch)) as trained:
            return float_tflite(trained)


def _randomise(model: Any) -> None:
    """Kernels that keep the variance through ReLU (He et al. 2015), so that no layer's values
    vanish; all else stays as it begins."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name != "kernel":
            continue
        shape = tuple(weight.shape)
        # A depthwise kernel is (3, 3, channels, 1): each channel sees one input channel.
        fan = shape[0] * shape[1] if shape[-1] == 1 else int(np.prod(shape[:-1]))
        weight.assign(rng.normal(0, np.sqrt(2 / fan), shape).astype(np.float32))
