"""The curves of a training as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from edge_sdk.train.loop import Epoch, best_of


def curves_png(log: Sequence[Epoch]) -> bytes | None:
    """Losses on the left, accuracy and ROC area on the right, the kept epoch marked; None where
    matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return None
    best = best_of(log)
    scored = not all(math.isnan(r.validation_accuracy) for r in log)
    figure = Figure(figsize=(10.0 if scored else 5.5, 4.0), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, 2 if scored else 1, squeeze=False)[0])
    epochs = [r.epoch for r in log]
    axes[0].plot(epochs, [r.train_loss for r in log], "o-", ms=3, color="#0072b2", label="training")
    axes[0].plot(
        epochs, [r.validation_loss for r in log], "s-", ms=3, color="#d55e00", label="validation"
    )
    axes[0].set_ylabel("loss")
    if scored:
        for name, values, look in (
            ("accuracy", [r.validation_accuracy for r in log], {"color": "#d55e00", "marker": "s"}),
            ("ROC area", [r.validation_auc for r in log], {"color": "#009e73", "marker": "^"}),
        ):
            if not all(map(math.isnan, values)):
                axes[1].plot(epochs, values, ms=3, label=f"validation {name}", **look)
        axes[1].set_ylabel("share")
    for ax in axes:
        if best is not None:
            ax.axvline(best.epoch, color="#555555", ls=":", lw=1, label=f"kept: {best.epoch}")
        ax.set_xlabel("epoch")
        ax.set_xlim(0.5, len(log) + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(True, color="#dddddd", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
