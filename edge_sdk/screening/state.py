"""What may be done with a session when: new -> capturing -> review -> reported, and purged."""

from __future__ import annotations

from typing import Literal

from edge_sdk.errors import UsageError, unknown_name

State = Literal["new", "capturing", "review", "reported", "purged"]
STATES: tuple[State, ...] = ("new", "capturing", "review", "reported", "purged")

# action -> the states it may be done in, and the state it leads to (None: the same one).
ACTIONS: dict[str, tuple[tuple[State, ...], State | None]] = {
    "capture": (("new", "capturing"), "capturing"),
    "finish": (("capturing",), "review"),
    "review": (("review",), None),
    "report": (("review", "reported"), "reported"),
    "replay": (("review", "reported"), None),
    "calibrate": (("review", "reported"), None),
    "export": (("new", "capturing", "review", "reported"), None),
    "purge": (STATES, "purged"),
}


def after(state: State, action: str, session: str) -> State:
    """The state that an action leads to. Raises UsageError, which names the state, where the action
    is not possible in it."""
    if action not in ACTIONS:
        raise UsageError(unknown_name("action", action, ACTIONS))
    allowed, then = ACTIONS[action]
    if state not in allowed:
        now = ", ".join(a for a, (states, _) in ACTIONS.items() if state in states)
        raise UsageError(
            f"session {session} is in state '{state}': '{action}' needs {' or '.join(allowed)}; "
            f"possible now: {now}"
        )
    return then or state
