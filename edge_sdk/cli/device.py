"""Options that name the machine to measure on, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_sdk.cli.options import Number
from edge_sdk.errors import UsageError

if TYPE_CHECKING:
    from edge_sdk.benchmark.run import Timer
    from edge_sdk.device.ssh import SshDevice

F = TypeVar("F", bound=Callable[..., Any])

ssh_option = click.option(
    "--ssh-option",
    "ssh_option",
    multiple=True,
    metavar="NAME=VALUE",
    help="For ssh's -o, as Port=2222; may be repeated.",
)


def ssh_options(command: F) -> F:
    """Decorates a command with what it takes to reach a device by SSH; see `open_ssh`."""
    return _decorate(
        command,
        click.option(
            "--host",
            metavar="USER@HOST",
            help="Measure there over SSH, as the ssh command reaches it.",
        ),
        click.option(
            "--remote-python",
            metavar="COMMAND",
            help="Python on --host, as ~/venv/bin/python [python3].",
        ),
        ssh_option,
        click.option(
            "--timeout",
            type=Number(1),
            metavar="SECONDS",
            help="Give up on a model on a device after this long [300].",
        ),
    )


def adb_options(command: F) -> F:
    """Decorates a command with what it takes to measure on an Android device."""
    return _decorate(
        command,
        click.option(
            "--adb",
            is_flag=False,
            flag_value="",
            metavar="[SERIAL]",
            help="Measure on an Android device; its serial where there are several.",
        ),
        click.option(
            "--benchmark-model",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="With --adb: TensorFlow Lite's native benchmark_model for the device.",
        ),
        click.option(
            "--delegate",
            metavar="NAME",
            help="With --adb: cpu, xnnpack, gpu or nnapi [the binary's own choice].",
        ),
    )


def _decorate(command: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def open_ssh(given: dict[str, Any]) -> SshDevice:
    """The device of `ssh_options`' values, to be entered with `with`."""
    from edge_sdk.device.ssh import TIMEOUT_S, SshDevice

    return SshDevice(
        given["host"],
        python="python3" if given["remote_python"] is None else given["remote_python"],
        options=given["ssh_option"],
        timeout_s=given["timeout"] or TIMEOUT_S,
    )


@contextmanager
def open_timer(
    given: dict[str, Any], backend: str, how: dict[str, Any], *, estimate_only: bool
) -> Iterator[Timer | None]:
    """Measures on --host, on --adb, or here; nowhere (None) with estimate_only.

    how: threads, runs and seconds. Raises UsageError for options that go with another machine
    than the one named."""
    _refuse_strays(given, backend, estimate_only)
    if estimate_only:
        yield None
    elif given["host"] is not None:
        with open_ssh(given) as board:
            yield partial(board.measure, backend=backend, **how)
    elif given["adb"] is not None:
        from edge_sdk.device.adb import TIMEOUT_S, AdbDevice

        with AdbDevice(
            given["adb"],
            given["benchmark_model"],
            delegate=given["delegate"] or "default",
            timeout_s=given["timeout"] or TIMEOUT_S,
        ) as phone:
            yield partial(phone.measure, **how)
    else:
        from edge_sdk.benchmark.measure import measure

        yield partial(measure, backend=backend, **how)


def _refuse_strays(given: dict[str, Any], backend: str, estimate_only: bool) -> None:
    ssh, adb = given["host"] is not None, given["adb"] is not None
    if ssh and adb:
        raise UsageError("--host and --adb name two devices: give one of them")
    if estimate_only and (ssh or adb):
        raise UsageError(
            "--estimate-only measures nothing; --host and --adb name a machine: give one"
        )
    needs = {
        "remote_python": (ssh, "--host"),
        "ssh_option": (ssh, "--host"),
        "benchmark_model": (adb, "--adb"),
        "delegate": (adb, "--adb"),
        "timeout": (ssh or adb, "--host or --adb"),
    }
    for name, (there, option) in needs.items():
        if given[name] not in (None, ()) and not there:
            raise UsageError(f"--{name.replace('_', '-')} goes with {option}, which is not given")
    if adb and Path(given["adb"]).exists() and given["adb"]:
        raise UsageError(
            f"--adb took the model {given['adb']} for a serial: put the models before --adb"
        )
    if adb and given["benchmark_model"] is None:
        raise UsageError(
            "--adb needs --benchmark-model PATH: TensorFlow Lite's native benchmark_model for the "
            "device"
        )
    if adb and backend != "auto":
        raise UsageError(f"--backend {backend} is for Python; with --adb use --delegate")
