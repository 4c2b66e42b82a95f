import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from edge_sdk.benchmark.tables import held_out, shape_tables, shipped_tables
from edge_sdk.benchmark.validate import errors_of, score_table, validate
from edge_sdk.cli import cli
from edge_sdk.report_profiles import reached, validation_text
from edge_sdk.report_validation import page


@pytest.fixture(scope="module")
def made():
    return validate()


def table(name, dtype_class="float"):
    return shipped_tables()[name, dtype_class]


def test_the_hold_out_is_drawn_by_its_rule_and_never_changes():
    """These rows were fixed before any model was chosen on the others."""
    hidden = {
        (name, kind, *key)
        for (name, kind), t in shipped_tables().items()
        for key, out in zip(t.keys, held_out(t), strict=True)
        if out
    }
    assert len(hidden) == 30
    assert ("rpi4-armnn-19.08-armv7l", "float", "mobilenet_v2", 1.0, 128) in hidden
    assert ("pixel3-tflite-android10", "int8", "mobilenet_v1", 1.0, 192) in hidden
    assert not any("xnnpack" in name for name, *_ in hidden)
    for kind in ("float", "int8"):
        for name, t in shape_tables(kind).items():
            assert not {(name, kind, *key) for key in t.keys} & hidden


def test_a_model_measured_twice_is_one_row():
    t = table("rk3399-tflite-1.15-aarch64")
    assert len(set(t.keys)) == len(t.keys) == 25
    ms = t.y[t.keys.index(("mobilenet_v1", 1.0, 224))]
    assert ms == pytest.approx((104.921 * 106.163) ** 0.5)


def test_errors_are_of_rows_that_could_be_estimated():
    e = errors_of(np.array([1.0, 1.04, 0.91, 1.3, np.nan]))
    assert (e.rows, e.within_5, e.within_10, e.within_15) == (4, 0.5, 0.75, 0.75)
    assert e.mean == pytest.approx((0 + 0.04 + 0.09 + 0.3) / 4)
    assert e.worst == pytest.approx(0.3)


def test_a_left_out_row_has_no_say_in_its_own_estimate():
    """Make one row ten times as slow: its own estimate, the row left out, hardly moves."""
    whole = table("pixel3-tflite-android10", "int8")
    seen = whole.only(~held_out(whole))
    i = seen.keys.index(("mobilenet_v1", 0.5, 160))
    before = {p.key: p for p in score_table(whole).points}[seen.keys[i]]
    y = whole.y.copy()
    y[whole.keys.index(seen.keys[i])] *= 10
    after = score_table(dataclasses.replace(whole, y=y))
    spoilt = {p.key: p for p in after.points}[seen.keys[i]]
    assert spoilt.measured_ms == pytest.approx(10 * before.measured_ms)
    assert spoilt.estimate_ms == pytest.approx(before.estimate_ms, rel=0.1)


def test_the_numbers_that_are_reached_stay_reached(made):
    lines = reached(made)
    assert len(lines) == 6
    assert [line.startswith("reached") for line in lines] == [True] * 6


def test_it_is_better_than_mult_adds_and_than_scaling_a_row(made):
    for s in made.tables:
        assert s.one_out.mean < 0.7 * min(s.macs.mean, s.scaling.mean), s.table


def test_the_text_has_every_table_and_every_held_out_row(made):
    text = validation_text(made)
    for s in made.tables:
        assert s.table in text
    assert len(re.findall(r"(?m)[+-]\d+\.\d$", text)) == 30 + sum(
        len(a.points) for a in made.anchors
    )
    assert max(map(len, text.splitlines())) < 140


VOID = {"meta", "br", "line", "path", "rect", "circle", "polygon", "polyline"}


class Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


def test_the_page_needs_nothing_else_and_plots_every_row(made):
    parser = Parser()
    parser.feed(page(made))
    assert parser.open == []
    tags = [tag for tag, _ in parser.seen]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not [a for _, a in parser.seen if "src" in a or "href" in a]
    rows = sum(len(s.points) + len(s.held_out) for s in made.tables)
    assert tags.count("circle") == rows + 3  # and the key's
    ids = [a["id"] for _, a in parser.seen if "id" in a]
    assert len(ids) == len(set(ids))
    assert tags.count("figure") == len(made.tables)


def test_the_command_writes_the_page_and_says_it_as_json(tmp_path):
    file = tmp_path / "v.html"
    done = CliRunner().invoke(cli, ["profiles", "validate", "--html", str(file), "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["tables"]) >= 20
    assert file.read_text().startswith("<!doctype html>")


def test_fitting_writes_what_is_shipped(tmp_path):
    done = CliRunner().invoke(cli, ["profiles", "fit", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "rpi4" in done.stdout
    assert (tmp_path / "rpi4.json").is_file()


def test_calibration_lists_the_models_and_makes_a_profile(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    listed = CliRunner().invoke(cli, ["profiles", "calibrate", "rpi4"])
    assert len(listed.stdout.splitlines()) == 11
    rows = tmp_path / "rows.csv"
    times = [f"int8,{ms}" for ms in (2, 20, 5, 7, 9)]
    head, *models = [x for x in listed.stdout.splitlines() if "float32" not in x]
    lines = [m.replace("int8,", t) for m, t in zip(models, times, strict=True)]
    rows.write_text("\n".join([head, *lines]) + "\n")
    done = CliRunner().invoke(cli, ["profiles", "calibrate", "rpi4", "--rows", str(rows)])
    assert done.exit_code == 0, done.exception
    assert "my-rpi4" in CliRunner().invoke(cli, ["profiles"]).stdout
    assert CliRunner().invoke(cli, ["profiles", "my-rpi4"]).stdout.startswith("my-rpi4: ")
