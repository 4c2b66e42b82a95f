"""How often the slide result is right, on simulated counts with known truth.

    python benchmarks/slide_coverage.py [--slides 10000] [--seed 7]

1. The table of docs/screening.md: lowest parasitaemia at 95 % slide specificity and sensitivity,
   computed, and both simulated; the peer's rule (median over images of the median confidence) on
   slides of the same cells, as 200 to an image, every flagged cell taken as confident. (With a
   real model's probabilities: benchmarks/slide_table.py.)
2. Coverage of Wilson's interval of the flagged share.
3. Coverage of the corrected interval and the slide's specificity when each site calibrates itself:
   three blank slides of 2,000 cells are drawn anew for every slide, and slides differ in their
   false-positive rate (rho) more than the calibration is told, as much, or not at all.
4. What stopping at the first moment at which enough flags are there does to specificity.

Simulated: it says whether the arithmetic holds, nothing about real slides.
"""

from __future__ import annotations

import argparse
import functools

import numpy as np

from edge_sdk.artifact import CellRate
from edge_sdk.report import table
from edge_sdk.screening.limits import (
    Spread,
    cell_rate,
    chance_of,
    corrected,
    flags_needed,
    limits,
    spread,
)
from edge_sdk.screening.proportions import wilson

SENSITIVITY = 0.95
RATES = (0.028, 0.01, 0.001, 0.0003)
SIZES = (1000, 5000, 20000)
PER_IMAGE = 200
BLANKS, BLANK_CELLS = 3, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--corrected", type=int, default=500, help="slides of part 3")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    print(f"simulated: {args.slides} slides a row, part 3 {args.corrected}, seed {args.seed}\n")
    print(lowest(rng, args.slides), "\n")
    print(plain(rng, args.slides), "\n")
    print(with_sites(rng, args.corrected), "\n")
    print(stopping_early(rng, args.slides))


def lowest(rng: np.random.Generator, slides: int) -> str:
    rows = []
    for n in SIZES:
        for f in RATES:
            found = limits(n, Spread(f), Spread(SENSITIVITY))
            p = found.detection or 1.0
            clear = rng.binomial(n, f, slides) >= found.flags
            ill = rng.binomial(n, p * SENSITIVITY + (1 - p) * f, slides) >= found.flags
            peer = [peers_rule(rng, n, q, slides) for q in (f, p * SENSITIVITY + (1 - p) * f)]
            rows.append([
                f"{n:,}", f"{f:.2%}", f"{100 * p:.3g} %", str(found.flags),
                f"{1 - clear.mean():.1%}", f"{ill.mean():.1%}",
                f"{1 - peer[0]:.1%}", f"{peer[1]:.1%}",
            ])  # fmt: skip
    heads = ["cells", "FPR", "lowest", "k", "specificity", "sensitivity", "peer spec.", "sens."]
    perfect = peers_rule(rng, 1000, 0.002, slides)
    error = 196 * (0.05 * 0.95 / slides) ** 0.5
    return table(heads, rows) + (
        f"\na simulated 95 % is so to +-{error:.1f} points; lowest and k are computed"
        f"\nthe peer's rule, a perfect classifier, 0.2 %, 5 x 200 cells: flagged {perfect:.1%}"
    )


def peers_rule(rng: np.random.Generator, n: int, share: float, slides: int) -> float:
    """Slides called by the median over images: more than half of them have a flagged cell."""
    images = n // PER_IMAGE
    some = rng.binomial(images, 1 - (1 - share) ** PER_IMAGE, slides)
    return float((2 * some > images).mean())


def plain(rng: np.random.Generator, slides: int) -> str:
    interval = functools.cache(wilson)
    rows = []
    for p in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05):
        cells = []
        for n in (1000, 2000, 5000, 20000):
            ends = np.array([interval(int(x), n) for x in rng.binomial(n, p, slides)])
            cells.append(f"{((ends[:, 0] <= p) & (p <= ends[:, 1])).mean():.1%}")
        rows.append([f"{p:.2%}", *cells])
    return table(["Wilson covers", "1,000", "2,000", "5,000", "20,000 cells"], rows)


def with_sites(rng: np.random.Generator, slides: int) -> str:
    infected = CellRate(950, 1000, 30, 0.0, 1000.0)
    rows = []
    for f, rho, told in (
        (0.01, 0.0, 0.0),
        (0.001, 0.0, 0.0),
        (0.0003, 0.0, 0.0),
        (0.01, 0.002, 0.002),
        (0.01, 0.002, 0.0),
        (0.01, 0.01, 0.01),
    ):
        for p in (0.0, 0.002, 0.01, 0.05):
            n, covered, flagged, missed = 5000, 0, 0, 0
            for _ in range(slides):
                site = draw_site(rng, f, rho, told)
                x = draw(rng, n, p, f, rho)
                e = corrected(x, n, site, infected)
                covered += e.low <= p <= e.high
                missed += p > e.high
                flagged += chance_of(x, n, spread(site)) <= 0.05 and x > 0
            rows.append([
                f"{f:.2%}", f"{rho:g}", f"{told:g}", f"{p:.1%}", f"{covered / slides:.1%}",
                f"{missed / slides:.1%}", f"{flagged / slides:.1%}",
            ])  # fmt: skip
    heads = ["FPR", "rho", "told", "parasitaemia", "covered", "above the interval", "flagged"]
    return (
        table(heads, rows)
        + "\n5,000 cells; sensitivity known as 950 of 1,000, which is its true value"
    )


def draw_site(rng: np.random.Generator, f: float, rho: float, told: float) -> CellRate:
    rows = [(draw(rng, BLANK_CELLS, 0.0, f, rho), BLANK_CELLS) for _ in range(BLANKS)]
    return cell_rate(rows, told)


def draw(rng: np.random.Generator, n: int, p: float, f: float, rho: float) -> int:
    """Flags on a slide of parasitaemia p whose false-positive rate is drawn around f."""
    if rho:
        f = float(rng.beta(f * (1 / rho - 1), (1 - f) * (1 / rho - 1)))
    ill = int(rng.binomial(n, p))
    return int(rng.binomial(ill, SENSITIVITY) + rng.binomial(n - ill, f))


def stopping_early(rng: np.random.Generator, slides: int) -> str:
    f, looks = 0.01, range(500, 5001, PER_IMAGE)
    steps = [looks[0], *np.diff(list(looks))]
    flags = np.cumsum([rng.binomial(step, f, slides) for step in steps], axis=0)
    needed = np.array([flags_needed(n, Spread(f), 0.95) for n in looks])
    ever = (flags >= needed[:, None]).any(axis=0).mean()
    once = (flags[-1] >= needed[-1]).mean()
    return (
        f"specificity at FPR {f:.0%}, judged once at 5,000 cells: {1 - once:.1%}; "
        f"judged every {PER_IMAGE} cells from 500 on, and stopped when flagged: {1 - ever:.1%}"
    )


if __name__ == "__main__":
    main()
