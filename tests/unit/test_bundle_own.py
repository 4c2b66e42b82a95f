"""Our own wheel on a device: every program of it starts there, and nothing of a workstation."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge_sdk.bundle import own
from edge_sdk.cli import BUNDLED_WITH, COMMANDS

BUNDLES = [(), ("screening",), ("screening", "serve")]
IMPORT_ALL = """
import importlib, json, sys
before = set(sys.modules)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(m for m in sys.modules if m.startswith("edge_sdk"))))
"""


def unpacked(folder: Path, extras: tuple[str, ...]) -> Path:
    with zipfile.ZipFile(io.BytesIO(own.own_wheel(extras)[1])) as archive:
        archive.extractall(folder)
    return folder


def python(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With the wheel's edge_sdk in the place of this one's."""
    first = f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv[0] = 'edge-sdk';"
    command = [sys.executable, "-c", f"{first} {words[0]}", *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_repeats_and_has_a_device_s_programs() -> None:
    name, data = own.own_wheel()
    assert (name, data) == own.own_wheel()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        scripts = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert {
        "edge_sdk/runtime.py",
        "edge_sdk/ondevice/install.py",
        "edge_sdk/cli/classify.py",
        "edge_sdk/live/mqtt.py",
        "edge_sdk/camera/picamera2_camera.py",
        "edge_sdk/backends/tflite.py",
    } <= names
    assert scripts.splitlines()[1:] == [
        "edge-classify = edge_sdk.cli.live:main",
        "edge-sdk = edge_sdk.cli:main",
        "edge-sdk-device = edge_sdk.ondevice.program:main",
    ]


@pytest.mark.parametrize("extras", BUNDLES)
def test_nothing_of_the_workstation_is_in_it(extras: tuple[str, ...]) -> None:
    rooms = {
        "train",
        "convert",
        "chips",
        "evaluate",
        "fetch",
        "benchmark",
        "bundle",
        "zoo",
        "plots",
    }
    if "screening" not in extras:
        rooms |= {"screening", "serve", "page"}
    found = {n.split("/")[1].removesuffix(".py") for n in own.own_files(extras)}
    assert rooms & found == set()
    assert not [n for n in own.own_files(extras) if n.endswith(".csv")]


@pytest.mark.parametrize("extras", BUNDLES)
def test_every_module_of_it_imports_from_it_alone(tmp_path: Path, extras: tuple[str, ...]) -> None:
    """All of them, in a process that has no other edge_sdk: what one imports when it is loaded is
    there. Packages from elsewhere are this environment's."""
    if "serve" in extras and not COMMANDS.get("serve"):
        pytest.skip("there is no `edge-sdk serve` yet")
    site = unpacked(tmp_path, extras)
    modules = sorted(own.own_modules(extras) - {"edge_sdk.cli.__main__"})
    isolated = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}){IMPORT_ALL}"]
    done = subprocess.run(
        [*isolated, json.dumps(modules)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(modules)


def test_what_only_a_workstation_can_do_ends_with_a_sentence(tmp_path: Path, models: Path) -> None:
    site, main = unpacked(tmp_path, ("screening",)), "import edge_sdk.cli; edge_sdk.cli.main()"
    rule = ["screen", "rule", "m", "--data", "d", "--split-file", "s"]
    done = python(site, main, *rule)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this is for a workstation: edge_sdk.")
    chip = ["classify", str(models / "tiny-int8.tflite"), str(tmp_path), "--backend", "cim"]
    done = python(site, main, *chip)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this is for a workstation: edge_sdk.")


def test_commands_that_are_not_there_say_where_they_are(tmp_path: Path) -> None:
    site = unpacked(tmp_path, ())
    main = "import edge_sdk.cli; edge_sdk.cli.main()"
    said = python(site, main, "--help")
    assert said.returncode == 0
    listed = said.stdout.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.strip()] == ["classify", "simulate"]
    for name in COMMANDS:
        if name in ("classify", "simulate"):
            continue
        done = python(site, main, name, "--out", "x", "y")
        assert done.returncode == 2, name
        where = f"made --with {BUNDLED_WITH[name]}" if name in BUNDLED_WITH else "for a workstation"
        assert where in done.stderr, name
    screening = unpacked(tmp_path / "s", ("screening",))
    assert "screen" in python(screening, main, "--help").stdout
    assert "Make the key pair" in python(screening, main, "keys", "new", "--help").stdout
    assert (screening / "edge_sdk" / "screening" / "signature.py").is_file()


@pytest.mark.parametrize("entry", ["edge_sdk.cli.live", "edge_sdk.ondevice.program"])
def test_the_other_programs_start(tmp_path: Path, entry: str) -> None:
    done = python(unpacked(tmp_path, ()), f"import {entry} as p; sys.exit(p.main())", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_sources_are_read_for_what_they_import() -> None:
    text = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from edge_sdk.train import loop
TABLE = {"a": "edge_sdk.camera.folder:FolderCamera", "b": "edge_sdk.camera and words"}
def f():
    from edge_sdk import files
    import edge_sdk.page
"""
    assert set(own.imported(ast.parse(text))) == {
        "typing.TYPE_CHECKING",
        "edge_sdk.camera.folder:FolderCamera",
        "edge_sdk.files",
        "edge_sdk.page",
    }
    assert own.stays("edge_sdk.report_cim")
    assert own.stays("edge_sdk.backends.cim.chip")
    assert not own.stays("edge_sdk.backends")
    assert not own.stays("edge_sdk.training")
