"""MobileNets of many widths and input sizes: what each costs, beside its published accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_sdk.cost import ModelCost, cost_of_architecture
from edge_sdk.errors import UsageError

SIZES = (32, 8192)
ALPHAS = (1 / 32, 100.0)
_V1_GRID = ((0.25, 0.5, 0.75, 1.0), (128, 160, 192, 224))
_V2_GRID = ((0.35, 0.5, 0.75, 1.0, 1.4), (96, 128, 160, 192, 224))

# ImageNet top-1 in % as the papers print it (Howard et al. 2017, tables 4 to 9; Sandler et al.
# 2018, table 4), for 1000 classes in float. Nothing of it was measured here.
PUBLISHED_TOP1 = {
    ("mobilenet_v1_full", 1.0, 224): 71.7,
    ("mobilenet_v1_shallow", 1.0, 224): 65.3,
    ("mobilenet_v1", 1.0, 224): 70.6,
    ("mobilenet_v1", 0.75, 224): 68.4,
    ("mobilenet_v1", 0.5, 224): 63.7,
    ("mobilenet_v1", 0.25, 224): 50.6,
    ("mobilenet_v1", 1.0, 192): 69.1,
    ("mobilenet_v1", 1.0, 160): 67.2,
    ("mobilenet_v1", 1.0, 128): 64.4,
    ("mobilenet_v1", 0.5, 160): 60.2,
    ("mobilenet_v2", 1.0, 224): 72.0,
}


@dataclass(frozen=True)
class GridPoint:
    """One network. parameters: kernels and biases; kernel_parameters: as V1's paper counts.
    published_top1: in %, None where the papers' tables here have none."""

    arch: str
    alpha: float
    size: int
    mult_adds: int
    parameters: int
    kernel_parameters: int
    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int
    published_top1: float | None


def architecture_cost(
    arch: str, alpha: float = 1.0, size: int = 224, classes: int = 1000, dtype: str = "float32"
) -> tuple[ModelCost, str]:
    """`cost_of_architecture` within bounds that make sense, and what it was computed for.

    Raises UsageError for an unknown name or a value out of range."""
    if not ALPHAS[0] <= alpha <= ALPHAS[1]:
        raise UsageError(f"alpha is {alpha}; valid: 1/32 to {ALPHAS[1]:g}, usually 0.25 to 1.4")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"size is {size}; valid: {SIZES[0]} to {SIZES[1]} pixels, usually 224")
    cost = cost_of_architecture(arch, alpha, size, classes, dtype)
    return cost, f"{arch}, alpha {alpha:g}, {size}x{size} pixels, {classes} classes, {dtype}"


def cost_grid(
    arch: str | None = None,
    alphas: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    classes: int = 1000,
    dtype: str = "float32",
) -> list[GridPoint]:
    """Every alpha with every size; where one is not given, the papers' own. arch None:
    mobilenet_v1 and mobilenet_v2.

    Raises UsageError as `architecture_cost` does."""
    points = []
    for name in (arch,) if arch is not None else ("mobilenet_v1", "mobilenet_v2"):
        usual = _V2_GRID if name == "mobilenet_v2" else _V1_GRID
        for alpha in dict.fromkeys(alphas or usual[0]):
            for size in dict.fromkeys(sizes or usual[1]):
                cost, _ = architecture_cost(name, alpha, size, classes, dtype)
                as_published = classes == 1000 and dtype == "float32"
                points.append(
                    GridPoint(
                        arch=name,
                        alpha=alpha,
                        size=size,
                        mult_adds=cost.mult_adds,
                        parameters=cost.parameters,
                        kernel_parameters=cost.kernel_parameters,
                        weight_bytes=cost.weight_bytes,
                        activation_bytes=cost.activation_bytes,
                        peak_activation_bytes=cost.peak_activation_bytes,
                        published_top1=(
                            PUBLISHED_TOP1.get((name, alpha, size)) if as_published else None
                        ),
                    )
                )
    return points


def pareto_front(points: Iterable[GridPoint]) -> list[GridPoint]:
    """Of the points with a published accuracy those that none beats: cheapest first."""
    front: list[GridPoint] = []
    best = 0.0
    for p in sorted(points, key=lambda p: (p.mult_adds, -(p.published_top1 or 0.0))):
        if p.published_top1 is not None and p.published_top1 > best:
            front.append(p)
            best = p.published_top1
    return front
