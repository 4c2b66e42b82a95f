"""Derives each profile's latency model from measurement tables: `edge-sdk profiles fit`.

latency = coefficients . features x correction: a sum of costs, none negative, times what models
of like width or input size were off by (edge_sdk/benchmark/solve.py). The costs are drawn to the
nearest mixture of other tables' shapes, which is all that a device with one or two rows has.
Everything a fit says is derived here from the tables in `measurements/`; nothing is typed in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

import numpy as np

from edge_sdk import __version__
from edge_sdk.benchmark.features import FEATURES, Array
from edge_sdk.benchmark.published import read_table
from edge_sdk.benchmark.simulations import anchored_rate, calibrated_spread, mult_adds
from edge_sdk.benchmark.solve import (
    Predictor,
    conformal_quantile,
    correction_helps,
    fitted,
    left_out,
)
from edge_sdk.benchmark.tables import (
    SHAPE_ROWS,
    Shape,
    Table,
    counts_help,
    drawn_to,
    fixed,
    held_out,
    mixed,
    profile_table,
    shares_of_relatives,
    usual_shares,
)
from edge_sdk.errors import EdgeError, ProfileError, UsageError
from edge_sdk.files import write_whole
from edge_sdk.profiles import DeviceProfile, Latency
from edge_sdk.strict import from_plain, to_plain

# An uncalibrated estimate is never narrower than this: one device, runtime and load differ
# from another of the same name by as much (V1 on a Pixel 2: 86, 123 and 160 ms published).
UNCALIBRATED = 0.20
# With fewer rows nothing can be left out and still be judged.
TABLE_ROWS = 7
REMAKE = "make it again: edge-sdk profiles fit"


@dataclass(frozen=True)
class UsedRow:
    """A row as the fit saw it. used_ms: published_ms after the scale; estimate_ms: by a fit that
    has not seen the row, 0 where nothing else was left; mult_adds: in millions, tiles filled;
    at: its coordinates, and correction: its weight there."""

    model: str
    alpha: float
    resolution: int
    published_ms: float
    used_ms: float
    estimate_ms: float
    mult_adds: float
    at: tuple[float, ...]
    correction: float


@dataclass(frozen=True)
class Fit:
    """coefficients: ms per feature. shares: the shape they are drawn to, each feature's part.
    basis: `table` (rows of many widths; corrected by neighbours where that helps), `anchored` (a
    few rows: the level) or `scaled` (another device's level). scale: factor from the other
    device, uncertainty: of it, a logarithm.

    Errors are relative, by fits that have not seen the row, its (model, alpha) or its family; 0
    where nothing is left without it. spread_row, spread_group: the logarithms of the 90 % interval
    for a width the table has and for another. rate: of an anchored fit's interval, which grows
    with the distance from the anchors. floor: no interval is narrower (a logarithm).
    excluded: rows of the hold-out, never fitted. counts: whether executed instructions are a
    feature of it; they are where rows left out are clearly nearer with them."""

    dtype_class: str
    runtime: str
    version: str
    threads: int
    abi: str
    basis: str
    table: str
    coefficients: dict[str, float]
    shares: dict[str, float]
    families: dict[str, int]
    mult_adds: tuple[float, float]
    scale: float
    uncertainty: float
    fit_error: float
    leave_one_out: float
    leave_group_out: float
    leave_family_out: dict[str, float]
    spread_row: float
    spread_group: float
    rate: float
    floor: float
    excluded: int
    counts: bool
    rows: tuple[UsedRow, ...]

    def predictor(self) -> Predictor:
        coefficients = np.array([self.coefficients[name] for name in FEATURES])
        Z = np.array([row.at for row in self.rows])
        return Predictor(coefficients, Z, np.array([row.correction for row in self.rows]))


@dataclass(frozen=True)
class FitFile:
    """What `fits/<profile>.json` holds. date: of the fit, ISO."""

    profile: str
    tool_version: str
    date: str
    fits: dict[str, Fit]


def shape_for(
    profile: DeviceProfile, latency: Latency, dtype_class: str, *, counts: bool = False
) -> Shape:
    """What a fit is drawn to: the nearest mixture of other tables' shares, or the shares of the
    relatives where named; of a calibrated unit a mixture of both."""
    if not latency.relatives:
        return mixed(dtype_class, latency.table, counts=counts)
    tables = [profile_table(profile, name, dtype_class) for name in latency.relatives]
    usual = usual_shares(dtype_class, latency.table)
    shares = shares_of_relatives([t.only(~held_out(t)) for t in tables], usual, dtype_class)
    if latency.measured_here:
        return mixed(dtype_class, latency.table, base=shares)
    return fixed(shares)


def fit_class(profile: DeviceProfile, dtype_class: str) -> Fit:
    """The fit of one dtype class. Raises ProfileError for tables that are missing or wrong."""
    latency = profile.latency[dtype_class]
    whole = profile_table(profile, latency.table, dtype_class)
    # What a user measured on the very unit is all there is of it: nothing is held out.
    seen = ~held_out(whole) if not latency.measured_here else np.ones(len(whole.rows), bool)
    table = whole.only(seen)
    factor, uncertainty = _scale(profile, latency)
    y = table.y * factor
    basis = _basis(latency, table)
    counts = basis == "table" and not latency.relatives and counts_help(table)[0]
    shape = shape_for(profile, latency, dtype_class, counts=counts)
    fit = drawn_to(shape, dtype_class, counts=counts)
    correct = basis != "table" or correction_helps(table.X, table.Z, y, fit)
    model = fitted(table.X, table.Z, y, fit, correct=correct)

    groups: list[tuple[str, float]] = [(m, a) for m, a, _ in table.keys]
    models = [m for m, _, _ in table.keys]
    one_out = left_out(table.X, table.Z, y, range(len(y)), fit, correct=correct)
    group_out = left_out(table.X, table.Z, y, groups, fit, correct=correct)
    family_out = left_out(table.X, table.Z, y, models, fit, correct=correct)
    work = mult_adds(table.X)
    families = sorted(set(models))
    few = latency.measured_here and len(y) < SHAPE_ROWS
    return Fit(
        dtype_class=dtype_class,
        runtime=latency.runtime,
        version=latency.version,
        threads=latency.threads,
        abi=latency.abi,
        basis=basis,
        table=latency.table,
        coefficients=_named(model.coefficients),
        shares=_named(shape(table.X, y)),
        families={f: models.count(f) for f in families},
        mult_adds=(_round(work.min()), _round(work.max())),
        scale=_round(factor),
        uncertainty=_round(uncertainty),
        fit_error=_mean_error(model(table.X, table.Z) / y),
        leave_one_out=_mean_error(one_out),
        leave_group_out=_mean_error(group_out),
        leave_family_out={
            f: _mean_error(family_out[[m == f for m in models]])
            for f in families
            if len(families) > 1
        },
        spread_row=_round(_calibrated(dtype_class, one_out) if few else _quantile(one_out)),
        spread_group=_round(_calibrated(dtype_class, one_out) if few else _quantile(group_out)),
        rate=0.0 if basis == "table" or few else _round(anchored_rate(dtype_class)),
        floor=0.0 if latency.measured_here else _round(math.log1p(UNCALIBRATED)),
        excluded=int((~seen).sum()),
        counts=counts,
        rows=tuple(
            UsedRow(
                model=key[0],
                alpha=key[1],
                resolution=key[2],
                published_ms=_round(row.latency_ms),
                used_ms=_round(used),
                estimate_ms=_round(ratio * used) if math.isfinite(ratio) else 0.0,
                mult_adds=_round(m),
                at=tuple(_round(v) for v in z),
                correction=_round(w),
            )
            for key, row, used, ratio, m, z, w in zip(
                table.keys, table.rows, y, one_out, work, table.Z, model.weights, strict=True
            )
        ),
    )


def _basis(latency: Latency, table: Table) -> str:
    if latency.scale and (latency.scale.ratio or latency.scale.clock_ghz):
        return "scaled"
    widths = {(m, a) for m, a, _ in table.keys}
    many = len(table.rows) >= TABLE_ROWS and len(widths) > 2
    return "table" if many or latency.measured_here else "anchored"


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


def _named(values: Array) -> dict[str, float]:
    return {name: _round(v) for name, v in zip(FEATURES, values, strict=True)}


def _mean_error(ratio: Array) -> float:
    known = ratio[np.isfinite(ratio)]
    return _round(float(np.abs(known - 1).mean())) if len(known) else 0.0


def _quantile(ratio: Array) -> float:
    known = ratio[np.isfinite(ratio)]
    return conformal_quantile(np.abs(np.log(known))) if len(known) else 0.0


def _calibrated(dtype_class: str, one_out: Array) -> float:
    """The interval after a calibration: of simulated ones, but no narrower than what the rows
    are off by from each other. A busy machine or a wrong base shows there."""
    known = one_out[np.isfinite(one_out)]
    own = float(np.abs(np.log(known)).mean()) if len(known) else 0.0
    return max(calibrated_spread(dtype_class), own)


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


def shipped_fits_folder() -> Path:
    """device_profiles/fits of a checkout. Raises UsageError where the package is installed
    otherwise: an installed package is not to be written to."""
    folder = Path(str(files("device_profiles"))) / "fits"
    if not (folder.parents[1] / "pyproject.toml").is_file():
        raise UsageError(
            "the shipped profiles can be fitted again in a checkout only; give --out, or .toml "
            "files of your own"
        )
    return folder


def fit_text(fit: FitFile) -> str:
    return json.dumps(to_plain(fit), indent=1) + "\n"


def fit_all(profiles: Sequence[DeviceProfile], out: Path) -> list[FitFile]:
    """Fits every profile and writes out/<profile>.json; a fit that says the same as the file
    there keeps its date. Raises ProfileError, or EdgeError if `out` cannot be written; nothing
    is written unless every profile could be fitted."""
    made = [fit_profile(profile) for profile in profiles]
    for fit in made:
        path = out / f"{fit.profile}.json"
        if not (path.is_file() and _says_the_same(path.read_text(encoding="utf-8"), fit)):
            write_beside(path, fit_text(fit))
    return made


def write_beside(path: Path, text: str) -> None:
    """Writes a file whole, and its folder where there is none. Raises EdgeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EdgeError(f"cannot write {path.parent}: {e.strerror or e}") from e
    write_whole(path, text.encode("utf-8"))


def _says_the_same(text: str, fit: FitFile) -> bool:
    try:
        old = json.loads(text)
    except json.JSONDecodeError:
        return False
    new = json.loads(fit_text(fit))
    return isinstance(old, dict) and all(old.get(k) == new[k] for k in ("profile", "fits"))
