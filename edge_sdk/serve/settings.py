"""What `edge-sdk serve` was told on the command line; a browser changes nothing of it."""

from __future__ import annotations

import fcntl
import ipaddress
import secrets
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_sdk.artifact import Artifact
from edge_sdk.camera import camera_class
from edge_sdk.errors import ArtifactError, UsageError
from edge_sdk.live.settings import check_camera_options

LEAST_TOKEN = 16  # letters
SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class ServeSettings:
    """sessions: folder of all slides. artifact: the model of new ones; calibration: the site's
    file, None for none. camera, camera_options: of new slides. token: opens the pages. names:
    hosts that the pages are asked for by. device: this unit's name."""

    sessions: Path
    artifact: Artifact
    token: str
    camera: str = "picamera2"
    camera_options: Mapping[str, Any] = field(default_factory=dict)
    calibration: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    secure: bool = False
    backend: str = "auto"
    threads: int = 1
    device: str = "unnamed"
    names: frozenset[str] = frozenset({"localhost", "127.0.0.1", "::1"})

    @property
    def cameras(self) -> tuple[str, ...]:
        """What a browser may choose from."""
        return tuple(dict.fromkeys((self.camera, "simulated")))

    def addresses(self) -> tuple[str, ...]:
        """Where the pages are, loopback last."""
        scheme = "https" if self.secure else "http"
        hosts = local_addresses() if _everywhere(self.host) else (self.host,)
        return tuple(f"{scheme}://{f'[{h}]' if ':' in h else h}:{self.port}" for h in hosts)


def check_settings(settings: ServeSettings) -> None:
    """Raises UsageError, or ArtifactError where slides of that camera cannot be screened."""
    camera_class(settings.camera)
    if settings.camera != "simulated":
        check_camera_options(settings.camera, settings.camera_options)
        if settings.artifact.manifest.screening is None:
            raise ArtifactError(
                f"{settings.artifact.path} has no slide rule in its manifest: choose thresholds on "
                "validation patients first (edge-sdk screen rule), or serve --camera simulated"
            )


def read_token(path: Path | None) -> str:
    """The token of a file, or a new one. Raises UsageError for a file that does not hold one."""
    if path is None:
        return secrets.token_urlsafe(24)
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as e:
        raise UsageError(f"--token-file {path} cannot be read: {e}") from e
    if len(token) < LEAST_TOKEN or not token.isprintable() or " " in token:
        raise UsageError(
            f"--token-file {path}: a token has at least {LEAST_TOKEN} letters without a space"
        )
    return token


def host_names(host: str) -> frozenset[str]:
    """What the pages may be asked for as, beside the address that a connection came to: a page of
    another name was led here by somebody's DNS."""
    own = socket.gethostname().lower().rstrip(".")
    short = own.partition(".")[0]
    names = {"localhost", "127.0.0.1", "::1", host.lower(), own, short, f"{short}.local"}
    return frozenset(n for n in (*names, *_resolved(host)) if n)


def local_addresses() -> tuple[str, ...]:
    """This machine's IPv4 addresses, one of each interface, loopback last."""
    found = dict.fromkeys(filter(None, (_interface(name) for _, name in socket.if_nameindex())))
    return tuple(sorted(found, key=lambda a: ipaddress.ip_address(a).is_loopback))


def _interface(name: str) -> str | None:
    """An interface's address (netdevice(7)), None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            told = fcntl.ioctl(s, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(told[20:24])


def _resolved(name: str) -> list[str]:
    try:
        rows = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return []
    return [str(r[4][0]) for r in rows if "%" not in str(r[4][0])]


def _everywhere(host: str) -> bool:
    return host in ("0.0.0.0", "::")
