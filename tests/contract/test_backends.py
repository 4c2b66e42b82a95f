"""What every backend promises, asked of each that is installed here."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.backends import AUTO_ORDER, BACKENDS, Backend, classifier_specs, open_backend
from edge_sdk.backends.process import installed_backends, run_inputs, run_worker
from edge_sdk.backends.tflite import PACKAGES
from edge_sdk.errors import BackendError, ModelError, UsageError
from edge_sdk.preprocess import dequantise
from edge_sdk.runtime import Classifier

HERE = installed_backends(sys.executable)
TINY = ("tiny-float32", "tiny-int8", "tiny-w4a8", "tiny-uint8")
REFUSED = ("two-inputs", "dynamic", "no-classifier")
NAMES = [
    pytest.param("litert", marks=pytest.mark.runtime),
    pytest.param("tflite-runtime", marks=pytest.mark.runtime),
    pytest.param("tensorflow", marks=[pytest.mark.runtime, pytest.mark.tensorflow]),
    "fake",
]


def noise(backend: Backend, seed: int) -> Any:
    rng, spec = np.random.default_rng(seed), backend.input
    if spec.quantisation is None:
        return rng.uniform(-1, 1, spec.shape).astype(spec.dtype)
    info = np.iinfo(spec.dtype)
    return rng.integers(info.min, info.max, spec.shape, spec.dtype, True)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found = str(request.param)
    if found in PACKAGES and found not in HERE:
        pytest.skip(f"{PACKAGES[found][2]} is not installed")
    return found


@pytest.fixture(params=TINY)
def model(request: pytest.FixtureRequest, models: Path) -> Path:
    return models / f"{request.param}.tflite"


@pytest.fixture
def backend(name: str, model: Path) -> Iterator[Backend]:
    opened = open_backend(name, model)
    yield opened
    opened.close()


def test_it_says_who_it_is_and_what_the_file_says(backend: Backend, name: str, model: Path) -> None:
    _, source, result = classifier_specs(model)
    assert backend.name == name
    assert backend.version
    assert backend.input == source
    assert backend.output == result


def test_the_answer_has_the_outputs_shape_and_type(backend: Backend) -> None:
    y = backend.invoke(noise(backend, 0))
    assert y.shape == backend.output.shape == (1, 3)
    assert y.dtype == backend.output.dtype
    scores = dequantise(y, backend.output.quantisation)
    assert scores.sum() == pytest.approx(1, abs=0.02)


def test_an_answer_is_a_copy(backend: Backend) -> None:
    first = backend.invoke(noise(backend, 0))
    kept = first.copy()
    second = backend.invoke(noise(backend, 1))
    assert not np.array_equal(second, kept)
    assert np.array_equal(first, kept)


def test_the_same_input_gets_the_same_answer(backend: Backend, name: str, model: Path) -> None:
    x = noise(backend, 2)
    first = backend.invoke(x)
    backend.invoke(noise(backend, 3))
    assert np.array_equal(backend.invoke(x), first)
    again = open_backend(name, model, threads=2)
    assert np.array_equal(again.invoke(x), first)
    again.close()


def test_an_input_that_cannot_be_written_to_will_do(backend: Backend) -> None:
    x = noise(backend, 4)
    expected = backend.invoke(x)
    x.flags.writeable = False
    assert np.array_equal(backend.invoke(x), expected)
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    assert np.array_equal(backend.invoke(strided), expected)


def test_other_shapes_and_types_are_refused(backend: Backend) -> None:
    x = noise(backend, 5)
    other = np.int32 if x.dtype.kind == "f" else np.float32
    for wrong in (x[0], x[:, :-1], np.concatenate([x, x]), x.astype(other), x.astype(np.float64)):
        with pytest.raises(BackendError, match=r"input has shape .* the model takes \(1, 16, 16"):
            backend.invoke(wrong)
    assert backend.invoke(x).shape == (1, 3)


def test_closing_twice_is_no_error(name: str, models: Path) -> None:
    with Classifier(models / "tiny-int8.tflite", backend=name) as classifier:
        classifier.close()


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_a_usage_error(name: str, models: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads {threads} must be at least 1"):
        open_backend(name, models / "tiny-int8.tflite", threads=threads)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_classifier_is_refused(name: str, models: Path, kind: str) -> None:
    with pytest.raises(ModelError, match=f"{kind}"):
        open_backend(name, models / f"{kind}.tflite")


def test_a_file_that_is_no_model_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(b"\x10\0\0\0TFL3" + bytes(100))
    for path in (file, tmp_path / "none.tflite"):
        with pytest.raises(ModelError, match=str(path)):
            open_backend(name, path)


def test_a_fresh_process_answers_as_this_one(backend: Backend, name: str, model: Path) -> None:
    if name == "tensorflow" and model.stem != "tiny-int8":
        pytest.skip("its start is slow: one model will do")
    inputs = np.concatenate([noise(backend, seed) for seed in range(3)])
    outputs, report = run_inputs(name, model, inputs)
    assert np.array_equal(outputs, np.concatenate([backend.invoke(x[None]) for x in inputs]))
    assert outputs.dtype == backend.output.dtype
    assert (report["backend"], report["version"]) == (backend.name, backend.version)
    assert report["count"] == 3
    assert report["rss_peak_bytes"] >= report["rss_before_bytes"] > 1e6


def test_a_worker_times_what_it_is_asked_to(name: str, models: Path) -> None:
    if name == "tensorflow":
        pytest.skip("its start is slow, and the worker is the same")
    job = {
        "task": "time", "backend": name, "model": str(models / "tiny-int8.tflite"), "threads": 1,
        "runs": 5, "warmup": 1, "seconds": 60.0,
    }  # fmt: skip
    assert len(run_worker(job)["times_ms"]) == 5
    assert len(run_worker({**job, "seconds": 0.0})["times_ms"]) == 1


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_missing_backend_says_how_to_install_it(
    name: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(distribution: str) -> str:
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(BackendError, match=f"'{name}' is not installed: pip install "):
        open_backend(name, models / "tiny-int8.tflite")
    with pytest.raises(BackendError, match="no interpreter is installed: pip install") as e:
        open_backend("auto", models / "tiny-int8.tflite")
    assert all(n in str(e.value) for n in AUTO_ORDER)


@pytest.mark.runtime
def test_auto_says_what_it_took_and_what_it_passed_over(models: Path) -> None:
    backend = open_backend("auto", models / "tiny-int8.tflite")
    taken = AUTO_ORDER.index(backend.name)
    assert backend.name in HERE
    assert all(n in backend.note for n in AUTO_ORDER[:taken])
    assert (backend.note == "") == (taken == 0)
    backend.close()


def test_auto_takes_the_next_when_one_is_broken(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "tensorflow", BACKENDS["fake"])
    for name in AUTO_ORDER[:2]:
        monkeypatch.setitem(PACKAGES, name, ("edge_sdk.none", "Interpreter", "numpy"))
    backend = open_backend("auto", models / "tiny-int8.tflite")
    assert backend.name == "fake"
    assert "backend 'litert' is installed but does not import" in backend.note


def test_an_unknown_backend_suggests_near_misses(models: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown backend 'liteRT2'\. Did you mean litert"):
        open_backend("liteRT2", models / "tiny-int8.tflite")


@pytest.mark.runtime
def test_the_runtimes_agree_on_a_model(models: Path) -> None:
    names = [n for n in HERE if n != "tensorflow"]
    for model in ("tiny-float32", "tiny-int8", "tiny-w4a8"):
        opened = [open_backend(n, models / f"{model}.tflite") for n in names]
        answers = [b.invoke(noise(b, 7)).astype(float) for b in opened]
        assert all(np.allclose(a, answers[0], atol=1.01) for a in answers)


@pytest.mark.runtime
def test_variables_that_nothing_fills_answer_nan_without_an_error(models: Path) -> None:
    """Why the gate reads the file and the answers: no interpreter complains."""
    backend = open_backend("auto", models / "variables.tflite")
    assert np.isnan(backend.invoke(noise(backend, 0))).all()


@pytest.mark.tflite_runtime
@pytest.mark.parametrize("kind", TINY)
def test_a_second_environment_answers(tflite_runtime_python: str, models: Path, kind: str) -> None:
    assert "tflite-runtime" in installed_backends(tflite_runtime_python)
    model = models / f"{kind}.tflite"
    fake = open_backend("fake", model)
    inputs = np.concatenate([noise(fake, seed) for seed in range(4)])
    outputs, report = run_inputs("tflite-runtime", model, inputs, python=tflite_runtime_python)
    assert report["backend"] == "tflite-runtime"
    assert int(report["numpy"].split(".")[0]) < 2
    assert (outputs.shape, outputs.dtype) == ((4, 3), fake.output.dtype)
    scores = dequantise(outputs, fake.output.quantisation)
    assert scores.sum(axis=1) == pytest.approx(np.ones(4), abs=0.02)
