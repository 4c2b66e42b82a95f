"""A small HTTP server in a thread, for the metrics and the live page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from edge_sdk.errors import UsageError

# A reader that says nothing for so long is let go of; more at once than this are turned away.
PATIENCE_S, AT_ONCE = 5.0, 8
Query = dict[str, list[str]]


class Reply(tuple[int, str, bytes]):
    """Status, content type, body."""


Answerer = Callable[[str, Query], Reply]


def reply(status: int, kind: str, body: bytes) -> Reply:
    return Reply((status, kind, body))


class LocalServer:
    """Answers GET and HEAD with what `answer` gives for a path and its query. port 0 takes a free
    one; `port` says which. Raises UsageError where the address cannot be had."""

    def __init__(self, what: str, address: str, port: int, answer: Answerer) -> None:
        places = threading.BoundedSemaphore(AT_ONCE)

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE_S
            server_version, sys_version = "edge-sdk", ""

            def do_GET(self) -> None:
                if not places.acquire(blocking=False):
                    self._send(reply(503, "text/plain", b"busy\n"))
                    return
                try:
                    parts = urlsplit(self.path)
                    self._send(answer(parts.path, parse_qs(parts.query)))
                except ValueError:
                    self._send(reply(400, "text/plain", b"bad request\n"))
                finally:
                    places.release()

            do_HEAD = do_GET  # noqa: N815

            def _send(self, given: Reply) -> None:
                status, kind, body = given
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("X-Frame-Options", "DENY")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent: its lines would carry the token."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A reader that went away is no news."""

        try:
            self._server = Server((address, port), Handler)
        except (OSError, OverflowError) as e:
            raise UsageError(
                f"{what}: {address}:{port} cannot be had: {getattr(e, 'strerror', e)}"
            ) from e
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name=what, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
