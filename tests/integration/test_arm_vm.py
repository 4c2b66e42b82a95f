"""The whole path on an arm64 virtual machine, twice started; see docs/arm-vm.md.

bundle -> install.sh -> systemd -> a kernel's camera -> answers. One run, looked at by all tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.arm_vm, pytest.mark.tensorflow]
ROOT = Path(__file__).parents[2]
# A small board has 512 MB for everything. The kernel's kB have 1024 bytes.
PEAK_KB = 80_000_000 // 1024
VIDEO_GROUP = 44
Steps = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def artifact(converted: Path) -> Path:
    (found,) = converted.glob("*-int8")
    return found


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arm-vm")


@pytest.fixture(scope="module")
def steps(artifact: Path, arm_vm: Path, out: Path) -> Steps:
    command = [sys.executable, str(ROOT / "tools" / "arm_vm"), "run", str(artifact)]
    command += ["--folder", str(arm_vm), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    results = out / "results.json"
    assert results.is_file(), done.stderr
    found: Steps = json.loads(results.read_text(encoding="utf-8"))["steps"]
    (out / "stick.ext4").unlink()
    return found


def test_every_step_was_made(steps: Steps) -> None:
    assert {n: s["error"] for n, s in steps.items() if "error" in s} == {}
    assert list(steps)[:2] == ["machine", "install"]
    assert list(steps)[-2:] == ["after_the_cut", "uninstall"]


def test_it_is_an_arm_without_a_network(steps: Steps) -> None:
    m = steps["machine"]
    assert (m["machine"], m["cpu_part"]) == ("aarch64", "0xd08")  # Cortex-A72
    assert m["network"] == ["lo"]
    assert all(name.startswith("vivid") for name in m["cameras"].values())
    assert (m["video0_mode"], m["video0_group"]) == ("0o660", VIDEO_GROUP)


def test_the_bundle_installs_and_its_selftest_gives_the_same_bytes(steps: Steps) -> None:
    assert steps["install"]["status"] == 0
    assert steps["install"]["unit"]["ActiveState"] == "active"
    tested = json.loads(steps["selftest"]["out"])
    assert (tested["compare"], tested["cases"]) == ("bytes", 4)


def test_the_service_runs_under_systemd_as_a_user_of_its_own(steps: Steps) -> None:
    s = steps["service"]
    u = s["unit"]
    assert (u["ActiveState"], u["SubState"], u["NRestarts"]) == ("active", "running", "0")
    assert (u["Type"], u["WatchdogUSec"], s["user"]) == ("notify", "1min", "edge-sdk")
    status = json.loads(s["status"]["out"])
    assert (status["damage"], status["on_trial"], status["service"]) == (None, False, "active")
    assert status["heartbeat_s"] < 10


def test_the_camera_s_frames_are_classified(steps: Steps) -> None:
    c = steps["classify"]
    assert c["status"] == 0
    assert len(c["answers"]) == 20
    assert all(0 < a["labels"][0]["probability"] <= 1 for a in c["answers"])


def test_the_camera_takes_the_rate_that_is_asked_for(steps: Steps) -> None:
    """vivid gives 25 a second where it is not asked."""
    beat = steps["service"]["heartbeat"]
    assert 0.5 < beat["frames"]["taken"] / beat["uptime_s"] < 8


def test_the_same_frames_get_the_same_answers_here(steps: Steps) -> None:
    compared = steps["frames"]["compared"]
    assert len(compared) == 3
    for frame in compared:
        assert frame["here"] == frame["there"], frame["frame"]


def test_the_colours_are_the_camera_s_own(steps: Steps, out: Path) -> None:
    """vivid shows bars of 75 %: white, yellow, cyan, green, magenta, red, blue, black."""
    signs = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0))
    with Image.open(out / "frames" / steps["frames"]["compared"][-1]["frame"]) as frame:
        row = [frame.getpixel((40 + 80 * bar, 300)) for bar in range(8)]
    assert row == [tuple(191 * x for x in sign) for sign in signs]


def test_memory(steps: Steps) -> None:
    """Measured where it runs; an emulator's time is no board's, its memory is."""
    assert 20_000 < steps["classify"]["maxrss_kb"] <= PEAK_KB
    for step in ("service", "after_the_cut"):
        assert 20_000 < steps[step]["memory_kb"]["VmHWM"] <= PEAK_KB


def test_a_frozen_or_killed_service_comes_again(steps: Steps) -> None:
    frozen = steps["watchdog"]
    assert "Watchdog timeout" in frozen["journal"]
    assert frozen["since_frozen_s"] > 30  # the unit's minute, less what had run of it
    assert steps["killed"]["unit"]["NRestarts"] == "2"


def test_a_camera_that_was_away_is_opened_again(steps: Steps) -> None:
    u = steps["unplugged"]
    assert u["same_process"], u["journal"]
    assert u["after"]["frames"]["reconnects"] > u["before"]["frames"]["reconnects"]


def test_after_a_power_cut_it_runs_by_itself(steps: Steps) -> None:
    status = json.loads(steps["after_the_cut"]["status"]["out"])
    assert (status["damage"], status["on_trial"], status["service"]) == (None, False, "active")


def test_uninstalled_nothing_runs(steps: Steps) -> None:
    assert steps["uninstall"]["status"] == 0
    assert steps["uninstall"]["unit"]["ActiveState"] == "inactive"
    assert steps["uninstall"]["left"] == []
