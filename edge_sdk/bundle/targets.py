"""Which wheels a device needs: architecture, Python and runtime to requirements and skipped files.

A requirement is pinned where answers depend on it; the rest is pinned by the lock file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_sdk.bundle.extras import check_extras, extra_requirements
from edge_sdk.errors import UsageError, unknown_name
from edge_sdk.ondevice.bundle_file import Target
from edge_sdk.profiles import load_profile

PYTHONS = ("3.11", "3.13")  # Raspberry Pi OS bookworm and trixie
VERSIONS = {"litert": "2.3.0", "tflite-runtime": "2.14.0"}
DISTRIBUTIONS = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
# glibc of the oldest system with that Python is 2.36.
_GLIBC = (34, 31, 28, 27, 26, 24, 17)
PLATFORMS = {
    arch: (*(f"manylinux_2_{n}_{arch}" for n in _GLIBC), f"manylinux2014_{arch}")
    for arch in ("aarch64", "armv7l", "x86_64")
}
# 64-bit Raspberry Pi OS, whatever system a profile's published latency was measured under.
BOARDS = {"rpi3b+": "aarch64", "rpi4": "aarch64", "rpi5": "aarch64", "rpi-zero2w": "aarch64"}
# Pillow reads BMP, GIF, ICO, JPEG (2000, MPO), PNG, PPM, TGA and TIFF without these; a plugin that
# is not there is passed over by its Image.init().
_NO_CAMERA_WRITES = (
    "Avif", "Blp", "Bufr", "Cur", "Dcx", "Dds", "Eps", "Fits", "Fli", "Fpx", "Ftex", "Gbr", "Grib",
    "Hdf5Stub", "Icns", "Im", "Imt", "Iptc", "McIdas", "Mic", "Mpeg", "Msp", "Palm", "Pcd", "Pcx",
    "Pdf", "Pixar", "Psd", "Qoi", "Sgi", "Spider", "Sun", "WebP", "Wmf", "Xbm", "Xpm", "XVThumb",
)  # fmt: skip
# What these distributions bring beside what a classifier runs: tests, headers, build tools, a GPU
# accelerator, fonts and picture formats that no camera or microscope writes. Tried out: the
# self-test runs without them on every device before the switch.
SKIP = (
    "*.pyi",
    "*.pxd",
    "*.h",
    "*.a",
    "*/tests/*",
    "numpy/f2py/*",
    "numpy/distutils/*",
    "numpy/core/include/*",
    "numpy/core/lib/*",
    "numpy/_core/include/*",
    "numpy/_core/lib/*",
    "numpy/array_api/*",
    "numpy/_pyinstaller/*",
    "numpy/testing/*",
    "numpy/random/_examples/*",
    "numpy/linalg/lapack_lite.*",
    "numpy/conftest.py",
    "numpy/core/_simd.*",
    "numpy/_core/_simd.*",
    "numpy/ma/testutils.py",
    "numpy/ma/timer_comparison.py",
    "numpy/*.rst",
    "numpy/*/setup.py",
    "click/testing.py",
    "PIL/ImageGrab.py",
    "PIL/ImageWin.py",
    "PIL/PSDraw.py",
    "numpy/core/_rational_tests.*",
    "numpy/core/_umath_tests.*",
    "numpy/core/_operand_flag_tests.*",
    "numpy/core/_struct_ufunc_tests.*",
    "numpy/_core/_rational_tests.*",
    "numpy/_core/_umath_tests.*",
    "numpy/_core/_operand_flag_tests.*",
    "numpy/_core/_struct_ufunc_tests.*",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "ai_edge_litert/aot/*",
    "ai_edge_litert/tools/*",
    "PIL/_webp*",
    "pillow.libs/libwebp*",
    "pillow.libs/libsharpyuv*",
    "PIL/_imagingmorph*",
    "PIL/_imagingmath*",
    "PIL/_avif*",
    "pillow.libs/libavif*",
    "PIL/_imagingft*",
    "pillow.libs/libfreetype*",
    "pillow.libs/libharfbuzz*",
    "pillow.libs/libbrotli*",
    "PIL/_imagingcms*",
    "pillow.libs/liblcms2*",
    "PIL/_imagingtk*",
    "PIL/ImageCms.py",
    "PIL/ImageMath.py",
    "PIL/ImageMorph.py",
    "PIL/ImageQt.py",
    "PIL/ImageTk.py",
    "PIL/PdfParser.py",
    *(f"PIL/{name}ImagePlugin.py" for name in _NO_CAMERA_WRITES),
    # Licences are in licences/, hashes in files.json, the parts in sbom.cdx.json.
    "*.dist-info/RECORD",
    "*.dist-info/licenses/*",
    "*.dist-info/LICEN?E*",
    "*.dist-info/AUTHORS*",
    "*.dist-info/NOTICE*",
    "*.dist-info/COPYING*",
    "*.dist-info/sboms/*",
)


@dataclass(frozen=True)
class Wanted:
    """What pip is asked for. requirements: with no dependencies beyond them, because the rest of
    what ai-edge-litert names (protobuf, ml_dtypes, tqdm) serves its converter, not its
    interpreter. extras: with all that they need, for arch."""

    requirements: tuple[str, ...]
    platforms: tuple[str, ...]
    python: str
    extras: tuple[str, ...] = ()
    arch: str = ""


def make_target(
    profile: str,
    arch: str | None,
    python: str,
    runtime: str | None,
    extras: Sequence[str] = (),
) -> Target:
    """extras: of --with. Raises UsageError for a combination that no wheels are published for."""
    name = load_profile(profile).name
    found = arch or BOARDS.get(name)
    if found is None:
        raise UsageError(
            f"profile '{name}' does not say which system its board runs: give --arch "
            f"{', '.join(PLATFORMS)}"
        )
    if found not in PLATFORMS:
        raise UsageError(unknown_name("architecture", found, PLATFORMS))
    if python not in PYTHONS:
        raise UsageError(unknown_name("Python", python, PYTHONS))
    chosen = runtime or ("tflite-runtime" if found == "armv7l" else "litert")
    if chosen not in VERSIONS:
        raise UsageError(unknown_name("runtime", chosen, VERSIONS))
    if chosen == "litert" and found == "armv7l":
        raise UsageError("runtime 'litert' has no wheel for armv7l: --runtime tflite-runtime")
    if chosen == "tflite-runtime" and python != "3.11":
        raise UsageError(
            f"runtime 'tflite-runtime' has no wheel for Python {python}: --python 3.11"
            + ("" if found == "armv7l" else ", or --runtime litert")
        )
    added = check_extras(extras)
    system = (("numpy", "PIL") if found == "armv7l" else ()) + (
        extra_requirements(added, found, python)[1]
    )
    return Target(name, found, python, chosen, VERSIONS[chosen], system, added)


def wanted(target: Target) -> Wanted:
    # Under Python 3.11 the camera's own modules, from Debian 12, are built for NumPy 1.
    numpy = "numpy<2" if target.python == "3.11" else "numpy>=2"
    runtime = f"{DISTRIBUTIONS[target.runtime]}=={target.runtime_version}"
    own = () if "numpy" in target.system else (numpy, "Pillow>=10")
    extras, _ = extra_requirements(target.extras, target.arch, target.python)
    if target.python == "3.11":
        extras = tuple(_for_numpy_1(e) for e in extras)
    requirements = (runtime, "click>=8.1", *own)
    return Wanted(requirements, PLATFORMS[target.arch], target.python, extras, target.arch)


def _for_numpy_1(requirement: str) -> str:
    """OpenCV's wheels up to 4.11 take both."""
    return f"{requirement},<4.12" if requirement.startswith("opencv-") else requirement
