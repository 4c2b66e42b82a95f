"""A worker that fails, in each way that a process can: always one BackendError."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.backends.process import installed_backends, run_inputs, run_worker
from edge_sdk.errors import BackendError, ModelError, UsageError

JOB = {"task": "time", "backend": "fake", "model": "m.tflite", "threads": 1}
Stand = Callable[[str], str]


@pytest.fixture
def stand_in(tmp_path: Path) -> Stand:
    """stand_in(code) is the path of a 'Python' that runs this shell code instead."""

    def make(code: str) -> str:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{code}\n")
        script.chmod(0o755)
        return str(script)

    return make


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("kill -SEGV $$", r"fake crashed on m\.tflite in .* \(exit status -11\): no message"),
        ("echo reason >&2; exit 3", r"exit status 3\): reason"),
        ("echo; echo not json", "exit status 0"),
        ("printf '\\377\\376\\n'", "exit status 0"),
        ("printf '\\377\\376\\n' >&2; exit 1", "exit status 1"),
        ("echo 123", "exit status 0"),
        ("echo '[]'", "exit status 0"),
        ("echo '\"error\"'", "exit status 0"),
        ("exit 0", "exit status 0"),
        ("""echo '{"error": "odd", "kind": "unknown_name"}'""", "odd"),
        ("""echo '{"error": "odd", "kind": "annotations"}'""", "odd"),
        ("""echo '{"error": "odd"}'""", "odd"),
    ],
)
def test_a_worker_that_fails_is_a_backend_error(stand_in: Stand, code: str, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        run_worker(JOB, python=stand_in(code))


def test_a_worker_that_hangs_is_ended(stand_in: Stand) -> None:
    start = time.monotonic()
    with pytest.raises(BackendError, match=r"fake gave no answer within 0\.2 s"):
        run_worker(JOB, python=stand_in("exec sleep 30"), timeout_s=0.2)
    assert time.monotonic() - start < 10


def test_chatter_before_the_result_is_skipped(stand_in: Stand) -> None:
    python = stand_in("""echo hello; echo '{"a": 1}'; echo log >&2""")
    assert run_worker(JOB, python=python) == {"a": 1}


def test_a_worker_that_leaves_no_outputs(stand_in: Stand, models: Path) -> None:
    inputs = np.zeros((1, 16, 16, 3), np.int8)
    with pytest.raises(BackendError, match="left no outputs"):
        run_inputs("fake", models / "tiny-int8.tflite", inputs, python=stand_in("echo '{}'"))


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    for call in (lambda p: run_worker(JOB, python=p), installed_backends):
        with pytest.raises(BackendError, match="none"):
            call(str(tmp_path / "none"))


def test_a_python_that_is_none(stand_in: Stand) -> None:
    for code in ("echo hello", "exit 1", "echo 5", "echo '{}'"):
        with pytest.raises(BackendError, match="for its interpreters"):
            installed_backends(stand_in(code))


def test_the_workers_own_errors_keep_their_kind(tmp_path: Path, models: Path) -> None:
    job = {**JOB, "model": str(tmp_path / "none.tflite")}
    with pytest.raises(ModelError, match=r"cannot read model .*none\.tflite"):
        run_worker(job)
    with pytest.raises(UsageError, match="unknown backend 'fkae'"):
        run_worker({**job, "backend": "fkae"})
    with pytest.raises(BackendError, match="input has shape"):
        run_inputs("fake", models / "tiny-int8.tflite", np.zeros((1, 2, 2, 3), np.int8))


def test_a_worker_sees_this_package_and_nothing_else_of_ours(stand_in: Stand) -> None:
    python = stand_in(
        f"""exec {sys.executable} -c 'import json, os; p = os.environ["PYTHONPATH"]
print(json.dumps({{"here": os.listdir(p)}}))'"""
    )
    assert run_worker(JOB, python=python) == {"here": ["edge_sdk"]}


@pytest.mark.runtime
def test_this_pythons_interpreters_are_found_without_importing_them() -> None:
    found = installed_backends(sys.executable)
    assert set(found) & {"litert", "tflite-runtime"}
    code = "import sys; from edge_sdk.backends.process import installed_backends as f;"
    code += "f(sys.executable); print('tensorflow' in sys.modules, 'ai_edge_litert' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
