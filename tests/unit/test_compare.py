"""Benchmarks as rows, as CSV, and two of them compared."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_sdk.benchmark.rows import COLUMNS, as_csv, compare, read_rows, rows
from edge_sdk.cli import cli
from edge_sdk.errors import DataError, EdgeError

MEASURED = {
    "runtime": "litert", "version": "2.3.0", "python": "3.11.2", "threads": 4, "runs": 200,
    "warmup": 10, "p50_ms": 20.0, "p90_ms": 21.0, "p99_ms": 25.0, "mean_ms": 20.5, "min_ms": 19.0,
    "load_ms": 90.0, "rss_peak_bytes": 50_000_000, "rss_model_bytes": 10_000_000,
    "machine": {"cpu": "Raspberry Pi 4 Model B", "cores": 4}, "where": "pi@rpi4",
}  # fmt: skip
ESTIMATED = {
    "profile": "rpi5", "runtime": "XNNPACK", "threads": 4, "latency_ms": 8.0, "low_ms": 6.0,
    "high_ms": 10.0, "memory_bytes": 4_000_000, "energy_mj": 70.0, "evidence": ["a table"],
}  # fmt: skip


def result(measured: dict[str, Any] | None = None, *estimates: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": "m-int8",
        "size_bytes": 4_000_000,
        "mult_adds": 300_000_000,
        "parameters": 3_500_000,
        "weight_types": {"int8": 1},
        "measured": measured,
        "estimates": list(estimates),
    }


BEFORE = [result(MEASURED, ESTIMATED)]


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_rows_keep_measured_and_estimated_apart() -> None:
    measured, estimated = rows(BEFORE)
    assert (measured["figure"], measured["where"]) == ("measured", "pi@rpi4")
    assert (measured["latency_ms"], measured["memory_bytes"]) == (20.0, 50_000_000)
    assert measured["machine"] == "Raspberry Pi 4 Model B"
    assert (estimated["figure"], estimated["where"]) == ("estimated", "rpi5")
    assert (estimated["low_ms"], estimated["high_ms"], estimated["p90_ms"]) == (6.0, 10.0, None)
    assert set(measured) == set(estimated) == set(COLUMNS)


def test_the_mean_stands_in_for_a_median_that_is_not_there() -> None:
    (row,) = rows([result({**MEASURED, "p50_ms": None})])
    assert row["latency_ms"] == 20.5


def test_csv_is_read_back() -> None:
    first, second = csv.DictReader(as_csv(BEFORE).splitlines())
    assert (first["model"], float(first["latency_ms"]), first["energy_mj"]) == ("m-int8", 20.0, "")
    assert (second["where"], float(second["energy_mj"])) == ("rpi5", 70.0)


def run(tmp_path: Path, after: Any, *options: str, before: Any = None) -> Any:
    files = [
        write(tmp_path / "a.json", BEFORE if before is None else before),
        write(tmp_path / "b.json", after),
    ]
    return CliRunner().invoke(cli, ["compare", *map(str, files), *options])


def test_the_same_is_no_regression(tmp_path: Path) -> None:
    done = run(tmp_path, BEFORE, "--limit", "0")
    assert done.exit_code == 0
    assert "WORSE" not in done.output
    assert done.output.count("+0.0") == 6


@pytest.mark.parametrize(("ms", "limit", "worse"), [(21.9, 10, 0), (22.1, 10, 1), (22.1, 11, 0),
                                                    (15.0, 0, 0)])  # fmt: skip
def test_a_slower_model_past_the_limit_fails(
    tmp_path: Path, ms: float, limit: float, worse: int
) -> None:
    done = run(tmp_path, [result({**MEASURED, "p50_ms": ms}, ESTIMATED)], "--limit", str(limit))
    assert (done.exit_code, done.output.count("WORSE")) == (worse, worse)
    if worse:
        assert isinstance(done.exception, EdgeError)
        assert str(done.exception) == "1 of 6 figures grew by more than 10 % or are missing"


def test_memory_and_size_are_compared_too(tmp_path: Path) -> None:
    after = result({**MEASURED, "rss_peak_bytes": 70_000_000}, ESTIMATED)
    done = run(tmp_path, [{**after, "size_bytes": 5_000_000}], "--json")
    assert done.exit_code == 1
    worse = [(c["what"], c["figure"]) for c in json.loads(done.output) if c["worse"]]
    assert worse == [
        ("memory_bytes", "measured"), ("size_bytes", "measured"), ("size_bytes", "estimated")
    ]  # fmt: skip


def test_what_is_missing_fails_and_what_is_new_does_not(tmp_path: Path) -> None:
    less, more = [result(MEASURED)], [result(MEASURED, ESTIMATED, {**ESTIMATED, "profile": "x"})]
    assert run(tmp_path, less).exit_code == 1
    done = run(tmp_path, more)
    assert done.exit_code == 0
    assert done.output.count("new") == 3


def test_other_threads_are_another_row() -> None:
    one = list(rows([result(MEASURED), result({**MEASURED, "threads": 1})]))
    assert {c.where for c in compare(one, one)} == {"pi@rpi4, 4 threads", "pi@rpi4, 1 thread"}
    with pytest.raises(DataError, match="no model and place in common: m-int8 on pi@rpi4, 4 th"):
        compare(one[:1], one[1:])
    with pytest.raises(DataError, match=r"m-int8 on pi@rpi4, 4 threads is there twice"):
        compare(one, [*one, one[0]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no output of"),
        ("{", "is no output of"),
        ("[]", "has no figure"),
        ("{}", "has no figure"),
        ('"text"', "is no output of"),
        ("[1]", "is no output of"),
        ('[{"model": "m", "measured": {}}]', "is no output of.*mean_ms"),
        ('[{"model": "m", "estimates": [{"profile": "x"}]}]', "latency_ms of m is None"),
        ('[{"model": "m", "estimates": [{"profile": "x", "latency_ms": -1}]}]', "is -1; it must"),
        ('[{"model": "m", "estimates": [{"profile": "x", "latency_ms": NaN}]}]', "is nan"),
        ('[{"model": "m", "estimates": [{"profile": "x", "latency_ms": true}]}]', "is True"),
        ('[{"model": "m", "estimates": [{"profile": "x", "latency_ms": "8"}]}]', "is '8'"),
        ("[{}]", "has no figure"),
    ],
)
def test_a_file_that_is_no_benchmark(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_rows(tmp_path / "a.json")


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_rows(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is no output of"):
        read_rows(tmp_path / "a.json")


@pytest.mark.parametrize("limit", ["-1", "nan", "inf", "x"])
def test_a_limit_that_is_none(tmp_path: Path, limit: str) -> None:
    assert run(tmp_path, BEFORE, "--limit", limit).exit_code == 2
