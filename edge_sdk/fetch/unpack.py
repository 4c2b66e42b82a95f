"""Wanted files out of a zip that is not trusted, by any name or size that it may hold."""

from __future__ import annotations

import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge_sdk.errors import DataError
from edge_sdk.fetch.download import check_space
from edge_sdk.progress import Progress, silent, watched

# Where an entry goes below the folder; None: it is not wanted.
Place = Callable[[PurePosixPath], PurePosixPath | None]
ENCRYPTED = 0x1
LONGEST_NAME = 255  # bytes of one part of a path, on the usual file systems


@dataclass(frozen=True)
class Bounds:
    """Most entries of an archive, and most bytes that its wanted files may unpack to."""

    entries: int
    bytes: int


def safe_path(name: str) -> PurePosixPath:
    """An entry's name as a path that stays below where it is put, on every system.

    Raises DataError for any other: absolute, `..`, a drive, a backslash, a control character."""
    parts = name.removesuffix("/").split("/")
    if any(
        p in ("", ".", "..") or len(p.encode(errors="replace")) > LONGEST_NAME for p in parts
    ) or any(c in "\\:" or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise DataError(f"the archive holds an entry with an unsafe name: {name[:200]!r}")
    return PurePosixPath(*parts)


def unpack(
    archive: Path, folder: Path, place: Place, bounds: Bounds, progress: Progress = silent
) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """Writes the wanted entries below `folder`: (where they went, names that were not wanted).

    Every entry is checked before the first is written; a file that exists is never written over.
    Raises DataError for an archive that is damaged, unsafe or beyond its bounds."""
    with _readable(archive), zipfile.ZipFile(archive) as zipped:
        entries = [(_checked(info), info) for info in zipped.infolist()]
        if len(entries) > bounds.entries:
            raise DataError(
                f"{archive} holds {len(entries)} entries, more than the {bounds.entries} expected"
            )
        files = [(path, info) for path, info in entries if not info.is_dir()]
        wanted = [(to, info) for path, info in files if (to := place(path)) is not None]
        _check_distinct([to for to, _ in wanted])
        total = sum(info.file_size for _, info in wanted)
        if total > bounds.bytes:
            raise DataError(
                f"{archive} would unpack to {total} bytes, more than the {bounds.bytes} expected"
            )
        check_space(folder, total)
        for to, info in watched(wanted, "unpack", progress):
            target = folder / to
            target.parent.mkdir(parents=True, exist_ok=True)
            # The reader stops at the announced size and compares the CRC there.
            with zipped.open(info) as source, target.open("xb") as out:
                shutil.copyfileobj(source, out)
    return [to for to, _ in wanted], [path for path, _ in files if place(path) is None]


def _checked(info: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's path. The raw name counts: the other one ends at a NUL."""
    path = safe_path(info.orig_filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"the archive's entry {path} is a link or a device, not a file")
    if info.flag_bits & ENCRYPTED:
        raise DataError(f"the archive's entry {path} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"the archive's entry {path} is packed by method {info.compress_type}")
    return path


def _check_distinct(paths: Sequence[PurePosixPath]) -> None:
    """Raises DataError when two files, or a file and a folder, would be one on some system."""
    seen: dict[str, tuple[PurePosixPath, bool]] = {}
    for path in paths:
        for at in (path, *path.parents[:-1]):
            is_file = at == path
            folded = unicodedata.normalize("NFC", str(at).casefold())
            if folded not in seen:
                seen[folded] = (at, is_file)
            elif is_file or seen[folded] != (at, False):
                raise DataError(
                    f"the archive's entries {seen[folded][0]} and {path} would be one on some "
                    "systems"
                )


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError) as e:
        raise DataError(f"{archive} is no whole zip archive: {e}") from e
