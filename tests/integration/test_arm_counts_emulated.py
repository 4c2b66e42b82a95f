"""Real ARM code under qemu; needs the folder that `python tools/arm_counts build` makes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_sdk.benchmark.emulate import CPUS, Counts, Emulator, count, find_emulator
from edge_sdk.errors import BackendError

pytestmark = pytest.mark.slow
SCHEMES = ("float32", "int8", "w4a8")


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    try:
        return find_emulator()
    except BackendError as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def counted(emulator: Emulator, models: Path) -> dict[tuple[str, str], Counts]:
    """The tiny models as every core."""
    return {
        (scheme, cpu): count(models / f"tiny-{scheme}.tflite", cpu, emulator)
        for scheme in SCHEMES
        for cpu in CPUS
    }


def test_dot_products_are_executed_where_the_core_has_them(
    counted: dict[tuple[str, str], Counts],
) -> None:
    for (scheme, cpu), c in counted.items():
        assert (c.dot > 0) == (cpu == "cortex-a76" and scheme != "float32"), (scheme, cpu)
        assert 0 < c.load_store + c.simd < c.instructions
        assert c.memory_bytes > 0
    kernels = {cpu: (c.load_store, c.simd) for (s, cpu), c in counted.items() if s == "int8"}
    assert len(set(kernels.values())) == len(CPUS), "each core has kernels of its own"


def test_counts_repeat_in_another_process(
    counted: dict[tuple[str, str], Counts], emulator: Emulator, models: Path
) -> None:
    """To 0.1 % or the few dozen instructions by which Python's own code differs: a model this
    small has 40,000, the smallest of the grid three million."""
    for scheme in ("int8", "float32"):
        first = counted[scheme, "cortex-a72"]
        again = count(models / f"tiny-{scheme}.tflite", "cortex-a72", emulator)
        assert again.instructions == pytest.approx(first.instructions, rel=1e-3, abs=100)
        assert again.simd == first.simd


def test_the_command_counts_a_user_s_model(emulator: Emulator, models: Path, edge_sdk: Any) -> None:
    environment = {**os.environ, "EDGE_SDK_ARM64": str(emulator.folder)}
    done: CompletedProcess[str] = edge_sdk(
        "benchmark", models / "tiny-int8.tflite", "--estimate-only", "--profile", "rpi5",
        "--emulate", "--json", env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)[0]["counted"]
    assert (found["profile"], found["counts"]["cpu"]) == ("rpi5", "cortex-a76")
    assert found["counts"]["instructions"] > 10_000
