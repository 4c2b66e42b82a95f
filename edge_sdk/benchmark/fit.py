"""Fits a device's latency to published measurements.

`python -m edge_sdk.benchmark.fit` makes the shipped fits again; with .toml files, theirs.

The model is a sum of six costs, none negative: latency = coefficients . features, where the
features are the Mult-Adds by kind, the bytes moved and a constant. Rows are weighted by
1 / latency, so that the relative error is what is made small. Everything a fit says is derived
here from the tables in `measurements/`; nothing is typed in.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_sdk import __version__
from edge_sdk.benchmark.published import Published, read_table
from edge_sdk.cost import ARCHITECTURES, ModelCost, cost_of_architecture
from edge_sdk.errors import EdgeError, ProfileError
from edge_sdk.profiles import DeviceProfile, Latency, load_profile, profile_names
from edge_sdk.strict import from_plain, to_plain

# Millions of Mult-Adds (conv: with the fully connected), megabytes, and 1.
FEATURES = ("pointwise", "depthwise", "conv", "activations", "parameters", "constant")
# An uncalibrated estimate is never narrower than this: one device, runtime and load differ
# from another of the same name by as much (V1 on a Pixel 2: 86, 123 and 160 ms published).
UNCALIBRATED = 0.20
REMAKE = "make it again: python -m edge_sdk.benchmark.fit <profile>.toml"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class UsedRow:
    """A row as the fit saw it. used_ms: published_ms after level and scale, in milliseconds."""

    table: str
    model: str
    alpha: float
    resolution: int
    published_ms: float
    used_ms: float
    weight: float


@dataclass(frozen=True)
class Fit:
    """coefficients: ms per feature. mult_adds: smallest and largest of the rows, in millions.
    level: factor from table to anchors, by family. scale: factor from the other device.
    Errors are relative: means of |estimate / published - 1|, and the conformal 90 % quantile
    of the leave-one-(model, alpha)-out errors. leave_family_out: by the family left out.
    spread: the interval is latency / (1 + spread) to latency * (1 + spread)."""

    dtype_class: str
    runtime: str
    version: str
    threads: int
    abi: str
    basis: str
    coefficients: dict[str, float]
    families: dict[str, int]
    mult_adds: tuple[float, float]
    level: dict[str, float]
    scale: float
    fit_error: float
    leave_one_out: float
    leave_group_out: float
    leave_group_out_q90: float
    leave_family_out: dict[str, float]
    spread: float
    rows: tuple[UsedRow, ...]


@dataclass(frozen=True)
class FitFile:
    """What `fits/<profile>.json` holds. date: of the fit, ISO."""

    profile: str
    tool_version: str
    date: str
    fits: dict[str, Fit]


# --- the model -----------------------------------------------------------------------------


def features(cost: ModelCost, dtype_class: str) -> Array:
    """A model's six features, FEATURES in order. Parameters count 4 bytes (float) or 1 (int8)
    whatever their storage: float16 and int4 kernels are unpacked before they are used."""
    work = cost.mult_adds_by_kind()
    return np.array(
        [
            work["pointwise"] / 1e6,
            work["depthwise"] / 1e6,
            (work["conv"] + work["fully-connected"]) / 1e6,
            cost.activation_bytes / 1e6,
            cost.parameters * (4 if dtype_class == "float" else 1) / 1e6,
            1.0,
        ]
    )


def nnls(A: Array, b: Array) -> Array:
    """The x >= 0 that makes |A x - b| smallest: the active-set method of Lawson and Hanson,
    Solving Least Squares Problems (1974), chapter 23."""
    norms = np.linalg.norm(A, axis=0)
    scaled = A / np.where(norms > 0, norms, 1.0)
    x = np.zeros(A.shape[1])
    free = np.zeros(A.shape[1], bool)
    tolerance = 1e-10 * max(1e-300, float(np.abs(scaled.T @ b).max(initial=0.0)))
    for _ in range(10 * A.shape[1]):
        gradient = np.where(free, -np.inf, scaled.T @ (b - scaled @ x))
        if gradient.max(initial=-np.inf) <= tolerance:
            break
        free[gradient.argmax()] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(scaled[:, free], b, rcond=None)[0]
            out = free & (trial <= 0)
            if not out.any():
                x = trial
                break
            # Go towards the trial until the first variable is 0, and hold that one there.
            step = (x[out] / np.maximum(x[out] - trial[out], 1e-300)).min()
            x = np.where(free, x + step * (trial - x), 0.0)
            free &= x > 1e-12 * max(1e-300, float(x.max()))
            x = np.where(free, x, 0.0)
    return np.asarray(x / np.where(norms > 0, norms, 1.0), np.float64)


def relative_nnls(X: Array, y: Array, weight: Array) -> Array:
    """Non-negative coefficients with the least weighted squared relative error."""
    return nnls(X * (weight / y)[:, None], weight)


def conformal_quantile(errors: Array, level: float = 0.90) -> float:
    """The ceil((n + 1) level)-th smallest of n errors, the largest if there are too few
    (split conformal prediction, Lei et al. 2018)."""
    rank = min(len(errors), math.ceil((len(errors) + 1) * level))
    return float(np.sort(errors)[rank - 1])


# --- the fit -------------------------------------------------------------------------------


def _rows(profile: DeviceProfile, table: str, dtype_class: str) -> list[Published]:
    every = read_table(profile, table)
    rows = [r for r in every if r.dtype_class == dtype_class and r.model in ARCHITECTURES]
    if not rows:
        raise ProfileError(
            f"profile {profile.name}: measurements/{table}.csv has no {dtype_class} row of "
            f"{' or '.join(ARCHITECTURES)}"
        )
    return rows


def fit_class(profile: DeviceProfile, dtype_class: str) -> Fit:
    """The fit of one dtype class. Raises ProfileError for tables that are missing or wrong."""
    latency = profile.latency[dtype_class]
    table = _rows(profile, latency.table, dtype_class)
    used = [
        UsedRow(latency.table, *r.key, published_ms=r.latency_ms, used_ms=r.latency_ms, weight=1.0)
        for r in table
    ]
    level: dict[str, float] = {}
    if latency.anchors:
        used, level = _anchor(used, latency.anchors, _rows(profile, latency.anchors, dtype_class))
    scale, uncertainty = _scale(profile, latency)
    used = [replace(r, used_ms=r.used_ms * scale) for r in used]

    X, y, weight = _arrays(used, dtype_class)
    coefficients = relative_nnls(X, y, weight)
    groups = [(r.model, r.alpha) for r in used]
    one_out = _left_out(X, y, weight, list(range(len(y))))
    group_out = _left_out(X, y, weight, groups)
    family_out = _left_out(X, y, weight, [r.model for r in used])
    q90 = conformal_quantile(np.abs(np.log(group_out)))
    floor = 0.0 if latency.measured_here else math.log1p(UNCALIBRATED)
    work = X[:, :3].sum(axis=1)
    families = sorted({r.model for r in used})
    return Fit(
        dtype_class=dtype_class,
        runtime=latency.runtime,
        version=latency.version,
        threads=latency.threads,
        abi=latency.abi,
        basis="scaled" if _is_scaled(latency) else "anchored" if latency.anchors else "table",
        coefficients={k: _round(c) for k, c in zip(FEATURES, coefficients, strict=True)},
        families={f: sum(r.model == f for r in used) for f in families},
        mult_adds=(_round(work.min()), _round(work.max())),
        level={f: _round(v) for f, v in level.items()},
        scale=_round(scale),
        fit_error=_mean_error(X @ coefficients / y),
        leave_one_out=_mean_error(one_out),
        leave_group_out=_mean_error(group_out),
        leave_group_out_q90=_round(math.expm1(q90)),
        leave_family_out=(
            {f: _mean_error(family_out[[r.model == f for r in used]]) for f in families}
            if len(families) > 1
            else {}
        ),
        spread=_round(math.expm1(max(floor, q90) + uncertainty)),
        rows=tuple(replace(r, used_ms=_round(r.used_ms), weight=_round(r.weight)) for r in used),
    )


def _arrays(rows: Sequence[UsedRow], dtype_class: str) -> tuple[Array, Array, Array]:
    dtype = "float32" if dtype_class == "float" else "int8"
    # 1001 classes: the published models have a background class.
    costs = [cost_of_architecture(r.model, r.alpha, r.resolution, 1001, dtype) for r in rows]
    X = np.array([features(cost, dtype_class) for cost in costs])
    return X, np.array([r.used_ms for r in rows]), np.array([r.weight for r in rows])


def _anchor(
    rows: list[UsedRow], name: str, anchors: list[Published]
) -> tuple[list[UsedRow], dict[str, float]]:
    """The table's rows moved to the anchors' level, family by family, and the anchors.

    A family's factor is the geometric mean of anchor / table over its anchors (the table's own
    row of that model where it has one, else the table's fit). A family without anchor takes the
    mean factor of the others. An anchor weighs as much as all of its family's other rows."""
    dtype_class = anchors[0].dtype_class
    fit = relative_nnls(*_arrays(rows, dtype_class))
    measured = {(r.model, r.alpha, r.resolution): r.published_ms for r in rows}
    ratios: dict[str, list[float]] = {}
    new = []
    for a in anchors:
        n = sum(r.model == a.model and (r.model, r.alpha, r.resolution) != a.key for r in rows)
        row = UsedRow(name, *a.key, a.latency_ms, a.latency_ms, math.sqrt(max(1, n)))
        base = measured.get(a.key) or float(_arrays([row], dtype_class)[0][0] @ fit)
        ratios.setdefault(a.model, []).append(a.latency_ms / base)
        new.append(row)
    level = {f: float(np.exp(np.mean(np.log(r)))) for f, r in ratios.items()}
    common = float(np.exp(np.mean(np.log(list(level.values())))))
    taken = {a.key for a in anchors}
    moved = [
        replace(r, used_ms=r.published_ms * level.setdefault(r.model, common))
        for r in rows
        if (r.model, r.alpha, r.resolution) not in taken
    ]
    return moved + new, level


def _scale(profile: DeviceProfile, latency: Latency) -> tuple[float, float]:
    """The factor from the other device, and its uncertainty as a logarithm."""
    if latency.scale is None:
        return 1.0, 0.0
    factor, uncertainty = 1.0, math.log1p(latency.scale.uncertainty)
    for pair in latency.scale.ratio:
        this, other = (
            {(*r.key, r.dtype): r.latency_ms for r in read_table(profile, table)
             if r.dtype_class == latency.scale.ratio_rows}
            for table in pair
        )  # fmt: skip
        logs = np.array([math.log(this[k] / other[k]) for k in this if k in other])
        if not len(logs):
            raise ProfileError(
                f"profile {profile.name}: measurements {' and '.join(pair)} have no "
                f"{latency.scale.ratio_rows} model in common; give two that do"
            )
        factor *= math.exp(logs.mean())
        uncertainty += float(np.abs(logs - logs.mean()).max())
    if latency.scale.clock_ghz:
        factor *= latency.scale.clock_ghz[0] / latency.scale.clock_ghz[1]
    return factor, uncertainty


def _is_scaled(latency: Latency) -> bool:
    """Whether the level is another device's."""
    return bool(latency.scale and (latency.scale.ratio or latency.scale.clock_ghz))


def _left_out(X: Array, y: Array, weight: Array, groups: Sequence[object]) -> Array:
    """Estimate / measured of every row, by a fit that has not seen the row's group."""
    ratio = np.ones(len(y))
    for group in dict.fromkeys(groups):
        out = np.array([g == group for g in groups])
        if not out.all():
            ratio[out] = X[out] @ relative_nnls(X[~out], y[~out], weight[~out]) / y[out]
    return np.maximum(ratio, 1e-9)


def _mean_error(ratio: Array) -> float:
    return _round(float(np.abs(ratio - 1).mean()))


def _round(value: float) -> float:
    """Six significant digits: what is written is what any machine reproduces."""
    return float(f"{float(value):.6g}")


# --- files ---------------------------------------------------------------------------------


def fit_profile(profile: DeviceProfile) -> FitFile:
    """Every fit of a profile. Raises ProfileError for tables that are missing or wrong."""
    fits = {dtype_class: fit_class(profile, dtype_class) for dtype_class in profile.latency}
    return FitFile(profile.name, __version__, date.today().isoformat(), fits)


def read_fit(profile: DeviceProfile) -> FitFile:
    """fits/<profile>.json from beside the profile. Raises ProfileError if it is not there."""
    where = f"fits/{profile.name}.json"
    try:
        data = json.loads(profile.read_beside("fits", f"{profile.name}.json"))
    except json.JSONDecodeError as e:
        raise ProfileError(f"{where} is not valid JSON: {e}; {REMAKE}") from e
    return from_plain(FitFile, data, where, ProfileError)


def fit_all(profiles: Sequence[DeviceProfile], out: Path) -> list[FitFile]:
    """Fits every profile and writes out/<profile>.json. Raises ProfileError, or EdgeError if
    `out` cannot be written; nothing is written unless every profile could be fitted."""
    made = [fit_profile(profile) for profile in profiles]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for fit in made:
            text = json.dumps(to_plain(fit), indent=1) + "\n"
            (out / f"{fit.profile}.json").write_text(text, encoding="utf-8")
    except OSError as e:
        raise EdgeError(f"cannot write fits to {out}: {e.strerror}") from e
    return made


def main(arguments: Sequence[str]) -> None:
    """Fits the .toml profiles given, beside each, or the shipped ones of this checkout."""
    if arguments:
        made = [fit for path in arguments
                for fit in fit_all([load_profile(path)], Path(path).parent / "fits")]  # fmt: skip
    else:
        shipped = [load_profile(name) for name in profile_names()]
        made = fit_all(shipped, Path("device_profiles/fits"))
    for each in made:
        for name, fit in each.fits.items():
            print(
                f"{each.profile:12} {name:5} {fit.basis:8} rows {len(fit.rows):2}  error: fit "
                f"{fit.fit_error:.1%}, one out {fit.leave_one_out:.1%}, group out "
                f"{fit.leave_group_out:.1%}  interval x/: {1 + fit.spread:.2f}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
