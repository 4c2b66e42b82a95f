"""Pictures of results. Matplotlib is loaded inside the functions only (the extra `plots`)."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.artifact import Artifact
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


def check_plot(path: Path) -> None:
    """Whether a plot can be written: worth asking before hours of work.

    Raises UsageError for a name that does not end in .png, BackendError without matplotlib."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot {path}: the plot is a PNG; give a name that ends in .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise BackendError(
            "matplotlib is not installed: pip install 'edge-sdk[plots]'. Only --plot needs it"
        )


def write_grid_plot(path: Path, points: Sequence[GridPoint]) -> None:
    """Draws the grid into a PNG: Mult-Adds against published top-1 with the Pareto front, where
    any is published, and against parameters for all.

    Raises as `check_plot` does."""
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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


def _legend(ax: Axes, columns: int = 3) -> None:
    """Below the axes, where no point can be."""
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=columns,
        columnspacing=1.2,
        frameon=False,
        fontsize=9,
    )


def _room(
    ax: Axes, x: Sequence[float], left: float, right: float, steps: Sequence[int] = (1, 2, 5)
) -> None:
    """Limits that leave the labels room on both sides, and ticks at these steps of each decade."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = min(x) / left, max(x) * right
    ax.set_xlim(low, high)
    ticks = [m * 10.0**e for e in range(-2, 7) for m in steps]
    ax.set_xticks([t for t in ticks if low <= t <= high])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


# By how weights were rounded; float schemes have no method.
_METHOD_LOOKS = {
    "float": ("#555555", "D"),
    "min-max": ("#0072b2", "o"),
    "adaptive": ("#009e73", "^"),
    "mixed": ("#d55e00", "s"),
}
_OTHER_LOOK = ("#cc79a7", "v")
_LABEL_WIDTH = 110  # points
_LINEAR_POINTS = 12.0  # of loss; beyond, the axis is compressed


@dataclass(frozen=True)
class _Try:
    method: str
    megabytes: float
    drop: float
    taken: bool
    label: str


def write_conversion_plot(path: Path, name: str, artifacts: Sequence[Artifact]) -> None:
    """Draws into a PNG what every scheme and attempt of a conversion lost against its bytes. What
    was taken is filled; a line marks each limit.

    Raises as `check_plot` does."""
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    tries = [t for a in artifacts for t in _tries(a)]
    for method in dict.fromkeys(t.method for t in tries):
        colour, marker = _METHOD_LOOKS.get(method, _OTHER_LOOK)
        mine = [t for t in tries if t.method == method]
        ax.scatter(
            [t.megabytes for t in mine],
            [t.drop for t in mine],
            facecolor=[colour if t.taken else "white" for t in mine],
            edgecolor=colour,
            marker=marker,
            s=48,
            zorder=3,
        )
        ax.scatter([], [], color=colour, marker=marker, s=48, label=method)
    ax.set_xscale("log")
    _room(ax, [t.megabytes for t in tries], 1.2, 1.6, (1, 2, 3, 4, 5, 7))
    ax.set_xlabel("Model file (MB, log scale)")
    labelled = any(a.manifest.gate.measure == "accuracy" for a in artifacts)
    ax.set_ylabel("Accuracy lost (points)" if labelled else "Estimated accuracy lost (points)")
    low, high = min(0.0, *(t.drop for t in tries)), max(2.0, *(t.drop for t in tries))
    if high > _LINEAR_POINTS:
        ax.set_yscale("symlog", linthresh=2.0)
        ax.set_yticks([t for t in (-5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(low - 0.5, high * 1.3 if high > _LINEAR_POINTS else high + 0.5)
    ax.grid(True, which="major", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    limits: dict[float, list[str]] = {}
    for gate, scheme in ((a.manifest.gate, a.manifest.scheme) for a in artifacts):
        limits.setdefault(gate.max_drop, []).append(scheme)
    for limit, schemes in limits.items():
        ax.axhline(limit, color="#999999", linewidth=1.0, linestyle="--", zorder=1)
        ax.annotate(
            f"limit of {', '.join(dict.fromkeys(schemes))}",
            (1.0, limit),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="#666666",
        )
    count = artifacts[0].manifest.gate.checks[0].samples
    ax.set_title(f"{name}: measured on {count} images; filled: taken", fontsize=11)
    _legend(ax, columns=5)
    _name_tries(ax, tries)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_whole(path, picture.getvalue())


def _tries(artifact: Artifact) -> list[_Try]:
    m = artifact.manifest
    known = [t for t in m.attempts if t.bytes is not None]
    if not known:
        drop = max(c.drop for c in m.gate.checks)
        return [_Try(m.method or "float", _millions(m.model_bytes), drop, True, m.scheme)]
    return [
        _Try(
            t.method,
            _millions(t.bytes or 0),
            t.drop,
            t.taken,
            (m.scheme if t.taken else "")
            + (", " if t.taken and t.eight_bit else "")
            + (f"{len(t.eight_bit)} kept at 8 bits" if t.eight_bit else ""),
        )
        for t in known
    ]


def _name_tries(ax: Axes, tries: Sequence[_Try]) -> None:
    """Labels to the right, each pushed up as far as those already placed ask for."""
    points = 72 / ax.figure.dpi
    placed: list[tuple[float, float]] = []
    for t in sorted((t for t in tries if t.label), key=lambda t: t.drop):
        x, y = (float(v) * points for v in ax.transData.transform((t.megabytes, t.drop)))
        height = y
        for other_x, other in sorted(placed, key=lambda p: p[1]):
            if abs(x - other_x) < _LABEL_WIDTH and abs(height - other) < _LINE + 2:
                height = other + _LINE + 2
        placed.append((x, height))
        colour = _METHOD_LOOKS.get(t.method, _OTHER_LOOK)[0]
        ax.annotate(
            t.label,
            (t.megabytes, t.drop),
            xytext=(16, height - y),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 4},
            zorder=2,
        )
