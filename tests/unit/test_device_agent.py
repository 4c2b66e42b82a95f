"""What runs on the device: how it looks at it, its folder, what it is made of; and the warnings."""

from __future__ import annotations

import ast
import fcntl
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edge_sdk.benchmark.measure import Conditions, State
from edge_sdk.device import agent, ssh
from edge_sdk.device.conditions import condition_warnings

PI = {
    "devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
    "devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "600000\n",
    "devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1800000\n",
    "class/thermal/thermal_zone0/temp": "48199\n",
    "class/thermal/cooling_device0/type": "thermal-cpufreq-0\n",
    "class/thermal/cooling_device0/cur_state": "1\n",
    "class/thermal/cooling_device1/type": "pwm-fan\n",
    "class/thermal/cooling_device1/cur_state": "4\n",
}


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def vcgencmd(folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "vcgencmd").write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
    (folder / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_state_of_a_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vcgencmd(tmp_path / "bin", "[ $1 = get_throttled ] && echo throttled=0x50005", monkeypatch)
    proc = tree(tmp_path / "proc", {"meminfo": "MemTotal: 1 kB\nMemAvailable: 3000000 kB\n"})
    assert agent.state(tree(tmp_path / "sys", PI), proc) == {
        "governor": "ondemand",
        "clock_mhz": 600.0,
        "clock_max_mhz": 1800.0,
        "temperature_c": pytest.approx(48.199),
        "throttled": 0x50005,
        "cooling": 1,
        "memory_free_bytes": 3_000_000 * 1024,
    }


def test_big_and_little_cores_are_one_state(tmp_path: Path) -> None:
    more = {name.replace("policy0", "policy4"): text for name, text in PI.items()}
    more["devices/system/cpu/cpufreq/policy4/scaling_governor"] = "performance"
    more["devices/system/cpu/cpufreq/policy4/scaling_cur_freq"] = "2400000"
    found = agent.state(tree(tmp_path, PI | more))
    assert (found["governor"], found["clock_mhz"]) == ("ondemand and performance", 2400.0)


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert set(agent.state(tmp_path, tmp_path).values()) == {None}
    odd = tree(tmp_path, {"class/thermal/thermal_zone0/temp": "hot", **dict.fromkeys(PI, "")})
    assert set(agent.state(odd, odd).values()) == {None}


@pytest.mark.parametrize("answer", ["echo error", "exit 1", "echo throttled=", "sleep 5"])
def test_a_firmware_tool_that_gives_no_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    vcgencmd(tmp_path / "bin", answer, monkeypatch)
    assert agent.state(tmp_path)["throttled"] is None


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0", "cpuinfo": "Model : x"},
         "Raspberry Pi 4 Model B Rev 1.4"),
        ({"cpuinfo": "processor : 0\nmodel name : ARMv7\nModel  : Raspberry Pi 3\n"},
         "Raspberry Pi 3"),
        ({"cpuinfo": "Hardware : BCM2711\n"}, "BCM2711"),
    ],
)  # fmt: skip
def test_a_board_names_itself(tmp_path: Path, files: dict[str, str], name: str) -> None:
    assert agent.machine(tree(tmp_path, files))["cpu"] == name
    assert agent.machine(tmp_path / "none")["cpu"] != ""


def test_a_folder_is_swept_when_its_owner_is_gone(tmp_path: Path) -> None:
    mine, lock = agent.own_folder(tmp_path)
    (mine / "model.tflite").write_bytes(b"x")
    assert agent.sweep(tmp_path) == 0
    assert mine.exists()
    os.close(lock)
    assert agent.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_swept(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / f"{agent.PREFIX}link").symlink_to(tmp_path / "target")
    (tmp_path / f"{agent.PREFIX}file").write_text("x", encoding="utf-8")
    young = tmp_path / f".{agent.PREFIX}young"
    young.mkdir()  # being made by another agent: not locked yet
    assert agent.sweep(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 4
    os.utime(young, (1, 1))
    assert agent.sweep(tmp_path) == 1
    assert not young.exists()


def test_a_lock_is_not_inherited(tmp_path: Path) -> None:
    _, lock = agent.own_folder(tmp_path)
    assert fcntl.fcntl(lock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(lock)


def test_what_is_sent_is_enough_and_runs_on_python_3_9(tmp_path: Path) -> None:
    archive = zipfile.ZipFile(io.BytesIO(ssh._runtime()))
    for name in [*archive.namelist(), "agent"]:
        text = Path(agent.__file__).read_bytes() if name == "agent" else archive.read(name)
        ast.parse(text, feature_version=(3, 9))
        assert b"match " not in text
    (tmp_path / "runtime.zip").write_bytes(ssh._runtime())
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]);"
        "import edge_sdk.backends.worker, edge_sdk.backends.fake, edge_sdk.backends.tflite;"
        "print(edge_sdk.__file__);"
        "print(json.dumps([m for m in sys.modules if m.startswith('edge_sdk.')]))"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "runtime.zip")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    where, modules = done.stdout.splitlines()
    assert "runtime.zip" in where
    sent = {name.removesuffix(".py").replace("/", ".") for name in archive.namelist()}
    assert set(json.loads(modules)) <= {name.removesuffix(".__init__") for name in sent}


STEADY = State("performance", 1800.0, 1800.0, 50.0, 0, 0)


def warnings(**changes: object) -> str:
    """The warnings when the state before was steady and that after has these changes."""
    before = changes.pop("before", STEADY)
    runs = {key: changes.pop(key, 1800.0) for key in ("clock_low_mhz", "clock_high_mhz")}
    after = replace(STEADY, **changes)
    return "; ".join(condition_warnings(Conditions(before, after, **runs)))  # type: ignore[arg-type]


def test_a_steady_or_a_silent_device_warns_of_nothing() -> None:
    assert warnings() == ""
    assert warnings(temperature_c=59.0, clock_low_mhz=1780.0) == ""
    assert condition_warnings(Conditions(State(), State())) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"before": replace(STEADY, governor="ondemand")}, "governor is ondemand, not performance"),
        ({"clock_low_mhz": 600.0}, "the clock changed between 600 and 1800 MHz"),
        ({"clock_max_mhz": 1500.0}, "highest clock was lowered from 1800 to 1500 MHz"),
        ({"throttled": 0x50005}, "during the runs: under-voltage (check the power supply), thrott"),
        ({"throttled": 0x20000}, "during the runs: a capped clock"),
        (
            {"before": replace(STEADY, memory_free_bytes=60_000_000)},
            "only 60 MB of memory were free",
        ),
        ({"cooling": 2}, "holding the clock back for heat"),
        ({"temperature_c": 61.0}, "rose from 50 to 61 C"),
        ({"temperature_c": 80.0, "before": replace(STEADY, temperature_c=78.0)}, "was at 80 C"),
    ],
)
def test_an_unsteady_device_is_told(changes: dict[str, object], said: str) -> None:
    assert said in warnings(**changes)


def test_throttling_of_before_is_told_apart() -> None:
    earlier = replace(STEADY, throttled=0x50000)
    text = warnings(before=earlier, throttled=0x50000)
    assert "since the board's start: under-voltage" in text
    assert "during" not in text
    lasting = replace(STEADY, throttled=0x40004)
    assert "during the runs: throttling" in warnings(before=lasting, throttled=0x40004)
