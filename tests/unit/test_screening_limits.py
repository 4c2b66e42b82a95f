from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_sdk.artifact import CellRate
from edge_sdk.errors import DataError
from edge_sdk.screening.limits import (
    Spread,
    cell_rate,
    chance_of,
    corrected,
    detection_limit,
    flagged_share,
    flags_needed,
    limits,
    spread,
)
from edge_sdk.screening.proportions import (
    SAME,
    beta_cdf,
    beta_quantile,
    rising_root,
    tail,
    upper_limit_of_none,
    wilson,
    z_of,
)

INFECTED = Spread(0.95)
SENSITIVITY = CellRate(950, 1000, 30, 0.0, 1000.0)
BLANKS = CellRate(60, 6000, 3, 0.0, 6000.0)

# The project's reference table, a binomial model computed beforehand by other means: red cells,
# FPR in percent, lowest parasitaemia in percent as printed there, flags where it gives them.
REFERENCE = [
    (1000, 2.8, "2.21", 38), (1000, 1.0, "1.38", None), (1000, 0.1, "0.71", 4),
    (1000, 0.03, "0.47", None), (5000, 2.8, "0.89", None), (5000, 1.0, "0.56", None),
    (5000, 0.1, "0.23", None), (5000, 0.03, "0.16", None), (20000, 1.0, "0.26", None),
    (20000, 0.1, "0.097", None), (20000, 0.03, "0.058", None),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "fpr", "lowest", "flags"), REFERENCE)
def test_the_reference_table(cells: int, fpr: float, lowest: str, flags: int | None) -> None:
    found = limits(cells, Spread(fpr / 100), INFECTED)
    assert found.detection is not None
    digits = len(lowest.split(".")[1])
    assert f"{100 * found.detection:.{digits}f}" == lowest
    assert flags in (None, found.flags)


def test_the_one_cell_of_the_reference_table_that_is_rounded_otherwise() -> None:
    """It says 0.44 %; SciPy's binomial and ours say 0.4348 %."""
    found = limits(20000, Spread(0.028), INFECTED)
    p = 0.004347935
    assert found.detection == pytest.approx(p, abs=1e-8)
    assert found.flags == 600 == stats.binom(20000, 0.028).ppf(0.95) + 1
    flagged = stats.binom(20000, p * 0.95 + (1 - p) * 0.028)
    assert flagged.sf(599) == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize(("cells", "per_ul"), [(1000, 15000), (2000, 7500), (10000, 1500)])
def test_no_flag_at_all_is_an_upper_limit(cells: int, per_ul: float) -> None:
    assert upper_limit_of_none(cells) * 5e6 == pytest.approx(per_ul, rel=0.004)
    assert (1 - upper_limit_of_none(cells)) ** cells == pytest.approx(0.05)


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 30_000),
    share=st.floats(1e-6, 1 - 1e-6),
    concentration=st.sampled_from([SAME, 0.5, 20.0, 3e3, 2e5]),
    where=st.floats(-6, 6),
)
def test_tails_are_scipys(n: int, share: float, concentration: float, where: float) -> None:
    rho = 0 if concentration == SAME else 1 / (concentration + 1)
    sd = math.sqrt(n * share * (1 - share) * (1 + (n - 1) * rho))
    k = int(np.clip(round(n * share + where * sd), 0, n + 1))
    if concentration == SAME:
        expected = stats.binom(n, share).sf(k - 1)
    else:
        expected = stats.betabinom(n, share * concentration, (1 - share) * concentration).sf(k - 1)
    assert tail(k, n, share, concentration) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("a", [0.5, 1, 7.3, 400, 5e4])
@pytest.mark.parametrize("b", [0.5, 4, 6e3, 1e5])
def test_beta_is_scipys(a: float, b: float) -> None:
    for q in (0.001, 0.025, 0.5, 0.975):
        x = float(stats.beta(a, b).ppf(q))
        assert beta_quantile(q, a, b) == pytest.approx(x, rel=1e-9)
        assert beta_cdf(x, a, b) == pytest.approx(q, rel=1e-8)


def test_wilson_is_scipys() -> None:
    assert z_of(0.95) == pytest.approx(1.959964, abs=1e-6)
    for x, n in ((0, 50), (1, 1000), (14, 1400), (50, 50)):
        expected = stats.binomtest(x, n).proportion_ci(0.95, "wilson")
        assert wilson(x, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 0) == (0, 1)


def test_the_root_is_where_the_limit_is_reached() -> None:
    assert rising_root(lambda p: p - 0.3) == pytest.approx(0.3)
    assert rising_root(lambda p: p + 1) == 0
    assert rising_root(lambda p: p - 2) == 1


def test_k_flags_are_enough_and_one_fewer_is_not() -> None:
    for concentration in (SAME, 5000.0, 200.0):
        clear = Spread(0.01, concentration)
        for n in (1, 60, 500, 2000, 20000):
            k = flags_needed(n, clear, 0.95)
            assert chance_of(k, n, clear) <= 0.05 < chance_of(k - 1, n, clear)
    assert flags_needed(5, Spread(1.0), 0.95) == 6


def test_slides_that_differ_need_more_flags_and_more_cells_stop_helping() -> None:
    same, differ = Spread(0.01), Spread(0.01, 500.0)
    assert flags_needed(2000, differ, 0.95) > flags_needed(2000, same, 0.95)
    few, many = (limits(n, differ, INFECTED).detection for n in (20_000, 200_000))
    assert few is not None
    assert many is not None
    assert many > 0.9 * few
    few, many = (limits(n, same, INFECTED).detection for n in (20_000, 200_000))
    assert many < 0.4 * few


def test_no_limit_where_infected_cells_are_missed_too_often() -> None:
    assert detection_limit(2000, 40, Spread(0.01), Spread(0.015), 0.95) is None
    assert limits(0, Spread(0.01), INFECTED).detection is None


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(500, 10_000),
    f=st.floats(1e-4, 0.05),
    concentration=st.sampled_from([SAME, 1e4, 1e3]),
)
def test_twice_the_cells_lower_the_limit(n: int, f: float, concentration: float) -> None:
    clear = Spread(f, concentration)
    one, two = limits(n, clear, INFECTED), limits(2 * n, clear, INFECTED)
    assert one.detection is not None
    assert two.detection is not None
    assert 0 <= two.detection <= one.detection <= 1
    assert 0 <= one.blank <= one.detection


@settings(max_examples=40, deadline=None)
@given(st.integers(200, 5000), st.floats(1e-4, 0.05), st.floats(1e-4, 0.05))
@example(4640, 0.027456076179063538, 0.027162529157034394)
def test_more_false_flags_need_more_flags_and_a_larger_share(n: int, a: float, b: float) -> None:
    low, high = sorted((a, b))
    one, two = limits(n, Spread(low), INFECTED), limits(n, Spread(high), INFECTED)
    assert one.flags <= two.flags

    def share(f: float, detection: float | None) -> float:
        """Flagged at the limit of detection, true and false."""
        assert detection is not None
        return f + (INFECTED.mean - f) * detection

    # Not the limit itself: flags are whole, so it falls in saw teeth.
    if one.flags < two.flags:
        assert share(low, one.detection) < share(high, two.detection)
    else:
        assert share(low, one.detection) == pytest.approx(share(high, two.detection), rel=1e-6)


def test_dispersion_is_that_of_slides() -> None:
    assert cell_rate([(10, 1000), (10, 1000), (10, 1000)]).dispersion == 0
    rng = np.random.default_rng(3)
    rho = 0.02
    shares = rng.beta(0.05 * (1 / rho - 1), 0.95 * (1 / rho - 1), 3000)
    rate = cell_rate([(int(rng.binomial(1000, s)), 1000) for s in shares])
    assert rate.dispersion == pytest.approx(rho, rel=0.1)
    assert rate.effective == pytest.approx(rate.counted / (1 + rate.dispersion * 999))
    assert cell_rate([(0, 500), (1, 500)], 0.01).dispersion == 0.01
    assert cell_rate([(0, 500), (0, 0), (0, 700)]).slides == 2
    with pytest.raises(DataError, match="at least one"):
        cell_rate([(0, 0)])


def test_a_spread_is_what_is_known_of_the_next_slide() -> None:
    s = spread(BLANKS)
    assert s.mean == pytest.approx(60.5 / 6001)
    jeffreys = stats.beta(60.5, 5940.5)
    assert s.bounds() == pytest.approx((jeffreys.ppf(0.025), jeffreys.ppf(0.975)))
    wide = spread(CellRate(60, 6000, 3, 0.01, 6000 / (1 + 0.01 * 1999)))
    assert wide.variance > 10 * s.variance
    many = spread(CellRate(10**6, 10**8, 10**5, 0.01, 10**8 / (1 + 0.01 * 999)))
    assert many.variance == pytest.approx(0.01 * 0.01 * 0.99, rel=1e-3)  # all between slides
    assert Spread(0.3).bounds() == (0.3, 0.3)
    mixed = flagged_share(0.25, s, wide)
    assert mixed.variance == pytest.approx(0.75**2 * s.variance + 0.25**2 * wide.variance)


def test_known_rates_correct_as_rogan_and_gladen_do() -> None:
    """30 of 1,000 at FPR 1 % and sensitivity 95 %: (0.03 - 0.01) / 0.94."""
    clear, infected = CellRate(10**7, 10**9, 3, 0.0, 1e9), CellRate(95, 100, 3, 0.0, 100.0)
    assert corrected(30, 1000, clear, infected).share == pytest.approx(0.02 / 0.94)
    sure = corrected(30, 1000, clear, CellRate(950_000_000, 10**9, 3, 0.0, 1e9))
    low, high = wilson(30, 1000)
    assert (sure.low, sure.high) == pytest.approx(
        ((low - 0.01) / 0.94, (high - 0.01) / 0.94), rel=1e-3
    )


def test_without_parasites_the_interval_is_newcombes_of_a_difference() -> None:
    """Its lower end for q - f is 0 where the root starts to leave 0."""
    for x in range(50, 120):
        e = corrected(x, 5000, BLANKS, SENSITIVITY)
        q, f = x / 5000, 0.01
        lower = q - f - math.hypot(q - wilson(x, 5000)[0], spread(BLANKS).bounds()[1] - f)
        assert (e.low > 0) == (lower > 0)


def test_uncertain_rates_widen_the_interval() -> None:
    few = CellRate(10, 1000, 3, 0.0, 1000.0)
    unsure = CellRate(19, 20, 3, 0.0, 20.0)
    widths = [
        (e := corrected(300, 5000, clear, infected)).high - e.low
        for clear, infected in ((BLANKS, SENSITIVITY), (few, SENSITIVITY), (few, unsure))
    ]
    assert widths[0] < widths[1] < widths[2]


rates = st.tuples(st.integers(0, 300), st.integers(1500, 9000), st.sampled_from([0.0, 0.002, 0.05]))


@settings(max_examples=150, deadline=None)
@given(x=st.integers(0, 3000), n=st.integers(1, 3000), rate=rates, hits=st.integers(300, 1000))
@example(x=0, n=500, rate=(300, 1500, 0.0), hits=1000)
def test_intervals_contain_their_estimate(
    x: int, n: int, rate: tuple[int, int, float], hits: int
) -> None:
    x = min(x, n)
    f, m, rho = rate
    clear = CellRate(f, m, 3, rho, m / (1 + rho * m / 3))
    e = corrected(x, n, clear, CellRate(hits, 1000, 20, 0.01, 500.0))
    assert all(map(math.isfinite, (e.share, e.low, e.high)))
    assert 0 <= e.low <= e.share <= e.high <= 1
    assert e.low < e.high or e.low == 1  # more flags than sensitivity explains
    low, high = wilson(x, n)
    assert 0 <= low <= x / n <= high <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(500, 5000), st.integers(0, 400), st.integers(1, 50))
def test_more_flags_raise_the_estimate(n: int, x: int, more: int) -> None:
    one, two = (corrected(k, n, BLANKS, SENSITIVITY) for k in (x, x + more))
    assert one.share <= two.share
    assert one.low <= two.low
    assert one.high <= two.high
    if one.share > 0:
        assert one.share < two.share


def test_a_rate_that_cannot_be_corrected_says_what_to_do() -> None:
    with pytest.raises(DataError, match="calibrate the site again"):
        corrected(5, 1000, CellRate(960, 1000, 3, 0.0, 1000.0), SENSITIVITY)


@pytest.mark.parametrize(("cells", "fpr"), [(1000, 0.028), (5000, 0.01), (20000, 0.0003)])
def test_simulated_slides_keep_specificity_and_sensitivity(cells: int, fpr: float) -> None:
    rng = np.random.default_rng(11)
    found = limits(cells, Spread(fpr), INFECTED)
    assert found.detection is not None
    slides = 20_000
    error = 3 * math.sqrt(0.05 * 0.95 / slides)
    clear = rng.binomial(cells, fpr, slides)
    ill = rng.binomial(cells, found.detection, slides)
    flags = rng.binomial(ill, 0.95) + rng.binomial(cells - ill, fpr)
    assert (clear < found.flags).mean() >= 0.95 - error
    assert (flags >= found.flags).mean() == pytest.approx(0.95, abs=error)
    assert (clear < found.flags - 1).mean() < 0.95 + error  # no flag more than needed


def test_simulated_slides_that_differ_keep_specificity_and_sensitivity() -> None:
    """Rates drawn anew for each slide, as the spread says. The beta that stands for the sum of
    two reaches further down than the sum: the limit is on the safe side."""
    rng = np.random.default_rng(12)
    rate = CellRate(60, 6000, 3, 0.004, 6000 / (1 + 0.004 * 1999))
    clear, ill = spread(rate), spread(CellRate(900, 1000, 20, 0.05, 300.0))
    found = limits(2000, clear, ill)
    assert found.detection is not None
    slides, p = 20_000, found.detection

    def drawn(s: Spread) -> np.ndarray:
        return rng.beta(s.mean * s.concentration, (1 - s.mean) * s.concentration, slides)

    f = drawn(clear)
    assert (rng.binomial(2000, f) < found.flags).mean() >= 0.95 - 0.006
    infected = rng.binomial(2000, p, slides)
    flags = rng.binomial(infected, drawn(ill)) + rng.binomial(2000 - infected, f)
    assert 0.945 <= (flags >= found.flags).mean() <= 0.985


def test_the_corrected_interval_covers_where_sites_calibrate_themselves() -> None:
    rng = np.random.default_rng(13)
    f, p, n, slides = 0.01, 0.01, 5000, 300
    covered = 0
    for _ in range(slides):
        site = cell_rate([(int(rng.binomial(2000, f)), 2000) for _ in range(3)])
        ill = int(rng.binomial(n, p))
        e = corrected(int(rng.binomial(ill, 0.95) + rng.binomial(n - ill, f)), n, site, SENSITIVITY)
        covered += e.low <= p <= e.high
    assert covered / slides >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / slides)
