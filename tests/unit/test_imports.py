"""What may be imported where: the device loads little, and data flows one way."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_sdk

PACKAGE = Path(edge_sdk.__file__).parent
CODE = """
import json, sys
before = set(sys.modules)
import {module}
names = {{n.split(".")[0] for n in set(sys.modules) - before}}
names -= set(sys.stdlib_module_names) | {{"edge_sdk", "device_profiles"}}
print(json.dumps(sorted(n for n in names if not n.startswith("_"))))
"""

# What each of these may load beside the standard library, and no more.
ALLOWED = {
    "edge_sdk.cli": {"click"},
    "edge_sdk.errors": set(),
    "edge_sdk.strict": set(),
    "edge_sdk.files": set(),
    "edge_sdk.profiles": set(),
    "edge_sdk.tflite_file": {"numpy"},
    "edge_sdk.artifact": {"numpy"},
    "edge_sdk.runtime": {"numpy"},
    "edge_sdk.backends.worker": {"numpy"},
    "edge_sdk.backends.tflite": {"numpy"},
    "edge_sdk.device.agent": set(),
    "edge_sdk.device.ssh": {"numpy"},
    "edge_sdk.classify": {"numpy"},
    "edge_sdk.input_statistics": {"numpy"},
    "edge_sdk.live.program": {"numpy"},
    "edge_sdk.live.mqtt": {"numpy"},
    "edge_sdk.cli.live": {"click"},
    "edge_sdk.cli.serve": {"click"},
    "edge_sdk.serve.settings": {"numpy"},
    "edge_sdk.camera": {"numpy"},
    "edge_sdk.camera.picamera2_camera": {"numpy"},
    "edge_sdk.camera.v4l2": {"numpy"},
    "edge_sdk.report": {"numpy"},
    "edge_sdk.screening.slide": {"numpy"},
    "edge_sdk.screening.session": {"numpy"},
    "edge_sdk.screening.make_record": {"numpy"},
    "edge_sdk.evaluate.html": {"numpy"},
    "edge_sdk.convert.pipeline": {"numpy", "PIL"},
}

# What trains, converts, measures and packs stays off the device.
WORKSTATION = (
    "benchmark", "bundle", "chips", "convert", "device", "evaluate", "fetch", "report", "train",
)  # fmt: skip
# The rooms from left to right; each imports only from those before it.
RIGHT_OF = {
    "backends": ("runtime", "benchmark", "convert", "train", "classify", "report", "cli"),
    "convert": ("runtime", "benchmark", "classify", "report", "cli", "camera"),
    "train": ("runtime", "benchmark", "convert", "classify", "report", "cli", "camera"),
    "benchmark": ("device", "convert", "train", "classify", "report", "cli", "camera"),
    "device": ("convert", "train", "evaluate", "classify", "report", "cli", "camera"),
    "runtime": ("benchmark", "convert", "train", "classify", "report", "cli", "camera"),
    "classify": ("benchmark", "convert", "train", "report", "cli", "camera"),
    "chips": ("evaluate", "convert", "train", "classify", "report", "cli", "camera"),
    "evaluate": ("convert", "train", "classify", "cli", "camera"),
    "report": ("convert", "train", "evaluate", "classify", "cli", "camera"),
    "camera": (
        "backends",
        "runtime",
        "benchmark",
        "convert",
        "train",
        "classify",
        "report",
        "live",
        "serve",
        "cli",
    ),
    "screening": (
        *WORKSTATION,
        "serve",
        "cli",
    ),
    # What a device serves to a phone: nothing that trains, converts or measures.
    "serve": (
        *WORKSTATION,
        "zoo",
        "cli",
    ),
    # Only what a bundle carries: none of what trains, measures or draws is on the device.
    "live": (
        *WORKSTATION,
        "zoo",
        "serve",
        "cli",
    ),
}
BASE = (
    "errors", "strict", "files", "preprocess", "tflite_file", "artifact", "dataset", "sidecar",
    "model_metadata", "progress", "profiles", "cost", "metrics", "quiet", "fetch", "integer_model",
    "input_statistics",
)  # fmt: skip
OWNERS = {
    "tensorflow": ("convert/", "train/", "backends/tflite.py"),
    "keras": ("convert/", "train/"),
    "litert_quantizer": ("convert/litert_quantizer.py",),
    "picamera2": ("camera/picamera2_camera.py",),
    "libcamera": ("camera/picamera2_camera.py",),
    "cv2": ("camera/v4l2.py", "screening/"),
    "cryptography": ("screening/identity.py",),
    "numba": ("backends/cim/",),
    "click": ("cli/",),
    "paho": ("live/mqtt.py",),
    "starlette": ("serve/",),
    "uvicorn": ("serve/program.py",),
    "jinja2": ("serve/app.py",),
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, in functions too, with the names taken."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            yield node.module or ""
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


TREES = dict(sources())


def room(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_loads_what_it_may_and_no_more(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set(json.loads(done.stdout)) <= ALLOWED[module]


@pytest.mark.parametrize("file", TREES)
def test_imports_go_one_way(file: str) -> None:
    here = room(file)
    forbidden = RIGHT_OF.get(here, ())
    if here in BASE:
        forbidden = ("backends", "runtime", *RIGHT_OF["backends"], "camera", "live")
    wrong = [
        name
        for name in imported(TREES[file])
        if name.startswith("edge_sdk.") and name.split(".")[1] in forbidden
    ]
    assert wrong == []


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_is_imported_in_its_own_room_only(package: str) -> None:
    users = [
        f for f, tree in TREES.items() if any(n.split(".")[0] == package for n in imported(tree))
    ]
    assert [f for f in users if not f.startswith(OWNERS[package])] == []


def test_the_rules_see_an_import_where_there_is_one() -> None:
    code = "def f():\n import tensorflow as tf\n from edge_sdk import cli\nimport_module('keras.x')"
    assert set(imported(ast.parse(code))) == {"tensorflow", "edge_sdk", "edge_sdk.cli", "keras.x"}
    assert "litert_quantizer" in set(imported(TREES["convert/litert_quantizer.py"]))
    assert set(BASE) | set(RIGHT_OF) <= {room(f) for f in TREES}


def test_the_command_line_imports_its_commands_in_their_functions() -> None:
    files = [tree for file, tree in TREES.items() if room(file) == "cli"]
    top = [n for t in files for n in t.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = [
        name.split(".")[1] for n in top for name in imported(n) if name.startswith("edge_sdk.")
    ]
    assert {"cli", "errors"} <= set(names) <= {"cli", "errors", "__version__"}
