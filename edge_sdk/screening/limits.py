"""What a count of cells can and cannot show: flags needed, limit of blank, limit of detection, and
the false-positive-corrected parasitaemia.

Shares are of red cells, in [0, 1]. A slide's own flag rates are not the average ones: `Spread`
holds what is known of a slide not seen yet, and every limit here is for such a slide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_sdk.artifact import CellRate
from edge_sdk.errors import DataError
from edge_sdk.screening.proportions import (
    SAME,
    beta_quantile,
    rising_root,
    tail,
    upper_limit_of_none,
    wilson,
)

CONFIDENCE = 0.95
MOST_DISPERSED = 0.99


@dataclass(frozen=True)
class Spread:
    """The share of cells flagged on a slide not seen yet, a beta distribution by its mean and
    a + b. SAME: the share is known, and equal on every slide."""

    mean: float
    concentration: float = SAME

    @property
    def variance(self) -> float:
        return self.mean * (1 - self.mean) / (self.concentration + 1)

    def bounds(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The central interval of this probability."""
        if self.concentration == SAME or not 0 < self.mean < 1:
            return self.mean, self.mean
        a, b = self.mean * self.concentration, (1 - self.mean) * self.concentration
        rest = (1 - confidence) / 2
        return beta_quantile(rest, a, b), beta_quantile(1 - rest, a, b)


@dataclass(frozen=True)
class Limits:
    """For `cells` counted. flags: how many make a slide flagged. blank: limit of blank, the
    corrected parasitaemia of flags - 1, which a clear slide exceeds with probability 1 -
    specificity at most. detection: limit of detection, the lowest parasitaemia that is flagged
    with the wanted probability; None: not even a slide of infected cells alone would be.
    (Both limits as in CLSI EP17: Armbruster and Pry, Clin. Biochem. Rev. 29, 2008.)"""

    cells: int
    flags: int
    blank: float
    detection: float | None


@dataclass(frozen=True)
class Estimate:
    """Parasitaemia: share of red cells, with its 95 % interval."""

    share: float
    low: float
    high: float


def cell_rate(slides: Sequence[tuple[int, int]], least_dispersion: float = 0.0) -> CellRate:
    """The rate of (flagged, counted) slides, or patients, whose cells' truth is known.

    dispersion: the intra-slide correlation by the moment estimator of Williams (Appl. Stat. 31,
    1982), (X^2 - (slides - 1)) / sum (n_i - 1)(1 - n_i / n) with Pearson's X^2, and at least
    `least_dispersion`: a few slides that happen to agree are no proof that slides do."""
    used = [(x, n) for x, n in slides if n > 0]
    if not used:
        raise DataError("no cell of known truth was counted: a rate needs at least one")
    total, flagged = sum(n for _, n in used), sum(x for x, _ in used)
    p = flagged / total
    rho = 0.0
    below = sum((n - 1) * (1 - n / total) for _, n in used)
    if 0 < p < 1 and below > 0:
        chi2 = sum((x - n * p) ** 2 / (n * p * (1 - p)) for x, n in used)
        rho = (chi2 - (len(used) - 1)) / below
    rho = min(max(rho, least_dispersion, 0.0), MOST_DISPERSED)
    design = 1 + rho * (sum(n * n for _, n in used) / total - 1)
    return CellRate(flagged, total, len(used), rho, total / design)


def spread(rate: CellRate) -> Spread:
    """What a rate says of the next slide: how slides differ, and how little is known of their mean.

    The mean has the posterior beta of Jeffreys' prior, x + 1/2 of n + 1, with as many cells as
    independent ones would say as much (`effective`); the two variances add up."""
    mean = (rate.flagged + 0.5) / (rate.counted + 1)
    known = (rate.counted + 1) * rate.effective / rate.counted
    rho = 1 / (known + 1) + rate.dispersion * known / (known + 1)
    return Spread(mean, 1 / rho - 1)


def flagged_share(parasitaemia: float, clear: Spread, infected: Spread) -> Spread:
    """Cells flagged on a slide with this parasitaemia p: mean p s + (1 - p) f, and the variances
    of s and f carried along; their sum is taken as a beta of the same mean and variance."""
    p = parasitaemia
    mean = p * infected.mean + (1 - p) * clear.mean
    variance = p * p * infected.variance + (1 - p) ** 2 * clear.variance
    if variance <= 0:
        return Spread(mean)
    return Spread(mean, mean * (1 - mean) / variance - 1)


def chance_of(flags: int, cells: int, share: Spread) -> float:
    """P(at least `flags` of `cells` are flagged)."""
    return tail(flags, cells, share.mean, share.concentration)


def flags_needed(cells: int, clear: Spread, specificity: float) -> int:
    """The fewest flags, at least 1, that a clear slide reaches with probability 1 - specificity
    at most; cells + 1 where it reaches all of them more often."""
    low, high = 0, cells + 1  # low flags are too few, high are enough
    while high - low > 1:
        middle = (low + high) // 2
        if chance_of(middle, cells, clear) <= 1 - specificity:
            high = middle
        else:
            low = middle
    return high


def detection_limit(
    cells: int, flags: int, clear: Spread, infected: Spread, sensitivity: float
) -> float | None:
    """The lowest parasitaemia at which at least `flags` are found with this probability."""

    def found(p: float) -> float:
        return chance_of(flags, cells, flagged_share(p, clear, infected)) - sensitivity

    return rising_root(found) if found(1.0) >= 0 else None


def limits(
    cells: int,
    clear: Spread,
    infected: Spread,
    specificity: float = CONFIDENCE,
    sensitivity: float = CONFIDENCE,
) -> Limits:
    """The limits of a count so far: call it again as cells are added. Flags are whole, so the
    limit of detection falls in saw teeth."""
    flags = flags_needed(cells, clear, specificity)
    share = (flags - 1) / cells if cells else 1.0
    blank = _gladen(share, clear.mean, infected.mean)
    return Limits(cells, flags, blank, detection_limit(cells, flags, clear, infected, sensitivity))


def _gladen(flagged: float, clear: float, infected: float) -> float:
    """(q - f) / (s - f), the apparent share less the false positives, over sensitivity less false
    positives (Rogan and Gladen, Am. J. Epidemiol. 107, 1978), cut to [0, 1]."""
    if infected <= clear:
        return 1.0
    return min(1.0, max(0.0, (flagged - clear) / (infected - clear)))


def corrected(flagged: int, cells: int, clear: CellRate, infected: CellRate) -> Estimate:
    """Rogan and Gladen's estimate for a slide, and an interval that carries the slide's count, the
    site's false-positive rate and the sensitivity.

    Interval: the p at which q - (1 - p) f - p s, linear in three independent shares, does not
    differ from 0 by the MOVER limits (Zou, Huang and Zhang, Comput. Stat. Data Anal. 53, 2009;
    for p = 0 that is Newcombe's interval of a difference, Stat. Med. 17, 1998): Wilson limits of
    q, and the central 95 % of f and s on a slide not seen yet (`spread`), as a site's slides
    differ. The upper end is never below what the same cells would leave open without any flag.

    Raises DataError where clear cells are flagged as often as infected ones."""
    q, f, s = flagged / cells, clear.flagged / clear.counted, infected.flagged / infected.counted
    if s <= f:
        raise DataError(
            f"clear cells are flagged as often ({f:.3g}) as infected ones ({s:.3g}): nothing can "
            "be corrected; calibrate the site again, or choose the threshold again"
        )
    q_low, q_high = wilson(flagged, cells, CONFIDENCE)
    f_low, f_high = _around(f, spread(clear))
    s_low, s_high = _around(s, spread(infected))

    def solved(sign: int, q_reach: float, f_reach: float, s_reach: float) -> float:
        def beyond(p: float) -> float:
            reach = math.hypot(q_reach, (1 - p) * f_reach, p * s_reach)
            return p * s + (1 - p) * f - q + sign * reach

        return rising_root(beyond)

    share = _gladen(q, f, s)
    low = solved(1, q - q_low, f_high - f, s_high - s)
    high = solved(-1, q_high - q, f - f_low, s - s_low)
    least = upper_limit_of_none(cells, 1 - (1 - CONFIDENCE) / 2) / s
    return Estimate(share, min(low, share), min(1.0, max(high, share, least)))


def _around(point: float, s: Spread) -> tuple[float, float]:
    low, high = s.bounds()
    return min(low, point), max(high, point)
