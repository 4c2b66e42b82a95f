from __future__ import annotations

import os
import stat
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import DataError
from edge_sdk.fetch.unpack import Bounds, safe_path, unpack

WIDE = Bounds(100, 10_000_000)


def make_zip(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        warnings.simplefilter("ignore")  # of a name given twice
        for name, data in entries:
            z.writestr(name, data)
    return path


def everything(path: PurePosixPath) -> PurePosixPath:
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "out").mkdir(parents=True)
    return tmp_path / "deep" / "out"


@given(st.text(alphabet=st.sampled_from("ab./\\:\0\n é~C"), max_size=12) | st.text(max_size=40))
def test_a_safe_path_stays_below_any_folder(name: str) -> None:
    try:
        path = safe_path(name)
    except DataError:
        return
    base = "/some/where"
    joined = os.path.normpath(os.path.join(base, path))  # noqa: PTH118 - the system's own view
    assert joined.startswith(base + "/")
    assert joined == f"{base}/{name.removesuffix('/')}"
    assert not set(name) & set("\\:\0\n")


@given(st.lists(st.text(alphabet="abcXYZ019_-. ", min_size=1, max_size=20), min_size=1, max_size=4))
def test_a_plain_path_is_safe(parts: list[str]) -> None:
    if not {".", ".."} & set(parts):
        assert safe_path("/".join(parts)) == PurePosixPath(*parts)


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", "./a", "a//b", "C:/a", "c:a", "a\\b",
     "\\\\host\\a", "a\0.png", "a\nb", "\x7f", "x" * 256, "é" * 128],
)  # fmt: skip
def test_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="unsafe name"):
        safe_path(name)


def test_wanted_files_go_where_they_are_placed(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("d/", b""), ("d/a.png", b"a"), ("d/Thumbs.db", b"t")])
    placed = unpack(
        archive, out, lambda p: PurePosixPath(p.name) if ".png" in p.name else None, WIDE
    )
    assert placed == ([PurePosixPath("a.png")], [PurePosixPath("d/Thumbs.db")])
    assert files(out) == {"a.png": b"a"}


@pytest.mark.parametrize(
    "names",
    [("a.png", "a.png"), ("a.png", "A.PNG"), ("d/a", "D/b"), ("a", "a/b"), ("a/b", "a"),
     ("\u00e9", "e\u0301"), ("stra\u00dfe", "STRASSE"), ("A", "a/b")],
)  # fmt: skip
def test_names_that_could_be_one_are_refused(
    names: tuple[str, str], tmp_path: Path, out: Path
) -> None:
    archive = make_zip(tmp_path / "a.zip", [(n, b"x") for n in names])
    with pytest.raises(DataError, match="would be one"):
        unpack(archive, out, everything, WIDE)
    assert files(out) == {}


def test_files_that_would_land_on_each_other_are_refused(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("one/a", b"1"), ("two/a", b"2")])
    with pytest.raises(DataError, match="would be one"):
        unpack(archive, out, lambda p: PurePosixPath(p.name), WIDE)
    assert files(out) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_device_is_refused(kind: int, tmp_path: Path, out: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    archive = make_zip(tmp_path / "a.zip", [("a", b"x"), (info, b"../../etc")])
    with pytest.raises(DataError, match="link or a device"):
        unpack(archive, out, everything, WIDE)
    assert files(out) == {}


def flip(path: Path, offset_in_header: int, value: bytes, signature: bytes = b"PK\1\2") -> None:
    """Writes into the first central directory entry of a zip."""
    data = bytearray(path.read_bytes())
    at = data.index(signature) + offset_in_header
    data[at : at + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "value", "why"), [(8, b"\1\0", "encrypted"), (10, b"\x0c\0", "method 12")]
)
def test_what_is_encrypted_or_packed_otherwise_is_refused(
    offset: int, value: bytes, why: str, tmp_path: Path, out: Path
) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a", b"x")])
    flip(archive, offset, value)
    with pytest.raises(DataError, match=why):
        unpack(archive, out, everything, WIDE)
    assert files(out) == {}


def test_a_bomb_is_refused_by_its_announced_size(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a", bytes(600)), ("b", bytes(600))])
    with pytest.raises(DataError, match="1200 bytes, more than the 1000"):
        unpack(archive, out, everything, Bounds(10, 1000))
    with pytest.raises(DataError, match="2 entries, more than the 1"):
        unpack(archive, out, everything, Bounds(1, 10_000))
    assert files(out) == {}


def test_a_bomb_that_announces_little_stays_little(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a", bytes(5_000_000))])
    flip(archive, 24, (10).to_bytes(4, "little"))
    with pytest.raises(DataError, match="no whole zip"):
        unpack(archive, out, everything, Bounds(10, 1000))
    assert sum(p.stat().st_size for p in out.rglob("*")) <= 1000


@pytest.mark.parametrize("cut", [0, 1, 20, 200, 5_000, -1, -30])
def test_a_truncated_archive_is_refused(cut: int, tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a", os.urandom(4000)), ("b", os.urandom(4000))])
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(DataError, match="no whole zip"):
        unpack(archive, out, everything, WIDE)


def test_a_damaged_entry_is_refused(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a", os.urandom(4000))])
    data = bytearray(archive.read_bytes())
    data[2000] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="no whole zip"):
        unpack(archive, out, everything, WIDE)


def test_nothing_is_written_over(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a", b"new")])
    (tmp_path / "victim").write_bytes(b"old")
    (out / "a").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        unpack(archive, out, everything, WIDE)
    assert (tmp_path / "victim").read_bytes() == b"old"
