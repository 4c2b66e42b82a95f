from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.artifact import Check, Gate
from edge_sdk.convert.choose import METHODS, Candidate, Workshop, best, choose, judged_drop
from edge_sdk.convert.sensitivity import Sensitivity, by_worth, divergence, shares_left

LIMIT = 1.5
LAYERS = [
    Sensitivity(1, "early", 0.02, 100),
    Sensitivity(2, "middle", 0.05, 1000),
    Sensitivity(3, "late", 0.10, 100_000),
    Sensitivity(4, "idle", 0.0, 500),
]


def gate(drop: float, passed: bool | None = None) -> Gate:
    ok = drop <= LIMIT if passed is None else passed
    check = Check("r", "1", "3", "m", 9, None, None, 90.0, drop, 9.0, ok, ())
    return Gate("estimated-accuracy", LIMIT, ok, (check,))


def workshop(folder: Path, drops: dict[str, float], asked: list[tuple[str, int]]) -> Workshop:
    """Drops by method, for mixed by what is left of LAYERS' harm."""

    def make(method: str, rounding: str, kept: Sequence[Sensitivity], _memory: object) -> Candidate:
        assert rounding == ("adaptive" if method == "mixed" else method)
        asked.append((method, len(kept)))
        file = folder / f"{len(asked)}.tflite"
        file.write_bytes(bytes(1000 + sum(s.cost for s in kept)))
        harm = sum(s.harm for s in LAYERS if s not in kept) / sum(s.harm for s in LAYERS)
        drop = drops[method] * (harm if method == "mixed" else 1)
        return Candidate(file, gate(drop), method, tuple(s.name for s in kept))

    return Workshop(make, lambda: list(LAYERS), LIMIT)


def test_most_harm_per_byte_comes_first() -> None:
    assert [s.name for s in by_worth(LAYERS)] == ["early", "middle", "late", "idle"]
    assert [s.name for s in by_worth(LAYERS[::-1])] == ["early", "middle", "late", "idle"]


def test_what_is_left_falls_from_one_to_nothing() -> None:
    left = shares_left(by_worth(LAYERS))
    assert left == pytest.approx([1, 15 / 17, 10 / 17, 0, 0])
    assert shares_left([]) == [0.0]
    # A layer that happens to help counts as harmless.
    assert shares_left([Sensitivity(1, "x", -0.1, 1), Sensitivity(2, "y", 1.0, 1)]) == [1, 1, 0]


def test_divergence() -> None:
    p = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert divergence(p, p) == 0
    q = np.array([[0.25, 0.75], [1.0, 0.0]])
    by_hand = (0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75)) / 2
    assert divergence(p, q) == pytest.approx(by_hand)
    assert np.isfinite(divergence(q, 1 - q))


@pytest.mark.parametrize(
    ("drops", "asked", "taken"),
    [
        ({"min-max": 1.0}, ["min-max"], "min-max"),
        ({"min-max": 5.0, "adaptive": 1.5}, ["min-max", "adaptive"], "adaptive"),
    ],
)
def test_the_first_method_that_passes_is_the_last_tried(tmp_path, drops, asked, taken) -> None:
    seen: list[tuple[str, int]] = []
    candidate, tried = choose(tuple(METHODS), workshop(tmp_path, drops, seen))
    assert [m for m, _ in seen] == asked == [c.method for c in tried]
    assert candidate.method == taken


def test_mixed_keeps_as_few_layers_as_will_do(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    drops = {"min-max": 9.0, "adaptive": 2.4, "mixed": 2.4}
    candidate, tried = choose(tuple(METHODS), workshop(tmp_path, drops, seen))
    assert candidate.eight_bit == ("early", "middle")  # 2.4 * 10 / 17 = 1.41
    assert candidate.gate.passed
    attempts = [c.attempt(taken=c is candidate) for c in tried]
    assert [a.taken for a in attempts].index(True) == seen.index(("mixed", 2))
    assert attempts[0].bytes == 1000
    assert attempts[0].eight_bit == ()
    assert [a.method for a in attempts][:2] == ["min-max", "adaptive"]
    assert attempts[seen.index(("mixed", 2))].bytes == 2100


def test_mixed_alone_looks_at_none_kept_first(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    choose(["mixed"], workshop(tmp_path, {"mixed": 1.0}, seen))
    assert seen == [("mixed", 0)]


def test_without_any_that_passed_the_least_bad_is_kept(tmp_path: Path) -> None:
    a, b = (Candidate(tmp_path / n, gate(d), n) for n, d in (("a", 3.0), ("b", 2.0)))
    assert best([a, b]) is b


def test_of_several_that_passed_the_smallest_is_taken(tmp_path: Path) -> None:
    made = []
    for name, size, drop in (("a", 30, 0.1), ("b", 20, 1.4), ("c", 10, 1.6), ("d", 20, 0.2)):
        (tmp_path / name).write_bytes(bytes(size))
        made.append(Candidate(tmp_path / name, gate(drop), name))
    assert best(made) is made[1]


def test_a_failure_that_is_no_loss_is_no_small_drop(tmp_path: Path) -> None:
    broken = Candidate(tmp_path / "x", gate(0.0, passed=False), "mixed")
    assert judged_drop(broken, LIMIT) == float("inf")
    assert judged_drop(Candidate(tmp_path / "x", gate(2.0), "mixed"), LIMIT) == 2.0
