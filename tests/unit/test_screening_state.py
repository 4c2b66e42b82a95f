from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import UsageError
from edge_sdk.screening.state import ACTIONS, STATES, State, after

WAY = ("new", "capturing", "review", "reported", "purged")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_refused_names_the_state_and_what_is_possible(state: State, action: str) -> None:
    allowed, _ = ACTIONS[action]
    if state in allowed:
        assert after(state, action, "S") in STATES
        return
    with pytest.raises(UsageError, match=f"session S is in state '{state}'") as caught:
        after(state, action, "S")
    assert "purge" in str(caught.value)


@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=30))
def test_a_session_never_goes_back(actions: list[str]) -> None:
    state: State = "new"
    for action in actions:
        try:
            then = after(state, action, "S")
        except UsageError:
            continue
        assert WAY.index(then) >= WAY.index(state)
        assert WAY.index(then) <= WAY.index(state) + 1 or action == "purge"
        state = then


@given(st.sampled_from(STATES[:-1]))
def test_every_state_but_the_last_leads_to_a_report_or_away(state: State) -> None:
    for action in ("capture", "finish", "report"):
        if state in ACTIONS[action][0]:
            state = after(state, action, "S")
    assert state == "reported"


def test_an_unknown_action_is_named() -> None:
    with pytest.raises(UsageError, match="unknown action 'captur'"):
        after("new", "captur", "S")
