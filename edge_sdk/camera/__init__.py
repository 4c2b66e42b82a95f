"""Cameras by name: each is an iterable of RGB frames with their times (see base.py).

    with open_camera("v4l2", device="/dev/video0") as camera:
        for frame in camera:
            prediction = classifier.classify(frame.pixels)

A camera that is slower or faster than what reads it, or that may vanish, goes through
`edge_sdk.camera.latest.LatestFrames`. Resizing, cropping and colour order of the model's input are
`preprocess`'s work: the same picture from a camera and from a file gives the same tensor.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any, cast

from edge_sdk.camera.base import Camera, Frame, Size
from edge_sdk.errors import CameraError, UsageError, unknown_name

__all__ = [
    "CAMERAS",
    "Camera",
    "CameraError",
    "Frame",
    "Size",
    "camera_class",
    "camera_options",
    "open_camera",
]

# name -> "module:class"; the class is called with (**options)
CAMERAS = {
    "picamera2": "edge_sdk.camera.picamera2_camera:Picamera2Camera",
    "v4l2": "edge_sdk.camera.v4l2:V4L2Camera",
    "folder": "edge_sdk.camera.folder:FolderCamera",
    "simulated": "edge_sdk.camera.simulated:SimulatedCamera",
}


def camera_class(name: str) -> type[Any]:
    """Raises UsageError for an unknown camera."""
    if name not in CAMERAS:
        raise UsageError(unknown_name("camera", name, CAMERAS))
    module, _, attribute = CAMERAS[name].partition(":")
    return cast(type[Any], getattr(importlib.import_module(module), attribute))


def camera_options(name: str) -> dict[str, inspect.Parameter]:
    """What `open_camera` takes for a camera, by name. Raises UsageError for an unknown camera."""
    return dict(inspect.signature(camera_class(name)).parameters)


def open_camera(name: str, **options: Any) -> Camera:
    """Opens a camera of the table; close it, or use `with`.

    Raises UsageError for an unknown name or option and a value out of range, CameraError for a
    camera that is missing, busy, or gives what cannot be used."""
    valid = camera_options(name)
    for option in options:
        if option not in valid:
            raise UsageError(unknown_name(f"option of camera '{name}'", option, valid))
    for option, parameter in valid.items():
        if parameter.default is parameter.empty and option not in options:
            raise UsageError(f"camera '{name}' needs the option '{option}'")
    return cast(Camera, camera_class(name)(**options))
