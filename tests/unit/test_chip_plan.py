"""Which layers a chip hurts, and which stay digital under a budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cim_networks import mobilenet

from edge_sdk.backends.cim.chip import Chip
from edge_sdk.backends.cim.cost import cost_of_network
from edge_sdk.backends.cim.deployed import Deployed
from edge_sdk.backends.cim.kernel import Kernel
from edge_sdk.backends.cim.profile import Spread, load_cim_profile
from edge_sdk.backends.cim.sums import exact_sums
from edge_sdk.chips.plan import (
    LayerLoss,
    Loss,
    Plan,
    Trial,
    lost_together,
    plan,
    sensitivity,
    sensitivity_text,
)
from edge_sdk.errors import UsageError

RNG = np.random.default_rng(0)


def kernel(name, weights, kind="dense", positions=(1, 1)):
    return Kernel(
        name, kind, np.asarray(weights, np.int8), 8, 0, 0, 0, 255, (1, 1), (0, 0, 0, 0), positions
    )  # fmt: skip


FRAGILE = kernel("fragile", np.where(RNG.random((64, 4)) < 0.5, -3, 3))  # small in its range
FRAGILE.weights[0] = 127
DEPTHWISE = kernel("depthwise", RNG.integers(-9, 9, (1, 1, 64)), "depthwise")
STURDY = kernel("sturdy", 120 * np.eye(4))


def deployed():
    """One depthwise and two dense layers, whose largest sum is the class."""

    def run(levels, accumulate, digital):
        def sums(k, x):
            beside = k.name in digital or accumulate is exact_sums
            return exact_sums(k, x) if beside else accumulate(k, x)

        sums(DEPTHWISE, levels[:, None, None])
        hidden = np.clip(sums(FRAGILE, levels) // 64 + 100, 0, 255).astype(np.int16)
        return sums(STURDY, hidden)

    return Deployed(None, None, (DEPTHWISE, FRAGILE, STURDY), run)


@pytest.fixture
def trial():
    profile = load_cim_profile("cim-nor-generic")
    errors = replace(profile.errors, row_ohm=0.0, column_ohm=0.0)
    levels = np.random.default_rng(1).integers(0, 256, (200, 64)).astype(np.uint8)
    levels[:, 0] = 0
    model = deployed()
    truth = model.run(levels, exact_sums, ()).argmax(1)
    return Trial(
        model, replace(profile, adc=replace(profile.adc, ideal=True), errors=errors), levels,
        lambda raw: raw.argmax(1), truth, time_s=432000.0, chips=4,
    )  # fmt: skip


def test_the_layer_whose_weights_are_small_in_their_range_loses_most(trial):
    found = {x.name: x for x in sensitivity(trial)}
    assert list(found) == ["fragile", "sturdy"]  # depthwise is digital already
    assert found["fragile"].loss.lost > 2 * max(0.004, found["sturdy"].loss.lost)
    assert found["fragile"].loss.changed >= found["fragile"].loss.lost > 0
    assert found["fragile"].loss.sd > 0


def test_a_layer_alone_is_that_layer_on_the_very_chips(trial):
    fragile = next(x for x in sensitivity(trial) if x.name == "fragile")
    changed = []
    for seed in range(trial.chips):
        chip = Chip(trial.profile, trial.deployed.kernels, seed=seed, time_s=trial.time_s)
        raw = trial.deployed.run(trial.levels, chip, ("depthwise", "sturdy"))
        changed.append((raw.argmax(1) != trial.truth).mean())
    # Reads are a stream of their own in each run: the cells are what is the same.
    assert fragile.loss.changed == pytest.approx(np.mean(changed), abs=0.03)
    assert lost_together(trial, ("fragile", "sturdy")) == Loss(0.0, 0.0, 0.0)
    assert lost_together(trial, ("sturdy",)).lost == pytest.approx(fragile.loss.lost, abs=0.03)


def test_without_labels_changed_answers_count(trial):
    found = sensitivity(replace(trial, truth=None, chips=2))
    assert all(x.loss.lost is None for x in found)
    assert found[0].loss.judged_by == found[0].loss.changed > 0


def test_without_errors_nothing_is_lost(trial):
    none = Spread((0.0,), (0.0,), ((0.0,),))
    errors = replace(trial.profile.errors, programming=none, read=none)
    found = sensitivity(replace(trial, profile=replace(trial.profile, errors=errors)))
    assert [(x.loss.lost, x.loss.changed, x.loss.sd) for x in found] == [(0.0, 0.0, 0.0)] * 2


def test_a_digital_chip_has_nothing_to_try(trial):
    with pytest.raises(UsageError, match="cim-sram-28nm puts no layer of this model on arrays"):
        sensitivity(replace(trial, profile=load_cim_profile("cim-sram-28nm")))


def layer(name, lost, extra):
    return LayerLoss(name, Loss(lost, abs(lost), 0.0), 1.0, 1.0 + extra)


LAYERS = (
    layer("a", 0.030, 3.0),  # 0.010 a microjoule
    layer("b", 0.020, 1.0),  # 0.020
    layer("c", 0.001, -0.5),  # saves energy
    layer("d", -0.004, -0.5),  # gains by chance: stays
    layer("e", 0.010, 4.0),  # 0.0025
)
COST = replace(
    cost_of_network(mobilenet(), load_cim_profile("cim-nor-generic")), total_uj=10.0
)  # fmt: skip


def test_an_accuracy_budget_takes_the_cheapest_loss_first():
    found = plan(LAYERS, COST, most_lost=0.015)
    assert found.digital == ("c", "b", "a")
    assert found.expected == pytest.approx(0.010)
    assert found.energy_uj == pytest.approx(10 - 0.5 + 1 + 3)
    assert found.reached
    assert found.before_uj == 10
    assert plan(LAYERS, COST, most_lost=0.2) == Plan((), pytest.approx(0.061), 10, 10, True)
    assert plan(LAYERS, COST, most_lost=0.0).digital == ("c", "b", "a", "e")


def test_an_energy_budget_takes_what_fits():
    found = plan(LAYERS, COST, most_uj=12.6)  # a does not fit after c and b, nor does e
    assert found.digital == ("c", "b")
    assert found.energy_uj == pytest.approx(10.5)
    assert found.reached
    assert not plan(LAYERS, COST, most_uj=9.0).reached
    for budgets in ({}, {"most_uj": 1.0, "most_lost": 0.1}):
        with pytest.raises(UsageError, match="give one budget"):
            plan(LAYERS, COST, **budgets)


def test_the_table_names_what_stays_digital():
    text = sensitivity_text(LAYERS, plan(LAYERS, COST, most_uj=9.0))
    long = replace(LAYERS[0], name="net_1/block_1/Relu6;net_1/block_1/bn/add_1")
    assert "\nnet_1/block_1/Relu6     3.00   0.00" in sensitivity_text([long])
    assert "a         3.00   0.00     3.00     1.000       4.000\n" in text
    assert "c         0.10" in text
    assert text.count("kept digital") == 1
    assert "1 of 5 layers digital" in text
    assert "NOT kept" in text


def test_a_digital_layer_costs_its_mult_adds(trial):
    found = {x.name: x for x in sensitivity(replace(trial, chips=1))}
    costs = trial.profile.costs
    counted = (64 * 4 * (costs.mac_pj + costs.sram_pj)) / 1e6
    assert found["fragile"].digital_uj >= counted
    assert found["fragile"].array_uj > 0
