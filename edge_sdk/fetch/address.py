"""Which addresses are fetched from: https, or this machine itself."""

from __future__ import annotations

import ipaddress
import urllib.request
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from edge_sdk.errors import UsageError


def check_url(url: str) -> None:
    """Raises UsageError for an address that is no plain https one (http: loopback only)."""
    try:
        parts = urlsplit(url)
        host, secret = parts.hostname, parts.username or parts.password
        parts.port  # noqa: B018 - it raises
    except ValueError as e:
        raise UsageError(f"--url {url!r} is no address: {e}") from e
    if not host or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise UsageError(f"--url {url!r} is no address: expected https://HOST/PATH")
    if secret:
        raise UsageError(f"--url names a user of {host}: only public addresses are fetched from")
    if parts.scheme != "https" and not is_loopback(url):
        raise UsageError(
            f"--url {url}: only https is fetched from, {parts.scheme or 'no scheme'} is not "
            "protected on its way"
        )


def is_loopback(url: str) -> bool:
    """Whether the address is http or https on this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
    return here and parts.scheme in ("http", "https")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where `check_url` allows; to this machine only from this machine."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_url(newurl)
            if is_loopback(newurl) and not is_loopback(req.full_url):
                raise UsageError("it points at this machine itself")
        except UsageError as e:
            fp.close()
            raise UsageError(f"{req.full_url} redirects to {newurl}: {e}") from e
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener(url: str) -> urllib.request.OpenerDirector:
    """What opens `url`. The environment's proxies are used, except for this machine itself."""
    local = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
    return urllib.request.build_opener(_Redirects(), *local)
