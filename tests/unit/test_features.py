import dataclasses

import numpy as np
import pytest

from edge_sdk.benchmark.features import (
    FEATURES,
    coordinates,
    features,
    layer_features,
    reference,
)
from edge_sdk.cost import LayerCost, ModelCost, cost_of_architecture


def test_features_are_in_their_order_and_units():
    cost = cost_of_architecture("mobilenet_v1", dtype="float32")
    x = dict(zip(FEATURES, features(cost, "float"), strict=True))
    work = cost.mult_adds_by_kind()
    # Every width of V1 1.0 is a multiple of 32; 7 x 7 pixels are computed as 56.
    assert 1 < x["pointwise"] * 1e6 / work["pointwise"] < 1.06
    assert x["depthwise"] * 1e6 == pytest.approx(work["depthwise"])
    assert x["conv"] * 1e6 == pytest.approx(work["conv"] + work["fully-connected"])
    assert x["activations"] * 1e6 == pytest.approx(cost.activation_bytes)
    assert x["parameters"] * 1e6 == pytest.approx(4 * cost.parameters)
    assert x["image"] * 1e6 == 224 * 224 * 3 * 4
    touched = [
        layer.activation_bytes_in + layer.activation_bytes_out + 4 * layer.parameters
        for layer in cost.layers
    ]
    assert x["spill"] * 1e6 == pytest.approx(sum(max(0, t - 1e6) for t in touched))
    assert x["constant"] == 1


def test_int4_kernels_cost_what_int8_kernels_do():
    costs = [cost_of_architecture("mobilenet_v1", dtype=d) for d in ("int8", "int4")]
    assert (features(costs[0], "int8") == features(costs[1], "int8")).all()


def test_a_product_is_rounded_up_to_whole_tiles():
    # 9 pixels and 33 channels of 8 inputs: computed as 16 by 64.
    layer = LayerCost(
        "c", "pointwise", 9 * 33 * 8, 33 * 8 + 33, 33, 0, 9 * 8, 9 * 33, 0, "int8", "int8"
    )
    x = features(ModelCost((layer,)), "int8")
    assert x[FEATURES.index("pointwise")] * 1e6 == pytest.approx(16 * 64 * 8)
    # Without a bias in the file the channels follow from the output all the same.
    bare = dataclasses.replace(layer, parameters=33 * 8, biases=0)
    assert features(ModelCost((bare,)), "int8")[0] == pytest.approx(x[0])


def test_layers_add_up_to_the_model():
    cost = cost_of_architecture("mobilenet_v2", 0.75, 160)
    total = sum(x for _, x in layer_features(cost, "float"))
    assert total[:-1] == pytest.approx(features(cost, "float")[:-1])


def test_the_two_families_are_one_apart_in_depth():
    at = {}
    for arch in ("mobilenet_v1", "mobilenet_v2"):
        cost = cost_of_architecture(arch)
        at[arch] = coordinates(cost, features(cost, "float"))
    apart = at["mobilenet_v2"] - at["mobilenet_v1"]
    assert apart[2] == pytest.approx(1.0)
    assert apart[0] == 0


def test_a_model_without_an_image_has_coordinates():
    layer = LayerCost("f", "fully-connected", 100, 110, 10, 440, 40, 40, 80, "float32", "float32")
    cost = ModelCost((layer,))
    assert np.isfinite(coordinates(cost, features(cost, "float"))).all()


@pytest.mark.parametrize("dtype_class", ["float", "int8"])
def test_the_reference_has_every_feature(dtype_class):
    assert (reference(dtype_class) > 0).all()
