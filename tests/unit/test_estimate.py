import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.benchmark.estimate import (
    UNSEEN_FAMILY,
    _breakdown,
    estimate,
    family_of,
    published_rows,
)
from edge_sdk.benchmark.fit import FEATURES, read_fit
from edge_sdk.cost import KINDS, LayerCost, ModelCost, cost_of_architecture
from edge_sdk.errors import ModelError, ProfileError
from edge_sdk.profiles import load_profile, profile_names

PROFILES = {name: load_profile(name) for name in profile_names()}


def with_types(cost, weight, activation):
    return ModelCost(
        tuple(
            dataclasses.replace(
                x, weight_dtype=weight if x.weight_dtype else "", activation_dtype=activation
            )
            for x in cost.layers
        )
    )


@pytest.mark.parametrize("name", ["rpi4", "rpi3b+"])
def test_the_anchors_are_met(name):
    """Published for 1.0 at 224 on the board itself: the estimate is near and the interval holds."""
    anchors = [r for r in published_rows(PROFILES[name]) if r.runtime.startswith("XNNPACK")]
    assert len(anchors) >= 3
    for r in anchors:
        made = estimate(cost_of_architecture(*r.key, 1001, r.dtype), PROFILES[name])
        assert made.latency_ms == pytest.approx(r.latency_ms, rel=0.05)
        assert made.low_ms < r.latency_ms < made.high_ms


def test_pixel_rows_lie_in_their_intervals():
    for name in ("pixel3", "pixel4"):
        rows = published_rows(PROFILES[name])
        made = [estimate(cost_of_architecture(*r.key, 1001, r.dtype), PROFILES[name]) for r in rows]
        inside = [e.low_ms <= r.latency_ms <= e.high_ms for e, r in zip(made, rows, strict=True)]
        assert sum(inside) >= 0.9 * len(rows)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(PROFILES)),
    arch=st.sampled_from(["mobilenet_v1", "mobilenet_v1_full", "mobilenet_v2"]),
    alpha=st.sampled_from([0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.4]),
    size=st.integers(32, 320),
    dtype=st.sampled_from(["float32", "float16", "int16", "int8", "uint8", "int4"]),
)
def test_an_estimate_is_positive_inside_its_interval_and_adds_up(name, arch, alpha, size, dtype):
    cost = cost_of_architecture(arch, alpha, size, dtype=dtype)
    made = estimate(cost, PROFILES[name])
    assert 0 < made.low_ms < made.latency_ms < made.high_ms
    assert made.high_ms / made.latency_ms >= 1.1999
    assert made.label == "estimated"
    assert made.fps == pytest.approx(1000 / made.latency_ms)
    assert sum(made.breakdown_ms.values()) == pytest.approx(made.latency_ms)
    assert set(made.breakdown_ms) == {*KINDS, "overhead"}
    assert all(v >= 0 for v in made.breakdown_ms.values())
    assert made.memory_bytes == cost.weight_bytes + cost.peak_activation_bytes
    assert made.energy_mj is None or made.energy_mj > made.energy_above_idle_mj > 0


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(PROFILES)),
    arch=st.sampled_from(["mobilenet_v1", "mobilenet_v2"]),
    sizes=st.tuples(st.integers(64, 256), st.integers(64, 256)).map(sorted),
    alphas=st.tuples(st.sampled_from([0.25, 0.5]), st.sampled_from([0.75, 1.0])),
    dtype=st.sampled_from(["float32", "int8"]),
)
def test_more_work_never_takes_less_time(name, arch, sizes, alphas, dtype):
    small = cost_of_architecture(arch, alphas[0], sizes[0], dtype=dtype)
    large = cost_of_architecture(arch, alphas[1], sizes[1], dtype=dtype)
    profile = PROFILES[name]
    assert estimate(small, profile).latency_ms <= estimate(large, profile).latency_ms


def test_every_part_of_the_latency_is_shared_out_among_the_kinds():
    cost = cost_of_architecture("mobilenet_v2")
    work = cost.mult_adds_by_kind()
    for part in FEATURES:
        shares = _breakdown(cost, dict.fromkeys(FEATURES, 0.0) | {part: 2.0})
        assert sum(shares.values()) == pytest.approx(2.0), part
    shares = _breakdown(cost, dict.fromkeys(FEATURES, 0.0) | {"conv": 1.0})
    ratio = work["conv"] / work["fully-connected"]
    assert shares["conv"] / shares["fully-connected"] == pytest.approx(ratio)


def test_the_family_is_told_by_the_layers():
    families = ["mobilenet_v1", "mobilenet_v1_shallow", "mobilenet_v2", "mobilenet_v1_full"]
    told = [family_of(cost_of_architecture(a)) for a in families]
    assert told == ["mobilenet_v1", "mobilenet_v1", "mobilenet_v2", None]


def test_a_family_the_fit_has_not_seen_is_said_and_widens_the_interval():
    profile = PROFILES["pixel3"]
    fit = read_fit(profile).fits["float"]
    known = estimate(cost_of_architecture("mobilenet_v1", 0.5), profile)
    unseen = estimate(cost_of_architecture("mobilenet_v2", 0.5), profile)
    assert known.warnings == ()
    assert known.high_ms / known.latency_ms == pytest.approx(1 + fit.spread)
    assert "extrapolated" in unseen.warnings[0]
    assert "mobilenet_v1 only" in unseen.warnings[0]
    widened = (1 + fit.spread) * (1 + UNSEEN_FAMILY)
    assert unseen.high_ms / unseen.latency_ms == pytest.approx(widened)


def test_a_size_outside_the_fit_is_said_and_widens_the_interval():
    profile = PROFILES["rpi4"]
    inside = estimate(cost_of_architecture("mobilenet_v1"), profile)
    outside = estimate(cost_of_architecture("mobilenet_v1", 1.0, 448), profile)
    assert inside.warnings == ()
    assert "Mult-Adds" in outside.warnings[0]
    assert outside.high_ms / outside.latency_ms > inside.high_ms / inside.latency_ms


@pytest.mark.parametrize(
    ("weight", "activation", "dtype_class", "said"),
    [
        ("float32", "float32", "float", ""),
        ("float16", "float32", "float", "float16 kernels"),
        ("int8", "float32", "float", "float activations"),
        ("int8", "int8", "int8", ""),
        ("uint8", "uint8", "int8", ""),
        ("int4", "int8", "int8", "int4 MobileNet is published anywhere"),
        ("int8", "int16", "int8", "int16 activations"),
    ],
)
def test_a_type_nobody_published_is_said(weight, activation, dtype_class, said):
    cost = with_types(cost_of_architecture("mobilenet_v1"), weight, activation)
    made = estimate(cost, PROFILES["rpi4"])
    assert made.dtype_class == dtype_class
    assert len(made.warnings) == bool(said)
    assert not said or said in made.warnings[0]


def test_a_type_no_fit_serves_is_refused():
    cost = with_types(cost_of_architecture("mobilenet_v1"), "float64", "float64")
    with pytest.raises(ModelError, match=r"float64 kernels.*valid"):
        estimate(cost, PROFILES["rpi4"])


def test_a_model_without_work_is_refused():
    layer = LayerCost("add", "other", 0, 0, 0, 0, 4, 4, 8, "", "float32")
    with pytest.raises(ModelError, match="nothing to estimate"):
        estimate(ModelCost((layer,)), PROFILES["rpi4"])


def test_a_class_the_profile_has_not_is_refused():
    profile = PROFILES["rpi4"]
    floats = dataclasses.replace(profile, latency={"float": profile.latency["float"]})
    with pytest.raises(ProfileError, match="rpi4 states no latency for int8 models; it has: float"):
        estimate(cost_of_architecture("mobilenet_v1", dtype="int8"), floats)


def test_the_evidence_names_rows_runtime_and_errors():
    made = estimate(cost_of_architecture("mobilenet_v1", dtype="int8"), PROFILES["rpi5"])
    text = "\n".join(made.evidence)
    for words in ("estimated for Raspberry Pi 5", "XNNPACK", "4 threads", "aarch64", "15 published",
                  "mobilenet_v2 1", "left out", "factor of", "scaled from another"):  # fmt: skip
        assert words in text
    assert (made.runtime, made.threads, made.abi) == ("XNNPACK, 8 February 2022", 4, "aarch64")


def test_energy_is_watts_times_latency_where_the_watts_are_published():
    made = estimate(cost_of_architecture("mobilenet_v1"), PROFILES["rpi4"])
    assert made.energy_mj == pytest.approx(6.4 * made.latency_ms)
    assert made.energy_above_idle_mj == pytest.approx((6.4 - 2.7) * made.latency_ms)
    assert estimate(cost_of_architecture("mobilenet_v1"), PROFILES["pixel4"]).energy_mj is None


def test_a_scaled_profile_is_less_sure_than_the_one_it_is_scaled_from():
    cost = cost_of_architecture("mobilenet_v2", 0.5, 128, dtype="int8")
    ratio = {n: (e := estimate(cost, p)).high_ms / e.latency_ms for n, p in PROFILES.items()}
    assert ratio["rpi5"] > ratio["rpi4"]
    assert ratio["rpi-zero2w"] > ratio["rpi3b+"] > ratio["rpi4"]
    assert ratio["pixel4"] > ratio["pixel3"]
    assert ratio["redmi-note-9"] == max(ratio.values())
