"""Builds what a model is counted with: an arm64 root, the runtime's wheel for it, the plugin.

Everything lies in one folder, in four parts that are made once each, so that a build which was cut
off goes on where it was:

    debs/   a private state of apt: indices and packages; this machine's own is not touched
    root/   Python and the C++ library for arm64, unpacked packages and nothing configured
    site/   the aarch64 wheels of ai-edge-litert and NumPy
    cpu/    per core a view of root/ with that core's /proc/cpuinfo, for qemu's -L
    python-arm64   runs the root's Python, as a command that is its own sys.executable
    count.so, arm64.json
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_sdk.benchmark.emulate import CORES, CPUS, PLUGIN, QEMU, RECORD, cpuinfo, qemu_version
from edge_sdk.errors import BackendError
from edge_sdk.files import whole_folder, write_whole

LITERT = "2.3.0"
WRAPPER = "python-arm64"
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
# 32 bit: a device's own NumPy and Pillow, and the libraries that alternatives would choose.
QEMU_32 = "qemu-arm"
# In the root itself: a 32-bit program asks for files by statx, which this qemu does not look up
# under -L, so that Python has to find its folders by their whole paths.
WRAPPER_32 = Path("root", "usr", "bin", "python-armhf")
PACKAGES_32 = (*PACKAGES, "python3-numpy", "python3-pil")
LIBRARIES_32 = Path("usr", "lib", "arm-linux-gnueabihf")
ALTERNATIVES = (Path("blas", "libblas.so.3"), Path("lapack", "liblapack.so.3"))
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64")
SOURCE = Path(__file__).with_name("count.c")
TIMEOUT_S = 1800


def build(
    folder: Path, *, litert: str = LITERT, sources: Path | None = None, say: Callable[[str], None]
) -> None:
    """Makes or completes the folder. sources: an apt source list that has arm64, where the
    machine's own has not.

    Raises BackendError that names what is missing and how to get it."""
    qemu, compiler = find_qemu(), find_compiler()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    root, site = folder / "root", folder / "site"
    if not root.is_dir():
        say("arm64 packages: download and unpack")
        packages = download_packages(folder / "debs", sources)
        unpack(packages, root)
    python = python_of(root)
    if wheel_version(site) != litert:
        say(f"ai-edge-litert {litert} for aarch64")
        install_wheels(site, litert, python)
    say("counting plugin")
    compile_plugin(compiler, qemu, folder / PLUGIN)
    for name in CPUS:
        link_view(folder, name)
    write_wrapper(folder, python)
    record = {"python": python, "litert": litert, "qemu": qemu}
    write_whole(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def find_qemu() -> str:
    """The version of this machine's qemu-aarch64, which has to take plugins."""
    program = shutil.which(QEMU)
    if program is None:
        raise BackendError(
            f"{QEMU} is not installed: install qemu-user (apt-get install qemu-user)"
        )
    usage = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    if "-plugin" not in usage:
        raise BackendError(
            f"{program} takes no plugins (a static build, as Debian's from version 13 on): build "
            "qemu with --enable-plugins --target-list=aarch64-linux-user and put it first in PATH"
        )
    return qemu_version(program)


def find_compiler() -> str:
    """A C compiler, $CC first."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    found = next((path for n in names if n and (path := shutil.which(n))), None)
    if found is None:
        raise BackendError("no C compiler: install gcc (apt-get install gcc libc6-dev), or set CC")
    return found


def plugin_api(qemu: str) -> int:
    """The version of the plugin interface that a version of qemu has; see count.c."""
    major, minor = (int(x) for x in qemu.split(".")[:2])
    if major < 9:
        return 1
    return 4 if major > 9 else 3 if minor else 2


def compile_plugin(compiler: str, qemu: str, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    flags = ["-shared", "-fPIC", "-O2", "-Wall", f"-DAPI={plugin_api(qemu)}"]
    _run([compiler, *flags, "-o", str(partial), str(SOURCE)], "the counting plugin")
    partial.replace(target)


def build_armhf(folder: Path, *, sources: Path | None = None, say: Callable[[str], None]) -> None:
    """A 32-bit system, with Debian's own NumPy and Pillow, in a folder of the same form: root/ and
    in root/usr/bin/ the command python-armhf, which runs its Python. Nothing is counted there.

    Raises BackendError as `build` does."""
    if shutil.which(QEMU_32) is None:
        raise BackendError(f"{QEMU_32} is not installed: install qemu-user")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    if not root.is_dir():
        say("armhf packages: download and unpack")
        unpack(download_packages(folder / "debs", sources, "armhf", PACKAGES_32), root)
        for library in ALTERNATIVES:
            (root / LIBRARIES_32 / library.name).symlink_to(library)
    # The newest core that there is in 32 bit; it has what a board's in 32-bit mode has, VFPv4.
    run = (
        f"{QEMU_32} -0 {shlex.quote(str(folder / WRAPPER_32))} -cpu max -L {shlex.quote(str(root))}"
    )
    python = shlex.quote(str(root / "usr" / "bin" / python_of(root)))
    write_whole(folder / WRAPPER_32, f'#!/bin/sh\nexec {run} {python} "$@"\n'.encode())
    (folder / WRAPPER_32).chmod(0o755)


def download_packages(
    state: Path,
    sources: Path | None,
    architecture: str = "arm64",
    names: Sequence[str] = PACKAGES,
) -> list[Path]:
    """The packages of these names and what they need, by apt, in a state of its own."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise BackendError(
                f"{tool} is not here: the root is made of Debian's packages, on Debian or Ubuntu"
            )
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    lines = [
        f'APT::Architecture "{architecture}";',
        f'APT::Architectures {{ "{architecture}"; }};',
        'APT::Install-Recommends "false";',
        'APT::Sandbox::User "";',
        f'Dir::State "{state}";',
        f'Dir::State::status "{state}/status";',
        f'Dir::Cache "{state}/cache";',
    ]
    if sources is not None:
        lines += [f'Dir::Etc::sourcelist "{sources.resolve()}";', 'Dir::Etc::sourceparts "-";']
    config = state / "apt.conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    environment = {**os.environ, "APT_CONFIG": str(config), "DEBIAN_FRONTEND": "noninteractive"}
    hint = (
        f"; where this machine's apt sources have no {architecture}, give a list that has with "
        "--sources"
    )
    _run(["apt-get", "-q", "update"], f"the list of {architecture} packages", environment, hint)
    install = ["apt-get", "-q", "-y", "--download-only", "install", *names]
    _run(install, f"the {architecture} packages", environment, hint)
    return sorted((state / "cache" / "archives").glob("*.deb"))


def unpack(packages: list[Path], root: Path) -> None:
    with whole_folder(root) as partial:
        for package in packages:
            _run(["dpkg-deb", "-x", str(package), str(partial)], package.name)


def python_of(root: Path) -> str:
    """The name of the root's interpreter, as python3.11."""
    found = sorted(p.name for p in (root / "usr" / "bin").glob("python3.*[0-9]"))
    if not found:
        raise BackendError(f"{root} has no Python: delete the folder and build again")
    return found[-1]


def wheel_version(site: Path) -> str | None:
    """Of the ai-edge-litert in the folder."""
    found = importlib.metadata.distributions(name="ai-edge-litert", path=[str(site)])
    return next((d.version for d in found), None)


def install_wheels(site: Path, litert: str, python: str) -> None:
    version = python.removeprefix("python")
    with whole_folder(site, replace=True) as partial:
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
            "--target", str(partial), "--only-binary=:all:", "--implementation", "cp",
            "--python-version", version, *(x for p in PLATFORMS for x in ("--platform", p)),
            f"ai-edge-litert=={litert}",
        ]  # fmt: skip
        _run(command, f"the aarch64 wheel of ai-edge-litert {litert} for Python {version}")


def link_view(folder: Path, cpu: str) -> None:
    """qemu looks for every path that the program opens under its -L first: there lie this core's
    /proc/cpuinfo and number of processors, which are else this machine's."""
    view = folder / "cpu" / cpu
    system = view / "sys" / "devices" / "system" / "cpu"
    system.mkdir(parents=True, exist_ok=True)
    (view / "proc").mkdir(exist_ok=True)
    (view / "proc" / "cpuinfo").write_text(cpuinfo(CPUS[cpu]), encoding="ascii")
    for name in ("possible", "present", "online"):
        (system / name).write_text(f"0-{CORES - 1}\n", encoding="ascii")
    for part in ("lib", "usr"):
        link = view / part
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..", "..", "root", part))


def write_wrapper(folder: Path, python: str) -> None:
    """The root's Python as a Cortex-A72 by one command: what a benchmark over SSH takes as
    --remote-python. It names itself as qemu's -0, so that Python starts it again for a worker."""
    view = folder / "cpu" / "cortex-a72"
    # A worker's own PYTHONPATH comes first.
    text = (
        "#!/bin/sh\n"
        f"export PYTHONHOME={shlex.quote(str(view / 'usr'))}\n"
        f'export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}"{shlex.quote(str(folder / "site"))}\n'
        f"exec {QEMU} -0 {shlex.quote(str(folder / WRAPPER))} -cpu cortex-a72 "
        f'-L {shlex.quote(str(view))} {shlex.quote(str(view / "usr" / "bin" / python))} "$@"\n'
    )
    write_whole(folder / WRAPPER, text.encode())
    (folder / WRAPPER).chmod(0o755)


def _run(
    command: list[str], what: str, environment: dict[str, str] | None = None, hint: str = ""
) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise BackendError(f"{what}: {command[0]} did not end within {TIMEOUT_S} s") from e
    if done.returncode != 0:
        lines = re.sub(r"\n\s*\n", "\n", done.stderr).strip().splitlines() or ["no message"]
        raise BackendError(f"{what}: {command[0]} failed: {lines[-1]}{hint}")
