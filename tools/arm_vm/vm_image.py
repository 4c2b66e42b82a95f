"""Makes the virtual machine: Debian's arm64 kernel, an initramfs, a disk with systemd.

Everything lies in one folder; each part is made once and takes its name when it is whole, so that a
build which was cut off goes on where it was:

    debs/       a private state of apt: indices and packages; this machine's own is not touched
    kernel/     vmlinuz, and the modules for disk and camera with the order to load them in
    root/       unpacked packages, configured by the few files that the second stage would have
                written
    initrd, root.ext4
    recipe      a hash of what says how all of it is made: after a change it is made again
    vm.json     the versions; written last
    config/, cache/   the key and the wheels of the bundles; see vm_run.py
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from edge_sdk.errors import BackendError
from edge_sdk.files import whole_folder, write_whole

HERE = Path(__file__).parent
RECORD, RECIPE, DISK, INITRD, KERNEL = "vm.json", "recipe", "root.ext4", "initrd", "vmlinuz"
SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "libc-bin",
    "libstdc++6", "mount", "openssh-client", "python3", "sed", "systemd", "systemd-sysv",
    "udev", "util-linux", "busybox-static",
)  # fmt: skip
# In the order of need, each after what it depends on; vivid gives two cameras and nothing else.
MODULES = (
    ("virtio_pci", ""), ("virtio_blk", ""), ("virtio_console", ""), ("virtio-rng", ""),
    ("crc32c_generic", ""), ("ext4", ""), ("autofs4", ""),
    ("vivid", "n_devs=2 node_types=0x1,0x1"),
)  # fmt: skip
NOT_UNPACKED = tuple(f"./usr/share/{name}" for name in ("doc", "info", "locale", "man"))
FREE_MB = 700
TIMEOUT_S = 1800
TOOLS = {
    "apt-get": "on Debian or Ubuntu",
    "dpkg-deb": "on Debian or Ubuntu",
    "tar": "apt-get install tar",
    "mke2fs": "apt-get install e2fsprogs",
}
Say = Callable[[str], None]


def build(folder: Path, say: Say) -> Path:
    """Makes or completes the folder. Raises BackendError that names what is missing."""
    folder = folder.resolve()
    if is_built(folder):
        return folder
    if os.geteuid() != 0:
        raise BackendError("the disk's files have to belong to root: build it as root")
    for tool, how in TOOLS.items():
        if find_tool(tool) is None:
            raise BackendError(f"{tool} is not here: {how}")
    folder.mkdir(parents=True, exist_ok=True)
    kernel, root = folder / "kernel", folder / "root"
    if _made_by(folder) != recipe():
        for part in (kernel, root, folder / "debs"):
            shutil.rmtree(part, ignore_errors=True)
        (folder / RECORD).unlink(missing_ok=True)
        write_whole(folder / RECIPE, recipe().encode())
    if not (kernel.is_dir() and root.is_dir()):
        say(f"packages of Debian {SUITE} for arm64")
        packages = download(folder / "debs", say)
        if not kernel.is_dir():
            say("kernel and its modules")
            unpack_kernel(next(p for p in packages if p.name.startswith("linux-image")), kernel)
        if not root.is_dir():
            say("root")
            make_root([p for p in packages if not p.name.startswith("linux-image")], root)
    say("initramfs and disk")
    write_whole(folder / INITRD, initramfs(kernel, root))
    make_disk(root, folder / DISK, FREE_MB, label="root")
    release = json.loads((kernel / "release.json").read_text(encoding="utf-8"))
    record = {**release, "suite": SUITE}
    write_whole(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    shutil.rmtree(root)
    shutil.rmtree(folder / "debs")
    return folder


def is_built(folder: Path) -> bool:
    """Whether the machine is there, whole, and made by this recipe."""
    return (folder / RECORD).is_file() and _made_by(folder) == recipe()


def recipe() -> str:
    files = (Path(__file__), *(HERE / "inside" / name for name in ("init", "edge-sdk-vm.service")))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _made_by(folder: Path) -> str:
    try:
        return (folder / RECIPE).read_text(encoding="ascii")
    except OSError:
        return ""


def find_tool(name: str) -> str | None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return shutil.which(name, path=path)


def download(state: Path, say: Say) -> list[Path]:
    """PACKAGES with what they need, and the kernel alone, by apt in a state of its own, which
    checks the signatures."""
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    archives = [a for a in run(targets, "apt").split() if a.rstrip("/").endswith("/debian")]
    if not archives or not Path(KEYRING).exists():
        raise BackendError("this machine's apt names no Debian archive to take arm64 packages from")
    line = f"deb [signed-by={KEYRING}] {archives[0]} {SUITE} main\n"
    (state / "sources.list").write_text(line, encoding="utf-8")
    lines = [
        'APT::Architecture "arm64";',
        'APT::Architectures { "arm64"; };',
        'APT::Install-Recommends "false";',
        'APT::Sandbox::User "";',
        f'Dir::State "{state}";',
        f'Dir::State::status "{state}/status";',
        f'Dir::Cache "{state}/cache";',
        f'Dir::Etc::sourcelist "{state}/sources.list";',
        'Dir::Etc::sourceparts "-";',
    ]
    (state / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    environment = {**os.environ, "APT_CONFIG": str(state / "apt.conf")}
    run(["apt-get", "-q", "update"], "the list of arm64 packages", environment)
    about = run(["apt-cache", "depends", "linux-image-arm64"], "the kernel's name", environment)
    kernel = re.search(r"Depends: (linux-image-\S+)", about)
    if kernel is None:
        raise BackendError(f"the arm64 packages have no kernel: {about.strip()[-200:]}")
    say(f"{kernel[1]} and {len(PACKAGES)} packages with what they need")
    install = ["apt-get", "-q", "-y", "--download-only", "install", *PACKAGES]
    run(install, "the arm64 packages", environment)
    archive = state / "cache" / "archives"
    run(["apt-get", "-q", "download", kernel[1]], "the kernel", environment, archive)
    return sorted(archive.glob("*.deb"))


def unpack_kernel(package: Path, target: Path) -> None:
    """Image and modules, decided by what each module says it depends on."""
    with whole_folder(target) as partial:
        place = partial / "package"
        run(["dpkg-deb", "-x", str(package), str(place)], package.name)
        image = next((place / "boot").glob("vmlinuz-*"))
        (partial / KERNEL).write_bytes(image.read_bytes())
        files = {p.stem.replace("-", "_"): p for p in place.rglob("*.ko")}
        order: dict[str, str] = {}
        for name, options in MODULES:
            for needed in dependencies(name.replace("-", "_"), files):
                order.setdefault(needed, "")
            order[name.replace("-", "_")] = options
        for name in order:
            shutil.copy(files[name], partial / f"{name}.ko")
        text = "".join(f"{name}.ko {options}\n" for name, options in order.items())
        (partial / "order").write_text(text, encoding="ascii")
        release = {"kernel": image.name.removeprefix("vmlinuz-"), "package": package.name}
        (partial / "release.json").write_text(json.dumps(release), encoding="ascii")
        shutil.rmtree(place)


def dependencies(module: str, files: dict[str, Path]) -> list[str]:
    """Itself and what it needs, first what has to be loaded first. Raises BackendError for a
    module that the kernel does not have."""
    if module not in files:
        raise BackendError(f"the kernel's package has no module {module}")
    found = re.search(rb"\0depends=([^\0]*)\0", files[module].read_bytes())
    names = found[1].decode().replace("-", "_").split(",") if found and found[1] else []
    order: dict[str, None] = {}
    for name in names:
        order |= dict.fromkeys(dependencies(name, files))
    return [*order, module]


def make_root(packages: Iterable[Path], target: Path) -> None:
    """Unpacked, with what configuring the packages would have left and booting needs."""
    with whole_folder(target) as root:
        for name in ("bin", "sbin", "lib"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        for package in packages:
            skip = [word for name in NOT_UNPACKED for word in ("--exclude", name)]
            tar = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", *skip]
            data = subprocess.run(
                ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=False
            )
            if data.returncode or subprocess.run(tar, input=data.stdout, check=False).returncode:
                raise BackendError(f"{package.name} cannot be unpacked")
        for name in ("media", "mnt", "opt", "srv"):
            (root / name).mkdir(exist_ok=True)
        etc = root / "etc"
        for name in ("passwd", "group"):
            shutil.copy(root / "usr" / "share" / "base-passwd" / f"{name}.master", etc / name)
        (etc / "hostname").write_text("pi-without-a-network\n", encoding="ascii")
        (etc / "machine-id").write_text(f"{0xED6E:032x}\n", encoding="ascii")
        (etc / "fstab").write_text("/dev/vda / ext4 rw,noatime 0 0\n", encoding="ascii")
        units = etc / "systemd" / "system"
        wanted = units / "multi-user.target.wants"
        wanted.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "inside" / "edge-sdk-vm.service", units)
        (wanted / "edge-sdk-vm.service").symlink_to("../edge-sdk-vm.service")
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        for name in ("getty.target", "systemd-firstboot.service", "systemd-timesyncd.service"):
            (units / name).symlink_to("/dev/null")


def initramfs(kernel: Path, root: Path) -> bytes:
    """A cpio archive, newc: init, busybox, the modules."""
    files = {"init": (HERE / "inside" / "init").read_bytes()}
    files["bin/busybox"] = (root / "bin" / "busybox").read_bytes()
    files["modules/order"] = (kernel / "order").read_bytes()
    files |= {f"modules/{p.name}": p.read_bytes() for p in sorted(kernel.glob("*.ko"))}
    made = b"".join(_entry(name, b"", stat.S_IFDIR | 0o755) for name in ("bin", "modules"))
    made += b"".join(_entry(n, data, stat.S_IFREG | 0o755) for n, data in files.items())
    return gzip.compress(made + _entry("TRAILER!!!", b"", 0), 1, mtime=0)


def _entry(name: str, data: bytes, mode: int) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def make_disk(content: Path, target: Path, free_mb: int, *, label: str) -> None:
    """An ext4 file system with the folder's content, sparse."""
    size = sum(p.lstat().st_size for p in content.rglob("*") if not p.is_dir())
    blocks = (size // 1_000_000 + free_mb) * 1000
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    mke2fs = find_tool("mke2fs") or "mke2fs"
    command = [mke2fs, "-q", "-t", "ext4", "-L", label, "-d", str(content)]
    run([*command, "-E", "root_owner=0:0", str(partial), f"{blocks}k"], f"the disk {target.name}")
    partial.replace(target)


def run(
    command: list[str],
    what: str,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S,
            env=environment, cwd=folder, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise BackendError(f"{what}: {command[0]} did not end within {TIMEOUT_S} s") from e
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise BackendError(f"{what}: {command[0]} failed: {lines[-1]}")
    return done.stdout
