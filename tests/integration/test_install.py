"""Whole installations into a folder: the script, refusals, faults, the unit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import install_faults as faults
import pytest

from edge_sdk.artifact import read_artifact
from edge_sdk.bundle import make
from edge_sdk.keys import Key
from edge_sdk.ondevice.layout import Layout

TEMPLATES = Path(make.__file__).parent / "templates"


@pytest.fixture(scope="module")
def artifact(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.make_artifact(models, tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return faults.make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def stick(artifact: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is carried to the device: bundles 1 and 2, install.sh, the public key."""
    folder = tmp_path_factory.mktemp("stick")
    for version in ("1", "2"):
        faults.make_bundle(read_artifact(artifact), key, folder / f"{version}.edge.zip", version)
    shutil.copy(TEMPLATES / "install.sh", folder)
    shutil.copy(key.public, folder / "key.pub")
    return folder


def sh(stick: Path, root: Path, *words: object) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = ["sh", str(stick / "install.sh"), "--root", str(root), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={"PATH": path}
    )


def device(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "opt/edge-sdk/bin/edge-sdk-device"), "--root", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def installed(stick: Path, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    done = sh(stick, root, "--trust", stick / "key.pub", stick / "1.edge.zip")
    assert done.returncode == 0, done.stderr
    return root


def test_install_update_roll_back_uninstall(stick: Path, installed: Path) -> None:
    assert sh(stick, installed, stick / "2.edge.zip").returncode == 0
    found = json.loads(device(installed, "status", "--json", "--check").stdout)
    assert (found["release"], found["before"], found["damage"]) == ("2", "1", None)
    assert device(installed, "rollback").returncode == 0
    assert Layout(installed).current_name() == "1"
    assert "bytes" in device(installed, "selftest").stdout
    assert device(installed, "uninstall").returncode == 0
    left = sorted(str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file())
    assert left == [
        "etc/edge-sdk/config.toml",
        "etc/edge-sdk/trusted_keys",
        "var/lib/edge-sdk/lock",
    ]


def test_installing_twice_changes_nothing(stick: Path, installed: Path) -> None:
    config = Layout(installed).config
    config.write_text("# changed by hand\n")
    before = sorted(p.stat().st_ino for p in (installed / "opt").rglob("*"))
    assert "unpacked already" in sh(stick, installed, stick / "1.edge.zip").stderr
    assert sorted(p.stat().st_ino for p in (installed / "opt").rglob("*")) == before
    assert config.read_text() == "# changed by hand\n"


def test_an_older_bundle_has_to_be_asked_for(stick: Path, installed: Path) -> None:
    assert sh(stick, installed, stick / "2.edge.zip").returncode == 0
    refused = sh(stick, installed, stick / "1.edge.zip")
    assert refused.returncode == 1
    assert "older than 2, which is installed: give --allow-older" in refused.stderr
    assert sh(stick, installed, "--allow-older", stick / "1.edge.zip").returncode == 0


def test_the_script_refuses_before_anything_runs(
    stick: Path, installed: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    evil = tmp_path / "evil.edge.zip"
    with zipfile.ZipFile(stick / "2.edge.zip") as old, zipfile.ZipFile(evil, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.startswith("wheels/edge_sdk-"):
                data = b"print('evil')"
            new.writestr(info, data)
    refused = sh(stick, installed, evil)
    assert "its installer is not the one that was signed" in refused.stderr
    assert not marker.exists()
    cut = tmp_path / "cut.edge.zip"
    cut.write_bytes((stick / "2.edge.zip").read_bytes()[:-100])
    assert "cut off or damaged" in sh(stick, installed, cut).stderr
    assert Layout(installed).current_name() == "1"


def test_the_first_installation_needs_a_key(stick: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert "give --trust KEY.pub" in sh(stick, root, stick / "1.edge.zip").stderr
    other = tmp_path / "other"
    other.mkdir()
    wrong = faults.make_key(other).public
    refused = sh(stick, root, "--trust", wrong, stick / "1.edge.zip")
    assert "a key that is not trusted here" in refused.stderr
    assert not Layout(root).trusted_keys.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"arch": "riscv64"}, "is for riscv64"), ({"python": "3.9"}, "is for Python 3.9")],
)
def test_a_bundle_for_another_device(
    stick: Path, installed: Path, artifact: Path, key: Key, change: dict[str, str], said: str
) -> None:
    target = replace(faults.target(), **change)
    other = faults.make_bundle(read_artifact(artifact), key, stick / "other.edge.zip", "3", target)
    assert said in sh(stick, installed, other).stderr
    assert Layout(installed).current_name() == "1"


def test_a_model_that_answers_otherwise_is_not_switched_to(
    stick: Path, installed: Path, artifact: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = faults.selftest_files

    def wrong(*given: object) -> dict[str, bytes]:
        files = tests(*given)  # type: ignore[arg-type]
        name = "selftest/expected-fake.json"
        data = json.loads(files[name])
        last = data["cases"][-1]
        last["output"] = f"{int(last['output'][:2], 16) ^ 1:02x}" + last["output"][2:]
        return {**files, name: json.dumps(data).encode()}

    monkeypatch.setattr(faults, "selftest_files", wrong)
    bad = faults.make_bundle(read_artifact(artifact), key, stick / "bad.edge.zip", "3")
    done = sh(stick, installed, bad)
    assert "the self-test failed, nothing was switched" in done.stderr
    assert Layout(installed).current_name() == "1"
    assert faults.clean(Layout(installed))


def test_a_damaged_release_is_found_and_replaced(stick: Path, installed: Path) -> None:
    model = Layout(installed).current / "model" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1])
    found = json.loads(device(installed, "status", "--json", "--check").stdout)
    assert found["damage"] == "model/model.tflite"
    assert "changed or damaged" in device(installed, "selftest").stderr
    assert sh(stick, installed, stick / "1.edge.zip").returncode == 0
    assert Layout(installed).current_name() == "1~2"
    assert device(installed, "selftest").returncode == 0


def test_two_installers_at_once(stick: Path, installed: Path) -> None:
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    command = ["sh", str(stick / "install.sh"), "--root", str(installed), str(stick / "2.edge.zip")]
    both = [subprocess.Popen(command, env=path, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [(p.communicate(timeout=300)[1], p.returncode) for p in both]
    assert 0 in [status for _, status in said]
    assert all(status == 0 or "another installation" in text for text, status in said)
    assert Layout(installed).current_name() == "2"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a file system cannot be mounted here: it takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_or_read_only(stick: Path, small_disk: Path) -> None:
    trust = ("--trust", stick / "key.pub")
    assert sh(stick, small_disk, *trust, stick / "1.edge.zip").returncode == 0
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 65_536))
    full = sh(stick, small_disk, stick / "2.edge.zip")
    assert full.returncode == 1
    assert "free some" in full.stderr
    assert Layout(small_disk).current_name() == "1"
    assert device(small_disk, "selftest").returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    read_only = sh(stick, small_disk, stick / "2.edge.zip")
    assert "the file system is read-only" in read_only.stderr
    assert device(small_disk, "selftest").returncode == 0


@pytest.mark.slow
def test_a_fault_at_every_step(artifact: Path, tmp_path: Path) -> None:
    """Every step of the rollback, every n-th of the others; EDGE_SDK_EVERY_STEP=1: all of all."""
    stride = 1 if os.environ.get("EDGE_SDK_EVERY_STEP") == "1" else None
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as folder:
        rows = list(faults.table(Path(folder), artifact, stride=stride))
    assert len(rows) == len(faults.JOBS) * len(faults.FAULTS)
    for row in rows:
        assert row.steps > 3, row
        assert (row.broken, row.not_repaired) == (0, 0), row
        assert row.old + row.new == row.steps


@pytest.mark.parametrize("name", ["edge-sdk.service", "edge-sdk-serve.service"])
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path, name: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    unit = tmp_path / name
    # It checks that the programs are there; they are on a device.
    text = (TEMPLATES / unit.name).read_text().replace("/opt/edge-sdk/bin/", "/bin/true ")
    unit.write_text(text)
    verified = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True)
    assert unit.name not in verified.stderr, verified.stderr
    command = [tool, "security", "--offline=true", "--threshold=30", "--no-pager", str(unit)]
    rated = subprocess.run(command, capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout[-2000:]
