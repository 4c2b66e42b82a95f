"""What runs on the device while a bundle is deployed: the standard library only, sent as source.

It says what is there, takes the bundle a piece at a time into ~/.cache/edge-sdk/deploy, and runs
its installer. A copy that was cut off stays there for the next one, under the bundle's hash. The
installer writes to a file and not to the connection: should that end, the installer does not.

    standard input    lines of JSON: {"do": "look", "root", "sha256", "modules"}; {"do": "copy",
                      "sha256", "size", "offset"}; {"do": "piece", "size"} and that many bytes;
                      {"do": "verify"}; {"do": "install", "files", "words", "sudo"}; {"do":
                      "status", "root", "check"}; {"do": "beat"}; {"do": "end"}
    standard output   lines "<token> <JSON>", see agent.py
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SILENCE_S = 30.0
BEAT_S = 1.0
LARGEST_LINE = 1 << 20
# The shell stays between us and the installer, so that somebody has the lock until it ends.
HOLD = '"$@"; status=$?; exit $status'


class RefusedError(Exception):
    """What the device says no to."""


def arch() -> str:
    """As edge_sdk.ondevice.release.device_arch: a 64-bit kernel may carry a 32-bit system."""
    machine = platform.machine()
    if struct.calcsize("P") == 4 and machine in ("aarch64", "armv7l", "armv8l"):
        return "armv7l"
    return machine


def own_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.cache"))  # noqa: PTH111, PTH117
    return cache / "edge-sdk" / "deploy"


def existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as f:
        while part := f.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def look(root: Path, sha256: str, modules: list[str]) -> dict[str, Any]:
    """What is there; changes nothing. record, trusted: the text of these files, if there are."""
    opt, folder = root / "opt" / "edge-sdk", own_folder()
    partial = folder / (sha256 + ".partial")
    releases, copies = existing(opt), existing(folder)
    sudo = os.getuid() != 0 and root == Path("/")
    current = opt / "current"
    return {
        "release": os.path.basename(os.readlink(str(current))) if current.exists() else None,  # noqa: PTH115, PTH119
        "record": text(current / "bundle.json"),
        "trusted": text(root / "etc" / "edge-sdk" / "trusted_keys"),
        "free_bytes": shutil.disk_usage(str(releases)).free,
        "free_copy_bytes": shutil.disk_usage(str(copies)).free,
        "one_disk": releases.stat().st_dev == copies.stat().st_dev,
        "partial_bytes": partial.stat().st_size if partial.is_file() else 0,
        "partial_sha256": digest(partial) if partial.is_file() else "",
        "lacking": [m for m in modules if importlib.util.find_spec(m) is None],
        "tools_lacking": [t for t in ("sh", "ssh-keygen") if shutil.which(t) is None],
        "sudo": sudo,
        "may": not sudo or succeeds(["sudo", "-n", "true"]),
    }


def text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


class Agent:
    def __init__(self, token: str) -> None:
        self.token = token
        self.heard = time.monotonic()
        self.installing = False
        self.said = threading.Lock()
        self.folder = own_folder()
        self.lock = -1
        self.bundle = Path()
        self.partial = Path()
        self.sha256 = ""

    def say(self, **message: Any) -> None:
        with self.said:
            sys.stdout.write(self.token + " " + json.dumps(message) + "\n")
            sys.stdout.flush()

    def beat(self) -> None:
        """The other thread: says that we live, and ends us when nobody listens any more."""
        with suppress(Exception):
            while self.installing or time.monotonic() - self.heard < SILENCE_S:
                time.sleep(BEAT_S)
                self.say(beat=True)
        os._exit(1)

    def serve(self) -> None:
        threading.Thread(target=self.beat, daemon=True).start()
        self.say(hello=True, python=platform.python_version(), arch=arch())
        source = sys.stdin.buffer
        while line := source.readline(LARGEST_LINE):
            self.heard = time.monotonic()
            order = json.loads(line)
            if order["do"] == "end":
                return
            try:
                self.obey(order, source)
            except RefusedError as e:
                self.say(error=str(e), kind="DeviceError")
            except OSError as e:
                self.say(error=reason(e), kind="DeviceError")

    def obey(self, order: dict[str, Any], source: Any) -> None:
        does = order["do"]
        if does == "look":
            self.say(look=look(Path(order["root"]), order["sha256"], order["modules"]))
        elif does == "copy":
            self.begin(order["sha256"], order["offset"])
            self.say(ready=True)
        elif does == "piece":
            self.say(got=self.append(source, order["size"]))
        elif does == "verify":
            self.say(verified=self.verify())
        elif does == "install":
            self.install(order["files"], order["words"], sudo=order["sudo"])
        elif does == "status":
            self.say(status=status(Path(order["root"]), check=order["check"]))

    def begin(self, sha256: str, offset: int) -> None:
        """Takes the lock and clears the folder of all but this bundle's first `offset` bytes."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid():
            raise RefusedError(str(self.folder) + " belongs to somebody else")
        self.lock = os.open(str(self.folder / "lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                "another deployment to this device is at work: wait until it ends"
            ) from None
        self.sha256 = sha256
        self.partial = self.folder / (sha256 + ".partial")
        self.bundle = self.folder / (sha256 + ".edge.zip")
        self.clear(keep=("lock", self.partial.name))
        with self.partial.open("ab") as f:
            f.truncate(offset)

    def append(self, source: Any, size: int) -> int:
        """The file grows by what comes; bytes that it has then."""
        with self.partial.open("ab") as f:
            while size > 0:
                part = source.read1(min(size, 1 << 16))
                if not part:
                    raise SystemExit(1)
                self.heard = time.monotonic()
                f.write(part)
                size -= len(part)
        return self.partial.stat().st_size

    def verify(self) -> bool:
        """Whether it is the bundle. It gets the bundle's name then, and is removed if not."""
        if digest(self.partial) != self.sha256:
            self.partial.unlink()
            return False
        with self.partial.open("rb+") as f:
            os.fsync(f.fileno())
        self.partial.rename(self.bundle)
        return True

    def install(self, files: dict[str, str], words: list[str], *, sudo: bool) -> None:
        """files: name -> text, beside the bundle. words: of the installer's command line, in which
        @ stands for this folder."""
        for name, content in files.items():
            (self.folder / name).write_text(content, encoding="utf-8")
        command = ["sh", "-c", HOLD, "sh"] + (["sudo", "-n"] if sudo else [])
        command += [w.replace("@", str(self.folder), 1) if w[:1] == "@" else w for w in words]
        log = self.folder / "install.log"
        self.installing = True
        with log.open("wb") as writes, log.open("rb") as reads:
            started = subprocess.Popen(
                [*command, str(self.bundle)],
                stdin=subprocess.DEVNULL,
                stdout=writes,
                stderr=writes,
                start_new_session=True,
                pass_fds=(self.lock,),
                cwd="/",
            )
            pending = b""
            while True:
                ended = started.poll() is not None
                *lines, pending = (pending + reads.read()).split(b"\n")
                for line in lines:
                    self.say(line=line.decode(errors="replace"))
                if ended:
                    break
                time.sleep(0.1)
        self.installing = False
        self.heard = time.monotonic()
        self.clear(keep=("lock",))
        self.say(line=pending.decode(errors="replace"), exit_status=started.returncode)

    def clear(self, keep: tuple[str, ...]) -> None:
        for path in self.folder.iterdir():
            if path.name not in keep:
                path.unlink()


def status(root: Path, *, check: bool) -> Any:
    """What `edge-sdk-device status` says there; None where it says nothing."""
    program = root / "opt" / "edge-sdk" / "bin" / "edge-sdk-device"
    command = [str(program), "--root", str(root), "status", "--json"]
    try:
        done = subprocess.run(
            command + (["--check"] if check else []), capture_output=True, timeout=SILENCE_S * 4
        )
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def reason(e: OSError) -> str:
    full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    where = str(e.filename or "the disk") + ": "
    return where + (e.strerror or str(e)) + ("; free some space there" if full else "")


def stop(*_: object) -> None:
    raise SystemExit(1)


def main() -> None:
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        Agent(sys.argv[1]).serve()
    except (BrokenPipeError, SystemExit):
        pass
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
