"""How many of the most sensitive layers must keep 8 bits: few trials, each dear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

TRIALS = 5


def fewest(
    left: Sequence[float],
    drop_of: Callable[[int], float],
    limit: float,
    drop_of_none: float | None = None,
    trials: int = TRIALS,
) -> int | None:
    """The smallest count found whose drop is within the limit; None if none was.

    left: share of the estimated harm that is left with the first 0, 1, ... layers kept, falling
    from 1 to 0. drop_of(count): the measured drop, in points; inf for what failed otherwise.
    drop_of_none: that of 0 where it is known already.

    The drop is guessed to be in proportion to what is left, and each measured drop corrects the
    guess. Noise in the drops costs bytes, never the limit: what is returned was measured."""
    last = len(left) - 1
    if drop_of_none is None:
        drop_of_none = drop_of(0)
        trials -= 1
    if drop_of_none <= limit:
        return 0
    fails, drop = 0, drop_of_none
    passes: int | None = None
    passing_drop = 0.0
    for _ in range(trials):
        high = last if passes is None else passes
        if high - fails <= (1 if passes is not None else 0):
            break
        count = _guess(left, fails, drop, high, passing_drop, limit)
        if passes is None:
            count = min(max(count, 2 * fails), last)  # failures must not creep
        else:
            quarter = (passes - fails) // 4
            count = min(max(count, fails + 1 + quarter), passes - 1 - quarter)
        found = drop_of(count)
        if found <= limit:
            passes, passing_drop = count, found
        else:
            fails, drop = count, found
    return passes


def _guess(
    left: Sequence[float], low: int, low_drop: float, high: int, high_drop: float, limit: float
) -> int:
    """The smallest count in low + 1 .. high whose drop, on the line through both ends, is within
    the limit."""
    if not math.isfinite(low_drop) or left[low] <= left[high]:
        return (low + high + 1) // 2
    slope = (low_drop - high_drop) / (left[low] - left[high])
    within = (
        k for k in range(low + 1, high) if high_drop + slope * (left[k] - left[high]) <= limit
    )
    return next(within, high)
