"""`edge-sdk bundle`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.errors import UsageError

if TYPE_CHECKING:
    from edge_sdk.ondevice.bundle_file import Record


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option("--profile", metavar="NAME", help="The device, as rpi4; see `edge-sdk profiles`.")
@click.option("--key", "key_name", metavar="NAME", help="Sign with this key of `edge-sdk keys`.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The new file, X.edge.zip; install.sh beside it."
)
@click.option(
    "--version",
    metavar="N.N.N",
    help="What devices order releases by [this package's version].",
)
@click.option(
    "--python",
    default="3.11",
    show_default=True,
    help="The device's Python: 3.11 (Debian 12) or 3.13 (Debian 13).",
)
@click.option("--arch", help="aarch64, armv7l or x86_64 [aarch64 for Raspberry Pi boards].")
@click.option("--runtime", help="litert or tflite-runtime [litert; armv7l: tflite-runtime].")
@click.option(
    "--with",
    "extras",
    multiple=True,
    metavar="NAME",
    help="Also carry what `edge-sdk screen` (screening) or `serve`, or MQTT (mqtt) needs.",
)
@click.option(
    "--runtime-python",
    metavar="PYTHON",
    help="A Python that has the runtime, for the self-test's answers [this one].",
)
@click.option(
    "--lock",
    type=click.Path(path_type=Path),
    help="Wheels as in this file, on any workstation; written where it is not there.",
)
@click.option("--refresh", is_flag=True, help="Fetch the wheels again.")
@click.option("--overwrite", is_flag=True, help="Replace --out when the new one is complete.")
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    metavar="X.edge.zip",
    help="Verify a bundle against your keys (or --key) and list it.",
)
def bundle(
    artifact: Path | None,
    profile: str | None,
    key_name: str | None,
    out: Path | None,
    version: str | None,
    python: str,
    arch: str | None,
    runtime: str | None,
    extras: tuple[str, ...],
    runtime_python: str | None,
    lock: Path | None,
    refresh: bool,
    overwrite: bool,
    check: Path | None,
) -> None:
    """Pack ARTIFACT into one signed file that a device installs offline.

    Model, runtime and its wheels, installer, service, self-test, licences and bill of materials.
    The wheels are fetched once and kept in the user's cache.
    """
    if check is not None:
        _check(check, key_name)
        return
    given = {"ARTIFACT": artifact, "--profile": profile, "--key": key_name, "--out": out}
    if lacking := [name for name, value in given.items() if value is None]:
        raise UsageError(f"{', '.join(lacking)} must be given, or --check X.edge.zip")
    assert artifact is not None
    assert profile is not None
    assert key_name is not None
    assert out is not None
    from edge_sdk.bundle import wheels
    from edge_sdk.bundle.make import make_bundle
    from edge_sdk.bundle.targets import make_target
    from edge_sdk.keys import read_key

    target = make_target(profile, arch, python, runtime, extras)
    if refresh:
        wheels.refresh(target)
    made = make_bundle(
        artifact,
        target,
        read_key(key_name),
        out,
        version=version,
        lock=lock,
        runtime_python=runtime_python,
        overwrite=overwrite,
        say=lambda line: click.echo(line, err=True),
    )
    _print(made.record)
    click.echo(f"{made.path}  {made.size / 1e6:.1f} MB  sha256 {made.sha256}")


def _check(path: Path, key_name: str | None) -> None:
    import tempfile

    from edge_sdk.keys import all_keys, read_key
    from edge_sdk.ondevice.bundle_file import BundleFile, trust_line

    keys = [read_key(key_name)] if key_name else all_keys()
    if not keys:
        raise UsageError("there is no key to check with: name one with --key")
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        trusted = Path(folder) / "trusted_keys"
        trusted.write_text("".join(trust_line(k.line) for k in keys), encoding="utf-8")
        with BundleFile(path, trusted) as opened:
            opened.check_files()
            _print(opened.record)
    click.echo(f"{path}: signature and {len(opened.record.files)} files are right")


def _print(record: Record) -> None:
    t = record.target
    click.echo(f"{record.name} {record.version} for {t.profile}: {t.arch}, Python {t.python}")
    click.echo(f"{t.runtime} {t.runtime_version}; {record.unpacked_bytes / 1e6:.1f} MB unpacked")
    if t.extras:
        click.echo(f"with {', '.join(t.extras)}")
    if t.system:
        click.echo(f"the device's own Python has to have {' and '.join(t.system)}")
    sizes: Counter[str] = Counter()
    for name, entry in record.files.items():
        top, _, _ = name.partition("/")
        sizes[name if top == "wheels" else top + ("/" if "/" in name else "")] += entry.size
    for name, size in sorted(sizes.items()):
        click.echo(f"  {size:12,}  {name}")
