"""`edge-classify`, and the options that `edge-sdk classify --camera` shares with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_sdk.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
# Options that are a key of the settings by the same name; the rest is put together below.
SAME = ("camera", "roi", "interval_s", "smooth", "frames", "output", "watchdog_s", "state",
        "heartbeat")  # fmt: skip


def live_options(command: F) -> F:
    """Decorates a command with what a camera's loop may be told."""
    options = [
        click.option("--camera", metavar="NAME", help="picamera2, v4l2, folder or simulated."),
        click.option(
            "--camera-option",
            "camera_option",
            multiple=True,
            metavar="NAME=VALUE",
            help="Of that camera, as size=640x480, path=photos or rate=10; may be repeated.",
        ),
        click.option(
            "--roi", metavar="X,Y,W,H", help="Part of the frame, in pixels or all in percent (25%)."
        ),
        click.option(
            "--interval", "interval_s", type=float, metavar="S", help="Between two frames [0: all]."
        ),
        click.option("--smooth", type=int, metavar="N", help="Average over so many frames [1]."),
        click.option("--frames", type=int, metavar="N", help="End after so many frames."),
        click.option("--once", is_flag=True, help="One answer, then end; for scripts."),
        click.option("--output", metavar="FORM", help="text, json, csv or none [text]."),
        click.option("--save-frames", metavar="FOLDER", help="Keep the classified frames there."),
        click.option(
            "--save-every", type=float, metavar="S", help="At least so long between two [0: all]."
        ),
        click.option(
            "--keep-free", type=int, metavar="MB", help="Save none with less disk than this [1000]."
        ),
        click.option(
            "--watchdog", "watchdog_s", type=float, metavar="S", help="Fail without a frame [30]."
        ),
        click.option("--state", metavar="FOLDER", help="One instance at a time on this folder."),
        click.option("--heartbeat", metavar="FILE", help="Written with the health, each 10 s."),
        click.option("--metrics", metavar="PORT", help="Prometheus text there; or ADDRESS:PORT."),
        click.option("--page", metavar="PORT", help="Live page there; or ADDRESS:PORT."),
        click.option("--mqtt", metavar="HOST[:PORT]", help="Publish health (extra mqtt)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_live(given: dict[str, Any]) -> dict[str, Any]:
    """Takes the values of `live_options` out of `given`, as keys of the settings."""
    from edge_sdk.live.settings import parse_camera_option

    found = {name: given.pop(name) for name in SAME}
    options, once = given.pop("camera_option"), given.pop("once")
    folder, every, free = (given.pop(n) for n in ("save_frames", "save_every", "keep_free"))
    addresses = {name: given.pop(name) for name in ("metrics", "page", "mqtt")}
    settings = {name: value for name, value in found.items() if value is not None}
    if options:
        settings["camera_options"] = dict(parse_camera_option(o) for o in options)
    if once:
        settings["once"] = True
    if folder is not None:
        parts = {"folder": folder, "every_s": every, "keep_free_mb": free}
        settings["save_frames"] = {k: v for k, v in parts.items() if v is not None}
    elif every is not None or free is not None:
        raise UsageError("--save-every and --keep-free belong to --save-frames FOLDER")
    for name, key in (("metrics", "prometheus"), ("page", "page")):
        if addresses[name] is not None:
            address, _, port = addresses[name].rpartition(":")
            settings[key] = {"port": _port(name, port)} | ({"address": address} if address else {})
    if addresses["mqtt"] is not None:
        host, colon, port = addresses["mqtt"].partition(":")
        settings["mqtt"] = {"host": host} | ({"port": _port("mqtt", port)} if colon else {})
    return settings


def _port(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"--{option}: port '{text}' must be a number from 0 to 65535")
    return int(text)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; options overrule it.")
@click.option("--backend", help="auto, litert, tflite-runtime or fake [auto].")
@click.option("--threads", type=int, help="Threads of the interpreter [1].")
@click.option("--top", type=int, help="Labels to print per frame [1].")
@click.option("--threshold", type=float, help="Leave out labels below this probability [0].")
@live_options
def edge_classify(model: str | None, config: Path | None, **given: Any) -> None:
    """Classify a camera's frames with MODEL, an artifact folder or a bare .tflite.

    SIGHUP reads --config again; SIGTERM and Ctrl-C end it. Answers go to standard output.
    """
    from edge_sdk.live.program import run_live
    from edge_sdk.live.settings import read_settings

    settings = read_live(given)
    settings |= {k: v for k, v in {"model": model, **given}.items() if v is not None}
    if config is None and "model" not in settings:
        raise UsageError("give MODEL, or --config with the key model")
    if config is None and "camera" not in settings:
        raise UsageError("give --camera: picamera2, v4l2, folder or simulated")
    reread = None if config is None else lambda: read_settings(config, settings)
    run_live(read_settings(config, settings), reread=reread)


def main() -> None:
    """`edge-classify`."""
    from edge_sdk.cli import run_command

    run_command(edge_classify)
