# ruff: noqa: E501 - lines as the tool prints them
"""Logs of `benchmark_model` in the forms of its versions; the figures are made up."""

from __future__ import annotations

from contextlib import suppress

import pytest

from edge_sdk.benchmark.measure import OpTime
from edge_sdk.device.benchmark_model_log import Log, fallback_warnings, parse_log
from edge_sdk.errors import DeviceError

TF_1_13 = """STARTING!
Min num runs: [10]
Num threads: [2]
Use nnapi : [0]
nnapi error: unable to open library libneuralnetworks.so
Loaded model /data/local/tmp/m.tflite
resolved reporter
Initialized session in 5.25ms
Running benchmark for at least 4 iterations and at least 0.5 seconds
count=11 first=41200 curr=40100 min=40050 max=41200 avg=40300.5 std=311

Running benchmark for at least 10 iterations and at least 1 seconds
count=25 first=40020 curr=40040 min=39900 max=40500 avg=40100.5 std=120

Average inference timings in us: Warmup: 40300.5, Init: 5250, no stats: 40100.5
"""
TF_2_4 = """STARTING!
Duplicate flags: num_threads
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/m.tflite]
Enable op profiling: [1]
#threads used for CPU inference: [4]
Loaded model /data/local/tmp/m.tflite
The input model file size (MB): 3.5
Initialized session in 17.5ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3500000

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990000 curr=2910000 min=2720000 max=3180000 avg=2.95e+06 std=109798

Inference timings in us: Init: 17500, First inference: 3500000, Warmup (avg): 3.5e+06, Inference (avg): 2.95e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
Peak memory footprint (MB): init=4.25 overall=46.5
Profiling Info for Benchmark Initialization:
============================== Summary by node type ==============================
\t             [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t         AllocateTensors\t        1\t     1.356\t   100.000%\t   100.000%\t     0.000\t        1

Timings (microseconds): count=1 curr=1356
Memory (bytes): count=0
1 nodes observed



Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t            0.066\t   87.754\t   60.957\t  2.066%\t  2.066%\t     0.000\t        1\t[a]:0

============================== Summary by node type ==============================
\t             [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t                 CONV_2D\t       34\t  2266.475\t    76.118%\t    76.118%\t     0.000\t       34
\t       DEPTHWISE_CONV_2D\t       13\t   683.740\t    23.882%\t   100.000%\t     0.000\t       13

Timings (microseconds): count=50 first=2990300 curr=2913900 min=1 max=3190100 avg=2.9505e+06 std=109798
Memory (bytes): count=0
47 nodes observed
"""
TF_2_14_GPU = """INFO: STARTING!
INFO: Num threads: [2]
INFO: Use gpu: [1]
INFO: Loaded model /data/local/tmp/m.tflite
INFO: Initialized TensorFlow Lite runtime.
INFO: Created TensorFlow Lite delegate for GPU.
INFO: GPU delegate created.
INFO: Loaded OpenCL library with dlopen.
VERBOSE: Replacing 49 out of 64 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions for subgraph 0.
INFO: Initialized OpenCL-based API.
INFO: Created 3 GPU delegate kernels.
INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 3 delegate kernels.
INFO: The input model file size (MB): 16.1527
INFO: Initialized session in 564.36ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=2 first=32814 curr=30993 min=30993 max=32814 avg=31903.5 std=910 p5=30993 median=32814 p95=32814

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=30721 curr=30978 min=30593 max=33303 avg=30935 std=441 p5=30637 median=30796 p95=31571

INFO: Inference timings in us: Init: 564360, First inference: 32814, Warmup (avg): 31903.5, Inference (avg): 30935
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=54.25 overall=73.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.25
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
                     [node type]          [first]        [avg ms]            [%]          [cdf%]          [mem KB]        [times called]  [Name]
      Convolution (NHWC, QC8) IGEMM            0.398           0.407         2.658%          3.986%             0.000                1       Delegate/Convolution (NHWC, QC8) IGEMM:0

Number of nodes executed: 15
============================== Summary by node type ==============================
                     [Node type]          [count]         [avg ms]          [avg %]         [cdf %]       [mem KB]        [times called]
             TfLiteGpuDelegateV2                3           28.500          92.000%         92.000%          0.000                3
   Convolution (NHWC, QC8) IGEMM               12            2.400           8.000%        100.000%          0.000               12

Timings (microseconds): count=50 first=30900 curr=30900 min=30500 max=33000 avg=30900 std=400 p5=1 median=2 p95=3
"""
LOGCAT_NNAPI = "\n".join(
    f"05-30 13:04:39.021 25935 25935 I tflite  : {line}"
    for line in """Use NNAPI: [1]
NNAPI accelerators available: [nnapi-reference]
Created TensorFlow Lite delegate for NNAPI.
NNAPI delegate created.
Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.
count=9 first=1 curr=1 min=1 max=1 avg=1 std=0
count=50 first=900 curr=910 min=890 max=990 avg=905.5 std=5
Inference timings in us: Init: 92318, First inference: 1, Warmup (avg): 1, Inference (avg): 905.5""".splitlines()
)


def test_the_oldest_form() -> None:
    log = parse_log(TF_1_13)
    assert (log.runs, log.mean_ms, log.min_ms, log.load_ms) == (25, 40.1005, 39.9, 5.25)
    assert (log.median_ms, log.memory_bytes, log.peak_bytes, log.ops) == (None, None, None, ())


def test_exponents_and_the_regular_runs_table_not_the_initialisation_s() -> None:
    log = parse_log(TF_2_4)
    assert (log.runs, log.mean_ms, log.load_ms) == (50, 2950.0, 17.5)
    assert log.memory_bytes == round(46.5 * 2**20)
    assert log.ops == (OpTime("CONV_2D", 34, 2266.475), OpTime("DEPTHWISE_CONV_2D", 13, 683.74))
    assert log.delegates == {}


def test_a_median_a_peak_and_names_with_spaces() -> None:
    log = parse_log(TF_2_14_GPU)
    assert (log.runs, log.mean_ms, log.median_ms) == (50, 30.935, 30.796)
    assert log.peak_bytes == round(93.25 * 2**20)
    assert log.memory_bytes == round(73.5 * 2**20)
    assert log.ops == (
        OpTime("TfLiteGpuDelegateV2", 3, 28.5),
        OpTime("Convolution (NHWC, QC8) IGEMM", 12, 2.4),
    )
    assert list(fallback_warnings(log, "gpu")) == [
        "the gpu delegate ran 49 of 64 operators, the CPU the rest"
    ]


def test_logcat_and_a_silent_fallback() -> None:
    log = parse_log(LOGCAT_NNAPI)
    assert (log.runs, log.mean_ms, log.load_ms) == (50, 0.9055, 92.318)
    first, second = fallback_warnings(log, "nnapi")
    assert "nnapi-reference" in first
    assert second.endswith("ran nothing: these figures are the CPU's")


@pytest.mark.parametrize(
    ("line", "delegate", "said"),
    [
        ("Explicitly applied GPU delegate, and the model graph will be completely executed by the "
         "delegate.", "gpu", None),
        ("Applied GPU delegate, and the model graph will be completely executed w/ the delegate.",
         "gpu", None),
        ("Explicitly applied XNNPACK delegate, and the model graph will be partially executed by "
         "the delegate w/ 2 delegate kernels.", "xnnpack", "a part of the model only"),
        ("VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteXNNPackDelegate) node, "
         "yielding 1 partitions for the whole graph.", "xnnpack", None),
        ("ERROR: Failed to apply GPU delegate.", "gpu", "ran nothing"),
        ("GPU acceleration is unsupported on this platform.", "gpu", "ran nothing"),
        ("nnapi error: unable to open library libneuralnetworks.so", "nnapi", "ran nothing"),
        ("", "gpu", "does not say"),
        ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", "gpu", "does not say"),
    ],
)  # fmt: skip
def test_what_a_delegate_ran(line: str, delegate: str, said: str | None) -> None:
    rest = TF_1_13.replace("nnapi error: unable to open library libneuralnetworks.so\n", "")
    warnings = list(fallback_warnings(parse_log(line + "\n" + rest), delegate))
    assert (warnings == []) if said is None else (said in " ".join(warnings))


def test_a_graph_of_two_parts_is_counted_whole() -> None:
    line = "Replacing {} out of 10 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1"
    text = line.format(10) + "\n" + line.format(4) + "\n" + TF_1_13
    assert parse_log(text).delegates["gpu"] == (14, 20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it printed nothing"),
        ("Segmentation fault", "Segmentation fault"),
        ("STARTING!\nERROR: Failed to apply GPU delegate.\nBenchmarking failed.", "failed"),
        (TF_2_4.split("Inference timings")[0], "no result"),
        ("count=0 avg=1\nInference timings in us: Init: 1", "make no sense"),
        ("count=3\nInference timings in us: Init: 1", "make no sense"),
        ("count=5 avg=1.2.3\nInference timings in us: Init: 1.2.3", "no sense"),
        ("CANNOT LINK EXECUTABLE: library not found\nx", "library not found"),
    ],
)
def test_a_log_that_is_not_whole(text: str, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        parse_log(text)


@pytest.mark.parametrize("cut", range(0, len(TF_2_14_GPU), 97))
def test_a_log_cut_anywhere_is_a_log_or_an_error(cut: int) -> None:
    with suppress(DeviceError):
        assert isinstance(parse_log(TF_2_14_GPU[:cut]), Log)
