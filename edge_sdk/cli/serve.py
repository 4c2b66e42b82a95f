"""`edge-sdk serve`: the screening of slides as pages, for a phone beside the device."""

from __future__ import annotations

from pathlib import Path

import click

from edge_sdk.cli.options import backend_option, threads_option
from edge_sdk.cli.screen_options import (
    PATH,
    calibration_option,
    camera_options,
    device_option,
    model_option,
    screening_model,
    sessions_folder,
    sessions_option,
)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0 for all.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: a free one."
)
@click.option(
    "--camera",
    default="picamera2",
    show_default=True,
    help="Of new slides: picamera2, v4l2, folder or simulated.",
)
@camera_options
@model_option
@calibration_option
@device_option
@click.option("--token-file", type=PATH, help="File with the token [a new one at each start].")
@click.option("--certificate", type=PATH, help="PEM file, for HTTPS; with --private-key.")
@click.option("--private-key", type=PATH, help="PEM file of the certificate's key.")
@backend_option
@threads_option
@sessions_option
def serve(
    host: str,
    port: int,
    camera: str,
    camera_option: tuple[str, ...],
    model: Path | None,
    calibration: Path | None,
    device: str | None,
    token_file: Path | None,
    certificate: Path | None,
    private_key: Path | None,
    backend: str,
    threads: int,
    sessions: Path | None,
) -> None:
    """Screen slides on pages that this device serves.

    Prints the address with the token that opens it. Ctrl-C and SIGTERM end it; a slide that was
    open goes on at the next start.
    """
    import platform

    from edge_sdk.live.settings import parse_camera_option
    from edge_sdk.serve.program import run
    from edge_sdk.serve.settings import ServeSettings, host_names, read_token

    settings = ServeSettings(
        sessions=sessions_folder(sessions),
        artifact=screening_model(model),
        token=read_token(token_file),
        camera=camera,
        camera_options=dict(parse_camera_option(o) for o in camera_option),
        calibration=calibration,
        host=host,
        port=port,
        secure=certificate is not None,
        backend=backend,
        threads=threads,
        device=device or platform.node() or "unnamed",
        names=host_names(host),
    )
    run(
        settings,
        certificate=certificate,
        private_key=private_key,
        show_token=token_file is None,
        echo=click.echo,
    )
