"""One suite for all operators: random small graphs, spelled as torch spells them, read and written again.

The truth is onnxruntime without optimisation, run on the graph as it came.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_graphs import Raw, pixels, run

from edgeskin.errors import GraphError
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import normalise, rename, snap_biases
from edgeskin.graph.write import to_onnx

SCALES = st.sampled_from([0.0078125, 0.01171875, 0.03125, 0.046875, 0.0625])
CHANNELS = 8


def size_of(raw: Raw, value: str) -> tuple[int, int]:
    """Height and width of a value, inferred by onnx itself."""
    graph = onnx.helper.make_graph(
        raw.nodes, "g", raw.inputs, [onnx.helper.make_empty_tensor_value_info(value)], raw.initializers
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output[0]
    height, width = (dimension.dim_value for dimension in inferred.type.tensor_type.shape.dim[2:])
    return height, width


def convolution(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    kernel = draw(st.sampled_from([1, 3, 5]))
    pads = draw(st.lists(st.integers(0, kernel // 2), min_size=4, max_size=4))
    stride = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 2, CHANNELS]))
    dilation = draw(st.integers(1, 2))
    reach = dilation * (kernel - 1) + 1
    if min(size_of(raw, x)) + min(pads[0] + pads[2], pads[1] + pads[3]) < reach:
        pads, dilation = [kernel // 2] * 4, 1
    if draw(st.booleans()):
        x = raw.q(raw.op("Pad", x, raw.constant([0, 0, 0, 1, 0, 0, 1, 0], np.int64)), scale)
    y = raw.conv(x, CHANNELS, CHANNELS, kernel, groups, pads=pads, strides=[stride] * 2, dilations=[dilation] * 2)
    between = draw(st.booleans())
    out = draw(SCALES)
    activation = draw(st.sampled_from(["", "Relu", "Clip"]))
    if activation and between:
        y = raw.q(y, out)
    if activation:
        y = raw.op("Relu", y) if activation == "Relu" else raw.relu6(y)
    return raw.q(y, out)


def pool(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    if min(size_of(raw, x)) < 3:
        return x
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": draw(st.integers(0, 1))}
    return raw.q(raw.op(kind, x, pads=draw(st.sampled_from([[0] * 4, [1] * 4])), **window), scale)


def resize(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    height, width = size_of(raw, x)
    target = draw(st.sampled_from([(2 * height, 2 * width), (height + 1, width + 3), (height, width)]))
    spelled = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    if draw(st.booleans()):
        spelled = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    batch = raw.op("Shape", x, start=0, end=2)
    sizes = raw.op("Concat", batch, raw.constant(target, np.int64), axis=0)
    return raw.q(raw.op("Resize", x, "", "", sizes, **spelled), scale)


def residual(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    y = raw.q(raw.op("Relu", raw.conv(x, CHANNELS, CHANNELS, 3)), draw(SCALES))
    return raw.q(raw.op(draw(st.sampled_from(["Add", "Mul"])), x, y), draw(SCALES))


def concat(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    y = raw.q(raw.conv(x, CHANNELS, CHANNELS, 1), scale)
    joined = raw.q(raw.op("Concat", x, y, axis=1), scale)
    return raw.q(raw.conv(joined, 2 * CHANNELS, CHANNELS, 1), draw(SCALES))


def excite(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    pooled = raw.q(raw.op("ReduceMean", x, raw.constant([-1, -2], np.int64), keepdims=1), draw(SCALES))
    gate = raw.q(raw.conv(pooled, CHANNELS, CHANNELS, 1), draw(SCALES))
    kind = {"HardSigmoid": {"alpha": 1 / 6, "beta": 0.5}, "Sigmoid": {}}
    name = draw(st.sampled_from(sorted(kind)))
    return raw.q(raw.op("Mul", x, raw.q(raw.op(name, gate, **kind[name]), 1 / 128)), draw(SCALES))


def attend(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    """A spatial gate as in CBAM: mean and maximum over channels."""
    axes = raw.constant([1], np.int64)
    shared = draw(SCALES)
    maps = [raw.q(raw.op(kind, x, axes), shared) for kind in ("ReduceMean", "ReduceMax")]
    joined = raw.q(raw.op("Concat", *maps, axis=1), shared)
    gate = raw.q(raw.op("Sigmoid", raw.q(raw.conv(joined, 2, 1, 3), draw(SCALES))), 1 / 128)
    return raw.q(raw.op("Mul", x, gate), draw(SCALES))


def swish(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    if draw(st.booleans()):
        return raw.q(raw.op("HardSwish", x), draw(SCALES))
    return raw.q(raw.op("Mul", x, raw.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)), draw(SCALES))


def transposed(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    weight = raw.weight(CHANNELS, CHANNELS, 2, 2, axis=1)
    y = raw.op("ConvTranspose", x, weight, raw.bias(CHANNELS), kernel_shape=[2, 2], strides=[2, 2])
    return raw.q(raw.op("Relu", y), draw(SCALES))


def cut(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    height, _ = size_of(raw, x)
    bounds = [raw.constant([value], np.int64) for value in (1, np.iinfo(np.int64).max, 2)]
    return raw.q(raw.op("Slice", x, *bounds), scale) if height > 2 else x


def leftovers(raw: Raw, x: str, draw: st.DrawFn, scale: float) -> str:
    """Identity, Dropout, a second quantization, a constant factor."""
    x = raw.q(raw.op("Dropout", raw.op("Identity", x)), scale)
    factor = raw.q(raw.constant(draw(st.sampled_from([0.5, -0.25]))), 1 / 128)
    return raw.q(raw.op("Mul", x, factor), draw(SCALES))


BLOCKS = (convolution, pool, resize, residual, concat, excite, attend, swish, transposed, cut, leftovers)


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    raw = Raw(quantized=draw(st.booleans()), seed=draw(st.integers(0, 99)))
    scale = draw(SCALES)
    x = raw.q(raw.conv(raw.door(), 3, CHANNELS, 3, strides=[2, 2]), scale)
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3)):
        # Blocks that keep their input's scale need to know it: bring every input to one.
        x = block(raw, raw.q(raw.op("Add", x, x), scale), draw, scale)
    pooled = raw.q(raw.op("ReduceMean", x, raw.constant([-1, -2], np.int64)), draw(SCALES))
    raw.head(raw.q(raw.op("Flatten", pooled), 0.5), CHANNELS, "diagnosis", 3)
    raw.outputs.append("mask")
    raw.op("Sigmoid", raw.q(raw.conv(x, CHANNELS, 1, 1), 0.0625), output="mask")
    return raw.model()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs())
def test_reading_and_writing_keeps_every_bit_of_every_output(model: onnx.ModelProto) -> None:
    network = read(model)
    feeds = {"image": pixels()}
    for before, after in zip(run(model, feeds), run(to_onnx(network), feeds), strict=True):
        np.testing.assert_array_equal(before, after)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs())
def test_the_uint8_twin_computes_the_canonical_file_bit_for_bit_and_reads_back_the_same(model: onnx.ModelProto) -> None:
    network = rename(snap_biases(read(model)))
    canonical, twin = to_onnx(network), to_onnx(network, activations="uint8")
    feeds = {"image": pixels()}
    for before, after in zip(run(canonical, feeds), run(twin, feeds), strict=True):
        np.testing.assert_array_equal(before, after)
        assert np.isfinite(before).all()
    assert read(canonical) == network
    assert read(twin) == network
    assert normalise(network) == network
    assert rename(network) == network


def _clip(low: float, high: float) -> Raw:
    raw = Raw(quantized=False)
    raw.op("Clip", raw.door(), raw.constant(low), raw.constant(high), output="y")
    return raw


def _divided(number: float) -> Raw:
    raw = Raw(quantized=False)
    raw.op("Div", raw.door(), raw.constant(number), output="y")
    return raw


def _one(kind: str, **attributes: object) -> Raw:
    raw = Raw(quantized=False)
    raw.op(kind, raw.door(), output="y", **attributes)
    return raw


def _resize(**attributes: object) -> Raw:
    raw = Raw(quantized=False)
    raw.op("Resize", raw.door(), "", raw.constant([1, 1, 2, 2]), output="y", **attributes)
    return raw


def _conv(**attributes: object) -> Raw:
    raw = Raw(quantized=False)
    raw.op("Conv", raw.door(), raw.weight(4, 3, 3, 3), output="y", **attributes)
    return raw


def _reduce_batch() -> Raw:
    raw = Raw(quantized=False)
    raw.op("ReduceMean", raw.door(), raw.constant([0], np.int64), output="y")
    return raw


def _pad_channels() -> Raw:
    raw = Raw(quantized=False)
    raw.op("Pad", raw.door(), raw.constant([0, 1, 0, 0, 0, 0, 0, 0], np.int64), output="y")
    return raw


def _flat_batch() -> Raw:
    raw = Raw(quantized=False)
    raw.op("Reshape", raw.door(), raw.constant([-1, 12], np.int64), output="y")
    return raw


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (_one("Tanh"), ("node_y (Tanh)", "unsupported operator", "HardSwish")),
        (_one("Elu"), ("node_y (Elu)", "unsupported operator")),
        (_divided(3.0), ("node_y (Div)", "power of two")),
        (_clip(-1, 1), ("node_y (Clip)", "[-1, 1]", "ReLU6")),
        (_conv(auto_pad="SAME_UPPER"), ("node_y (Conv)", "auto_pad SAME_UPPER", "explicit pads")),
        (_one("HardSigmoid"), ("node_y (HardSigmoid)", "alpha 0.2")),
        (_resize(mode="linear", coordinate_transformation_mode="align_corners"), ("Resize", "align_corners")),
        (_resize(mode="cubic"), ("node_y (Resize)", "mode cubic")),
        (_resize(mode="nearest"), ("node_y (Resize)", "nearest with half_pixel")),
        (_resize(mode="linear", antialias=1), ("node_y (Resize)", "antialias = 1")),
        (_one("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), ("node_y (MaxPool)", "dilations = (2, 2)")),
        (_one("AveragePool", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1), ("count_include_pad = 1",)),
        (_reduce_batch(), ("node_y (ReduceMean)", "batch")),
        (_one("Softmax", axis=0), ("node_y (Softmax)", "batch")),
        (_pad_channels(), ("node_y (Pad)", "only height and width")),
        (_flat_batch(), ("node_y (Reshape)", "batch must stay first")),
        (_one("Transpose", perm=[0, 2, 3, 1]), ("node_y (Transpose)", "[N, C, H, W]")),
    ],
    ids=lambda value: value.nodes[-1].op_type if isinstance(value, Raw) else "",
)
def test_what_the_network_cannot_hold_is_refused_by_node_and_operator(raw: Raw, words: tuple[str, ...]) -> None:
    raw.outputs.append("y")
    with pytest.raises(GraphError) as caught:
        read(raw.model())
    for word in words:
        assert word in str(caught.value)


def test_a_three_dimensional_convolution_is_refused() -> None:
    raw = Raw(quantized=False)
    raw.inputs.append(onnx.helper.make_tensor_value_info("volume", onnx.TensorProto.FLOAT, ["n", 2, 4, 4, 4]))
    raw.op("Conv", "volume", raw.constant(np.ones((2, 2, 3, 3, 3))), output="y")
    raw.outputs.append("y")
    model = raw.model()
    del model.graph.input[0]
    with pytest.raises(GraphError, match=r"node_y \(Conv\): its input has rank 5; only 2-D images"):
        read(model)


def test_a_matrix_product_and_a_sum_become_one_linear_layer() -> None:
    raw = Raw(quantized=False)
    raw.inputs.append(onnx.helper.make_tensor_value_info("metadata", onnx.TensorProto.FLOAT, ["n", 5]))
    product = raw.op("MatMul", "metadata", raw.constant(np.arange(20).reshape(5, 4)))
    raw.op("Add", product, raw.constant([1, 2, 3, 4]), output="y")
    raw.outputs.append("y")
    model = raw.model()
    del model.graph.input[0]
    network = read(model)
    assert [node.kind for node in network.nodes] == ["Linear"]
    assert network.tensors[network.nodes[0].inputs[1]].shape == (4, 5)
    metadata = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        run(model, {"metadata": metadata})[0], run(to_onnx(network), {"metadata": metadata})[0]
    )


def test_global_pooling_is_a_reduction_over_height_and_width() -> None:
    raw = Raw(quantized=False)
    pooled = raw.op("Concat", raw.op("GlobalAveragePool", raw.door()), raw.op("GlobalMaxPool", "mul_2"), axis=1)
    raw.op("Flatten", pooled, output="y")
    raw.outputs.append("y")
    network = read(raw.model())
    assert [node.kind for node in network.nodes] == ["Pixels", "Mean", "Max", "Concat", "Reshape"]
    feeds = {"image": pixels()}
    # GlobalAveragePool and ReduceMean add in another order: equal up to float32 rounding.
    before, after = run(raw.model(), feeds)[0], run(to_onnx(network), feeds)[0]
    np.testing.assert_allclose(before, after, rtol=0, atol=1e-6)
