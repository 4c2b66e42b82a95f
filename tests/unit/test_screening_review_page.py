"""The review page: its server's refusals, and a real browser's keys and touches."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from chromium import browser, chromium
from screening_records import SIZE, drawn, record

from edge_sdk.errors import DataError
from edge_sdk.screening.review_page import ReviewCells, served
from edge_sdk.screening.texts import LANGUAGES, text


@contextmanager
def running(apply, language="en"):
    r = record(5, simulated=True, language=language)
    pictures = {c.number: drawn(c.number, (48, 46)) for c in r.cells}
    sizes = {f.number: SIZE for f in r.fields}
    shown = ReviewCells(r.cells, pictures, sizes, lambda n: drawn(n, SIZE), True, language)
    with served(shown, apply) as review:
        thread = threading.Thread(target=review.run, daemon=True)
        thread.start()
        yield review, thread


def asked(review, path, body=None, **headers):
    """(status, JSON) of a request with the right token unless another is given."""
    url = review.address.split("/?")[0] + path
    sent = {"X-Token": review.token, **{k.replace("_", "-"): v for k, v in headers.items()}}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read())


def test_a_verdict_is_applied_once_and_a_replay_changes_nothing():
    got = []
    with running(got.append) as (review, _):
        first = {"cell": 1, "was": None, "now": "confirmed"}
        assert asked(review, "/verdict", first)[0] == 200
        assert (
            asked(review, "/verdict", {"cell": 1, "was": "confirmed", "now": "rejected"})[0] == 200
        )
        status, said = asked(review, "/verdict", first)
        assert (status, said["verdicts"]["1"]) == (409, "rejected")
    assert got == [{1: "confirmed"}, {1: "rejected"}]


def test_what_has_no_right_is_refused():
    got = []
    body = {"cell": 1, "was": None, "now": "confirmed"}
    with running(got.append) as (review, _):
        assert asked(review, "/verdict", body, X_Token="x")[0] == 403
        assert asked(review, "/verdict", body, Origin="http://elsewhere")[0] == 403
        assert asked(review, "/verdict", body, Host="elsewhere")[0] == 403
        assert asked(review, "/?token=x")[0] == 403
        assert asked(review, f"/../etc/passwd?token={review.token}")[0] == 404
        assert asked(review, f"/cell?n=99&token={review.token}")[0] == 404
        for wrong in ({**body, "now": "sick"}, {**body, "cell": 99}, {**body, "cell": True}, []):
            assert asked(review, "/verdict", wrong)[0] == 400
    assert got == []


def test_a_verdict_that_was_not_stored_is_not_taken():
    def full(_):
        raise DataError("the disk is full")

    body = {"cell": 1, "was": None, "now": "confirmed"}
    with running(full) as (review, _):
        for _ in range(2):
            assert asked(review, "/verdict", body) == (500, {"error": "the disk is full"})


@pytest.mark.skipif(chromium() is None, reason="no chromium in the path")
def test_keys_and_touches_in_a_browser_give_the_verdicts(tmp_path):
    got = []
    with browser(tmp_path) as page:
        for language in LANGUAGES:
            with running(got.append, language) as (review, thread):
                page.resize(360, 640, touch=True)
                page.open(review.address)
                body = page.value("document.body.innerText")
                assert text("label", language) in body.replace("\n", " ")
                assert text("simulated", language) in body
                assert page.value("document.documentElement.scrollWidth") == 360
                page.press("1")
                page.tap("#reject")
                page.press("ArrowRight")
                page.press("3")
                page.until("document.querySelectorAll('[data-verdict]:not([data-verdict=\"\"])')"
                           ".length === 3")  # fmt: skip
                page.value("window.confirm = () => true")
                page.tap("#done")
                thread.join(10)
                assert not thread.is_alive()
            assert got == [{1: "confirmed"}, {2: "rejected"}, {4: "unsure"}]
            got.clear()
        assert page.said == []
