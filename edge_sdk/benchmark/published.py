"""Published latencies: the measurement tables that profiles name, read strictly."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

from edge_sdk.errors import ProfileError
from edge_sdk.profiles import DeviceProfile

CLASS_OF_DTYPE = {"float32": "float", "int8": "int8", "uint8": "int8"}
_COLUMNS = ("model", "alpha", "resolution", "dtype", "device", "threads", "abi", "runtime",
            "latency_ms", "tier", "source", "locator", "note")  # fmt: skip


@dataclass(frozen=True)
class Published:
    """One published latency in milliseconds, with its source and tier (A best, D worst)."""

    model: str
    alpha: float
    resolution: int
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
    where = f"measurements/{table}.csv"
    text = profile.read_beside("measurements", f"{table}.csv")
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise ProfileError(f"{where}: columns are {reader.fieldnames}; valid: {list(_COLUMNS)}")
    rows = []
    for line in reader:
        try:
            row = Published(
                **{k: line[k] for k in ("model", "dtype", "device", "threads", "abi", "runtime",
                                        "tier", "source", "locator", "note")},
                alpha=float(line["alpha"]),
                resolution=int(line["resolution"]),
                latency_ms=float(line["latency_ms"]),
            )  # fmt: skip
        except (TypeError, ValueError) as e:
            raise ProfileError(f"{where} line {reader.line_num}: {e}") from e
        if row.dtype not in CLASS_OF_DTYPE:
            raise ProfileError(
                f"{where} line {reader.line_num}: dtype is '{row.dtype}'; "
                f"valid: {', '.join(CLASS_OF_DTYPE)}"
            )
        if not (math.isfinite(row.latency_ms) and row.latency_ms > 0):
            raise ProfileError(
                f"{where} line {reader.line_num}: latency_ms is {row.latency_ms}; "
                "it must be above 0"
            )
        rows.append(row)
    return rows


def published_rows(profile: DeviceProfile) -> list[Published]:
    """Every published latency of the profile's own device in the tables it names."""
    tables = dict.fromkeys(name for each in profile.latency.values() for name in each.tables())
    rows = [row for table in tables for row in read_table(profile, table)]
    return [row for row in rows if row.device == profile.device]
