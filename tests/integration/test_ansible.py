"""The Ansible role against three real sshd's of this machine, each with a root of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import install_faults as faults
import pytest
from sshd_server import USER, Sshd, needs_sshd, running

from edge_sdk.artifact import read_artifact
from edge_sdk.bundle import make
from edge_sdk.bundle.expected import selftest_files
from edge_sdk.keys import Key
from edge_sdk.ondevice.layout import Layout

ROLE = Path(__file__).parents[2] / "deploy" / "ansible"
HOSTS = ("canary", "second", "third")
pytestmark = [needs_sshd, pytest.mark.ansible, pytest.mark.slow]


@dataclass(frozen=True)
class Fleet:
    """stick: good and bad bundles, by version, with install.sh and key.pub."""

    folder: Path
    servers: dict[str, Sshd]
    stick: Path

    def root(self, host: str) -> Path:
        return self.folder / host / "root"

    def releases(self) -> list[str | None]:
        return [Layout(self.root(h)).current_name() for h in HOSTS]

    def host(self, name: str, **variables: object) -> dict[str, object]:
        s = self.servers[name]
        options = [o for o in s.options() if not o.startswith("Port=")]
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": s.port,
            "ansible_user": USER,
            "ansible_ssh_common_args": " ".join(f"-o{o}" for o in options),
            "ansible_remote_tmp": str(s.folder / "tmp"),
            "edge_sdk_root": str(self.root(name)),
            "edge_sdk_folder": str(s.folder / "copy"),
            **variables,
        }

    def play(self, bundle: str, *words: str, **others: str) -> tuple[int, str]:
        """Status and output of the playbook. others: host -> a bundle of its own."""
        every: dict[str, Any] = {
            h: self.host(
                h, **({"edge_sdk_bundle": str(self.stick / others[h])} if h in others else {})
            )
            for h in HOSTS
        }
        groups = {
            "edge_sdk": {
                "hosts": {h: every[h] for h in HOSTS[1:]},
                "children": {"edge_sdk_canaries": {"hosts": {HOSTS[0]: every[HOSTS[0]]}}},
                "vars": {
                    "ansible_python_interpreter": sys.executable,
                    "edge_sdk_bundles": {os.uname().machine: str(self.stick / bundle)},
                    "edge_sdk_trust": str(self.stick / "key.pub"),
                    "edge_sdk_services": "none",
                    "edge_sdk_serial": [1],
                },
            }
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps(groups), encoding="utf-8")
        program = Path(os.environ["EDGE_SDK_ANSIBLE"]).with_name("ansible-playbook")
        environment = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ROLE / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "local"),
            "ANSIBLE_SSH_ARGS": "-oControlMaster=auto -oControlPersist=20 -oControlPath="
            f"{self.folder / '%C'}",
        }
        command = [str(program), "-i", str(inventory), str(ROLE / "deploy.yml"), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=550, env=environment, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def fleet(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    # A socket's path has to be short.
    folder = tmp_path_factory.mktemp("fleet")
    key = faults.make_key(tmp_path_factory.mktemp("key"))
    stick = folder / "stick"
    stick.mkdir()
    artifact = read_artifact(faults.make_artifact(models, folder))
    for version in ("1", "2"):
        faults.make_bundle(artifact, key, stick / f"{version}.edge.zip", version)
    bad_bundle(artifact, key, stick / "bad.edge.zip")
    shutil.copy(Path(make.__file__).parent / "templates" / "install.sh", stick)
    shutil.copy(key.public, stick / "key.pub")
    with ExitStack() as stack:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        servers = {
            h: stack.enter_context(running(folder / h / "sshd", {"PATH": path})) for h in HOSTS
        }
        yield Fleet(folder, servers, stick)


def bad_bundle(artifact: Any, key: Key, out: Path) -> None:
    """Its self-test expects another answer."""
    target = faults.target()
    name, data = faults.small_wheel()
    tests = selftest_files(artifact, target, None)
    expected = json.loads(tests["selftest/expected-fake.json"])
    last = expected["cases"][-1]
    last["output"] = f"{int(last['output'][:2], 16) ^ 1:02x}" + last["output"][2:]
    tests["selftest/expected-fake.json"] = json.dumps(expected).encode()
    contents = make.gather(artifact, {name: data}, tests, "3")
    record = make.make_record(artifact, target, contents, "3")
    out.write_bytes(make.pack(contents, record, key))


def test_a_rollout_and_those_that_stop(fleet: Fleet) -> None:
    """One after the other: each begins with what the one before left."""
    status, said = fleet.play("1.edge.zip", "--check", "--limit", HOSTS[0])
    assert status == 0, said
    assert "1.edge.zip would be installed" in said
    assert not fleet.root(HOSTS[0]).exists()

    status, said = fleet.play("1.edge.zip")
    assert status == 0, said
    assert fleet.releases() == ["1", "1", "1"]
    assert said.index("TASK [edge_sdk : The device]") < said.index("PLAY [The others, in batches]")
    assert said.count("tiny-int8 1, service no service manager") == 3
    assert not [h for h in HOSTS if (fleet.servers[h].folder / "copy").exists()]

    status, said = fleet.play("1.edge.zip", "--limit", HOSTS[0])
    assert status == 0, said
    assert "changed=0" in said

    status, said = fleet.play("bad.edge.zip")
    assert status != 0
    assert "the self-test failed, nothing was switched" in said
    assert fleet.releases() == ["1", "1", "1"]
    assert "PLAY [The others, in batches]" not in said

    status, said = fleet.play("2.edge.zip", second="bad.edge.zip")
    assert status != 0
    assert fleet.releases() == ["2", "1", "1"]
    assert "third" not in said.partition("PLAY RECAP")[0]
