from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.convert.search import TRIALS, fewest


def falling(count: int, power: float) -> list[float]:
    """Harm left by 0 .. count layers: all of it to nothing."""
    return [(1 - k / count) ** power for k in range(count + 1)]


def run(left, drops, limit, known=None):
    looks: list[int] = []

    def drop_of(count: int) -> float:
        looks.append(count)
        return drops[count]

    return fewest(left, drop_of, limit, known), looks


def test_a_true_guess_needs_few_looks() -> None:
    left = falling(30, 3)
    found, looks = run(left, [4 * x for x in left], 1.5, known=4.0)
    smallest = next(k for k, x in enumerate(left) if 4 * x <= 1.5)
    assert found == smallest == looks[0]
    assert len(looks) <= 3


def test_none_need_be_kept_where_none_costs() -> None:
    assert run(falling(10, 2), [1.0] * 11, 1.5, known=1.0) == (0, [])
    assert run(falling(10, 2), [1.0] * 11, 1.5) == (0, [0])


def test_what_failed_for_another_reason_is_no_measure_of_the_drop() -> None:
    found, looks = run(falling(8, 1), [inf] * 5 + [0.5] * 4, 1.5, known=inf)
    assert found == 5
    assert len(looks) <= TRIALS


def test_nothing_passes() -> None:
    found, looks = run(falling(30, 2), [9.0] * 31, 1.5, known=9.0)
    assert found is None
    assert looks == sorted(set(looks))
    assert looks[-1] == 30
    assert run([0.0], [9.0], 1.5) == (None, [0])


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 60),
    st.floats(0.2, 8),
    st.floats(0.2, 8),
    st.floats(1.6, 90),
    st.sampled_from([None, "known"]),
)
def test_what_it_returns_was_looked_at_and_passed(count, guess, truth, drop, known) -> None:
    drops = [drop * x for x in falling(count, truth)]
    found, looks = run(falling(count, guess), drops, 1.5, drop if known else None)
    assert len(looks) <= TRIALS
    assert len(looks) == len(set(looks))
    if found is not None:
        assert found in looks
        assert drops[found] <= 1.5
        assert found == min(k for k in looks if drops[k] <= 1.5)


@pytest.mark.parametrize("truth", [0.5, 1, 2, 4])
def test_it_ends_near_the_smallest(truth) -> None:
    left = falling(35, 2)
    drops = [3.0 * x for x in falling(35, truth)]
    found, looks = run(left, drops, 1.5, known=3.0)
    smallest = next(k for k, x in enumerate(drops) if x <= 1.5)
    assert found is not None
    assert smallest <= found <= smallest + 2, looks
