"""What the tests share: where their data is, and which of them can run here.

A test says what it needs with a marker (see pyproject.toml); where that is missing it is skipped
here, with a reason, and nowhere else.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and so
# would every program be that a test starts and interrupts. A handler here is the default there.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("EDGE_SDK_SHARED", ROOT.parent / "shared"))
ARM_VM = Path(os.environ.get("EDGE_SDK_ARM_VM", ROOT / ".cache" / "arm_vm"))
LIBCAMERA = Path(os.environ.get("EDGE_SDK_LIBCAMERA", ROOT / ".cache" / "libcamera"))
SECOND_ENVIRONMENTS = {
    "tflite_runtime": "EDGE_SDK_TFLITE_RUNTIME_PYTHON",
    "mediapipe": "EDGE_SDK_MEDIAPIPE_PYTHON",
    "ansible": "EDGE_SDK_ANSIBLE",
}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def lacks() -> dict[str, str]:
    """What this environment lacks: marker -> why its tests are skipped."""
    found = {}
    if not (installed("ai_edge_litert") or installed("tflite_runtime")):
        found["runtime"] = "no TFLite interpreter: pip install 'edge-sdk[runtime]'"
    if not (installed("tensorflow") and installed("litert_quantizer")):
        found["tensorflow"] = "no TensorFlow or litert-quantizer: pip install 'edge-sdk[convert]'"
    if not SHARED.is_dir():
        found["shared"] = "no development data in ../shared (or EDGE_SDK_SHARED)"
    if not (LIBCAMERA / "ready.json").is_file():
        found["libcamera"] = f"no libcamera in {LIBCAMERA}: python tools/camera_stack makes it"
    if not (ARM_VM / "vm.json").is_file():
        found["arm_vm"] = f"no virtual machine in {ARM_VM}: python tools/arm_vm build makes it"
    elif shutil.which("qemu-system-aarch64") is None:
        found["arm_vm"] = "no qemu-system-aarch64: apt-get install qemu-system-arm"
    for marker, variable in SECOND_ENVIRONMENTS.items():
        if not os.environ.get(variable):
            found[marker] = f"no second environment: {variable} is not set"
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = lacks()
    for item in items:
        for marker in item.iter_markers():
            if marker.name in missing:
                item.add_marker(pytest.mark.skip(reason=missing[marker.name]))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data; mark the test `shared`."""
    return SHARED


@pytest.fixture(scope="session")
def tflite_runtime_python() -> str:
    """The Python of the environment with tflite-runtime; mark the test `tflite_runtime`."""
    return os.environ[SECOND_ENVIRONMENTS["tflite_runtime"]]


@pytest.fixture(scope="session")
def mediapipe_python() -> str:
    """The Python of the environment with MediaPipe; mark the test `mediapipe`."""
    return os.environ[SECOND_ENVIRONMENTS["mediapipe"]]


@pytest.fixture(scope="session")
def arm_vm() -> Path:
    """The folder that `python tools/arm_vm build` made; mark the test `arm_vm`."""
    return ARM_VM


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of tiny models, made by tools/make_test_models.py: 16x16 pictures, classes
    blank, ring and smear (tiny-uint8 names none)."""
    return Path(__file__).parent / "data"


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., Path]:
    """make_images({"cat/1.png": "good", "cat/2.png": "broken"}, name) or make_images([names]).

    Writes small pictures, each of its own colours, into a new folder and returns it."""

    def make(files: list[str] | dict[str, str], name: str = "images") -> Path:
        kinds = files if isinstance(files, dict) else dict.fromkeys(files, "good")
        for number, (file, kind) in enumerate(kinds.items()):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(number)
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
            if kind == "broken":
                path.write_bytes(path.read_bytes()[:60])
        return tmp_path / name

    return make
