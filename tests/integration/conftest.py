"""Conversions that several tests look at, made once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_sdk.simulate import write_cells

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 simulated cells of ten simulated patients."""
    return write_cells(tmp_path_factory.mktemp("data") / "cells", 120, seed=3)


@pytest.fixture(scope="session")
def edge_sdk() -> Run:
    """edge_sdk(*arguments) runs the command line in a fresh process."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_sdk.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=400, **options)  # type: ignore[call-overload]

    return run


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory, cells: Path, edge_sdk: Run) -> Path:
    """The embedded default as float32, float16, int8, int16x8 and w4a8."""
    out = tmp_path_factory.mktemp("artifacts")
    schemes = ["float32", "float16", "int8", "int16x8", "w4a8"]
    options = [word for scheme in schemes for word in ("--to", scheme)]
    done = edge_sdk("convert", *options, "--data", cells, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out
