"""Runs inside the virtual machine, once after each of its two starts: the standard library alone.

Every step becomes one line of JSON on the port that the host reads. A step that fails says so in
its line and the next one follows: the host judges.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STICK = Path("/media")
SECOND = Path("/var/lib/arm-vm-second-start")
UNIT = "edge-sdk.service"
DEVICE = "/opt/edge-sdk/bin/edge-sdk-device"
CLASSIFY = "/opt/edge-sdk/bin/edge-classify"
MODEL = "/opt/edge-sdk/current/model"
CONFIG = """\
model = "/opt/edge-sdk/current/model"
camera = "v4l2"
camera_options = { rate = 5.0 }
interval_s = 1.0
heartbeat = "/run/edge-sdk/heartbeat.json"
heartbeat_s = 1.0
state = "/var/lib/edge-sdk/data"
"""
FREE_CAMERA = "device=/dev/video1"  # the service has the first
FRAMES, SAVED, SERVED = 20, 3, 10
LIMIT_S = 180.0
Step = Callable[[], dict[str, Any]]


def run(*words: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
    start = time.monotonic()
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=limit_s, check=False, cwd="/"
    )
    return {
        "status": done.returncode,
        "s": round(time.monotonic() - start, 2),
        "out": done.stdout[-20_000:],
        "err": done.stderr[-4000:],
    }


def memory(pid: int) -> dict[str, int]:
    """Of a process, in kB: peak and present resident memory, and how much of it no file backs."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return {}
    found = re.findall(r"^(VmHWM|VmRSS|RssAnon|RssFile):\s+(\d+) kB", text, re.M)
    return {name: int(value) for name, value in found}


def mappings(pid: int) -> dict[str, int]:
    """What the resident memory of a process is made of, in kB by file, the largest first."""
    sizes: dict[str, int] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = line.split(maxsplit=5)[5] if len(line.split()) > 5 else "anonymous"
            name = Path(name).name
        elif line.startswith("Rss:"):
            sizes[name] = sizes.get(name, 0) + int(line.split()[1])
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:15])


def unit() -> dict[str, str]:
    """What systemd says of the service."""
    names = "ActiveState,SubState,MainPID,NRestarts,Result,WatchdogUSec,Type,User,StatusText"
    text = run("systemctl", "show", UNIT, "-p", names)["out"]
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def main_pid() -> int:
    """Raises RuntimeError where the service has no process: 0 would be this one's whole group."""
    pid = int(unit().get("MainPID", "0"))
    if pid == 0:
        raise RuntimeError(f"{UNIT} does not run: {unit()}")
    return pid


def heartbeat() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(Path("/run/edge-sdk/heartbeat.json").read_text())
        return found
    except (OSError, ValueError):
        return {}


def answers() -> int:
    return int(heartbeat().get("frames", {}).get("classified", 0))


def wait_for(good: Callable[[], bool], limit_s: float) -> float:
    """Seconds until it was so. Raises TimeoutError."""
    start = time.monotonic()
    while not good():
        if time.monotonic() - start > limit_s:
            raise TimeoutError(f"not within {limit_s:g} s; {UNIT}: {unit()}")
        time.sleep(0.2)
    return round(time.monotonic() - start, 2)


def again_after(pid: int, limit_s: float) -> dict[str, Any]:
    """Until systemd has another process running and ready."""

    def good() -> bool:
        u = unit()
        return u["ActiveState"] == "active" and u["MainPID"] not in ("0", str(pid))

    return {"s": wait_for(good, limit_s), "unit": unit()}


def journal(lines: int) -> str:
    return str(run("journalctl", "-b", "-u", UNIT, "-n", str(lines), "--no-pager")["out"])


# --- the steps -----------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text(encoding="ascii")
    part = re.search(r"CPU part\s*: (\S+)", cpu)
    cameras = {
        str(p.name): (p / "name").read_text().strip()
        for p in sorted(Path("/sys/class/video4linux").glob("video*"))
    }
    device = Path("/dev/video0").stat()
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu_part": part[1] if part else None,
        "cpus": os.cpu_count(),
        "cameras": cameras,
        "video0_mode": oct(device.st_mode & 0o777),
        "video0_group": device.st_gid,
        "init": str(Path("/proc/1/exe").readlink()),
        "network": sorted(p.name for p in Path("/sys/class/net").iterdir()),
        "up_s": uptime(),
    }


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def install() -> dict[str, Any]:
    Path("/etc/edge-sdk").mkdir(exist_ok=True)
    Path("/etc/edge-sdk/config.toml").write_text(CONFIG, encoding="utf-8")
    before = used()
    done = run("sh", str(STICK / "install.sh"), "--trust", str(STICK / "vm.pub"), limit_s=400)
    if done["status"] != 0:
        done["error"] = f"{done['err'].strip()}\n{journal(60)}"
    return done | {"disk_mb": round((used() - before) / 1e6, 1), "unit": unit()}


def used() -> int:
    os.sync()
    found = os.statvfs("/")
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def service() -> dict[str, Any]:
    """After enough answers that nothing is allocated for the first time any more."""
    waited = wait_for(lambda: answers() >= SERVED, LIMIT_S)
    pid = main_pid()
    status = run(DEVICE, "status", "--json", "--check")
    return {
        "waited_s": waited,
        "unit": unit(),
        "user": Path(f"/proc/{pid}").owner(),
        "memory_kb": memory(pid),
        "heartbeat": heartbeat(),
        "status": status,
    }


def selftest() -> dict[str, Any]:
    return run(DEVICE, "selftest", "--json")


def classify() -> dict[str, Any]:
    """As a user would, on the second camera, in the format that USB cameras have; the peak is read
    while it runs."""
    words = [CLASSIFY, MODEL, "--camera", "v4l2", "--camera-option", FREE_CAMERA]
    words += ["--camera-option", "code=YUYV"]
    words += ["--frames", str(FRAMES), "--output", "json"]
    start = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines, first_s = [], 0.0
    found: dict[str, int] = {}
    parts: dict[str, int] = {}
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        first_s = first_s or round(time.monotonic() - start, 2)
        lines.append(json.loads(line))
        found = memory(process.pid) or found
        if len(lines) == FRAMES // 2:
            parts = mappings(process.pid)
    err = process.stderr.read()
    # The kernel's own record of the ended process; equal to the peak unless that came at its end.
    status, usage = os.wait4(process.pid, 0)[1:]
    return {
        "status": os.waitstatus_to_exitcode(status),
        "s": round(time.monotonic() - start, 2),
        "first_s": first_s,
        "answers": lines,
        "err": err[-2000:],
        "memory_kb": found,
        "maxrss_kb": usage.ru_maxrss,
        "parts_kb": parts,
    }


def frames() -> dict[str, Any]:
    """A few answers with the frames that they are of, in the format that OpenCV chooses."""
    folder = Path("/var/tmp/frames")
    done = run(
        CLASSIFY, MODEL, "--camera", "v4l2", "--camera-option", FREE_CAMERA, "--frames", str(SAVED),
        "--output", "json", "--top", "10", "--save-frames", str(folder), "--keep-free", "1",
    )  # fmt: skip
    lines = [json.loads(line) for line in done.pop("out").splitlines()]
    pictures = [base64.b64encode(p.read_bytes()).decode() for p in sorted(folder.glob("*.png"))]
    return done | {"answers": lines, "png": pictures}


def freeze() -> dict[str, Any]:
    """The service stops answering, but does not end."""
    pid = main_pid()
    os.kill(pid, signal.SIGSTOP)
    frozen.update(pid=pid, at=time.monotonic())
    return {"pid": pid}


frozen: dict[str, Any] = {}


def watchdog() -> dict[str, Any]:
    found = again_after(frozen["pid"], 150)
    found["since_frozen_s"] = round(time.monotonic() - frozen["at"], 2)
    return found | {"journal": journal(100)}


def killed() -> dict[str, Any]:
    pid = main_pid()
    os.kill(pid, signal.SIGKILL)
    return again_after(pid, 90)


def unplugged() -> dict[str, Any]:
    """The camera's driver lets go of it, and takes it again."""
    pid, before = main_pid(), heartbeat()
    driver = Path("/sys/bus/platform/drivers/vivid")
    (driver / "unbind").write_text("vivid.0")
    time.sleep(5)
    without = heartbeat()
    (driver / "bind").write_text("vivid.0")
    seen = int(without.get("frames", {}).get("classified", 0))
    waited = wait_for(lambda: unit()["MainPID"] != str(pid) or answers() > seen + 2, 90)
    return {
        "same_process": unit()["MainPID"] == str(pid),
        "s": waited,
        "before": before,
        "without": without,
        "after": heartbeat(),
        "journal": journal(15),
    }


def power_cut() -> dict[str, Any]:
    with SECOND.open("w") as mark:
        os.fsync(mark.fileno())
    return {}


def after_the_cut() -> dict[str, Any]:
    """Nobody starts anything: the service comes with the system."""
    waited = wait_for(lambda: unit()["ActiveState"] == "active", LIMIT_S)
    waited += wait_for(lambda: answers() >= 2, LIMIT_S)
    return {
        "waited_s": round(waited, 2),
        "up_s": uptime(),
        "unit": unit(),
        "memory_kb": memory(main_pid()),
        "status": run(DEVICE, "status", "--json", "--check"),
    }


def uninstall() -> dict[str, Any]:
    done = run(DEVICE, "uninstall")
    return done | {"unit": unit(), "left": sorted(map(str, Path("/opt").iterdir()))}


FIRST: tuple[Step, ...] = (
    machine, install, service, freeze, selftest, classify, frames, watchdog, killed, unplugged,
    power_cut,
)  # fmt: skip
LAST: tuple[Step, ...] = (after_the_cut, uninstall)


def port() -> Path:
    for found in Path("/sys/class/virtio-ports").iterdir():
        if (found / "name").read_text().strip() == "edge-sdk":
            return Path("/dev") / found.name
    raise FileNotFoundError("the host gave no port")


def main() -> None:
    second = SECOND.exists()
    with port().open("w", encoding="ascii") as out:

        def tell(line: dict[str, Any]) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()

        for step in LAST if second else FIRST:
            tell({"begins": step.__name__})
            start = time.monotonic()
            try:
                line = step()
            except Exception as e:
                line = {"error": f"{type(e).__name__}: {e}", "journal": journal(60)}
            took = round(time.monotonic() - start, 2)
            tell({"step": step.__name__, "took_s": took, **line})
            if step is install and line.get("status") != 0:  # there is nothing to try
                second = True
                break
        if second:
            tell({"end": True})
    if not second:  # no unmounting, no syncing: as if the plug was pulled
        Path("/proc/sysrq-trigger").write_text("b")
    run("systemctl", "poweroff", "--force")


if __name__ == "__main__":
    main()
