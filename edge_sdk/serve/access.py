"""Who may ask for what: the one door of `edge-sdk serve`.

A token opens a visit, a random value in a cookie; every request is held against the names of this
machine, every POST against its own page's origin and the visit's second value.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
import traceback
from asyncio import wait_for
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_sdk.errors import EdgeError
from edge_sdk.live.log import ERROR, Log
from edge_sdk.serve.settings import ServeSettings

MOST_BYTES = 64 * 1024  # of a request's body
BODY_S = 10.0  # for all of it
VISIT_S = 12 * 3600.0
MOST_VISITS = 64
WRONG, WRONG_ANYWHERE, WINDOW_S = 5, 100, 60.0  # wrong tokens of one address, of all, before a wait
OPEN = ("/enter", "/static/", "/sw.js", "/manifest.webmanifest", "/favicon.ico")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # With no-referrer a browser's form would send `Origin: null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class WrongTokenError(EdgeError):
    """wait_s: how long no token is looked at; 0 where the next one is."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Visit:
    """cookie: what the browser holds; csrf: what its pages hold besides; until_s: by the clock."""

    cookie: str
    csrf: str
    until_s: float


@dataclass
class Door:
    """Visits and wrong tokens, in memory: a restart ends every visit."""

    token: str
    clock: Callable[[], float] = time.monotonic
    _visits: dict[str, Visit] = field(default_factory=dict)
    _wrong: dict[str, deque[float]] = field(default_factory=dict)
    _anywhere: deque[float] = field(default_factory=lambda: deque(maxlen=WRONG_ANYWHERE))

    def enter(self, token: str, address: str) -> Visit:
        """A new visit. Raises WrongTokenError, also for the right token while there is a wait."""
        now = self.clock()
        wrong = self._wrong.get(address, deque(maxlen=WRONG))
        waits = [
            seen[0] + WINDOW_S - now
            for seen, most in ((wrong, WRONG), (self._anywhere, WRONG_ANYWHERE))
            if len(seen) == most and now < seen[0] + WINDOW_S
        ]
        if waits:
            wait_s = max(waits)
            raise WrongTokenError(f"too many wrong tokens: wait {wait_s:.0f} s", wait_s)
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            self._forget(now)
            self._wrong.setdefault(address, wrong).append(now)
            self._anywhere.append(now)
            raise WrongTokenError(
                "wrong token: it is the one that the program printed, or its file's"
            )
        self._wrong.pop(address, None)
        if len(self._visits) >= MOST_VISITS:
            del self._visits[next(iter(self._visits))]
        visit = Visit(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + VISIT_S)
        self._visits[_digest(visit.cookie)] = visit
        return visit

    def _forget(self, now: float) -> None:
        """Addresses whose last wrong token is long ago."""
        self._wrong = {a: w for a, w in self._wrong.items() if now < w[-1] + WINDOW_S}

    def visit(self, cookie: str) -> Visit | None:
        # By its hash: how long a look-up takes says nothing of the values that are there.
        found = self._visits.get(_digest(cookie))
        if found is None or self.clock() >= found.until_s:
            self._visits.pop(_digest(cookie), None)
            return None
        return found


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def cookie_name(settings: ServeSettings) -> str:
    """Cookies are shared by all ports of a host; a prefix makes browsers insist on HTTPS."""
    return (
        f"__Host-edge-serve-{settings.port}" if settings.secure else (f"edge-serve-{settings.port}")
    )


class Access:
    """ASGI middleware: refuses, or puts the visit into scope["visit"]."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, door: Door) -> None:
        self._app, self._settings, self._door = app, settings, door
        self._cookie = cookie_name(settings)
        self._log = Log()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        send = guarded = Guarded(send)
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is None and scope["method"] == "POST":
            body = await _body(headers, receive)
            refused = body if isinstance(body, Refusal) else None
            receive = _replayed(body if isinstance(body, bytes) else b"", receive)
        if refused is not None:
            await _answer(refused, scope, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as e:
            for line in "".join(traceback.format_exception(e)).splitlines():
                self._log(line, ERROR)
            if guarded.started:
                raise
            told = f"the program failed ({type(e).__name__}): its log on the device says more"
            await _answer(Refusal(503, told), scope, send)

    def _refused(self, scope: Scope, headers: Headers) -> Refusal | None:
        method, path = scope["method"], scope["path"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_here(_name(hosts[0]), scope):
            return Refusal(403, "another host's request: open the address that the program printed")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, f"method {method[:20]}: GET, HEAD and POST are answered")
        origin = f"{'https' if self._settings.secure else 'http'}://{hosts[0]}"
        if method == "POST" and headers.getlist("origin") != [origin]:
            return Refusal(403, "another page's request")
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        visit = scope["visit"] = self._door.visit(cookie) if cookie else None
        if path.startswith(OPEN):
            return None
        if visit is None:
            return Refusal(401, "no access: enter the token again")
        if method == "POST" and not hmac.compare_digest(
            headers.get("x-csrf", "").encode(), visit.csrf.encode()
        ):
            return Refusal(403, "this page is of an earlier visit: load it again")
        return None

    def _is_here(self, name: str, scope: Scope) -> bool:
        if name in self._settings.names:
            return True
        # The address itself that the connection came to: no DNS has led it here.
        server = str((scope.get("server") or ("",))[0]).removeprefix("::ffff:")
        return name == server and _is_address(name)


@dataclass(frozen=True)
class Refusal:
    status: int
    why: str


def _name(host: str) -> str:
    """Of a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _body(headers: Headers, receive: Receive) -> bytes | Refusal:
    too_long = Refusal(413, f"a request has at most {MOST_BYTES} bytes")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return Refusal(400, "Content-Length is no number")
    if len(length) > 10 or int(length) > MOST_BYTES:
        return too_long
    body = b""
    try:
        while True:
            message = await wait_for(receive(), BODY_S)
            body += bytes(message.get("body", b""))
            if len(body) > MOST_BYTES:
                return too_long
            if not message.get("more_body"):
                return body
    except TimeoutError:
        return Refusal(400, f"the request was not whole after {BODY_S:g} s")


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class Guarded:
    """Adds the headers that every answer has; `started`: whether there is one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


async def _answer(refused: Refusal, scope: Scope, send: Send) -> None:
    """In JSON; a page that needs a token leads to where it is entered."""
    plain = scope["method"] == "GET" and not scope["path"].startswith("/api/")
    to_enter = refused.status == 401 and plain
    body = b"" if to_enter else json.dumps({"error": refused.why}).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    if to_enter:
        headers.append((b"location", b"/enter"))
    if refused.status == 413:
        headers.append((b"connection", b"close"))
    status = 303 if to_enter else refused.status
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
