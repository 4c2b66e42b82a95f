"""Marks, their differences, and what is refused before an emulator starts; see also the
integration test of the same name's counting."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_sdk.benchmark import emulate
from edge_sdk.benchmark.emulate import CPUS, Counted, Counts, Marks
from edge_sdk.cli import cli
from edge_sdk.errors import BackendError, EdgeError, ModelError, UsageError

STDERR = """INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
arm-counts 1000 100 10 0
arm-counts 1011 104 10 0
arm-counts 2022 208 110 50
a line that is not one: arm-counts 1 2 3 4
arm-counts 3034 312 210 100
arm-counts 4043 416 310 150
"""


def test_marks_are_found_among_other_lines() -> None:
    marks = emulate.parse_marks(STDERR)
    assert marks[0] == Marks(1000, 100, 10, 0)
    assert [m.instructions for m in marks] == [1000, 1011, 2022, 3034, 4043]


def test_an_invoke_is_the_median_less_the_mark_s_own_cost() -> None:
    one, spread = emulate.per_invoke(emulate.parse_marks(STDERR), 3)
    assert one == Marks(1000, 100, 100, 50)
    assert spread == pytest.approx(0.003)  # of 998, 1000 and 1001


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "gave 0 marks where 5 were due"),
        (STDERR.replace("arm-counts 4043 416 310 150\n", ""), "gave 4 marks where 5 were due"),
        ("arm-counts 7 0 0 0\n" * 5, "no instructions between two marks"),
    ],
)
def test_marks_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(BackendError, match=said):
        emulate.per_invoke(emulate.parse_marks(text), 3)


def test_the_guest_and_the_plugin_agree_on_the_mark() -> None:
    from edge_sdk.benchmark.emulated_invokes import MARK

    source = Path(__file__).parents[2] / "tools" / "arm_counts" / "count.c"
    assert f"#define MARK {MARK:#x}" in source.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("4x Cortex-A53", "cortex-a53"),
        ("4x Cortex-A72", "cortex-a72"),
        ("1x Cortex-A76 2.84 GHz + 3x Cortex-A76 2.42 GHz + 4x Cortex-A55 1.8 GHz", "cortex-a76"),
    ],
)
def test_a_profile_s_first_core_is_emulated(cpu: str, name: str) -> None:
    assert emulate.cpu_of("board", cpu) == name


@pytest.mark.parametrize("cpu", ["4x Cortex-A9", "4x Kryo 385 Gold (Cortex-A75)", "Cortex-A72", ""])
def test_another_core_is_refused_with_those_that_are_known(cpu: str) -> None:
    with pytest.raises(UsageError, match=r"board has .*Cortex-A53, Cortex-A72, Cortex-A76"):
        emulate.cpu_of("board", cpu)


def test_every_core_s_cpuinfo_names_its_part_and_dot_products() -> None:
    for name, core in CPUS.items():
        blocks = emulate.cpuinfo(core, 2).strip().split("\n\n")
        assert [b.splitlines()[0] for b in blocks] == ["processor\t: 0", "processor\t: 1"]
        assert all(f"CPU part\t: {core.part:#x}" in b for b in blocks)
        assert ("asimddp" in blocks[0]) == (name == "cortex-a76")


def program(folder: Path, body: str) -> None:
    """A qemu-aarch64 of these shell lines, first in the PATH of the test that uses the fixture."""
    path = folder / "bin" / emulate.QEMU
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the tool builds it, without what is emulated, and a qemu that is none."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv(emulate.FOLDER_VARIABLE, str(tmp_path))
    record = {"python": "python3.11", "litert": "2.3.0", "qemu": "7.2.22"}
    (tmp_path / emulate.RECORD).write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


VERSION = 'test "$1" = --version && echo "qemu-aarch64 version 7.2.22 (Debian)" && exit'
REPORT = json.dumps({"litert": "2.3.0", "machine": "aarch64", "memory_bytes": 2048})


def test_what_the_emulated_program_says_becomes_counts(folder: Path, models: Path) -> None:
    (folder / "stderr").write_text(STDERR, encoding="utf-8")
    program(folder, f"{VERSION}\ncat {folder}/stderr >&2\necho '{REPORT}'")
    emulator = emulate.find_emulator()
    counts = emulate.count(models / "tiny-int8.tflite", "cortex-a72", emulator)
    assert counts == Counts(
        cpu="cortex-a72",
        instructions=1000,
        load_store=100,
        simd=100,
        dot=50,
        spread=pytest.approx(0.003),
        memory_bytes=2048,
        runtime="litert",
        version="2.3.0",
        qemu="7.2.22",
    )
    text = emulate.counts_text("m", [Counted("rpi4", counts)])
    assert text.startswith("m on rpi4: 0.00 M instructions per invoke")
    assert "counted under emulation" in text
    assert " ms" not in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo Illegal instruction >&2; exit 132", "status 132 .*'Illegal instruction'"),
        ("echo hello", "said no result"),
        ("echo '{}'", "said no result"),
        (f"echo '{REPORT.replace('aarch64', 'x86_64')}'", "ran on x86_64"),
        (f"echo '{REPORT}'", "gave 0 marks"),
        ("exec sleep 20", "did not end within 1 s"),
    ],
)
def test_an_emulated_program_that_fails(folder: Path, models: Path, body: str, said: str) -> None:
    program(folder, f"{VERSION}\n{body}")
    emulator = emulate.find_emulator()
    with pytest.raises(BackendError, match=said):
        emulate.count(models / "tiny-int8.tflite", "cortex-a72", emulator, timeout_s=1)


def test_a_file_that_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    program(folder, VERSION)
    (tmp_path / "bad.tflite").write_bytes(b"bad")
    with pytest.raises(ModelError, match=r"bad\.tflite"):
        emulate.count(tmp_path / "bad.tflite", "cortex-a72", emulate.find_emulator())


def test_no_qemu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder / "bin"))
    with pytest.raises(BackendError, match=r"install qemu-user .*tools/arm_counts build"):
        emulate.find_emulator()


@pytest.mark.parametrize("record", [None, "", "[]", "{}"])
def test_no_root(folder: Path, record: str | None) -> None:
    program(folder, VERSION)
    path = folder / emulate.RECORD
    path.unlink() if record is None else path.write_text(record, encoding="utf-8")
    with pytest.raises(BackendError, match=r"no arm64 root in .*tools/arm_counts build.*EDGE_SDK"):
        emulate.find_emulator()


def test_another_qemu_than_the_plugin_was_made_for(folder: Path) -> None:
    program(folder, VERSION.replace("7.2.22", "8.2.1"))
    with pytest.raises(BackendError, match=r"built for qemu 7\.2\.22, and .* is 8\.2\.1"):
        emulate.find_emulator()


def test_a_program_that_is_no_qemu(folder: Path) -> None:
    program(folder, "echo hello")
    with pytest.raises(BackendError, match="--version says no version: 'hello"):
        emulate.find_emulator()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "none is given"),
        (["--profile", "rpi4", "--csv"], "use --json"),
        (["--profile", "imx6q"], "imx6q has 4x Cortex-A9"),
    ],
)
def test_emulate_with_options_it_does_not_go_with(
    models: Path, options: list[str], said: str
) -> None:
    model = str(models / "tiny-int8.tflite")
    command = ["benchmark", model, "--estimate-only", "--emulate", *options]
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, EdgeError), done.output
    assert said in str(done.exception)


def test_the_command_counts_each_core_once(folder: Path, models: Path) -> None:
    (folder / "stderr").write_text(STDERR, encoding="utf-8")
    calls = folder / "calls"
    program(folder, f"{VERSION}\necho >> {calls}\ncat {folder}/stderr >&2\necho '{REPORT}'")
    model = str(models / "tiny-int8.tflite")
    profiles = ["--profile", "rpi3b+", "--profile", "rpi-zero2w", "--profile", "rpi5"]
    command = ["benchmark", model, "--estimate-only", "--emulate", *profiles]
    done = CliRunner().invoke(cli, [*command, "--json"])
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)
    assert [(c["profile"], c["counts"]["cpu"]) for c in result["counted"]] == [
        ("rpi3b+", "cortex-a53"),
        ("rpi-zero2w", "cortex-a53"),
        ("rpi5", "cortex-a76"),
    ]
    assert result["counted"][0]["counts"]["label"] == "counted under emulation"
    assert len(calls.read_text().splitlines()) == 2
    assert "instructions per invoke" in CliRunner().invoke(cli, command).stdout
