"""A page to review flagged cells on: a grid by probability; keyboard or touch, from 360 px on.

Served on loopback by the standard library. The token is in the address that is opened; every
request needs it, and a verdict says what it replaces, so that one sent twice changes nothing.
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edge_sdk.errors import DataError, EdgeError
from edge_sdk.screening.record import VERDICTS, FlaggedCell, Verdict
from edge_sdk.screening.report_cells import by_probability
from edge_sdk.screening.review_html import review_html

Verdicts = Mapping[int, Verdict | None]
MOST_BYTES = 100_000  # of a request
HOST = "127.0.0.1"


@dataclass(frozen=True)
class ReviewCells:
    """cells: in any order. thumbnails: PNG by cell number. sizes: (width, height) of fields'
    pictures by number, fields: PNG or JPEG of a field by number; None where it was purged."""

    cells: tuple[FlaggedCell, ...]
    thumbnails: Mapping[int, bytes]
    sizes: Mapping[int, tuple[int, int]]
    field: Callable[[int], bytes | None]
    simulated: bool
    language: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    kind: str = "application/json"


class Review:
    """What the page shows and what was said on it. `address`: to open; `run` works until a person
    ends the review, and calls `apply` in its own thread, one call at a time."""

    def __init__(
        self, shown: ReviewCells, apply: Callable[[Verdicts], None], address: str, token: str
    ) -> None:
        self.address, self.token = address, token
        self._shown, self._apply = shown, apply
        self._verdicts = {c.number: c.verdict for c in shown.cells}
        self._work: queue.Queue[tuple[Callable[[], Answer], Future[Answer]]] = queue.Queue()
        self._done = False

    def run(self) -> None:
        while not self._done:
            self.step(None)

    def step(self, timeout: float | None) -> None:
        """Answers one request that changes something; raises queue.Empty when none came."""
        work, answer = self._work.get(timeout=timeout)
        try:
            answer.set_result(work())
        except BaseException as e:
            answer.set_exception(e)
            raise

    def get(self, path: str, query: Mapping[str, Sequence[str]], nonce: str) -> Answer:
        if path == "/":
            s = self._shown
            cells = [self._plain(c) for c in by_probability(s.cells)]
            page = review_html(cells, self.token, s.language, nonce, simulated=s.simulated)
            return Answer(200, page.encode("utf-8"), "text/html; charset=utf-8")
        pictures: Callable[[int], bytes | None]
        if path == "/cell":
            pictures = self._shown.thumbnails.get
        elif path == "/field":
            known = {c.field for c in self._shown.cells}
            pictures = lambda n: self._shown.field(n) if n in known else None  # noqa: E731
        else:
            return refusal(404, "no such page")
        number = (query.get("n") or [""])[0]
        found = pictures(int(number)) if number.isdecimal() and len(number) < 10 else None
        if found is None:
            return refusal(404, "no such picture")
        kind = "image/png" if found.startswith(b"\x89PNG") else "image/jpeg"
        return Answer(200, found, kind)

    def post(self, path: str, body: Any) -> Answer:
        """Waits for `run`, in whose thread the session is."""
        if path == "/verdict":
            work = lambda: self._verdict(body)  # noqa: E731
        elif path == "/done":
            work = self._finish
        else:
            return refusal(404, "no such page")
        if self._done:
            return refusal(410, "the review has ended")
        answer: Future[Answer] = Future()
        self._work.put((work, answer))
        return answer.result()

    def _verdict(self, body: Any) -> Answer:
        keys = {"cell", "was", "now"}
        if not isinstance(body, dict) or set(body) != keys or type(body["cell"]) is not int:
            return refusal(400, "needs cell, was and now")
        cell, was, now = body["cell"], body["was"], body["now"]
        if cell not in self._verdicts or any(v not in (*VERDICTS, None) for v in (was, now)):
            return refusal(400, f"verdict must be one of {', '.join(VERDICTS)} or null")
        if self._verdicts[cell] != was:
            return Answer(409, json.dumps({"verdicts": self._verdicts}).encode())
        if now != was:
            try:
                self._apply({cell: now})
            except EdgeError as e:
                return refusal(500, str(e))
            self._verdicts[cell] = now
        return Answer(200, json.dumps({"cell": cell, "now": now}).encode())

    def _finish(self) -> Answer:
        self._done = True
        return Answer(200, b"{}")

    def _plain(self, c: FlaggedCell) -> dict[str, Any]:
        return {
            "cell": c.number,
            "field": c.field,
            "box": c.box,
            "size": self._shown.sizes.get(c.field),
            "probability": c.probability,
            "verdict": self._verdicts[c.number],
            "picture": c.number in self._shown.thumbnails,
        }


def refusal(status: int, why: str) -> Answer:
    return Answer(status, json.dumps({"error": why}).encode())


@contextmanager
def served(
    shown: ReviewCells, apply: Callable[[Verdicts], None], port: int = 0
) -> Iterator[Review]:
    """Serves the page on loopback while the block lasts; port 0: any free one.

    apply: is given {cell number: verdict, None to take it back} after each decision and stores it;
    what it raises as an EdgeError is shown on the page, and the verdict is not taken."""
    try:
        server = _Server((HOST, port), _Handler)
    except (OSError, OverflowError) as e:
        raise DataError(f"port {port} of {HOST} cannot be served on: {e}; choose another") from e
    token = secrets.token_urlsafe(24)
    here = f"{HOST}:{server.server_port}"
    review = Review(shown, apply, f"http://{here}/?token={token}", token)
    server.review = review
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield review
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a request may still wait for `run`, which has ended
    request_queue_size = 128  # a grid asks for all of its pictures at once
    review: Review


class _Handler(BaseHTTPRequestHandler):
    timeout = 20  # seconds; a browser opens connections that it may never use

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = parse_qs(where.query)
        nonce = secrets.token_urlsafe(12)
        answer = self._refused((query.get("token") or [""])[0])
        self._send(answer or self._server.review.get(where.path, query, nonce), nonce)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        answer = self._refused(self.headers.get("X-Token", ""))
        if answer is None and self.headers.get("Origin", f"http://{self._here}") != (
            f"http://{self._here}"
        ):
            answer = refusal(403, "another page's request")
        if answer is None and not (length.isdecimal() and int(length) <= MOST_BYTES):
            answer = refusal(413, f"a request has at most {MOST_BYTES} bytes")
        if answer is None:
            try:
                body = json.loads(self.rfile.read(int(length)) or b"null")
            except (ValueError, RecursionError):
                answer = refusal(400, "not JSON")
            else:
                answer = self._server.review.post(urlsplit(self.path).path, body)
        self._send(answer)

    @property
    def _server(self) -> _Server:
        assert isinstance(self.server, _Server)
        return self.server

    @property
    def _here(self) -> str:
        return f"{HOST}:{self._server.server_port}"

    def _refused(self, token: str) -> Answer | None:
        # A name that was made to point at loopback is another page's doing.
        if self.headers.get("Host") != self._here:
            return refusal(403, "another host's request")
        if not hmac.compare_digest(token.encode(), self._server.review.token.encode()):
            return refusal(403, "wrong token: open the address that the program printed")
        return None

    def _send(self, answer: Answer, nonce: str = "") -> None:
        self.send_response(answer.status)
        for name, value in {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; "
            f"connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the address in it has the token."""
