import os
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.cost import ARCHITECTURES, ModelCost, cost_of_architecture, cost_of_graph
from edge_sdk.errors import ModelError, UsageError
from edge_sdk.tflite_file import Graph, Operator, Tensor, read_tflite

SHARED = Path(os.environ.get("EDGE_SDK_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.mark.parametrize(
    ("arch", "alpha", "size", "millions", "parameters"),
    [
        # Howard et al. 2017, tables 4 to 9.
        ("mobilenet_v1", 1.0, 224, 569, 4.2),
        ("mobilenet_v1", 0.75, 224, 325, 2.6),
        ("mobilenet_v1", 0.5, 224, 149, 1.3),
        ("mobilenet_v1", 0.25, 224, 41, 0.5),
        ("mobilenet_v1", 1.0, 192, 418, 4.2),
        ("mobilenet_v1", 1.0, 128, 186, 4.2),
        # 1.0 at 160 and 0.5 at 160 are truncated, full convolutions counted otherwise: see below.
        ("mobilenet_v1_shallow", 1.0, 224, 307, 2.9),
    ],
)
def test_the_figures_of_the_mobilenet_paper(arch, alpha, size, millions, parameters):
    cost = cost_of_architecture(arch, alpha, size)
    assert round(cost.mult_adds / 1e6) == millions
    assert round(cost.kernel_parameters / 1e6, 1) == parameters


def test_the_figures_that_the_paper_truncates_or_counts_otherwise():
    # 290.7 and 76.5: the paper cuts off where elsewhere it rounds.
    middle = cost_of_architecture("mobilenet_v1", 1.0, 160)
    assert int(middle.mult_adds / 1e6) == 290
    assert round(middle.kernel_parameters / 1e6, 1) == 4.2
    small = cost_of_architecture("mobilenet_v1", 0.5, 160)
    assert int(small.mult_adds / 1e6) == 76
    assert round(small.kernel_parameters / 1e6, 2) == 1.32
    # 4866 is without the classifier.
    full = cost_of_architecture("mobilenet_v1_full")
    classifier = full.mult_adds_by_kind()["fully-connected"]
    assert round((full.mult_adds - classifier) / 1e6) == 4866
    assert round(full.kernel_parameters / 1e6, 1) == 29.3


def test_the_shares_of_the_mobilenet_paper():
    cost = cost_of_architecture("mobilenet_v1")
    work = {k: round(100 * v / cost.mult_adds, 2) for k, v in cost.mult_adds_by_kind().items()}
    # The paper prints 1.19 for the first convolution; only 1.91 makes its column add up to 100.
    assert work == {
        "conv": 1.91, "pointwise": 94.86, "depthwise": 3.06, "fully-connected": 0.18, "other": 0,
    }  # fmt: skip
    kernels = {
        kind: sum(x.parameters - x.biases for x in cost.layers if x.kind == kind)
        for kind in ("conv", "pointwise", "depthwise", "fully-connected")
    }
    shares = {k: round(100 * v / cost.kernel_parameters, 2) for k, v in kernels.items()}
    assert shares == {"conv": 0.02, "pointwise": 74.59, "depthwise": 1.06, "fully-connected": 24.33}


@pytest.mark.parametrize(
    ("arch", "alpha", "size", "millions", "parameters"),
    [
        # Howard et al. 2017, table 3: one 14x14x512 layer, thinned, and on a 10x10 map.
        ("mobilenet_v1_full", 1.0, 224, 462, 2.36),
        ("mobilenet_v1", 1.0, 224, 52.3, 0.27),
        ("mobilenet_v1", 0.75, 224, 29.6, 0.15),
        ("mobilenet_v1", 0.75, 160, 15.1, 0.15),
    ],
)
def test_one_inner_layer_of_the_mobilenet_paper(arch, alpha, size, millions, parameters):
    layers = cost_of_architecture(arch, alpha, size).layers
    layer = layers[7:8] if arch.endswith("full") else layers[13:15]
    digits = 0 if arch.endswith("full") else 1
    assert round(sum(x.mult_adds for x in layer) / 1e6, digits) == millions
    assert round(sum(x.parameters - x.biases for x in layer) / 1e6, 2) == parameters


def test_a_separable_layer_costs_what_the_mobilenet_paper_derives():
    full = cost_of_architecture("mobilenet_v1_full").layers[7]
    separable = cost_of_architecture("mobilenet_v1").layers[13:15]
    ratio = sum(x.mult_adds for x in separable) / full.mult_adds
    assert ratio == pytest.approx(1 / 512 + 1 / 3**2, rel=1e-12)


def test_the_figures_of_the_mobilenet_v2_paper():
    cost = cost_of_architecture("mobilenet_v2")
    assert round(cost.mult_adds / 1e8, 1) == 3.0
    assert 3.4 <= cost.kernel_parameters / 1e6 <= cost.parameters / 1e6 < 3.5


def test_v2_channels_are_multiples_of_8_and_only_wide_nets_widen_the_last():
    thin, wide = (
        cost_of_architecture("mobilenet_v2", 0.35),
        cost_of_architecture("mobilenet_v2", 1.4),
    )
    logits = [next(x for x in c.layers if x.name.startswith("logits")) for c in (thin, wide)]
    assert [(x.parameters - x.biases) // 1000 for x in logits] == [1280, 1792]
    assert all(x.biases % 8 == 0 for x in thin.layers if x.kind in ("pointwise", "depthwise"))
    # 24 * 0.35 = 8.4 rounds to 8; 32 * 0.35 = 11.2 would become 8, below 90 %, so 16.
    assert thin.layers[0].biases == 16


def test_fewer_bits_make_smaller_weights_and_leave_the_work_alone():
    costs = {d: cost_of_architecture("mobilenet_v2", dtype=d) for d in ("float32", "int8", "int4")}
    assert len({c.mult_adds for c in costs.values()}) == 1
    assert costs["float32"].weight_bytes == 4 * costs["float32"].parameters
    saved = costs["int8"].weight_bytes - costs["int4"].weight_bytes
    assert saved == pytest.approx(costs["int8"].kernel_parameters / 2, abs=100)
    assert costs["int4"].activation_bytes == costs["int8"].activation_bytes
    assert costs["float32"].activation_bytes == 4 * costs["int8"].activation_bytes


def test_a_residual_is_kept_while_its_block_runs():
    cost = cost_of_architecture("mobilenet_v2", dtype="int8")
    project = next(n for n, x in enumerate(cost.layers) if x.name.startswith("add")) - 1
    layer = cost.layers[project]
    skip = layer.activation_bytes_out  # of the same size as the block's input
    assert layer.live_bytes == layer.activation_bytes_in + layer.activation_bytes_out + skip
    # The depthwise layer that halves the expanded 112x112x96 map.
    assert cost.peak_activation_bytes == 96 * (112 * 112 + 56 * 56)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"arch": "mobilenet_v3"}, "mobilenet_v2"),
        ({"arch": "mobilenet_v1", "dtype": "int5"}, "int4"),
        ({"arch": "mobilenet_v1", "alpha": 0.0}, "alpha is 0.0"),
        ({"arch": "mobilenet_v1", "alpha": float("nan")}, "alpha is nan"),
        ({"arch": "mobilenet_v1", "size": 0}, "size is 0"),
    ],
)
def test_a_wrong_architecture_is_refused_by_name(arguments, said):
    with pytest.raises(UsageError, match=said):
        cost_of_architecture(**arguments)


# --- graphs --------------------------------------------------------------------------------


def tensor(index, shape, dtype="float32", constant=False):
    size = int(np.prod(shape)) * {"float32": 4, "float16": 2, "int8": 1, "int32": 4}[dtype]
    return Tensor(
        index, f"t{index}", shape, dtype, np.empty(0, np.float32), np.empty(0, np.int64), 0,
        memoryview(bytes(max(1, size))) if constant else None,
    )  # fmt: skip


def graph(tensors, operators, inputs=(0,), outputs=None):
    return Graph(
        size=0, subgraphs=1, tensors=tuple(tensors), operators=tuple(operators), inputs=inputs,
        outputs=outputs or operators[-1].outputs, metadata=(),
    )  # fmt: skip


def test_each_operator_is_counted_by_its_layout():
    cost = cost_of_graph(
        graph(
            [
                tensor(0, (-1, 8, 8, 3)),  # a free batch counts as one
                tensor(1, (16, 3, 3, 3), constant=True), tensor(2, (16,), constant=True),
                tensor(3, (-1, 4, 4, 16)),
                tensor(4, (1, 3, 3, 16), constant=True), tensor(5, (1, 4, 4, 16)),
                tensor(6, (24, 1, 1, 16), constant=True), tensor(7, (1, 4, 4, 24)),
                tensor(8, (1, 24)),
                tensor(9, (10, 24), constant=True), tensor(10, (1, 10)),
            ],
            [
                Operator("CONV_2D", (0, 1, 2), (3,)),
                Operator("DEPTHWISE_CONV_2D", (3, 4, -1), (5,)),
                Operator("CONV_2D", (5, 6), (7,)),
                Operator("MEAN", (7,), (8,)),
                Operator("FULLY_CONNECTED", (8, 9, -1), (10,)),
            ],
        )
    )  # fmt: skip
    assert [x.kind for x in cost.layers] == [
        "conv", "depthwise", "pointwise", "other", "fully-connected",
    ]  # fmt: skip
    assert [x.mult_adds for x in cost.layers] == [
        16 * 16 * 27, 16 * 16 * 9, 16 * 24 * 16, 0, 240,
    ]  # fmt: skip
    assert [x.parameters for x in cost.layers] == [16 * 27 + 16, 144, 384, 0, 240]
    assert cost.layers[0].biases == 16
    assert cost.layers[0].activation_bytes_in == 8 * 8 * 3 * 4


def test_a_half_precision_kernel_is_stored_once_and_is_no_activation():
    cost = cost_of_graph(
        graph(
            [
                tensor(0, (1, 4, 4, 8)), tensor(1, (8, 1, 1, 8), "float16", constant=True),
                tensor(2, (8, 1, 1, 8)), tensor(3, (1, 4, 4, 8)),
            ],
            [Operator("DEQUANTIZE", (1,), (2,)), Operator("CONV_2D", (0, 2), (3,))],
        )
    )  # fmt: skip
    assert [(x.weight_dtype, x.weight_bytes) for x in cost.layers] == [("float16", 128)]
    assert cost.activation_bytes == 2 * 4 * 4 * 8 * 4


def test_a_branch_is_alive_until_its_last_use():
    cost = cost_of_graph(
        graph(
            [tensor(0, (1, 100)), tensor(1, (1, 10)), tensor(2, (1, 10)), tensor(3, (1, 100))],
            [
                Operator("RELU", (0,), (1,)),
                Operator("TANH", (1,), (2,)),
                Operator("ADD", (0, 2), (3,)),
            ],
        )
    )
    assert [x.live_bytes for x in cost.layers] == [440, 480, 840]


def test_a_size_unknown_before_run_time_is_an_error():
    free = graph([tensor(0, (1, -1)), tensor(1, (1, 4))], [Operator("RELU", (0,), (1,))])
    with pytest.raises(ModelError, match=r"t0.*fixed input size"):
        cost_of_graph(free)


def test_an_empty_model_costs_nothing():
    assert (ModelCost(()).peak_activation_bytes, ModelCost(()).dtypes()) == (0, ("", ""))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data beside the checkout")
def test_the_file_and_the_paper_agree():
    path = SHARED / "data" / "tflite" / "mobilenet_v1_0.25_128_quant.tflite"
    file = cost_of_graph(read_tflite(path))
    paper = cost_of_architecture("mobilenet_v1", 0.25, 128, 1001, "uint8")
    assert file.mult_adds_by_kind() == paper.mult_adds_by_kind()
    assert file.parameters_by_kind() == paper.parameters_by_kind()
    assert file.weight_bytes == paper.weight_bytes
    assert file.peak_activation_bytes == paper.peak_activation_bytes
    assert file.dtypes() == paper.dtypes()
    # The file reshapes its 1001 logits once more, in and out.
    assert file.activation_bytes - paper.activation_bytes == 2 * 1001


def test_every_architecture_is_computed_at_every_width():
    for arch in ARCHITECTURES:
        costs = [cost_of_architecture(arch, alpha, 96).mult_adds for alpha in (0.25, 0.5, 1.0, 1.4)]
        assert costs == sorted(costs)
        assert costs[0] > 0
