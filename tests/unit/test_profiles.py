import dataclasses
import math
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_sdk.benchmark.profiles_page import profiles_page
from edge_sdk.errors import ProfileError, UsageError
from edge_sdk.profiles import (
    UNITS,
    load_profile,
    profile_names,
    user_folder,
    user_profile_names,
)

GOOD = """
name = "mine"
title = "My board"
device = "My board"

[hardware]
soc = "S"
cpu = "4x C"
cores = 4
clock_ghz = { value = 1.5, source = "data sheet" }
dotprod = { value = "no", source = "lscpu" }
fp16 = { value = "unknown", source = "not read" }
idle_w = { value = 2.0, source = "meter" }
load_w = { value = 6.5, source = "meter" }

[latency.float]
runtime = "XNNPACK"
version = "1"
threads = 4
abi = "aarch64"
clock_ghz = 1.5
table = "mine"
relatives = ["kin"]
evidence = "measured"

[latency.float.sources]
runtime = "its log"
version = "its log"
threads = "assumed"
abi = "uname"
clock = "assumed"

[latency.float.scale]
ratio = [["a", "b"]]
ratio_rows = "float"
clock_ghz = [1.0, 1.5]
uncertainty = 0.2
reason = "because"
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


WANTED = {
    "rpi-zero2w", "rpi3b+", "rpi4", "rpi5", "pixel1", "pixel2", "pixel3", "pixel3a", "pixel4",
    "snapdragon-888", "snapdragon-8gen2", "redmi-note-9", "helio-g99", "stm32mp157f-dk2",
    "stm32mp135f-dk2", "imx6q",
}  # fmt: skip


def test_the_shipped_profiles():
    names = profile_names()
    assert set(names) >= WANTED
    for name in names:
        profile = load_profile(name)
        assert profile.name == name
        for key in ("clock_ghz", "memcpy_mbps", "idle_w", "load_w", "dotprod", "fp16"):
            figure = getattr(profile.hardware, key)
            assert figure is None or len(figure.source) > 7, (name, key)
        for at in profile.latency.values():
            for field in dataclasses.fields(at.sources):
                said = getattr(at.sources, field.name)
                assert said.startswith("assumed") or len(said) > 7, (name, field.name)


def test_a_users_own_folder_is_read_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "edge-sdk" / "profiles"
    assert user_profile_names() == []
    assert not user_folder().exists()
    user_folder().mkdir(parents=True)
    write(user_folder(), GOOD)
    assert user_profile_names() == ["mine"]
    assert load_profile("MINE").folder == user_folder()
    with pytest.raises(UsageError, match=r"Valid: .*mine"):
        load_profile("nine")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert user_folder().is_absolute()


def test_nothing_shipped_names_a_path_of_a_machine():
    for file in files("device_profiles").iterdir():
        if file.name.endswith((".toml", ".md")):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"(^|[\s\"'`])/(?!proc/)[a-z]+/", text), file.name


def test_a_name_is_found_in_any_case():
    assert load_profile("RPi4") == load_profile("rpi4")
    assert load_profile("RPI3B+").name == "rpi3b+"


@pytest.mark.parametrize("name", ["rpi-4", "raspberrypi4", "RPI_4"])
def test_a_near_miss_is_told_what_was_meant(name):
    with pytest.raises(UsageError, match=r"unknown profile .*Did you mean.* rpi4") as e:
        load_profile(name)
    assert "pixel3, pixel3a, pixel4" in str(e.value)
    assert ".toml" in str(e.value)


def test_a_path_is_read_and_its_folder_kept(tmp_path):
    profile = load_profile(write(tmp_path, GOOD))
    assert profile.hardware.idle_w is not None
    assert profile.hardware.idle_w.value == 2.0
    assert profile.hardware.memcpy_mbps is None
    assert profile.latency["float"].every_table() == ["mine", "kin", "a", "b"]
    (tmp_path / "measurements").mkdir()
    (tmp_path / "measurements" / "mine.csv").write_text("x")
    assert profile.read_beside("measurements", "mine.csv") == "x"
    # A shipped table may be named, a shipped fit not: it would be another profile's.
    assert profile.read_beside("measurements", "rpi4-ssd-tflite.csv").startswith("model,")
    with pytest.raises(ProfileError, match=r"no file fits/rpi4.json"):
        profile.read_beside("fits", "rpi4.json")


def test_a_missing_or_broken_file(tmp_path):
    with pytest.raises(ProfileError, match=r"cannot read profile .*none.toml"):
        load_profile(str(tmp_path / "none.toml"))
    with pytest.raises(ProfileError, match="not valid TOML"):
        load_profile(write(tmp_path, "name = "))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('soc = "S"', "", r"hardware: missing key 'soc'"),
        ('soc = "S"', 'soc = "S"\nram = 1', r"unknown key 'ram'; valid: soc, cpu"),
        ("cores = 4", 'cores = "4"', r"hardware.cores: '4' must be of type int"),
        ("cores = 4", "cores = true", r"hardware.cores: True must be of type int"),
        ("cores = 4", "cores = 0", r"hardware.cores is 0; it must be 1 or more"),
        ("value = 1.5", "value = nan", r"hardware.clock_ghz.value: nan must be a finite"),
        ("value = 1.5", "value = inf", r"hardware.clock_ghz.value: inf must be a finite"),
        ("value = 1.5", "value = -1.5", r"hardware.clock_ghz.value is -1.5; .* above 0"),
        ("value = 6.5", "value = -6.5", r"hardware.load_w.value is -6.5; .* above 0"),
        ("value = 1.5", "value = 1500", r"clock_ghz.value is 1500.0; .*in GHz, 0.01 to 10"),
        ("value = 2.0", "value = 2000", r"idle_w.value is 2000.0; .*in W"),
        ("value = 1.5, source", 'value = 1.5, unit = "MHz", source', r"unit is 'MHz'; .*in GHz"),
        (
            "\nclock_ghz = 1.5",
            "\nclock_ghz = 1500",
            r"clock_ghz is 1500.0, which contradicts hardw",
        ),
        ("threads = 4", "threads = 5", r"threads is 5; valid: 1 to hardware.cores, 4"),
        ('threads = "assumed"', 'threads = " "', r"sources.threads is empty; .*'assumed'"),
        ('threads = "assumed"', "", r"sources: missing key 'threads'"),
        ("value = 6.5", "value = 1.5", r"idle_w is 2.0, above load_w, 1.5"),
        ('"data sheet"', '" "', r"clock_ghz.source is empty"),
        ('value = "no"', 'value = "maybe"', r"dotprod.value: 'maybe' is not one of 'yes'"),
        ("[latency.float]", "[latency.int4]", r"latency: unknown key 'int4'; valid: float, int8"),
        ("threads = 4", "threads = 0", r"latency.float: threads is 0"),
        ('table = "mine"', 'table = "../mine"', r"names the table '../mine'"),
        ('table = "mine"', 'table = "x/mine"', r"names the table 'x/mine'"),
        ('table = "mine"', 'table = ""', r"names the table ''"),
        ('["a", "b"]', '["a"]', r"ratio\[0\]: \['a'\] must have 2 entries"),
        ("[1.0, 1.5]", "[1.0]", r"scale.clock_ghz is \[1.0\]; give none or two above 0"),
        ("[1.0, 1.5]", "[1.0, 0]", r"scale.clock_ghz is .*above 0"),
        ("uncertainty = 0.2", "uncertainty = -0.2", r"scale.uncertainty is -0.2"),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_key(tmp_path, old, new, said):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if "int4" in new:
        text = text.replace("latency.float.", "latency.int4.")
    path = write(tmp_path, text)
    with pytest.raises(ProfileError, match=rf"mine.toml.*{said}"):
        load_profile(path)


def test_a_profile_without_latency_is_refused(tmp_path):
    head = GOOD.partition("[latency.float]")[0]
    with pytest.raises(ProfileError, match="latency is empty"):
        load_profile(write(tmp_path, head + "[latency]\n"))


def _leaves(data, path=()):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _toml(data, prefix=""):
    """Enough of a writer for the profiles: plain values first, then tables."""
    plain = {k: v for k, v in data.items() if not isinstance(v, dict)}
    text = "".join(f"{k} = {_value(v)}\n" for k, v in plain.items())
    for key, value in data.items():
        if isinstance(value, dict):
            text += f"\n[{prefix}{key}]\n" + _toml(value, f"{prefix}{key}.")
    return text


def _value(v):
    if isinstance(v, bool):
        return str(v).lower()
    if isinstance(v, str):
        return '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(v) if not isinstance(v, list) else "[" + ", ".join(map(_value, v)) + "]"


OPTIONAL = {"relatives"}
LEAVES = sorted(_leaves(tomllib.loads(GOOD)))


@settings(
    max_examples=150,
    deadline=None,  # it is files that are read, on a machine that may be busy
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    leaf=st.sampled_from(LEAVES),
    value=st.one_of(
        st.integers(-(2**31), 2**31), st.floats(), st.booleans(), st.just([]), st.just("?"),
    ),
)  # fmt: skip
def test_any_value_is_either_read_as_it_is_or_refused_by_key(tmp_path, leaf, value):
    data = tomllib.loads(GOOD)
    table = data
    for key in leaf[:-1]:
        table = table[key]
    old, table[leaf[-1]] = table[leaf[-1]], value
    path = write(tmp_path, _toml(data))
    said = ""
    try:
        profile = load_profile(path)
    except ProfileError as e:
        said = str(e)
    if said:
        assert "mine.toml" in said
        assert leaf[-1] in said or leaf[-2] in said
        return
    assert isinstance(value, type(old)) or (isinstance(old, float) and isinstance(value, int))
    read = profile
    for key in leaf:
        read = read[key] if isinstance(read, dict) else getattr(read, key)
    assert read == (tuple(value) if isinstance(value, list) else value)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(leaf=st.sampled_from(LEAVES))
def test_no_key_may_be_left_out_but_the_figures_that_may_be_unpublished(tmp_path, leaf):
    data = tomllib.loads(GOOD)
    table = data
    for key in leaf[:-1]:
        table = table[key]
    del table[leaf[-1]]
    if leaf[-1] in OPTIONAL:
        load_profile(write(tmp_path, _toml(data)))
        return
    with pytest.raises(ProfileError, match=f"missing key '{leaf[-1]}'"):
        load_profile(write(tmp_path, _toml(data)))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(UNITS)), value=st.floats(), unit=st.sampled_from(["", "W", "kW"]))
def test_a_figure_is_read_in_its_own_unit_or_refused_by_its_key(tmp_path, key, value, unit):
    """NaN, minus watts, milliwatts and units that contradict the key never get in."""
    data = tomllib.loads(GOOD)
    del data["hardware"]["idle_w"], data["hardware"]["load_w"]
    data["latency"]["float"]["clock_ghz"] = value if key == "clock_ghz" else 1.5
    data["hardware"][key] = {"value": value, "source": "meter", "unit": unit}
    own, low, high = UNITS[key]
    said = ""
    try:
        figure = getattr(load_profile(write(tmp_path, _toml(data))).hardware, key)
    except ProfileError as e:
        said = str(e)
    good = math.isfinite(value) and low <= value <= high and unit in ("", own)
    assert (key in said) != good
    assert not good or figure.value == value


def test_a_profile_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_profile("rpi4").name = "x"  # type: ignore[misc]


def test_the_page_has_not_drifted():
    page = Path(__file__).parents[2] / "docs" / "profiles.md"
    assert page.read_text(encoding="utf-8") == profiles_page(), "write it again: make docs"
