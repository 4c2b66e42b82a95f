"""The public archive, fetched from a server of this test that does everything wrong in turn."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edge_sdk.cli import cli
from edge_sdk.dataset import read_dataset
from edge_sdk.errors import DataError, EdgeError, UsageError
from edge_sdk.fetch import download as downloading
from edge_sdk.fetch import nih_malaria, sources, unpack
from edge_sdk.fetch.download import Patience, download
from edge_sdk.fetch.sources import Source

BODY = os.urandom(300_000)
HALF = 150_000
QUICK = Patience(timeout_s=0.3, tries=3, pause_s=0.01)
ONCE = replace(QUICK, tries=1)
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        self.close_connection = True
        with suppress(ConnectionError):
            (self.server.answers.pop(0) if self.server.answers else whole)(self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Site(ThreadingHTTPServer):
    """A real server on this machine. answers: one per request, then whole answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag = BODY, '"v1"'
        self.answers: list[Answer] = []
        self.requests: list[dict[str, str]] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/cells.zip"

    def source(self, body: bytes | None = None) -> Source:
        body = self.body if body is None else body
        return replace(
            sources.NIH_MALARIA,
            url=self.url,
            bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
        )


def answer(
    *,
    stop: int | None = None,
    length: int | None = None,
    ranges: bool = True,
    careless: bool = False,
    pause: Callable[[Handler], object] | None = None,
    **more: object,
) -> Answer:
    """stop: bytes sent; length: announced; careless: the server does not look at If-Range."""

    def send(h: Handler) -> None:
        body, etag = h.server.body, h.server.etag
        found = re.fullmatch(r"bytes=(\d+)-", h.headers.get("Range", ""))
        start = int(found[1]) if found and ranges else 0
        if not careless and h.headers.get("If-Range") != etag:
            start = 0
        part = body[start:]
        headers = {"ETag": etag, "Content_Length": len(part) if length is None else length, **more}
        if start:
            h.head(206, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}", **headers)
        else:
            h.head(200, **headers)
        h.wfile.write(part[:stop])
        h.wfile.flush()
        if pause is not None:
            pause(h)

    return send


whole = answer()
breaks = answer(stop=HALF)
stalls = answer(stop=HALF, pause=lambda h: h.server.ended.wait(5))


def fails(status: int, **headers: object) -> Answer:
    return lambda h: h.head(status, Content_Length=0, **headers)


def chunked(surplus: bytes) -> Answer:
    def send(h: Handler) -> None:
        h.head(200, Transfer_Encoding="chunked", ETag=h.server.etag)
        for data in (h.server.body, surplus, b""):
            if data or not surplus:
                h.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if surplus:
            h.wfile.write(b"0\r\n\r\n")

    return send


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


PARTS = ["a.zip.part", "a.zip.part.json"]


def test_a_whole_file_is_fetched_once(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    final = tmp_path / "new" / "a.zip"
    assert download(site.source(), final, progress=lambda *a: seen.append(a)) == final
    assert final.read_bytes() == BODY
    assert names(final.parent) == ["a.zip"]
    assert "Range" not in site.requests[0]
    assert seen[0] == ("download", 0, len(BODY))
    assert ("download", len(BODY), len(BODY)) in seen
    download(site.source(), final)
    assert len(site.requests) == 1


def test_a_broken_line_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.answers = [breaks]
    download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert site.requests[1]["Range"] == f"bytes={HALF}-"
    assert site.requests[1]["If-Range"] == '"v1"'
    assert names(tmp_path) == ["a.zip"]


def interrupted(site: Site, tmp_path: Path) -> Path:
    """A part of the first half, left by a run that gave up."""
    site.answers = [breaks]
    with pytest.raises(EdgeError, match=f"{HALF} of {len(BODY)} bytes are kept: run again"):
        download(site.source(BODY), tmp_path / "a.zip", patience=ONCE)
    assert names(tmp_path) == PARTS
    return tmp_path / "a.zip"


def test_the_next_run_goes_on_too(site: Site, tmp_path: Path) -> None:
    final = interrupted(site, tmp_path)
    site.answers = [answer(stop=len(BODY) - HALF)]
    download(site.source(), final, patience=ONCE)
    assert final.read_bytes() == BODY
    assert site.requests[1]["Range"] == f"bytes={HALF}-"


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    final = interrupted(site, tmp_path)
    site.answers = [answer(ranges=False)]
    download(site.source(), final, patience=ONCE)
    assert final.read_bytes() == BODY


@pytest.mark.parametrize("careless", [False, True])
def test_bytes_of_two_versions_are_never_joined(careless: bool, site: Site, tmp_path: Path) -> None:
    site.body, site.etag = bytes(len(BODY)), '"v0"'
    final = interrupted(site, tmp_path)
    site.body, site.etag = BODY, '"v1"'
    site.answers = [answer(careless=careless)]
    download(site.source(), final, patience=QUICK)
    assert final.read_bytes() == BODY
    assert len(site.requests) == (3 if careless else 2)


@pytest.mark.parametrize("mark", ["", "[]", '{"url": "https://x/", "validator": "\\"v1\\""}', "{"])
def test_a_part_that_nothing_vouches_for_is_not_gone_on_with(
    mark: str, site: Site, tmp_path: Path
) -> None:
    final = interrupted(site, tmp_path)
    (tmp_path / PARTS[1]).write_text(mark)
    download(site.source(), final, patience=ONCE)
    assert "Range" not in site.requests[1]
    assert final.read_bytes() == BODY


@pytest.mark.parametrize("size", [len(BODY) + 1, len(BODY)])
def test_a_part_that_is_too_long_or_wrong_is_not_taken(
    size: int, site: Site, tmp_path: Path
) -> None:
    final = interrupted(site, tmp_path)
    (tmp_path / PARTS[0]).write_bytes(bytes(size))
    if size == len(BODY):
        with pytest.raises(DataError, match=r"SHA-256.*removed: run again"):
            download(site.source(), final, patience=ONCE)
        assert names(tmp_path) == []
    download(site.source(), final, patience=ONCE)
    assert final.read_bytes() == BODY


@pytest.mark.parametrize("length", [0, 100, len(BODY) - 1, len(BODY) + 1, 10**15])
def test_a_length_that_is_not_the_archive_s_is_refused(
    length: int, site: Site, tmp_path: Path
) -> None:
    site.answers = [answer(length=length)]
    with pytest.raises(DataError, match=f"announces {length} bytes"):
        download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert names(tmp_path) == []
    assert len(site.requests) == 1


def test_a_wrong_announcement_does_not_cost_the_part(site: Site, tmp_path: Path) -> None:
    final = interrupted(site, tmp_path)
    site.answers = [answer(ranges=False, length=5), answer(ranges=False, Content_Type="text/html")]
    for why in ("announces 5 bytes", "login or a notice"):
        with pytest.raises(EdgeError, match=why):
            download(site.source(), final, patience=QUICK)
        assert names(tmp_path) == PARTS
    download(site.source(), final, patience=QUICK)
    assert site.requests[3]["Range"] == f"bytes={HALF}-"


def test_a_stream_without_length_is_taken_up_to_the_size(site: Site, tmp_path: Path) -> None:
    site.answers = [chunked(b"")]
    download(site.source(), tmp_path / "a.zip", patience=ONCE)
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_more_than_the_size_is_refused(site: Site, tmp_path: Path) -> None:
    site.answers = [chunked(b"more")]
    with pytest.raises(DataError, match="sends more than"):
        download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert names(tmp_path) == []


def test_a_wrong_checksum_leaves_nothing_and_the_next_run_is_clean(
    site: Site, tmp_path: Path
) -> None:
    site.body = BODY[:-1] + bytes([BODY[-1] ^ 1])
    final = tmp_path / "a.zip"
    with pytest.raises(DataError, match=r"SHA-256.*removed: run again"):
        download(site.source(BODY), final, patience=QUICK)
    assert names(tmp_path) == []
    site.body = BODY
    download(site.source(), final, patience=QUICK)
    assert final.read_bytes() == BODY


def test_a_final_file_that_is_wrong_is_left_and_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"4 bytes.*remove the file"):
        download(site.source(), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_passing_error_is_tried_again(status: int, site: Site, tmp_path: Path) -> None:
    site.answers = [fails(status), fails(status)]
    download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert len(site.requests) == 3


@pytest.mark.parametrize("status", [403, 404, 410, 416])
def test_a_final_error_ends_the_run_and_keeps_the_part(
    status: int, site: Site, tmp_path: Path
) -> None:
    final = interrupted(site, tmp_path)
    site.answers = [fails(status)]
    with pytest.raises(EdgeError, match=f"answers {status}"):
        download(site.source(), final, patience=QUICK)
    assert len(site.requests) == 2
    download(site.source(), final, patience=QUICK)
    assert final.read_bytes() == BODY
    assert site.requests[2]["Range"] == f"bytes={HALF}-"


def test_tries_are_bounded(site: Site, tmp_path: Path) -> None:
    site.answers = [fails(500)] * 9
    with pytest.raises(EdgeError, match="3 tries in a row"):
        download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert len(site.requests) == 3
    assert names(tmp_path) == []


def test_tries_that_bring_enough_are_not_counted(site: Site, tmp_path: Path) -> None:
    site.answers = [answer(stop=50_000)] * 5
    download(site.source(), tmp_path / "a.zip", patience=replace(QUICK, step=50_000))
    assert len(site.requests) == 6


def test_a_stall_ends_at_the_timeout(site: Site, tmp_path: Path) -> None:
    site.answers = [stalls]
    start = time.monotonic()
    download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert time.monotonic() - start < 3
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert site.requests[1]["Range"] == f"bytes={HALF}-"


def test_a_server_that_never_answers_ends_at_the_timeout(site: Site, tmp_path: Path) -> None:
    site.answers = [lambda h: (h.server.ended.wait(5), None)[1]]
    with pytest.raises(EdgeError, match=r"timed out\), 1 tries"):
        download(site.source(), tmp_path / "a.zip", patience=ONCE)
    assert names(tmp_path) == []


@pytest.mark.parametrize("to", ["http://192.0.2.1/a", "ftp://127.0.0.1/a", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_refused(to: str, site: Site, tmp_path: Path) -> None:
    site.answers = [fails(302, Location=to)]
    with pytest.raises(EdgeError, match=r"redirects to|302"):
        download(site.source(), tmp_path / "a.zip", patience=QUICK)
    assert names(tmp_path) == []
    assert len(site.requests) == 1


def test_a_redirect_keeps_the_range(site: Site, tmp_path: Path) -> None:
    final = interrupted(site, tmp_path)
    site.answers = [fails(302, Location=site.url + "?2")]
    download(site.source(), final, patience=ONCE)
    assert final.read_bytes() == BODY
    assert site.requests[2]["Range"] == f"bytes={HALF}-"


def test_ctrl_c_keeps_the_part(site: Site, tmp_path: Path) -> None:
    def stop(_: str, done: int, __: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site.source(), tmp_path / "a.zip", progress=stop)
    assert names(tmp_path) == PARTS
    have = (tmp_path / PARTS[0]).stat().st_size
    download(site.source(), tmp_path / "a.zip")
    assert site.requests[1]["Range"] == f"bytes={have}-"
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_two_runs_do_not_write_one_part(site: Site, tmp_path: Path) -> None:
    with (tmp_path / PARTS[0]).open("wb") as other:
        other.write(b"theirs")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another run"):
            download(site.source(), tmp_path / "a.zip")
    assert (tmp_path / PARTS[0]).read_bytes() == b"theirs"


def test_a_disk_without_room_is_seen_before(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * len(BODY) - 1))
    with pytest.raises(EdgeError, match="are needed"):
        download(site.source(), tmp_path / "a.zip")
    assert (site.requests, names(tmp_path)) == ([], [])


CHILD = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
from edge_sdk.errors import EdgeError
from edge_sdk.fetch.download import Patience, download
from edge_sdk.fetch.sources import NIH_MALARIA
url, size, sha256, final, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
source = replace(NIH_MALARIA, url=url, bytes=int(size), sha256=sha256)
try:
    download(source, Path(final), patience=Patience(timeout_s=20))
except EdgeError as e:
    sys.exit(str(e))
"""


def child(site: Site, final: Path, limit: int = 0) -> subprocess.Popen[str]:
    source = site.source()
    arguments = [source.url, source.bytes, source.sha256, final, limit]
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_disk_that_fills_keeps_the_part(site: Site, tmp_path: Path) -> None:
    with child(site, tmp_path / "a.zip", limit=100_000) as process:
        _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "File too large. Its 100000 bytes are kept: make room and run again" in error
    assert names(tmp_path) == PARTS
    download(site.source(), tmp_path / "a.zip")
    assert site.requests[1]["Range"] == "bytes=100000-"
    assert (tmp_path / "a.zip").read_bytes() == BODY


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_is_gone_on_with(number: int, site: Site, tmp_path: Path) -> None:
    site.answers = [answer(stop=HALF, pause=lambda h: h.server.ended.wait(20))]
    part = tmp_path / PARTS[0]
    with child(site, tmp_path / "a.zip") as process:
        while not (part.exists() and part.stat().st_size == HALF):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=10)
    assert process.returncode == -number
    assert names(tmp_path) == PARTS
    download(site.source(), tmp_path / "a.zip")
    assert site.requests[1]["Range"] == f"bytes={HALF}-"
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]


# From here on: whole data sets.

CELLS = {
    "cell_images/Parasitized/C33P1thinF_IMG_20150619_114756a_cell_179.png": b"1",
    "cell_images/Parasitized/C47P8thinOriginalOlympusCX21_IMG_1_1_cell_1.png": b"2",
    "cell_images/Uninfected/C47P8thin_Original_Motic_IMG_1_1_cell_1.png": b"3",
    "cell_images/Uninfected/C5NThinF_IMG_20150609_121955_cell_1.png": b"4",
    "cell_images/Uninfected/Thumbs.db": b"5",
}
Entries = list[tuple[str | zipfile.ZipInfo, bytes]]


def zipped(more: Entries) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in [*CELLS.items(), *more]:
            z.writestr(name, content)
    return data.getvalue()


@pytest.fixture
def cells(site: Site) -> Source:
    site.body = zipped([])
    return site.source()


def test_the_folder_is_read_as_a_data_set_with_patients(cells: Source, tmp_path: Path) -> None:
    out = tmp_path / "cells"
    done = nih_malaria.fetch(out, source=cells)
    assert names(tmp_path) == ["cells"]
    assert names(out) == ["Parasitized", "SOURCE.txt", "Uninfected", "index.csv"]
    assert names(out / "Uninfected") == [n.split("/")[2] for n in sorted(CELLS)[2:4]]
    dataset = read_dataset(out)
    assert [i.label for i in dataset.items] == ["Parasitized"] * 2 + ["Uninfected"] * 2
    motic = "C47P8thin_Original_Motic"
    assert [i.group for i in dataset.items] == ["C33P1thinF", motic, motic, "C5NThinF"]
    with (out / "index.csv").open(newline="") as f:
        assert csv.DictReader(f).fieldnames == ["file", "label", "patient"]
    assert (done.images, done.patients) == ({"Parasitized": 2, "Uninfected": 2}, 3)
    assert [n for n in done.notes if "13779 were published" in n] == list(done.notes)
    assert len(done.notes) == 2
    assert cells.sha256 in (out / "SOURCE.txt").read_text()


def test_what_was_not_expected_is_said(site: Site, tmp_path: Path) -> None:
    site.body = zipped([("cell_images/Uninfected/odd.png", b"6"), ("run.exe", b"7")])
    notes = "\n".join(nih_malaria.fetch(tmp_path / "cells", source=site.source()).notes)
    assert "1 crops name no patient, the first is Uninfected/odd.png" in notes
    assert "1 other files were left out, the first is run.exe" in notes
    assert not list(tmp_path.rglob("run.exe"))


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("cell_images/Uninfected/C9NThinF_IMG_1_1_cell_1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


FIRST = next(iter(CELLS))
HOSTILE: dict[str, Entries] = {
    "dots": [("cell_images/Uninfected/../../../../escaped.png", b"x")],
    "absolute": [("/tmp/edge-sdk-escaped.png", b"x")],
    "drive": [("C:/escaped.png", b"x")],
    "backslash": [("..\\escaped.png", b"x")],
    "link": [(link(), b"../../..")],
    "collision": [(FIRST.replace("thinF", "THINF"), b"x")],
    "two roots": [(FIRST.replace("cell_images", "other"), b"x")],
    "bomb": [("cell_images/Uninfected/C9NThinF_IMG_1_1_cell_1.png", bytes(2_000_000))],
    "many": [(f"{n}", b"") for n in range(60)],
}


@pytest.mark.parametrize("kind", [*HOSTILE, "truncated", "no zip"])
def test_nothing_is_unpacked_of_an_archive_that_is_not_safe(
    kind: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nih_malaria, "BOUNDS", unpack.Bounds(50, 1_000_000))
    site.body = zipped(HOSTILE.get(kind, []))
    if kind == "truncated":
        site.body = site.body[:-40]
    if kind == "no zip":
        site.body = BODY
    here = tmp_path / "a" / "b"
    with pytest.raises(DataError):
        nih_malaria.fetch(here / "cells", source=site.source())
    assert names(here) == ["cells.zip"]
    assert names(tmp_path / "a") == ["b"]
    assert not list(tmp_path.rglob("*.png"))


def test_a_disk_that_fills_while_unpacking_leaves_the_archive(
    cells: Source, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(unpack.shutil, "copyfileobj", full)
        with pytest.raises(EdgeError, match="No space left"):
            nih_malaria.fetch(tmp_path / "cells", source=cells)
    assert names(tmp_path) == ["cells.zip"]
    done = nih_malaria.fetch(tmp_path / "cells", source=cells)
    assert len(site.requests) == 1
    assert names(tmp_path) == ["cells", "cells.zip"]
    assert "cells.zip was there before and is kept" in done.notes[-1]


def test_only_a_folder_of_its_own_is_replaced(cells: Source, site: Site, tmp_path: Path) -> None:
    out = tmp_path / "cells"
    nih_malaria.fetch(out, source=cells)
    with pytest.raises(UsageError, match="exists"):
        nih_malaria.fetch(out, source=cells)
    assert len(site.requests) == 1
    (out / "old").touch()
    nih_malaria.fetch(out, source=cells, replace_old=True)
    assert not (out / "old").exists()
    (out / "SOURCE.txt").unlink()
    requests = len(site.requests)
    with pytest.raises(UsageError, match="not made by this command"):
        nih_malaria.fetch(out, source=cells, replace_old=True)
    assert len(read_dataset(out)) == 4
    assert len(site.requests) == requests


@pytest.fixture
def invoke(cells: Source, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command, with the small archive in the place of the real one."""
    monkeypatch.setattr(sources, "NIH_MALARIA", replace(cells, url="https://192.0.2.1/a"))
    return lambda *a: CliRunner().invoke(cli, ["data", "fetch", *map(str, a)])


def test_the_command_fetches_and_says_what_it_got(
    invoke: Callable[..., Any], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("nih-malaria", "--url", site.url, "--keep-archive")
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == ["nih-malaria", "nih-malaria.zip"]
    assert "2 Parasitized, 2 Uninfected, of 3 patients (index.csv)" in result.stdout
    assert "note: 2 Parasitized crops, 13779 were published" in result.stdout
    assert "peerj.4568" in result.stdout
    result = invoke("nih-malaria", "--archive", "nih-malaria.zip", "--out", "again")
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == ["again", "nih-malaria", "nih-malaria.zip"]
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nih-malria"], "Did you mean nih-malaria"),
        (["nih-malaria", "--url", "http://example.org/a.zip"], "only https"),
        (["nih-malaria", "--url", "https://x/", "--archive", "y"], "--url does not go with"),
        (["nih-malaria", "--keep-archive", "--archive", "y"], "--keep-archive does not go with"),
        (["nih-malaria", "--archive", "missing.zip"], "missing.zip is no file"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(
    arguments: list[str], why: str, invoke: Callable[..., Any], tmp_path: Path
) -> None:
    result = invoke(*arguments, "--out", tmp_path / "out")
    assert isinstance(result.exception, EdgeError)
    assert why in str(result.exception)
    assert names(tmp_path) == []


def test_the_official_archive_is_the_one_that_was_looked_up() -> None:
    source = sources.NIH_MALARIA
    downloading.check_url(source.url)
    assert (source.bytes, len(source.sha256)) == (353_452_851, 64)
