"""The executor against hand computation, and against onnxruntime, each operator alone on onnxruntime's own integers."""

from dataclasses import replace

import numpy as np
import operator_suite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_suite import Drawn, Values, computed, demand_same, scale, small_graphs
from raw_graphs import pixels, run

from edgeskin.errors import GraphError
from edgeskin.graph import execute
from edgeskin.graph.ir import (
    Add,
    AveragePool,
    Conv,
    ConvTranspose,
    Linear,
    Mul,
    Network,
    Node,
    Operator,
    Quantization,
    Resize,
    Tensor,
)
from edgeskin.graph.write import to_onnx


def demand_agreement(network: Network, feeds: Values) -> None:
    """Each node alone on onnxruntime's values: floats within 1e-5, integers equal where the exact result is no tie."""
    values = computed(network, feeds)
    for node in network.nodes:
        demand_same(network, node, values, execute.apply(network, node, values), values[node.output])


def test_each_operator_of_a_whole_network_agrees_with_onnxruntime(network: Network, float_network: Network) -> None:
    for each in (network, float_network):
        demand_agreement(each, {"image": pixels(count=8)})


def test_a_float_network_end_to_end_is_within_1e_5_of_onnxruntime(float_network: Network) -> None:
    feeds = {"image": pixels(count=4)}
    theirs = run(to_onnx(float_network), dict(feeds))
    ours = execute.outputs(float_network, feeds)
    assert list(ours) == list(float_network.outputs)
    for one, other in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# --- drawn operators ---


@pytest.mark.parametrize("quantized", [True, False], ids=["int8", "float"])
@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone(kind: str, quantized: bool) -> None:
    @settings(max_examples=25, deadline=None)
    @given(operator_suite.alone(kind, quantized=quantized))
    def judge(drawn: Drawn) -> None:
        demand_agreement(drawn.network, drawn.feeds)

    judge()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_small_graph(data: st.DataObject) -> None:
    drawn = data.draw(small_graphs(quantized=data.draw(st.booleans())))
    demand_agreement(drawn.network, drawn.feeds)


# --- by hand ---


def one_node(operator: Operator, *operands: Tensor, result: Tensor) -> Network:
    node = Node("it", operator, tuple(operand.name for operand in operands), result.name)
    names = tuple(operand.name for operand in operands if not operand.is_constant)
    return Network(names, (result.name,), (node,), {tensor.name: tensor for tensor in (*operands, result)})


def test_a_sum_is_rounded_once_half_to_even_and_saturated() -> None:
    left, right = (Tensor(name, ("N", 6), scale(0.5)) for name in ("left", "right"))
    network = one_node(Add(), left, right, result=Tensor("sum", ("N", 6), scale(1.0)))
    values = {
        "left": np.int8([[1, 2, 3, -1, 127, -128]]),
        "right": np.int8([[0, 1, 2, 0, 127, -128]]),
    }
    # 0.5, 1.5, 2.5, −0.5 are ties; 127 and −128 are reached exactly: 254 and −256 halves.
    expected = [[0, 2, 2, 0, 127, -128]]
    assert execute.apply(network, network.nodes[0], values).tolist() == expected


def test_a_convolution_sums_whole_numbers_and_its_bias_on_their_grid() -> None:
    x = Tensor("x", ("N", 1, 1, 3), scale(0.5))
    weight = Tensor("w", (1, 1, 1, 2), Quantization(np.float32([0.25]), 0), np.int8([[[[3, -2]]]]))
    bias = Tensor("b", (1,), None, np.float32([0.125 * 5]))
    network = one_node(
        Conv((1, 1), (0, 0, 0, 1), (1, 1), 1), x, weight, bias, result=Tensor("y", ("N", 1, 1, 3), scale(0.25))
    )
    # [4, −6, 10] with a zero behind it: 12 + 12, −18 − 20, 30 − 0, each + 5, in eighths: 29, −33, 35; in quarters 14.5
    found = execute.apply(network, network.nodes[0], {"x": np.int8([[[[4, -6, 10]]]])})
    assert found.tolist() == [[[[14, -16, 18]]]]


def test_a_transposed_convolution_spreads_its_kernel() -> None:
    x = Tensor("x", ("N", 1, 1, 2))
    weight = Tensor("w", (1, 1, 1, 3), None, np.float32([[[[1, 10, 100]]]]))
    operator = ConvTranspose((1, 2), (0, 1, 0, 0), (0, 1), (1, 1), 1)
    network = one_node(operator, x, weight, result=Tensor("y", ("N", 1, 1, 5)))
    # 2 and 3 spread to [2, 20, 200 + 3, 30, 300, 0], less the first.
    found = execute.apply(network, network.nodes[0], {"x": np.float32([[[[2, 3]]]])})
    assert found.tolist() == [[[[20, 203, 30, 300, 0]]]]


def test_a_linear_resize_weighs_by_half_pixel_centres() -> None:
    network = one_node(Resize((1, 4), "linear"), Tensor("x", ("N", 1, 1, 2)), result=Tensor("y", ("N", 1, 1, 4)))
    found = execute.apply(network, network.nodes[0], {"x": np.float32([[[[0, 8]]]])})
    assert found.tolist() == [[[[0, 2, 6, 8]]]]


def test_an_average_does_not_count_its_padding() -> None:
    operator = AveragePool((1, 2), (1, 2), (0, 1, 0, 0))
    network = one_node(operator, Tensor("x", ("N", 1, 1, 3)), result=Tensor("y", ("N", 1, 1, 2)))
    assert execute.apply(network, network.nodes[0], {"x": np.float32([[[[3, 5, 8]]]])}).tolist() == [[[[3, 6.5]]]]


def test_metadata_is_quantized_where_it_enters() -> None:
    fields = Tensor("metadata", ("N", 2), scale(1 / 64))
    weight = Tensor("w", (1, 2), Quantization(np.float32([1 / 128]), 0), np.int8([[64, 127]]))
    network = one_node(Linear(), fields, weight, result=Tensor("y", ("N", 1)))
    values = execute.run(network, {"metadata": np.float32([[1.0, -0.51]])})
    assert values["metadata"].tolist() == [[64, -33]]
    assert values["y"].tolist() == [[(64 * 64 - 33 * 127) / 64 / 128]]


def test_sums_beyond_int32_are_refused_by_name() -> None:
    wide = 150_000
    x = Tensor("x", ("N", wide), scale(1.0))
    weight = Tensor("w", (1, wide), Quantization(np.float32([1.0]), 0), np.full((1, wide), 127, np.int8))
    network = one_node(Linear(), x, weight, result=Tensor("y", ("N", 1), scale(1.0)))
    with pytest.raises(GraphError, match=r"it \(Linear\): its sums leave int32"):
        execute.apply(network, network.nodes[0], {"x": np.full((1, wide), 127, np.int8)})


def test_whole_numbers_beyond_those_of_float32_are_summed_exactly() -> None:
    x = Tensor("x", ("N", 1101), scale(1.0))
    weight = Tensor("w", (1, 1101), Quantization(np.float32([1.0]), 0), np.full((1, 1101), 127, np.int8))
    bias = Tensor("b", (1,), None, np.float32([-(2**24)]))
    network = one_node(Linear(), x, weight, bias, result=Tensor("y", ("N", 1)))
    found = execute.apply(network, network.nodes[0], {"x": np.full((1, 1101), 127, np.int8)})
    assert found.tolist() == [[1101 * 127 * 127 - 2**24]]  # an odd sum above 2²⁴, which float32 has no number for


@pytest.mark.parametrize("operator", [Add(), Mul()])
@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.tuples(st.floats(width=16), st.floats(width=16)), min_size=1))
def test_half_rounds_as_float16_does(operator: Operator, values: list[tuple[float, float]]) -> None:
    left, right = np.float64(values).reshape(-1, 1, 2).transpose(2, 0, 1)
    network = one_node(operator, *(Tensor(name, ("N", 1)) for name in "ab"), result=Tensor("y", ("N", 1)))
    with np.errstate(invalid="ignore", over="ignore"):
        found = execute.apply(network, network.nodes[0], {"a": left, "b": right}, half=True)
        exact = left + right if isinstance(operator, Add) else left * right
        np.testing.assert_array_equal(found, exact.astype(np.float16).astype(np.float32))


def test_the_size_of_a_piece_changes_nothing(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = {"image": pixels(count=2)}
    whole = {half: execute.run(network, feeds, half=half) for half in (False, True)}
    monkeypatch.setattr(execute, "_PIECE", 7)
    monkeypatch.setattr(execute, "_ALONE", 100)
    for half, expected in whole.items():
        for name, values in execute.run(network, feeds, half=half).items():
            np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "the input image is missing"),
        ({"image": np.zeros((1, 3, 12, 12), np.float32)}, r"image is uint8 \[N, 3, 12, 12\], not float32"),
        ({"image": np.zeros((1, 3, 12, 13), np.uint8)}, r"not uint8 \[1, 3, 12, 13\]"),
        ({"image": pixels(), "age": np.zeros((1, 1), np.float32)}, "age is no input of the network"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(network: Network, feeds: Values, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        execute.run(network, feeds)


def test_a_wrong_scale_would_be_seen(network: Network) -> None:
    """The comparison is no formality: one scale changed by a twentieth fails it."""
    values = computed(network, {"image": pixels(count=4)})
    node = next(node for node in network.nodes if isinstance(node.operator, Add))
    result = network.result(node)
    assert result.quantization is not None
    wrong = replace(result, quantization=Quantization(result.quantization.scale * np.float32(1.05)))
    changed = replace(network, tensors={**network.tensors, result.name: wrong})
    ours = execute.apply(changed, node, values).astype(int)
    assert (ours != values[node.output].astype(int)).mean() > 0.01
