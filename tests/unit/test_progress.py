from __future__ import annotations

from edge_sdk.progress import silent, watched


def test_watched_reports_before_the_first_and_after_each() -> None:
    calls: list[tuple[str, int, int]] = []
    seen = list(watched("abc", "read", lambda *a: calls.append(a)))
    assert seen == ["a", "b", "c"]
    assert calls == [("read", i, 3) for i in range(4)]


def test_nothing_to_watch_is_reported_as_done() -> None:
    calls: list[tuple[str, int, int]] = []
    assert list(watched([], "read", lambda *a: calls.append(a))) == []
    assert calls == [("read", 0, 0)]


def test_silent_takes_what_progress_takes() -> None:
    assert list(watched([1], "read", silent)) == [1]
