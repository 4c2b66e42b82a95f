from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_sdk.backends.cim.compare import first_difference, reference_tensors
from edge_sdk.backends.cim.execute import run, tensors
from edge_sdk.backends.cim.kernel import Kernel, Levels
from edge_sdk.backends.cim.network import Network, read_network
from edge_sdk.backends.cim.sums import exact_sums
from edge_sdk.errors import BackendError, ModelError
from edge_sdk.tflite_file import OPERATORS

INTEGER = ("tiny-int8", "tiny-w4a8", "tiny-uint8")


def pictures(network: Network, count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    low = -128 if network.input.dtype == "int8" else 0
    levels = rng.integers(low, low + 256, (count, *network.input.shape[1:]))
    return levels.astype(network.input.dtype)


@pytest.mark.runtime
@pytest.mark.parametrize("name", INTEGER)
def test_every_tensor_is_litert_s(models: Path, name: str) -> None:
    path = models / f"{name}.tflite"
    network = read_network(path)
    x = pictures(network, 300)
    assert first_difference(path, x) is None
    theirs = reference_tensors(path, network, x)[network.result]
    np.testing.assert_array_equal(run(network, x, batch=7), theirs)
    assert len(np.unique(theirs)) > 50


@pytest.mark.runtime
def test_the_first_element_that_differs_is_named(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models / "tiny-int8.tflite"
    network = read_network(path)
    step = network.steps[2]
    right = tensors(network, pictures(network, 3))

    def wrong(*_: object) -> dict[int, np.ndarray]:
        changed = {i: t.copy() for i, t in right.items()}
        changed[step.output][1, 2, 3, 4] ^= 1
        changed[step.output][2] ^= 1
        changed[network.result] ^= 1
        return changed

    monkeypatch.setattr("edge_sdk.backends.cim.compare.tensors", wrong)
    found = first_difference(path, pictures(network, 3))
    assert found is not None
    assert (found.index, found.element, found.operator) == (step.output, (1, 2, 3, 4), step.op)
    assert found.tensor == network.names[step.output]
    assert found.count == 1 + right[step.output][0].size
    assert found.theirs == right[step.output][1, 2, 3, 4] == int(found.ours) ^ 1
    assert f"{found.count:,} of {found.elements:,} elements differ, first [1, 2, 3, 4]" in str(
        found
    )


def test_kernels_of_a_file(models: Path) -> None:
    network = read_network(models / "tiny-w4a8.tflite")
    kinds = [(k.kind, k.weights.shape, k.bits) for k in network.kernels]
    assert kinds == [
        ("convolution", (3, 3, 3, 8), 4), ("depthwise", (3, 3, 8), 8),
        ("convolution", (1, 1, 8, 16), 4), ("dense", (16, 3), 8),
    ]  # fmt: skip
    assert len({k.name for k in network.kernels}) == 4
    for k in network.kernels:
        top = 2 ** (k.bits - 1)
        assert -top <= k.weights.min() < 0 < k.weights.max() < top
        assert k.weights.max() > top // 2
    first = network.kernels[0]
    assert (first.stride, first.padding, first.positions) == ((2, 2), (0, 1, 0, 1), (8, 8))
    assert (first.input_low, first.input_high) == (-128, 127)


def test_the_hook_sees_every_layer_and_what_it_returns_counts(models: Path) -> None:
    network = read_network(models / "tiny-int8.tflite")
    x, seen = pictures(network, 3), []

    def halved(kernel: Kernel, levels: Levels) -> Levels:
        seen.append((kernel.name, levels.shape))
        return exact_sums(kernel, levels) / 2

    assert not (run(network, x, halved) == run(network, x)).all()
    assert [name for name, _ in seen] == [k.name for k in network.kernels]
    assert [shape for _, shape in seen] == [(3, 16, 16, 3), (3, 8, 8, 8), (3, 8, 8, 8), (3, 16)]


def test_digital_layers_go_round_the_hook(models: Path) -> None:
    network = read_network(models / "tiny-int8.tflite")
    x, names = pictures(network, 3), [k.name for k in network.kernels]

    def refuse(kernel: Kernel, levels: Levels) -> Levels:
        assert kernel.name == names[0]
        return exact_sums(kernel, levels)

    np.testing.assert_array_equal(run(network, x, refuse, digital=names[1:]), run(network, x))


def test_tensors_are_all_there_and_batches_make_no_difference(models: Path) -> None:
    network = read_network(models / "tiny-int8.tflite")
    x = pictures(network, 9)
    found = tensors(network, x, batch=4)
    assert set(found) == {network.source, *(s.output for s in network.steps)}
    assert all(len(t) == 9 for t in found.values())
    np.testing.assert_array_equal(found[network.result], run(network, x, batch=9))


def test_nothing_is_kept_that_is_not_needed_again(models: Path) -> None:
    network = read_network(models / "tiny-int8.tflite")
    spent = [i for step in network.steps for i in step.spent]
    assert sorted(spent) == sorted(
        {network.source, *(s.output for s in network.steps)} - {network.result}
    )


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((16, 16, 3), np.int8),
        np.zeros((0, 16, 16, 3), np.int8),
    ],
)
def test_other_images_are_refused(models: Path, x: np.ndarray) -> None:
    network = read_network(models / "tiny-int8.tflite")
    with pytest.raises(BackendError, match=r"the model takes \(images, 16, 16, 3\) int8"):
        run(network, x)


def test_a_float_model_is_refused_by_tensor(models: Path) -> None:
    with pytest.raises(
        ModelError, match=r"CONV_2D '.*' has weights '.*' of type float32.*--to int8"
    ):
        read_network(models / "tiny-float32.tflite")


def test_an_operator_it_does_not_know_is_named(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATORS, 40, "REDUCE_SURPRISE")
    with pytest.raises(ModelError, match=r"operator 3, REDUCE_SURPRISE \('.*pool.*'\).*CONV_2D"):
        read_network(models / "tiny-int8.tflite")


@settings(deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(INTEGER), seed=st.integers(0, 2**32), count=st.integers(1, 12))
def test_overwritten_words_are_a_model_error_or_another_network(
    models: Path, tmp_path: Path, name: str, seed: int, count: int
) -> None:
    file, raw = tmp_path / "x.tflite", bytearray((models / f"{name}.tflite").read_bytes())
    rng = np.random.default_rng(seed)
    words = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x04\0\0\0", b"\0\0\xc0\x7f"]
    for at in 4 * rng.integers(2, len(raw) // 4 - 1, count):
        raw[at : at + 4] = words[rng.integers(len(words))]
    file.write_bytes(raw)
    with suppress(ModelError):
        read_network(file)
