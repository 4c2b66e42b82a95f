import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_sdk.benchmark import fit as fit_module
from edge_sdk.benchmark.fit import (
    FEATURES,
    conformal_quantile,
    features,
    fit_all,
    fit_class,
    fit_profile,
    nnls,
    read_fit,
    relative_nnls,
)
from edge_sdk.benchmark.published import CLASS_OF_DTYPE, published_rows, read_table
from edge_sdk.cost import ARCHITECTURES, cost_of_architecture
from edge_sdk.errors import EdgeError, ProfileError
from edge_sdk.profiles import load_profile, profile_names
from edge_sdk.strict import to_plain

HEAD = "model,alpha,resolution,dtype,device,threads,abi,runtime,latency_ms,tier,source,locator,note"
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
table = "mine"
evidence = "made up"
"""
SCALE = """
[latency.float.scale]
ratio = []
ratio_rows = "float"
clock_ghz = []
uncertainty = 0.0
reason = "none"
"""
TRUTH = np.array([0.05, 0.4, 0.1, 0.02, 0.01, 1.5])


def row(model, alpha, size, ms, dtype="float32", device="My board"):
    return f"{model},{alpha},{size},{dtype},{device},1,x,R,{ms!r},A,made up,here,"


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


# --- non-negative least squares ------------------------------------------------------------

# Columns that resemble each other, as Mult-Adds and bytes do: with independent ones the solver
# hardly ever has to take a variable back.
SEEDS = st.integers(0, 2**32 - 1)


def alike(seed):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.2, 1.0, (9, 1)) + rng.uniform(0.0, 0.5, (9, 6))
    return A, A @ rng.normal(size=6) + rng.normal(scale=0.05, size=9), rng


@settings(max_examples=200)
@given(seed=SEEDS)
def test_nnls_meets_the_conditions_of_karush_kuhn_and_tucker(seed):
    A, b, _ = alike(seed)
    x = nnls(A, b)
    gradient = A.T @ (A @ x - b)
    assert (x >= 0).all()
    assert (gradient >= -1e-7).all()
    assert np.abs(gradient * x).max() <= 1e-7


@settings(max_examples=100)
@given(seed=SEEDS)
def test_no_other_non_negative_point_is_better(seed):
    A, b, rng = alike(seed)
    least = np.linalg.norm(A @ nnls(A, b) - b)
    for other in rng.exponential(size=(20, 6)):
        assert least <= np.linalg.norm(A @ other - b) + 1e-9


@given(
    A=arrays(float, (5, 3), elements=st.sampled_from([-2.0, 0.0, 0.5, 1.0])),
    b=arrays(float, 5, elements=st.floats(-8, 8)),
)
def test_nnls_ends_on_columns_that_are_zero_or_the_same(A, b):
    x = nnls(A, b)
    assert (x >= 0).all()
    assert np.isfinite(x).all()
    assert np.linalg.norm(A @ x - b) <= np.linalg.norm(b) + 1e-9


def test_nnls_holds_back_what_would_be_negative():
    A = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert nnls(A, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])
    assert nnls(A, np.array([-1.0, -1.0, -1.0])) == pytest.approx([0.0, 0.0])
    assert nnls(np.zeros((3, 2)), np.ones(3)) == pytest.approx([0.0, 0.0])


def test_a_weight_draws_the_fit_to_its_row():
    X, y = np.ones((2, 1)), np.array([1.0, 2.0])
    plain = relative_nnls(X, y, np.ones(2))
    drawn = relative_nnls(X, y, np.array([1.0, 100.0]))
    # Relative: 1 off from 1 is worse than 1 off from 2, so the plain fit stays low.
    assert plain == pytest.approx([1.2])
    assert drawn == pytest.approx([2.0], rel=1e-3)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_the_quantile_is_one_of_the_errors_and_covers_nine_in_ten(errors):
    q = conformal_quantile(np.array(errors))
    assert q in errors
    assert sum(e <= q for e in errors) >= 0.9 * len(errors)


def test_the_quantile_has_the_conformal_rank():
    assert conformal_quantile(np.arange(1.0, 20.0)) == 18.0  # ceil(20 * 0.9)
    assert conformal_quantile(np.arange(1.0, 5.0)) == 4.0


# --- features ------------------------------------------------------------------------------


def test_features_are_in_their_order_and_units():
    cost = cost_of_architecture("mobilenet_v1", dtype="float32")
    x = dict(zip(FEATURES, features(cost, "float"), strict=True))
    work = cost.mult_adds_by_kind()
    assert x["pointwise"] * 1e6 == pytest.approx(work["pointwise"])
    assert x["depthwise"] * 1e6 == pytest.approx(work["depthwise"])
    assert x["conv"] * 1e6 == pytest.approx(work["conv"] + work["fully-connected"])
    assert x["activations"] * 1e6 == pytest.approx(cost.activation_bytes)
    assert x["parameters"] * 1e6 == pytest.approx(4 * cost.parameters)
    assert x["constant"] == 1


def test_int4_kernels_cost_what_int8_kernels_do():
    costs = [cost_of_architecture("mobilenet_v1", dtype=d) for d in ("int8", "int4")]
    assert (features(costs[0], "int8") == features(costs[1], "int8")).all()


# --- fits ----------------------------------------------------------------------------------


def test_an_exact_table_is_fitted_exactly(tmp_path):
    profile = board(tmp_path, PROFILE + "measured_here = true\n", mine=exact())
    fit = fit_class(profile, "float")
    assert list(fit.coefficients.values()) == pytest.approx(TRUTH, rel=1e-4)
    assert fit.fit_error < 1e-6
    assert fit.leave_group_out < 1e-6
    assert fit.spread < 1e-6
    assert (fit.basis, fit.families) == ("table", {"mobilenet_v1": 16, "mobilenet_v2": 16})


def test_a_fit_not_measured_here_is_never_narrower_than_the_floor(tmp_path):
    fit = fit_class(board(tmp_path, PROFILE, mine=exact()), "float")
    assert fit.spread == pytest.approx(fit_module.UNCALIBRATED)


def test_anchors_give_the_level_and_the_table_the_shape(tmp_path):
    text = PROFILE + 'anchors = "level"\n'
    v1, v2 = (exact(0.25, [f])[-1] for f in ("mobilenet_v1", "mobilenet_v2"))
    fit = fit_class(board(tmp_path, text, mine=exact(), level=[v1, v2]), "float")
    assert fit.basis == "anchored"
    assert fit.level == pytest.approx({"mobilenet_v1": 0.25, "mobilenet_v2": 0.25}, rel=1e-4)
    assert list(fit.coefficients.values()) == pytest.approx(0.25 * TRUTH, rel=1e-3)
    anchors = [r for r in fit.rows if r.table == "level"]
    assert [r.weight for r in anchors] == pytest.approx([math.sqrt(15)] * 2, rel=1e-5)
    assert len(fit.rows) == 32  # the table's rows of the same models give way


def test_a_family_without_anchor_takes_the_level_of_the_other(tmp_path):
    text = PROFILE + 'anchors = "level"\n'
    profile = board(tmp_path, text, mine=exact(), level=exact(0.5, ["mobilenet_v1"])[-1:])
    assert fit_class(profile, "float").level["mobilenet_v2"] == pytest.approx(0.5, rel=1e-4)


def test_an_anchor_the_table_has_not_is_compared_with_the_tables_fit(tmp_path):
    text = PROFILE + 'anchors = "level"\n'
    missing = [r for r in exact() if "1.0,224" not in r]
    profile = board(tmp_path, text, mine=missing, level=exact(0.5, ["mobilenet_v1"])[-1:])
    assert fit_class(profile, "float").level["mobilenet_v1"] == pytest.approx(0.5, rel=1e-3)


def test_ratios_and_clocks_are_multiplied_and_their_scatter_widens(tmp_path):
    text = (PROFILE + SCALE).replace("ratio = []", 'ratio = [["fast", "slow"]]')
    text = text.replace("clock_ghz = []", "clock_ghz = [3.0, 2.0]")
    models = [("mobilenet_v1", 1.0, 224), ("mobilenet_v2", 1.0, 224)]
    slow = [row(*m, 100.0) for m in models]
    alike = board(tmp_path, text, mine=exact(), slow=slow, fast=[row(*m, 50.0) for m in models])
    fit = fit_class(alike, "float")
    assert (fit.basis, fit.scale) == ("scaled", pytest.approx(0.75))
    assert list(fit.coefficients.values()) == pytest.approx(0.75 * TRUTH, rel=1e-3)
    apart = [row(*models[0], 40.0), row(*models[1], 62.5)]
    wide = fit_class(board(tmp_path, text, fast=apart), "float")
    assert wide.scale == pytest.approx(0.75)
    assert 1 + wide.spread == pytest.approx(1.25 * (1 + fit.spread), rel=1e-4)


@pytest.mark.parametrize(
    ("tables", "text", "said"),
    [
        ({}, PROFILE, r"profile mine: no file measurements/mine.csv; there: .*rpi4-xnnpack"),
        ({"mine": []}, PROFILE, r"measurements/mine.csv has no float row"),
        ({"mine": [row("mobilenet_v1", 1, 224, 1.0, "int8")]}, PROFILE, r"has no float row"),
        ({"mine": [row("mobilenet_v1", 1, 224, 1.0, "int5")]}, PROFILE, r"line 2: dtype is 'int5'"),
        ({"mine": [row("mobilenet_v1", 1, 224, -1.0)]}, PROFILE, r"latency_ms is -1.0"),
        ({"mine": [row("mobilenet_v1", 1, 224, math.nan)]}, PROFILE, r"latency_ms is nan"),
        ({"mine": [row("mobilenet_v1", "x", 224, 1.0)]}, PROFILE, r"mine.csv line 2: .*'x'"),
        ({"mine": ["mobilenet_v1,1"]}, PROFILE, r"mine.csv line 2"),
        (
            {"mine": exact(), "a": exact()[:1], "b": exact()[1:2]},
            (PROFILE + SCALE).replace("ratio = []", 'ratio = [["a", "b"]]'),
            r"a and b have no float model in common",
        ),
    ],
)
def test_tables_that_cannot_serve_are_refused_by_name(tmp_path, tables, text, said):
    with pytest.raises(ProfileError, match=said):
        fit_profile(board(tmp_path, text, **tables))


def test_a_table_with_other_columns_is_refused(tmp_path):
    profile = board(tmp_path, PROFILE, mine=[])
    (tmp_path / "measurements" / "mine.csv").write_text("model,ms\n")
    with pytest.raises(ProfileError, match=r"columns are .*valid"):
        fit_profile(profile)


def test_a_fit_is_written_and_read_back_from_beside_the_profile(tmp_path):
    profile = board(tmp_path, PROFILE, mine=exact())
    with pytest.raises(ProfileError, match=r"no file fits/mine.json.*python -m edge_sdk"):
        read_fit(profile)
    [made] = fit_all([profile], tmp_path / "fits")
    assert read_fit(profile) == made
    (tmp_path / "fits" / "mine.json").write_text("{")
    with pytest.raises(ProfileError, match="not valid JSON"):
        read_fit(profile)
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot write fits"):
        fit_all([profile], tmp_path / "file")


def test_a_users_profile_is_fitted_beside_itself_by_one_command(tmp_path, capsys):
    profile = board(tmp_path, PROFILE, mine=exact())
    fit_module.main([str(tmp_path / "mine.toml")])
    assert read_fit(profile).fits["float"].basis == "table"
    assert "mine" in capsys.readouterr().out


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
    assert close(json.loads(json.dumps(made)), shipped), (
        "make it again: python -m edge_sdk.benchmark.fit"
    )


@pytest.mark.parametrize("name", profile_names())
def test_the_shipped_fits_meet_their_own_rows(name):
    for dtype_class, fit in read_fit(load_profile(name)).fits.items():
        assert fit.fit_error < 0.10, dtype_class
        assert fit.leave_group_out < 0.15, dtype_class
        assert fit.spread >= fit_module.UNCALIBRATED * 0.999
        assert all(c >= 0 for c in fit.coefficients.values())


@pytest.mark.parametrize("name", profile_names())
def test_every_row_used_has_its_source_and_a_trusted_tier(name):
    profile = load_profile(name)
    tables = {table for each in profile.latency.values() for table in each.tables()}
    for table in tables:
        rows = read_table(profile, table)
        assert rows
        for r in rows:
            assert r.tier in ("A", "B")
            assert r.source
            assert r.locator
            assert r.label == "published"
            assert r.dtype in CLASS_OF_DTYPE
        # One file is one device and one runtime.
        assert len({(r.device, r.runtime, r.abi, r.threads) for r in rows}) == 1
        assert len({(r.key, r.dtype) for r in rows}) == len(rows)


def test_published_rows_are_those_of_the_device_itself():
    rows = published_rows(load_profile("rpi5"))
    assert {r.device for r in rows} == {"Raspberry Pi 5"}
    assert not {r.model for r in rows} & set(ARCHITECTURES)
    anchors = {(r.model, r.dtype): r.latency_ms for r in published_rows(load_profile("rpi4"))
               if r.runtime.startswith("XNNPACK")}  # fmt: skip
    assert anchors == {
        ("mobilenet_v1", "float32"): 77, ("mobilenet_v2", "float32"): 46,
        ("mobilenet_v1", "int8"): 24, ("mobilenet_v2", "int8"): 17,
    }  # fmt: skip
    assert published_rows(load_profile("redmi-note-9")) == []
