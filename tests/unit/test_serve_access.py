"""The door of `edge-sdk serve`: who is refused, and what every answer carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from edge_sdk.errors import UsageError
from edge_sdk.serve import access
from edge_sdk.serve.access import Access, Door, WrongTokenError, cookie_name
from edge_sdk.serve.settings import ServeSettings, host_names, local_addresses, read_token

TOKEN = "a-token-of-the-tests"
BASE = "http://localhost:8080"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def door() -> Door:
    return Door(TOKEN, Clock())


def settings(**changes: Any) -> ServeSettings:
    made: dict[str, Any] = {"sessions": Path(), "artifact": None, "token": TOKEN,
                            "names": host_names("127.0.0.1"), **changes}  # fmt: skip
    return ServeSettings(**made)


def client(door: Door, base: str = BASE, **changes: Any) -> TestClient:
    async def seen(request: Request) -> JSONResponse:
        told = await request.body()
        return JSONResponse({"bytes": len(told), "visit": request.scope["visit"] is not None})

    async def broken(_: Request) -> PlainTextResponse:
        raise RuntimeError("secret words")

    app = Starlette(
        routes=[
            Route("/", seen),
            Route("/broken", broken),
            Route("/static/x", seen),
            Route("/enter", seen, methods=["GET", "POST"]),
            Route("/api/x", seen, methods=["GET", "POST"]),
        ],
        middleware=[Middleware(Access, settings=settings(**changes), door=door)],
    )
    return TestClient(app, base_url=base, follow_redirects=False)


def entered(door: Door) -> dict[str, str]:
    """The headers of a page that has a visit."""
    visit = door.enter(TOKEN, "here")
    return {
        "Cookie": f"{cookie_name(settings())}={visit.cookie}",
        "X-CSRF": visit.csrf,
        "Origin": BASE,
    }


def without(headers: dict[str, str], name: str, **other: str) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k != name} | other


def test_a_page_with_all_it_needs_is_let_in(door: Door) -> None:
    found = client(door).post("/api/x", content=b"x" * 1000, headers=entered(door))
    assert (found.status_code, found.json()) == (200, {"bytes": 1000, "visit": True})


@pytest.mark.parametrize("missing", ["Cookie", "X-CSRF", "Origin"])
def test_each_of_them_is_needed_for_a_post(door: Door, missing: str) -> None:
    found = client(door).post("/api/x", headers=without(entered(door), missing))
    assert found.status_code == (401 if missing == "Cookie" else 403)
    assert "error" in found.json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Origin", "http://elsewhere"),
        ("Origin", "null"),
        ("Origin", "https://localhost:8080"),
        ("Origin", "http://localhost:8081"),
        ("Origin", BASE + ".elsewhere"),
        ("X-CSRF", "x"),
        ("X-CSRF", ""),
        ("Cookie", "edge-serve-8080=x"),
        ("Cookie", f"edge-serve-8080={TOKEN}"),
    ],
)
def test_a_wrong_one_is_refused(door: Door, name: str, value: str) -> None:
    found = client(door).post("/api/x", headers={**entered(door), name: value})
    assert found.status_code == (401 if name == "Cookie" else 403)


def test_a_visits_second_value_belongs_to_its_own_cookie(door: Door) -> None:
    one, other = entered(door), entered(door)
    found = client(door).post("/api/x", headers={**one, "X-CSRF": other["X-CSRF"]})
    assert found.status_code == 403


@pytest.mark.parametrize(
    "host", ["elsewhere", "elsewhere:8080", "localhost.elsewhere", "10.9.8.7:8080", "", "[::2]:80"]
)
def test_a_name_that_is_not_this_machines_is_refused(door: Door, host: str) -> None:
    headers = {**entered(door), "Host": host}
    assert client(door).get("/api/x", headers=headers).status_code == 403
    assert client(door).get("/enter", headers=headers).status_code == 403
    assert client(door).get("/static/x", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080"])
def test_this_machines_own_names_are_not(door: Door, host: str) -> None:
    assert client(door).get("/static/x", headers={"Host": host}).status_code == 200


def test_the_address_that_a_connection_came_to_is_this_machines(door: Door) -> None:
    """Whatever the network gave it since; a name there is none."""
    assert client(door, "http://10.0.0.7:8080").get("/static/x").status_code == 200
    assert client(door, "http://rebound.example").get("/static/x").status_code == 403


def test_hosts_are_those_of_this_machine() -> None:
    import socket

    names = host_names("0.0.0.0")
    short = socket.gethostname().lower().partition(".")[0]
    assert {"localhost", "127.0.0.1", short, f"{short}.local"} <= names
    assert "127.0.0.1" in local_addresses()


def test_without_a_visit_a_page_leads_to_the_token_and_an_api_refuses(door: Door) -> None:
    c = client(door)
    assert (c.get("/").status_code, c.get("/").headers["location"]) == (303, "/enter")
    assert c.get("/api/x").status_code == 401
    assert c.get("/enter").status_code == 200
    assert c.get("/static/x").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_not_answered(door: Door, method: str) -> None:
    assert client(door).request(method, "/api/x", headers=entered(door)).status_code == 405


def test_a_body_that_is_too_long_is_refused_told_or_not(door: Door) -> None:
    headers, c = entered(door), client(door)
    most = access.MOST_BYTES

    def parts(count: int) -> Any:
        yield from (b"x" * 1024 for _ in range(count))

    assert c.post("/api/x", content=b"x" * most, headers=headers).status_code == 200
    assert c.post("/api/x", content=b"x" * (most + 1), headers=headers).status_code == 413
    assert c.post("/api/x", content=parts(64), headers=headers).status_code == 200
    assert c.post("/api/x", content=parts(65), headers=headers).status_code == 413
    odd = {**headers, "Content-Length": "-1"}
    assert c.post("/api/x", headers=odd).status_code == 400


def test_every_answer_carries_the_policy_and_is_kept_nowhere(door: Door) -> None:
    c = client(door)
    for found in (c.get("/"), c.get("/api/x"), c.get("/enter"), c.get("/nothing"),
                  c.get("/", headers={"Host": "elsewhere"})):  # fmt: skip
        assert "default-src 'none'" in found.headers["content-security-policy"]
        assert "unsafe" not in found.headers["content-security-policy"]
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["x-frame-options"] == "DENY"


def test_a_fault_says_nothing_to_the_browser_and_all_to_the_log(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    found = client(door).get("/broken", headers=entered(door))
    assert found.status_code == 503
    assert "secret words" not in found.text
    assert "RuntimeError" in json.loads(found.text)["error"]
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert "secret words" in capsys.readouterr().err


def test_tokens_are_tried_a_few_times_and_then_there_is_a_wait(door: Door) -> None:
    clock = door.clock
    assert isinstance(clock, Clock)
    for _ in range(access.WRONG):
        with pytest.raises(WrongTokenError, match="wrong token") as caught:
            door.enter("x", "guest")
        assert caught.value.wait_s == 0
    with pytest.raises(WrongTokenError, match="too many") as caught:
        door.enter(TOKEN, "guest")
    assert caught.value.wait_s == access.WINDOW_S
    assert door.visit(door.enter(TOKEN, "somebody else").cookie)
    clock.now += access.WINDOW_S + 1
    assert door.visit(door.enter(TOKEN, "guest").cookie)


def test_many_addresses_together_have_to_wait_too(door: Door) -> None:
    for i in range(access.WRONG_ANYWHERE):
        with pytest.raises(WrongTokenError, match="wrong token"):
            door.enter("x", f"guest {i}")
    with pytest.raises(WrongTokenError, match="too many"):
        door.enter(TOKEN, "one more")


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20])
def test_only_the_token_opens(door: Door, wrong: str) -> None:
    with pytest.raises(WrongTokenError):
        door.enter(wrong, "guest")


def test_a_visit_is_a_new_value_and_ends(door: Door) -> None:
    clock = door.clock
    assert isinstance(clock, Clock)
    one, other = door.enter(TOKEN, "a"), door.enter(TOKEN, "b")
    assert len({one.cookie, other.cookie, one.csrf, other.csrf, TOKEN}) == 5
    assert door.visit(one.cookie) == one
    clock.now += access.VISIT_S
    assert door.visit(one.cookie) is None
    assert Door(TOKEN).visit(other.cookie) is None


def test_visits_do_not_pile_up(door: Door) -> None:
    first = door.enter(TOKEN, "a")
    for _ in range(access.MOST_VISITS):
        last = door.enter(TOKEN, "a")
    assert door.visit(first.cookie) is None
    assert door.visit(last.cookie) == last


def test_a_cookie_over_https_is_tied_to_it() -> None:
    assert cookie_name(settings(secure=True)).startswith("__Host-")


def test_a_token_file_holds_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert read_token(file) == TOKEN
    assert read_token(None) != read_token(None)
    for wrong in ("short", "two words that are long enough", "", "é" * 20):
        file.write_text(wrong)
        with pytest.raises(UsageError, match="token"):
            read_token(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path / "nothing")
