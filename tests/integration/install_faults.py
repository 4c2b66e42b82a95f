"""Faults during an installation, at every step of it: run it to print the table.

    python tests/integration/install_faults.py [--json]

A child process installs a small bundle for real and ends at step n (killed, or as if the power had
failed, or with a full or read-only disk), for every n until it ends by itself. After each, the old
or the new release must be there, whole; then the installation is repeated and must succeed.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_sdk.artifact import Artifact, read_artifact
from edge_sdk.bundle import wheels
from edge_sdk.bundle.expected import selftest_files
from edge_sdk.bundle.keys import Key, read_key
from edge_sdk.bundle.make import gather, make_record, pack
from edge_sdk.errors import EdgeError
from edge_sdk.ondevice import disk, install
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.ondevice.layout import Layout
from edge_sdk.ondevice.release import damage, device_arch
from edge_sdk.ondevice.selftest import Result
from edge_sdk.ondevice.service import NoServices
from edge_sdk.ondevice.state import read_state

# What the self-test of the fake runtime imports, and the commands; a smaller wheel has fewer steps.
OWN = {
    "__init__", "errors", "strict", "files", "preprocess", "tflite_file", "artifact", "dataset",
    "metrics", "sidecar", "model_metadata", "runtime", "backends/__init__", "backends/base",
    "backends/fake",
}  # fmt: skip
FIRST_FREE_STEP = 5000
HERE = "{}.{}".format(*sys.version_info)


@dataclass(frozen=True)
class Row:
    """A line of the table. steps: at which the fault came; old, new: what was installed after it;
    broken: neither, whole; not_repaired: repeating it did not end well. real: how often the
    surviving release's own self-test was run in a process of its own, too."""

    job: str
    fault: str
    steps: int
    old: int
    new: int
    broken: int
    not_repaired: int
    real: int


# --- small bundles -------------------------------------------------------------------------------


def target(arch: str = "", python: str = HERE) -> Target:
    return Target("rpi4", arch or device_arch(), python, "fake", "1")


def small_wheel() -> tuple[str, bytes]:
    """Our own wheel with the few modules that the fake runtime's self-test needs."""
    name, data = wheels.own_wheel()
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            module = info.filename.removeprefix("edge_sdk/").removesuffix(".py")
            if module in OWN or module.startswith("ondevice/") or ".dist-info" in info.filename:
                new.writestr(info, old.read(info))
    return name, made.getvalue()


def make_bundle(
    artifact: Artifact, key: Key, out: Path, version: str, for_target: Target | None = None
) -> Path:
    """As `edge-sdk bundle`, without wheels from elsewhere and for the fake runtime."""
    wanted = for_target or target()
    name, data = small_wheel()
    contents = gather(artifact, {name: data}, selftest_files(artifact, wanted, None), version)
    out.write_bytes(pack(contents, make_record(artifact, wanted, contents, version), key))
    return out


def make_key(folder: Path) -> Key:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / "key")]
    subprocess.run(command, check=True)
    return read_key(str(folder / "key"))


# --- faults --------------------------------------------------------------------------------------


def killed(step: int) -> Callable[[str, Path], None]:
    """The process is gone at this step; what it wrote is on the disk."""

    def at(n: int) -> None:
        if n == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return counted(at)


def power_cut(step: int) -> Callable[[str, Path], None]:
    """The same, and what was written and not synced is empty afterwards."""
    unsynced: set[Path] = set()
    number = 0
    last: tuple[str, Path] = ("", Path())

    def before(what: str, path: Path) -> None:
        nonlocal number, last
        done, its = last  # the step before is over by now
        if done in ("open", "write"):
            unsynced.add(its)
        elif done == "fsync":
            unsynced.discard(its)
        elif done == "sync":
            unsynced.clear()
        last = (what, path)
        number += 1
        if number == step:
            for file in unsynced:
                if file.is_file():
                    os.truncate(file, 0)
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def failing(number: int) -> Callable[[int], Callable[[str, Path], None]]:
    """From this step on, every change to the disk is refused: full, or read-only."""

    def make(step: int) -> Callable[[str, Path], None]:
        def at(n: int) -> None:
            if n >= step:
                raise OSError(number, os.strerror(number))

        return counted(at)

    return make


def counted(at: Callable[[int], None]) -> Callable[[str, Path], None]:
    number = 0

    def before(_what: str, _path: Path) -> None:
        nonlocal number
        number += 1
        at(number)

    return before


FAULTS: dict[str, Callable[[int], Callable[[str, Path], None]]] = {
    "killed": killed,
    "power cut": power_cut,
    "disk full": failing(errno.ENOSPC),
    "read-only disk": failing(errno.EROFS),
}


# --- jobs ----------------------------------------------------------------------------------------


class Unhealthy(NoServices):
    """A service manager under which the new release never comes up."""

    manages = True

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def restart(self) -> str:
        return "it crashes" if self._layout.current_name() == "2" else ""


@dataclass(frozen=True)
class Job:
    """before: versions that are installed first. after: what is there when it went well."""

    name: str
    before: tuple[str, ...]
    run: Callable[[Layout, Path], None]
    after: str


def update(layout: Layout, bundles: Path) -> None:
    install.install(bundles / "2.edge.zip", layout, NoServices(), say=silent)


def first(layout: Layout, bundles: Path) -> None:
    path = bundles / "2.edge.zip"
    install.install(path, layout, NoServices(), trust=bundles / "key.pub", say=silent)


def unhealthy(layout: Layout, bundles: Path) -> None:
    with suppress(EdgeError):  # that it was rolled back
        install.install(bundles / "2.edge.zip", layout, Unhealthy(layout), say=silent)


def rollback(layout: Layout, _bundles: Path) -> None:
    if layout.current_name() == "2":
        install.rollback(layout, NoServices(), silent)


def never_healthy_at_boot(layout: Layout, _bundles: Path) -> None:
    for _ in range(install.STARTS + 1):
        if layout.current_name() == "2":
            state = read_state(layout)
            if state.trial is None:
                install.write_state(layout, install.State(previous="1", trial="2"))
            install.starting(layout, silent)
    install.starting(layout, silent)


def silent(line: str) -> None:
    del line


JOBS = (
    Job("first installation", (), first, "2"),
    Job("update", ("0", "1"), update, "2"),
    Job("update that is not healthy", ("0", "1"), unhealthy, "1"),
    Job("rollback", ("1", "2"), rollback, "1"),
    Job("starts that are not healthy", ("1", "2"), never_healthy_at_boot, "1"),
)


def stub_selftest(release: Path) -> Result:
    """In the children only: the real one takes a process and half a second."""
    disk.before("self-test", release)
    if (broken := damage(release)) is not None:
        raise EdgeError(f"{release}: {broken} is damaged")
    return Result("fake", "1", 4, "bytes", 0.0)


def in_child(work: Callable[[], None]) -> int:
    """The status of a forked process that does it: 0, 1 for an error, -9 when it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        install.run_selftest = stub_selftest
        os.sync = lambda: None  # it waits for every file of the machine; `power_cut` keeps count
        work()
        status = 0
    except (EdgeError, OSError):
        pass
    finally:
        os._exit(status)


def prepare(job: Job, bundles: Path, root: Path) -> None:
    layout = Layout(root)
    for version in job.before:
        path = bundles / f"{version}.edge.zip"
        install.install(path, layout, NoServices(), trust=bundles / "key.pub", say=silent)


def one_fault(job: Job, fault: str, bundles: Path, work: Path, real_every: int) -> Row:
    template = work / "template"
    shutil.rmtree(template, ignore_errors=True)
    template.mkdir()
    assert in_child(lambda: prepare(job, bundles, template)) == 0
    started_as = Layout(template).current_name()
    steps = old = new = broken = not_repaired = real = 0
    for step in range(1, FIRST_FREE_STEP):
        root = work / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(template, root, symlinks=True)
        layout = Layout(root)

        def faulty(layout: Layout = layout, step: int = step) -> None:
            disk.before = FAULTS[fault](step)
            job.run(layout, bundles)

        status = in_child(faulty)
        # A job that swallows errors ends with 0 though the fault came.
        if status == 0 and layout.current_name() == job.after and clean(layout):
            break
        steps += 1
        name = layout.current_name()
        whole = name is None and not job.before
        if name is not None:
            whole = damage(layout.releases / name) is None
            if whole and step % real_every == 0:
                install.run_selftest(layout.current)
                real += 1
        broken += not whole
        old += whole and name == started_as
        new += whole and name != started_as
        again = in_child(lambda layout=layout: job.run(layout, bundles))  # type: ignore[misc]
        not_repaired += again != 0 or layout.current_name() != job.after or not clean(layout)
    return Row(job.name, fault, steps, old, new, broken, not_repaired, real)


def clean(layout: Layout) -> bool:
    """No leftovers."""
    return not [p for p in layout.releases.iterdir() if p.name.startswith(".")]


def table(folder: Path, artifact: Path, real_every: int = 40) -> Iterator[Row]:
    bundles, work = folder / "bundles", folder / "work"
    bundles.mkdir()
    work.mkdir()
    key = make_key(bundles)
    for version in ("0", "1", "2"):
        make_bundle(read_artifact(artifact), key, bundles / f"{version}.edge.zip", version)
    for job in JOBS:
        for fault in FAULTS:
            yield one_fault(job, fault, bundles, work, real_every)


def main() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        rows = table(Path(folder), Path(sys.argv[1]))
        if "--json" in sys.argv:
            print(json.dumps([asdict(r) for r in rows]))
            return
        print(f"{'job':28} {'fault':15} steps   old   new broken not-repaired real-self-tests")
        for r in rows:
            counts = f"{r.steps:5} {r.old:5} {r.new:5} {r.broken:6} {r.not_repaired:12} {r.real:15}"
            print(f"{r.job:28} {r.fault:15} {counts}", flush=True)


if __name__ == "__main__":
    main()
