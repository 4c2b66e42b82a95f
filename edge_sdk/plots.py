"""Pictures of results. Matplotlib is loaded inside the functions only (the extra `plots`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.cost_grid import GridPoint, pareto_front
from edge_sdk.errors import BackendError, UsageError
from edge_sdk.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "mobilenet_v1": "MobileNet V1",
    "mobilenet_v1_full": "V1, full convolutions",
    "mobilenet_v1_shallow": "V1, shallow",
    "mobilenet_v2": "MobileNet V2",
}
# Told apart by colour-blind readers too, and by their markers in grey.
_LOOKS = {
    "mobilenet_v1": ("#0072b2", "o"),
    "mobilenet_v1_full": ("#555555", "D"),
    "mobilenet_v1_shallow": ("#009e73", "^"),
    "mobilenet_v2": ("#d55e00", "s"),
}
_LINE = 10  # points of height that a label needs


def write_grid_plot(path: Path, points: Sequence[GridPoint]) -> None:
    """Draws the grid into a PNG: Mult-Adds against published top-1 with the Pareto front, where
    any is published, and against parameters for all.

    Raises UsageError for a name that does not end in .png, BackendError without matplotlib."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot {path}: the plot is a PNG; give a name that ends in .png")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise BackendError(
            "matplotlib is not installed: pip install 'edge-sdk[plots]'. Only --plot needs it"
        ) from e

    published = any(p.published_top1 is not None for p in points)
    figure = Figure(figsize=(12.0 if published else 6.8, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, 2 if published else 1, squeeze=False)[0])
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlabel("Mult-Adds (millions, log scale)")
        ax.grid(True, which="major", color="#dddddd", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    if published:
        _accuracy(axes[0], points)
    _parameters(axes[-1], points)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_whole(path, picture.getvalue())


def _millions(count: int) -> float:
    return count / 1e6


def _accuracy(ax: Axes, points: Sequence[GridPoint]) -> None:
    known = [(p, p.published_top1) for p in points if p.published_top1 is not None]
    front = pareto_front(points)
    ax.step(
        [_millions(p.mult_adds) for p in front],
        [p.published_top1 or 0.0 for p in front],
        where="post",
        color="#999999",
        linewidth=1.2,
        label="Pareto front of these",
        zorder=1,
    )
    for arch in dict.fromkeys(p.arch for p, _ in known):
        colour, marker = _LOOKS[arch]
        ax.scatter(
            [_millions(p.mult_adds) for p, _ in known if p.arch == arch],
            [top1 for p, top1 in known if p.arch == arch],
            color=colour,
            marker=marker,
            s=42,
            label=_TITLES[arch],
            zorder=3,
        )
    for p, top1 in known:
        # Above the front there is nothing. Elsewhere a label stands on the right, or lower where
        # the next point would be in its way.
        crowded = any(
            1 < q.mult_adds / p.mult_adds < 2 and abs(other - top1) < 1 for q, other in known
        )
        offset, across, upright = (
            ((-6, 5), "right", "bottom")
            if p in front
            else ((7, -4), "left", "top")
            if crowded
            else ((9, 0), "left", "center_baseline")
        )
        ax.annotate(
            f"α {p.alpha:g}, {p.size} px",
            (_millions(p.mult_adds), top1),
            xytext=offset,
            textcoords="offset points",
            ha=across,
            va=upright,
            fontsize=9,
            color=_LOOKS[p.arch][0],
        )
    _room(ax, [_millions(p.mult_adds) for p, _ in known], 2.8, 2.2)
    values = [top1 for _, top1 in known]
    ax.set_ylim(min(values) - 3, max(values) + 3)
    ax.set_ylabel("ImageNet top-1, published (%)")
    ax.set_title(f"Published accuracy ({len(known)} of the {len(points)} networks)", fontsize=11)
    _legend(ax)


def _parameters(ax: Axes, points: Sequence[GridPoint]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    archs = list(dict.fromkeys(p.arch for p in points))
    _room(ax, [_millions(p.mult_adds) for p in points], 2.0, 1.8)
    counts = [_millions(p.parameters) for p in points]
    ax.set_yscale("log")
    ax.set_ylim(min(counts) / 1.35, max(counts) * 1.35)
    ticks = [m * 10.0**e for e in range(-3, 4) for m in (1, 2, 5)]
    ax.set_yticks([t for t in ticks if ax.get_ylim()[0] <= t <= ax.get_ylim()[1]])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    for number, arch in enumerate(archs):
        colour, marker = _LOOKS[arch]
        mine = [p for p in points if p.arch == arch]
        sizes = sorted({p.size for p in mine})
        labelled: list[float] = []
        for alpha in sorted({p.alpha for p in mine}, reverse=True):
            row = sorted((p for p in mine if p.alpha == alpha), key=lambda p: p.size)
            x = [_millions(p.mult_adds) for p in row]
            y = [_millions(p.parameters) for p in row]
            ax.plot(
                x,
                y,
                color=colour,
                marker=marker,
                markersize=5.5,
                linewidth=1.2,
                markeredgecolor="white",
                markeredgewidth=0.6,
            )
            # The second architecture's labels stand on the left, where the first has none.
            end = 0 if number else -1
            height = float(ax.transData.transform((x[end], y[end]))[1]) * 72 / ax.figure.dpi
            if all(abs(height - other) >= _LINE for other in labelled):
                labelled.append(height)
                ax.annotate(
                    f"α {alpha:g}",
                    (x[end], y[end]),
                    xytext=(-8 if number else 8, 0),
                    textcoords="offset points",
                    ha="right" if number else "left",
                    va="center",
                    fontsize=9,
                    color=colour,
                )
        ax.plot(
            [], [], color=colour, marker=marker, markersize=5.5, linewidth=1.2,
            label=f"{_TITLES[arch]}, {_listed(sizes)} px",
        )  # fmt: skip
    ax.set_ylabel("Parameters (millions, log scale)")
    ax.set_title("Computed; a row per α, larger inputs to the right", fontsize=11)
    _legend(ax)


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes)) if len(sizes) <= 6 else f"{sizes[0]} to {sizes[-1]}"


def _legend(ax: Axes) -> None:
    """Below the axes, where no point can be."""
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=3,
        columnspacing=1.2,
        frameon=False,
        fontsize=9,
    )


def _room(ax: Axes, x: Sequence[float], left: float, right: float) -> None:
    """Limits that leave the labels room on both sides, and ticks at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = min(x) / left, max(x) * right
    ax.set_xlim(low, high)
    ticks = [m * 10.0**e for e in range(-2, 7) for m in (1, 2, 5)]
    ax.set_xticks([t for t in ticks if low <= t <= high])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
