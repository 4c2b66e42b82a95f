"""ARM instructions per invoke of MobileNets, counted under emulation; see docs/arm-counts.md.

python tools/arm_counts build     the arm64 root, the runtime and the plugin
python tools/arm_counts grid      builds, then counts what the table still lacks
python tools/arm_counts summary   how data types and cores compare in the table
python tools/arm_counts armhf     a 32-bit root for installing bundles, in .cache/armhf
python tools/arm_counts loop      counts a frame of edge-classify, for each --model
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from arm_grid import fill, read_rows, summary
from arm_loop import build_device, count_loop, loop_text, read_loop, write_loop
from arm_models import DTYPES, GRID
from arm_root import LITERT, build, build_armhf

from edge_sdk.benchmark.emulate import CPUS, find_emulator
from edge_sdk.errors import EdgeError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="arm_counts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("build", "grid", "summary", "loop", "armhf"))
    parser.add_argument(
        "--folder",
        type=Path,
        help="of root, wheels, plugin and models [.cache/arm64, or .cache/armhf]",
    )
    parser.add_argument("--litert", default=LITERT, help=f"version of ai-edge-litert [{LITERT}]")
    parser.add_argument("--sources", type=Path, help="an apt source list that has arm64")
    parser.add_argument(
        "--table",
        type=Path,
        default=ROOT / "device_profiles" / "counts" / "arm-instructions.csv",
        help="where the counts are",
    )
    parser.add_argument(
        "--model", type=Path, action="append", help="of loop: an artifact or .tflite, by its name"
    )
    parser.add_argument(
        "--loop-table",
        type=Path,
        default=ROOT / "device_profiles" / "counts" / "arm-loop.csv",
        help="where loop's counts are",
    )
    parser.add_argument("--jobs", type=int, default=1, help="emulators at a time [1]")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="may be repeated [all]")
    parser.add_argument("--cpu", action="append", choices=tuple(CPUS), help="may be repeated [all]")
    return parser


def count_loops(
    folder: Path,
    models: Sequence[Path] | None,
    cpus: Sequence[str],
    table: Path,
    say: Callable[[str], None],
) -> None:
    """Writes each row when it is counted, over the one of that model and core."""
    if not models:
        raise UsageError("loop: name what to classify with, --model ARTIFACT; may be repeated")
    emulator = find_emulator(folder)
    rows = {r.key: r for r in read_loop(table)}
    for model in models:
        for cpu in cpus:
            row = count_loop(model, model.name.removesuffix(".tflite"), cpu, emulator)
            rows[row.key] = row
            write_loop(table, rows.values())
            say(f"{row.model} {cpu}  {row.instructions / 1e6:.3f} M instructions a frame")
    print(loop_text(list(rows.values())))


def main(arguments: list[str] | None = None) -> int:
    given = options().parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        if given.jobs < 1:
            raise UsageError(f"--jobs {given.jobs} must be at least 1")
        if given.task == "summary":
            print(summary(read_rows(given.table)))
            return 0
        name = "armhf" if given.task == "armhf" else "arm64"
        folder = given.folder or ROOT / ".cache" / name
        if given.task == "armhf":
            build_armhf(folder, sources=given.sources, say=say)
            return 0
        build(folder, litert=given.litert, sources=given.sources, say=say)
        if given.task in ("build", "loop"):
            build_device(folder)
        if given.task == "loop":
            count_loops(folder, given.model, given.cpu or tuple(CPUS), given.loop_table, say)
        if given.task == "grid":
            networks = [n for n in GRID if given.only in n.file("")]
            if not networks:
                raise UsageError(f"--only {given.only}: no network's name contains it")
            added = fill(
                given.table,
                folder / "models",
                find_emulator(folder),
                networks,
                litert=given.litert,
                dtypes=given.dtype or DTYPES,
                cpus=given.cpu or tuple(CPUS),
                jobs=given.jobs,
                say=say,
            )
            say(f"{added} rows added to {given.table}")
    except EdgeError as e:
        say(f"error: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
