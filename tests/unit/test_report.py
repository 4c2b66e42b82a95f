from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_sdk.artifact import (
    FORMAT,
    Artifact,
    Attempt,
    Check,
    Gate,
    Manifest,
    Sample,
    Source,
    TensorInfo,
)
from edge_sdk.benchmark.estimate import Battery, Estimate
from edge_sdk.benchmark.measure import Machine, Measurement
from edge_sdk.benchmark.run import Benchmark
from edge_sdk.preprocess import Preprocess
from edge_sdk.profiles import load_profile, profile_names
from edge_sdk.report import (
    attempts_table,
    benchmark_notes,
    benchmark_table,
    conversion_summary,
    conversion_table,
    size,
    table,
)
from edge_sdk.report_profiles import profile_page, profiles_table

GOOD = Check("litert", "2.3", "3.11", "m", 40, 96.25, 97.5, 98.0, 1.25, 21.3, True, ())
LOST = Check("tflite-runtime", "", "", "", 40, None, None, 0.0, 100.0, 0.0, False, ("it crashed",))


def artifact(*checks: Check, simulated: bool = False) -> Artifact:
    end = TensorInfo("x", (1, 3), "int8", 0.5, 0)
    sample = Sample("cells", simulated, 0, ())
    measure = (
        "estimated-accuracy" if checks[0].accuracy is None and checks[0].version else "accuracy"
    )
    gate = Gate(measure, 1.5, all(c.passed for c in checks), checks)
    source = Source("a.keras", "keras", "0", 1, 1)
    return Artifact(
        Path("out") / "net-int8",
        Manifest(
            FORMAT, "net", "int8", ("a", "b", "c"), Preprocess(8, 8), "softmax", end, end, {}, {},
            1_234_567, 4_938_268, "0", source, sample, sample, gate, {},
        ),
    )  # fmt: skip


def cells(text: str, row: int) -> list[str]:
    return text.splitlines()[row].split()


def test_a_table_is_aligned() -> None:
    assert table(["name", "ms"], [["a", "1.25"], ["long name", "10"]]).splitlines() == [
        "name         ms",
        "---------  ----",
        "a          1.25",
        "long name    10",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (4_571_096, "4.57 MB"),
    ],
)
def test_bytes_with_a_decimal_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_a_conversion_has_a_row_for_each_runtime() -> None:
    text = conversion_table([artifact(GOOD, replace(GOOD, runtime="tflite-runtime"))])
    head, _, first, second = text.splitlines()
    assert "accuracy %" in head
    assert first.split() == [
        "int8", "1,234,567", "0.25", "96.2", "98.0", "21.3", "litert", "2.3", "passed",
    ]  # fmt: skip
    assert second.split() == ["96.2", "98.0", "21.3", "tflite-runtime", "2.3", "passed"]


def test_a_runtime_that_failed_shows_no_figures() -> None:
    text = conversion_table([artifact(GOOD, LOST)])
    assert cells(text, 3) == ["-", "-", "-", "tflite-runtime", "FAILED"]
    only = conversion_table([artifact(LOST)])
    assert cells(only, 2)[3:] == ["-", "-", "-", "tflite-runtime", "FAILED"]
    assert "it crashed" in "\n".join(conversion_summary([artifact(GOOD, LOST)]))


def tried(*attempts: Attempt, passed: bool = True) -> Artifact:
    a = artifact(replace(GOOD, passed=passed))
    return replace(a, manifest=replace(a.manifest, attempts=attempts, method=attempts[-1].method))


def test_what_was_tried_what_each_gave_and_what_was_taken() -> None:
    first = Attempt("min-max", 7.85, False, 2_489_504)
    last = Attempt("mixed", 1.25, True, 2_519_200, ("a", "b"), taken=True)
    text = attempts_table([tried(first, last)])
    assert cells(text, 2) == ["int8", "min-max", "0", "2,489,504", "7.85", "failed"]
    assert cells(text, 3) == ["mixed", "2", "2,519,200", "1.25", "passed", "taken"]
    # A manifest from before the bytes were noted.
    assert cells(attempts_table([tried(Attempt("min-max", 7.85, False), last)]), 2)[3] == "-"
    assert attempts_table([artifact(GOOD), tried(last)]) == ""


def test_a_rejected_one_is_said_to_be_kept_aside() -> None:
    attempts = (Attempt("min-max", 7.85, False, 9), Attempt("mixed", 2.0, False, 9, (), True))
    found = tried(*attempts, passed=False)
    assert "kept aside" in attempts_table([found])
    assert any("no attempt passed; kept the one" in x for x in conversion_summary([found]))


def test_without_labels_the_loss_is_called_estimated() -> None:
    unlabelled = replace(GOOD, accuracy=None, float_accuracy=None)
    text = conversion_table([artifact(unlabelled)])
    assert "est. loss" in text
    assert "accuracy" not in text
    assert cells(text, 2)[3] == "1.25"
    assert any("no labels" in line for line in conversion_summary([artifact(unlabelled)]))


def test_a_summary_says_what_was_judged_on() -> None:
    lines = conversion_summary([artifact(GOOD, simulated=True)])
    assert "simulated images (drawn, not photographed) of 'cells'" in lines[0]
    assert "trained model on the same images: accuracy 97.5 %" in lines
    assert lines[-1] == f"int8: {Path('out') / 'net-int8'}"
    assert "simulated" not in conversion_summary([artifact(GOOD)])[0]


MEASURED = Measurement(
    "litert", "2.3", "3.11", 2, 50, 10, 1.5, 1.75, 2.0, 1.6, 1.4, 120.0, 50_000_000, 10_000_000,
    Machine("Some CPU", 4, 8_000_000_000, "Linux x86_64"),
)  # fmt: skip
ESTIMATED = Estimate(
    "rpi4", "XNNPACK", 4, "aarch64", "int8", None, 12.5, 10.0, 15.0, 80.0, {}, 1, 1, 3_000_000,
    None, None, None, "", ("twelve models",), ("outside the fit",),
)  # fmt: skip


def bench(measured: Measurement | None, *estimates: Estimate) -> Benchmark:
    return Benchmark("net", 1_000_000, 20_000_000, 100, {}, measured, estimates)


def test_measured_and_estimated_never_share_a_row() -> None:
    lines = benchmark_table([bench(MEASURED, ESTIMATED)]).splitlines()[2:]
    assert lines[0].split() == ["net", "1.00", "MB,", "20.0", "M", "Mult-Adds"]
    kinds = [("measured" in line, "estimated" in line) for line in lines]
    assert kinds == [(False, False), (True, False), (False, True)]
    assert "1.50" in lines[1]
    assert "667" in lines[1]
    assert "12.5" in lines[2]
    assert "10 - 15" in lines[2]
    assert "2 threads" in lines[1]
    assert lines[2].split()[-1] == "-"


def test_notes_name_the_machine_and_each_warning_once() -> None:
    lines = benchmark_notes([bench(MEASURED, ESTIMATED, replace(ESTIMATED, profile="rpi5"))])
    assert "Some CPU, 4 cores, Linux x86_64" in lines[0]
    assert "50 runs after 10" in lines[0]
    assert lines[1].startswith("estimated: never run there")
    assert lines[2:] == ["rpi4, rpi5:", "  - twelve models", "  - outside the fit"]
    assert benchmark_notes([bench(None)]) == []


def test_every_profile_is_listed_and_has_a_page() -> None:
    profiles = [load_profile(n) for n in profile_names()]
    listed = profiles_table(profiles)
    for profile in profiles:
        assert profile.name in listed
        page = profile_page(profile)
        assert page.startswith(f"{profile.name}: {profile.title}")
        assert profile.hardware.soc in page


def test_what_is_derived_says_so_and_from_what() -> None:
    made = replace(
        ESTIMATED, load_ms=12.3, thermal="slows at 80 C", battery=Battery(10, 0.25, 4.0, 2.5, 720)
    )
    text = " ".join(" ".join(benchmark_notes([bench(None, made)])).split())
    assert "net: loading takes 12 ms at least" in text
    assert "10 Wh last 2.5 hours at a duty of 25%, 720 images (derived from published watts" in text
    assert "heat: slows at 80 C" in text
