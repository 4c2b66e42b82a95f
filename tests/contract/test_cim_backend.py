"""What a chip as a backend promises, beside what every backend does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_sdk.backends import Backend, open_backend
from edge_sdk.errors import BackendError, ModelError, UsageError
from edge_sdk.preprocess import dequantise

QUANTISED = ("tiny-int8", "tiny-w4a8", "tiny-uint8")
EXACT = "cim-sram-28nm"  # digital: its sums have no errors
NOISY = "cim-nor-generic"


def inputs(backend: Backend, count: int, seed: int = 0) -> np.ndarray:
    info = np.iinfo(backend.input.dtype)
    shape = (count, *backend.input.shape[1:])
    drawn: np.ndarray = np.random.default_rng(seed).integers(
        info.min, info.max, shape, backend.input.dtype, True
    )
    return drawn


@pytest.mark.runtime
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_digital_chip_answers_as_the_reference_interpreter(models: Path, kind: str) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = models / f"{kind}.tflite"
    chip = open_backend("cim", path, profile=EXACT)
    reference = Interpreter(
        model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    reference.allocate_tensors()
    source, result = reference.get_input_details()[0], reference.get_output_details()[0]
    for x in inputs(chip, 8):
        reference.set_tensor(source["index"], x[None])
        reference.invoke()
        assert np.array_equal(chip.invoke(x[None]), reference.get_tensor(result["index"]))


@pytest.mark.parametrize("kind", QUANTISED)
def test_it_keeps_the_files_ends_and_refuses_other_inputs(models: Path, kind: str) -> None:
    path = models / f"{kind}.tflite"
    chip, fake = open_backend("cim", path, profile=EXACT, seed=3), open_backend("fake", path)
    assert (chip.input, chip.output) == (fake.input, fake.output)
    assert (chip.name, chip.version) == ("cim", "cim-sram-28nm, chip 3")
    x = inputs(chip, 1)
    y = chip.invoke(x)
    assert (y.shape, y.dtype) == (chip.output.shape, np.dtype(chip.output.dtype))
    assert dequantise(y, chip.output.quantisation).sum() == pytest.approx(1, abs=0.02)
    for wrong in (x[0], x[:, :-1], x.astype(np.float32)):
        with pytest.raises(BackendError, match="input has shape"):
            chip.invoke(wrong)
    chip.close()
    chip.close()


def test_chips_of_one_seed_are_alike_and_others_are_not(models: Path) -> None:
    path = models / "tiny-int8.tflite"
    x = inputs(open_backend("fake", path), 16)

    def answers(seed: int, time_s: float = 0.0) -> np.ndarray:
        chip = open_backend("cim", path, profile=NOISY, seed=seed, calibration=x, time_s=time_s)
        return np.concatenate([chip.invoke(each[None]) for each in x])

    assert np.array_equal(answers(1), answers(1))
    assert not np.array_equal(answers(1), answers(2))
    assert not np.array_equal(answers(1), answers(1, 432_000.0))


def test_what_it_lacks_is_said(models: Path) -> None:
    path = models / "tiny-int8.tflite"
    with pytest.raises(UsageError, match="name its profile, --chip cim-aon-pcm"):
        open_backend("cim", path)
    with pytest.raises(UsageError, match=r"profile 'cim-hermes'\. Did you mean cim-hermes-pcm"):
        open_backend("cim", path, profile="cim-hermes")
    with pytest.raises(UsageError, match="threads 2"):
        open_backend("cim", path, profile=EXACT, threads=2)
    with pytest.raises(UsageError, match=r"adc\.range is 'mse'.*--chip-images"):
        open_backend("cim", path, profile=NOISY)
    with pytest.raises(ModelError, match="int8"):
        open_backend("cim", models / "tiny-float32.tflite", profile=EXACT)
    for kind in ("two-inputs", "no-classifier"):
        with pytest.raises(ModelError):
            open_backend("cim", models / f"{kind}.tflite", profile=EXACT)


def test_without_its_extra_it_says_how_to_install_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"pip install 'edge-sdk\[cim\]'"):
        open_backend("cim", models / "tiny-int8.tflite", profile=EXACT)
