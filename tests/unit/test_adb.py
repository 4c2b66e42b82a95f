"""Benchmarks over adb, against a program that behaves like the client; no phone was tried."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_sdk.benchmark.measure import OpTime
from edge_sdk.cli import cli
from edge_sdk.device.adb import AdbDevice
from edge_sdk.errors import DeviceError, ModelError, UsageError

# `adb`: the phone is a folder beside it; its shell is this machine's, with the phone's paths and
# a few of its programs. A file `breaks` says what goes wrong.
ADB = r"""#!/bin/sh
here=$(dirname "$0")
breaks=$(cat "$here/breaks")
there() { echo "$1" | sed -e "s#/data/local/tmp#$here/phone/data/local/tmp#g" \
  -e "s#/sys/#$here/phone/sys/#g" -e "s#/proc/#$here/phone/proc/#g"; }
if [ "$1" = devices ]; then
  printf '* daemon started successfully *\nList of devices attached\n'
  cat "$here/devices"
  exit
fi
[ "$1" = -s ] || exit 99
what=$3
if [ "$what$breaks" = pushgone ]; then echo "adb: error: device '$2' not found"; exit 1; fi
if [ "$what$breaks" = pushfull ]; then
  echo "adb: error: failed to copy '$4': remote couldn't write: No space left on device"
  exit 1
fi
if [ "$what" = push ]; then cp "$4" "$(there "$5")" && exit; fi
case "$breaks $4" in lost*--graph*) exit 1;; esac
export PATH="$here/bin:$PATH"
if [ "$breaks" = pty ]; then sh -c "$(there "$4")" 2>&1 | sed "s/$/\r/"; exit 0; fi
sh -c "$(there "$4")"
"""
GETPROP = """#!/bin/sh
case $1 in
  ro.product.manufacturer) echo Google;; ro.product.model) echo "Pixel 4";;
  ro.board.platform) echo sm8150;; ro.product.cpu.abi) echo arm64-v8a;;
  ro.build.version.release) echo 13;;
esac
"""
BENCHMARK_MODEL = """#!/bin/sh
echo "$@" >> ../../../../../flags
echo "INFO: STARTING!"
{extra}
echo "INFO: count=9 first=1200 curr=1000 min=990 max=1200 avg=1010.5 std=10 p5=1 median=1005 p95=9"
echo "INFO: count=50 first=1020 curr=1010 min=980 max=1300 avg=1011.5 std=9 p5=1 median=1008 p95=9"
echo "INFO: Inference timings in us: Init: 5500, First inference: 1200, Warmup (avg): 1010.5,""" + (
    """ Inference (avg): 1011.5"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=2.5 overall=8.5"
case "$*" in *enable_op_profiling*)
  echo "INFO: Operator-wise Profiling Info for Regular Benchmark Runs:"
  echo "============================== Summary by node type =============================="
  echo " [Node type] [count] [avg ms] [avg %] [cdf %] [mem KB] [times called]"
  echo " CONV_2D 3 0.900 90.0% 90.0% 0.000 3"
esac
"""
)


class Phone:
    """The stand-in's folder, and what a test may change about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tmp = folder / "phone/data/local/tmp"
        self.adb = folder / "adb"
        self.binary = folder / "android_aarch64_benchmark_model"
        self.tmp.mkdir(parents=True)
        (folder / "bin").mkdir()
        self.program(self.adb, ADB)
        self.program(folder / "bin/getprop", GETPROP)
        self.program(folder / "bin/dumpsys", "#!/bin/sh\necho 'Thermal Status: 0'\n")
        self.says("")
        self.breaks("")
        self.devices("0A1B\tdevice")
        files = {
            "proc/meminfo": "MemTotal:        5730000 kB\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1785600\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "2841600\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-0-0\n",
            "sys/class/thermal/thermal_zone0/temp": "41500\n",
        }
        for name, text in files.items():
            path = folder / "phone" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def program(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def says(self, *lines: str, then: str = "") -> None:
        """What the binary prints before its figures, and a command of its own."""
        extra = "\n".join([*(f"echo '{line}'" for line in lines), then])
        self.program(self.binary, BENCHMARK_MODEL.replace("{extra}", extra))

    def devices(self, text: str) -> None:
        (self.folder / "devices").write_text(text, encoding="utf-8")

    def breaks(self, how: str) -> None:
        (self.folder / "breaks").write_text(how, encoding="utf-8")

    def device(self, serial: str = "", **options: object) -> AdbDevice:
        return AdbDevice(serial, self.binary, adb=str(self.adb), **options)  # type: ignore[arg-type]

    @property
    def flags(self) -> list[str]:
        return (self.folder / "flags").read_text(encoding="utf-8").splitlines()

    def left(self) -> list[str]:
        return [p.name for p in self.tmp.iterdir()]


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    return Phone(tmp_path)


@pytest.fixture
def model(models: Path) -> Path:
    return models / "tiny-int8.tflite"


@pytest.mark.parametrize("pty", ["", "pty"], ids=["status", "old-adb"])
def test_a_model_is_measured_on_the_phone(phone: Phone, model: Path, pty: str) -> None:
    phone.breaks(pty)
    with phone.device() as device:
        m = device.measure(model, threads=4, runs=50, seconds=7)
    assert (m.where, m.label, m.runs, m.threads) == ("adb 0A1B", "measured", 50, 4)
    assert (m.p50_ms, m.mean_ms, m.min_ms, m.load_ms) == (1.008, 1.0115, 0.98, 5.5)
    assert (m.rss_model_bytes, m.rss_peak_bytes) == (round(8.5 * 2**20), None)
    assert m.ops == (OpTime("CONV_2D", 3, 0.9),)
    assert m.machine.cpu == "Google Pixel 4 (sm8150)"
    assert m.machine.system == "Android 13 arm64-v8a"
    assert m.machine.memory_bytes == 5730000 * 1024
    assert m.conditions is not None
    before = m.conditions.before
    assert (before.governor, before.clock_mhz, before.temperature_c) == ("schedutil", 1785.6, 41.5)
    assert (before.clock_max_mhz, before.cooling) == (2841.6, 0)
    assert len(m.warnings) == 1
    assert m.warnings[0].startswith("0A1B: the clock governor is schedutil")
    assert phone.left() == []
    first, second = phone.flags
    expected = "--graph=model.tflite --num_threads=4 --warmup_runs=10 --max_secs=7 --min_secs=0"
    assert first == f"{expected} --num_runs=50"
    assert second == f"{expected} --num_runs=20 --enable_op_profiling=true"


@pytest.mark.parametrize(
    ("delegate", "flag"),
    [("cpu", "--use_xnnpack=false"), ("xnnpack", "--use_xnnpack=true"), ("gpu", "--use_gpu=true"),
     ("nnapi", "--use_nnapi=true")],
)  # fmt: skip
def test_a_delegate_is_asked_for(phone: Phone, model: Path, delegate: str, flag: str) -> None:
    with phone.device(delegate=delegate) as device:
        m = device.measure(model)
    assert all(flag in line.split() for line in phone.flags)
    assert m.version.endswith(delegate)
    said = any("does not say" in w for w in m.warnings)
    assert said == (delegate != "cpu")


def test_a_fallback_is_a_warning(phone: Phone, model: Path) -> None:
    phone.says(
        "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed "
        "by the delegate."
    )
    with phone.device(delegate="gpu") as device:
        m = device.measure(model)
    assert any("gpu delegate was asked for and ran nothing" in w for w in m.warnings)


@pytest.mark.parametrize(
    ("listed", "serial", "said"),
    [
        ("", "", r"no device that is ready; connected: none\. Enable USB debugging"),
        ("0A1B\tunauthorized", "", r"0A1B \(unauthorized\).*accept this computer's key"),
        ("0A1B\toffline", "0A1B", r"no device 0A1B; connected: 0A1B \(offline\)"),
        ("0A1B\tdevice", "FFFF", r"no device FFFF; connected: 0A1B"),
        ("0A1B\tdevice\n2C3D\tdevice", "", "name one with --adb SERIAL: 0A1B .*2C3D"),
    ],
)
def test_no_phone(phone: Phone, listed: str, serial: str, said: str) -> None:
    phone.devices(listed)
    with pytest.raises((DeviceError, UsageError), match=said), phone.device(serial):
        pass


def test_the_named_phone_of_two(phone: Phone, model: Path) -> None:
    phone.devices("0A1B\tdevice product:flame\n2C3D\tdevice product:coral")
    with phone.device("2C3D") as device:
        assert device.measure(model).where == "adb 2C3D"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("full", "No space left on device"),
        ("gone", "device '0A1B' not found"),
    ],
)
def test_a_phone_that_takes_no_file(phone: Phone, how: str, said: str) -> None:
    phone.breaks(how)
    with pytest.raises(DeviceError, match=said), phone.device():
        pass
    assert phone.left() == []


def test_a_connection_lost_in_mid_run(phone: Phone, model: Path) -> None:
    with phone.device() as device:
        phone.breaks("lost")
        with pytest.raises(DeviceError, match=r"adb shell 0A1B: no message"):
            device.measure(model)
        phone.breaks("")
    assert phone.left() == []


def test_what_a_lost_phone_kept_is_removed_by_the_next_run(phone: Phone) -> None:
    old = phone.tmp / f"edge-sdk-run-{int(time.time()) - 8000}-00000000"
    young = phone.tmp / f"edge-sdk-run-{int(time.time()) - 60}-00000000"
    other = phone.tmp / "edge-sdk-run-mine"
    for folder in (old, young, other):
        folder.mkdir()
    with phone.device():
        pass
    assert sorted(phone.left()) == sorted([young.name, other.name])


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("echo 'ERROR: Failed to apply GPU delegate.'; exit 1", "Failed to apply GPU delegate"),
        ("echo 'Segmentation fault'; exit 139", "Segmentation fault"),
        ("head -c 5000 /dev/urandom; exit 0", "gave no result"),
        ("exit 0", "gave no result: INFO: STARTING!"),
    ],
)
def test_a_binary_that_fails(phone: Phone, model: Path, then: str, said: str) -> None:
    phone.says(then=then)
    with phone.device() as device, pytest.raises(DeviceError, match=said):
        device.measure(model)
    assert phone.left() == []


def test_a_binary_that_hangs_is_ended(phone: Phone, model: Path) -> None:
    phone.says(then="exec sleep 97.25")
    with (
        phone.device(timeout_s=1) as device,
        pytest.raises(DeviceError, match="adb shell gave no answer within 1 s"),
    ):
        device.measure(model)
    assert phone.left() == []
    wait_for(lambda: not running("sleep 97.25"))


def test_no_profile_is_a_warning(phone: Phone, model: Path) -> None:
    phone.says(then='case "$*" in *profiling*) exit 1;; esac')
    with phone.device() as device:
        m = device.measure(model)
    assert m.ops == ()
    assert any("no profile by operator" in w for w in m.warnings)


def test_the_command_shows_device_state_operators_and_warnings(
    phone: Phone, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{phone.folder}:{os.environ['PATH']}")
    options = ["--adb", "0A1B", "--benchmark-model", str(phone.binary), "--delegate", "gpu"]
    done = CliRunner().invoke(cli, ["benchmark", str(model), *options])
    assert done.exit_code == 0, done.output
    row = next(line for line in done.output.splitlines() if "adb 0A1B: benchmark_model" in line)
    assert row.split()[-6:] == ["measured", "1.01", "-", "992", "-", "-"]
    for part in (
        "measured on adb 0A1B: Google Pixel 4 (sm8150), ",
        "before: governor schedutil, clock 1786 MHz, temperature 41.5 C",
        "time by operator, profiled apart: CONV_2D 0.9 ms (3)",
        "warning: 0A1B: the log does not say that the gpu delegate was applied",
    ):
        assert part in done.output


def test_bad_arguments(phone: Phone, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown delegate 'gpi'. Did you mean gpu"):
        phone.device(delegate="gpi")
    with pytest.raises(UsageError, match="is no file: give TensorFlow Lite's native"):
        AdbDevice("", tmp_path / "none")
    with pytest.raises(DeviceError, match="install Android's platform-tools"):
        AdbDevice("", phone.binary, adb=str(tmp_path / "no-adb")).__enter__()
    (tmp_path / "x.tflite").write_bytes(b"no model")
    with phone.device() as device, pytest.raises(ModelError):
        device.measure(tmp_path / "x.tflite")


def test_an_interrupted_command_leaves_nothing(phone: Phone, model: Path) -> None:
    phone.says(then="exec sleep 98.75")
    command = [
        sys.executable, "-m", "edge_sdk.cli", "benchmark", str(model), "--adb",
        "--benchmark-model", str(phone.binary),
    ]  # fmt: skip
    path = {"PATH": f"{phone.folder}:{os.environ['PATH']}"}
    process = subprocess.Popen(command, env={**os.environ, **path}, stderr=subprocess.PIPE)
    wait_for(lambda: any((phone.tmp / name / "pid").exists() for name in phone.left()))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, phone.left()) == (130, []), said
    wait_for(lambda: not running("sleep 98.75"))


def running(command: str) -> bool:
    words = command.encode().replace(b" ", b"\0")
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if file.read_bytes().startswith(words):
                return True
    return False


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
