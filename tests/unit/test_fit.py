import json
import math
import re

import numpy as np
import pytest

from edge_sdk.benchmark import fit as fit_module
from edge_sdk.benchmark.estimate import estimate
from edge_sdk.benchmark.features import features
from edge_sdk.benchmark.fit import fit_all, fit_class, fit_profile, read_fit
from edge_sdk.benchmark.published import CLASS_OF_DTYPE, COLUMNS, published_rows, read_table
from edge_sdk.benchmark.solve import nnls
from edge_sdk.benchmark.tables import _shares, held_out, shipped_tables
from edge_sdk.cost import ARCHITECTURES, cost_of_architecture
from edge_sdk.errors import EdgeError, ProfileError
from edge_sdk.profiles import load_profile, profile_names
from edge_sdk.strict import to_plain

HEAD = ",".join(COLUMNS)
PROFILE = """
name = "mine"
title = "My board"
device = "My board"
[hardware]
soc = "S"
cpu = "C"
cores = 1
clock_ghz = { value = 1.0, source = "data sheet" }
dotprod = { value = "no", source = "lscpu" }
fp16 = { value = "no", source = "lscpu" }
[latency.float]
runtime = "R"
version = "1"
threads = 1
abi = "x"
clock_ghz = 1.0
table = "mine"
evidence = "made up"
MORE
[latency.float.sources]
runtime = "made up"
version = "made up"
threads = "made up"
abi = "made up"
clock = "assumed"
"""
PLAIN = PROFILE.replace("MORE\n", "")
HERE = PROFILE.replace("MORE", "measured_here = true")
SCALE = """
[latency.float.scale]
ratio = []
ratio_rows = "float"
clock_ghz = []
uncertainty = 0.0
reason = "none"
"""
TRUTH = np.array([0.05, 0.4, 0.1, 0.02, 0.01, 0.03, 0.5, 0.0, 1.5])


def row(model, alpha, size, ms, dtype="float32", device="My board"):
    return f"{model},{alpha},{size},1001,{dtype},{device},1,x,R,{ms!r},A,made up,here,"


def exact(factor=1.0, families=("mobilenet_v1", "mobilenet_v2"), device="My board"):
    """Rows that follow TRUTH exactly."""
    rows = []
    for family in families:
        for alpha in (0.35, 0.5, 0.75, 1.0):
            for size in (96, 128, 160, 224):
                cost = cost_of_architecture(family, alpha, size, 1001)
                ms = float(features(cost, "float") @ TRUTH) * factor
                rows.append(row(family, alpha, size, ms, device=device))
    return rows


def board(folder, text, **tables):
    (folder / "measurements").mkdir(exist_ok=True)
    for name, rows in tables.items():
        (folder / "measurements" / f"{name}.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (folder / "mine.toml").write_text(text)
    return load_profile(str(folder / "mine.toml"))


# --- fits ----------------------------------------------------------------------------------


def test_a_table_that_the_features_explain_is_fitted_closely(tmp_path):
    fit = fit_class(board(tmp_path, HERE, mine=exact()), "float")
    assert fit.fit_error < 0.02
    assert fit.leave_one_out < 0.03
    assert (fit.basis, fit.families) == ("table", {"mobilenet_v1": 16, "mobilenet_v2": 16})
    assert (fit.floor, fit.rate, fit.uncertainty, fit.excluded) == (0, 0, 0, 0)


def test_a_fit_not_measured_here_has_a_floor_and_leaves_its_hold_out_alone(tmp_path):
    fit = fit_class(board(tmp_path, PLAIN, mine=exact()), "float")
    assert math.expm1(fit.floor) == pytest.approx(fit_module.UNCALIBRATED, rel=1e-5)
    assert fit.excluded == 32 - len(fit.rows) > 0


def test_a_fit_to_two_rows_meets_them_and_takes_its_shape_from_elsewhere(tmp_path):
    v1, v2 = (exact(0.25, [f])[-1] for f in ("mobilenet_v1", "mobilenet_v2"))
    fit = fit_class(board(tmp_path, PLAIN, mine=[v1, v2]), "float")
    assert fit.basis == "anchored"
    assert fit.fit_error < 0.02
    assert fit.rate > 0
    shapes = np.array([*_shares("float", counts=False).values()])
    own = np.array(list(fit.shares.values()))
    assert own.sum() == pytest.approx(1, rel=1e-4)
    # A mixture: of parts that are none negative, and in sum 1.
    parts = nnls(np.vstack([shapes.T, np.ones(len(shapes))]), np.append(own, 1.0))
    assert parts @ shapes == pytest.approx(own, abs=1e-4)


def test_relatives_give_the_shape_whatever_their_level(tmp_path):
    """The other family is right though no row of it was measured."""
    text = PROFILE.replace("MORE", 'relatives = ["kin"]')
    v1 = exact(1.0, ["mobilenet_v1"])[-1:]
    cost = cost_of_architecture("mobilenet_v2", 1.0, 224, 1001)
    right = float(features(cost, "float") @ TRUTH)
    off = []
    for kin in (exact(3.0), exact(0.1)):
        profile = board(tmp_path, text, mine=v1, kin=kin)
        [fit_file] = fit_all([profile], tmp_path / "fits")
        off.append(estimate(cost, profile).latency_ms / right - 1)
        assert len(fit_file.fits["float"].rows) == 1
    assert off[0] == pytest.approx(off[1], abs=1e-4)
    assert abs(off[0]) < 0.05


def test_ratios_and_clocks_are_multiplied_and_their_scatter_widens(tmp_path):
    text = (PLAIN + SCALE).replace("ratio = []", 'ratio = [["fast", "slow"]]')
    text = text.replace("clock_ghz = []", "clock_ghz = [3.0, 2.0]")
    models = [("mobilenet_v1", 1.0, 224), ("mobilenet_v2", 1.0, 224)]
    slow = [row(*m, 100.0) for m in models]
    alike = board(tmp_path, text, mine=exact(), slow=slow, fast=[row(*m, 50.0) for m in models])
    plain = fit_class(board(tmp_path, PLAIN, mine=exact()), "float")
    fit = fit_class(board(tmp_path, text), "float")
    assert fit == fit_class(alike, "float")
    assert (fit.basis, fit.scale, fit.uncertainty) == ("scaled", pytest.approx(0.75), 0)
    scaled = [0.75 * c for c in plain.coefficients.values()]
    assert list(fit.coefficients.values()) == pytest.approx(scaled, rel=1e-4)
    apart = [row(*models[0], 40.0), row(*models[1], 62.5)]
    wide = fit_class(board(tmp_path, text, fast=apart), "float")
    assert wide.scale == pytest.approx(0.75)
    assert math.exp(wide.uncertainty) == pytest.approx(1.25, rel=1e-4)


@pytest.mark.parametrize(
    ("tables", "text", "said"),
    [
        ({}, PLAIN, r"profile mine: no file measurements/mine.csv; there: .*rpi4-xnnpack"),
        ({"mine": []}, PLAIN, r"measurements/mine.csv has no float row"),
        ({"mine": [row("mobilenet_v1", 1, 224, 1.0, "int8")]}, PLAIN, r"has no float row"),
        ({"mine": [row("mobilenet_v1", 1, 224, 1.0, "int5")]}, PLAIN, r"line 2: dtype is 'int5'"),
        ({"mine": [row("mobilenet_v1", 1, 224, -1.0)]}, PLAIN, r"latency_ms is -1.0"),
        ({"mine": [row("mobilenet_v1", 1, 224, math.nan)]}, PLAIN, r"latency_ms is nan"),
        ({"mine": [row("mobilenet_v1", -1, 224, 1.0)]}, PLAIN, r"alpha is -1.0"),
        ({"mine": [row("mobilenet_v1", 1, 0, 1.0)]}, PLAIN, r"resolution is 0"),
        ({"mine": [row("mobilenet_v1", "x", 224, 1.0)]}, PLAIN, r"mine.csv line 2: .*'x'"),
        ({"mine": ["mobilenet_v1,1"]}, PLAIN, r"mine.csv line 2"),
        (
            {"mine": exact(), "a": exact()[:1], "b": exact()[1:2]},
            (PLAIN + SCALE).replace("ratio = []", 'ratio = [["a", "b"]]'),
            r"a and b have no float model in common",
        ),
    ],
)
def test_tables_that_cannot_serve_are_refused_by_name(tmp_path, tables, text, said):
    with pytest.raises(ProfileError, match=said):
        fit_profile(board(tmp_path, text, **tables))


def test_a_table_with_other_columns_is_refused(tmp_path):
    profile = board(tmp_path, PLAIN, mine=[])
    (tmp_path / "measurements" / "mine.csv").write_text("model,ms\n")
    with pytest.raises(ProfileError, match=r"columns are .*valid"):
        fit_profile(profile)


def test_a_fit_is_written_and_read_back_from_beside_the_profile(tmp_path):
    profile = board(tmp_path, PLAIN, mine=exact())
    with pytest.raises(ProfileError, match=r"no file fits/mine.json.*edge-sdk profiles fit"):
        read_fit(profile)
    [made] = fit_all([profile], tmp_path / "fits")
    assert read_fit(profile) == made
    (tmp_path / "fits" / "mine.json").write_text("{")
    with pytest.raises(ProfileError, match="not valid JSON"):
        read_fit(profile)
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot write"):
        fit_all([profile], tmp_path / "file")


def test_a_fit_that_says_the_same_keeps_its_date(tmp_path):
    profile = board(tmp_path, PLAIN, mine=exact())
    fit_all([profile], tmp_path / "fits")
    path = tmp_path / "fits" / "mine.json"
    old = re.sub(r'"date": "[^"]*"', '"date": "2000-01-01"', path.read_text())
    path.write_text(old)
    fit_all([profile], tmp_path / "fits")
    assert path.read_text() == old
    fit_all([board(tmp_path, PLAIN, mine=exact(2.0))], tmp_path / "fits")
    assert "2000-01-01" not in path.read_text()


# --- what is shipped -----------------------------------------------------------------------


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return a == (pytest.approx(b, rel=1e-3, abs=1e-6) if isinstance(b, float) else b)


@pytest.mark.parametrize("name", profile_names())
def test_the_shipped_fit_is_what_the_shipped_tables_give(name):
    profile = load_profile(name)
    shipped, made = to_plain(read_fit(profile)), to_plain(fit_profile(profile))
    made["date"], made["tool_version"] = shipped["date"], shipped["tool_version"]
    assert close(json.loads(json.dumps(made)), shipped), "make it again: edge-sdk profiles fit"


@pytest.mark.parametrize("name", profile_names())
def test_no_shipped_fit_has_seen_a_row_of_the_hold_out(name):
    for dtype_class, fit in read_fit(load_profile(name)).fits.items():
        table = shipped_tables()[fit.table, dtype_class]
        hidden = {key for key, out in zip(table.keys, held_out(table), strict=True) if out}
        assert fit.excluded == len(hidden)
        assert not hidden & {(r.model, r.alpha, r.resolution) for r in fit.rows}
        assert all(c >= 0 for c in fit.coefficients.values())
        assert math.expm1(fit.floor) == pytest.approx(fit_module.UNCALIBRATED, rel=1e-5)


@pytest.mark.parametrize("name", profile_names())
def test_every_row_used_has_its_source_and_a_trusted_tier(name):
    profile = load_profile(name)
    tables = {table for each in profile.latency.values() for table in each.every_table()}
    for table in tables:
        rows = read_table(profile, table)
        assert rows
        for r in rows:
            assert r.tier in ("A", "B") or table.startswith("imx6q")
            assert r.source
            assert r.locator
            assert r.label == "published"
            assert r.dtype in CLASS_OF_DTYPE
        # One file is one device and one runtime.
        assert len({(r.device, r.runtime, r.abi, r.threads) for r in rows}) == 1
        assert len({(r.key, r.classes, r.dtype, r.locator) for r in rows}) == len(rows)


def test_published_rows_are_those_of_the_device_itself():
    rows = published_rows(load_profile("rpi5"))
    assert {r.device for r in rows} == {"Raspberry Pi 5"}
    assert not {r.model for r in rows} & set(ARCHITECTURES)
    anchors = {(r.model, r.dtype): r.latency_ms for r in published_rows(load_profile("rpi4"))
               if (r.abi, r.runtime[-4:]) == ("aarch64", "2022")}  # fmt: skip
    assert anchors == {
        ("mobilenet_v1", "float32"): 77, ("mobilenet_v2", "float32"): 46,
        ("mobilenet_v1", "int8"): 24, ("mobilenet_v2", "int8"): 17,
    }  # fmt: skip
    assert published_rows(load_profile("redmi-note-9")) == []
