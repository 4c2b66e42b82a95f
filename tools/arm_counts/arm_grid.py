"""Counts every model of the grid as every core, a row at a time, and reads what is counted."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

from arm_models import DTYPES, Network, in_order, model_files

from edge_sdk.benchmark.emulate import CPUS, Counts, Emulator, count
from edge_sdk.errors import DataError
from edge_sdk.files import write_whole

# Of this tool: raised when counts of the same model would come out differently.
TOOL = 1
MAX_SPREAD = 0.001
Key = tuple[str, float, int, str, str]  # arch, alpha, size, dtype, cpu


@dataclass(frozen=True)
class Row:
    """One model as one core: instructions per invoke on one thread, see emulate.Counts."""

    arch: str
    alpha: float
    size: int
    dtype: str
    cpu: str
    instructions: int
    load_store: int
    simd: int
    dot: int
    memory_bytes: int
    litert: str
    qemu: str
    tool: int

    @property
    def key(self) -> Key:
        return self.arch, self.alpha, self.size, self.dtype, self.cpu

    @property
    def network(self) -> Network:
        return Network(self.arch, self.alpha, self.size)


COLUMNS = tuple(f.name for f in fields(Row))
_INTEGERS = tuple(f.name for f in fields(Row) if f.type == "int")


def read_rows(path: Path) -> list[Row]:
    """The rows of a table, none where there is no file. Raises DataError that names the line."""
    return [_row(path, line, found) for line, found in table_lines(path, COLUMNS)]


def table_lines(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and text of each row, none where there is no file. Raises DataError for other
    columns."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as f:
        reader = csv.DictReader(f)
        if tuple(reader.fieldnames or ()) != columns:
            raise DataError(f"{path}: its columns are {reader.fieldnames}, expected {columns}")
        for found in reader:
            yield reader.line_num, found


def _row(path: Path, line: int, found: dict[str, str]) -> Row:
    try:
        values = {**found, "alpha": float(found["alpha"])}
        return Row(**values | {name: int(found[name]) for name in _INTEGERS})  # type: ignore[arg-type]
    except (TypeError, ValueError) as e:
        raise DataError(f"{path} line {line}: {e}") from e


def as_csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda r: r.key):
        writer.writerow({**asdict(row), "alpha": f"{row.alpha:g}"})
    return text.getvalue()


def fill(
    table: Path,
    models: Path,
    emulator: Emulator,
    networks: Sequence[Network],
    *,
    litert: str,
    dtypes: Sequence[str] = DTYPES,
    cpus: Sequence[str] = tuple(CPUS),
    jobs: int = 1,
    say: Callable[[str], None],
) -> int:
    """Adds to the table what it lacks, each row written when it is counted; how many they were.

    A row of another version of this tool, LiteRT or qemu is counted again."""
    now = (litert, emulator.qemu, TOOL)
    rows = {r.key: r for r in read_rows(table) if (r.litert, r.qemu, r.tool) == now}
    ahead = {
        network: wanted
        for network in in_order(networks)
        if (wanted := _lacking(network, dtypes, cpus, rows))
    }
    todo = sum(map(len, ahead.values()))
    done = 0
    table.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        for network, wanted in ahead.items():
            files = model_files(network, models, sorted({dtype for dtype, _ in wanted}))
            running = {
                pool.submit(count, files[dtype], cpu, emulator): dtype for dtype, cpu in wanted
            }
            try:
                for future in as_completed(running):
                    row = _counted(network, running[future], future.result())
                    rows[row.key] = row
                    write_whole(table, as_csv(rows.values()).encode())
                    done += 1
                    say(f"{done}/{todo}  {_name(row)}  {row.instructions / 1e6:.2f} M instructions")
            except BaseException:
                for future in running:
                    future.cancel()
                raise
    return done


def _lacking(
    network: Network,
    dtypes: Sequence[str],
    cpus: Sequence[str],
    rows: dict[Key, Row],
) -> list[tuple[str, str]]:
    key = (network.arch, network.alpha, network.size)
    return [(d, c) for d in dtypes for c in cpus if (*key, d, c) not in rows]


def _counted(network: Network, dtype: str, c: Counts) -> Row:
    row = Row(
        arch=network.arch,
        alpha=network.alpha,
        size=network.size,
        dtype=dtype,
        cpu=c.cpu,
        instructions=c.instructions,
        load_store=c.load_store,
        simd=c.simd,
        dot=c.dot,
        memory_bytes=c.memory_bytes,
        litert=c.version,
        qemu=c.qemu,
        tool=TOOL,
    )
    if c.spread > MAX_SPREAD:
        raise DataError(
            f"{_name(row)}: invokes of one run differ by {c.spread:.2%}, more than {MAX_SPREAD:.1%}"
        )
    return row


def _name(row: Row) -> str:
    return f"{row.arch} {row.alpha:g} {row.size} {row.dtype} {row.cpu}"


def summary(rows: Sequence[Row]) -> str:
    """How the dtypes and the cores compare: means over the networks, with the least and most."""
    at = {r.key: r for r in rows}
    archs = sorted({r.arch for r in rows})
    lines = [
        f"{'instructions per invoke':<28}{'network':<14}{'n':>4}{'mean':>8}{'min':>8}{'max':>8}"
    ]

    def add(title: str, arch: str, over: tuple[str, str], under: tuple[str, str]) -> None:
        """over, under: (dtype, cpu)."""
        ratios = [
            at[n.arch, n.alpha, n.size, *over].instructions
            / at[n.arch, n.alpha, n.size, *under].instructions
            for n in sorted({r.network for r in rows if r.arch == arch})
            if (n.arch, n.alpha, n.size, *over) in at and (n.arch, n.alpha, n.size, *under) in at
        ]
        if ratios:
            figures = "".join(f"{x:8.3f}" for x in (fmean(ratios), min(ratios), max(ratios)))
            lines.append(f"{title:<28}{arch:<14}{len(ratios):>4}{figures}")

    for arch in archs:
        for cpu in CPUS:
            for over, under in (("int8", "float32"), ("w4a8", "int8")):
                add(f"{over} / {under} on {cpu[7:]}", arch, (over, cpu), (under, cpu))
        for over, under in (("cortex-a76", "cortex-a72"), ("cortex-a53", "cortex-a72")):
            for dtype in DTYPES:
                add(f"{over[7:]} / {under[7:]}, {dtype}", arch, (dtype, over), (dtype, under))
    return "\n".join(lines)
