"""Energy of compute-in-memory chips: published figures of one mode predicted from another's.

    python benchmarks/cim_energy.py

How, and what is solved for: edge_sdk/backends/cim/cross_prediction.py. Aim: within 25 %.
"""

from __future__ import annotations

from edge_sdk.backends.cim.cross_prediction import cross_predictions
from edge_sdk.report_cim import predictions_table

MEMORY = (0.5, 2.0)


def main() -> None:
    print(predictions_table(cross_predictions()))
    for memory in MEMORY:
        worst = max(cross_predictions(memory), key=lambda p: abs(p.error))
        print(
            f"AON-CiM's assumed memory and rescaling energy x {memory:g}: worst "
            f"{worst.error:+.1%} ({worst.chip} {worst.workload} {worst.mode})"
        )


if __name__ == "__main__":
    main()
