"""`edge-sdk serve` in a real browser, at a desk with keys and on a phone by touch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from serve_browser import (
    ARGUMENTS,
    CHROMIUM,
    DESK,
    PHONE,
    TOKEN,
    WAIT_S,
    Served,
    Watched,
    counted_after,
    settled,
    start_slide,
)

from edge_sdk.screening.texts import LANGUAGES
from edge_sdk.serve.texts_serve import said

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium in the path"),
]
Opened = Callable[..., Watched]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    program = Served(tmp_path)
    program.start()
    yield program
    program.end()


@pytest.fixture
def opened(chromium: Any, served: Served) -> Iterator[Opened]:
    """opened(**options): a page of a browser that nobody used before."""
    contexts = []

    def new(**options: Any) -> Watched:
        contexts.append(chromium.new_context(locale="en-GB", reduced_motion="reduce", **options))
        contexts[-1].set_default_timeout(1000 * WAIT_S)
        return Watched(contexts[-1], served.base)

    yield new
    for context in contexts:
        context.close()


def test_the_checks_of_a_page_can_fail(opened: Opened, served: Served) -> None:
    phone = opened(**PHONE)
    phone.page.goto(f"{served.base}/enter")
    assert phone.faults(touch=True) == []
    phone.page.evaluate(
        """() => {
          document.querySelector('label').style.color = '#999';
          document.querySelector('label').htmlFor = '';
          document.querySelector('h2').style.cssText = 'width: 2rem; white-space: nowrap';
          document.querySelector('form button').style.cssText =
            'min-height: 0; height: 30px; width: 400px';
        }"""
    )
    found = "; ".join(phone.faults(touch=True))
    for fault in (
        "wider than",
        'h2 "Enter" is clipped',
        "contrast 2.8",
        "x 30",
        "textbox without a name",
    ):
        assert fault in found


def test_a_whole_slide_at_a_desk_with_a_program_that_is_killed(
    served: Served, opened: Opened, edge_sdk: Run
) -> None:
    desk = opened(**DESK)
    page, keys = desk.page, desk.page.keyboard
    page.goto(served.base)
    assert page.url.endswith("/enter")
    keys.type(TOKEN)
    keys.press("Enter")
    page.wait_for_url(f"{served.base}/")
    assert desk.faults() == []
    slide = start_slide(desk, target=500)

    assert settled(desk) == "green"
    counted_after(desk, lambda: page.click("#take"))
    assert settled(desk) == "green"
    counted_after(desk, lambda: keys.press("Space"))
    assert desk.said == []

    served.end()
    desk.until("() => document.body.classList.contains('alone')")
    assert said("away", "en") in desk.text("#away")
    kept = desk.text("#counted")
    keys.press("Space")
    served.start()
    page.wait_for_selector("#away #token")
    page.fill("#token", "not-the-token")
    page.press("#token", "Enter")
    desk.until("words => document.querySelector('#away').innerText.includes(words)",
               said("enter.wrong", "en"))  # fmt: skip
    page.fill("#token", TOKEN)
    page.press("#token", "Enter")
    page.wait_for_selector("#away", state="hidden")
    assert page.url == f"{served.base}/slide/{slide}"
    assert desk.text("#counted") == kept
    desk.said.clear()  # of the time without a server

    while (light := settled(desk)) == "green":
        counted_after(desk, lambda: keys.press("Space"))
    assert light == "red"
    kept = desk.text("#counted")
    keys.press("Space")  # is not taken, and the reason is said
    assert desk.text("#todo p").split(" ", 1)[1] in desk.text("#bad")
    page.focus("#skip")
    keys.press("Enter")
    desk.until("words => document.querySelector('#said').innerText === words",
               said("capture.skipped", "en"))  # fmt: skip
    assert desk.text("#counted") == kept
    page.focus("#automatic")
    keys.press("Space")
    desk.until("() => document.querySelector('#automatic').ariaChecked === 'true'")
    desk.until("() => document.body.classList.contains('ready')")
    assert desk.faults() == []

    page.focus("#finish")
    keys.press("Enter")
    assert desk.faults() == []
    keys.press("Escape")
    assert page.url.endswith(slide)
    keys.press("Enter")
    page.focus("#ask-yes")
    keys.press("Enter")
    page.wait_for_url(f"**/slide/{slide}/review")
    review_by_keys(desk, opened(**PHONE))
    page.wait_for_url(f"**/slide/{slide}/report")
    page.wait_for_selector("#figures")
    assert desk.faults() == []
    with desk.context.expect_page() as sheet:
        page.press("#print", "Enter")
    sheet.value.wait_for_load_state()
    assert sheet.value.title().startswith(said("simulated", "en"))
    assert [desk.said, desk.elsewhere()] == [[], []]

    served.end(signal.SIGTERM)
    done = edge_sdk("screen", "replay", slide, "--sessions", served.sessions)
    assert done.returncode == 0, done.stdout + done.stderr


def review_by_keys(desk: Watched, phone: Watched) -> None:
    """Confirms and rejects; another device has judged the third cell; ends with cells left."""
    page, keys = desk.page, desk.page.keyboard
    cells = page.locator("#grid button")
    assert cells.count() > 4
    assert desk.faults() == []
    phone.enter()
    phone.page.tap("#go-on")
    phone.page.wait_for_url("**/review")
    phone.page.tap("#grid button:nth-child(3)")
    phone.page.tap("#unsure")
    phone.until("words => document.querySelector('#said').innerText === words",
                said("review.saved", "en"))  # fmt: skip

    keys.press("Home")
    for key in ("1", "2", "1"):  # the third is stale
        keys.press(key)
    desk.until("words => document.querySelector('#bad').innerText === words",
               said("review.stale", "en"))  # fmt: skip
    verdicts = [cells.nth(i).get_attribute("data-verdict") for i in range(4)]
    assert verdicts == ["confirmed", "rejected", "unsure", ""]
    keys.press("ArrowLeft")
    keys.press("0")
    desk.until("() => document.querySelectorAll('#grid button')[2].dataset.verdict === ''")
    keys.press("End")
    keys.press("3")
    desk.until(
        "() => document.querySelector('#grid button:last-child').dataset.verdict === 'unsure'"
    )
    keys.press("ArrowUp")
    keys.press("ArrowRight")
    assert phone.said == [] or all("409" in line for line in phone.said)
    assert [line for line in desk.said if "409" not in line] == []
    desk.said.clear()  # a browser itself notes a 409
    page.focus("#done")
    keys.press("Enter")
    page.wait_for_selector("#ask[open]")
    page.focus("#ask-yes")
    keys.press("Enter")


def test_a_verdict_that_is_given_while_the_program_is_away_is_stored_when_it_is_back(
    served: Served, opened: Opened
) -> None:
    phone = opened(**{**PHONE, "viewport": {"width": 640, "height": 360}})
    page = phone.page
    phone.enter()
    start_slide(phone, target=100)
    assert settled(phone) == "green"
    page.tap("#take")
    assert settled(phone) == "ready"
    assert phone.faults(touch=True) == []
    page.tap("#finish")
    page.tap("#ask-yes")
    page.wait_for_url("**/review")
    assert phone.faults(touch=True) == []
    served.end()
    page.tap("#reject")
    page.tap("#confirm")
    phone.until(
        "words => document.querySelector('#bad').innerText === words",
        said("review.waiting", "en", left="2"),
    )
    served.start()
    page.wait_for_selector("#away #token")
    page.fill("#token", TOKEN)
    page.tap("#away button")
    phone.until("() => document.querySelectorAll("
                "'#grid button:not([data-verdict=\"\"])').length === 2")  # fmt: skip
    page.reload()
    shown = page.locator("#grid button").evaluate_all("all => all.map(b => b.dataset.verdict)")
    assert shown[:2] == ["rejected", "confirmed"]
    assert not any(shown[2:])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_phone_screens_a_slide_by_touch(served: Served, opened: Opened, language: str) -> None:
    phone = opened(**PHONE)
    page = phone.page
    phone.enter()
    page.goto(f"{served.base}/?lang={language}")
    assert phone.faults(touch=True) == []
    slide = start_slide(phone, target=2000, language=language)

    def fine(*, drawn: bool = True) -> None:
        body = " ".join(phone.text("body").split())
        assert said("label", language).replace("\u00a0", " ") in body.replace("\u00a0", " ")
        assert not drawn or said("simulated", language) in body
        assert phone.faults(touch=True) == []

    assert settled(phone) == "green"
    fine()
    counted_after(phone, lambda: page.tap("#take"))
    page.tap("#finish")  # far below the target
    fine()
    page.tap("#ask-no")
    page.wait_for_selector("#ask", state="hidden")
    assert page.url.endswith(slide)
    page.tap("#finish")
    page.tap("#ask-yes")
    page.wait_for_url("**/review")
    fine()
    for name in ("#confirm", "#reject", "#unsure"):
        page.tap(name)
    phone.until("() => document.querySelectorAll("
                "'#grid button:not([data-verdict=\"\"])').length === 3")  # fmt: skip
    page.tap("#done")
    if page.locator("#grid button").count() > 3:
        page.tap("#ask-yes")
    page.wait_for_url("**/report")
    page.wait_for_selector("#figures")
    fine()
    page.goto(f"{served.base}/?lang={language}")
    fine(drawn=True)
    assert [phone.said, phone.elsewhere()] == [[], []]


def test_the_web_app_keeps_its_shell_only_and_comes_back_by_itself(
    served: Served, opened: Opened
) -> None:
    phone = opened(**PHONE)
    page = phone.page
    phone.enter()
    start_slide(phone, target=2000)
    assert settled(phone) == "green"
    phone.until("() => navigator.serviceWorker.controller !== null")
    kept = phone.until(
        "async () => (await Promise.all((await caches.keys()).map(async name =>"
        " (await (await caches.open(name)).keys()).map(r => new URL(r.url).pathname)))).flat()"
    )
    assert "/static/app.css" in kept
    assert [p for p in kept if not p.startswith("/static/") and p != "/manifest.webmanifest"] == []
    link = phone.context.new_cdp_session(page)
    assert link.send("Page.getAppManifest")["errors"] == []
    served.end()
    page.reload()
    assert said("away", "en") in phone.text("main")
    assert said("label", "fr").replace("\u00a0", " ") in phone.text("footer").replace("\u00a0", " ")
    assert phone.faults(touch=True) == []
    served.start()
    page.wait_for_url("**/enter")
    page.fill("#token", TOKEN)
    page.tap("form button")
    page.wait_for_url(f"{served.base}/")
    page.tap("#go-on")
    page.wait_for_url("**/slide/*")
    assert settled(phone) == "green"
    assert phone.elsewhere() == []
