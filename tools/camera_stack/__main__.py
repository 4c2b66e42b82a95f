"""Builds what the tests need to run picamera2 on a real libcamera without a camera.

    python tools/camera_stack            # into .cache/libcamera, about five minutes, once

libcamera comes from Debian's source package and is built with its *virtual* pipeline alone: test
patterns in the place of sensors. picamera2 comes from pip, into an environment of the folder:

    venv/        Python with picamera2, pytest and what the package needs
    prefix/      libcamera
    dmabuf.so    a stand-in for the kernel's buffer heaps, which most machines that test lack
    ready.json   the versions; written last

The packages that Debian calls for are named where they are missing, never installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
NEEDED = (
    "g++", "ninja-build", "pkg-config", "openssl", "python3-dev", "pybind11-dev", "libyaml-dev",
    "libjpeg-dev", "libyuv-dev", "libgnutls28-dev", "libudev-dev", "libevent-dev", "libcap-dev",
    "libdw-dev", "libunwind-dev", "dpkg-dev",
)  # fmt: skip
WHEELS = ("meson", "jinja2", "ply", "pyyaml", "pybind11", "numpy>=1.23", "Pillow>=10", "click>=8.1")
PICAMERA2 = "picamera2==0.3.38"
MESON = (
    "--libdir=lib", "--buildtype=release", "-Dwerror=false", "-Dpipelines=virtual", "-Dipas=[]",
    "-Dpycamera=enabled", "-Dcam=disabled", "-Dqcam=disabled", "-Dlc-compliance=disabled",
    "-Dgstreamer=disabled", "-Dv4l2=disabled", "-Ddocumentation=disabled", "-Dtracing=disabled",
    "-Dtest=false",
)  # fmt: skip


def run(
    command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = (done.stdout + done.stderr).strip()[-2000:]
        raise SystemExit(f"{' '.join(command)} failed (exit status {done.returncode}):\n{tail}")
    return done.stdout


def missing_packages() -> list[str]:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}"]
    return [
        p
        for p in NEEDED
        if subprocess.run([*query, p], capture_output=True, text=True, check=False).stdout
        != "installed"
    ]


def fetch_source(folder: Path, suite: str) -> Path:
    """libcamera's source package of the suite, by apt in a state of its own; its hash is checked
    by apt against Debian's signature."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    archives = [a for a in run(targets).split() if a.rstrip("/").endswith("/debian")]
    if not archives:
        raise SystemExit("this machine's apt names no Debian archive to take libcamera from")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(
        f"deb-src [signed-by={keyring}] {archives[0]} {suite} main\n"
    )
    (folder / "apt.conf").write_text(
        f'Dir::State "{folder}/state";\nDir::Cache "{folder}/cache";\nAPT::Sandbox::User "";\n'
        f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "-";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    run(["apt-get", "-q", "update"], environment=environment)
    run(["apt-get", "-q", "source", "--download-only", "libcamera"], folder, environment)
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    package = next(folder.glob("libcamera_*.dsc"))
    run(["dpkg-source", "-x", str(package), str(source)])
    return source


def build(folder: Path, suite: str) -> dict[str, str]:
    environment = folder / "venv"
    python = environment / "bin" / "python"
    venv.create(environment, with_pip=True, clear=True)
    run([str(python), "-m", "pip", "install", "--quiet", *WHEELS, "pytest>=8", "hypothesis"])
    run([str(python), "-m", "pip", "install", "--quiet", PICAMERA2])
    source = fetch_source(folder / "download", suite)
    paths = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    setup = [str(python.parent / "meson"), "setup", "build", f"--prefix={folder / 'prefix'}"]
    run([*setup, *MESON], source, paths)
    run(["ninja", "-C", "build", "install"], source, paths)
    shim = [
        "cc",
        "-shared",
        "-fPIC",
        "-O2",
        "-o",
        str(folder / "dmabuf.so"),
        str(HERE / "dmabuf.c"),
    ]
    run([*shim, "-ldl"])
    version = run([str(python), "-m", "pip", "show", "picamera2"]).split("Version: ")[1].split()[0]
    package = next((folder / "download").glob("libcamera_*.dsc")).stem.split("_")[1]
    shutil.rmtree(folder / "download")
    return {"libcamera": package, "picamera2": version}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "libcamera")
    parser.add_argument("--suite", default="sid", help="Debian suite of libcamera's source")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    ready = folder / "ready.json"
    if ready.exists():
        print(f"{folder} is built: {ready.read_text().strip()}")
        return
    if lacking := missing_packages():
        raise SystemExit(f"missing packages: apt-get install {' '.join(lacking)}")
    folder.mkdir(parents=True, exist_ok=True)
    versions = build(folder, arguments.suite)
    ready.write_text(json.dumps(versions) + "\n", encoding="utf-8")
    print(f"{folder} is built: {json.dumps(versions)}")


if __name__ == "__main__":
    main()
