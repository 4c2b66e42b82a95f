"""Start-up times, each in a fresh process: median of N, in seconds."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
CASES = {
    "python -c pass": ["-c", "pass"],
    "edge-sdk --help": ["-m", "edge_sdk.cli", "--help"],
    "import edge_sdk.runtime": ["-c", "import edge_sdk.runtime"],
}
HEAVY = ("numpy", "PIL", "tensorflow", "click")


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def loaded(module: str) -> list[str]:
    code = f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS):  # in turn, so that a busy moment hits all alike
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<26} {median:.3f} s  ({median - base:+.3f} s over an empty Python), measured")
    for module in ("edge_sdk.cli", "edge_sdk.runtime"):
        print(f"import {module} loads of {', '.join(HEAVY)}: {' '.join(loaded(module)) or 'none'}")


if __name__ == "__main__":
    main()
