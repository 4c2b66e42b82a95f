"""A session's review on its page: what it shows is the session's, what is said there is stored."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from pathlib import Path

from click.testing import CliRunner, Result
from screening_sessions import made, run_through

from edge_sdk.cli import cli
from edge_sdk.screening import review_page
from edge_sdk.screening.review import review_cells
from edge_sdk.screening.store import Store


def test_the_page_shows_the_flagged_cells_and_their_fields(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_through(folder)
    with Store(folder, write=True) as store:
        shown = review_cells(store)
        assert {c.number for c in shown.cells} == {c.number for c in store.cells()}
        assert shown.thumbnails.keys() == {c.number for c in shown.cells}
        assert all(data.startswith(b"\x89PNG") for data in shown.thumbnails.values())
        first = shown.cells[0]
        assert shown.sizes[first.field][0] >= first.box[0] + first.box[2]
        assert shown.field(first.field) is not None
        assert shown.field(999) is None
        assert shown.simulated


def test_a_verdict_on_the_page_is_in_the_session(tmp_path: Path, monkeypatch: object) -> None:
    folder = made(tmp_path)
    run_through(folder)
    ended: list[Result] = []
    arguments = ["screen", "review", folder.name, "--sessions", str(tmp_path), "--page"]
    opened: list[review_page.Review] = []
    real = review_page.Review.run

    def run(self: review_page.Review) -> None:
        opened.append(self)
        real(self)

    monkeypatch.setattr(review_page.Review, "run", run)  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: ended.append(CliRunner().invoke(cli, arguments)))
    thread.start()
    for _ in range(100):
        if opened:
            break
        time.sleep(0.1)
    address = opened[0].address.split("/?")[0]
    for path, body in (
        ("/verdict", {"cell": 1, "was": None, "now": "confirmed"}),
        ("/done", {}),
    ):
        request = urllib.request.Request(
            address + path, json.dumps(body).encode(), {"X-Token": opened[0].token}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
    thread.join(20)
    assert not thread.is_alive()
    assert ended[0].exit_code == 0, ended[0].output
    assert re.search(r"^ +1 [\d.]+ confirmed", ended[0].output, re.MULTILINE)
    with Store(folder, write=False) as store:
        assert {c.number: c.verdict for c in store.cells()}[1] == "confirmed"
