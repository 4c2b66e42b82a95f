"""Device profiles: what a board or phone is, and on what its latency estimates rest.

A profile is a TOML file, read strictly: a missing, unknown or mistyped key is a ProfileError
that names file and key. Every figure carries its source, or says that it is assumed. The shipped
profiles are in the package `device_profiles`; a user's own is the path of a .toml file, with
`measurements/` and `fits/` beside it where it has its own, or a name in `user_folder()`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from edge_sdk.errors import ProfileError, UsageError, unknown_name
from edge_sdk.strict import from_plain

# Latency is fitted and stated apart for float and for 8-bit models.
DTYPE_CLASSES = ("float", "int8")


@dataclass(frozen=True)
class Figure:
    """A published number and where it was published. unit: may be given, and must then be the
    key's own."""

    value: float
    source: str
    unit: str = ""


@dataclass(frozen=True)
class Feature:
    """Whether the CPU has an instruction set extension, and where that was read."""

    value: Literal["yes", "no", "unknown"]
    source: str


@dataclass(frozen=True)
class Hardware:
    """clock_ghz: of the fastest cores. dotprod: 8-bit dot products (asimddp); fp16: half
    precision arithmetic (asimdhp). memcpy_mbps: MB/s. idle_w, load_w: watts of the whole
    device, load with all cores busy. thermal: when it slows down, and who says so. A figure that
    nobody published is left out."""

    soc: str
    cpu: str
    cores: int
    clock_ghz: Figure
    dotprod: Feature
    fp16: Feature
    memcpy_mbps: Figure | None = None
    idle_w: Figure | None = None
    load_w: Figure | None = None
    thermal: str = ""


@dataclass(frozen=True)
class Scale:
    """How latencies of another device become this one's: the product of two ratios.

    ratio: pairs of tables (this device, other device), multiplied; in each pair the
    latencies of the models both have are divided, those of dtype class `ratio_rows` only.
    clock_ghz: none, or the sums over the cores used (other device, this device). uncertainty: a
    share (0.3 is a factor of 1.3 either way) that widens the interval: a judgement, explained
    in `reason` as is the rest."""

    ratio: tuple[tuple[str, str], ...]
    ratio_rows: Literal["float", "int8"]
    clock_ghz: tuple[float, ...]
    uncertainty: float
    reason: str


@dataclass(frozen=True)
class Sources:
    """Where each of what a latency is stated for was read; `assumed` where it was not."""

    runtime: str
    version: str
    threads: str
    abi: str
    clock: str


@dataclass(frozen=True)
class Latency:
    """What a profile's latencies of one dtype class are stated for and fitted to.

    clock_ghz: of the cores used, fastest first. table: the measurements that it is fitted to.
    relatives: tables of the same runtime or device, whose shape it is drawn to where its own has
    few rows; their level counts for nothing. measured_here: the table was taken on this very unit
    with this runtime, so the interval is that of the fit alone."""

    runtime: str
    version: str
    threads: int
    abi: str
    clock_ghz: float
    sources: Sources
    table: str
    evidence: str
    relatives: tuple[str, ...] = ()
    scale: Scale | None = None
    measured_here: bool = False

    def every_table(self) -> list[str]:
        """Every measurement table it names, once each."""
        pairs = self.scale.ratio if self.scale else ()
        names = [self.table, *self.relatives, *(name for pair in pairs for name in pair)]
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class ProfileFile:
    """The keys of a profile's TOML file. device: its name in the measurement tables."""

    name: str
    title: str
    device: str
    hardware: Hardware
    latency: dict[str, Latency]


@dataclass(frozen=True)
class DeviceProfile(ProfileFile):
    """A profile and the folder it was read from, where its tables and its fit are."""

    folder: Traversable

    def read_beside(self, kind: str, name: str) -> str:
        """The text of file `name` in the profile's own folder `kind` (measurements or fits); a
        table may also be a shipped one. Raises ProfileError, naming the valid ones."""
        folders = [self.folder / kind]
        if kind == "measurements":
            folders.append(files("device_profiles") / kind)
        for folder in folders:
            if (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8")
        valid = {f.name for folder in folders if folder.is_dir() for f in folder.iterdir()}
        how = "; make it: edge-sdk profiles fit <profile>.toml" if kind == "fits" else ""
        raise ProfileError(
            f"profile {self.name}: no file {kind}/{name}; "
            f"there: {', '.join(sorted(valid)) or 'none'}{how}"
        )


def profile_names() -> list[str]:
    """The shipped profiles, in sorted order."""
    return sorted(
        f.name.removesuffix(".toml")
        for f in files("device_profiles").iterdir()
        if f.name.endswith(".toml")
    )


def user_folder() -> Path:
    """Where a user's calibrated profiles lie: $XDG_CONFIG_HOME (or ~/.config)/edge-sdk/profiles.
    Nothing is made by asking."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative paths ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".config"
    return root / "edge-sdk" / "profiles"


def user_profile_names() -> list[str]:
    """The profiles in the user's own folder, in sorted order."""
    return sorted(path.stem for path in user_folder().glob("*.toml"))


def load_profile(name_or_path: str) -> DeviceProfile:
    """A shipped profile by name, in any case (`RPi4` is rpi4), one of the user's own folder by
    name, or a .toml file by path.

    Raises UsageError for an unknown name, with near misses, and ProfileError for a file that is
    missing or wrong, with the key."""
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        return _read(path, str(path), path.parent)
    for folder, names in (
        (files("device_profiles"), profile_names()),
        (user_folder(), user_profile_names()),
    ):
        for name in names:
            if name.lower() == name_or_path.lower():
                profile = _read(folder / f"{name}.toml", f"{name}.toml", folder)
                if profile.name != name:
                    raise ProfileError(f"{name}.toml: name is '{profile.name}', must be '{name}'")
                return profile
    valid = [*profile_names(), *user_profile_names()]
    message = unknown_name("profile", name_or_path, valid)
    raise UsageError(f"{message} Your own profile: the path of a .toml file.")


def _read(file: Traversable, where: str, folder: Traversable) -> DeviceProfile:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ProfileError(f"cannot read profile {where}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ProfileError(f"profile {where} is not valid TOML: {e}") from e
    read = from_plain(ProfileFile, data, where, ProfileError)
    for problem in _problems(read):
        raise ProfileError(f"{where}: {problem}")
    return DeviceProfile(**{f.name: getattr(read, f.name) for f in fields(read)}, folder=folder)


# The unit of each figure, and what it is at least and at most: far beyond any device, near
# enough to find a figure in another unit (1500 for 1.5 GHz, 2700 for 2.7 W).
UNITS = {
    "clock_ghz": ("GHz", 0.01, 10.0),
    "memcpy_mbps": ("MB/s", 10.0, 1e6),
    "idle_w": ("W", 0.001, 500.0),
    "load_w": ("W", 0.001, 500.0),
}


def _problems(p: ProfileFile) -> Iterable[str]:
    """What is wrong with values that have the right type."""
    h = p.hardware
    for key, (unit, low, high) in UNITS.items():
        figure: Figure | None = getattr(h, key)
        if figure is None:
            continue
        if not low <= figure.value <= high:
            yield (
                f"hardware.{key}.value is {figure.value}; it must be above 0 and in {unit}, "
                f"{low:g} to {high:g}"
            )
        if figure.unit not in ("", unit):
            yield f"hardware.{key}.unit is '{figure.unit}'; {key} is in {unit}"
        if not figure.source.strip():
            yield f"hardware.{key}.source is empty; say where the figure was published"
    if h.cores < 1:
        yield f"hardware.cores is {h.cores}; it must be 1 or more"
    if h.idle_w and h.load_w and h.idle_w.value > h.load_w.value:
        yield f"hardware.idle_w is {h.idle_w.value}, above load_w, {h.load_w.value}"
    for key in p.latency:
        if key not in DTYPE_CLASSES:
            yield f"latency: unknown key '{key}'; valid: {', '.join(DTYPE_CLASSES)}"
    if not p.latency:
        yield f"latency is empty; give one of {', '.join(DTYPE_CLASSES)}"
    for key, latency in p.latency.items():
        yield from (f"latency.{key}: {problem}" for problem in _latency_problems(latency, h))


def _latency_problems(latency: Latency, hardware: Hardware) -> Iterable[str]:
    if not 1 <= latency.threads <= max(1, hardware.cores):
        yield f"threads is {latency.threads}; valid: 1 to hardware.cores, {hardware.cores}"
    # A board may run above its nominal clock or below it, but no two clocks of it are far apart.
    if not 0.25 <= latency.clock_ghz / hardware.clock_ghz.value <= 1.5:
        yield (
            f"clock_ghz is {latency.clock_ghz}, which contradicts hardware.clock_ghz, "
            f"{hardware.clock_ghz.value}; both are in GHz"
        )
    for field in fields(latency.sources):
        if not getattr(latency.sources, field.name).strip():
            yield f"sources.{field.name} is empty; name the source, or write 'assumed'"
    for table in latency.every_table():
        if not table or "/" in table or "\\" in table or table.startswith("."):
            yield f"names the table '{table}'; give a file name without folder and .csv"
    scale = latency.scale or _NO_SCALE
    if len(scale.clock_ghz) not in (0, 2) or any(c <= 0 for c in scale.clock_ghz):
        yield f"scale.clock_ghz is {list(scale.clock_ghz)}; give none or two above 0"
    if scale.uncertainty < 0:
        yield f"scale.uncertainty is {scale.uncertainty}; it must be 0 or more"


_NO_SCALE = Scale(ratio=(), ratio_rows="float", clock_ghz=(), uncertainty=0.0, reason="")
