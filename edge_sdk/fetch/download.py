"""One file over https: resumed, bounded, checked, and there whole or not at all.

Bytes go to NAME.part; NAME.part.json holds the address and what the server calls this version of
the file (ETag or Last-Modified), so that only bytes of the same version are joined. Size and
SHA-256 are checked before the part is renamed to NAME.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request

from edge_sdk import __version__
from edge_sdk.errors import DataError, EdgeError, UsageError
from edge_sdk.fetch.address import check_url, opener
from edge_sdk.fetch.sources import Source
from edge_sdk.files import sha256, write_whole
from edge_sdk.progress import Progress, silent

CHUNK = 1 << 18
# What the same server may answer differently in a moment; everything else of 4xx is final.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """timeout_s: of every single read. tries: in a row that each bring less than `step` bytes.
    pause_s: before the second try, doubled before every further one, at most a minute."""

    timeout_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0
    step: int = 1 << 20


class _PassingError(Exception):
    """What may be better at the next try."""


class _Part:
    """The open NAME.part with its NAME.part.json."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.file = file
        self.mark = path.with_name(path.name + ".json")

    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def validator(self, url: str) -> str | None:
        """What the server called the version that the part is of; None: it cannot go on."""
        try:
            mark = json.loads(self.mark.read_text(encoding="utf-8"))
            value = mark["validator"] if mark["url"] == url else None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        usable = isinstance(value, str) and value.isascii() and value.isprintable()
        return value if usable else None

    def restart(self, url: str, validator: str | None) -> None:
        # Emptied first: a mark of one version never stands beside bytes of another.
        self.file.truncate(0)
        write_whole(self.mark, json.dumps({"url": url, "validator": validator}).encode())

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self.file.write(view) :]
        except OSError as e:
            raise EdgeError(
                f"cannot write {self.path}: {e.strerror or e}. Its {self.size()} bytes are kept: "
                "make room and run again to go on"
            ) from e

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)


def download(
    source: Source, final: Path, *, progress: Progress = silent, patience: Patience | None = None
) -> Path:
    """Fetches the source's archive to `final`, or checks the one that is there.

    A part of an earlier run is gone on with. Ctrl-C, a broken line and a full disk leave it.
    Raises UsageError for an address that is not fetched from, DataError for bytes that are not
    the source's, EdgeError when the server or the disk stays in the way."""
    check_url(source.url)
    if final.exists():
        try:
            check_archive(source, final, progress)
        except DataError as e:
            raise DataError(f"{e}: remove the file, or choose another --out") from e
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _locked(final.with_name(final.name + ".part")) as part:
            _fill(source, part, progress, patience or Patience())
            try:
                check_archive(source, part.path, progress)
            except DataError as e:
                part.remove()
                raise DataError(f"{e}. What came was removed: run again") from e
            os.fsync(part.file.fileno())
            part.path.replace(final)
            part.mark.unlink(missing_ok=True)
    except OSError as e:
        raise EdgeError(f"cannot write {final}: {e.strerror or e}") from e
    return final


def check_archive(source: Source, path: Path, progress: Progress = silent) -> None:
    """Raises DataError unless the file has the source's size and SHA-256."""
    if not path.is_file():
        raise DataError(f"archive {path} is no file")
    if (size := path.stat().st_size) != source.bytes:
        raise DataError(f"{path} has {size} bytes, {source.name} has {source.bytes}")
    progress("checksum", 0, source.bytes)
    if (found := sha256(path)) != source.sha256:
        raise DataError(f"{path} has SHA-256 {found}, {source.name} has {source.sha256}")
    progress("checksum", source.bytes, source.bytes)


def check_space(folder: Path, needed: int) -> None:
    """Raises EdgeError when fewer than `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EdgeError(
            f"{folder}: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free: make room "
            "or choose another --out"
        )


@contextmanager
def _locked(path: Path) -> Iterator[_Part]:
    with path.open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:  # it is another run's, or has just taken its final name
            raise UsageError(
                f"another run is fetching {path}: wait for it, or choose another --out"
            )
        part = _Part(path, file)
        try:
            yield part
        finally:
            if part.size() == 0:
                part.remove()


def _fill(source: Source, part: _Part, progress: Progress, patience: Patience) -> None:
    """Receives, again and again, until the part is as long as the source."""
    if part.size() > source.bytes:
        part.file.truncate(0)
    # The images are PNG: unpacked they take about the archive's room once more.
    check_space(part.path.parent, 2 * source.bytes - part.size())
    failures = number = 0
    while (before := part.size()) < source.bytes:
        number += 1
        step = "download" if number == 1 else f"download, try {number}"
        try:
            _receive(source, part, patience.timeout_s, step, progress)
        except _PassingError as e:
            failures = 1 if part.size() - before >= patience.step else failures + 1
            if failures >= patience.tries:
                raise EdgeError(
                    f"{source.url}: {e}, {failures} tries in a row. {part.size()} of "
                    f"{source.bytes} bytes are kept: run again to go on, or fetch it elsewhere "
                    "and give the file as --archive"
                ) from e
            time.sleep(min(patience.pause_s * 2 ** (failures - 1), 60.0))


def _receive(source: Source, part: _Part, timeout_s: float, step: str, progress: Progress) -> None:
    """One request: what is missing, or everything when the part cannot be gone on with."""
    have = part.size()
    headers = {"User-Agent": f"edge-sdk/{__version__}"}
    validator = part.validator(source.url) if have else None
    if validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with _open(source.url, headers, timeout_s) as response:
        _check_announced(source, response)
        current = _validator_of(response)
        if response.status == 200:
            part.restart(source.url, current)
        elif not _fits(response, have) or current not in (None, validator):
            part.file.truncate(0)
            raise _PassingError("the server's part does not fit ours, which is dropped")
        _copy(source, response, part, step, progress)


def _open(url: str, headers: dict[str, str], timeout_s: float) -> HTTPResponse:
    try:
        response: HTTPResponse = opener(url).open(Request(url, headers=headers), timeout=timeout_s)
    except HTTPError as e:
        e.close()
        message = f"the server answers {e.code} {e.reason}"
        if e.code in PASSING:
            raise _PassingError(message) from e
        raise EdgeError(f"{url}: {message}: try again later, or give another --url") from e
    except (OSError, HTTPException) as e:
        reason = e.reason if isinstance(e, URLError) else e
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise EdgeError(f"{url}: the server's certificate is not valid: {reason}") from e
        raise _PassingError(f"no connection ({reason})") from e
    return response


def _validator_of(response: HTTPResponse) -> str | None:
    etag = response.headers.get("ETag")
    # A weak ETag promises alike, not equal bytes: If-Range may not carry one (RFC 9110, 13.1.5).
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _check_announced(source: Source, response: HTTPResponse) -> None:
    """Raises EdgeError before a byte is kept when this cannot be the source's archive."""
    kind = response.headers.get("Content-Type", "")
    coding = response.headers.get("Content-Encoding", "identity")
    if response.status not in (200, 206) or coding != "identity" or kind.startswith("text/"):
        raise EdgeError(
            f"{source.url}: the server answers {response.status} with {kind or 'no type'}, encoded "
            f"as {coding}, and not with the archive: is a login or a notice in the way?"
        )
    total = response.headers.get("Content-Length")
    if response.status == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total and total.isdecimal() and int(total) != source.bytes:
        raise DataError(
            f"{source.url}: the server announces {total} bytes, {source.name} has {source.bytes}: "
            "the file there is another one"
        )


def _fits(response: HTTPResponse, have: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == have


def _copy(
    source: Source, response: HTTPResponse, part: _Part, step: str, progress: Progress
) -> None:
    have = part.size()
    progress(step, have, source.bytes)
    while True:
        try:
            data = response.read1(CHUNK)
        except (OSError, HTTPException) as e:
            raise _PassingError(f"the connection broke ({e})") from e
        if not data:
            break
        if have + len(data) > source.bytes:
            part.file.truncate(0)
            raise DataError(
                f"{source.url}: the server sends more than the {source.bytes} bytes of "
                f"{source.name}: the file there is another one"
            )
        part.append(data)
        have += len(data)
        progress(step, have, source.bytes)
    if have < source.bytes:
        raise _PassingError("the connection ended early")
