"""Where things lie on the device, below a root that is / except for images and tests.

opt/edge-sdk/releases/<version>/   a bundle, unpacked: site/ model/ selftest/ run.py ...
opt/edge-sdk/current               link to the release that runs
opt/edge-sdk/bin/                  edge-sdk-device, edge-classify, edge-sdk, of `current`
etc/edge-sdk/                      trusted_keys, config.toml: the device's own
var/lib/edge-sdk/                  state.json, lock
run/edge-sdk/heartbeat.json        written by the service
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("edge-sdk-device", "edge-classify", "edge-sdk")
UNIT = "edge-sdk.service"
SERVE_UNIT = "edge-sdk-serve.service"  # in bundles made --with serve
UNITS = {"classify": UNIT, "serve": SERVE_UNIT}


@dataclass(frozen=True)
class Layout:
    root: Path

    @property
    def opt(self) -> Path:
        return self.root / "opt" / "edge-sdk"

    @property
    def releases(self) -> Path:
        return self.opt / "releases"

    @property
    def current(self) -> Path:
        return self.opt / "current"

    @property
    def bin(self) -> Path:
        return self.opt / "bin"

    @property
    def trusted_keys(self) -> Path:
        return self.root / "etc" / "edge-sdk" / "trusted_keys"

    @property
    def config(self) -> Path:
        return self.root / "etc" / "edge-sdk" / "config.toml"

    def unit(self, name: str = UNIT) -> Path:
        return self.root / "etc" / "systemd" / "system" / name

    def wanted(self, name: str) -> Path:
        """What makes systemd start a unit with the system."""
        return self.unit().parent / "multi-user.target.wants" / name

    def service(self) -> str:
        """The unit that this device runs: the pages' where they were chosen, else the
        classifier's."""
        return SERVE_UNIT if self.wanted(SERVE_UNIT).is_symlink() else UNIT

    @property
    def user_file(self) -> Path:
        return self.root / "etc" / "sysusers.d" / "edge-sdk.conf"

    @property
    def links(self) -> list[Path]:
        return [self.root / "usr" / "local" / "bin" / name for name in COMMANDS]

    @property
    def var(self) -> Path:
        return self.root / "var" / "lib" / "edge-sdk"

    @property
    def state(self) -> Path:
        return self.var / "state.json"

    @property
    def lock(self) -> Path:
        return self.var / "lock"

    @property
    def heartbeat(self) -> Path:
        return self.root / "run" / "edge-sdk" / "heartbeat.json"

    def current_name(self) -> str | None:
        """The folder of the release that runs; None where `current` leads nowhere."""
        try:
            name = Path(os.readlink(self.current)).name  # noqa: PTH115
        except OSError:
            return None
        return name if (self.releases / name).is_dir() else None
