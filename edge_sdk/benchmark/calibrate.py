"""Calibration: a few models timed on one unit make a profile of that very unit.

The rows become a measurement table of their own and the base profile's tables its relatives, so
that the fit takes its level from the unit and its shape from what is known of the device. What is
made is a profile like any other, in the user's own folder, with its table and its fit beside it.
"""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.benchmark.features import features
from edge_sdk.benchmark.fit import FitFile, fit_profile, fit_text, write_beside
from edge_sdk.benchmark.measure import Measurement
from edge_sdk.benchmark.published import CLASS_OF_DTYPE, COLUMNS, Published
from edge_sdk.benchmark.simulations import CALIBRATION_ROWS, spread_out
from edge_sdk.benchmark.tables import Key
from edge_sdk.cost import ARCHITECTURES, cost_of_architecture
from edge_sdk.errors import ProfileError, UsageError
from edge_sdk.profiles import (
    DTYPE_CLASSES,
    DeviceProfile,
    Latency,
    Sources,
    load_profile,
    profile_names,
    user_folder,
)
from edge_sdk.progress import Progress, silent
from edge_sdk.strict import to_plain

Timer = Callable[[Path], Measurement]
Build = Callable[[str, float, int, str], bytes]

# What a calibration may be run on: the papers' widths and sizes.
_GRID: tuple[Key, ...] = tuple(
    (arch, alpha, size)
    for arch, alphas, sizes in (
        ("mobilenet_v1", (0.25, 0.5, 0.75, 1.0), (128, 160, 192, 224)),
        ("mobilenet_v2", (0.35, 0.5, 0.75, 1.0), (96, 128, 160, 192, 224)),
    )
    for alpha in alphas
    for size in sizes
)
_COLUMNS = ("model", "alpha", "resolution", "dtype", "latency_ms")
_LEAST = 2


@dataclass(frozen=True)
class Timed:
    """One model timed on the unit, milliseconds. classes: of the model that was timed."""

    model: str
    alpha: float
    resolution: int
    dtype: str
    latency_ms: float
    classes: int = 1001


@dataclass(frozen=True)
class Run:
    """How the models were timed; clock_ghz: while they were."""

    runtime: str
    version: str
    threads: int
    abi: str
    clock_ghz: float


def calibration_models(dtype_class: str, count: int = CALIBRATION_ROWS) -> list[Key]:
    """(model, alpha, resolution) to time: far apart in work, traffic and width, cheapest first."""
    dtype = "float32" if dtype_class == "float" else "int8"
    X = np.array([features(cost_of_architecture(*key, 1001, dtype), dtype_class) for key in _GRID])
    chosen = [(X[i, 0], _GRID[i]) for i in np.flatnonzero(spread_out(X, count))]
    return [key for _, key in sorted(chosen)]


def time_models(
    timer: Timer, build: Build, runs: Mapping[str, Run], progress: Progress = silent
) -> tuple[list[Timed], dict[str, Run], list[str]]:
    """Times the calibration models of both dtype classes, says how (runs, with the runtime,
    version and threads of the measurements) and what may have spoilt them.

    build: (model, alpha, resolution, dtype) to a .tflite. Raises what `timer` and `build` raise."""
    plan = [
        (dtype, key)
        for dtype, kind in (("float32", "float"), ("int8", "int8"))
        for key in calibration_models(kind)
    ]
    timed, how, warnings = [], dict(runs), dict[str, None]()
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        for i, (dtype, (model, alpha, size)) in enumerate(plan):
            progress("calibrate", i, len(plan))
            path = Path(folder) / f"{model}_{alpha:g}_{size}_{dtype}.tflite"
            path.write_bytes(build(model, alpha, size, dtype))
            m = timer(path)
            timed.append(Timed(model, alpha, size, dtype, m.latency_ms))
            kind = CLASS_OF_DTYPE[dtype]
            how[kind] = replace(how[kind], runtime=m.runtime, version=m.version, threads=m.threads)
            warnings |= dict.fromkeys(m.warnings)
            path.unlink()
        progress("calibrate", len(plan), len(plan))
    return timed, how, list(warnings)


def read_timed(path: Path) -> list[Timed]:
    """A CSV file with the columns model, alpha, resolution, dtype and latency_ms. Raises
    ProfileError, naming line and column."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ProfileError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from e
    reader = csv.DictReader(io.StringIO(text))
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        raise ProfileError(f"{path}: columns are {reader.fieldnames}; needed: {list(_COLUMNS)}")
    rows = []
    for line in reader:
        try:
            row = Timed(
                line["model"],
                float(line["alpha"]),
                int(line["resolution"]),
                line["dtype"],
                float(line["latency_ms"]),
            )
        except (TypeError, ValueError) as e:
            raise ProfileError(f"{path} line {reader.line_num}: {e}") from e
        rows.append(row)
    return rows


def calibrated_profile(
    base: DeviceProfile, timed: Sequence[Timed], run: Mapping[str, Run], name: str, when: str
) -> tuple[DeviceProfile, str]:
    """The profile `name` of one unit, and the text of its measurement table (of the same name).

    timed: two or more models of a dtype class; a class without any is left out. run: by dtype
    class, how they were timed. when: ISO date. Raises UsageError for a name that cannot be,
    ProfileError for rows that cannot serve."""
    check_name(name)
    for row in timed:
        _check_row(row)
    latency = {}
    for dtype_class in DTYPE_CLASSES:
        rows = [r for r in timed if CLASS_OF_DTYPE[r.dtype] == dtype_class]
        if not rows:
            continue
        if len({(r.model, r.alpha, r.resolution) for r in rows}) < _LEAST:
            raise ProfileError(
                f"calibration: {len(rows)} {dtype_class} model was timed; time {_LEAST} or more, "
                f"best the {CALIBRATION_ROWS} that `edge-sdk profiles calibrate` lists"
            )
        latency[dtype_class] = _latency(base, dtype_class, run[dtype_class], name, when, len(rows))
    if not latency:
        raise ProfileError("calibration: no model was timed")
    made = replace(base, name=name, title=f"{base.title}, one unit of it", latency=latency)
    return made, _table(base, timed, run, when)


def store(profile: DeviceProfile, table: str, folder: Path | None = None) -> FitFile:
    """Writes profile, table and fit to `folder` (the user's own), the profile last: what is there
    is whole. Returns the fit. Raises EdgeError where the folder cannot be written."""
    where = user_folder() if folder is None else folder
    write_beside(where / "measurements" / f"{profile.name}.csv", table)
    path = where / f"{profile.name}.toml"
    here = replace(profile, folder=where)
    fit = fit_profile(here)
    write_beside(where / "fits" / f"{profile.name}.json", fit_text(fit))
    write_beside(path, profile_text(here))
    load_profile(str(path))  # what was written is read as strictly as any other
    return fit


def profile_text(profile: DeviceProfile) -> str:
    """A profile as TOML. What is None or empty is left out."""
    plain = to_plain(profile)
    del plain["folder"]
    return "\n".join(_toml(plain, ())).strip() + "\n"


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Plain values first, then the tables below."""
    kept = {k: v for k, v in table.items() if v is not None and v != ""}
    lines = ["", f"[{'.'.join(path)}]"] if path else []
    lines += [f"{k} = {_value(v)}" for k, v in kept.items() if not isinstance(v, Mapping)]
    for key, value in kept.items():
        if isinstance(value, Mapping):
            lines += _toml(value, (*path, key))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        for old, new in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
            value = value.replace(old, new)
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def check_name(name: str) -> None:
    """Raises UsageError for a name that is no file name, or a shipped profile's."""
    if not name or name.startswith(".") or any(ch in name for ch in '/\\"') or name != name.strip():
        raise UsageError(f"name is '{name}'; give letters, digits, '-' and '_'")
    if name.lower() in (n.lower() for n in profile_names()):
        raise UsageError(f"name is '{name}', a shipped profile; give another, such as my-{name}")


def _check_row(row: Timed) -> None:
    where = f"calibration row {row.model} {row.alpha:g} {row.resolution}"
    if row.model not in ARCHITECTURES:
        raise ProfileError(f"{where}: unknown model; valid: {', '.join(ARCHITECTURES)}")
    if row.dtype not in CLASS_OF_DTYPE:
        raise ProfileError(f"{where}: dtype is '{row.dtype}'; valid: {', '.join(CLASS_OF_DTYPE)}")
    if not (math.isfinite(row.latency_ms) and row.latency_ms > 0):
        raise ProfileError(f"{where}: latency_ms is {row.latency_ms}; it must be above 0")


def _latency(
    base: DeviceProfile, dtype_class: str, run: Run, name: str, when: str, count: int
) -> Latency:
    known = base.latency.get(dtype_class)
    here = f"measured on this unit, {when}"
    return Latency(
        runtime=run.runtime,
        version=run.version,
        threads=run.threads,
        abi=run.abi,
        clock_ghz=run.clock_ghz,
        sources=Sources(here, here, here, here, here),
        table=name,
        evidence=f"Calibrated on this unit, {when}: {count} models timed. Shape over width and "
        f"resolution: the nearest mixture of published tables and those of profile {base.name}.",
        relatives=(known.table, *known.relatives) if known else (),
        measured_here=True,
    )


def _table(base: DeviceProfile, timed: Sequence[Timed], run: Mapping[str, Run], when: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for t in timed:
        how = run[CLASS_OF_DTYPE[t.dtype]]
        row = Published(
            model=t.model,
            alpha=t.alpha,
            resolution=t.resolution,
            classes=t.classes,
            dtype=t.dtype,
            device=base.device,
            threads=str(how.threads),
            abi=how.abi,
            runtime=f"{how.runtime} {how.version}",
            latency_ms=t.latency_ms,
            tier="M",
            source="measured on this unit",
            locator=when,
            note="calibration",
        )
        writer.writerow([getattr(row, column) for column in COLUMNS])
    return text.getvalue()
