"""How good a classifier is: pure functions over arrays, each with its formula and its source.

truth, called: class numbers, (n,). p: probabilities, (n, classes), rows that sum to 1.
score: the positive class's probability, (n,). A figure that is not defined is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edge_sdk.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BINS = 15
DRAWS = 2000
CHUNK = 100  # draws held in memory at a time
TEMPERATURES = (0.05, 20.0)
MIN_GROUP = 5
EXACT_BELOW = 25  # discordant pairs


def check_two_classes(truth: Ints, labels: Sequence[str]) -> None:
    """Raises DataError when one of two classes has no image: half the figures have no meaning."""
    for i, label in enumerate(labels):
        if not (truth == i).any():
            raise DataError(
                f"no image is labelled '{label}': sensitivity, specificity and the areas need "
                f"images of both {' and '.join(labels)}"
            )


def confusion(truth: Ints, called: Ints, classes: int) -> Ints:
    """Counts, rows truth, columns call."""
    flat = np.bincount(truth * classes + called, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def figures(right: Floats, true: Floats, called: Floats, positive: int | None) -> dict[str, Floats]:
    """Accuracy and what belongs to it, from counts per class; leading axes are kept.

    right: of each class, how often it was called rightly; true: how often it is the truth;
    called: how often it was called. (The diagonal, row and column sums of a confusion matrix.)

    With a positive class: sensitivity TP/(TP+FN), specificity TN/(TN+FP), precision TP/(TP+FP),
    F1 2TP/(2TP+FP+FN) (Sokolova and Lapalme, Inf. Process. Manag. 45, 2009). Without: the means
    of recall, precision and F1 over the classes that are somebody's truth; a class that is never
    called has precision 0.
    MCC: Gorodkin's R_K (Comput. Biol. Chem. 28, 2004), for two classes Matthews' coefficient,
    (c s - sum t_k p_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)); 0 where all calls are equal."""
    total, hits = true.sum(-1), right.sum(-1)
    found = {"accuracy": ratio(hits, total)}
    recall = ratio(right, true)
    precision = ratio(right, called)
    f1 = ratio(2 * right, true + called)
    if positive is not None:
        found |= {
            "sensitivity": recall[..., positive],
            "specificity": recall[..., 1 - positive],
            "precision": precision[..., positive],
            "f1": f1[..., positive],
        }
    else:
        there = true > 0
        for name, each in (("recall", recall), ("precision", precision), ("f1", f1)):
            kept = np.where(there, np.nan_to_num(each), 0.0)
            found[f"macro_{name}"] = ratio(kept.sum(-1), 1.0 * there.sum(-1))
    above = hits * total - (true * called).sum(-1)
    below = np.sqrt((total**2 - (called**2).sum(-1)) * (total**2 - (true**2).sum(-1)))
    found["mcc"] = np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
    return found


def all_figures(
    truth: Ints, called: Ints, classes: int, positive: int | None, score: Floats | None
) -> dict[str, float]:
    """`figures` of all images together, and with `score` the `areas` of the positive class."""
    table = confusion(truth, called, classes).astype(np.float64)
    found = figures(table.diagonal(), table.sum(1), table.sum(0), positive)
    if score is not None:
        roc, pr = areas(score, truth == positive, np.ones((1, len(score))))
        found |= {"roc_auc": roc[0], "pr_auc": pr[0]}
    return {name: float(value) for name, value in found.items()}


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below; NaN where nothing is below."""
    out: Floats = np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)
    return out


def areas(score: Floats, positive: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """ROC area and average precision for each row of `weights` (rows, n).

    The ROC area is the share of (positive, other) pairs that are ranked rightly, ties counting
    half (Hanley and McNeil, Radiology 143, 1982). Average precision is sum (R_i - R_i-1) P_i over
    the distinct scores from the highest on, without interpolation (Davis and Goadrich, ICML 2006,
    show why not to interpolate)."""
    hits, misses = _counts_from_the_top(score, positive, weights)
    tp, fp = np.cumsum(hits, axis=1), np.cumsum(misses, axis=1)
    ranked = (misses * (tp - hits / 2)).sum(1)
    roc = ratio(ranked, tp[:, -1] * fp[:, -1])
    precision = tp / np.maximum(tp + fp, 1e-300)
    return roc, ratio((hits * precision).sum(1), tp[:, -1])


def curves(score: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """The ROC curve as rows (false positive rate, sensitivity) from (0, 0) to (1, 1), and the
    precision-recall curve as rows (recall, precision); a point per distinct score."""
    hits, misses = _counts_from_the_top(score, positive, np.ones((1, len(score))))
    tp, fp = np.cumsum(hits[0]), np.cumsum(misses[0])
    roc = np.stack([fp / fp[-1], tp / tp[-1]], axis=1)
    pr = np.stack([tp / tp[-1], tp / (tp + fp)], axis=1)
    return np.vstack([[0.0, 0.0], roc]), pr


def _counts_from_the_top(score: Floats, positive: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """Weights of the positives and of the others at each distinct score, the highest first."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    w, y = weights[:, order], positive[order]
    return np.add.reduceat(w * y, starts, axis=1), np.add.reduceat(w * ~y, starts, axis=1)


def reliability(p: Floats, truth: Ints, bins: int = BINS) -> Floats:
    """Rows (images, mean top-1 probability, accuracy) of equal-width bins of the top-1
    probability, (i/bins, (i+1)/bins]; 0 images leave zeros."""
    top = p.max(1)
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    right = (p.argmax(1) == truth).astype(np.float64)
    sums = [np.asarray(np.bincount(place, w, minlength=bins), np.float64) for w in (top, right)]
    return np.stack([count, *(np.nan_to_num(ratio(s, count)) for s in sums)], axis=1)


def calibration_error(p: Floats, truth: Ints, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of n_b/n |accuracy_b - probability_b| (Naeini et
    al., AAAI 2015; Guo et al., ICML 2017, with 15 bins)."""
    count, confident, right = reliability(p, truth, bins).T
    return float((count * np.abs(right - confident)).sum() / count.sum())


def scaled(p: Floats, temperature: float, floor: float) -> Floats:
    """softmax(log p / T) (Guo et al., 2017); probabilities below `floor` count as `floor`."""
    z = np.log(np.maximum(p, floor)) / temperature
    e = np.exp(z - z.max(1, keepdims=True))
    out: Floats = e / e.sum(1, keepdims=True)
    return out


def fit_temperature(p: Floats, truth: Ints, floor: float) -> float:
    """The temperature in TEMPERATURES of the lowest mean -log p(truth), by golden-section search
    over its logarithm (Kiefer, Proc. AMS 4, 1953); the likelihood has one minimum in 1/T."""

    def loss(log_t: float) -> float:
        z = np.log(np.maximum(p, floor)) / math.exp(log_t)
        z -= z.max(1, keepdims=True)
        return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), truth]).mean())

    golden = (math.sqrt(5) - 1) / 2
    low, high = map(math.log, TEMPERATURES)
    a, b = high - golden * (high - low), low + golden * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    while high - low > 1e-5:
        if loss_a <= loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - golden * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + golden * (high - low)
            loss_b = loss(b)
    return math.exp((low + high) / 2)


def fit_threshold(score: Floats, positive: Bools) -> float:
    """The threshold (call when score >= it) of the largest sensitivity + specificity - 1
    (Youden, Cancer 3, 1950): halfway to the next lower score, so that a rounding does not flip
    it; of equally good ones the highest."""
    hits, misses = _counts_from_the_top(score, positive, np.ones((1, len(score))))
    tp, fp = np.cumsum(hits[0]), np.cumsum(misses[0])
    best = int((tp / tp[-1] - fp / fp[-1]).argmax())
    distinct = np.unique(score)[::-1]
    below = distinct[best + 1] if best + 1 < len(distinct) else distinct[best]
    return float((distinct[best] + below) / 2)


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value that two classifiers err equally often, from the images that only one of them
    got right (McNemar, Psychometrika 12, 1947): exact binomial, two-sided, below EXACT_BELOW such
    images, else chi-square with Edwards' continuity correction. It takes images as independent."""
    n, low = only_first + only_second, min(only_first, only_second)
    if n < EXACT_BELOW:
        return min(1.0, 2 * sum(math.comb(n, i) for i in range(low + 1)) / float(2**n))
    chi_square = float(max(abs(only_first - only_second) - 1, 0) ** 2) / n
    return math.erfc(math.sqrt(chi_square / 2))


def worst_groups(right: Bools, groups: Ints) -> tuple[float, int, float, int] | None:
    """(mean accuracy of the worst tenth of the groups, how many these are, the worst group's
    accuracy, its number), of groups with at least MIN_GROUP images; None where there is none."""
    count = np.bincount(groups)
    known = np.flatnonzero(count >= MIN_GROUP)
    if not len(known):
        return None
    accuracy = np.bincount(groups, right.astype(np.float64))[known] / count[known]
    order = np.argsort(accuracy, kind="stable")
    worst = order[: math.ceil(len(known) / 10)]
    return (
        float(accuracy[worst].mean()),
        len(worst),
        float(accuracy[order[0]]),
        int(known[order[0]]),
    )


def intervals(
    truth: Ints,
    called: Ints,
    classes: int,
    groups: Ints,
    *,
    positive: int | None = None,
    score: Floats | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of `figures`, and with `score` of `areas`, from draws of whole
    groups with replacement (the cluster bootstrap: Field and Welsh, J. R. Stat. Soc. B 69, 2007).

    groups: each image's group number, 0 to the last without a gap; a group per image draws
    images. Draws in which a figure is undefined are left out of that figure."""
    count = int(groups.max()) + 1
    cells, right = count * classes, truth == called
    tables = np.stack(
        [
            np.bincount(where * classes + what, minlength=cells).reshape(count, classes)
            for what, where in ((truth[right], groups[right]), (truth, groups), (called, groups))
        ],
        axis=1,
    ).astype(np.float64)
    found: dict[str, list[Floats]] = {}
    for weights in _group_draws(count, draws, seed):
        sums = (weights @ tables.reshape(count, -1)).reshape(-1, 3, classes)
        new = figures(sums[:, 0], sums[:, 1], sums[:, 2], positive)
        if score is not None and positive is not None:
            new["roc_auc"], new["pr_auc"] = areas(score, truth == positive, weights[:, groups])
        for name, values in new.items():
            found.setdefault(name, []).append(values)
    return {name: _percentiles(np.concatenate(parts)) for name, parts in found.items()}


def _group_draws(count: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each group was drawn, (some draws, groups) at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        rows = min(CHUNK, draws - start)
        drawn = [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(rows)]
        yield np.asarray(drawn, np.float64)


def _percentiles(values: Floats) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)
