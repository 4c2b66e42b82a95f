"""Compute-in-memory profiles: the shipped ones, what is refused, modes, the page."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from edge_sdk.backends.cim.profile import (
    cim_profile_names,
    evidence,
    in_mode,
    leaves,
    load_cim_profile,
)
from edge_sdk.errors import ProfileError, UsageError
from edge_sdk.report_cim import cim_profile_page, cim_profiles_page, cim_profiles_table

WANTED = {
    "cim-nor-generic", "cim-mythic-m1076", "cim-wtm2101", "cim-hermes-pcm", "cim-aon-pcm",
    "cim-neurram", "cim-samsung-mram", "cim-sram-28nm", "cim-tsinghua-reram",
}  # fmt: skip
SHIPPED = files("device_profiles") / "cim"


def changed(tmp_path: Path, old: str, new: str, name: str = "cim-nor-generic") -> str:
    """A shipped profile with one text replaced."""
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} of {old!r}"
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    return str(path)


def section(profile: str, old: str, new: str, head: str) -> str:
    """The first `old` after a section's head replaced."""
    before, found, after = profile.partition(head)
    assert found
    assert old in after
    return before + found + after.replace(old, new, 1)


def test_the_shipped_profiles():
    assert set(cim_profile_names()) == WANTED
    for name in cim_profile_names():
        profile = load_cim_profile(name)
        assert profile.name == name
        marks = [evidence(profile, key) for key in leaves(profile)]
        assert {mark for mark, _ in marks} == {"known", "assumed"}
        assert all(text.strip() for _, text in marks)


def test_the_published_figures_are_those_of_the_reference_tables():
    generic = load_cim_profile("cim-nor-generic")
    assert generic.errors.programming.times_s == (0, 86400, 5 * 86400)
    assert generic.errors.programming.sigma == ((0.0124,), (0.016,), (0.0216,))
    assert generic.errors.read.sigma == ((0.0079,),)
    assert evidence(generic, "errors.programming.sigma")[0] == "known"
    hermes = load_cim_profile("cim-hermes-pcm")
    assert (hermes.chip.arrays, hermes.array.rows, hermes.array.columns) == (64, 256, 256)
    assert hermes.errors.programming.sigma == ((0.0105, 0.0381, 0.0422),)
    assert hermes.errors.drift.t0_s == 20
    assert 0.049 <= hermes.errors.drift.nu <= 0.10
    assert 0.008 <= hermes.errors.drift.nu_sigma <= 0.045
    assert load_cim_profile("cim-neurram").errors.programming.sigma == ((0.057,), (0.098,))
    mythic = load_cim_profile("cim-mythic-m1076")
    weights = mythic.chip.arrays * mythic.array.rows * mythic.array.columns
    assert weights == pytest.approx(80e6, rel=0.01)
    wtm = load_cim_profile("cim-wtm2101")
    assert wtm.chip.arrays * wtm.array.rows * wtm.array.columns == pytest.approx(1.8e6, rel=0.03)
    tsinghua = load_cim_profile("cim-tsinghua-reram")
    assert tsinghua.array.rows * tsinghua.array.columns * 2 == 2048


def test_a_digital_chip_is_exact():
    sram = load_cim_profile("cim-sram-28nm")
    assert (sram.chip.paradigm, sram.adc.ideal) == ("digital", True)


def test_a_profile_is_found_in_any_case_and_by_path(tmp_path):
    assert load_cim_profile("CIM-HERMES-PCM").name == "cim-hermes-pcm"
    path = changed(tmp_path, 'name = "cim-nor-generic"', 'name = "mine"')
    assert load_cim_profile(path).name == "mine"


@pytest.mark.parametrize("name", ["cim-hermes", "hermes-pcm", "cim-hermes:one-phase", "", ":"])
def test_an_unknown_profile_is_a_usage_error(name):
    with pytest.raises(UsageError, match="cim-hermes-pcm"):
        load_cim_profile(name)


def test_an_unknown_mode_is_a_usage_error():
    with pytest.raises(UsageError, match=r"'two-phase'.*Did you mean one-phase"):
        load_cim_profile("cim-hermes-pcm:two-phase")
    with pytest.raises(UsageError, match="Valid: four-phase, one-phase"):
        load_cim_profile("cim-hermes-pcm:")


def test_a_file_that_is_missing_or_no_toml(tmp_path):
    with pytest.raises(ProfileError, match=r"gone\.toml"):
        load_cim_profile(str(tmp_path / "gone.toml"))
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ProfileError, match=r"bad\.toml is not valid TOML"):
        load_cim_profile(str(tmp_path / "bad.toml"))


# The section, the line in it, what takes its place, and what the message names.
REFUSED = [
    ("[adc]", "bits = 8", "bits = 0", r"adc\.bits is 0; valid: 1 to 16"),
    ("[adc]", "bits = 8", "bits = 17", r"adc\.bits is 17"),
    ("[dac]", "bits = 8", "bits = 0", r"dac\.bits is 0"),
    ("[adc]", "percentile = 99.9", "percentile = 50", r"adc\.percentile is 50"),
    ("[adc]", "percentile = 99.9", "percentile = 100.1", r"adc\.percentile"),
    ("[adc]", 'range = "mse"', 'range = "best"', r"adc\.range: 'best'"),
    ("[array]", "rows = 256", "rows = 0", r"array\.rows is 0"),
    ("[array]", "columns = 256", "columns = -1", r"array\.columns is -1"),
    ("[array]", "read_ns = 500.0", "read_ns = 0", r"array\.read_ns is 0"),
    ("[array]", "overhead_ns = 0.0", "overhead_ns = 500.0", r"array\.overhead_ns is 500"),
    ("[cells]", "on_off = 0.0", "on_off = 1.0", r"cells\.on_off is 1"),
    ("[chip]", "arrays = 0", "arrays = -1", r"chip\.arrays is -1"),
    ("[chip]", "arrays = 0", "arrays = 1.5", r"chip\.arrays: 1\.5 must be of type int"),
    ("[errors]", "stuck_on = 0.0", "stuck_on = 1.1", r"errors\.stuck_on is 1\.1"),
    ("[errors]", "stuck_on = 0.0\nstuck_off = 0.0", "stuck_on = 0.6\nstuck_off = 0.6", "together"),
    ("[errors.programming]", "[0.0124]", "[-0.01]", r"errors\.programming\.sigma has -0\.01"),
    ("[errors.programming]", "[0.0124]", "[0.01, 0.02]", r"errors\.programming\.sigma must have"),
    ("[errors.programming]", "[0.0, 86400.0", "[0.0, 0.0", r"programming\.times_s .*must rise"),
    ("[errors.read]", "g = [1.0]", "g = [1.5]", r"errors\.read\.g is \[1\.5\]"),
    ("[errors.temperature]", "low_c = 25.0", "low_c = 90.0", r"errors\.temperature: low_c 90"),
    ("[errors.drift]", "nu = 0.0", "nu = -0.1", r"errors\.drift\.nu is -0\.1"),
    ("[errors.drift]", "nu = 0.0", "nu = nan", r"errors\.drift\.nu: nan must be a finite"),
    ("[costs]", "dac_pj = 0.2", "dac_pj = -0.2", r"costs\.dac_pj is -0\.2"),
    ("[costs]", "dac_pj = 0.2", "dac_pj = 0.2\nlaser_pj = 1.0", r"costs: unknown key 'laser_pj'"),
    ("[costs]", "dac_pj = 0.2\n", "", r"costs: missing key 'dac_pj'"),
    ("[chip]", 'paradigm = "analog"', 'paradigm = "digital"', "adc.ideal is false"),
    ("[known]", '"cells.bits" = ', '"cells.bit" = ', r"'cells\.bit', which is no value"),
    ("[known]", '"cells.bits" = ', '"cells" = ', r"cells\.mapping is marked 2 times"),
    ("[assumed]", '"adc.bits" = ', '"dac.bits" = ', r"dac\.bits is marked 2 times|adc\.bits is in"),
    ("[known]", '"cells.bits" = "the survey: 4-bit weights"', "", r"cells\.bits is in neither"),
    ("[known]", '"the survey: 4-bit weights"', '" "', r"'cells\.bits' is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("head", "old", "new", "message"), REFUSED)
def test_a_wrong_value_is_refused_with_its_file_and_key(tmp_path, head, old, new, message):
    text = (SHIPPED / "cim-nor-generic.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(section(text, old, new, head))
    with pytest.raises(ProfileError, match=message) as error:
        load_cim_profile(str(path))
    assert str(error.value).startswith(str(path))


def test_a_mode_that_contradicts_its_file_is_refused(tmp_path):
    text = (SHIPPED / "cim-hermes-pcm.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(section(text, "phases = 4", "phases = 2", "[array]"))
    with pytest.raises(ProfileError, match=r"modes\.four-phase is not what array\.phases"):
        load_cim_profile(str(path))
    path.write_text(section(text, "peak_tops = 16.1", "peak_tops = 17.0", "[costs]"))
    with pytest.raises(ProfileError, match="the quoted ones differ"):
        load_cim_profile(str(path))


def test_fewer_phases_take_less_time_and_energy_but_for_the_overhead():
    four = load_cim_profile("cim-hermes-pcm")
    one = load_cim_profile("cim-hermes-pcm:one-phase")
    assert one.mode == "one-phase"
    assert one.array.read_ns == pytest.approx(
        four.array.overhead_ns + (four.array.read_ns - four.array.overhead_ns) / 4
    )
    longer = one.array.read_ns / four.array.read_ns
    assert one.costs.adc_pj == pytest.approx(four.costs.adc_pj * longer)
    assert one.costs.cell_fj == pytest.approx(four.costs.cell_fj * longer)
    assert one.costs.shift_add_pj == four.costs.shift_add_pj
    assert (one.costs.peak_tops, one.costs.peak_tops_per_w) == (63.1, 9.76)


def test_a_mode_and_back_is_the_same_chip():
    four = load_cim_profile("cim-hermes-pcm")
    back = in_mode(in_mode(four, "one-phase"), "four-phase")
    assert back.array.read_ns == pytest.approx(four.array.read_ns)
    assert back.costs.adc_pj == pytest.approx(four.costs.adc_pj)
    assert back.costs.peak_tops_per_w == four.costs.peak_tops_per_w


def test_a_pulse_of_half_the_bits_is_a_sixteenth_as_long():
    eight, four = load_cim_profile("cim-aon-pcm"), load_cim_profile("cim-aon-pcm:4-bit")
    active = [p.array.read_ns - p.array.overhead_ns for p in (eight, four)]
    assert active[0] / active[1] == pytest.approx(16)
    assert (four.dac.bits, four.adc.bits) == (4, 4)


def test_tables_and_pages_name_every_value():
    profiles = [load_cim_profile(name) for name in cim_profile_names()]
    assert all(name in cim_profiles_table(profiles) for name in WANTED)
    hermes = load_cim_profile("cim-hermes-pcm")
    page = cim_profile_page(hermes)
    assert all(key in page for key in leaves(hermes))
    assert "63.1 TOPS, 9.76 TOPS/W" in page


def test_the_page_has_not_drifted():
    page = Path(__file__).parents[2] / "docs" / "cim-profiles.md"
    assert page.read_text(encoding="utf-8") == cim_profiles_page(), "run make docs"
