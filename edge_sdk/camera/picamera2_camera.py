"""Raspberry Pi cameras through picamera2 and libcamera, with the exposure and colours held still.

What is asked for is not what is given: libcamera adjusts sizes, and a pipeline that cannot make
RGB gives NV12 without an error. Everything here goes by the configuration that was read back.
(This module is not called picamera2.py: that would hide the package from itself.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from edge_sdk.camera.base import DEFAULT_SIZE, Size, Source
from edge_sdk.camera.folder import check_rate
from edge_sdk.camera.formats import COLOUR_SPACES, FORMATS, PACKED, decode_frame
from edge_sdk.errors import CameraError, UsageError, unknown_name
from edge_sdk.preprocess import Pixels

Stream = Literal["video", "still"]
SETTLE_FRAMES = 40  # at most, until exposure and white balance count as found

# libcamera's controls: what is locked -> (its switch, and the values that it then needs)
LOCKS = {
    "exposure": ("AeEnable", ("ExposureTime", "AnalogueGain")),
    "white balance": ("AwbEnable", ("ColourGains",)),
}


class Picamera2Camera(Source):
    """A camera that libcamera knows.

    camera: its number, from 0. size: (width, height) that it must give; without, 640x480 is asked
    for and `size` says what came. stream: `video` for frames at a rate, `still` for the sensor's
    best picture. format: one of formats.FORMATS to ask for; what comes is converted by what it is.
    rate: frames a second. exposure_us, gain, white_balance (gains of red and blue): fixed to
    these; lock: what was not given is fixed to what the camera finds at the start, so that equal
    cells keep equal colours. focus: `once` at the start, `auto` all the time, or dioptres of the
    lens; None is `once` where the camera has a lens to move. timeout_s: without a frame, after
    which the camera counts as vanished.

    Raises UsageError for a control that this camera lacks."""

    name = "picamera2"

    def __init__(
        self,
        *,
        camera: int = 0,
        size: Size | None = None,
        stream: Stream = "video",
        format: str = "RGB888",
        rate: float | None = None,
        exposure_us: int | None = None,
        gain: float | None = None,
        white_balance: tuple[float, float] | None = None,
        lock: bool = True,
        focus: str | float | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        super().__init__()
        check_rate(rate)
        if stream not in get_args(Stream):
            raise UsageError(unknown_name("stream", stream, get_args(Stream)))
        if format not in FORMATS:
            raise UsageError(unknown_name("pixel format", format, FORMATS))
        if isinstance(focus, str) and focus not in ("once", "auto"):
            raise UsageError(f"focus '{focus}' must be once, auto, or the lens's dioptres")
        self._timeout_s = timeout_s
        self._device: Any = _open(camera)
        try:
            fixed = {
                "ExposureTime": exposure_us,
                "AnalogueGain": gain,
                "ColourGains": white_balance,
                "FrameDurationLimits": rate and (round(1e6 / rate), round(1e6 / rate)),
            }
            controls = {k: v for k, v in fixed.items() if v is not None}
            for control in controls:
                self._needs(control)
            if white_balance and self._has("AwbEnable"):
                controls["AwbEnable"] = False
            self._configure(size, stream, format, controls)
            self._device.start()
            self._focus(focus)
            if lock:
                self._lock_settings(set(controls))
        except BaseException:
            self._release()
            raise

    def _has(self, control: str) -> bool:
        return control in self._device.camera_controls

    def _needs(self, control: str) -> None:
        if not self._has(control):
            there = ", ".join(sorted(self._device.camera_controls)) or "none"
            raise UsageError(f"this camera has no control '{control}'; it has: {there}")

    def _configure(
        self, size: Size | None, stream: Stream, wanted: str, controls: dict[str, Any]
    ) -> None:
        """Asks for the stream and reads back what it will be."""
        from libcamera import ColorSpace

        make = getattr(self._device, f"create_{stream}_configuration")
        try:
            main = {"size": tuple(size or DEFAULT_SIZE), "format": wanted}
            # Video's own default leaves 36 of 255 steps of brightness unused.
            asked = make(main, colour_space=ColorSpace.Sycc(), controls=controls)
            self._device.configure(asked)
        except RuntimeError as e:
            raise CameraError(f"libcamera refuses {wanted} of size {size}: {e}", "format") from e
        given = self._device.camera_configuration()
        main = given["main"]
        self.format, self._stride = str(main["format"]), int(main["stride"])
        self.size = self._delivered = (int(main["size"][0]), int(main["size"][1]))
        if self.format not in FORMATS:
            message = unknown_name("pixel format of the camera", self.format, FORMATS)
            raise CameraError(message, "format")
        text = f"{self.size[0]}x{self.size[1]}"
        if size and self.size != tuple(size):
            raise CameraError(
                f"size {size[0]}x{size[1]} was asked for, the camera gives {text}: ask for that",
                "format",
            )
        if self.size != DEFAULT_SIZE and not size:
            self._note(f"no size was asked for, the camera gives {text}")
        if self.format != wanted:
            self._note(f"{wanted} was asked for, the camera gives {self.format}: converted")
        self._colours = "sYCC"
        if self.format in PACKED or self.format == "MJPEG":
            return
        # Printed as <libcamera.ColorSpace 'sYCC'>: the name is what stands between the quotes.
        text = str(given.get("colour_space"))
        colours = text.split("'")[1] if text.count("'") == 2 else text
        if colours in COLOUR_SPACES:
            self._colours = colours
        else:
            self._note(f"the camera's colour space is '{colours}': taken for sYCC")

    def _note(self, text: str) -> None:
        self.notes = (*self.notes, text)

    def _focus(self, focus: str | float | None) -> None:
        if focus is not None:
            self._needs("AfMode")
        if not self._has("AfMode"):
            return
        from libcamera import controls

        modes = controls.AfModeEnum
        if focus == "auto":
            self._device.set_controls({"AfMode": modes.Continuous})
        elif isinstance(focus, float | int):
            self._device.set_controls({"AfMode": modes.Manual, "LensPosition": float(focus)})
        elif not self._within(self._device.autofocus_cycle, "did not finish focusing"):
            self._note("the lens found no focus")

    def _lock_settings(self, given: set[str]) -> None:
        """Fixes what the camera's loops have found; `given` is fixed already."""
        locks = {k: v for k, v in LOCKS.items() if any(self._has(c) for c in v[1])}
        metadata: dict[str, Any] = {}
        for number in range(SETTLE_FRAMES if locks else 0):
            metadata = self._capture()[1]
            # A camera that does not say when its exposure is found gets all the frames.
            if number >= 10 and metadata.get("AeLocked"):
                break
        for what, (switch, controls) in locks.items():
            values = {c: metadata[c] for c in controls if c not in given and c in metadata}
            values = {c: v for c, v in values.items() if self._has(c)}
            if not values:
                continue
            off = {switch: False} if self._has(switch) else {}
            self._device.set_controls({**off, **values})
            text = ", ".join(f"{c} {v}" for c, v in values.items())
            self._note(f"{what} locked to what was found: {text}")

    def _within(self, start: Callable[..., Any], failure: str) -> Any:
        """The result of a picamera2 job, waited for `timeout_s`."""
        try:
            return self._device.wait(start(wait=False), timeout=self._timeout_s)
        except TimeoutError as e:
            self._device.cancel_all_and_flush()
            raise CameraError(f"the camera {failure} within {self._timeout_s:g} s") from e
        except RuntimeError as e:
            raise CameraError(f"the camera {failure}: {e}") from e

    def _capture(self) -> tuple[Pixels, dict[str, Any]]:
        request = self._within(self._device.capture_request, "gave no frame")
        try:
            data = request.make_buffer("main")  # a copy: the camera's memory goes back at once
            metadata = dict(request.get_metadata())
        finally:
            request.release()
        stride, colours = self._stride, self._colours
        pixels = decode_frame(
            data, self.format, self._delivered, stride=stride, colour_space=colours
        )
        return pixels, metadata

    def _grab(self) -> tuple[Pixels, dict[str, Any]] | None:
        return self._capture()

    def _release(self) -> None:
        device, self._device = self._device, None
        if device is None:
            return
        for step in (device.stop, device.close):
            try:
                step()
            except RuntimeError as e:  # of a camera that is gone, or never started
                self._note(f"closing the camera: {e}")


def _open(number: int) -> Any:
    try:
        from picamera2 import Picamera2
    except ImportError as e:
        raise CameraError(
            "picamera2 is not here: sudo apt install python3-picamera2, and make the environment "
            f"with python3 -m venv --system-site-packages ({e})",
            "missing",
        ) from e
    cameras = Picamera2.global_camera_info()
    if not 0 <= number < len(cameras):
        names = ", ".join(f"{i}: {c.get('Model')}" for i, c in enumerate(cameras)) or "none"
        raise CameraError(f"there is no camera {number}; libcamera finds: {names}", "missing")
    try:
        return Picamera2(number)
    except RuntimeError as e:
        cause = e.__cause__ or e
        raise CameraError(
            f"camera {number} cannot be opened, another program may have it: {cause}", "busy"
        ) from e
