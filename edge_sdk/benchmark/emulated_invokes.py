"""Runs a model a few times between marks that a counting qemu sees; see emulate.py.

    python emulated_invokes.py MODEL INVOKES

It is the guest's program, alone in there: NumPy, LiteRT and the standard library. Its last line on
standard output is JSON.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import platform
import sys
from contextlib import suppress
from typing import Any

# What tools/arm_counts/count.c takes for a mark: a system call that changes nothing.
MARK = 0x41524D
WARMUP = 2


def mark() -> None:
    with suppress(ProcessLookupError):  # no user has this number, and none is looked for
        os.getpriority(os.PRIO_USER, MARK)


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    )  # fmt: skip


def allocated_bytes() -> int:
    """Bytes that malloc has given out and not got back, in all its arenas and mappings.

    Not the resident pages: those are the emulator's, and freed ones may be used again."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def noise(shape: tuple[int, ...], dtype: Any) -> Any:
    import numpy as np

    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return rng.uniform(-1, 1, shape).astype(dtype)
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)


def main() -> None:
    from ai_edge_litert.interpreter import Interpreter

    model, invokes = sys.argv[1], int(sys.argv[2])
    before = allocated_bytes()
    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    interpreter.set_tensor(source["index"], noise(tuple(source["shape"]), source["dtype"]))
    for _ in range(WARMUP):
        interpreter.invoke()
    mark()  # two marks with nothing between: what a mark itself costs
    mark()
    for _ in range(invokes):
        interpreter.invoke()
        mark()
    print(
        json.dumps(
            {
                "litert": importlib.metadata.version("ai-edge-litert"),
                "machine": platform.machine(),
                "memory_bytes": allocated_bytes() - before,
            }
        )
    )


if __name__ == "__main__":
    main()
