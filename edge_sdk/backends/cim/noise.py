"""Read noise at the output of arrays: normal numbers at two nanoseconds each.

A counter mixed by SplitMix64 (Steele, Lea, Flood 2014) gives 64 bits, which make two numbers: a
sign, one of 2,048 equally likely strips of the half normal distribution, a place in it. Within a
strip numbers are uniform; the last strip, beyond 3.49, is drawn exactly (Marsaglia 1964). Against
the normal distribution the variance is 7e-5 too large, and no probability is off by more than
2e-5; a test holds it to that.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim.loops import compiled

STRIPS = 2048
_STRIDE = np.uint64(0x9E3779B97F4A7C15)
_WORD = np.uint64(0xFFFFFFFF)
_PLACE = np.float32(1 / (1 << 20))


@functools.cache
def strips() -> npt.NDArray[np.float32]:
    """Edges of the strips; the last strip has no outer one."""
    normal = NormalDist()
    edges = [normal.inv_cdf(0.5 + i / (2 * STRIPS)) for i in range(STRIPS)]
    return np.array(edges, np.float32)


class Stream:
    """Normal numbers of one chip's reads. entropy: what they depend on."""

    def __init__(self, entropy: tuple[int, ...]) -> None:
        self._at = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])

    def add(self, sums: npt.NDArray[np.float32], sigma: npt.NDArray[np.float32]) -> None:
        """Adds noise of sigma (M, N), or (M, 1) the same for each column, to sums (M, N)."""
        _add(sums, sigma, np.uint64(self._at), strips())
        words = len(sums) * -(-sums.shape[1] // 2)
        self._at = (self._at + words * int(_STRIDE)) % (1 << 64)


@compiled
def _mixed(z: Any) -> Any:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _tail(word: Any, edge: Any) -> Any:
    """A half normal number beyond an edge, of words that start at one."""
    scale = 1.0 / (1 << 53)
    while True:
        word = _mixed(word + _STRIDE)
        u = (np.float64(word >> np.uint64(11)) + 0.5) * scale
        word = _mixed(word + _STRIDE)
        v = (np.float64(word >> np.uint64(11)) + 0.5) * scale
        x = -math.log(u) / edge
        if -2.0 * math.log(v) > x * x:
            return np.float32(edge + x)


@compiled
def _normal(half: Any, word: Any, edges: Any) -> Any:
    """half: of a word, 32 bits: the sign, 11 bits of the strip, 20 of the place in it."""
    strip = (half >> np.int32(20)) & np.int32(STRIPS - 1)
    if strip == STRIPS - 1:
        size = _tail(word + np.uint64(half & np.int32(7)), edges[STRIPS - 1])
    else:
        place = np.float32(half & np.int32((1 << 20) - 1)) * _PLACE
        size = edges[strip] + place * (edges[strip + 1] - edges[strip])
    return size if half >= 0 else -size


@compiled
def _add(sums: Any, sigma: Any, start: Any, edges: Any) -> None:
    columns = sums.shape[1]
    wide = 1 if sigma.shape[1] > 1 else 0
    at = start
    for i in range(sums.shape[0]):
        for j in range(0, columns - 1, 2):
            word = _mixed(at)
            at += _STRIDE
            first, second = np.int32(word & _WORD), np.int32(word >> np.uint64(32))
            sums[i, j] += sigma[i, j * wide] * _normal(first, word, edges)
            sums[i, j + 1] += sigma[i, (j + 1) * wide] * _normal(second, word, edges)
        if columns % 2:
            word = _mixed(at)
            at += _STRIDE
            last = columns - 1
            sums[i, last] += sigma[i, last * wide] * _normal(np.int32(word & _WORD), word, edges)
