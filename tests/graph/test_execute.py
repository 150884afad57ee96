"""The executor against hand computation, and against onnxruntime, each operator alone on onnxruntime's own integers."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from raw_graphs import pixels, run

from edgeskin.errors import GraphError
from edgeskin.graph import execute
from edgeskin.graph.ir import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    HardSigmoid,
    HardSwish,
    Linear,
    Max,
    MaxPool,
    Mean,
    Mul,
    Network,
    Node,
    Operator,
    Pad,
    Pads,
    Pair,
    Pixels,
    Quantization,
    Requantize,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.rewrite import snap_biases
from edgeskin.graph.write import to_onnx

Values = Mapping[str, npt.NDArray[np.generic]]
SIZE, CHANNELS = 9, 4
SCALES = st.sampled_from([2.0**-5, 0.0234375, 0.0283203125, 0.05078125])
"""Which float16 holds, as the contract demands."""


def scale(value: float) -> Quantization:
    return Quantization(np.asarray(value, np.float32))


def computed(network: Network, feeds: Values) -> dict[str, npt.NDArray[np.generic]]:
    """What onnxruntime, every operator as written, computes for every tensor: integers where it is quantized."""
    model = to_onnx(network)
    made = {name for node in model.graph.node for name in node.output}
    places = {}
    for name in (*network.inputs, *(node.output for node in network.nodes)):
        quantized = network.tensors[name].quantization is not None
        places[name] = f"{name}_quantized" if quantized and f"{name}_quantized" in made else name
        if places[name] not in network.outputs and places[name] in made:
            kind = TensorProto.INT8 if quantized else TensorProto.FLOAT
            model.graph.output.append(helper.make_tensor_value_info(places[name], kind, None))
    found = dict(zip([output.name for output in model.graph.output], run(model, dict(feeds)), strict=True))
    return {name: found[place] for name, place in places.items() if place in found} | {
        name: feeds[name] for name in network.inputs if places[name] not in found
    }


def demand_agreement(network: Network, feeds: Values, least: float = 0.9999) -> None:
    """Each node alone on onnxruntime's values: floats within 1e-5, integers within one step and nearly all equal."""
    values = computed(network, feeds)
    for node in network.nodes:
        ours, theirs = execute.apply(network, node, values), values[node.output]
        assert ours.shape == theirs.shape, node
        assert ours.dtype == theirs.dtype, node
        if network.result(node).quantization is None:
            np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5, err_msg=str(node))
        else:
            steps = np.abs(ours.astype(int) - theirs.astype(int))
            assert steps.max(initial=0) <= 1, node
            # In a tensor of a few hundred values a single tie that float32 rounds the other way may not count.
            assert (steps > 0).sum() <= max(1, (1 - least) * steps.size), node


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


# --- each kind of operator ---


def alone(operator: Operator, after: Quantization | None, *constants: Tensor, **given: object) -> Network:
    """The door, a 1×1 convolution to four channels, and one operator that reads it, perhaps twice.

    before: the scale of what it reads. twice: how often. activation: fused behind it. shape: of its result.
    """
    before, activation = given.get("before"), given.get("activation")
    assert before is None or isinstance(before, Quantization)
    shape = given.get("shape", ("N", CHANNELS, SIZE, SIZE))
    random = np.random.default_rng(7)
    lift = random.integers(-127, 128, (CHANNELS, 3, 1, 1)).astype(np.int8)
    steps = np.full(CHANNELS, 0.0078125, np.float32)
    weight = Tensor("lift.weight", lift.shape, Quantization(steps, 0), lift)
    if before is None:
        weight = Tensor("lift.weight", lift.shape, None, weight.real())
    door = scale(1 / 128) if before is not None else None
    tensors = [
        Tensor("image", ("N", 3, SIZE, SIZE)),
        Tensor("pixels", ("N", 3, SIZE, SIZE), door),
        weight,
        Tensor("x", ("N", CHANNELS, SIZE, SIZE), before),
        *constants,
        Tensor("y", shape, after),
        Tensor("out", shape),
    ]
    plain = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1)
    reads = ("x",) * int(given.get("twice", 1)) + tuple(constant.name for constant in constants)
    nodes = [
        Node("door", Pixels(), ("image",), "pixels"),
        Node("lift", plain, ("pixels", "lift.weight"), "x"),
        Node("it", operator, reads, "y", activation),
        Node("end", Requantize() if after is not None else Sigmoid(), ("y",), "out"),
    ]
    return snap_biases(Network(("image",), ("out",), tuple(nodes), {tensor.name: tensor for tensor in tensors}))


def weights(shape: tuple[int, ...], axis: int, biases: int, *, quantized: bool) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(11)
    data = random.integers(-127, 128, shape).astype(np.int8)
    steps = random.uniform(0.001, 0.004, shape[axis]).astype(np.float32)
    weight = Tensor("it.weight", shape, Quantization(steps, axis), data)
    bias = Tensor("it.bias", (biases,), None, random.normal(0, 0.3, biases).astype(np.float32))
    return (weight if quantized else Tensor("it.weight", shape, None, weight.real())), bias


def shown() -> Values:
    return {"image": pixels(size=SIZE, count=3, seed=5)}


@settings(max_examples=40, deadline=None)
@given(
    quantized=st.booleans(), before=SCALES, after=SCALES, kernel=st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 2)]),
    strides=st.sampled_from([(1, 1), (2, 2), (2, 1)]), pads=st.tuples(*[st.integers(0, 2)] * 4),
    dilations=st.sampled_from([(1, 1), (2, 1)]), groups=st.sampled_from([1, 2, 4]),
    activation=st.sampled_from([None, "relu", "relu6"]), transposed=st.booleans(),
)  # fmt: skip
def test_convolutions(
    quantized: bool, before: float, after: float, kernel: Pair, strides: Pair, pads: Pads, dilations: Pair,
    groups: int, activation: Activation | None, transposed: bool,
) -> None:  # fmt: skip
    top, left, bottom, right = pads
    spans = [(k - 1) * dilation + 1 for k, dilation in zip(kernel, dilations, strict=True)]
    joined = [top + bottom, left + right]
    operator: Operator
    if transposed:
        more = (strides[0] - 1, 0)
        operator = ConvTranspose(strides, pads, more, dilations, groups)
        shape, axis, biases = (CHANNELS, 8 // groups, *kernel), 1, 8
        size = [
            (SIZE - 1) * strides[i] + spans[i] + more[i] - joined[i] for i in (0, 1)
        ]  # ConvTranspose, ONNX operator schema
        assume(groups == 1 or not quantized)  # one scale a channel of a group of outputs: the contract has none
    else:
        operator = Conv(strides, pads, dilations, groups)
        shape, axis, biases = (8, CHANNELS // groups, *kernel), 0, 8
        size = [(SIZE + joined[i] - spans[i]) // strides[i] + 1 for i in (0, 1)]
    network = alone(
        operator,
        scale(after * 4) if quantized else None,
        *weights(shape, axis, biases, quantized=quantized),
        before=scale(before) if quantized else None,
        activation=activation,
        shape=("N", 8, *size),
    )
    demand_agreement(network, shown())


@settings(max_examples=60, deadline=None)
@given(
    quantized=st.booleans(), before=SCALES, after=SCALES, activation=st.sampled_from([None, "relu", "relu6"]),
    operator=st.sampled_from([Add(), Mul(), HardSigmoid(), HardSwish(), Sigmoid(), Requantize()]),
)  # fmt: skip
def test_elementwise(
    quantized: bool, before: float, after: float, activation: Activation | None, operator: Operator
) -> None:
    twice = isinstance(operator, (Add, Mul))
    assume(quantized or not isinstance(operator, Requantize))
    network = alone(
        operator,
        scale(after) if quantized else None,
        before=scale(before) if quantized else None,
        twice=2 if twice else 1,
        activation=activation if twice else None,
    )
    demand_agreement(network, shown())


MOVED: list[tuple[Operator, tuple[int | str, ...], int]] = [
    (Concat(1), ("N", 2 * CHANNELS, SIZE, SIZE), 2),
    (Resize((18, 18), "linear"), ("N", CHANNELS, 18, 18), 1),
    (Resize((13, 5), "linear"), ("N", CHANNELS, 13, 5), 1),
    (Resize((18, 27), "nearest"), ("N", CHANNELS, 18, 27), 1),
    (MaxPool((3, 3), (2, 2), (0, 0, 1, 1)), ("N", CHANNELS, 4, 4), 1),
    (MaxPool((2, 3), (2, 1), (1, 1, 0, 1)), ("N", CHANNELS, 5, 9), 1),
    (AveragePool((3, 3), (2, 2), (1, 1, 1, 1)), ("N", CHANNELS, 5, 5), 1),
    (Mean((2, 3), True), ("N", CHANNELS, 1, 1), 1),
    (Mean((1,), True), ("N", 1, SIZE, SIZE), 1),
    (Max((2, 3), False), ("N", CHANNELS), 1),
    (Max((1,), True), ("N", 1, SIZE, SIZE), 1),
    (Pad((1, 0, 2, 3), 0.0), ("N", CHANNELS, SIZE + 3, SIZE + 3), 1),
    (Pad((1, 1, 1, 1), -0.5), ("N", CHANNELS, SIZE + 2, SIZE + 2), 1),
    (Reshape(("N", CHANNELS * SIZE * SIZE)), ("N", CHANNELS * SIZE * SIZE), 1),
    (Slice(1, 1, 3), ("N", 2, SIZE, SIZE), 1),
    (Slice(3, 0, 5), ("N", CHANNELS, SIZE, 5), 1),
    (Softmax(1), ("N", CHANNELS, SIZE, SIZE), 1),
]


@pytest.mark.parametrize(("operator", "shape", "twice"), MOVED, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_windows_and_moves(operator: Operator, shape: tuple[int | str, ...], twice: int, quantized: bool) -> None:
    before = scale(0.0234375) if quantized else None
    network = alone(operator, before, before=before, twice=twice, shape=shape)
    # Float32 weights of a resize may fall on the other side of a tie (96 to 99.998 % equal were seen of engines).
    demand_agreement(network, shown(), 0.96 if isinstance(operator, Resize) else 0.9999)


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
