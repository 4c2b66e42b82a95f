"""Capture, review, replay, report and export of a session, without a model."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from screening_sessions import (
    CELLS,
    Clock,
    StubGates,
    StubReader,
    frames,
    made,
    picture,
    run_through,
    settings,
)

from edge_sdk.camera import Frame
from edge_sdk.errors import DataError, UsageError
from edge_sdk.screening import replay as replays
from edge_sdk.screening.audit import chain_problems, read_lines
from edge_sdk.screening.calibration import calibrate_from
from edge_sdk.screening.export import export
from edge_sdk.screening.make_record import make_record, report
from edge_sdk.screening.replay import replay
from edge_sdk.screening.review import set_verdict, to_review
from edge_sdk.screening.session import (
    PATIENCE,
    begin,
    capture,
    read_picture,
    result_of,
    session_folder,
    session_summary,
    slide_counts,
)
from edge_sdk.screening.site import read_site
from edge_sdk.screening.slide import Review
from edge_sdk.screening.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Any:
    folder = made(tmp_path)
    run_through(folder)
    with Store(folder, write=True, clock=Clock()) as opened:
        yield opened


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Any:
    """replay with the tests' reader and gates."""
    monkeypatch.setattr(replays, "Gates", StubGates)
    return lambda store, reader=None: replay(store, reader or StubReader())


def take(store: Store, source: Any, **reader: float) -> list[Any]:
    stub, gates = StubReader(), StubGates()
    vars(stub).update(reader)
    begin(store, stub, "op", gates)  # type: ignore[arg-type]
    return list(capture(store, source, stub, gates, "op"))  # type: ignore[arg-type]


def test_counting_stops_at_the_target_with_its_limits_on_the_way(tmp_path: Path) -> None:
    with Store(made(tmp_path), write=True, clock=Clock()) as store:
        steps = take(store, frames())
        assert [s.counted for s in steps] == [120, 240, 240, 360, 480, 600]
        assert steps[-1].limits is not None
        assert steps[-1].limits.cells == 600
        assert steps[0].limits.detection is None or (
            steps[0].limits.detection > steps[-1].limits.detection
        )


def test_what_is_rejected_is_logged_and_not_counted(store: Store) -> None:
    field = store.fields()[2]
    assert not field.accepted
    assert (field.cells, field.flagged) == (0, 0)
    entry = next(e for e in store.entries() if e.event == "field" and '"number":3' in e.details)
    assert "Focus." in entry.details


def test_a_folder_that_is_given_again_counts_nothing_twice(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_through(folder, at_most=4)
    with Store(folder, write=True, clock=Clock()) as store:
        assert store.counts() == (1, 360)
        take(store, frames())
        assert store.counts() == (4, 600)
        assert len(store.fields()) == 6


def test_a_camera_that_shows_nothing_new_ends_with_a_reason(tmp_path: Path) -> None:
    with Store(made(tmp_path), write=True, clock=Clock()) as store:
        same = (Frame(picture(0), i, 0.0, 0.0) for i in range(1000))
        with pytest.raises(UsageError, match=f"{PATIENCE} pictures in a row"):
            take(store, same)
        assert store.counts() == (0, CELLS)


def test_a_picture_that_is_no_field_is_rejected_with_its_reason(tmp_path: Path) -> None:
    with Store(made(tmp_path), write=True, clock=Clock()) as store:
        reader = StubReader()

        def refuse(_: Any) -> Any:
            raise DataError("field: dtype uint16 is no picture")

        reader.segment = refuse  # type: ignore[method-assign]
        begin(store, reader, "op", StubGates())  # type: ignore[arg-type]
        step = next(capture(store, frames(), reader, StubGates(), "op"))  # type: ignore[arg-type]
        assert not step.field.accepted
        assert "uint16" in step.field.gates[0].instruction


def test_stored_pictures_are_the_same_to_the_pixel(store: Store) -> None:
    assert np.array_equal(read_picture(store.folder / "images/000001.png"), picture(0))
    assert b"SIMULATED" in (store.folder / "images/000001.png").read_bytes()


def test_the_same_pictures_give_the_same_result_again(store: Store, again: Any) -> None:
    found = again(store)
    assert found.differences == ()
    assert (found.fields, found.flagged, found.cells) == (5, 4, 600)
    assert found.statement == result_of(store).statement


def test_another_probability_in_the_last_digit_is_a_difference(store: Store, again: Any) -> None:
    reader = StubReader()
    reader.shift = 1e-12
    assert any("flagged cells" in d or "probabilities" in d
               for d in again(store, reader).differences)  # fmt: skip


def test_a_changed_picture_is_a_difference(store: Store, again: Any) -> None:
    image = store.folder / "images/000002.png"
    image.write_bytes((store.folder / "images/000001.png").read_bytes())
    found = again(store)
    assert any("its picture is another one" in d for d in found.differences)
    assert any("result:" in d for d in found.differences)


def test_another_gate_verdict_is_a_difference(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stricter(StubGates):
        def look(self, pixels: Any, found: Any) -> Any:
            seen = super().look(pixels, found)
            return replace(seen, results=tuple(replace(g, verdict="fail") for g in seen.results))

    monkeypatch.setattr(replays, "Gates", Stricter)
    assert any("gates differ: focus" in d
               for d in replay(store, StubReader()).differences)  # type: ignore[arg-type]  # fmt: skip


def test_a_result_other_than_the_reported_one_is_a_difference(
    store: Store, again: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(store, "op")
    assert again(store).differences == ()
    monkeypatch.setattr(replays, "result_sha256", lambda _: "x")
    assert again(store).differences == ("the result is not the one that was reported",)


def test_review_shows_the_most_probable_first_and_keeps_the_raw_count(store: Store) -> None:
    shown = to_review(store)
    assert [c.probability for c in shown] == sorted((c.probability for c in shown), reverse=True)
    assert all((store.folder / c.thumbnail).is_file() for c in shown)
    assert slide_counts(store).review is None
    set_verdict(store, 1, "confirmed", "op")
    set_verdict(store, 2, "rejected", "op")
    set_verdict(store, 3, "unsure", "op")
    result = result_of(store)
    assert result.counts.review == Review(1, 1, 1)
    assert (result.raw.flagged, result.reviewed and result.reviewed.flagged) == (4, 3)
    set_verdict(store, 2, None, "op")
    assert slide_counts(store).review == Review(1, 0, 1)
    with pytest.raises(UsageError, match="unknown verdict 'maybe'"):
        set_verdict(store, 1, "maybe", "op")


def test_nothing_is_reviewed_before_counting_ended(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_through(folder, at_most=2)
    with Store(folder, write=True) as store:
        for act in (
            lambda: to_review(store),
            lambda: set_verdict(store, 1, "confirmed", "op"),
            lambda: report(store, "op"),
            lambda: replay(store, StubReader()),  # type: ignore[arg-type]
        ):
            with pytest.raises(UsageError, match="is in state 'capturing'"):
                act()


def test_a_reported_session_takes_no_more_verdicts_and_no_more_fields(store: Store) -> None:
    report(store, "op")
    report(store, "op")
    with pytest.raises(UsageError, match="state 'reported'"):
        set_verdict(store, 1, "confirmed", "op")
    with pytest.raises(UsageError, match="state 'reported'"):
        take(store, frames(20))


def test_the_record_says_what_was_used_and_how_the_log_ended(store: Store) -> None:
    set_verdict(store, 1, "rejected", "op-2")
    record = make_record(store)
    assert record.simulated
    assert record.model.runtime == "stub 1"
    assert record.overrides[0].operator == "op-2"
    assert record.audit_entries == len(store.entries())
    assert record.audit_head == store.entries()[-1].hash
    assert record.result == result_of(store)
    assert sum(f.cells for f in record.fields) == 600


def test_the_report_is_in_the_log_with_its_hashes(store: Store) -> None:
    files = report(store, "op")
    said = json.loads(store.entries()[-1].details)
    assert store.state == "reported"
    for path in files:
        name = path.relative_to(store.folder).as_posix()
        assert said["files"][name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(b"imulated" in p.read_bytes().replace(b"SIM", b"sim").replace(b"ULATED", b"ulated")
               for p in files if p.suffix in (".html", ".json", ".csv"))  # fmt: skip
    assert store.problems() == ()


def test_a_zip_holds_all_with_hashes_and_is_the_same_again(store: Store, tmp_path: Path) -> None:
    report(store, "op")
    one, two = tmp_path / "a.zip", tmp_path / "b.zip"
    assert export(store, one, "zip") == export(store, two, "zip")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as z:
        sums = dict(reversed(x.split("  ")) for x in z.read("SHA256SUMS").decode().splitlines())
        assert set(sums) == set(z.namelist()) - {"SHA256SUMS"}
        for name, digest in sums.items():
            assert hashlib.sha256(z.read(name)).hexdigest() == digest
        assert {"images/000001.png", "report/report.html"} <= set(sums)
        entries = read_lines(z.read("audit.jsonl").decode().splitlines())
        assert chain_problems(store.settings.session, entries, *store.audit_end) == ()
    with pytest.raises(UsageError, match="never overwritten"):
        export(store, one, "zip")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_other_exports_carry_label_and_simulated(store: Store, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"x.{form}"
    export(store, out, form)
    text = out.read_text(encoding="utf-8")
    assert "not a medical device" in text
    assert "simulated" in text.lower()
    if form == "csv":
        assert [r[0] for r in csv.reader(text.splitlines())] == ["field", *"123456"]
    with pytest.raises(UsageError, match="unknown export format 'exe'"):
        export(store, tmp_path / "y", "exe")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, ".hidden", "a\0b", "-x"])
def test_a_hostile_session_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no id"):
        session_folder(tmp_path, name)


def test_a_session_is_found_by_its_beginning(tmp_path: Path) -> None:
    for session in ("7K3M-Q2FX", "7K9M-Q2FX", "AAAA-BBBB"):
        made(tmp_path, session=session)
    assert session_folder(tmp_path, "aa").name == "AAAA-BBBB"
    with pytest.raises(UsageError, match="beginning of several"):
        session_folder(tmp_path, "7K")
    with pytest.raises(UsageError, match="unknown session 'ZZ'"):
        session_folder(tmp_path, "ZZ")


def test_the_summary_says_where_it_stands(store: Store) -> None:
    found = session_summary(store)
    assert (found["state"], found["counted"], found["flagged"]) == ("review", 600, 4)
    assert found["simulated"] is True
    assert isinstance(found["limit_of_detection_per_ul"], float)


def test_clear_slides_calibrate_the_site(tmp_path: Path) -> None:
    folders = [made(tmp_path, session=f"AAA{i}-AAAA", site=None) for i in range(3)]
    for folder in folders:
        run_through(folder)
    out = tmp_path / "site.json"
    found, _ = calibrate_from("clinic", folders, out)
    assert [(s.flagged, s.counted) for s in found.slides] == [(4, 600)] * 3
    assert read_site(out, settings().model_sha256, settings().rule) == found
    with pytest.raises(DataError, match="at least 3"):
        calibrate_from("clinic", folders[:2], tmp_path / "b.json")


def test_drawn_and_real_slides_make_no_calibration_together(tmp_path: Path) -> None:
    folders = [made(tmp_path, session=f"AAA{i}-AAAA", simulated=i < 2) for i in range(3)]
    for folder in folders:
        run_through(folder)
    with pytest.raises(UsageError, match="one calibration is of one kind"):
        calibrate_from("clinic", folders, tmp_path / "site.json")


def test_a_session_without_calibration_is_not_quantified(tmp_path: Path) -> None:
    folder = made(tmp_path, site=None)
    run_through(folder)
    with Store(folder, write=False) as store:
        result = result_of(store)
    assert result.estimate is None
    assert result.per_ul is None
