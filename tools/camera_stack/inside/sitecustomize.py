"""Read by Python at its start under run.sh: fills in for picamera2 what the virtual pipeline lacks.

It has no raw stream for picamera2 to list, no DRM display and no buffers from a heap; picamera2
itself is left as it is otherwise."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Names(type):
    """A class whose every attribute is its own name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def _stubs() -> list[ModuleType]:
    """What picamera2 imports for a preview, raw files and ffmpeg, all of which need a compiler or
    a display, and nothing here uses."""
    pykms, prctl, pidng, camdefs, core = map(
        ModuleType, ("pykms", "prctl", "pidng", "pidng.camdefs", "pidng.core")
    )
    pykms.PixelFormat = _Names("PixelFormat", (), {})  # type: ignore[attr-defined]
    pykms.Card = type("Card", (), {})  # type: ignore[attr-defined]
    camdefs.Picamera2Camera = type("Picamera2Camera", (), {})  # type: ignore[attr-defined]
    core.PICAM2DNG = type("PICAM2DNG", (), {})  # type: ignore[attr-defined]
    return [pykms, prctl, pidng, camdefs, core]


def _list_viewfinder_modes(self: Any) -> list[dict[str, Any]]:
    import libcamera

    roles = [libcamera.StreamRole.Viewfinder]
    formats = self.camera.generate_configuration(roles).at(0).formats
    return [
        {"format": str(pixel), "size": (size.width, size.height)}
        for pixel in formats.pixel_formats
        for size in formats.sizes(pixel)
    ]


def _adapt(picamera2: Any) -> None:
    from picamera2.allocators import LibcameraAllocator

    device = picamera2.Picamera2
    make = device.__init__

    def make_with_own_buffers(self: Any, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        if options.get("allocator") is None:
            self.allocator = LibcameraAllocator(self.camera)

    device.__init__ = make_with_own_buffers
    device._get_raw_modes = _list_viewfinder_modes


class _Finder:
    """Adapts picamera2 when it is imported, and not before: most runs never do."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != "picamera2":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_adapt(module: ModuleType) -> None:
            run(module)
            _adapt(module)

        spec.loader.exec_module = run_and_adapt  # type: ignore[method-assign]
        return spec


for stub in _stubs():
    sys.modules[stub.__name__] = stub
sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
