import dataclasses
import math
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.benchmark.calibrate import (
    Run,
    Timed,
    calibrated_profile,
    calibration_models,
    profile_text,
    read_timed,
    store,
    time_models,
)
from edge_sdk.benchmark.estimate import estimate
from edge_sdk.benchmark.measure import Machine, Measurement
from edge_sdk.benchmark.simulations import calibrated, calibrated_spread, spread_out
from edge_sdk.cost import cost_of_architecture
from edge_sdk.errors import EdgeError, ProfileError, UsageError
from edge_sdk.profiles import load_profile, profile_names
from edge_sdk.report_profiles import calibration_warnings

MEASURED = Measurement(
    "litert", "2", "3.11", 3, 50, 10, 1.5, 1.75, 2.0, 1.6, 1.4, 120.0, 50_000_000, 10_000_000,
    Machine("Some CPU", 4, 8_000_000_000, "Linux aarch64"),
)  # fmt: skip
RUNS = dict.fromkeys(("float", "int8"), Run("LiteRT", "2.3.0", 4, "aarch64", 1.8))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "edge-sdk" / "profiles"


def unit(base, factor, dtype="int8"):
    """A unit that takes `factor` times as long as its profile says, timed on five models."""
    kind = "float" if dtype == "float32" else "int8"
    made = []
    for model, alpha, size in calibration_models(kind):
        cost = cost_of_architecture(model, alpha, size, 1001, dtype)
        made.append(Timed(model, alpha, size, dtype, estimate(cost, base).latency_ms * factor))
    return made


def test_the_models_to_time_are_few_small_and_far_apart():
    models = calibration_models("int8")
    assert len(models) == len(set(models)) == 5
    assert {m for m, _, _ in models} == {"mobilenet_v1", "mobilenet_v2"}
    work = [cost_of_architecture(*m, dtype="int8").mult_adds for m in models]
    assert work[0] == min(work)
    assert max(work) / min(work) > 20


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_a_calibrated_unit_is_estimated_within_5_percent_under_its_own_name(own_folder, factor):
    base = load_profile("rpi4")
    made, table = calibrated_profile(base, unit(base, factor), RUNS, "my-pi", "2026-01-02")
    store(made, table)
    mine = load_profile("my-pi")
    assert mine.folder == own_folder
    assert tuple(mine.latency) == ("int8",)
    at = mine.latency["int8"]
    assert (at.runtime, at.threads, at.measured_here) == ("LiteRT", 4, True)
    assert at.relatives == ("rpi4-xnnpack-2022-02-aarch64", *base.latency["int8"].relatives)
    off = []
    for model, alpha, size in (("mobilenet_v1", 0.75, 192), ("mobilenet_v2", 0.5, 160),
                               ("mobilenet_v2", 1.0, 224), ("mobilenet_v1", 0.5, 128)):  # fmt: skip
        cost = cost_of_architecture(model, alpha, size, dtype="int8")
        true = estimate(cost, base).latency_ms * factor
        e = estimate(cost, mine)
        off.append(abs(e.latency_ms / true - 1))
        assert e.low_ms < true < e.high_ms
        assert "Calibrated on this unit, 2026-01-02: 5 models" in "\n".join(e.evidence)
    assert np.mean(off) < 0.05


def test_the_interval_of_a_calibrated_unit_is_that_of_simulated_calibrations():
    base = load_profile("rpi4")
    made, table = calibrated_profile(base, unit(base, 1.0), RUNS, "my-pi", "2026-01-02")
    store(made, table)
    e = estimate(cost_of_architecture("mobilenet_v1", 0.5, dtype="int8"), load_profile("my-pi"))
    assert math.log(e.high_ms / e.latency_ms) >= calibrated_spread("int8") * 0.9999
    off = np.concatenate([np.abs(np.log(s.ratio)) for s in calibrated("int8")])
    assert (off <= calibrated_spread("int8")).mean() == pytest.approx(0.9, abs=0.02)


def test_models_are_built_and_timed_one_by_one():
    seen = []

    def timer(path):
        assert path.read_bytes() == b"model"
        seen.append(path.name)
        return dataclasses.replace(MEASURED, p50_ms=float(len(seen)), warnings=("it was hot",))

    timed, runs, warnings = time_models(timer, lambda *_: b"model", RUNS)
    assert len(seen) == len(set(seen)) == 10
    assert [t.latency_ms for t in timed] == list(range(1, 11))
    assert seen[0].endswith("_float32.tflite")
    assert (runs["int8"].runtime, runs["int8"].version, runs["int8"].threads) == ("litert", "2", 3)
    assert runs["int8"].abi == "aarch64"
    assert warnings == ["it was hot"]


def test_rows_that_disagree_are_said_and_widen_the_interval():
    base = load_profile("rpi4")
    timed = unit(base, 1.0)
    timed[2] = dataclasses.replace(timed[2], latency_ms=4 * timed[2].latency_ms)
    fits = []
    for rows in (unit(base, 1.0), timed):
        made, table = calibrated_profile(base, rows, RUNS, "my-pi", "x")
        fits.append(store(made, table))
    calm, spoilt = fits
    assert calibration_warnings(calm) == []
    assert "time again" in calibration_warnings(spoilt)[0]
    assert spoilt.fits["int8"].spread_row > 2 * calm.fits["int8"].spread_row


def test_a_class_that_was_not_timed_is_not_in_the_profile():
    base = load_profile("rpi4")
    both = [*unit(base, 1.0), *unit(base, 1.0, "float32")]
    assert set(calibrated_profile(base, both, RUNS, "a", "x")[0].latency) == {"float", "int8"}


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_can_be_written_and_read_back(tmp_path, name):
    profile = load_profile(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(profile_text(profile))
    again = load_profile(str(path))
    assert (again.hardware, again.latency) == (profile.hardware, profile.latency)


@settings(max_examples=50)
@given(title=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1))
def test_any_text_survives_the_toml(title):
    profile = dataclasses.replace(load_profile("rpi4"), title=title)
    assert tomllib.loads(profile_text(profile))["title"] == title


@pytest.mark.parametrize(
    ("timed", "name", "error", "said"),
    [
        ([], "a", ProfileError, "no model was timed"),
        ([Timed("mobilenet_v1", 1, 224, "int8", 9.0)], "a", ProfileError, "1 int8 model was timed"),
        ([Timed("mobilenet_v1", 1, 224, "int8", -9.0)], "a", ProfileError, "latency_ms is -9.0"),
        ([Timed("mobilenet_v1", 1, 224, "int8", math.nan)], "a", ProfileError, "latency_ms is nan"),
        ([Timed("resnet", 1, 224, "int8", 9.0)], "a", ProfileError, "unknown model; valid: mob"),
        ([Timed("mobilenet_v1", 1, 224, "int4", 9.0)], "a", ProfileError, "dtype is 'int4'"),
        ([], "rpi4", UsageError, "'rpi4', a shipped profile"),
        ([], "RPI4", UsageError, "a shipped profile"),
        ([], "../x", UsageError, "give letters"),
        ([], "", UsageError, "give letters"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(timed, name, error, said):
    with pytest.raises(error, match=said):
        calibrated_profile(load_profile("rpi4"), timed, RUNS, name, "x")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    base = load_profile("rpi4")
    made, table = calibrated_profile(base, unit(base, 1.0), RUNS, "my-pi", "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot write"):
        store(made, table, tmp_path / "file" / "below")


def test_rows_are_read_strictly(tmp_path):
    path = tmp_path / "rows.csv"
    head = "model,alpha,resolution,dtype,latency_ms\n"
    path.write_text(head + "mobilenet_v1,0.5,128,int8,4.5\n")
    assert read_timed(path) == [Timed("mobilenet_v1", 0.5, 128, "int8", 4.5)]
    for text, said in (
        ("model,ms\n", "needed: "),
        (head + "mobilenet_v1,0.5,128,int8,\n", "line 2"),
        (head + "mobilenet_v1,half,128,int8,1\n", "line 2.*half"),
    ):
        path.write_text(text)
        with pytest.raises(ProfileError, match=said):
            read_timed(path)
    with pytest.raises(ProfileError, match="cannot read"):
        read_timed(tmp_path / "none.csv")


def test_rows_far_apart_start_with_the_cheapest():
    X = np.ones((6, 8))
    X[:, 0] = [5, 1, 1.1, 100, 90, 10]
    assert np.flatnonzero(spread_out(X, 2)).tolist() == [1, 3]
    assert spread_out(X, 9).all()
