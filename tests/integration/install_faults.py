"""Faults during an installation, at every step of it: run it to print the table.

    python tests/integration/install_faults.py ARTIFACT [--json] [--jobs WORD] [--faults WORD]
        [--stride N]

A child process installs a small bundle for real and ends at step n (killed, or as if the power had
failed, or with a full or read-only disk), for every n until it ends by itself. After each, the old
or the new release must be there, whole; then the installation is repeated and must succeed.
"""

from __future__ import annotations

import argparse
import ast
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

from edge_sdk.artifact import (
    Artifact,
    Check,
    Gate,
    Manifest,
    Sample,
    Source,
    TensorInfo,
    manifest_json,
    read_artifact,
)
from edge_sdk.bundle.expected import selftest_files
from edge_sdk.bundle.make import gather, make_record, pack
from edge_sdk.bundle.own import own_wheel
from edge_sdk.errors import EdgeError
from edge_sdk.files import sha256
from edge_sdk.keys import Key, read_key
from edge_sdk.ondevice import disk, install
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.ondevice.layout import Layout
from edge_sdk.ondevice.release import damage, device_arch
from edge_sdk.ondevice.selftest import Result
from edge_sdk.ondevice.service import NoServices
from edge_sdk.ondevice.state import read_state
from edge_sdk.preprocess import Preprocess

# What the self-test of the fake runtime imports in its functions; a smaller wheel has fewer steps.
OWN = ("backends/__init__", "backends/fake", "dataset", "preprocess", "runtime")
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


def make_artifact(models: Path, parent: Path) -> Path:
    """A tiny one, without a gate that ran."""
    folder = parent / "tiny-int8"
    folder.mkdir()
    model = folder / "model.tflite"
    shutil.copy(models / "tiny-int8.tflite", model)
    check = Check("fake", "1", "3.11", "x86_64", 4, 75.0, 100.0, 75.0, 25.0, 12.0, True, ())
    manifest = Manifest(
        format=1,
        name="tiny",
        scheme="int8",
        labels=("blank", "ring", "smear"),
        preprocess=Preprocess(16, 16),
        activation="softmax",
        input=TensorInfo("image", (1, 16, 16, 3), "int8", 2 / 255, -1),
        output=TensorInfo("scores", (1, 3), "int8", 1 / 256, -128),
        ops={},
        weight_types={},
        model_bytes=model.stat().st_size,
        float_bytes=6000,
        sha256=sha256(model),
        source=Source("tiny.keras", "keras", "0" * 64, 100, 500),
        calibration=None,
        judged=Sample("cells", True, 0, ()),
        gate=Gate("accuracy", 1.5, True, (check,)),
        tools={},
    )
    (folder / "manifest.json").write_text(manifest_json(manifest), encoding="utf-8")
    return folder


def target(arch: str = "", python: str = HERE) -> Target:
    return Target("rpi4", arch or device_arch(), python, "fake", "1")


def small_wheel() -> tuple[str, bytes]:
    """Our own wheel with the few modules that the fake runtime's self-test needs."""
    name, data = own_wheel()
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        names = old.namelist()
        wanted = {n for n in names if n.startswith("edge_sdk/ondevice/") or ".dist-info" in n}
        ahead = {"edge_sdk/__init__.py", *wanted, *(f"edge_sdk/{module}.py" for module in OWN)}
        while ahead:
            wanted |= ahead
            ahead = {i for n in ahead if n.endswith(".py") for i in imported(old.read(n))}
            ahead = ahead & set(names) - wanted
        for info in old.infolist():
            if info.filename in wanted:
                new.writestr(info, old.read(info))
    return name, made.getvalue()


def imported(source: bytes) -> set[str]:
    """The files of our modules that one imports when it is loaded."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge_sdk"):
            for module in (node.module or "", *(f"{node.module}.{a.name}" for a in node.names)):
                path = module.replace(".", "/")
                found |= {f"{path}.py", f"{path}/__init__.py"}
    return found


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
    """before: versions that are installed first. after: what is there when it went well. stride:
    the tests take every so many-th step, from another first one for each fault."""

    name: str
    before: tuple[str, ...]
    run: Callable[[Layout, Path], None]
    after: str
    stride: int = 1


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
    Job("first installation", (), first, "2", stride=23),
    Job("update", ("0", "1"), update, "2", stride=31),
    Job("update that is not healthy", ("0", "1"), unhealthy, "1", stride=41),
    Job("rollback", ("1", "2"), rollback, "1"),
    Job("starts that are not healthy", ("1", "2"), never_healthy_at_boot, "1", stride=7),
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


def one_fault(
    job: Job, fault: str, bundles: Path, work: Path, real_every: int, stride: int = 1
) -> Row:
    template = work / "template"
    shutil.rmtree(template, ignore_errors=True)
    template.mkdir()
    assert in_child(lambda: prepare(job, bundles, template)) == 0
    started_as = Layout(template).current_name()
    steps = old = new = broken = not_repaired = real = 0
    begin = 1 + list(FAULTS).index(fault) % stride
    for step in range(begin, FIRST_FREE_STEP, stride):
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
            if whole and steps % real_every == 0:
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


def table(
    folder: Path,
    artifact: Path,
    *,
    real_every: int = 40,
    stride: int | None = None,
    jobs: str = "",
    faults: str = "",
) -> Iterator[Row]:
    """jobs, faults: those with this word in their name. stride: every so many-th step [the job's
    own]; 1 is every step."""
    bundles, work = folder / "bundles", folder / "work"
    bundles.mkdir()
    work.mkdir()
    key = make_key(bundles)
    for version in ("0", "1", "2"):
        make_bundle(read_artifact(artifact), key, bundles / f"{version}.edge.zip", version)
    for job in JOBS:
        for fault in FAULTS:
            if jobs in job.name and faults in fault:
                yield one_fault(job, fault, bundles, work, real_every, stride or job.stride)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--json", action="store_true", help="A line of JSON for each row.")
    parser.add_argument("--jobs", default="", help="Only jobs with this in their name.")
    parser.add_argument("--faults", default="", help="Only faults with this in their name.")
    parser.add_argument("--stride", type=int, default=1, help="Every so many-th step [every one].")
    given = parser.parse_args()
    memory = Path("/dev/shm")
    if not given.json:
        print(f"{'job':28} {'fault':15} steps   old   new broken not-repaired real-self-tests")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for r in table(
            Path(folder),
            given.artifact,
            stride=given.stride,
            jobs=given.jobs,
            faults=given.faults,
        ):
            counts = f"{r.steps:5} {r.old:5} {r.new:5} {r.broken:6} {r.not_repaired:12} {r.real:15}"
            line = f"{r.job:28} {r.fault:15} {counts}"
            print(json.dumps(asdict(r)) if given.json else line, flush=True)


if __name__ == "__main__":
    main()
