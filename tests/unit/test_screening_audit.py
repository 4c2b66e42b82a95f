from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.screening.audit import (
    Entry,
    chain_problems,
    next_entry,
    origin,
    read_lines,
    to_line,
)


def chain(length: int = 5, session: str = "S") -> list[Entry]:
    out: list[Entry] = []
    previous = origin(session)
    for i in range(1, length + 1):
        entry = next_entry(previous, i, f"2026-01-01T00:00:0{i}Z", "field", "op", {"n": i})
        out.append(entry)
        previous = entry.hash
    return out


def test_a_whole_chain_has_no_problem() -> None:
    entries = chain()
    assert chain_problems("S", entries, 5, entries[-1].hash) == ()
    assert chain_problems("S", [], 0, origin("S")) == ()


@given(
    st.integers(0, 4),
    st.sampled_from(["time", "event", "operator", "details", "previous", "hash"]),
)
def test_any_change_of_any_entry_is_found(place: int, field: str) -> None:
    entries = chain()
    head = entries[-1].hash
    value = getattr(entries[place], field)
    entries[place] = dataclasses.replace(entries[place], **{field: value[:-1] + "~"})
    assert any(f"entry {place + 1} " in p or "last hash" in p
               for p in chain_problems("S", entries, 5, head))  # fmt: skip


@given(st.integers(0, 4))
def test_a_missing_entry_is_found(place: int) -> None:
    entries = chain()
    head = entries[-1].hash
    del entries[place]
    assert chain_problems("S", entries, 5, head)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_an_end_cut_off_is_found_by_its_length(cut: int) -> None:
    entries = chain()
    assert "were written" in chain_problems("S", entries[:-cut], 5, entries[-1].hash)[0]


def test_entries_of_another_session_do_not_fit() -> None:
    entries = chain(session="T")
    assert "does not follow" in chain_problems("S", entries, 5, entries[-1].hash)[0]


def test_a_chain_written_anew_has_another_end() -> None:
    entries = chain()
    other = [dataclasses.replace(e, operator="x") for e in entries]
    previous = origin("S")
    for i, e in enumerate(other):
        other[i] = next_entry(previous, e.seq, e.time, e.event, e.operator, {"n": e.seq})
        previous = other[i].hash
    assert chain_problems("S", other, 5, entries[-1].hash) != ()


def test_lines_of_an_export_are_the_entries() -> None:
    entries = chain()
    assert read_lines(to_line(e) for e in entries) == entries
