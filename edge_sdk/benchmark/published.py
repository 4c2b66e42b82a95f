"""Published latencies: the measurement tables that profiles name, read strictly."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from importlib.resources import files

from edge_sdk.errors import ProfileError
from edge_sdk.profiles import DeviceProfile

CLASS_OF_DTYPE = {"float32": "float", "int8": "int8", "uint8": "int8"}
# Trust: A best, D worst; M: measured by the user on the very unit (calibration).
TIERS = ("A", "B", "C", "D", "M")
COLUMNS = (
    "model", "alpha", "resolution", "classes", "dtype", "device", "threads", "abi", "runtime",
    "latency_ms", "tier", "source", "locator", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """One published latency in milliseconds, with its source and tier (A best, D worst)."""

    model: str
    alpha: float
    resolution: int
    classes: int
    dtype: str
    device: str
    threads: str
    abi: str
    runtime: str
    latency_ms: float
    tier: str
    source: str
    locator: str
    note: str
    label: str = "published"

    @property
    def key(self) -> tuple[str, float, int]:
        return self.model, self.alpha, self.resolution

    @property
    def dtype_class(self) -> str:
        return CLASS_OF_DTYPE[self.dtype]


def read_table(profile: DeviceProfile, table: str) -> list[Published]:
    """The rows of measurements/<table>.csv. Raises ProfileError, naming file, line and column."""
    return parse_table(
        profile.read_beside("measurements", f"{table}.csv"), f"measurements/{table}.csv"
    )


def read_shipped(table: str) -> list[Published]:
    """The same of a shipped table."""
    file = files("device_profiles") / "measurements" / f"{table}.csv"
    return parse_table(file.read_text(encoding="utf-8"), f"measurements/{table}.csv")


def parse_table(text: str, where: str) -> list[Published]:
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ProfileError(f"{where}: columns are {reader.fieldnames}; valid: {list(COLUMNS)}")
    rows = []
    for line in reader:
        try:
            row = Published(
                **{k: line[k] for k in ("model", "dtype", "device", "threads", "abi", "runtime",
                                        "tier", "source", "locator", "note")},
                alpha=float(line["alpha"]),
                resolution=int(line["resolution"]),
                classes=int(line["classes"]),
                latency_ms=float(line["latency_ms"]),
            )  # fmt: skip
        except (TypeError, ValueError) as e:
            raise ProfileError(f"{where} line {reader.line_num}: {e}") from e
        if problem := _problem(row):
            raise ProfileError(f"{where} line {reader.line_num}: {problem}")
        rows.append(row)
    return rows


def _problem(row: Published) -> str:
    """What is wrong with values that have the right type; "" if nothing is."""
    if row.dtype not in CLASS_OF_DTYPE:
        return f"dtype is '{row.dtype}'; valid: {', '.join(CLASS_OF_DTYPE)}"
    for name, value in (("alpha", row.alpha), ("latency_ms", row.latency_ms)):
        if not (math.isfinite(value) and value > 0):
            return f"{name} is {value}; it must be above 0"
    for name, count in (("resolution", row.resolution), ("classes", row.classes)):
        if count < 1:
            return f"{name} is {count}; it must be 1 or more"
    if row.tier not in TIERS:
        return f"tier is '{row.tier}'; valid: {', '.join(TIERS)}"
    return ""


def published_rows(profile: DeviceProfile) -> list[Published]:
    """Every published latency of the profile's own device in the tables it names."""
    tables = dict.fromkeys(name for each in profile.latency.values() for name in each.every_table())
    rows = [row for table in tables for row in read_table(profile, table)]
    return [row for row in rows if row.device == profile.device]
