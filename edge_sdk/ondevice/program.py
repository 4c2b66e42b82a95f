"""edge-sdk-device: what a bundle brings to look after itself. Standard library only.

install.sh runs `install` of it straight out of the bundle's wheel, once the signature is right."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_sdk.errors import EdgeError
from edge_sdk.ondevice import install as steps
from edge_sdk.ondevice.layout import UNITS, Layout
from edge_sdk.ondevice.release import damage, read_record
from edge_sdk.ondevice.selftest import own_release, selftest
from edge_sdk.ondevice.service import find_services
from edge_sdk.ondevice.state import read_state

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="edge-sdk-device", description="The bundle on this device.")
    top.add_argument("--root", type=Path, default=Path("/"), help="Another root folder (images).")
    top.add_argument("--services", choices=("auto", "systemd", "none"), default="auto")
    does = top.add_subparsers(dest="do", required=True)
    one = does.add_parser("install", help="Install or update from a bundle.")
    one.add_argument("bundle", type=Path)
    one.add_argument("--trust", type=Path, metavar="KEY.pub", help="Trust this key from now on.")
    one.add_argument("--allow-older", action="store_true")
    one = does.add_parser("status", help="What is installed and how it is.")
    one.add_argument("--json", action="store_true")
    one.add_argument("--check", action="store_true", help="Hash every installed file, too.")
    does.add_parser("rollback", help="Back to the release before.")
    one = does.add_parser("logs", help="The service's log.")
    one.add_argument("--follow", action="store_true")
    one.add_argument("--lines", type=int, default=200)
    one = does.add_parser("selftest", help="Stored pictures through the installed model.")
    one.add_argument("--json", action="store_true")
    one = does.add_parser("service", help="Which one runs here: the classifier, or the pages.")
    one.add_argument("choice", choices=tuple(UNITS))
    one = does.add_parser("trust", help="Trust one more key.")
    one.add_argument("key", type=Path)
    one = does.add_parser("uninstall", help="Remove everything but configuration and keys.")
    one.add_argument("--purge", action="store_true", help="Remove these too.")
    does.add_parser("starting", help="For the service: before each start.")
    does.add_parser("healthy", help="For the service: after each start.")
    return top


def run(words: Sequence[str]) -> None:
    given = parser().parse_args(words)
    layout = Layout(given.root.absolute())
    services = find_services(given.services, layout)
    if given.do == "install":
        done = steps.install(
            given.bundle,
            layout,
            services,
            trust=given.trust,
            allow_older=given.allow_older,
            say=_say,
        )
        print(f"{done.release} runs (before: {done.before or 'nothing'})")
    elif given.do == "status":
        found = status(layout, services.state(), check=given.check)
        print(json.dumps(found, indent=1) if given.json else _lines(found))
    elif given.do == "rollback":
        steps.rollback(layout, services, _say)
    elif given.do == "logs":
        _logs(layout.service(), given.lines, follow=given.follow)
    elif given.do == "selftest":
        release = own_release()
        result = selftest(release, read_record(release).target.runtime)
        print(json.dumps(asdict(result)) if given.json else _lines(asdict(result)))
    elif given.do == "service":
        steps.choose_service(layout, services, given.choice, _say)
    elif given.do == "trust":
        steps.trust_key(layout, given.key)
    elif given.do == "uninstall":
        steps.uninstall(layout, services, purge=given.purge)
    elif given.do == "starting":
        steps.starting(layout, _say)
    elif given.do == "healthy":
        steps.healthy(layout)


def status(layout: Layout, service: str, *, check: bool = False) -> dict[str, Any]:
    """What `status` prints. heartbeat_s: its age; null without one, or where the clock went back
    behind it. damage: the first file that is not as it was installed (with `check`)."""
    current = layout.current_name()
    found: dict[str, Any] = {"release": current, "before": steps.earlier(layout)}
    if current is not None:
        record = read_record(layout.releases / current)
        found |= {
            "name": record.name,
            "version": record.version,
            "runtime": f"{record.target.runtime} {record.target.runtime_version}",
            "model_sha256": record.created_from.get("model", ""),
            "on_trial": read_state(layout).trial == current,
        }
        if check:
            found["damage"] = damage(layout.releases / current)
    found["service"] = service
    try:
        age = time.time() - layout.heartbeat.stat().st_mtime
        found["heartbeat_s"] = round(age, 1) if age >= 0 else None
    except OSError:
        found["heartbeat_s"] = None
    if layout.opt.is_dir():
        found["disk_free_mb"] = shutil.disk_usage(layout.opt).free // 1_000_000
    return found


def _lines(found: dict[str, Any]) -> str:
    width = max(map(len, found))
    return "\n".join(f"{k.replace('_', ' '):{width}}  {v}" for k, v in found.items())


def _logs(unit: str, lines: int, *, follow: bool) -> None:
    program = shutil.which("journalctl")
    if program is None:
        raise EdgeError("journalctl is not here: the service's log is where its standard error is")
    words = [program, "-u", unit, "-n", str(lines), "--no-pager", *(["-f"] if follow else [])]
    os.execv(program, words)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    try:
        run(sys.argv[1:])
    except EdgeError as e:
        print(f"error: {' '.join(str(e).split())}", file=sys.stderr)
        return e.exit_code
    except OSError as e:
        print(f"error: {_plain(e)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what ran before still runs", file=sys.stderr)
        return 130
    return 0


def _plain(e: OSError) -> str:
    where = e.filename or "the disk"
    if e.errno in FULL:
        return f"{where}: no space left; free some and try again, what ran before still runs"
    if e.errno == errno.EROFS:
        return f"{where}: the file system is read-only; remount it writable (mount -o remount,rw /)"
    if e.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: {e.strerror}; run it as root (sudo)"
    return f"{where}: {e.strerror or e}"


if __name__ == "__main__":
    sys.exit(main())
