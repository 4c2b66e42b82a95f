"""Binomial, beta and beta-binomial figures by the standard library alone: devices have no SciPy.

share: a proportion in [0, 1]. concentration: a + b of the beta distribution that slides' shares
follow; the binomial, with the same share on every slide, has no end to it (`SAME`). The
beta-binomial's intra-slide correlation rho is 1 / (concentration + 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

SAME = math.inf
# Above it log-gamma loses more digits than the beta-binomial differs from the binomial.
TOO_CLOSE = 1e8
TINY = 1e-300
STEPS = 200  # of a bisection: doubles end sooner


def z_of(confidence: float) -> float:
    """The two-sided normal quantile of a confidence level, 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(x: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of x of n (Wilson, J. Am. Stat. Assoc. 22, 1927):
    (x + z^2/2 +- z sqrt(x (n - x) / n + z^2/4)) / (n + z^2). No cell: (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    z2 = z_of(confidence) ** 2
    middle = (x + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (x * (n - x) / n + z2 / 4)) / (n + z2)
    low = 0.0 if x == 0 else max(0.0, middle - half)
    high = 1.0 if x == n else min(1.0, middle + half)
    return low, high


def upper_limit_of_none(n: int, confidence: float = 0.95) -> float:
    """The largest share that leaves all n cells unflagged with probability 1 - confidence:
    1 - (1 - confidence)^(1/n), exact (Clopper and Pearson, Biometrika 26, 1934; 3/n for 0.95)."""
    return 1.0 if n == 0 else -math.expm1(math.log1p(-confidence) / n)


def tail(k: int, n: int, share: float, concentration: float = SAME) -> float:
    """P(at least k of n are flagged), beta-binomial, or binomial for SAME.

    The side of k without the mode is summed outwards from k, where its terms fall."""
    if k <= 0:
        return 1.0
    if k > n or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    term, up = _terms(n, share, concentration)
    if k > n * share:
        return min(1.0, _sum_from(k, n, term(k), up))
    down: Callable[[int], float] = lambda x: 1 / up(x - 1)  # noqa: E731
    return max(0.0, 1.0 - _sum_down(k - 1, term(k - 1), down))


def _terms(
    n: int, share: float, concentration: float
) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """P(x), and P(x + 1) / P(x)."""
    if concentration >= TOO_CLOSE:
        log_p, log_q, odds = math.log(share), math.log1p(-share), share / (1 - share)
        return (
            lambda x: math.exp(_log_choose(n, x) + x * log_p + (n - x) * log_q),
            lambda x: (n - x) / (x + 1) * odds,
        )
    a, b = share * concentration, (1 - share) * concentration
    return (
        lambda x: math.exp(_log_choose(n, x) + _log_beta(a + x, b + n - x) - _log_beta(a, b)),
        lambda x: (n - x) * (a + x) / ((x + 1) * (b + n - x - 1)),
    )


def _sum_from(k: int, n: int, term: float, up: Callable[[int], float]) -> float:
    total = 0.0
    for x in range(k, n + 1):
        total += term
        if term < total * 1e-17:
            break
        if x < n:
            term *= up(x)
    return total


def _sum_down(k: int, term: float, down: Callable[[int], float]) -> float:
    total = 0.0
    for x in range(k, -1, -1):
        total += term
        if term < total * 1e-17:
            break
        if x:
            term *= down(x)
    return total


def _log_choose(n: int, x: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(x + 1) - math.lgamma(n - x + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b): Lentz's evaluation of the continued
    fraction 26.5.8 of Abramowitz and Stegun."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    return front * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _away(1 + step * d)
            c = _away(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _away(value: float) -> float:
    return value if abs(value) > TINY else TINY


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The share below which a beta(a, b) variable lies with this probability."""
    return rising_root(lambda x: beta_cdf(x, a, b) - probability)


def rising_root(f: Callable[[float], float]) -> float:
    """Where f rises through 0 in [0, 1], by bisection; the end it never reaches otherwise. f at
    the returned point is >= 0 wherever f(1) is."""
    if f(0.0) >= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if f(middle) >= 0 else (middle, high)
    return high
