"""The program itself: its socket, its certificate, its signals; everything else is in app.py."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from edge_sdk.errors import UsageError
from edge_sdk.live.log import Log
from edge_sdk.serve.settings import ServeSettings, check_settings

CONNECTIONS = 100
SHUTDOWN_S = 5


def run(
    settings: ServeSettings,
    *,
    certificate: Path | None,
    private_key: Path | None,
    show_token: bool,
    echo: Callable[[str], None],
) -> None:
    """Serves until SIGTERM or SIGINT. show_token: in the address that is printed, once.

    Raises UsageError for an address that cannot be had or a certificate that does not fit."""
    try:
        import uvicorn

        from edge_sdk.serve.access import Door
        from edge_sdk.serve.app import create_app
        from edge_sdk.serve.work import Work
    except ModuleNotFoundError as e:
        raise UsageError(
            f"serve needs the package {e.name}: pip install 'edge-sdk[serve,screening]'"
        ) from e
    check_settings(settings)
    _check_certificate(certificate, private_key)
    with closing(_bound(settings.host, settings.port)) as listening:
        settings = replace(settings, port=listening.getsockname()[1])
        work = Work(settings)
        app = create_app(work, Door(settings.token))
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,  # its access log would hold the token
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ssl_certfile=certificate,
            ssl_keyfile=private_key,
        )
        _tell(settings, show_token, echo)
        try:
            with _signals_end_it():
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            work.close()


def _tell(settings: ServeSettings, show_token: bool, echo: Callable[[str], None]) -> None:
    first, *more = settings.addresses()
    echo(f"open {first}/enter" + (f"?token={settings.token}" if show_token else ""))
    for address in more:
        echo(f"also {address}/enter")
    if not settings.secure and not all("127.0.0.1" in a for a in (first, *more)):
        Log().warn(
            "without --certificate everything can be read on this network, the token too: use it "
            "on a network of your own only"
        )


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """uvicorn takes them, ends, and then raises them again for whoever had them before: here that
    is nobody, so that the program ends with status 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    old = {n: signal.signal(n, lambda *_: None) for n in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as e:
        listening.close()
        raise UsageError(
            f"--host {host} --port {port} cannot be served on: {e.strerror or e}; choose another"
        ) from e
    return listening


def _check_certificate(certificate: Path | None, private_key: Path | None) -> None:
    if (certificate is None) != (private_key is None):
        raise UsageError("--certificate and --private-key belong together")
    if certificate is None:
        return
    try:
        # Never asks for a pass phrase: there is nobody to give it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, private_key, password=lambda: ""
        )
    except (OSError, ssl.SSLError, ValueError) as e:
        raise UsageError(
            f"--certificate {certificate} with --private-key {private_key}: {e}; both are PEM, the "
            "key without a pass phrase"
        ) from e
