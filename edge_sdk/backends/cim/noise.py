"""Read noise at the output of arrays: fast normal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np


class Stream:
    """Normal numbers of one chip's reads."""

    def __init__(self, entropy: tuple[int, ...]) -> None:
        self.generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))


def add(sums: Any, variance: Any, stream: Stream) -> None:
    sums += np.sqrt(variance) * stream.generator.standard_normal(sums.shape, dtype=np.float32)
