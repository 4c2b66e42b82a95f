"""`edge-sdk deploy` to a real sshd, into a folder that stands for the device's root."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import install_faults as faults
import numpy as np
import pytest
from sshd_server import USER, Sshd, free_port, make_key, needs_sshd, running, wait_for

from edge_sdk.artifact import Artifact, read_artifact
from edge_sdk.bundle.expected import selftest_files
from edge_sdk.bundle.make import gather, make_record, pack
from edge_sdk.device import deploy_agent
from edge_sdk.device.deploy import PIECE_BYTES, Deployment
from edge_sdk.errors import BundleError, DeviceError
from edge_sdk.keys import Key
from edge_sdk.ondevice.layout import Layout

pytestmark = needs_sshd
PADDING = 3_000_000


@pytest.fixture(scope="module")
def artifact(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return read_artifact(faults.make_artifact(models, tmp_path_factory.mktemp("artifact")))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return faults.make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def bundles(artifact: Artifact, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1 and 2, and `large`, which is version 3 with 3 MB of noise in it."""
    folder = tmp_path_factory.mktemp("bundles")
    for version in ("1", "2"):
        faults.make_bundle(artifact, key, folder / f"{version}.edge.zip", version)
    target = faults.target()
    name, data = faults.small_wheel()
    contents = gather(artifact, {name: data}, selftest_files(artifact, target, None), "3")
    contents["licences/noise"] = np.random.default_rng(3).bytes(PADDING)
    record = make_record(artifact, target, contents, "3")
    (folder / "large.edge.zip").write_bytes(pack(contents, record, key))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    environment = {
        "XDG_CACHE_HOME": folder / "cache",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    with running(folder, environment) as sshd:
        yield sshd


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def copies(server: Sshd) -> list[str]:
    folder = server.folder / "cache" / "edge-sdk" / "deploy"
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def deployed(server: Sshd, bundle: Path, root: Path, **options: object) -> dict[str, object]:
    """Plans and deploys; the device's status, with what was said as `said`."""
    said: list[str] = []
    given = {"root": str(root), "options": server.options(), **options}
    with Deployment(bundle, f"{USER}@127.0.0.1", **given) as device:  # type: ignore[arg-type]
        status = device.deploy(device.plan(), say=said.append)
    return {**status, "said": said}


def command(server: Sshd, *words: object) -> subprocess.CompletedProcess[str]:
    options = [word for o in server.options() for word in ("--ssh-option", o)]
    argv = [sys.executable, "-m", "edge_sdk.cli", "deploy", *map(str, words), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)


def test_a_dry_run_then_an_installation_then_an_update(
    server: Sshd, bundles: Path, key: Key, root: Path
) -> None:
    where = ("--root", root, "--json")
    first = (bundles / "1.edge.zip", f"{USER}@127.0.0.1", *where, "--trust", key.public)
    dry = command(server, *first, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    plan = json.loads(dry.stdout)
    assert (plan["installed"], plan["version"], plan["there_bytes"]) == (None, "1", 0)
    assert plan["free_bytes"] > plan["unpacked_bytes"] > 0
    assert not root.exists()
    assert copies(server) == []
    done = command(server, *first)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == "1"
    assert "copy" in done.stderr
    assert "1 runs (before: nothing)" in done.stderr
    assert copies(server) == ["lock"]
    status = deployed(server, bundles / "2.edge.zip", root)
    assert (status["release"], status["before"]) == ("2", "1")
    with Deployment(
        bundles / "2.edge.zip", f"{USER}@127.0.0.1", root=str(root), options=server.options()
    ) as device:
        assert device.plan().nothing_to_do
    older = command(server, bundles / "1.edge.zip", f"{USER}@127.0.0.1", *where, "--dry-run")
    assert older.returncode == 1
    assert "older than 2, which is installed" in older.stderr
    assert deployed(server, bundles / "1.edge.zip", root, allow_older=True)["release"] == "1"


def test_a_release_that_was_damaged_is_deployed_again(
    server: Sshd, bundles: Path, key: Key, root: Path
) -> None:
    assert deployed(server, bundles / "1.edge.zip", root, trust=key.public)["release"] == "1"
    (Layout(root).current / "model" / "model.tflite").write_bytes(b"")
    assert deployed(server, bundles / "1.edge.zip", root)["release"] == "1~2"


class Cut:
    """A way to a port that breaks after so many bytes have gone there."""

    def __init__(self, port: int, limit: int) -> None:
        self._to, self._limit, self.passed = port, limit, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        here, _ = self._listener.accept()
        there = socket.create_connection(("127.0.0.1", self._to))

        def back() -> None:
            while data := there.recv(1 << 16):
                here.sendall(data)

        def guarded() -> None:
            with suppress(OSError):
                back()

        threading.Thread(target=guarded, daemon=True).start()
        while self.passed < self._limit and (data := here.recv(1 << 14)):
            there.sendall(data)
            self.passed += len(data)
        for end in (here, there):
            end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._listener.close()


def test_a_copy_that_was_cut_off_goes_on_where_it_stopped(
    server: Sshd, bundles: Path, key: Key, root: Path
) -> None:
    bundle = bundles / "large.edge.zip"
    size = bundle.stat().st_size
    cut = Cut(server.port, PADDING // 2)
    with pytest.raises(DeviceError, match=r"lost.*goes on where the copy stopped"):
        deployed(server, bundle, root, trust=key.public, options=server.options(cut.port))
    wait_for(lambda: any(c.endswith(".partial") for c in copies(server)), 5)
    assert not root.exists()
    whole = Cut(server.port, 1 << 40)
    done: list[int] = []
    with Deployment(
        bundle,
        f"{USER}@127.0.0.1",
        trust=key.public,
        root=str(root),
        options=server.options(whole.port),
    ) as device:
        plan = wait_for_lock(device)
        # At most WINDOW pieces are on the way unanswered.
        assert PIECE_BYTES <= plan.there_bytes < size
        status = device.deploy(plan, say=str, progress=lambda _s, n, _t: done.append(n))
    assert status["release"] == "3"
    assert done[0] == plan.there_bytes
    assert done[-1] == size
    assert done == sorted(done)
    assert whole.passed < size - plan.there_bytes + 200_000


def wait_for_lock(device: Deployment):  # type: ignore[no-untyped-def]
    """The plan, once the agent of the cut connection has written what it got."""
    plans = [device.plan()]

    def settled() -> bool:
        plans.append(device.plan())
        return plans[-1].there_bytes == plans[-2].there_bytes

    wait_for(settled, 20)
    return plans[-1]


def test_a_copy_that_is_no_beginning_of_the_bundle_begins_anew(
    server: Sshd, bundles: Path, key: Key, root: Path
) -> None:
    with Deployment(
        bundles / "1.edge.zip",
        f"{USER}@127.0.0.1",
        trust=key.public,
        root=str(root),
        options=server.options(),
    ) as device:
        folder = server.folder / "cache" / "edge-sdk" / "deploy"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{device._sha256}.partial").write_bytes(bytes(1000))
        (folder / "another.partial").write_bytes(bytes(1000))
        plan = device.plan()
        assert plan.there_bytes == 0
        assert device.deploy(plan, say=str)["release"] == "1"
    assert copies(server) == ["lock"]


def test_two_deployments_at_once(server: Sshd, bundles: Path, key: Key, root: Path) -> None:
    given = {"trust": key.public, "root": str(root), "options": server.options()}
    host = f"{USER}@127.0.0.1"
    with (
        Deployment(bundles / "1.edge.zip", host, **given) as first,  # type: ignore[arg-type]
        Deployment(bundles / "1.edge.zip", host, **given) as second,  # type: ignore[arg-type]
    ):
        plan = first.plan()
        first._copy(0, lambda *_: None)
        with pytest.raises(DeviceError, match="another deployment to this device is at work"):
            second.deploy(second.plan(), say=str)
        first._install(100, str)
        assert plan.installed is None
    assert Layout(root).current_name() == "1"


def test_what_a_device_would_refuse_is_refused_before_the_copy(
    server: Sshd, bundles: Path, artifact: Artifact, key: Key, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=r"trusts no key yet: give --trust KEY.pub"):
        deployed(server, bundles / "1.edge.zip", root)
    other = tmp_path / "other"
    other.mkdir()
    wrong = faults.make_key(other).public
    with pytest.raises(BundleError, match="not in"):
        deployed(server, bundles / "1.edge.zip", root, trust=wrong)
    cut = tmp_path / "cut.edge.zip"
    cut.write_bytes((bundles / "1.edge.zip").read_bytes()[:-100])
    with pytest.raises(BundleError, match="cut off or damaged"):
        deployed(server, cut, root, trust=key.public)
    for change, said in (({"arch": "riscv64"}, "is for riscv64"), ({"python": "3.9"}, "3.9, this")):
        target = dataclasses.replace(faults.target(), **change)
        made = faults.make_bundle(artifact, key, tmp_path / "o.edge.zip", "4", target)
        with pytest.raises(DeviceError, match=said):
            deployed(server, made, root, trust=key.public)
    target = dataclasses.replace(faults.target(), system=("no_such_module",))
    made = faults.make_bundle(artifact, key, tmp_path / "s.edge.zip", "4", target)
    with pytest.raises(DeviceError, match="its Python lacks no_such_module"):
        deployed(server, made, root, trust=key.public)
    assert deployed(server, bundles / "1.edge.zip", root, trust=key.public)["release"] == "1"
    with pytest.raises(BundleError, match="trusts another key already"):
        deployed(server, bundles / "2.edge.zip", root, trust=wrong)
    assert not [c for c in copies(server) if c != "lock"]


def test_a_release_that_is_refused_there_is_said_here(
    server: Sshd, bundles: Path, artifact: Artifact, key: Key, root: Path, tmp_path: Path
) -> None:
    """Its self-test fails, which only the device can find."""
    deployed(server, bundles / "1.edge.zip", root, trust=key.public)
    target = faults.target()
    name, data = faults.small_wheel()
    tests = selftest_files(artifact, target, None)
    expected = json.loads(tests["selftest/expected-fake.json"])
    last = expected["cases"][-1]
    last["output"] = f"{int(last['output'][:2], 16) ^ 1:02x}" + last["output"][2:]
    tests["selftest/expected-fake.json"] = json.dumps(expected).encode()
    contents = gather(artifact, {name: data}, tests, "4")
    bad = tmp_path / "bad.edge.zip"
    bad.write_bytes(pack(contents, make_record(artifact, target, contents, "4"), key))
    with pytest.raises(DeviceError, match="the self-test failed, nothing was switched"):
        deployed(server, bad, root)
    assert Layout(root).current_name() == "1"
    assert copies(server) == ["lock"]


def test_a_full_disk_is_seen_before_the_copy(
    server: Sshd, bundles: Path, key: Key, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Deployment._look

    def full(self: Deployment, modules: object) -> object:
        return dataclasses.replace(look(self, modules), free_bytes=1000)  # type: ignore[arg-type]

    monkeypatch.setattr(Deployment, "_look", full)
    with pytest.raises(DeviceError, match=r"0 MB free, .*free some space"):
        deployed(server, bundles / "1.edge.zip", root, trust=key.public)
    assert not root.exists()


@contextmanager
def server_with(folder: Path, **environment: object) -> Iterator[Sshd]:
    with running(folder / "sshd", {"XDG_CACHE_HOME": folder / "cache", **environment}) as sshd:
        yield sshd


def test_no_python_there(bundles: Path, key: Key, root: Path, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    with (
        server_with(tmp_path, PATH=empty) as sshd,
        pytest.raises(DeviceError, match=r"no Python 'python3'.*apt install python3"),
    ):
        deployed(sshd, bundles / "1.edge.zip", root, trust=key.public)


def test_a_disk_that_is_full_in_mid_copy(
    bundles: Path, key: Key, root: Path, tmp_path: Path
) -> None:
    """Files of at most 1 MB, where the bundle has three."""
    programs = tmp_path / "bin"
    programs.mkdir()
    python = programs / "python3"
    python.write_text(f'#!/bin/bash\nulimit -f 1000\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with (
        server_with(tmp_path, PATH=f"{programs}:/usr/bin:/bin") as sshd,
        pytest.raises(DeviceError, match="free some space there"),
    ):
        deployed(sshd, bundles / "large.edge.zip", root, trust=key.public)
    assert not root.exists()


def test_devices_that_are_not_reached(
    server: Sshd, bundles: Path, root: Path, tmp_path: Path
) -> None:
    bundle = bundles / "1.edge.zip"
    make_key(tmp_path / "stranger")
    options = [o for o in server.options() if not o.startswith("IdentityFile")]
    with pytest.raises(DeviceError, match="accepts none of your keys"):
        deployed(server, bundle, root, options=[*options, f"IdentityFile={tmp_path / 'stranger'}"])
    with pytest.raises(DeviceError, match="nothing listens there"):
        deployed(server, bundle, root, options=server.options(free_port()))
    with pytest.raises(BundleError, match="cannot be read"):
        deployed(server, tmp_path / "none.edge.zip", root)
    (tmp_path / "rsa.pub").write_text("ssh-rsa AAAA")
    with pytest.raises(BundleError, match="no Ed25519 public key"):
        deployed(server, bundle, root, trust=tmp_path / "rsa.pub")


def test_an_installation_outlives_its_connection(
    server: Sshd, bundles: Path, key: Key, root: Path
) -> None:
    given = {"trust": key.public, "root": str(root), "options": server.options()}
    with (
        pytest.raises(DeviceError, match="the installation goes on there"),
        Deployment(bundles / "1.edge.zip", f"{USER}@127.0.0.1", **given) as device,  # type: ignore[arg-type]
    ):
        device.deploy(device.plan(), say=str, timeout_s=0.0)
    wait_for(lambda: Layout(root).current_name() == "1", 60)


def test_an_update_that_does_not_come_up_is_rolled_back(
    bundles: Path, key: Key, tmp_path: Path
) -> None:
    """systemctl of this device: the second release never becomes active."""
    root = tmp_path / "root"
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(
        '#!/bin/sh\ncase "$1" in\n'
        f'is-active) case "$(readlink {root}/opt/edge-sdk/current)" in\n'
        "  *1) echo active ;; *) echo failed ;; esac ;;\nesac\n"
    )
    systemctl.chmod(0o755)
    path = f"{systemctl.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    with server_with(tmp_path, PATH=path) as sshd:
        first = deployed(sshd, bundles / "1.edge.zip", root, trust=key.public, services="systemd")
        assert first["release"] == "1"
        with pytest.raises(DeviceError, match=r"2 did not come up healthy.*1 runs again"):
            deployed(sshd, bundles / "2.edge.zip", root, services="systemd")
    assert Layout(root).current_name() == "1"


def test_the_agent_is_of_the_standard_library_alone() -> None:
    """It is sent as source to a device that has nothing of ours, and an older Python."""
    code = (
        "import sys; source = open(sys.argv[1]).read(); "
        "exec(compile(source, 'x', 'exec'), {'__name__': 'agent'}); "
        "print([m for m in sys.modules if m.startswith('edge_sdk')])"
    )
    argv = [sys.executable, "-I", "-S", "-c", code, deploy_agent.__file__]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"
