"""Time and energy: peaks met, bounds kept, one mode predicted from another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cim_networks import kernel, mobilenet
from test_cim_mapping import profile

from edge_sdk.backends.cim.cost import PARTS, calibrated, cost_of_network, peak
from edge_sdk.backends.cim.cross_prediction import cross_predictions, rows_in_use
from edge_sdk.backends.cim.profile import cim_profile_names, in_mode, load_cim_profile
from edge_sdk.errors import ProfileError
from edge_sdk.report_cim import WITHIN, cim_cost_table, predictions_table

NETWORK = mobilenet()
SMALL = mobilenet(alpha=0.35, size=96)
MODES = [
    f"{name}:{mode}" if mode else name
    for name in cim_profile_names()
    for mode in (load_cim_profile(name).modes or {"": None})
]
# Nothing costs anything but what a test sets.
FREE = dict.fromkeys(
    (
        *("adc_pj", "dac_pj", "cell_fj", "shift_add_pj", "sram_pj", "interconnect_pj", "mac_pj"),
        *("output_pj", "static_mw", "program_uj", "program_us", "peak_tops", "peak_tops_per_w"),
    ),
    0.0,
)


def free(**costs):
    return profile(
        costs=FREE | costs, array={"read_ns": 100.0, "overhead_ns": 0.0}, chip={"arrays": 0}
    )


@pytest.mark.parametrize("name", cim_profile_names())
def test_a_full_array_meets_the_quoted_peak(name):
    p = load_cim_profile(name)
    tops, tops_per_w = peak(p)
    if p.costs.peak_tops:
        assert tops == pytest.approx(p.costs.peak_tops, rel=0.01)
    if p.costs.peak_tops_per_w:
        assert tops_per_w == pytest.approx(p.costs.peak_tops_per_w, rel=0.01)
        assert calibrated(p).costs.adc_pj == pytest.approx(p.costs.adc_pj, rel=0.01)


def test_a_peak_that_the_other_costs_do_not_allow_is_refused():
    p = load_cim_profile("cim-hermes-pcm")
    with pytest.raises(ProfileError, match=r"costs\.peak_tops_per_w is 1000000"):
        calibrated(replace(p, costs=replace(p.costs, peak_tops_per_w=1e6)))


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("depthwise", ["digital", "packed", "column-serial", "dense"])
def test_the_quoted_peak_is_a_lower_bound_of_the_energy(name, depthwise):
    p = load_cim_profile(name)
    cost = cost_of_network(SMALL, replace(p, layers=replace(p.layers, depthwise=depthwise)))
    mult_adds = sum(k.mult_adds for k in SMALL)
    assert cost.total_uj > cost.bound_uj
    if p.costs.peak_tops_per_w:
        assert cost.bound_uj == pytest.approx(2e-6 * mult_adds / p.costs.peak_tops_per_w)
        assert cost.tops_per_w < p.costs.peak_tops_per_w
    assert cost.total_uj == pytest.approx(sum(cost.energy_uj.values()))
    assert set(cost.energy_uj) == set(PARTS)


@pytest.mark.parametrize(("name", "bound"), [("cim-hermes-pcm", 243), ("cim-nor-generic", 80),
    ("cim-hermes-pcm:one-phase", 62)])  # fmt: skip
def test_the_bounds_of_the_reference(name, bound):
    assert round(cost_of_network(NETWORK, load_cim_profile(name)).bound_uj) == bound


@pytest.mark.parametrize(
    ("costs", "part", "picojoules"),
    [
        # 600 x 300 on 3 x 2 arrays, 25 positions.
        ({"adc_pj": 2.0}, "adc", 25 * 3 * 300 * 2.0),
        ({"shift_add_pj": 2.0}, "shift_add", 25 * 3 * 300 * 2.0),
        ({"dac_pj": 2.0}, "dac", 25 * 2 * 600 * 2.0),
        ({"cell_fj": 2.0}, "cells", 25 * 600 * 300 * 2 * 2e-3),
        ({"sram_pj": 2.0}, "sram", 25 * (600 + 300) * 2.0),
        ({"interconnect_pj": 2.0}, "interconnect", 25 * (600 * 2 + 300 + 300 * 3) * 2.0),
        ({"output_pj": 2.0}, "digital", 25 * 300 * 2.0),
        ({"mac_pj": 2.0}, "digital", 0.0),
        ({"static_mw": 2.0}, "static", 25 * 100.0 * 2.0),
    ],
)
def test_each_part_by_hand(costs, part, picojoules):
    layer = kernel("conv", (1, 1, 600, 300), side=5)
    cost = cost_of_network([layer], free(**costs))
    assert cost.energy_uj[part] == pytest.approx(picojoules / 1e6)
    assert cost.total_uj == pytest.approx(picojoules / 1e6)
    assert cost.latency_us == pytest.approx(25 * 0.1)


def test_digital_depthwise_costs_mult_adds_and_time_of_its_own():
    layer = kernel("dw", (3, 3, 10), side=2)
    cost = cost_of_network([layer], free(mac_pj=2.0, mac_per_ns=0.5))
    assert cost.energy_uj["digital"] == pytest.approx(4 * 90 * 2.0 / 1e6)
    assert cost.latency_us == pytest.approx(4 * 90 / 0.5 / 1e3)
    assert cost.mapping.arrays == 0


def test_layers_beside_each_other_overlap_unless_they_share_an_array():
    two = [kernel("a", (1, 1, 128, 128), side=10), kernel("b", (1, 1, 128, 128), side=5)]
    apart = cost_of_network(two, free())
    assert apart.latency_us == pytest.approx(12.5)
    assert apart.interval_us == pytest.approx(10.0)
    p = free()
    shared = cost_of_network(two, replace(p, chip=replace(p.chip, arrays=1)))
    assert shared.mapping.placed == "shared"
    assert shared.latency_us == shared.interval_us == pytest.approx(12.5)


def test_blocks_of_one_layer_on_one_array_are_read_one_after_the_other():
    p = profile(free(), chip={"arrays": 2}, array={"rows": 4, "columns": 8})
    # 6 x 8 weights: 4 rows on one array and 2 on another; then 2 rows more.
    tall = [kernel("tall", (1, 1, 6, 8)), kernel("flat", (1, 1, 2, 8))]
    cost = cost_of_network(tall, p)
    assert cost.mapping.placed == "shared"
    assert cost.layers[0].latency_us == pytest.approx(0.1)
    small = profile(free(), chip={"arrays": 1, "reload": True}, array={"rows": 4, "columns": 8})
    one_array = cost_of_network(tall[:1], small)
    assert one_array.mapping.placed == "reloaded"
    assert one_array.layers[0].latency_us == pytest.approx(0.2)


def test_reloading_costs_time_and_energy_per_row():
    p = profile(free(program_uj=3.0, program_us=7.0), chip={"arrays": 1, "reload": True})
    layer = kernel("fc", (1, 1, 300, 200))
    cost = cost_of_network([layer], p)
    assert cost.mapping.reload_rows == 300
    assert cost.energy_uj["reload"] == pytest.approx(900)
    assert cost.latency_us == pytest.approx(2 * 0.1 + 2100)
    assert cost.interval_us == pytest.approx(cost.latency_us)
    assert cost.program_uj == pytest.approx(900)
    enough = cost_of_network([layer], replace(p, chip=replace(p.chip, arrays=2)))
    assert enough.energy_uj["reload"] == 0


def test_a_serial_read_is_as_long_as_its_digits():
    p = profile(free(), dac={"mode": "serial", "coding": "voltage"})
    eight, seven = (cost_of_network([kernel("fc", (1, 1, 8, 8), low=low)], p) for low in (-128, 0))
    assert seven.latency_us / eight.latency_us == pytest.approx(7 / 8)


def test_cost_without_layers_is_none():
    cost = cost_of_network([], free())
    assert (cost.total_uj, cost.latency_us, cost.interval_us, cost.tops_per_w) == (0, 0, 0, 0)


# --- one mode from another -----------------------------------------------------------------


def test_the_other_mode_is_predicted_within_a_quarter():
    rows = cross_predictions()
    assert {(p.chip, p.calibrated_on, p.mode) for p in rows} >= {
        ("IBM HERMES", "one-phase", "four-phase"),
        ("IBM HERMES", "four-phase", "one-phase"),
        ("AON-CiM", "8-bit", "4-bit"),
    }
    assert {p.workload for p in rows if p.mode == "4-bit"} == {"KWS", "VWW"}
    assert all(p.calibrated_on != p.mode for p in rows)
    assert [p for p in rows if abs(p.error) > WITHIN] == []
    published = {(p.workload, p.mode, p.what): p.published for p in rows}
    assert published["peak", "one-phase", "TOPS"] == 63.1
    assert published["peak", "four-phase", "TOPS/W"] == 2.48
    assert published["KWS", "4-bit", "TOPS/W"] == 57.39
    assert published["VWW", "4-bit", "TOPS/W"] == 25.69


def test_a_prediction_takes_nothing_from_the_mode_it_predicts(monkeypatch):
    hermes, aon = load_cim_profile("cim-hermes-pcm"), load_cim_profile("cim-aon-pcm")

    def doubled(p, modes):
        quoted = tuple(
            replace(q, tops=2 * q.tops, tops_per_w=2 * q.tops_per_w) if q.mode in modes else q
            for q in p.quoted
        )
        return replace(p, quoted=quoted)

    told = {"cim-hermes-pcm": doubled(hermes, ["one-phase"]),
            "cim-aon-pcm": doubled(aon, ["4-bit", "6-bit"])}  # fmt: skip
    before = cross_predictions()
    monkeypatch.setattr(
        "edge_sdk.backends.cim.cross_prediction.load_cim_profile", lambda name: told[name]
    )
    after = cross_predictions()
    wrong = ("one-phase", "4-bit", "6-bit")
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if b.mode in wrong]
    assert len(pairs) == 6
    for b, a in pairs:
        assert a.predicted == pytest.approx(b.predicted)
        assert a.published == pytest.approx(2 * b.published)
    assert "MISSED" in predictions_table(after)
    assert "MISSED" not in predictions_table(before)


def test_the_rows_in_use_are_an_array_s():
    aon = load_cim_profile("cim-aon-pcm")
    for quote in (q for q in aon.quoted if q.mode == "8-bit"):
        assert 9 < rows_in_use(aon, quote.tops_per_w) <= aon.array.rows


def test_aon_s_converters_are_those_of_hermes_in_one_phase():
    hermes = calibrated(load_cim_profile("cim-hermes-pcm:one-phase"))
    aon = load_cim_profile("cim-aon-pcm")
    assert aon.costs.adc_pj == pytest.approx(hermes.costs.adc_pj, rel=0.01)
    assert aon.array.read_ns == pytest.approx(hermes.array.read_ns, rel=0.01)
    assert in_mode(aon, "4-bit").costs.adc_pj < aon.costs.adc_pj / 10


def test_the_table_of_costs():
    text = cim_cost_table([(n, cost_of_network(NETWORK, load_cim_profile(n))) for n in MODES])
    assert all(name in text for name in MODES)
    assert text.splitlines()[2].endswith("NO")  # AON-CiM's one array is too small
