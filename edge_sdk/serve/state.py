"""The part of a slide's state that is stored: counts, limits, outcome, in plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_sdk.screening.session import limits_so_far, result_of
from edge_sdk.screening.slide import reading
from edge_sdk.screening.store import Store
from edge_sdk.screening.texts import statement


@dataclass(frozen=True)
class Figures:
    """full: as many cells as were aimed for are counted; state: the contract's keys."""

    full: bool
    state: Mapping[str, Any]


def figures(store: Store) -> Figures:
    s, (flagged, counted), fields = store.settings, store.counts(), store.fields()
    seen, found, state = reading(flagged, counted), limits_so_far(store), store.state
    full = counted >= s.target
    why = None
    if s.site is None:
        why = (
            "This site is not calibrated: without known-clear slides (edge-sdk screen "
            "calibrate-site) there is neither a limit nor a parasitaemia."
        )
    elif found is None:
        why = "No red cell is counted yet."
    limits = None
    if found is not None:
        per_ul = None if found.detection is None else found.detection * s.blood.per_ul
        limits = {"flags_needed": found.flags, "detection_per_ul": per_ul}
    ended = state in ("review", "reported")
    accepted = sum(f.accepted for f in fields)
    return Figures(
        full,
        {
            "state": state,
            "simulated": s.simulated,
            "counts": {
                "flagged": flagged,
                "counted": counted,
                "target": s.target,
                "fields_accepted": accepted,
                "fields_rejected": len(fields) - accepted,
            },
            "share": {"value": seen.share, "low": seen.low, "high": seen.high} if counted else None,
            "limits": limits,
            "no_limits_why": why,
            "statement": statement(result_of(store), s.rule, s.language) if ended else None,
            "target_reached": full,
            "ready_to_finish": full and state == "capturing",
        },
    )
