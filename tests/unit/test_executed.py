import csv
import math
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from edge_sdk.benchmark.executed import CPUS, WORK, core_of, count_model, counted, tiled
from edge_sdk.benchmark.features import COUNTS, FEATURES, breakdown, features
from edge_sdk.benchmark.ratios import Both, apart, as_float, both_timed, left_out_errors
from edge_sdk.benchmark.solve import mixture, nearer
from edge_sdk.benchmark.tables import _with, counts_help, held_out, shipped_tables
from edge_sdk.cost import LayerCost, ModelCost, cost_of_architecture
from edge_sdk.profiles import load_profile, profile_names

DTYPES = ("float32", "int8", "w4a8")


def test_the_shipped_grid_is_whole():
    assert set(counted()) == {(cpu, dtype) for cpu in CPUS for dtype in DTYPES}
    networks = {frozenset(rows) for rows in counted().values()}
    assert [len(n) for n in networks] == [33]


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_count_model_gives_what_was_counted_and_is_near_what_it_has_not_seen(cpu, dtype):
    model = count_model(cpu, dtype)
    for key, instructions in counted()[cpu, dtype].items():
        made = model(cost_of_architecture(*key, 1000, "int8")) * 1e6
        assert made == pytest.approx(instructions, rel=0.03)
    assert model.score.one_out < 0.02
    assert model.score.group_out < 0.06
    assert (model.predictor.coefficients >= 0).all()
    assert len(model.predictor.coefficients) == len(WORK)


def test_counts_are_of_a_network_whatever_its_type_in_bytes():
    for arch in ("mobilenet_v1", "mobilenet_v2"):
        one, other = (cost_of_architecture(arch, 0.6, 144, dtype=d) for d in ("float32", "int8"))
        model = count_model("cortex-a72", "int8")
        assert model(one) == pytest.approx(model(other))
        assert as_float(other) == one


def test_layers_add_up_to_the_invoke_but_for_its_constant():
    cost = cost_of_architecture("mobilenet_v2", 0.35, 96)
    model = count_model("cortex-a53", "float32")
    layers = model.by_layer(cost)
    assert len(layers) == len(cost.layers)
    assert min(layers) >= 0
    assert 0.9 * model(cost) < sum(layers) <= model(cost) * 1.0001


def test_the_feature_is_shared_out_among_the_kinds():
    cost = cost_of_architecture("mobilenet_v1", dtype="int8")
    x = features(cost, "int8")
    only = dict.fromkeys(FEATURES, 0.0) | {"instructions": 2.0}
    assert sum(breakdown(cost, "int8", only).values()) == pytest.approx(2 * x[COUNTS])
    assert (_with(x[None, :], counts=False)[0] == np.where(np.arange(len(x)) == COUNTS, 0, x)).all()


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("4x Cortex-A53", "cortex-a53"),
        ("2x Cortex-A72 1.8 GHz + 4x Cortex-A53 1.4 GHz", "cortex-a72"),
        ("4x Cortex-A73 2.36 GHz + 4x Cortex-A53 1.8 GHz", None),
        ("4x Kryo 385 Gold (Cortex-A75)", None),
        ("", None),
    ],
)
def test_the_first_core_is_the_one_that_counts(cpu, name):
    assert core_of(cpu) == name


def test_a_product_s_tile_is_filled():
    layer = LayerCost("c", "pointwise", 9 * 33 * 8, 33 * 8, 0, 0, 72, 9 * 33, 0, "int8", "int8")
    assert tiled(layer, (4, 8)) == pytest.approx(12 * 40 * 8)
    plain = LayerCost("c", "pointwise", 10, 0, 0, 0, 1, 1, 0, "", "int8")
    assert tiled(plain, (4, 8)) == 10
    model = count_model("cortex-a76", "w4a8")
    assert math.isfinite(model(ModelCost((plain,))))


# --- ratios --------------------------------------------------------------------------------


def test_tables_that_time_both_types_are_compared_with_what_their_core_executes():
    found = both_timed()
    assert {b.cpu for b in found} == set(CPUS)
    rows = list(
        csv.DictReader(
            (files("device_profiles") / "measurements" / "rpi4-xnnpack-2022-02-aarch64.csv")
            .read_text(encoding="utf-8")
            .splitlines()
        )
    )
    at = {(r["model"], r["dtype"]): float(r["latency_ms"]) for r in rows}
    ratios = [at[m, "int8"] / at[m, "float32"] for m in ("mobilenet_v1", "mobilenet_v2")]
    [one] = [b for b in found if b.table == "rpi4-xnnpack-2022-02-aarch64"]
    assert one.latency == pytest.approx(math.sqrt(math.prod(ratios)))
    assert (one.cpu, one.models) == ("cortex-a72", 2)
    # An int8 model executes nearly as much as float there, and takes a third of the time.
    assert one.instructions > 0.8 > 0.4 > one.latency


def test_the_uncertainty_holds_every_table_of_every_core():
    for b in both_timed():
        mean, spread = apart(b.cpu)
        assert abs(b.apart - mean) <= spread * 1.0001
    assert apart("cortex-a73")[1] == apart("cortex-a72")[1]


def test_a_table_left_out_is_judged_by_the_others_alone():
    table = Both("none", "cortex-a72", 1, 100.0, 0.9)
    off = left_out_errors(table)
    assert all(0.9 < x < 1 for x in off)


# --- what the fits take --------------------------------------------------------------------


def test_a_difference_within_its_standard_error_is_none():
    rng = np.random.default_rng(0)
    errors = rng.uniform(0, 0.1, 30)
    assert not nearer(errors, errors)
    assert not nearer(errors + rng.normal(0, 0.02, 30), errors)
    assert nearer(errors, errors + 0.01)
    assert not nearer(errors + 0.01, errors)


def test_a_table_of_executed_instructions_keeps_them_and_one_of_bytes_does_not():
    table = shipped_tables()["rpi4-tflite-1.15-armv7l", "float"]
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.005, len(table.y)))
    spilt = table.X.copy()
    # Counts that no sum of the other features is: every other row executes half as much again.
    spilt[::2, COUNTS] *= 1.5
    executed = replace(table, X=spilt, y=spilt[:, COUNTS] * noise)
    assert counts_help(executed)[0]
    assert not counts_help(replace(table, X=spilt, y=table.X[:, 3] * noise))[0]


def test_a_mixture_finds_the_shape_that_made_the_rows():
    rng = np.random.default_rng(0)
    shapes = rng.dirichlet(np.ones(4), 3)
    X = rng.uniform(1, 10, (20, 4))
    at = X.mean(axis=0)
    y = X @ (shapes[1] / at) * 7
    found = mixture(X, y, shapes, at, np.full(3, 1 / 3), shrink=0.001)
    assert found == pytest.approx(shapes[1], abs=0.02)
    assert found.sum() == pytest.approx(1)
    tied = mixture(X, y, shapes, at, np.array([1.0, 0, 0]), shrink=1e6)
    assert tied == pytest.approx(shapes[0], abs=1e-3)


def test_shipped_profiles_of_counted_cores_are_those_that_borrow():
    cores = {name: core_of(load_profile(name).hardware.cpu) for name in profile_names()}
    assert {n for n, c in cores.items() if c and n.startswith("rpi")} == {
        n for n in profile_names() if n.startswith("rpi")
    }
    assert held_out(shipped_tables()["rpi4-armnn-19.08-armv7l", "float"]).any()
