"""Makes what the tests need to run picamera2 on a real libcamera without a camera.

    python tools/camera_stack            # into .cache/libcamera, about a minute, once

libcamera comes as Debian's packages, unpacked into a root of their own: this machine's are not
touched. Its *virtual* pipeline shows test patterns in the place of a sensor's pictures. picamera2
comes from pip.

    root/        Debian's Python and libcamera; opt/site has picamera2, NumPy, Pillow and pytest;
                 opt/dmabuf.so stands in for the kernel's buffer heaps, which most machines that
                 test lack
    ready.json   the versions; written last

tools/camera_stack/run.sh runs Python in there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PACKAGES = ("python3-libcamera",)
# What picamera2 imports at its start; three that need a compiler or a display are stubs inside/.
WHEELS = (
    "numpy", "Pillow>=10", "simplejpeg", "jsonschema", "tqdm", "piexif", "videodev2", "av",
    "click>=8.1", "pytest>=8",
)  # fmt: skip
PICAMERA2 = "picamera2==0.3.38"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
VIRTUAL = """\
%YAML 1.1
---
"Virtual0":
  supported_formats:
    - width: 640
      height: 480
      frame_rates: [30, 60]
    - width: 320
      height: 240
      frame_rates: [30, 60]
  test_pattern: "bars"
  model: "Virtual"
"""


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = (done.stdout + done.stderr).strip()[-2000:]
        raise SystemExit(f"{' '.join(command)} failed (exit status {done.returncode}):\n{tail}")
    return done.stdout


def download(folder: Path, suite: str) -> list[Path]:
    """PACKAGES and what they need, by apt in a state of its own, which checks the signatures."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    archives = [a for a in run(targets).split() if a.rstrip("/").endswith("/debian")]
    if not archives or not Path(KEYRING).exists():
        raise SystemExit("this machine's apt names no Debian archive to take libcamera from")
    line = f"deb [signed-by={KEYRING}] {archives[0]} {suite} main\n"
    (folder / "sources.list").write_text(line, encoding="utf-8")
    (folder / "apt.conf").write_text(
        f'APT::Install-Recommends "false";\nAPT::Sandbox::User "";\nDir::State "{folder}";\n'
        f'Dir::State::status "{folder}/status";\nDir::Cache "{folder}/cache";\n'
        f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "-";\n',
        encoding="utf-8",
    )
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    run(["apt-get", "-q", "update"], environment)
    run(["apt-get", "-q", "-y", "--download-only", "install", *PACKAGES], environment)
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def unpack(packages: list[Path], root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for package in packages:
        run(["dpkg-deb", "-x", str(package), str(root)])
    for name in ("lib", "lib64", "bin", "sbin"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("proc", "dev", "tmp", "repo", "opt"):
        (root / name).mkdir(exist_ok=True)
    data = root / "usr" / "share" / "libcamera" / "pipeline" / "virtual"
    data.mkdir(parents=True)
    (data / "virtual.yaml").write_text(VIRTUAL, encoding="utf-8")


def install_wheels(root: Path) -> None:
    """For the root's Python: what picamera2 imports, then picamera2 alone."""
    python = next(p.name for p in (root / "usr/bin").glob("python3.*") if p.name[8:].isdigit())
    machine = platform.machine()
    site = root / "opt" / "site"
    pip = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--upgrade",
        "--target", str(site), "--only-binary=:all:", "--implementation", "cp",
        "--python-version", python.removeprefix("python"),
        *(f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 28)),
        f"--platform=manylinux2014_{machine}",
    ]  # fmt: skip
    run([*pip, *WHEELS])
    run([*pip, "--no-deps", PICAMERA2])


def main() -> None:
    parser = argparse.ArgumentParser(description="libcamera and picamera2 for the tests")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "libcamera")
    parser.add_argument("--suite", default="trixie", help="Debian's suite that has libcamera")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    ready = folder / "ready.json"
    if ready.exists():
        print(f"{folder} is made: {ready.read_text(encoding='utf-8').strip()}")
        return
    for tool in ("apt-get", "dpkg-deb", "cc", "unshare", "chroot"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not here: this is for Debian or Ubuntu with a C compiler")
    folder.mkdir(parents=True, exist_ok=True)
    packages = download(folder / "download", arguments.suite)
    root = folder / "root"
    unpack(packages, root)
    install_wheels(root)
    shim = ["-shared", "-fPIC", "-O2", "-o", str(root / "opt" / "dmabuf.so")]
    run(["cc", *shim, str(HERE / "dmabuf.c"), "-ldl"])
    libcamera = next(p.name for p in packages if p.name.startswith("python3-libcamera_"))
    versions = {"libcamera": libcamera.split("_")[1], "picamera2": PICAMERA2.split("==")[1]}
    shutil.rmtree(folder / "download")
    ready.write_text(json.dumps(versions) + "\n", encoding="utf-8")
    print(f"{folder} is made: {json.dumps(versions)}")


if __name__ == "__main__":
    main()
