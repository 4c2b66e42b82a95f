"""A bundle to a device over SSH: looked at first, copied where it stopped, installed as by hand.

The bundle is verified here against the keys that the device trusts, and by the device again."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.device.link import CONNECT_S, SILENCE_S, Link, LostError
from edge_sdk.errors import BundleError, DeviceError
from edge_sdk.ondevice.bundle_file import BundleFile, Record, parse_record, trust_line
from edge_sdk.ondevice.release import check_space, check_target, check_version
from edge_sdk.progress import Progress, silent
from edge_sdk.strict import from_plain

INSTALL_S = 900.0
PIECE_BYTES = 1 << 18
# Pieces on the way at once: a long way does not slow the copy down, nor does a stall hide.
WINDOW = 4
INSTALLER = "install.sh"
NO_PYTHON = "install it there: sudo apt install python3"


@dataclass(frozen=True)
class Found:
    """What the device says of itself. record, trusted: the text of the installed release's
    bundle.json and of the file of trusted keys. partial_bytes: of this bundle, from a copy that was
    cut off. sudo: it takes sudo; may: which asks for no password, or is not needed."""

    release: str | None
    record: str | None
    trusted: str | None
    free_bytes: int
    free_copy_bytes: int
    one_disk: bool
    partial_bytes: int
    partial_sha256: str
    lacking: tuple[str, ...]
    tools_lacking: tuple[str, ...]
    sudo: bool
    may: bool


@dataclass(frozen=True)
class Plan:
    """What a deployment does. installed: the release that runs now. there_bytes: of the copy, on
    the device already. nothing_to_do: this very bundle is installed, and whole. problems: for each
    of them it would be refused."""

    host: str
    bundle: str
    version: str
    target: str
    device: str
    installed: str | None
    size_bytes: int
    there_bytes: int
    unpacked_bytes: int
    free_bytes: int
    nothing_to_do: bool
    problems: tuple[str, ...]


class Deployment:
    """One connection, for one `with` block: `plan` what `deploy` would do, then do it.

    root: the device's, or a folder there that stands for it. options: for ssh's -o."""

    def __init__(
        self,
        bundle: Path,
        host: str,
        *,
        trust: Path | None = None,
        allow_older: bool = False,
        root: str = "/",
        services: str = "auto",
        options: Sequence[str] = (),
        connect_s: float = CONNECT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Raises BundleError for a bundle or a key that cannot be read, UsageError for a host."""
        self._path, self._allow_older = bundle, allow_older
        self._root, self._services = root, services
        try:
            self._data = bundle.read_bytes()
        except OSError as e:
            raise BundleError(f"bundle {bundle} cannot be read: {e.strerror}") from e
        self._sha256 = hashlib.sha256(self._data).hexdigest()
        self._trust = None if trust is None else _read_key(trust)
        self._link = Link(
            host,
            python="python3",
            options=options,
            no_python=NO_PYTHON,
            option="HOST",
            connect_s=connect_s,
            silence_s=silence_s,
        )
        self._installer, self._sudo = "", False

    def __enter__(self) -> Deployment:
        """Raises DeviceError, saying what to do, when the device or its Python is not reached."""
        source = (Path(__file__).parent / "deploy_agent.py").read_bytes()
        self._hello = self._link.open(source)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._link.close(in_order=kind is None)

    def plan(self) -> Plan:
        """Asks; changes nothing. Raises BundleError for a bundle that no device with these keys
        takes, DeviceError for a device that is lost."""
        found = self._look(())
        with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
            keys = Path(folder) / "trusted_keys"
            keys.write_text(self._keys(found), encoding="utf-8")
            with BundleFile(self._path, keys) as opened:
                opened.check_files()
                record, digest = opened.record, opened.digest
                self._installer = opened.read(INSTALLER).decode()
        if record.target.system:
            found = self._look(record.target.system)
        same = found.record is not None and digest == _digest(found.record)
        now = (self._status(check=True) or {}) if same else {}
        whole = now.get("damage", "?") is None and not now.get("on_trial", True)
        t = record.target
        self._sudo = found.sudo
        return Plan(
            host=self._link.host,
            bundle=f"{record.name} {record.version}",
            version=record.version,
            target=f"{t.arch}, Python {t.python}, {t.runtime} {t.runtime_version}",
            device=f"{self._hello['arch']}, Python {self._hello['python']}",
            installed=found.release,
            size_bytes=len(self._data),
            there_bytes=self._there(found),
            unpacked_bytes=record.unpacked_bytes,
            free_bytes=found.free_bytes,
            nothing_to_do=whole,
            problems=() if whole else tuple(self._problems(found, record, same=same)),
        )

    def deploy(
        self,
        plan: Plan,
        *,
        timeout_s: float = INSTALL_S,
        say: Callable[[str], None],
        progress: Progress = silent,
    ) -> dict[str, Any]:
        """Copies, installs, and returns what the device then says of itself. timeout_s: of the
        installation, which goes on there if this ends.

        Raises DeviceError for what `plan` found, for a copy that was cut off, and for what the
        installer says when it refused, or rolled back."""
        if plan.problems:
            raise DeviceError(f"{plan.host}: {'; '.join(plan.problems)}")
        if not plan.nothing_to_do:
            self._copy(plan.there_bytes, progress)
            self._install(timeout_s, say)
        return self._status(check=False) or {}

    # --- what is there ---------------------------------------------------------------------------

    def _look(self, modules: Sequence[str]) -> Found:
        order = {"root": self._root, "sha256": self._sha256, "modules": list(modules)}
        self._link.send({"do": "look", **order})
        said = self._link.receive("look", self._link.silence_s * 2)["look"]
        return from_plain(Found, said, f"{self._link.host}: look", DeviceError)

    def _keys(self, found: Found) -> str:
        """The keys that the installer there will believe."""
        if found.trusted is None:
            if self._trust is None:
                raise BundleError(
                    f"{self._link.host} trusts no key yet: give --trust KEY.pub, the public key of "
                    "who signed the bundle"
                )
            return trust_line(self._trust)
        if self._trust is not None and trust_line(self._trust) not in found.trusted:
            raise BundleError(
                f"{self._link.host} trusts another key already: leave --trust out, or add this "
                "one there with `sudo edge-sdk-device trust KEY.pub`"
            )
        return found.trusted

    def _there(self, found: Found) -> int:
        """Bytes of the copy that was cut off, if it is a beginning of this bundle."""
        there = found.partial_bytes
        mine = hashlib.sha256(self._data[:there]).hexdigest()
        return there if 0 < there <= len(self._data) and mine == found.partial_sha256 else 0

    def _problems(self, found: Found, record: Record, *, same: bool) -> list[str]:
        problems = []
        if found.tools_lacking:
            problems.append(f"{', '.join(found.tools_lacking)} is not there: apt has it")
        if found.lacking:
            problems.append(f"its Python lacks {', '.join(found.lacking)}: apt has them")
        if not found.may:
            problems.append(
                "sudo asks for a password there, and none is given here: let this user sudo "
                "without one, or log in as root"
            )
        short = ".".join(str(self._hello["python"]).split(".")[:2])
        copy = len(self._data) - self._there(found)
        checks: list[Callable[[], None]] = [
            lambda: check_target(record.target, str(self._hello["arch"]), short),
            lambda: self._check_version(record, found, same=same),
            lambda: check_space(
                "its file system of /opt/edge-sdk",
                record.unpacked_bytes + copy * found.one_disk,
                found.free_bytes,
            ),
            lambda: check_space("its folder for copies", copy, found.free_copy_bytes),
        ]
        for check in checks:
            try:
                check()
            except (BundleError, DeviceError) as e:
                problems.append(str(e))
        return problems

    def _check_version(self, record: Record, found: Found, *, same: bool) -> None:
        if self._allow_older or found.record is None:
            return
        try:
            installed = parse_record(found.record.encode(), self._link.host).version
        except BundleError:
            return  # damaged: any whole release is better
        check_version(record.version, installed, same=same)

    # --- what is done ----------------------------------------------------------------------------

    def _copy(self, there: int, progress: Progress) -> None:
        size, at = len(self._data), there
        self._link.send({"do": "copy", "sha256": self._sha256, "size": size, "offset": there})
        self._link.receive("ready", self._link.silence_s)
        progress("copy", there, size)
        ends = [
            min(end, size) for end in range(there + PIECE_BYTES, size + PIECE_BYTES, PIECE_BYTES)
        ]
        try:
            for number, end in enumerate(ends):
                piece = self._data[at:end]
                self._link.send({"do": "piece", "size": len(piece)}, piece)
                at = end
                if number >= WINDOW:
                    progress("copy", self._got(), size)
            for _ in ends[-WINDOW:]:
                progress("copy", self._got(), size)
        except LostError as e:
            raise DeviceError(f"{e}; the same command goes on where the copy stopped") from e
        self._link.send({"do": "verify"})
        if not self._link.receive("verified", self._link.silence_s * 4)["verified"]:
            raise DeviceError(f"{self._link.host}: the copy is not the bundle; deploy it again")

    def _got(self) -> int:
        return int(self._link.receive("got", self._link.silence_s * 4)["got"])

    def _install(self, timeout_s: float, say: Callable[[str], None]) -> None:
        files = {INSTALLER: self._installer}
        words = ["sh", f"@/{INSTALLER}", "--root", self._root, "--services", self._services]
        if self._allow_older:
            words.append("--allow-older")
        if self._trust is not None:
            files["key.pub"] = self._trust
            words += ["--trust", "@/key.pub"]
        self._link.send({"do": "install", "files": files, "words": words, "sudo": self._sudo})
        last, end = "", time.monotonic() + timeout_s
        while True:
            try:
                said = self._link.receive("line", max(0.0, end - time.monotonic()))
            except LostError as e:
                raise DeviceError(
                    f"{e}; the installation goes on there: deploy again to see how it went"
                ) from e
            line = str(said["line"]).strip()
            last = line or last
            if "exit_status" in said:
                break
            if line and not line.startswith("error: "):
                say(line)
        if said["exit_status"] != 0:
            raise DeviceError(f"{self._link.host}: {last.removeprefix('error: ') or 'no message'}")

    def _status(self, *, check: bool) -> dict[str, Any] | None:
        self._link.send({"do": "status", "root": self._root, "check": check})
        found = self._link.receive("status", self._link.silence_s * 5)["status"]
        return found if isinstance(found, dict) else None


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise BundleError(f"key {path} cannot be read: {e}") from e
    trust_line(key)
    return key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
