"""Progress of long work: a function (step, done, total) that whoever wants to may pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    del step, done, total


def watched(items: Sequence[T], step: str, progress: Progress) -> Iterator[T]:
    """The items, with a call of `progress` before the first and after each."""
    total = len(items)
    progress(step, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        progress(step, done, total)
