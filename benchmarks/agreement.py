"""Top-1 agreement with float of our int8 and w4a8 beside the peers', on unlabelled images.

Peers: TensorFlow's own int8, and litert-quantizer with its own calibration at int8 and w4a8
(CONV_2D 4 bits). Ours: min-max (ranges are the extremes, biases stay), clipped (ranges of least
squared error, biases corrected: what `--method min-max` does), adaptive, and mixed, whose layers
in 8 bits are chosen on the calibrating half alone. Each half of the images calibrates once and is
judged once; same images for all.

    python benchmarks/agreement.py MODEL.keras IMAGES --normalise tf|torch|unit|none [--ours]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.artifact import output_activation
from edge_sdk.backends import open_backend
from edge_sdk.convert.adaptive_rounding import Memory
from edge_sdk.convert.calibrate import Statistics
from edge_sdk.convert.gate import expected_loss
from edge_sdk.convert.ingest import TrainedModel, open_model
from edge_sdk.convert.litert_quantizer import write_integer_model
from edge_sdk.convert.quantise import float_tflite, integer_tflite, statistics_of, weight_bits
from edge_sdk.convert.schemes import SCHEMES
from edge_sdk.convert.search import fewest
from edge_sdk.convert.sensitivity import by_worth, measure, shares_left
from edge_sdk.dataset import open_image, read_dataset, split_groups
from edge_sdk.preprocess import (
    NORMALISATIONS,
    Encoder,
    Preprocess,
    dequantise,
    fit_image,
    normalise,
)
from edge_sdk.progress import silent
from edge_sdk.quiet import quiet
from edge_sdk.report import table
from edge_sdk.tflite_file import read_tflite
from edge_sdk.train.tensorflow import import_tensorflow

Samples = Callable[[], Iterator[Any]]


def tensorflow_int8(model: TrainedModel, samples: Samples) -> bytes:
    tf = import_tensorflow()
    with quiet("TensorFlow's converter"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model.saved_model))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x] for x in samples())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def litert_quantizer(float_model: Path, samples: Samples, convolution_bits: int) -> bytes:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer
    from litert_quantizer.qtyping import TFLOperationName

    with quiet("litert-quantizer"):
        key, ends = next(
            iter(Interpreter(str(float_model), num_threads=1).get_signature_list().items())
        )
        engine = quantizer.Quantizer(str(float_model))
        engine.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, 8, 8)
        engine.add_static_config(".*", TFLOperationName.CONV_2D, 8, convolution_bits)
        data = {key: [{ends["inputs"][0]: x} for x in samples()]}
        calibration = engine.calibrate(data, num_threads=2)
        return bytes(
            engine.quantize(
                calibration, enable_progress_bar=False, enable_progress_report=False
            ).quantized_model
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--normalise", choices=NORMALISATIONS, default="tf")
    parser.add_argument("--ours", action="store_true", help="leave the peers out")
    args = parser.parse_args()
    halves = split_groups(read_dataset(args.data).items, (1, 1), 0)
    rows: dict[str, list[tuple[float, float, int]]] = {}
    with tempfile.TemporaryDirectory() as folder, open_model(args.model, Path(folder)) as model:
        mean, std = NORMALISATIONS[args.normalise]
        spec = Preprocess(model.height, model.width, "crop", 0.875, "RGB", mean, std)
        pixels = [np.stack([fit_image(open_image(i.path), spec) for i in h]) for h in halves]
        file = Path(folder) / "float.tflite"
        file.write_bytes(float_tflite(model))
        activation = output_activation(read_tflite(file))
        for ours, theirs in ((0, 1), (1, 0)):
            made = _candidates(model, file, pixels[ours], spec, peers=not args.ours)
            reference = model.predict(normalise(pixels[theirs], spec))
            for name, raw in made:
                row = name.split(" (")[0]
                candidate = Path(folder) / "candidate.tflite"
                candidate.write_bytes(raw)
                scores = _scores(candidate, pixels[theirs], spec)
                chosen = scores.argmax(axis=1)
                agreement = float((chosen == reference.argmax(axis=1)).mean())
                loss = 100 * expected_loss(reference, chosen, activation)
                rows.setdefault(row, []).append((agreement, loss, len(raw)))
                print(f"  {name}: {len(raw):,} B, {agreement:.3f}, {loss:.2f}", flush=True)
    print(f"{args.model.name}, {len(pixels[0])} + {len(pixels[1])} images, each half for the other")
    lines = []
    for name, found in rows.items():
        agreement, loss, size = (sum(v) / len(v) for v in zip(*found, strict=True))
        each = " / ".join(f"{a:.3f} {b:.2f}" for a, b, _ in found)
        lines.append([name, f"{size:,.0f}", f"{agreement:.3f}", f"{loss:.2f}", each])
    print(table(["", "bytes", "agreement", "est. loss", "each half"], lines))


def _candidates(
    model: TrainedModel, file: Path, pixels: Any, spec: Preprocess, *, peers: bool
) -> Iterator[tuple[str, bytes]]:
    """All that the calibrating half gives; `pixels` is all that is known here."""

    def samples() -> Iterator[Any]:
        return (normalise(p[None], spec) for p in pixels)

    if peers:
        yield "TensorFlow int8", tensorflow_int8(model, samples)
        yield "litert-quantizer int8", litert_quantizer(file, samples, 8)
        yield "litert-quantizer w4a8", litert_quantizer(file, samples, 4)
    statistics = statistics_of(file, samples())
    common = (statistics, spec, samples, silent)
    yield "int8, clipped", integer_tflite(file, SCHEMES["int8"], "min-max", *common)
    yield "w4a8, min-max", _plain(file, statistics)
    w4a8 = SCHEMES["w4a8"]
    yield "w4a8, clipped", integer_tflite(file, w4a8, "min-max", *common)
    memory = Memory()
    yield "w4a8, adaptive", integer_tflite(file, w4a8, "adaptive", *common, memory=memory)
    kept = _kept(model, file, pixels, spec)
    raw = integer_tflite(file, w4a8, "adaptive", *common, eight_bit=kept, memory=memory)
    yield f"w4a8, mixed ({len(kept)} in 8 bits)", raw


def _plain(file: Path, statistics: Statistics) -> bytes:
    """w4a8 with the extremes as ranges and the biases as they are."""
    graph = read_tflite(file)
    ranges = {graph.tensors[i].name: (a.low, a.high) for i, a in statistics.activations.items()}
    bits = weight_bits(graph, SCHEMES["w4a8"])
    narrow = [graph.tensors[i].name for i, width in bits.items() if width == 4]
    return write_integer_model(file, ranges, 8, narrow)


def _kept(model: TrainedModel, file: Path, pixels: Any, spec: Preprocess) -> list[int]:
    """The layers that `convert` would keep at 8 bits if these images were all: two thirds
    calibrate, the rest judges."""
    own, gate = pixels[: 2 * len(pixels) // 3], pixels[2 * len(pixels) // 3 :]

    def samples() -> Iterator[Any]:
        return (normalise(p[None], spec) for p in own)

    graph, scheme = read_tflite(file), SCHEMES["w4a8"]
    activation = output_activation(graph)
    bits = weight_bits(graph, scheme)
    ranked = by_worth(measure(file.read_bytes(), graph, samples, bits, activation, silent))
    reference = model.predict(normalise(gate, spec))
    statistics = statistics_of(file, samples())
    memory = Memory()

    def drop_of(count: int) -> float:
        raw = integer_tflite(
            file, scheme, "adaptive", statistics, spec, samples, silent,
            eight_bit=[s.layer for s in ranked[:count]], memory=memory,
        )  # fmt: skip
        candidate = file.with_name("probe.tflite")
        candidate.write_bytes(raw)
        chosen = _scores(candidate, gate, spec).argmax(axis=1)
        drop = 100 * expected_loss(reference, chosen, activation)
        print(f"  {count} layers in 8 bits: {len(raw):,} B, {drop:.2f} lost", flush=True)
        return drop

    count = fewest(shares_left(ranked), drop_of, scheme.max_drop)
    return [s.layer for s in ranked[: len(ranked) if count is None else count]]


def _scores(candidate: Path, pixels: Any, spec: Preprocess) -> Any:
    backend = open_backend("litert", candidate, threads=2)
    encode = Encoder(spec, backend.input.dtype, backend.input.quantisation)
    rows = [backend.invoke(encode(p)[None]).reshape(-1) for p in pixels]
    return dequantise(np.stack(rows), backend.output.quantisation)


if __name__ == "__main__":
    main()
