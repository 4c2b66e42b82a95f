"""convert on every form of source, and on sources that have to be refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.artifact import read_artifact

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sources")
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run(
        [sys.executable, Path(__file__).with_name("make_sources.py"), out],
        check=True,
        capture_output=True,
        env=env,
    )
    whole = (out / "good.keras").read_bytes()
    (out / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    (out / "garbage.h5").write_bytes(b"not a model at all" * 100)
    (out / "truncated.tflite").write_bytes((out / "good_float.tflite").read_bytes()[:2000])
    (out / "model.onnx").write_bytes(b"onnx")
    (out / "empty_folder").mkdir()
    return out


@pytest.mark.parametrize(
    "name", ["good.keras", "good.h5", "good_saved_model", "good_float.tflite", "logits.keras"]
)
def test_every_form_of_source(
    sources: Path, cells: Path, tmp_path: Path, edge_sdk, name: str
) -> None:
    done = edge_sdk(
        "convert", sources / name, "--to", "float32", "--to", "int8", "--data", cells,
        "--out", tmp_path, "--max-drop", 20, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [a["scheme"] for a in report["artifacts"]] == ["float32", "int8"]
    for artifact in report["artifacts"]:
        manifest = read_artifact(Path(artifact["path"])).manifest
        assert manifest.source.file == name
        assert manifest.activation == ("logits" if name == "logits.keras" else "softmax")
        assert manifest.gate.checks[0].agreement > 80
    assert json.loads(next(tmp_path.glob("*-report.json")).read_text())["passed"]


def test_a_model_that_rescales_itself_gets_raw_pixels(sources, cells, tmp_path, edge_sdk) -> None:
    done = edge_sdk(
        "convert", sources / "rescaling.keras", "--to", "int8", "--data", cells,
        "--out", tmp_path, "--max-drop", 20,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_artifact(tmp_path / "rescaling-int8").manifest.preprocess.std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.keras", "does not exist"),
        ("truncated.keras", "loading"),
        ("garbage.h5", "loading"),
        ("truncated.tflite", "damaged or cut short"),
        ("model.onnx", "'.onnx' is not one of"),
        ("empty_folder", "no SavedModel"),
        ("no_signature", "serving_default"),
        ("no_classifier.keras", "no image classifier"),
        ("dynamic.keras", "free input size"),
        ("two_inputs.keras", "2 inputs"),
        ("weights_quantised.tflite", "needs the float model"),
    ],
)
def test_bad_models_are_refused_in_one_line(
    sources: Path, cells: Path, tmp_path: Path, edge_sdk, name: str, words: str
) -> None:
    done = edge_sdk(
        "convert", sources / name, "--to", "int8", "--data", cells, "--out", tmp_path / "out"
    )
    assert done.returncode == 1
    errors = [x for x in done.stderr.splitlines() if x.startswith("error:")]
    assert len(errors) == 1, done.stderr
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("model.tflite"))


def test_nan_is_caught_kept_aside_and_reported(sources, cells, tmp_path, edge_sdk) -> None:
    done = edge_sdk(
        "convert", sources / "nan.keras", "--to", "float32", "--data", cells, "--out", tmp_path
    )
    assert done.returncode == 1
    assert "not finite" in done.stdout
    rejected = tmp_path / "nan-float32.rejected"
    assert not read_artifact(rejected).manifest.gate.passed
    assert not (tmp_path / "nan-float32").exists()
    assert not json.loads((tmp_path / "nan-report.json").read_text())["passed"]


def test_too_large_a_loss_is_rejected_and_the_good_one_stays(
    sources, cells, tmp_path, edge_sdk
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in cells.rglob("*.png"):  # without labels: judged by the estimated loss
        (flat / path.name).write_bytes(path.read_bytes())
    namesake = tmp_path / "good.keras"
    namesake.write_bytes((sources / "undecided.keras").read_bytes())
    options = ["--to", "int8", "--data", flat, "--out", tmp_path / "out", "--max-drop", 0.5]
    assert edge_sdk("convert", sources / "good.keras", *options).returncode == 0
    before = (tmp_path / "out" / "good-int8" / "model.tflite").read_bytes()
    done = edge_sdk("convert", namesake, *options, "--max-drop", 0, "--overwrite")
    assert done.returncode == 1
    assert "points, more than the 0 allowed" in done.stdout
    assert not read_artifact(tmp_path / "out" / "good-int8.rejected").manifest.gate.passed
    assert (tmp_path / "out" / "good-int8" / "model.tflite").read_bytes() == before


def test_output_that_exists_is_refused_before_any_work(sources, cells, tmp_path, edge_sdk) -> None:
    (tmp_path / "good-int8").mkdir()
    started = time.monotonic()
    done = edge_sdk(
        "convert", sources / "good.keras", "--to", "int8", "--data", cells, "--out", tmp_path
    )
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert "--overwrite" in done.stderr
    assert time.monotonic() - started < 10  # TensorFlow was not even imported


def test_labels_that_do_not_match_the_outputs(sources, cells, tmp_path, edge_sdk) -> None:
    labels = tmp_path / "labels.txt"
    common = ["convert", sources / "good.keras", "--to", "int8", "--data", cells]
    labels.write_text("a\nb\nc\n")
    done = edge_sdk(*common, "--labels", labels, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "3 labels for 2 outputs" in done.stderr
    labels.write_text("a\nb\n")
    done = edge_sdk(*common, "--labels", labels, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "'Parasitized' is not among" in done.stderr


def test_fewer_images_than_asked_for(sources, cells, tmp_path, edge_sdk) -> None:
    done = edge_sdk(
        "convert", sources / "good.keras", "--to", "int8", "--data", cells, "--out", tmp_path,
        "--calibration", 5000,
    )  # fmt: skip
    assert done.returncode == 1
    assert "--calibration 5000" in done.stderr


def test_ctrl_c_leaves_nothing_half_written(sources, cells, tmp_path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "edge_sdk.cli", "convert", str(sources / "good.keras")]
    command += ["--to", "float32", "--to", "int8", "--data", str(cells), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = ""
    while "float32: judge" not in seen:  # half-way: one scheme is being made
        line = process.stderr.readline()
        assert line, seen
        seen += line
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in rest
    for folder in out.iterdir() if out.exists() else []:
        assert not folder.name.startswith("."), "a partial folder was left"
        read_artifact(folder)  # whatever stands there is whole


def test_a_full_disk_leaves_nothing_half_written(sources, cells, tmp_path) -> None:
    """No file may grow past 20 kB: the write fails as on a full disk, with EFBIG for ENOSPC."""
    out = tmp_path / "out"
    script = (
        "import resource, signal, sys; from contextlib import contextmanager\n"
        "from edge_sdk import cli, files; import edge_sdk.convert.pipeline as p\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "@contextmanager\n"
        "def limited(*a, **k):\n"
        "    with files.whole_folder(*a, **k) as folder:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "        yield folder\n"
        "p.whole_folder = limited\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", script, "convert", str(sources / "good.keras"), "--to"]
    command += ["float32", "--data", str(cells), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot write" in done.stderr
    assert list(out.iterdir()) == []


def test_bias_correction_takes_the_mean_error_out(sources: Path) -> None:
    from edge_sdk.convert.bias_correction import corrected, output_shift, round_weights
    from edge_sdk.convert.calibrate import collect
    from edge_sdk.tflite_file import read_tflite

    path = sources / "good_float.tflite"
    graph = read_tflite(path)
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal((1, 32, 32, 3)).astype(np.float32) for _ in range(20)]
    statistics = collect(path, graph, iter(samples))
    bits = {op.outputs[0]: 4 if op.name == "CONV_2D" else 8 for op, _ in graph.weights()}
    edited = path.with_name("corrected.tflite")
    edited.write_bytes(corrected(path.read_bytes(), graph, statistics, bits))
    after = read_tflite(edited)
    changed = 0
    for (op, kernel), (op_after, _) in zip(graph.weights(), after.weights(), strict=True):
        # Both first biases are zeros and share one tensor before; each has its own afterwards.
        constant = graph.tensors[op.inputs[2]].data
        old = np.zeros(1, np.float32) if constant is None else np.frombuffer(constant, np.float32)
        new = np.frombuffer(after.tensors[op_after.inputs[2]].data, np.float32)
        means = statistics.channel_means[op.inputs[0]]
        shift = output_shift(op, kernel, means, bits[op.outputs[0]])
        np.testing.assert_allclose(new, old - shift, atol=1e-6)
        changed += int(np.abs(shift).max() > 0)
        weights = np.frombuffer(kernel.data, np.float32).reshape(kernel.shape)
        if op.name == "FULLY_CONNECTED":  # checked against the layer itself, in full
            x = means.astype(np.float32)
            error = round_weights(weights, 0, 8) @ x - weights @ x
            np.testing.assert_allclose(shift, error, atol=1e-5)
    assert changed == len(graph.weights())


def test_the_exported_file_lies_on_the_learned_grid(sources: Path) -> None:
    from edge_sdk.convert.adaptive_rounding import adapted
    from edge_sdk.convert.calibrate import clipping_range
    from edge_sdk.convert.litert_quantizer import write_integer_model
    from edge_sdk.convert.quantise import statistics_of, weight_bits
    from edge_sdk.convert.schemes import SCHEMES
    from edge_sdk.progress import silent
    from edge_sdk.tflite_file import read_tflite

    path = sources / "good_float.tflite"
    graph = read_tflite(path)
    rng = np.random.default_rng(1)
    images = [rng.standard_normal((1, 32, 32, 3)).astype(np.float32) for _ in range(12)]
    bits = weight_bits(graph, SCHEMES["w4a8"])
    learned = path.with_name("learned.tflite")
    learned.write_bytes(adapted(path.read_bytes(), graph, lambda: iter(images), bits, silent))
    after = read_tflite(learned)
    statistics = statistics_of(learned, iter(images))
    ranges = {
        graph.tensors[i].name: clipping_range(a, 8) for i, a in statistics.activations.items()
    }
    narrow = [graph.tensors[i].name for i, width in bits.items() if width == 4]
    exported = path.with_name("exported.tflite")
    exported.write_bytes(write_integer_model(learned, ranges, 8, narrow))
    checked = 0
    for (op, real), (_, stored) in zip(
        after.weights(), read_tflite(exported).weights(), strict=True
    ):
        weights = np.frombuffer(real.data, np.float32).reshape(real.shape)
        raw = np.frombuffer(stored.data, np.uint8)
        if stored.dtype == "int4":  # low nibble first
            nibbles = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[: weights.size]
            levels = (nibbles.astype(np.int8) ^ 8) - 8
            checked += 1
        else:
            levels = raw.view(np.int8)
        shape = [1] * weights.ndim
        shape[stored.quantised_dimension] = -1
        on_grid = levels.reshape(weights.shape) * stored.scales.reshape(shape)
        np.testing.assert_allclose(on_grid, weights, rtol=1e-5, atol=1e-7, err_msg=op.name)
    assert checked == 1


def test_a_walk_gives_what_the_whole_model_gives(sources: Path) -> None:
    from edge_sdk.convert.calibrate import open_readable
    from edge_sdk.convert.walk import Walk, alive_before, no_edit
    from edge_sdk.tflite_file import read_tflite

    path = sources / "good_float.tflite"
    graph, raw = read_tflite(path), path.read_bytes()
    rng = np.random.default_rng(2)
    images = [rng.standard_normal((1, 32, 32, 3)).astype(np.float32) for _ in range(3)]
    walk = Walk(raw, graph, lambda: iter(images), no_edit)
    whole = open_readable(raw)
    for position in range(len(graph.operators) + 1):
        for image, alive in zip(images, walk.before(position), strict=True):
            assert set(alive) == alive_before(graph, position)
            whole.set_tensor(graph.inputs[0], image)
            whole.invoke()
            for index, values in alive.items():
                np.testing.assert_allclose(
                    values, whole.get_tensor(index), rtol=1e-4, atol=1e-5, err_msg=str(position)
                )


def test_sensitivity_is_of_the_narrow_layers_and_mixed_widens_them(sources: Path) -> None:
    from dataclasses import replace

    from edge_sdk.convert.quantise import integer_tflite, statistics_of, weight_bits
    from edge_sdk.convert.schemes import SCHEMES
    from edge_sdk.convert.sensitivity import by_worth, measure
    from edge_sdk.preprocess import Preprocess
    from edge_sdk.progress import silent
    from edge_sdk.tflite_file import read_tflite

    path = sources / "good_float.tflite"
    graph = read_tflite(path)
    rng = np.random.default_rng(3)
    images = [rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32) for _ in range(12)]
    scheme = replace(SCHEMES["w4a8"], depthwise_bits=4)
    bits = weight_bits(graph, scheme)
    found = measure(path.read_bytes(), graph, lambda: iter(images), bits, "softmax", silent)
    kernels = {op.outputs[0]: kernel for op, kernel in graph.weights()}
    assert [s.layer for s in found] == [i for i, width in bits.items() if width == 4]
    assert [s.cost for s in found] == [kernels[s.layer].elements // 2 for s in found]
    assert all(s.harm > 0 for s in found)
    fewer = {i: min(width, 8 if width == 8 else 2) for i, width in bits.items()}
    coarse = measure(path.read_bytes(), graph, lambda: iter(images), fewer, "softmax", silent)
    harm = {s.layer: s.harm for s in coarse}
    assert all(harm[s.layer] > s.harm for s in found)
    made = path.with_name("mixed.tflite")
    raw = integer_tflite(
        path, scheme, "adaptive", statistics_of(path, iter(images)), Preprocess(32, 32),
        lambda: iter(images), silent, eight_bit=[by_worth(found)[0].layer],
    )  # fmt: skip
    made.write_bytes(raw)
    types = read_tflite(made).weight_types()
    assert types["FULLY_CONNECTED int8"] == 1
    assert sum(n for name, n in types.items() if name.endswith("int4")) == 1


@pytest.mark.tflite_runtime
def test_depthwise_kernels_in_four_bits_run_on_both_runtimes(
    sources: Path, cells: Path, tmp_path: Path, edge_sdk, tflite_runtime_python: str
) -> None:
    done = edge_sdk(
        "convert", sources / "good.keras", "--to", "w4a8", "--depthwise-bits", 4, "--data", cells,
        "--method", "mixed", "--max-drop", 20, "--out", tmp_path, "--plot", tmp_path / "x.png",
        "--runtime-python", tflite_runtime_python,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = read_artifact(tmp_path / "good-w4a8").manifest
    assert manifest.weight_types["DEPTHWISE_CONV_2D int4"] == 1
    assert [c.runtime for c in manifest.gate.checks] == ["litert", "tflite-runtime"]
    assert [(a.method, a.taken) for a in manifest.attempts] == [("mixed", True)]
    assert (tmp_path / "x.png").exists()
    counted = edge_sdk("cost", tmp_path / "good-w4a8")
    assert counted.returncode == 0, counted.stderr


def test_values_that_are_not_finite_are_no_ground_for_integers(
    sources: Path, cells: Path, tmp_path: Path, edge_sdk
) -> None:
    done = edge_sdk(
        "convert", sources / "nan.keras", "--to", "w4a8", "--data", cells, "--out", tmp_path
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "not finite numbers" in done.stderr


def test_all_that_was_tried_is_told_when_nothing_passes(
    sources: Path, cells: Path, tmp_path: Path, edge_sdk
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in cells.rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    done = edge_sdk(
        "convert", sources / "undecided.keras", "--to", "w4a8", "--data", flat,
        "--out", tmp_path, "--max-drop", 0,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "kept aside" in done.stdout
    attempts = read_artifact(tmp_path / "undecided-w4a8.rejected").manifest.attempts
    assert [a.method for a in attempts] == ["min-max", "adaptive", "mixed"]
    assert [len(a.eight_bit) for a in attempts] == [0, 0, 1]
    assert not any(a.passed for a in attempts)
    assert [a.taken for a in attempts].count(True) == 1
    report = json.loads((tmp_path / "undecided-report.json").read_text())
    assert len(report["artifacts"][0]["attempts"]) == 3
