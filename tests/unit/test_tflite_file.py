from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_sdk.artifact import output_activation
from edge_sdk.backends import classifier_specs
from edge_sdk.cost import cost_of_graph
from edge_sdk.errors import ModelError
from edge_sdk.model_metadata import read_metadata
from edge_sdk.tflite_file import (
    BITS,
    TYPES,
    Graph,
    Operator,
    Table,
    Tensor,
    _read_buffer,
    named_buffer,
    read_tflite,
)

TINY = ("tiny-float32", "tiny-int8", "tiny-w4a8", "tiny-uint8")
EVERY = (*TINY, "two-inputs", "dynamic", "no-classifier", "variables")


def everything(path: Path) -> None:
    """All that is read from a file before an interpreter gets it."""
    graph, _, _ = classifier_specs(path)
    assert isinstance(graph, Graph)
    output_activation(graph)
    graph.op_counts()
    graph.weight_types()
    for tensor in graph.tensors:
        assert isinstance(tensor.nbytes, int)
    with suppress(ModelError):
        cost_of_graph(graph)
    read_metadata(path)


def only_model_errors(path: Path, read: Callable[[Path], object]) -> None:
    tracemalloc.start()
    try:
        with suppress(ModelError):
            read(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("name", EVERY)
def test_every_model_is_read(models: Path, name: str) -> None:
    path = models / f"{name}.tflite"
    graph = read_tflite(path)
    assert graph.size == path.stat().st_size
    assert graph.subgraphs == 1
    assert [t.index for t in graph.tensors] == list(range(len(graph.tensors)))


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("tiny-float32", ("float32", "float32", "float32")),
        ("tiny-int8", ("int8", "int8", "int8")),
        ("tiny-w4a8", ("int4", "int8", "int8")),
        ("tiny-uint8", ("int8", "int8", "int8")),
    ],
)
def test_a_classifiers_graph(models: Path, name: str, types: tuple[str, str, str]) -> None:
    graph = read_tflite(models / f"{name}.tflite")
    names = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    pairs = zip(names, types, strict=True)
    assert graph.weight_types() == {f"{n} {t}": 1 + (n == "CONV_2D") for n, t in pairs}
    assert graph.op_counts()["SOFTMAX"] == 1
    (source,), (result,) = graph.inputs, graph.outputs
    assert graph.tensors[source].shape == (1, 16, 16, 3)
    assert graph.tensors[result].shape == (1, 3)
    for op, kernel in graph.weights():
        assert kernel.data is not None
        assert len(kernel.data) == kernel.nbytes, op


def test_per_channel_scales_and_packed_bytes(models: Path) -> None:
    graph = read_tflite(models / "tiny-w4a8.tflite")
    kernel = next(t for op, t in graph.weights() if op.name == "CONV_2D")
    assert kernel.shape == (8, 3, 3, 3)
    assert kernel.quantised_dimension == 0
    assert len(kernel.scales) == len(kernel.zero_points) == 8
    assert (kernel.scales > 0).all()
    assert kernel.nbytes == kernel.elements // 2 == 108


def test_float_weights_are_the_files_bytes(models: Path) -> None:
    graph = read_tflite(models / "tiny-float32.tflite")
    _, kernel = graph.weights()[0]
    assert kernel.data is not None
    values = np.frombuffer(kernel.data, "<f4")
    assert len(values) == kernel.elements
    assert np.isfinite(values).all()
    assert values.std() > 0.1


def test_bytes_behind_the_flatbuffer_are_found() -> None:
    """As litert-quantizer stores every weight: Buffer.offset and Buffer.size, and no data."""
    vtable = struct.pack("<5H2x", 10, 24, 0, 8, 16)
    table = struct.pack("<i4xQQ", len(vtable), 36, 3)
    raw = vtable + table + b"abc"
    assert len(vtable + table) == 36
    data = _read_buffer(Table(raw, len(vtable)))
    assert data is not None
    assert bytes(data) == b"abc"
    with pytest.raises(ValueError, match="a buffer ends at byte 39, the file at 38"):
        _read_buffer(Table(raw[:-1], len(vtable)))


def test_a_free_dimension_reads_as_minus_one(models: Path) -> None:
    graph = read_tflite(models / "dynamic.tflite")
    assert graph.tensors[graph.inputs[0]].shape == (1, -1, -1, 3)


def test_named_buffers(models: Path) -> None:
    path = models / "tiny-int8.tflite"
    assert "TFLITE_METADATA" in read_tflite(path).metadata
    data = named_buffer(path, "TFLITE_METADATA")
    assert data is not None
    assert data[4:8] == b"M001"
    assert named_buffer(path, "nothing") is None


def test_every_type_with_a_size_has_its_bits() -> None:
    assert set(BITS) == set(TYPES.values()) - {"string", "resource", "variant"}


def test_sizes_of_huge_shapes_do_not_wrap() -> None:
    no = np.empty(0)
    tensor = Tensor(0, "x", (2**31 - 1,) * 4, "int8", no, no, 0, None)  # type: ignore[arg-type]
    assert tensor.elements == (2**31 - 1) ** 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a TensorFlow Lite model"),
        (b"PK\x03\x04" + bytes(60), "is not a TensorFlow Lite model"),
        (b"\x10\0\0\0TFL3", "is not a TensorFlow Lite model"),
        (b"\x10\0\0\0TFL3" + bytes(40), "is damaged or cut short"),
        (b"\xff\xff\xff\xffTFL3" + bytes(40), "is damaged or cut short"),
    ],
)
def test_other_files_are_no_models(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(content)
    for read in (read_tflite, classifier_specs):
        with pytest.raises(ModelError, match=says):
            read(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(ModelError, match="cannot read model"):
            read_tflite(path)


@pytest.mark.parametrize("name", TINY)
def test_a_model_cut_short_anywhere_is_a_model_error(
    models: Path, tmp_path: Path, name: str
) -> None:
    raw, file = (models / f"{name}.tflite").read_bytes(), tmp_path / "x.tflite"
    for length in range(0, len(raw), 197):
        file.write_bytes(raw[:length])
        only_model_errors(file, everything)


wild = settings(
    deadline=2000, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@wild
@given(tail=st.binary(max_size=400))
def test_random_bytes_are_a_model_error(tmp_path: Path, tail: bytes) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(tail[:4] + b"TFL3" + tail[4:])
    only_model_errors(file, everything)


@wild
@given(name=st.sampled_from(EVERY), seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_flipped_bits_are_a_model_error_or_another_graph(
    models: Path, tmp_path: Path, name: str, seed: int, count: int
) -> None:
    file, raw = tmp_path / "x.tflite", bytearray((models / f"{name}.tflite").read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(8, len(raw), count):
        raw[at] ^= 1 << int(rng.integers(8))
    file.write_bytes(raw)
    only_model_errors(file, everything)


# What broke the reader, once each: indices of tensors out of range, an output of an unknown type,
# a scale that is no number. Every third word of a file is set to it.
@pytest.mark.parametrize("word", [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x0d\0\0\0"])
def test_every_third_word_in_turn(models: Path, tmp_path: Path, word: bytes) -> None:
    file, raw = tmp_path / "x.tflite", (models / "tiny-int8.tflite").read_bytes()
    for at in range(8, len(raw) - 4, 12):
        file.write_bytes(raw[:at] + word + raw[at + 4 :])
        with suppress(ModelError):
            everything(file)


@wild
@given(name=st.sampled_from(EVERY), seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_overwritten_words_are_a_model_error_or_another_graph(
    models: Path, tmp_path: Path, name: str, seed: int, count: int
) -> None:
    file, raw = tmp_path / "x.tflite", bytearray((models / f"{name}.tflite").read_bytes())
    rng = np.random.default_rng(seed)
    words = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x04\0\0\0", b"\0\0\xc0\x7f"]
    for at in 4 * rng.integers(2, len(raw) // 4 - 1, count):
        raw[at : at + 4] = words[rng.integers(len(words))]
    file.write_bytes(raw)
    only_model_errors(file, everything)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two-inputs", "2 inputs and 1 outputs"),
        ("dynamic", r"free shape \[1, -1, -1, 3\]"),
        ("no-classifier", r"its output shape is \[1, 4, 4, 8\]"),
    ],
)
def test_what_is_no_classifier_is_refused(models: Path, name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        classifier_specs(models / f"{name}.tflite")


@pytest.mark.parametrize("name", TINY)
def test_the_ends_of_a_classifier(models: Path, name: str) -> None:
    kind = name.removeprefix("tiny-").replace("w4a8", "int8")
    _, source, result = classifier_specs(models / f"{name}.tflite")
    assert (source.shape, source.dtype) == ((1, 16, 16, 3), kind)
    assert (result.shape, result.dtype) == ((1, 3), kind)
    for end in (source, result):
        assert (end.quantisation is None) == (kind == "float32")
    if kind == "int8":
        assert result.quantisation is not None
        assert (result.quantisation.scale, result.quantisation.zero_point) == (1 / 256, -128)


def graph_of(*operators: Operator, output: int) -> Graph:
    return Graph(0, 1, (), operators, (0,), (output,), ())


@pytest.mark.parametrize(
    ("names", "activation"),
    [
        (["SOFTMAX"], "softmax"),
        (["SOFTMAX", "QUANTIZE", "RESHAPE"], "softmax"),
        (["LOGISTIC", "DEQUANTIZE"], "sigmoid"),
        (["FULLY_CONNECTED"], "logits"),
        (["SOFTMAX", "MUL"], "logits"),
        ([], "logits"),
    ],
)
def test_the_activation_is_the_operator_that_makes_the_scores(
    names: list[str], activation: str
) -> None:
    chain = [Operator(n, (i,), (i + 1,)) for i, n in enumerate(names)]
    assert output_activation(graph_of(*chain, output=len(names))) == activation


def test_operators_in_a_circle_do_not_hang() -> None:
    circle = [Operator("RESHAPE", (1,), (0,)), Operator("RESHAPE", (0,), (1,))]
    assert output_activation(graph_of(*circle, output=0)) == "logits"
    assert output_activation(graph_of(Operator("RESHAPE", (), (0,)), output=0)) == "logits"
