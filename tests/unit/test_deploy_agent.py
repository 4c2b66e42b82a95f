"""What a device says before a bundle is sent to it. Whole deployments are in tests/integration."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edge_sdk.device import deploy_agent
from edge_sdk.device.deploy import Deployment, Found
from edge_sdk.errors import BundleError, DeviceError, UsageError
from edge_sdk.strict import from_plain


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def look(root: Path, sha256: str = "x", modules: tuple[str, ...] = ()) -> Found:
    said = deploy_agent.look(root, sha256, list(modules))
    return from_plain(Found, said, "look", DeviceError)


def test_looking_at_an_empty_device_changes_nothing(tmp_path: Path) -> None:
    found = look(tmp_path / "root", modules=("json", "no_such_module"))
    assert (found.release, found.record, found.trusted, found.partial_bytes) == (None,) * 3 + (0,)
    assert found.lacking == ("no_such_module",)
    assert found.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_was_cut_off_is_told_with_its_hash(tmp_path: Path, own_cache: Path) -> None:
    folder = own_cache / "edge-sdk" / "deploy"
    folder.mkdir(parents=True)
    (folder / "x.partial").write_bytes(b"half")
    found = look(tmp_path)
    assert found.partial_bytes == 4
    assert found.partial_sha256 == hashlib.sha256(b"half").hexdigest()


@pytest.mark.parametrize(("status", "may"), [(0, True), (1, False)])
def test_a_user_who_is_not_root_needs_a_sudo_that_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, may: bool
) -> None:
    sudo = tmp_path / "bin" / "sudo"
    sudo.parent.mkdir()
    sudo.write_text(f'#!/bin/sh\n[ "$1" = -n ] && exit {status}\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sudo.parent}:/usr/bin:/bin")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert (look(Path("/")).sudo, look(Path("/")).may) == (True, may)
    assert (look(tmp_path).sudo, look(tmp_path).may) == (False, True)


def test_a_device_without_ssh_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh-keygen" in look(tmp_path).tools_lacking


def test_hosts_and_files_that_are_none(tmp_path: Path) -> None:
    bundle = tmp_path / "x.edge.zip"
    with pytest.raises(BundleError, match="cannot be read"):
        Deployment(bundle, "pi")
    bundle.touch()
    with pytest.raises(UsageError, match="HOST '-v' is no host"):
        Deployment(bundle, "-v")
    with pytest.raises(UsageError, match="is not NAME=VALUE"):
        Deployment(bundle, "pi", options=["-v"])
    with pytest.raises(BundleError, match=r"key .* cannot be read"):
        Deployment(bundle, "pi", trust=tmp_path / "none.pub")
