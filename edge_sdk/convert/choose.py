"""Which way of quantising is taken: the cheapest in time that passes the gate.

The methods stand in the order in which they are tried. Each yields candidates that were judged;
after the first method with one that passed, the smallest of those is taken, and without any the
one that lost least, which the artifact's name then says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge_sdk.artifact import Attempt, Gate
from edge_sdk.convert.adaptive_rounding import Memory
from edge_sdk.convert.search import fewest
from edge_sdk.convert.sensitivity import Sensitivity, by_worth, shares_left


@dataclass(frozen=True)
class Candidate:
    """A file that was judged. method: null for a float scheme. eight_bit: names of the layers
    that kept 8 bits where the scheme has fewer."""

    model: Path
    gate: Gate
    method: str | None
    eight_bit: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        return max(c.drop for c in self.gate.checks)

    @property
    def size(self) -> int:
        return self.model.stat().st_size

    def attempt(self, *, taken: bool) -> Attempt:
        """For the manifest."""
        method = self.method or ""
        return Attempt(method, self.drop, self.gate.passed, self.size, self.eight_bit, taken)


@dataclass(frozen=True)
class Workshop:
    """What the methods work with.

    make(method, rounding, kept, memory): quantises, with the layers `kept` at 8 bits, and judges.
    sensitivities(): of the layers with fewer than 8 bits. max_drop: the gate's, in points.
    retrain(): trains on with rounded kernels and judges; None without labelled images for it."""

    make: Callable[[str, str, Sequence[Sensitivity], Memory], Candidate]
    sensitivities: Callable[[], list[Sensitivity]]
    max_drop: float
    retrain: Callable[[], Candidate] | None = None
    memory: Memory = field(default_factory=Memory)


# What a method does, given the workshop and what was tried before it.
Method = Callable[[Workshop, Sequence[Candidate]], Iterator[Candidate]]


def _one(name: str, shop: Workshop, _tried: Sequence[Candidate]) -> Iterator[Candidate]:
    yield shop.make(name, name, (), shop.memory)


def _mixed(shop: Workshop, tried: Sequence[Candidate]) -> Iterator[Candidate]:
    """Adaptive rounding with the layers that repay it most kept at 8 bits, as few as will do."""
    ranked = by_worth(shop.sensitivities())
    made: list[Candidate] = []

    def drop_of(count: int) -> float:
        made.append(shop.make("mixed", "adaptive", ranked[:count], shop.memory))
        return judged_drop(made[-1], shop.max_drop)

    before = [judged_drop(c, shop.max_drop) for c in tried if c.method == "adaptive"]
    fewest(shares_left(ranked), drop_of, shop.max_drop, before[0] if before else None)
    yield from made


def _trained(shop: Workshop, _tried: Sequence[Candidate]) -> Iterator[Candidate]:
    if shop.retrain is not None:
        yield shop.retrain()


METHODS: dict[str, Method] = {
    "min-max": partial(_one, "min-max"),
    "adaptive": partial(_one, "adaptive"),
    "trained": _trained,
    "mixed": _mixed,
}


def judged_drop(candidate: Candidate, limit: float) -> float:
    """The candidate's drop; inf where it failed the gate for another reason than that."""
    return candidate.drop if candidate.gate.passed or candidate.drop > limit else math.inf


def choose(methods: Sequence[str], shop: Workshop) -> tuple[Candidate, list[Candidate]]:
    """The candidate to take, and all that were tried, in order."""
    tried: list[Candidate] = []
    for name in methods:
        tried += METHODS[name](shop, tuple(tried))
        if any(c.gate.passed for c in tried):
            break
    return best(tried), tried


def best(tried: Sequence[Candidate]) -> Candidate:
    """The smallest that passed, the earliest of equals; without any the one that lost least."""
    passed = [c for c in tried if c.gate.passed]
    return min(passed, key=lambda c: c.size) if passed else min(tried, key=lambda c: c.drop)
