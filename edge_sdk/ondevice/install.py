"""Install, update, roll back: after any step the old release runs, or the new one, never none.

unpack beside -> self-test there -> rename to releases/<version> -> remember the old one -> switch
`current` by one rename -> restart the service -> healthy: confirm; not healthy: switch back.
Whatever was begun is begun again by the next call: leftovers have names with a dot in front.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.errors import BundleError, DeviceError
from edge_sdk.ondevice import disk
from edge_sdk.ondevice.bundle_file import BundleFile, trust_line, version_key
from edge_sdk.ondevice.layout import COMMANDS, UNITS, Layout
from edge_sdk.ondevice.release import (
    DEBIAN,
    RUN,
    check_space,
    check_target,
    check_version,
    damage,
    device_arch,
    device_python,
    digest_of,
    has_module,
    read_record,
    unpack,
)
from edge_sdk.ondevice.selftest import CLOSE, NEAR_STEPS, Result
from edge_sdk.ondevice.service import Services
from edge_sdk.ondevice.state import State, locked, read_state, write_state
from edge_sdk.strict import from_plain

STAGING = ".new"
SELFTEST_S = 300.0
STARTS = 3
USER_FILE = "edge-sdk.conf"
WRAPPER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec {python} -I "$here/../current/run.py" {name} "$@"
"""
SAID = {
    "bytes": "the same bytes as on the workstation",
    "near": f"within {NEAR_STEPS} steps of the workstation's answers",
    "close": f"within {CLOSE} of the workstation's answers",
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Installed:
    """release: its folder's name. before: of the one that ran until now."""

    release: str
    before: str | None
    selftest: Result


def install(
    path: Path,
    layout: Layout,
    services: Services,
    *,
    trust: Path | None = None,
    allow_older: bool = False,
    say: Say,
) -> Installed:
    """Raises BundleError for a bundle that is refused (nothing was changed then), DeviceError for a
    failed self-test or a release that was rolled back, OSError for the disk."""
    keys = _keys_line(layout, trust)
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        trusted = layout.trusted_keys
        if keys is not None:
            trusted = Path(folder) / "trusted_keys"
            trusted.write_text(keys, encoding="utf-8")
        opened = BundleFile(path, trusted)
    with opened as bundle:
        record = bundle.record
        say(f"{record.name} {record.version} for {record.target.profile}: signature is right")
        check_target(record.target, device_arch(), device_python())
        with locked(layout):
            if keys is not None:
                disk.write_whole(layout.trusted_keys, keys.encode())
            if not allow_older:
                _check_version(bundle, layout)
            name, tested = _place(bundle, layout, say)
            return _switch_to(name, tested, layout, services, say)


def trust_key(layout: Layout, key: Path) -> None:
    """Adds a key to the trusted ones: whoever can run this as root may."""
    line = _read_key(key)
    with locked(layout):
        old = layout.trusted_keys.read_text() if layout.trusted_keys.is_file() else ""
        if line not in old:
            disk.write_whole(layout.trusted_keys, (old + line).encode())


def rollback(layout: Layout, services: Services, say: Say) -> str:
    """Back to the release before. Returns its name."""
    with locked(layout):
        left, target = layout.current_name(), earlier(layout)
        if target is None:
            raise DeviceError("there is no earlier release to go back to")
        write_state(layout, State(previous=left))
        _point(layout, target)
        if problem := services.restart():
            raise DeviceError(f"went back to {target}, but it is not healthy: {problem}")
        say(f"{target} runs; {left} is kept: a second rollback returns to it")
        return target


def choose_service(layout: Layout, services: Services, choice: str, say: Say) -> None:
    """choice: of UNITS. Raises DeviceError where the release has no such service, or it does not
    come up."""
    unit = UNITS[choice]
    with locked(layout):
        if not layout.unit(unit).is_file():
            raise DeviceError(
                f"the release on this device has no {unit}: install a bundle made --with {choice}"
            )
        services.stop()
        _start_with_system(layout, unit)
        if problem := services.restart():
            raise DeviceError(f"{unit} is chosen but not healthy: {problem}")
        say(f"{unit} runs now, and after each start of the system")


def earlier(layout: Layout) -> str | None:
    """The release to go back to: the one remembered, else the newest other one there is."""
    current, remembered = layout.current_name(), read_state(layout).previous
    if not layout.releases.is_dir():
        return None
    others = [p.name for p in layout.releases.iterdir() if p.name[0] != "." and p.name != current]
    if remembered in others:
        return remembered
    return max(others, key=lambda n: version_key(n.partition("~")[0]), default=None)


def starting(layout: Layout, say: Say) -> None:
    """Before each start of the service: a release on trial that began STARTS times and never came
    up healthy gives way to the one before. Does nothing while an installer is at work."""
    with suppress(DeviceError), locked(layout):
        sweep(layout)
        state, current, before = read_state(layout), layout.current_name(), earlier(layout)
        if state.trial is None or state.trial != current:
            return
        if state.starts < STARTS or before is None:
            write_state(layout, replace(state, starts=state.starts + 1))
            return
        say(f"{current} did not come up healthy {STARTS} times: back to {before}")
        _point(layout, before)
        write_state(layout, State())
        disk.remove(layout.releases / current)


def healthy(layout: Layout) -> None:
    """After the service said that it is ready: its release is no longer on trial."""
    with suppress(DeviceError), locked(layout):
        state = read_state(layout)
        if state.trial is not None:
            write_state(layout, State(previous=state.previous))


def uninstall(layout: Layout, services: Services, *, purge: bool) -> None:
    """Removes everything but the device's own configuration and keys; with `purge` these too."""
    with locked(layout):
        services.stop()
        units = [f(unit) for unit in UNITS.values() for f in (layout.wanted, layout.unit)]
        for path in (*units, layout.user_file, *layout.links, layout.opt):
            disk.remove(path)
        disk.remove(layout.state)
        if purge:
            disk.remove(layout.config.parent)


# --- before the switch ---------------------------------------------------------------------------


def _keys_line(layout: Layout, trust: Path | None) -> str | None:
    """What becomes the file of trusted keys; None: it is there already. Keys are put there once:
    a stick that brings a bundle must not bring the trust in it."""
    if trust is None:
        return None
    line = _read_key(trust)
    if not layout.trusted_keys.is_file():
        return line
    if line in layout.trusted_keys.read_text(encoding="utf-8"):
        return None
    raise BundleError(
        f"{layout.trusted_keys} trusts another key already: leave --trust out, or add this one "
        f"with `sudo edge-sdk-device trust {trust}`"
    )


def _read_key(key: Path) -> str:
    try:
        return trust_line(key.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise BundleError(f"key {key} cannot be read: {e}") from e


def _check_version(bundle: BundleFile, layout: Layout) -> None:
    current = layout.current_name()
    if current is None:
        return
    try:
        installed = read_record(layout.releases / current)
    except BundleError:
        return  # damaged: any whole release is better
    check_version(
        bundle.record.version,
        installed.version,
        same=bundle.digest == digest_of(layout.releases / current),
    )


def _place(bundle: BundleFile, layout: Layout, say: Say) -> tuple[str, Result]:
    """A whole, tested release in releases/; its name. One that is there already is used again."""
    disk.make_folder(layout.releases)
    sweep(layout)
    name = _free_name(bundle, layout)
    release = layout.releases / name
    if release.is_dir():
        say(f"{name} is unpacked already")
        return name, run_selftest(release)
    staging = layout.releases / STAGING
    try:
        free = shutil.disk_usage(layout.releases).free
        check_space(str(layout.releases), bundle.record.unpacked_bytes, free)
        disk.make_folder(staging)
        say("unpacking")
        unpack(bundle, staging)
        tested = run_selftest(staging)
        say(f"self-test: {tested.cases} pictures, {SAID[tested.compare]}")
        disk.sync_all()
        disk.rename(staging, release)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(staging, ignore_errors=True)
        raise
    return name, tested


def _free_name(bundle: BundleFile, layout: Layout) -> str:
    """The version; with ~2, ~3 where a folder of that name holds something else or is damaged and
    may be the one that runs. A whole release of this very bundle is taken as it is."""
    keep = {layout.current_name(), earlier(layout)}
    version, number = bundle.record.version, 1
    while True:
        name = version if number == 1 else f"{version}~{number}"
        folder = layout.releases / name
        if not folder.exists():
            return name
        if digest_of(folder) == bundle.digest and damage(folder) is None:
            return name
        if name not in keep:
            disk.remove(folder)
            return name
        number += 1


def run_selftest(release: Path) -> Result:
    """The release's own program tests itself, in a process of its own. As root it leaves the
    bytecode of what it imported, and of nothing else, beside the sources."""
    lacking = [m for m in read_record(release).target.system if not has_module(m)]
    if lacking:
        raise DeviceError(
            f"this device's Python lacks {', '.join(lacking)}: install "
            f"{' and '.join(DEBIAN.get(m, m) for m in lacking)} from its system (apt), then again"
        )
    command = [sys.executable, "-I", str(release / RUN), "edge-sdk-device", "selftest", "--json"]
    disk.before("self-test", release)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SELFTEST_S, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired as e:
        raise DeviceError(f"the self-test gave no answer within {SELFTEST_S:g} s") from e
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-400:].removeprefix("error: ")
        why = said or f"it ended with status {done.returncode} on {device_arch()}"
        raise DeviceError(f"the self-test failed, nothing was switched: {why}")
    return from_plain(Result, json.loads(done.stdout), "self-test", DeviceError)


# --- the switch ----------------------------------------------------------------------------------


def _switch_to(
    name: str, tested: Result, layout: Layout, services: Services, say: Say
) -> Installed:
    before, older = layout.current_name(), earlier(layout)
    previous = older if before == name else before
    # One that is on trial already was cut off before it was confirmed or taken back.
    on_trial = before == name and read_state(layout).trial == name
    again = before == name and not on_trial
    back = None if again else older if on_trial else before
    write_state(layout, State(previous=previous, trial=None if again else name))
    _point(layout, name)
    say(f"switched to {name}; service: {services.name}")
    problem = services.restart() if services.manages else _first_run(layout)
    if problem and back is not None:
        _point(layout, back)
        write_state(layout, State(previous=older if older not in (name, back) else None))
        after = services.restart()
        disk.remove(layout.releases / name)
        then = f"it is not healthy either: {after}" if after else f"{back} runs again"
        raise DeviceError(f"{name} did not come up healthy ({problem}); rolled back, {then}")
    if problem:
        other = "ran already" if again else "is the first one"
        raise DeviceError(
            f"{name} is installed but not healthy ({problem}); it {other}, so nothing was rolled "
            "back: see `edge-sdk-device logs`"
        )
    write_state(layout, State(previous=previous))
    _prune(layout, say)
    return Installed(name, before, tested)


def _first_run(layout: Layout) -> str:
    """Where no service manager says how it goes: the self-test, through `current`."""
    try:
        run_selftest(layout.current)
    except (DeviceError, BundleError) as e:
        return str(e)
    return ""


def _point(layout: Layout, name: str) -> None:
    """What the release brings outside its folder, then the one rename that makes it current."""
    release = layout.releases / name
    if not layout.config.exists():
        disk.write_whole(layout.config, (release / "config.toml").read_bytes())
    for unit in UNITS.values():
        if (release / unit).is_file():
            disk.write_whole(layout.unit(unit), (release / unit).read_bytes())
        else:
            disk.remove(layout.wanted(unit))
            disk.remove(layout.unit(unit))
    disk.write_whole(layout.user_file, (release / USER_FILE).read_bytes())
    for command, link in zip(COMMANDS, layout.links, strict=True):
        text = WRAPPER.format(python=sys.executable, name=command)
        disk.write_whole(layout.bin / command, text.encode(), 0o755)
        disk.make_folder(link.parent)
        disk.point(link, f"/opt/edge-sdk/bin/{command}")
    _make_user(layout)
    disk.point(layout.current, f"releases/{name}")
    _start_with_system(layout, layout.service())


def _start_with_system(layout: Layout, unit: str) -> None:
    """The one service that systemd starts with the system, of those that there are."""
    disk.make_folder(layout.wanted(unit).parent)
    disk.point(layout.wanted(unit), f"/etc/systemd/system/{unit}")
    for other in UNITS.values():
        if other != unit:
            disk.remove(layout.wanted(other))


def _make_user(layout: Layout) -> None:
    """On a running system: the service's user, now. In an image systemd makes it when it starts."""
    program = shutil.which("systemd-sysusers")
    if layout.root == Path("/") and os.geteuid() == 0 and program:
        subprocess.run([program, str(layout.user_file)], timeout=60, check=False)


def sweep(layout: Layout) -> None:
    """Removes what an installation that was cut off left. Nothing that runs has such a name."""
    for folder in (layout.releases, layout.opt):
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                disk.remove(path)


def _prune(layout: Layout, say: Say) -> None:
    """Keeps the release that runs and the one before."""
    keep = {layout.current_name(), earlier(layout)}
    for path in sorted(layout.releases.iterdir()):
        if path.name not in keep:
            try:
                disk.remove(path)
            except OSError as e:
                say(f"note: {path} cannot be removed: {e.strerror}")
