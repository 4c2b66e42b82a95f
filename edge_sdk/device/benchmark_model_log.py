"""What TensorFlow Lite's native `benchmark_model` prints, as its versions since 2018 word it.

Lines stand alone, behind "INFO: ", or behind logcat's date, process and tag. The figures are
microseconds; older versions print no median, and call the memory line a peak."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_sdk.benchmark.measure import OpTime
from edge_sdk.errors import DeviceError

_LEAD = re.compile(
    r"^(?:\d\d-\d\d [\d:.]+ +\d+ +\d+ )?"
    r"(?:[VDIWEF][ /]\w+ *(?:\( *\d+\))?: ?|(?:INFO|WARN|WARNING|ERROR|VERBOSE): ?)?"
)
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_FIGURE = re.compile(rf"(\w+)=({_NUMBER})(?= |$)")
_INIT = re.compile(rf"nference timings in us: .*?Init: ({_NUMBER})")
_DELTA = re.compile(
    rf"(?:Memory footprint delta[^:]*|Peak memory footprint \(MB\)): init={_NUMBER} "
    rf"overall=({_NUMBER})"
)
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\)[^:]*: ({_NUMBER})")
_APPLIED = re.compile(
    r"pplied (\w+) delegate, and the model graph will be (completely|partially) executed"
)
_NOT_APPLIED = (
    re.compile(r"Though (\w+) delegate is (?:explicitly )?applied, the model graph will not be"),
    re.compile(r"Failed to apply (\w+) delegate"),
    re.compile(r"(\w+) acceleration is unsupported on this platform"),
    re.compile(r"(?:Could not|Couldn't|Failed to) create (\w+) delegate"),
    re.compile(r"^(nnapi) error: unable to open library"),
)
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(TfLite(\w+)\)")
# Kernel's name in the log -> delegate, as --delegate names it.
_KERNELS = {"gpu": "gpu", "nnapi": "nnapi", "xnnpack": "xnnpack"}
_REFERENCE = re.compile(r"NNAPI accelerators available: \[nnapi-reference\]")


@dataclass(frozen=True)
class Log:
    """Milliseconds of the regular runs; median_ms None: the version prints none.

    memory_bytes: what came since the tool's start; peak_bytes: of the process, where printed.
    delegates: name in lower case -> (nodes it took, nodes), or None where it took an unknown
    number; (0, 0) where it was asked for and took none."""

    runs: int
    mean_ms: float
    min_ms: float
    median_ms: float | None
    load_ms: float
    memory_bytes: int | None
    peak_bytes: int | None
    delegates: dict[str, tuple[int, int] | None]
    only_reference: bool
    ops: tuple[OpTime, ...]


def parse_log(text: str) -> Log:
    """Raises DeviceError, with the tool's own last error, for a log that is not whole."""
    lines = [_LEAD.sub("", line.rstrip()) for line in text.splitlines()]
    joined = "\n".join(lines)
    stats = [dict(_FIGURE.findall(line)) for line in lines if line.startswith("count=")]
    init = _INIT.search(joined)
    if not stats or init is None:
        raise DeviceError(f"benchmark_model gave no result: {_last_error(text)}")
    last = {name: float(value) for name, value in stats[-1].items()}
    one = last.get("curr")
    mean, least = last.get("avg", one), last.get("min", one)
    if mean is None or least is None or mean <= 0 or last["count"] < 1:
        raise DeviceError(f"benchmark_model's figures make no sense: {stats[-1]}")
    delta, peak = _DELTA.search(joined), _PEAK.search(joined)
    median = last.get("median")
    return Log(
        runs=int(last["count"]),
        mean_ms=mean / 1e3,
        min_ms=least / 1e3,
        median_ms=None if median is None else median / 1e3,
        load_ms=float(init[1]) / 1e3,
        memory_bytes=None if delta is None else round(float(delta[1]) * 2**20),
        peak_bytes=None if peak is None else round(float(peak[1]) * 2**20),
        delegates=_delegates(joined),
        only_reference=_REFERENCE.search(joined) is not None,
        ops=tuple(_ops(lines)),
    )


def fallback_warnings(log: Log, requested: str) -> Iterator[str]:
    """Whether the delegate that was asked for ran the model, by the tool's own words."""
    if requested == "nnapi" and log.only_reference:
        yield "NNAPI has nothing but nnapi-reference here, which is the CPU"
    if requested not in log.delegates:
        yield f"the log does not say that the {requested} delegate was applied"
        return
    took = log.delegates[requested]
    if took == (0, 0):
        yield f"the {requested} delegate was asked for and ran nothing: these figures are the CPU's"
    elif took is None:
        yield f"the {requested} delegate ran a part of the model only, the CPU the rest"
    elif took[0] < took[1]:
        yield f"the {requested} delegate ran {took[0]} of {took[1]} operators, the CPU the rest"


def _delegates(text: str) -> dict[str, tuple[int, int] | None]:
    found: dict[str, tuple[int, int] | None] = {}
    for name, how in _APPLIED.findall(text):
        found[name.lower()] = None if how == "partially" else (1, 1)
    for took, nodes, kernel in _REPLACED.findall(text):
        for start, name in _KERNELS.items():
            if kernel.lower().startswith(start):
                earlier = found.get(name) or (0, 0)
                # A graph of several parts is replaced part by part.
                known = earlier if earlier != (1, 1) else (0, 0)
                found[name] = (known[0] + int(took), known[1] + int(nodes))
    for pattern in _NOT_APPLIED:
        for name in re.findall(pattern.pattern, text, re.M):
            found[name.lower()] = (0, 0)
    return found


def _ops(lines: Sequence[str]) -> Iterator[OpTime]:
    """The first table by node type after the regular runs' heading; older versions have none."""
    start = next((i for i, line in enumerate(lines) if "Regular Benchmark Runs" in line), None)
    tables = [i for i, line in enumerate(lines) if "Summary by node type" in line]
    tables = tables[-1:] if start is None else [i for i in tables if i > start][:1]
    if not tables:
        return
    rows = lines[tables[0] + 1 :]
    head = [name.strip().lower() for name in re.findall(r"\[([^]]+)\]", rows[0] if rows else "")]
    if not {"count", "avg ms"} <= set(head):
        return
    for row in rows[1:]:
        words = row.split()
        figures = words[1 - len(head) :]
        if len(words) < len(head) or not all(re.fullmatch(_NUMBER + "%?", f) for f in figures):
            return
        at = dict(zip(head[1:], figures, strict=True))
        kind = " ".join(words[: 1 - len(head)])
        yield OpTime(kind, int(float(at["count"])), float(at["avg ms"]))


def _last_error(text: str) -> str:
    """The line that says most: the last one that names an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"error|fail|abort|not found|denied", line, re.I)]
    last = (named or lines or ["it printed nothing"])[-1][:300]
    return "".join(c if c.isprintable() else "?" for c in last)
