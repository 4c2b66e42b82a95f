"""What a device refuses, remembers and undoes. Whole installations are in tests/integration."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_sdk.bundle.make import pack
from edge_sdk.errors import BundleError, DeviceError
from edge_sdk.keys import Key, new_key
from edge_sdk.ondevice import disk, install
from edge_sdk.ondevice.bundle_file import (
    BundleFile,
    Entry,
    Record,
    Target,
    safe_name,
    trust_line,
    version_key,
)
from edge_sdk.ondevice.layout import SERVE_UNIT, UNIT, Layout
from edge_sdk.ondevice.program import status
from edge_sdk.ondevice.release import check_target, damage, device_arch, wheel_members
from edge_sdk.ondevice.selftest import Result
from edge_sdk.ondevice.service import NoServices, Systemd
from edge_sdk.ondevice.state import State, locked, read_state, write_state
from edge_sdk.strict import from_plain, to_plain

HERE = "{}.{}".format(*sys.version_info)
CONTENTS = {"a.txt": b"alpha" * 50, "b/c.txt": b"gamma"}


def record(contents: dict[str, bytes], version: str = "1.0") -> Record:
    import hashlib

    target = Target("rpi4", device_arch(), HERE, "fake", "1")
    listed = {n: Entry(hashlib.sha256(d).hexdigest(), len(d)) for n, d in contents.items()}
    return Record(1, "tiny", version, target, {}, (), 300, listed)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return new_key("clinic")


@pytest.fixture
def trusted(key: Key, tmp_path: Path) -> Path:
    file = tmp_path / "trusted_keys"
    file.write_text(trust_line(key.line))
    return file


@pytest.fixture
def bundle(key: Key, tmp_path: Path) -> Path:
    path = tmp_path / "x.edge.zip"
    path.write_bytes(pack(CONTENTS, record(CONTENTS), key))
    return path


def repacked(path: Path, change: Callable[[dict[str, bytes]], object], **how: int) -> None:
    """Writes the bundle again with what `change` did to its files, in the one form unless `how`."""
    with zipfile.ZipFile(path) as old:
        files = {n: old.read(n) for n in old.namelist()}
    change(files)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", **how) as new:  # type: ignore[call-overload]
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.compress_type = how.get("compression", zipfile.ZIP_STORED)
            new.writestr(info, data)
    path.write_bytes(made.getvalue())


def test_a_whole_bundle_is_read(bundle: Path, trusted: Path) -> None:
    with BundleFile(bundle, trusted) as opened:
        opened.check_files()
        assert opened.read("b/c.txt") == b"gamma"


def test_packing_repeats(bundle: Path, key: Key) -> None:
    assert pack(CONTENTS, record(CONTENTS), key) == bundle.read_bytes()


def test_every_single_byte_counts(bundle: Path, trusted: Path) -> None:
    whole = bundle.read_bytes()
    accepted = []
    for at in range(0, len(whole), 7):
        bundle.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            with BundleFile(bundle, trusted) as opened:
                opened.check_files()
        except BundleError:
            continue
        with zipfile.ZipFile(bundle) as archive:
            # Left are fields that no reader uses: what is unpacked is what was signed.
            assert {n: archive.read(n) for n in CONTENTS} == CONTENTS
        accepted.append(at)
    assert len(accepted) < len(whole) / 7 / 10, accepted


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_bundle_is_refused(bundle: Path, trusted: Path, share: float) -> None:
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BundleError, match="no whole bundle"):
        BundleFile(bundle, trusted)


def change_file(files: dict[str, bytes]) -> None:
    files["a.txt"] = b"omega" * 50


def add_file(files: dict[str, bytes]) -> None:
    files["c.txt"] = b"more"


def drop_file(files: dict[str, bytes]) -> None:
    del files["a.txt"]


def change_record(files: dict[str, bytes]) -> None:
    files["bundle.json"] = files["bundle.json"].replace(b'"1.0"', b'"9.0"')


def drop_signature(files: dict[str, bytes]) -> None:
    del files["bundle.json.sig"]


def reorder(files: dict[str, bytes]) -> None:
    files["a.txt"] = files.pop("a.txt")


def escape(files: dict[str, bytes]) -> None:
    files["../../etc/passwd"] = b"root"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_file, "not the file that was signed"),
        (add_file, "holds a file that was not signed: c.txt"),
        (drop_file, "lacks a file: a.txt"),
        (change_record, "changed after it was signed"),
        (drop_signature, "is not signed"),
        (reorder, "another program packed it again"),
        (escape, "leads out of it"),
    ],
)
def test_a_changed_bundle_is_refused(
    bundle: Path, trusted: Path, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    repacked(bundle, change)
    with pytest.raises(BundleError, match=said), BundleFile(bundle, trusted) as opened:
        opened.check_files()


def test_a_compressed_or_padded_bundle_is_refused(bundle: Path, trusted: Path) -> None:
    whole = bundle.read_bytes()
    bundle.write_bytes(b"#!/bin/sh\n" + whole)
    with pytest.raises(BundleError, match=r"packed it again|no whole bundle"):
        BundleFile(bundle, trusted)
    bundle.write_bytes(whole)
    repacked(bundle, dict, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match="packed it again"):
        BundleFile(bundle, trusted)


def test_another_key_is_not_trusted(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other_keys"
    other.write_text(trust_line(new_key("other").line))
    with pytest.raises(BundleError, match="a key that is not in"):
        BundleFile(bundle, other)
    with pytest.raises(BundleError, match="no key is trusted here"):
        BundleFile(bundle, tmp_path / "none")


@pytest.mark.parametrize(
    "name", ["/a", "a/../b", "..", "a//b", "a\\b", "C:a", "", "./a", "a\nb", "a" * 401]
)
def test_names_that_lead_out(name: str) -> None:
    assert not safe_name(name)


def test_a_wheel_that_leads_out_is_refused() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("../evil.py", "")
    with pytest.raises(BundleError, match="leads out of it"):
        list(wheel_members("w.whl", made.getvalue(), ()))


def test_versions_are_numbers() -> None:
    assert version_key("1.10") > version_key("1.9.9")
    assert version_key("1") == version_key("1.0.0")
    for wrong in ("", "1.0a", "v1", "1..2", "../1", "1.2.3.4.5"):
        with pytest.raises(BundleError, match="one to four numbers"):
            version_key(wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"arch": "riscv64"}, "this device is"), ({"python": "3.9"}, "this device has")],
)
def test_a_bundle_for_another_device_is_refused(change: dict[str, str], said: str) -> None:
    right = Target("rpi4", device_arch(), HERE, "fake", "1")
    check_target(right, device_arch(), HERE)
    with pytest.raises(BundleError, match=said):
        check_target(dataclasses.replace(right, **change), device_arch(), HERE)


def test_the_record_survives_json() -> None:
    made = record(CONTENTS)
    assert from_plain(Record, json.loads(made.json()), "here", BundleError) == made


def test_a_file_is_old_or_new_and_a_link_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "f", tmp_path / "l"
    disk.write_whole(file, b"old")
    disk.point(link, "old")

    def full(step: str, _path: Path) -> None:
        if step == "rename":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "before", full)
    with pytest.raises(OSError, match="No space"):
        disk.write_whole(file, b"new")
    with pytest.raises(OSError, match="No space"):
        disk.point(link, "new")
    assert (file.read_bytes(), os.readlink(link)) == (b"old", "old")  # noqa: PTH115
    assert not (tmp_path / ".f.partial").exists()


def test_two_installers_do_not_meet(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with locked(layout), pytest.raises(DeviceError, match="another installation"), locked(layout):
        pass
    with locked(layout):
        pass


def test_a_damaged_state_is_an_empty_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_state(layout, State(previous="1", trial="2", starts=1))
    assert read_state(layout) == State("1", "2", 1)
    layout.state.write_text('{"previous": 3}')
    assert read_state(layout) == State()


def releases(layout: Layout, *names: str, current: str) -> None:
    """Folders with what a switch takes from a release."""
    for name in names:
        folder = layout.releases / name
        folder.mkdir(parents=True)
        for file in ("config.toml", "edge-sdk.service", "edge-sdk.conf"):
            (folder / file).write_text(name)
    disk.point(layout.current, f"releases/{current}")


def test_a_release_that_never_comes_up_gives_way(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    releases(layout, "1", "2", current="2")
    write_state(layout, State(previous="1", trial="2"))
    ran = []
    for _ in range(install.STARTS + 2):
        install.starting(layout, ran.append)
        ran.append(layout.current_name() or "")
    assert [r for r in ran if len(r) == 1] == ["2"] * install.STARTS + ["1"] * 2
    assert layout.unit().read_text() == "1"
    assert not (layout.releases / "2").exists()


def test_a_release_that_came_up_once_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    releases(layout, "1", "2", current="2")
    write_state(layout, State(previous="1", trial="2"))
    install.starting(layout, print)
    install.healthy(layout)
    for _ in range(install.STARTS + 2):
        install.starting(layout, print)
    assert layout.current_name() == "2"


class Crashing:
    """A service manager under which release 2 never comes up."""

    name, manages = "test", True

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def restart(self) -> str:
        return "it crashes" if self._layout.current_name() == "2" else ""

    def stop(self) -> None: ...

    def state(self) -> str:
        return "active"


@pytest.mark.parametrize(
    ("trial", "said", "runs"),
    [("2", "rolled back, 1 runs again", "1"), (None, "it ran already, so nothing was rolled", "2")],
)
def test_the_current_release_installed_again(
    tmp_path: Path, trial: str | None, said: str, runs: str
) -> None:
    """On trial, because the power failed before its rollback, it is taken back after all; one that
    ran before is not: what ails it is something else, as a camera that was unplugged."""
    layout = Layout(tmp_path)
    releases(layout, "1", "2", current="2")
    write_state(layout, State(previous="1", trial=trial))
    tested = Result("fake", "1", 4, "bytes", 0.0)
    with pytest.raises(DeviceError, match=said):
        install._switch_to("2", tested, layout, Crashing(layout), print)
    assert layout.current_name() == runs
    assert read_state(layout).trial is None


def test_there_and_back(tmp_path: Path) -> None:
    from edge_sdk.ondevice.service import NoServices

    layout = Layout(tmp_path)
    releases(layout, "1", "2", current="2")
    assert install.rollback(layout, NoServices(), print) == "1"
    assert install.rollback(layout, NoServices(), print) == "2"
    disk.remove(layout.releases / "1")
    with pytest.raises(DeviceError, match="no earlier release"):
        install.rollback(layout, NoServices(), print)


def test_the_clock_may_jump_back(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.heartbeat.parent.mkdir(parents=True)
    layout.heartbeat.touch()
    assert status(layout, "active")["heartbeat_s"] < 60
    tomorrow = time.time() + 86_400
    os.utime(layout.heartbeat, (tomorrow, tomorrow))
    assert status(layout, "active")["heartbeat_s"] is None


def test_trusted_keys_are_put_there_once(tmp_path: Path, key: Key, bundle: Path) -> None:
    layout = Layout(tmp_path / "root")
    layout.trusted_keys.parent.mkdir(parents=True)
    layout.trusted_keys.write_text(trust_line(new_key("other").line))
    from edge_sdk.ondevice.service import NoServices

    with pytest.raises(BundleError, match="trusts another key already"):
        install.install(bundle, layout, NoServices(), trust=key.public, say=print)
    install.trust_key(layout, key.public)
    assert len(layout.trusted_keys.read_text().splitlines()) == 2


def test_damage_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("whole")
    (tmp_path / "files.json").write_text(json.dumps({"f": "0" * 64}))
    assert damage(tmp_path) == "f"
    (tmp_path / "files.json").unlink()
    assert "files.json" in str(damage(tmp_path))


def test_systemd_is_believed_when_it_says_active(tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    said = tmp_path / "said"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {said}\n[ "$1" != is-active ] || cat {said}.state\n'
    )
    program.chmod(0o755)
    layout = Layout(tmp_path)
    services = Systemd(str(program), layout, settle_s=0)
    state = Path(f"{said}.state")
    state.write_text("active\n")
    assert services.restart() == ""
    state.write_text("activating\n")
    assert "edge-sdk.service is activating" in services.restart()
    assert said.read_text().splitlines()[:2] == ["daemon-reload", "restart edge-sdk.service"]
    layout.wanted(SERVE_UNIT).parent.mkdir(parents=True)
    layout.wanted(SERVE_UNIT).symlink_to("somewhere")
    assert "edge-sdk-serve.service is activating" in services.restart()


def test_one_service_is_chosen_and_an_update_keeps_the_choice(tmp_path: Path) -> None:
    layout, said = Layout(tmp_path), list[str]()
    releases(layout, "1", "2", "3", current="1")
    for name in ("1", "2"):
        (layout.releases / name / SERVE_UNIT).write_text("pages")
    install._point(layout, "1")
    assert (layout.service(), layout.wanted(UNIT).is_symlink()) == (UNIT, True)
    assert layout.unit(SERVE_UNIT).read_text() == "pages"
    install.choose_service(layout, NoServices(), "serve", said.append)
    for release in ("1", "2"):
        install._point(layout, release)
        assert layout.service() == SERVE_UNIT
        assert not layout.wanted(UNIT).is_symlink()
    assert os.readlink(layout.wanted(SERVE_UNIT)) == f"/etc/systemd/system/{SERVE_UNIT}"  # noqa: PTH115
    # A release without the pages: its classifier runs.
    install._point(layout, "3")
    assert (layout.service(), layout.wanted(UNIT).is_symlink()) == (UNIT, True)
    assert not layout.unit(SERVE_UNIT).exists()
    with pytest.raises(DeviceError, match="bundle made --with serve"):
        install.choose_service(layout, NoServices(), "serve", said.append)
    install._point(layout, "2")
    install.choose_service(layout, NoServices(), "serve", said.append)
    install.choose_service(layout, NoServices(), "classify", said.append)
    assert layout.service() == UNIT
    install.uninstall(layout, NoServices(), purge=False)
    assert not list(layout.unit().parent.rglob("edge-sdk*"))


def test_what_installs_needs_the_standard_library_only() -> None:
    code = "import sys, edge_sdk.ondevice.program as p; print(*{'numpy', 'click'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_plain_data_of_the_state() -> None:
    assert to_plain(State("1")) == {"previous": "1", "trial": None, "starts": 0}
