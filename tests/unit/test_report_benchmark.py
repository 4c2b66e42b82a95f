from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_sdk.artifact import Check, Gate, Manifest, Sample, Source, TensorInfo, manifest_json
from edge_sdk.benchmark.emulate import Counted, Counts
from edge_sdk.benchmark.estimate import Battery, Estimate
from edge_sdk.benchmark.measure import Conditions, Machine, Measurement, OpTime, State
from edge_sdk.benchmark.run import Benchmark, Missing
from edge_sdk.cli import cli
from edge_sdk.files import sha256
from edge_sdk.preprocess import Preprocess
from edge_sdk.profiles import load_profile
from edge_sdk.report_benchmark import judged, page, short
from edge_sdk.report_benchmark_plots import Bar, Spot, _apart, number, shares, trade_off

HOSTILE = '</svg></title><script>alert("x")</script>&\'' + "long" * 30
MEASURED = Measurement(
    "litert", "2.3", "3.11", 2, 50, 10, 1.5, 1.75, 2.0, 1.6, 1.4, 120.0, 50_000_000, 10_000_000,
    Machine("Some CPU", 4, 8_000_000_000, "Linux x86_64"), warnings=("throttled",),
)  # fmt: skip
UNDEFINED = replace(
    MEASURED, p50_ms=None, p90_ms=None, p99_ms=None, rss_peak_bytes=None, warnings=(), where="pi",
    ops=(OpTime("CONV_2D", 35, 1.25),), conditions=Conditions(State("performance"), State()),
)  # fmt: skip
ESTIMATED = Estimate(
    "rpi4", "XNNPACK", 4, "aarch64", "int8", None, 12.5, 10.0, 15.0, 80.0,
    {"conv": 2.5, "pointwise": 10.0, "other": 0.0}, 1, 1, 3_000_000,
    None, None, None, "", ("twelve models",), ("outside the fit",),
)  # fmt: skip


def bench(
    name: str, measured: Measurement | None, *estimates: Estimate, size: int = 1_000_000
) -> Benchmark:
    return Benchmark(name, size, 20_000_000, 100, {"CONV_2D int8": 3}, measured, estimates)


def manifest(accuracy: float | None, agreement: float, *, simulated: bool = False) -> Manifest:
    end = TensorInfo("x", (1, 3), "int8", 0.5, 0)
    good = Check("litert", "2.3", "3.11", "m", 40, accuracy, None, agreement, 1.25, 21, True, ())
    silent = replace(good, runtime="tflite-runtime", version="", agreement=0.0)
    sample = Sample("cells", simulated, 0, ())
    return Manifest(
        1, "net", "int8", ("a", "b", "c"), Preprocess(8, 8), "softmax", end, end, {}, {},
        1_000_000, 4_000_000, "0", Source("a.keras", "keras", "0", 1, 1), sample, sample,
        Gate("accuracy", 1.5, True, (good, silent)), {},
    )  # fmt: skip


class Checked(HTMLParser):
    """Fails where a tag is closed that is not open; keeps tags, ids and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def checked(text: str) -> Checked:
    """Whole, alone, and without a figure that is none."""
    found = Checked(text)
    assert not re.search(r"https?://|src=|@import|url\((?!#)", text)
    assert "script" not in found.tags
    assert len(set(found.ids)) == len(found.ids)
    assert not re.search(r"\b(nan|inf)\b|None", text)
    return found


def test_every_figure_has_its_kind_interval_and_notes() -> None:
    result = bench("net", MEASURED, replace(ESTIMATED, load_ms=12.0, energy_mj=250.0))
    found = checked(page([result], [None], [load_profile("rpi4")]))
    rows = " | ".join(found.cells)
    assert (
        "here, 2 threads | measured | 1.5 | p90 1.75, p99 2 | 667 | 50.00 MB | 120 | - | " in rows
    )
    assert (
        "rpi4, 4 threads | estimated | 12.5 | 10 - 15 | 80 | about 3.00 MB | ≥ 12 | 250 |" in rows
    )
    assert "| machine, 1 |" in rows  # its warning is the first note
    assert "| 2, 3 |" in rows
    text = page([result], [None], [load_profile("rpi4")])
    for said in ("throttled", "outside the fit", "twelve models", "Some CPU, 4 cores"):
        assert said in text
    assert "pidramble power measurements" in text  # a published figure's source
    assert "google/XNNPACK README.md" in text
    assert "edge-sdk 0" in text


def test_a_profile_without_evidence_says_so_in_its_row() -> None:
    missing = Missing("hikey960-armnn", "no evidence for int8 models on profile hikey960-armnn")
    text = page([replace(bench("net", None), missing=(missing,))], [None], [])
    rows = " | ".join(checked(text).cells)
    assert "hikey960-armnn | no evidence | - | - | - | - | - | - | 1" in rows
    assert "no evidence for int8 models on profile hikey960-armnn" in text


def test_what_is_not_defined_is_a_dash_and_not_drawn() -> None:
    empty = replace(ESTIMATED, profile="x", breakdown_ms={}, low_ms=float("nan"), high_ms=0.0)
    none = replace(empty, profile="y", latency_ms=float("inf"))
    zero = replace(UNDEFINED, mean_ms=0.0, min_ms=0.0)
    made = page([bench("a", UNDEFINED, empty), bench("b", zero, none)], [None, None], [])
    found = checked(made)
    rows = " | ".join(found.cells)
    assert "pi, 2 threads | measured | 1.6 | - | 625 | - | 120 | - | machine" in rows
    assert "pi, 2 threads | measured | - | - | - |" in rows
    assert "x, 4 threads | estimated | 12.5 | - - - |" in rows
    assert "y, 4 threads | estimated | - |" in rows
    assert "CONV_2D | a | pi | 35 | 1.25" in rows
    assert "governor performance" in made
    assert "Estimated time by kind" not in made
    # Nothing at all: no latency to draw, and still a page.
    checked(page([bench("only", None)], [None], []))


def test_names_are_text_whatever_they_hold() -> None:
    e = replace(
        ESTIMATED,
        profile=HOSTILE,
        breakdown_ms={HOSTILE: 1.0},
        evidence=(HOSTILE,),
        warnings=(HOSTILE + "w",),
    )
    m = replace(MEASURED, where=HOSTILE + "m", warnings=(HOSTILE,), runtime=HOSTILE)
    found = checked(page([bench(HOSTILE, m, e)], [manifest(90.0, 90.0)], []))
    assert found.tags.count("h1") == 1


def test_many_devices_and_models_are_all_drawn() -> None:
    estimates = [
        replace(ESTIMATED, profile=f"device-{i}", latency_ms=1.0 * 1.2**i, low_ms=1.1**i)
        for i in range(40)
    ]
    made = page(
        [bench(f"net-{i}", None, *estimates, size=10 ** (4 + i % 4)) for i in range(8)],
        [manifest(80.0 + i, 90.0) for i in range(8)],
        [],
    )
    checked(made)
    for i in range(40):
        # In the plots of latencies, of bytes and of accuracy.
        assert made.count(f">device-{i}</text>") == 3
    assert made.count("<rect") > 8 * 40 * 2
    assert "kB of the model's file, logarithmic".replace("'", "&#x27;") in made


def test_accuracy_is_drawn_where_manifests_have_it_and_simulated_is_said() -> None:
    results = [bench("net-int8", None, ESTIMATED), bench("net-w4a8", None, ESTIMATED, size=600_000)]
    made = page(results, [manifest(96.0, 98.0, simulated=True), None], [])
    assert "<figcaption>Accuracy against bytes, simulated images</figcaption>" in made
    assert "<figcaption>Latency against accuracy, simulated images</figcaption>" in made
    assert "drawn, not photographed" in made
    checked(made)
    other = page(results, [manifest(96.0, 98.0), manifest(None, 97.0)], [])
    assert "<figcaption>Agreement against bytes</figcaption>" in other
    assert "simulated images" not in other
    assert "Simulated" not in other
    assert "Accuracy against" not in page(results, [None, None], [])
    # 0 and 100 % are percentages like others.
    checked(page(results, [manifest(0.0, 0.0), manifest(100.0, 100.0)], []))


def test_the_runtime_that_agreed_least_is_shown_and_a_silent_one_is_not() -> None:
    m = manifest(96.0, 98.0)
    worse = replace(m.gate.checks[0], agreement=91.0)
    both = replace(m, gate=replace(m.gate, checks=(*m.gate.checks, worse)))
    assert judged(both) == worse
    silent = replace(m, gate=replace(m.gate, checks=m.gate.checks[1:]))
    assert judged(silent) is None
    assert "no runtime gave answers" in page([bench("a", None)], [silent], [])


def test_counts_and_battery_are_shown_with_their_evidence() -> None:
    e = replace(ESTIMATED, battery=Battery(10, 0.25, 4.0, 2.5, 720))
    counts = Counts("cortex-a72", 12_340_000, 1, 1, 0, 0.001, 2_000_000, "litert", "2.3", "8.2")
    made = page([bench("a", None, e)], [None], [], [[Counted("rpi4", counts)]])
    rows = " | ".join(checked(made).cells)
    assert "rpi4 | cortex-a72 | counted under emulation | 12.34 M | 0.10% | 2.00 MB" in rows
    assert "litert 2.3, qemu 8.2" in rows
    assert "| 2.5 h |" in rows
    assert "10 Wh last 2.5 hours at a duty of 25%" in made


def test_names_are_shortened_and_equal_ones_numbered() -> None:
    assert short(["net-a-int8", "net-a-w4a8"]) == ["int8", "w4a8"]
    assert short(["net-int8"]) == ["net-int8"]
    assert short(["a", "b"]) == ["a", "b"]
    assert short(["net-int8", "net-int8"]) == ["net-int8 (1)", "net-int8 (2)"]


def test_labels_keep_their_order_and_distance() -> None:
    at = _apart([50.0, 51.0, 52.0, 90.0], 0.0, 100.0, 10.0)
    assert at == sorted(at)
    assert all(b - a >= 10 for a, b in pairwise(at))
    assert at[1] == pytest.approx(51, abs=1)
    assert _apart([99.0, 100.0], 0.0, 100.0, 10.0)[1] <= 100


def test_drawings_of_nothing_are_empty() -> None:
    assert trade_off("t", "d", [("a", [Spot(0.0, 1.0, 0, True, "")])], ("x", "y")) == ""
    assert shares("t", "d", [Bar("a", {"conv": 0.0}, "")]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "-"), (float("nan"), "-"), (0.5412, "0.541"), (1234.5, "1,234")],
)
def test_figures_have_three_digits_or_all_before_the_point(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_command_writes_the_page_beside_what_it_prints(models: Path, tmp_path: Path) -> None:
    artifact, out = tmp_path / "tiny-int8", tmp_path / "page.html"
    artifact.mkdir()
    model = Path(shutil.copyfile(models / "tiny-int8.tflite", artifact / "model.tflite"))
    described = replace(manifest(96.0, 98.0), sha256=sha256(model))
    (artifact / "manifest.json").write_text(manifest_json(described))
    args = ["benchmark", str(artifact), "--profile", "rpi4", "--estimate-only", "--html", str(out)]
    done = CliRunner().invoke(cli, [*args, "--csv"])
    assert done.exit_code == 0, done.output
    assert "estimated,rpi4" in done.output
    text = out.read_text(encoding="utf-8")
    checked(text)
    assert "gate passed" in text
    assert "google/XNNPACK README.md" in text
    done = CliRunner().invoke(cli, [*args[:-1], str(tmp_path / "no" / "page.html")])
    assert done.exit_code != 0
