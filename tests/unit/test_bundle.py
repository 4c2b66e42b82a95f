"""The workstation's side of bundles: keys, targets, own wheel, archive, bill of materials."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_artifact import manifest_of

from edge_sdk import keys
from edge_sdk.bundle import make, sbom, targets, wheels
from edge_sdk.bundle.expected import comparison
from edge_sdk.cli import cli
from edge_sdk.errors import BundleError, UsageError
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.ondevice.release import wheel_members
from edge_sdk.ondevice.selftest import LIMITS


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def wheel(name: str, files: dict[str, str], metadata: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = f"{name}-1.dist-info"
        archive.writestr(f"{info}/METADATA", f"Name: {name}\nVersion: 1\n{metadata}\n")
        for path, text in files.items():
            archive.writestr(path.replace("INFO", info), text)
    return made.getvalue()


def test_a_new_key_is_private_and_is_never_overwritten() -> None:
    key = keys.new_key("clinic")
    assert stat.S_IMODE(key.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.private.parent.stat().st_mode) == 0o700
    assert key.line.startswith("ssh-ed25519 ")
    assert [k.name for k in keys.all_keys()] == ["clinic"]
    with pytest.raises(UsageError, match="never overwritten"):
        keys.new_key("clinic")


@pytest.mark.parametrize("name", ["", "a b", "../a", "a.pub", ".a", "a" * 65])
def test_names_that_no_key_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="must be letters"):
        keys.new_key(name)


def test_a_signature_repeats_and_a_key_that_others_read_does_not_sign() -> None:
    key = keys.new_key("clinic")
    assert keys.sign(b"text", key) == keys.sign(b"text", key)
    assert keys.sign(b"text", key) != keys.sign(b"Text", key)
    key.private.chmod(0o644)
    with pytest.raises(BundleError, match="can be read by others"):
        keys.sign(b"text", key)


def test_a_key_that_is_not_there_names_those_that_are() -> None:
    keys.new_key("clinic")
    with pytest.raises(UsageError, match="Did you mean clinic"):
        keys.read_key("klinic")


def test_the_commands_of_keys() -> None:
    assert CliRunner().invoke(cli, ["keys", "new", "clinic"]).exit_code == 0
    assert "clinic  SHA256:" in CliRunner().invoke(cli, ["keys", "show"]).output
    assert "ssh-ed25519" in CliRunner().invoke(cli, ["keys", "show", "clinic"]).output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("rpi4", None, "3.12", None), "unknown Python '3.12'"),
        (("rpi4", "armv6l", "3.11", None), "unknown architecture 'armv6l'"),
        (("rpi4", None, "3.11", "tflite"), "unknown runtime 'tflite'. Did you mean"),
        (("rpi4", "armv7l", "3.11", "litert"), "no wheel for armv7l"),
        (("rpi4", "armv7l", "3.13", None), "no wheel for Python 3.13"),
        (("pixel3", None, "3.11", None), "give --arch"),
    ],
)
def test_targets_that_nothing_is_published_for(
    given: tuple[str, str | None, str, str | None], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        targets.make_target(*given)


def test_a_32_bit_system_gets_tflite_runtime_and_its_own_numpy() -> None:
    target = targets.make_target("rpi-zero2w", "armv7l", "3.11", None)
    assert (target.runtime, target.system) == ("tflite-runtime", ("numpy", "PIL"))
    assert not [r for r in targets.wanted(target).requirements if r.startswith("numpy")]


def test_a_camera_of_debian_12_keeps_its_numpy() -> None:
    wanted = {
        p: targets.wanted(Target("rpi4", "aarch64", p, "litert", "2")) for p in ("3.11", "3.13")
    }
    assert "numpy<2" in wanted["3.11"].requirements
    assert "numpy>=2" in wanted["3.13"].requirements


def test_wheels_are_those_of_the_lock_file(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    data = wheel("thing", {})
    (folder / "thing-1-py3-none-any.whl").write_bytes(data)
    lock = {
        "requirements": ["thing"],
        "files": {"thing-1-py3-none-any.whl": hashlib.sha256(data).hexdigest()},
    }
    (folder / wheels.LOCK).write_text(json.dumps(lock))
    wanted = targets.Wanted(("thing",), ("any",), "3.11")
    copy = tmp_path / "copy.json"
    assert list(wheels.fetch(wanted, folder, copy)) == ["thing-1-py3-none-any.whl"]
    assert json.loads(copy.read_text()) == lock
    (folder / "thing-1-py3-none-any.whl").write_bytes(data + b"x")
    with pytest.raises(BundleError, match="--refresh"):
        wheels.fetch(wanted, folder)


def test_every_wheel_brings_its_licence() -> None:
    own = wheel("own", {"INFO/licenses/LICENSE": "free"})
    bare = wheel("bare", {}, "License: Apache 2.0")
    found = make.licences({"own.whl": own, "bare.whl": bare})
    assert found["licences/own-1/LICENSE"] == b"free"
    assert b"Apache License" in found["licences/bare-1/LICENSE"]
    with pytest.raises(BundleError, match="no licence text"):
        make.licences({"none.whl": wheel("none", {}, "License: Proprietary")})


def test_a_licence_lies_on_a_device_once() -> None:
    data = wheel("own", {"INFO/licenses/LICENSE": "free", "INFO/RECORD": "", "own/a.py": ""})
    unpacked = {name for name, _ in wheel_members("own.whl", data, targets.SKIP)}
    assert unpacked == {"site/own/a.py", "site/own-1.dist-info/METADATA"}
    assert list(make.licences({"own.whl": data})) == ["licences/own-1/LICENSE"]


def test_the_archive_must_have_its_suffix_and_no_other_of_the_name(tmp_path: Path) -> None:
    target = targets.make_target("rpi4", None, "3.11", None)
    key = keys.new_key("clinic")
    with pytest.raises(UsageError, match=r"must end with .edge.zip"):
        make.make_bundle(tmp_path, target, key, tmp_path / "x.zip", say=print)
    (tmp_path / "x.edge.zip").touch()
    with pytest.raises(UsageError, match="exists"):
        make.make_bundle(tmp_path, target, key, tmp_path / "x.edge.zip", say=print)


def test_what_the_command_lacks_is_named() -> None:
    done = CliRunner().invoke(cli, ["bundle", "--profile", "rpi4"])
    assert isinstance(done.exception, UsageError)
    assert "ARTIFACT, --key, --out must be given" in str(done.exception)


def test_the_licences_in_the_bill_are_expressions_or_names() -> None:
    spdx = sbom._library("a.whl", wheel("a", {}, "License-Expression: MIT-CMU"))
    words = sbom._library("b.whl", wheel("b_c", {}, "License: Apache 2.0"))
    assert spdx["licenses"] == [{"expression": "MIT-CMU"}]
    assert words["licenses"] == [{"license": {"name": "Apache 2.0"}}]
    assert words["purl"] == "pkg:pypi/b-c@1"


def test_the_bill_of_materials_is_valid_cyclonedx(models: Path) -> None:
    """By CycloneDX's own schema, which has to refuse a damaged one, too."""
    pytest.importorskip("cyclonedx", reason="pip install 'edge-sdk[dev]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    manifest = manifest_of(models / "tiny-int8.tflite")
    parts = {"a.whl": wheel("a", {}, "License-Expression: MIT"), "b.whl": wheel("b", {})}
    made = sbom.sbom("tiny", "1.0", manifest, parts)
    assert made == sbom.sbom("tiny", "1.0", manifest, parts)
    check = JsonStrictValidator(SchemaVersion.V1_6)
    assert check.validate_str(made.decode()) is None
    assert check.validate_str(made.decode().replace('"library"', '"libary"')) is not None


@pytest.mark.parametrize(
    ("runtime", "machine", "dtype", "four_bit", "compared"),
    [
        ("litert", "x86_64", np.int8, False, "bytes"),
        ("litert", "x86_64", np.int8, True, "near"),
        ("litert", "aarch64", np.int8, True, "bytes"),
        ("tflite-runtime", "x86_64", np.int8, False, "near"),
        ("tflite-runtime", "aarch64", np.int8, False, "bytes"),
        ("litert", "aarch64", np.float32, False, "close"),
    ],
)
def test_answers_are_held_to_the_bytes_where_kernels_give_the_same(
    runtime: str, machine: str, dtype: Any, four_bit: bool, compared: str
) -> None:
    target = targets.make_target("rpi4", "aarch64", "3.11", runtime)
    found = comparison(target, machine, np.dtype(dtype), four_bit=four_bit)
    assert found == compared
    assert found in LIMITS
