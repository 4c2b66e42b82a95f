"""A whole slide as a phone does it, from the token to the report; and what it may not ask for."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.ondevice import disk
from edge_sdk.screening.store import Store
from edge_sdk.screening.texts import LANGUAGES, text

pytest.importorskip("cv2")
pytest.importorskip("starlette")

from serve_slides import BASE, TOKEN, Browser, body, serve_settings

from edge_sdk.serve.work import Work


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> Any:
    return serve_settings(models, tmp_path)


@pytest.fixture
def browser(settings: Any) -> Iterator[Browser]:
    made = Browser(Work(settings))
    with made.client:
        made.enter()
        yield made


def reviewed(browser: Browser, target: int = 300) -> str:
    """A slide whose counting has ended, with flagged cells."""
    slide = browser.new(target=target)
    counted = browser.count(slide)["counts"]["counted"]
    done = browser.post(f"/api/slide/{slide}/finish", {"counted": counted})
    assert done.status_code == 200
    assert done.json()["counts"]["flagged"] > 0
    return slide


def stored(browser: Browser, slide: str) -> list[Any]:
    with Store(browser.work.settings.sessions / slide, write=False) as store:
        return [(e.event, e.details) for e in store.entries()]


def test_a_slide_from_the_token_to_the_report(browser: Browser) -> None:
    made = browser.post("/api/slides", asked := body(target=150))
    slide = made.json()["id"]
    assert made.json() == {"id": slide, "url": f"/slide/{slide}"}
    page = browser.get(f"/slide/{slide}").text
    assert "SIMULATED" in page
    assert text("label", "en") in page
    shown = browser.live(slide)
    assert [light["gate"] for light in shown["lights"]] == [
        "focus", "exposure", "density", "duplicate", "stain",
    ]  # fmt: skip
    for path in ("live.jpg", f"live.jpg?n={shown['number']}"):
        picture = browser.get(f"/api/slide/{slide}/{path}")
        assert picture.content[:3] == b"\xff\xd8\xff"
    assert browser.get(f"/api/slide/{slide}/live.jpg?n=1").status_code == 404
    state = browser.count(slide)
    assert state["share"]["low"] <= state["share"]["value"] <= state["share"]["high"]
    assert state["limits"] is None
    assert "calibrate" in state["no_limits_why"]
    counts = state["counts"]
    assert browser.post(f"/api/slide/{slide}/finish", {"counted": 1}).status_code == 409
    assert browser.get(f"/slide/{slide}/review").status_code == 409
    for _ in range(2):
        done = browser.post(f"/api/slide/{slide}/finish", {"counted": counts["counted"]})
        assert (done.status_code, done.json()["state"]) == (200, "review")
    assert browser.get(f"/slide/{slide}").headers["location"] == f"/slide/{slide}/review"
    assert browser.get(f"/slide/{slide}/review").status_code == 200
    for _ in range(2):
        written = browser.post(f"/api/slide/{slide}/report", {})
        assert written.json() == {"url": f"/slide/{slide}/report"}
    events = [e for e, _ in stored(browser, slide)]
    assert (events.count("finish"), events.count("report")) == (1, 1)
    report = browser.get(f"/slide/{slide}/report").text
    names = set(re.findall(rf"/slide/{slide}/report/([A-Za-z0-9.]+)", report))
    folder = browser.work.settings.sessions / slide / "report"
    assert names == {p.name for p in folder.iterdir()}
    for name in names:
        found = browser.get(f"/slide/{slide}/report/{name}")
        assert found.content == (folder / name).read_bytes()
        assert found.headers["content-security-policy"].startswith("sandbox")
        assert "script-src" not in found.headers["content-security-policy"]
    assert browser.get(f"/slide/{slide}").headers["location"] == f"/slide/{slide}/report"
    # What was done is done: a new page's words change nothing of it.
    assert browser.post("/api/slides", asked).json()["id"] == slide
    assert browser.post("/api/slides", asked).status_code == 200
    for command, given in (("take", {"number": shown["number"]}), ("automatic", {"on": True}),
                           ("verdict", {"cell": 1, "was": None, "now": "unsure"})):  # fmt: skip
        assert browser.post(f"/api/slide/{slide}/{command}", given).status_code in (400, 409)
    assert slide in browser.get("/").text


def test_a_replayed_take_counts_nothing(browser: Browser) -> None:
    slide = browser.new()
    number = browser.live(slide)["number"]
    answers = [browser.post(f"/api/slide/{slide}/take", {"number": number}) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 409, 409]
    assert answers[0].json()["counts"]["fields_accepted"] == 1
    assert browser.state(slide)["counts"]["fields_accepted"] == 1


def test_a_verdict_is_stored_once_and_a_replay_changes_nothing(browser: Browser) -> None:
    slide = reviewed(browser)
    path = f"/api/slide/{slide}/verdict"
    first = {"cell": 1, "was": None, "now": "confirmed"}
    assert browser.post(path, first).status_code == 200
    assert browser.post(path, first).status_code == 200
    changed = {"cell": 1, "was": "confirmed", "now": "rejected"}
    assert browser.post(path, changed).status_code == 200
    stale = browser.post(path, first)
    assert (stale.status_code, stale.json()["verdicts"]["1"]) == (409, "rejected")
    said = [json.loads(d)["now"] for e, d in stored(browser, slide) if e == "verdict"]
    assert said == ["confirmed", "rejected"]
    for wrong in ({**first, "now": "sick"}, {**first, "cell": 9999}, {**first, "cell": True},
                  {**first, "cell": "1"}, {"cell": 1}, [], None, {**first, "more": 1}):  # fmt: skip
        assert browser.post(path, wrong).status_code == 400
    assert browser.state(slide)["state"] == "review"


def test_the_pictures_of_a_review_are_its_own(browser: Browser) -> None:
    slide = reviewed(browser)
    for kind in ("cell", "field"):
        assert browser.get(f"/api/slide/{slide}/{kind}/1.png").content[:4] == b"\x89PNG"
        for wrong in ("0", "9999", "-1", "x", "1e3", "%00", "../1"):
            assert browser.get(f"/api/slide/{slide}/{kind}/{wrong}.png").status_code == 404
    data = re.search(r'id="data">(.*?)</script>', browser.get(f"/slide/{slide}/review").text)
    assert data is not None
    cells = json.loads(data[1])["page"]["cells"]
    assert [c["probability"] for c in cells] == sorted(c["probability"] for c in cells)[::-1]
    assert set(cells[0]) == {
        "cell", "field", "box", "size", "probability", "verdict", "picture",
    }  # fmt: skip
    assert cells[0]["picture"]
    assert cells[0]["size"] == [640, 480]


def test_a_verdict_that_was_not_stored_is_not_taken(browser: Browser) -> None:
    slide = reviewed(browser)

    def full(name: str, path: Path) -> None:
        if name == "sql commit":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    disk.before = full
    try:
        given = {"cell": 1, "was": None, "now": "confirmed"}
        for _ in range(2):
            failed = browser.post(f"/api/slide/{slide}/verdict", given)
            assert failed.status_code == 503
            assert "disk is full" in failed.json()["error"]
    finally:
        disk.before = disk._nothing
    assert browser.post(f"/api/slide/{slide}/verdict", given).status_code == 200


def test_without_the_token_nothing_is_shown_or_done(settings: Any) -> None:
    stranger = Browser(Work(settings))
    with stranger.client:
        assert stranger.get("/").headers["location"] == "/enter"
        assert 'name="token"' in stranger.get("/enter").text
        for path in ("/api/slide/AAAA-BBBB/state", "/api/slide/AAAA-BBBB/live.jpg"):
            assert stranger.get(path).status_code == 401
        assert stranger.post("/api/slides", body()).status_code == 401
        wrong = stranger.get("/enter?token=wrong")
        assert wrong.status_code == 403
        assert "set-cookie" not in wrong.headers
        form = {"Origin": BASE}
        assert stranger.client.post("/enter", data={"token": "x"}, headers=form).status_code == 403
        elsewhere = {"Origin": "http://elsewhere"}
        right = {"token": TOKEN}
        assert stranger.client.post("/enter", data=right, headers=elsewhere).status_code == 403
        entered = stranger.client.post("/enter", data=right, headers=form)
        assert entered.status_code == 303
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert stranger.get("/").status_code == 200
        assert stranger.post("/api/slides", body()).status_code == 403


def test_too_many_wrong_tokens_have_to_wait(settings: Any) -> None:
    stranger = Browser(Work(settings))
    with stranger.client:
        statuses = [stranger.get("/enter?token=wrong").status_code for _ in range(6)]
        assert statuses == [403] * 5 + [429]
        waiting = stranger.get(f"/enter?token={TOKEN}")
        assert waiting.status_code == 429
        assert 1 <= int(waiting.headers["retry-after"]) <= 61


def test_what_has_no_right_changes_nothing(browser: Browser) -> None:
    slide = browser.new()
    number = browser.live(slide)["number"]
    path, given = f"/api/slide/{slide}/take", {"number": number}
    for headers in ({"Origin": "http://elsewhere"}, {"Origin": None}, {"Host": "elsewhere"},
                    {"X_CSRF": "x"}, {"X_CSRF": None}):  # fmt: skip
        assert browser.post(path, given, **headers).status_code == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert browser.post(path, given, Content_Type=kind).status_code == 400
    long = browser.post(path, {"number": number, "x": "y" * 70_000})
    assert long.status_code == 413
    for wrong in ({}, {"number": "1"}, {"number": 1.0}, {"number": True}, {"number": None}, 3):
        assert browser.post(path, wrong).status_code == 400
    assert browser.get(path).status_code in (404, 405)
    assert browser.state(slide)["counts"]["fields_accepted"] == 0


IDS = (
    "%2e%2e", "../slides", "..%2Fslides", "%2Fetc", "A%00B", "A", "aaaa-bbbb", ".requests",
    "７K3M-Q2FX", "AAAA-BBBB%0a", "A" * 65, "-", "%252e%252e", "AAAA-BBBB\\..", "*", "AAAA-CCCC",
    "..%2FAAAA-CCCC",
)  # fmt: skip


def test_an_id_is_that_of_a_slide_or_nothing(browser: Browser) -> None:
    root = browser.work.settings.sessions
    made = root / browser.new()
    # A session that is real and lies beside the folder that is served.
    outside = root.parent / "AAAA-CCCC"
    outside.mkdir()
    (outside / "session.db").write_bytes((made / "session.db").read_bytes())
    assert browser.get(f"/api/slide/{made.name}/state").status_code == 200
    for slide in IDS:
        for path in (f"/slide/{slide}", f"/slide/{slide}/report/report.html",
                     f"/api/slide/{slide}/state", f"/api/slide/{slide}/live.jpg",
                     f"/slide/../../{slide}"):  # fmt: skip
            assert browser.get(path).status_code == 404, path
        refused = browser.post(f"/api/slide/{slide}/take", {"number": 1})
        assert refused.status_code in (404, 405)


FILES = (
    "../session.db", "..%2fsession.db", "%2e%2e/session.db", "%2e%2e%2fsession.db", "/etc/passwd",
    "%2fetc%2fpasswd", "report.html%00", "report.html/", "REPORT.HTML", "link", "ｒeport.html",
    "..\\session.db",
)  # fmt: skip


def test_a_report_is_a_file_of_its_own_folder_or_nothing(browser: Browser) -> None:
    slide = reviewed(browser, target=60)
    browser.post(f"/api/slide/{slide}/report", {})
    folder = browser.work.settings.sessions / slide / "report"
    (folder / "link").symlink_to("/etc/passwd")
    assert browser.get(f"/slide/{slide}/report/report.html").status_code == 200
    for file in FILES:
        found = browser.get(f"/slide/{slide}/report/{file}")
        assert found.status_code == 404, file
        assert b"SQLite" not in found.content
        assert b"root:" not in found.content


def test_static_files_are_those_of_their_folder(browser: Browser) -> None:
    assert browser.get("/static/app.css").status_code == 200
    for file in ("%2e%2e/app.py", "%2e%2e%2fapp.py", "..%5capp.py", "x", "app.css%00", ""):
        assert browser.get(f"/static/{file}").status_code == 404, file


def test_static_files_are_asked_for_again_only_when_they_changed(browser: Browser) -> None:
    found = browser.get("/static/app.css")
    assert found.headers["cache-control"] == "no-cache"
    again = browser.get("/static/app.css", headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/sw.js", "/manifest.webmanifest"):
        assert browser.get(path).status_code == 200


def test_a_folder_cannot_be_named_from_a_page(browser: Browser) -> None:
    for wrong in ({"camera": "folder", "camera_options": {}}, {"camera": "v4l2"},
                  {"camera_options": {"path": "/etc"}}, {"camera_options": {"device": 0}},
                  {"camera": None}, {"camera": "../x"}):  # fmt: skip
        refused = browser.post("/api/slides", body(**wrong))
        assert refused.status_code == (400 if wrong.get("camera", 1) is not None else 201)
        assert "/etc" not in refused.text or "must be of type int" in refused.text


def test_a_folder_of_the_command_line_is_counted_without_being_named(
    settings: Any, tmp_path: Path
) -> None:
    from edge_sdk.screening.drawn_slide import DrawnSlide
    from edge_sdk.screening.session import encode_picture

    photos = tmp_path / "photos"
    photos.mkdir()
    for frame in DrawnSlide(fields=2, size=(640, 480), cells=60, blurred=0, repeated=0):
        (photos / f"{frame.index}.png").write_bytes(encode_picture(frame.pixels))
    # A slide's rule of its own; the fake model has one.
    real = replace(settings, camera="folder", camera_options={"path": str(photos)})
    other = Browser(Work(real))
    with other.client:
        other.enter()
        assert str(photos) not in other.get("/").text
        slide = other.new(camera="folder", camera_options={})
        assert not other.state(slide)["simulated"]
        first = other.live(slide)
        assert (
            other.post(f"/api/slide/{slide}/skip", {"number": first["number"]}).status_code == 200
        )
        second = other.live(slide)
        assert second["number"] != first["number"]
        other.post(f"/api/slide/{slide}/take", {"number": second["number"]})
        assert "SIMULATED" not in other.get(f"/slide/{slide}").text


def test_a_page_is_in_the_language_that_its_reader_knows(browser: Browser) -> None:
    assert '<html lang="fr"' in browser.get("/", headers={"Accept-Language": "fr-CA,en"}).text
    assert '<html lang="en"' in browser.get("/", headers={"Accept-Language": "xx"}).text
    for language in LANGUAGES:
        page = browser.get(f"/?lang={language}").text
        assert f'<html lang="{language}"' in page
        slide = browser.new(language=language)
        assert text("simulated", language) in browser.get(f"/slide/{slide}").text


def test_nothing_that_was_typed_becomes_markup(browser: Browser) -> None:
    odd = "<script>alert(1)</script>\"'&"
    slide = browser.new(operator=odd)
    for page in ("/", f"/slide/{slide}"):
        assert "<script>alert" not in browser.get(page).text
    fault = browser.get("/slide/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert "<script>alert" not in fault.text


def test_a_new_page_goes_on_where_the_program_was_cut_off(settings: Any) -> None:
    first = Browser(Work(settings))
    with first.client:
        first.enter()
        slide = first.new(target=200)
        number = first.live(slide)["number"]
        first.post(f"/api/slide/{slide}/take", {"number": number})
    second = Browser(Work(settings))
    with second.client:
        # The visit ended with the program.
        second.client.cookies = first.client.cookies
        assert second.get(f"/api/slide/{slide}/state").status_code == 401
        second.client.cookies.clear()
        second.enter()
        assert second.state(slide)["counts"]["fields_accepted"] == 1
        assert second.post(f"/api/slide/{slide}/take", {"number": number}).status_code == 409
        assert second.count(slide)["counts"]["counted"] >= 200


def test_a_slide_in_use_elsewhere_is_said(browser: Browser) -> None:
    slide = browser.post("/api/slides", body()).json()["id"]
    with Store(browser.work.settings.sessions / slide, write=True):
        refused = browser.get(f"/api/slide/{slide}/state")
        assert refused.status_code == 409
        assert "in use by another program" in refused.json()["error"]
        assert "in use by another program" in browser.get(f"/slide/{slide}").text
