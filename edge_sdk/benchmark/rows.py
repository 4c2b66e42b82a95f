"""A benchmark's JSON as flat rows: for spreadsheets, and for comparing two of them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.errors import DataError

COLUMNS = (
    "model", "size_bytes", "mult_adds", "parameters", "figure", "where", "runtime", "version",
    "threads", "latency_ms", "low_ms", "high_ms", "p90_ms", "p99_ms", "mean_ms", "min_ms",
    "load_ms", "memory_bytes", "energy_mj", "runs", "machine",
)  # fmt: skip
COMPARED = ("latency_ms", "memory_bytes", "size_bytes")


@dataclass(frozen=True)
class Change:
    """One figure of a model in a place, before and after; None: that file does not have it."""

    model: str
    where: str
    figure: str
    what: str
    before: float | None
    after: float | None

    @property
    def percent(self) -> float | None:
        """By how much it grew; more is worse for every figure compared."""
        if self.before is None or self.after is None:
            return None
        return 100 * (self.after / self.before - 1)

    def worse(self, limit: float) -> bool:
        """Whether it grew by more than `limit` percent, or is gone."""
        return self.after is None or (self.percent is not None and self.percent > limit)


def rows(results: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A dict of COLUMNS per model and place; what a figure does not have is None."""
    for result in results:
        base = {key: result.get(key) for key in COLUMNS[:4]}
        if (m := result.get("measured")) is not None:
            median = m.get("p50_ms")
            own = {
                "figure": "measured",
                "latency_ms": m["mean_ms"] if median is None else median,
                "memory_bytes": m.get("rss_peak_bytes"),
                "machine": m.get("machine", {}).get("cpu"),
                "where": m.get("where", "here"),
            }
            yield _row(base, m, own)
        for e in result.get("estimates", ()):
            yield _row(base, e, {"figure": "estimated", "where": e["profile"]})
        for c in result.get("chips", ()):
            yield _row(base, c, {"figure": "estimated", "where": c["profile"]})


def _row(*sources: dict[str, Any]) -> dict[str, Any]:
    """COLUMNS from these, the later ones first."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    for source in sources:
        row |= {key: value for key, value in source.items() if key in row}
    return row


def as_csv(results: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(results))
    return text.getvalue()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that `edge-sdk benchmark --json` wrote.

    Raises DataError, naming file and fault, for anything else."""
    try:
        found = list(rows(json.loads(path.read_text(encoding="utf-8"))))
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror}") from e
    except (ValueError, AttributeError, TypeError, KeyError) as e:
        raise DataError(f"{path} is no output of `edge-sdk benchmark --json`: {e!r}") from e
    for row in found:
        for key in COMPARED:
            _check(path, row, key)
    if not found:
        raise DataError(f"{path} has no figure, measured or estimated")
    return found


def _check(path: Path, row: dict[str, Any], key: str) -> None:
    value = row[key]
    if value is None and key != "latency_ms":
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
        raise DataError(f"{path}: {key} of {row['model']} is {value!r}; it must be above 0")


def compare(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[Change]:
    """Every compared figure of every row of either; rows are the same by model, place and threads.

    Raises DataError when the two have no row in common, or one has two of a kind."""
    old, new = _keyed(before), _keyed(after)
    if not set(old) & set(new):
        raise DataError(
            "the two files have no model and place in common: "
            f"{_names(old)} before, {_names(new)} after"
        )
    changes = []
    for key in [*old, *(key for key in new if key not in old)]:
        for what in COMPARED:
            pair = [side.get(key, {}).get(what) for side in (old, new)]
            if pair != [None, None]:
                changes.append(Change(key[0], key[2], key[1], what, *pair))
    return changes


Key = tuple[str, str, str]


def _keyed(found: Sequence[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    keyed: dict[Key, dict[str, Any]] = {}
    for row in found:
        threads = f"{row['threads']} thread{'' if row['threads'] == 1 else 's'}"
        key = (str(row["model"]), str(row["figure"]), f"{row['where']}, {threads}")
        if key in keyed:
            raise DataError(f"{key[0]} on {key[2]} is there twice: compare files with one of each")
        keyed[key] = row
    return keyed


def _names(keyed: dict[Key, dict[str, Any]]) -> str:
    return "; ".join(f"{model} on {where}" for model, _, where in list(keyed)[:3])
