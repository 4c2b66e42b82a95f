from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from edge_sdk.errors import ModelError
from edge_sdk.model_metadata import LABELS_FILE, read_metadata

TF = struct.pack("<3f", 127.5, 127.5, 127.5)


def with_zip(model: Path, name: str, data: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO(model.read_bytes())
    with zipfile.ZipFile(stream, "a", kind) as archive:
        archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["tiny-float32", "tiny-int8", "tiny-w4a8"])
def test_labels_and_normalisation_are_read(models: Path, name: str) -> None:
    found = read_metadata(models / f"{name}.tflite")
    assert found.labels == ("blank", "ring", "smear")
    assert found.mean == found.std == (127.5,) * 3


def test_a_model_without_any_says_nothing(models: Path) -> None:
    found = read_metadata(models / "tiny-uint8.tflite")
    assert (found.labels, found.mean, found.std) == ((), (), ())


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_labels_are_stripped_and_blank_lines_left_out(
    models: Path, tmp_path: Path, mark: bytes
) -> None:
    file = tmp_path / "x.tflite"
    data = mark + " a \r\n\nbé\n".encode()
    file.write_bytes(with_zip(models / "tiny-uint8.tflite", "my_labels.txt", data))
    assert read_metadata(file).labels == ("a", "bé")


def test_a_zip_without_labels_is_no_error(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(with_zip(models / "tiny-uint8.tflite", "vocabulary.bin", b"x"))
    assert read_metadata(file).labels == ()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xfe", zipfile.ZIP_STORED),
        (b"a\n" * 20_000_000, zipfile.ZIP_DEFLATED),
        (b"a\n", zipfile.ZIP_LZMA),
        (b"a\n", zipfile.ZIP_BZIP2),
    ],
    ids=["no-utf8", "bomb", "lzma", "bzip2"],
)
def test_labels_that_cannot_be_used(models: Path, tmp_path: Path, data: bytes, kind: int) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(with_zip(models / "tiny-uint8.tflite", LABELS_FILE, data, kind))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="its metadata is damaged"):
            read_metadata(file)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "values",
    [(float("nan"), 1.0, 1.0), (1.0, float("inf"), 1.0), (0.0, 1.0, 1.0), (-1.0, 1.0, 1.0)],
    ids=str,
)
def test_a_normalisation_that_cannot_be_used(
    models: Path, tmp_path: Path, values: tuple[float, float, float]
) -> None:
    raw = (models / "tiny-int8.tflite").read_bytes()
    assert raw.count(TF) == 2
    file = tmp_path / "x.tflite"
    # One of the two is the standard deviation: what no mean may be, neither may it.
    file.write_bytes(raw.replace(TF, struct.pack("<3f", *values)))
    with pytest.raises(ModelError, match="its normalisation is mean"):
        read_metadata(file)


def test_a_vector_of_two_values_is_no_normalisation(models: Path, tmp_path: Path) -> None:
    raw = (models / "tiny-int8.tflite").read_bytes()
    vector = struct.pack("<I", 3) + TF
    assert raw.count(vector) == 2
    file = tmp_path / "x.tflite"
    file.write_bytes(raw.replace(vector, struct.pack("<I", 2) + TF))
    with pytest.raises(ModelError, match="its normalisation is mean"):
        read_metadata(file)
