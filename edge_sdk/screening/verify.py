"""Whether a session is as it was written: database, audit chain, rows, pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edge_sdk.files import sha256
from edge_sdk.screening.audit import text_hash

if TYPE_CHECKING:
    from edge_sdk.screening.store import Store


def store_problems(store: Store) -> tuple[str, ...]:
    """What is wrong, a line each. The audit log is the measure: each row has to say what was logged
    when it was written."""
    found = [*store.structure_problems(), *store.chain_problems()]
    logged = [(e.event, json.loads(e.details)) for e in store.entries()]
    settings = text_hash(store.settings_text)
    if logged and logged[0][1].get("settings_sha256") != settings:
        found.append("the session's settings are not those it was made with")
    states = [d["state"] for _, d in logged if "state" in d]
    if any(event == "field" for event, _ in logged) and states[-1:] == ["new"]:
        states.append("capturing")
    if any(event == "purge" for event, _ in logged):
        return (*found, *_left_over(store))
    if states and store.state != states[-1]:
        found.append(f"the state is '{store.state}', the audit log says '{states[-1]}'")
    found += _field_problems(store, [d for event, d in logged if event == "field"])
    found += _verdict_problems(store, [d for event, d in logged if event == "verdict"])
    return tuple(found)


def _left_over(store: Store) -> list[str]:
    found = [] if store.state == "purged" else [f"purged, yet in state '{store.state}'"]
    if store.fields() or store.sealed():
        found.append("purged, yet rows are left")
    left = [p.name for p in store.folder.iterdir() if p.is_dir() and any(p.iterdir())]
    if left:
        found.append(f"purged, yet {left[0]} is not empty: run purge again")
    return found


def _field_problems(store: Store, logged: list[dict[str, Any]]) -> list[str]:
    found = []
    facts = {d["number"]: {k: v for k, v in d.items() if k != "clock_went_back_from"}
             for d in logged}  # fmt: skip
    rows = {f.number: f for f in store.fields()}
    for number in sorted(facts.keys() - rows.keys()):
        found.append(f"field {number} was logged, its row is missing")
    for number, field in rows.items():
        if number not in facts:
            found.append(f"field {number} is not in the audit log")
            continue
        fact = store.field_fact(field)
        wrong = [k for k, v in fact.items() if facts[number].get(k) != v]
        if wrong:
            found.append(f"field {number}: {', '.join(wrong)} not as logged")
        if field.image is None:
            continue
        path = store.folder / field.image
        try:
            there = sha256(path)
        except OSError as e:
            found.append(f"field {number}: {field.image} cannot be read ({e.strerror})")
            continue
        if there != field.image_sha256:
            found.append(f"field {number}: {field.image} was changed, its sha256 is {there}")
    return found


def _verdict_problems(store: Store, logged: list[dict[str, Any]]) -> list[str]:
    last = {d["cell"]: d["now"] for d in logged}
    return [
        f"cell {c.number}: its verdict is {c.verdict}, the audit log says {last.get(c.number)}"
        for c in store.cells()
        if c.verdict != last.get(c.number)
    ]
