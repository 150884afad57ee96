"""NVIDIA's parser reads our files as we mean them: its network, read back layer by layer, is ours.

The judge is TensorRT-RTX itself, which needs no GPU to parse and to build. What the read-back network computes is
judged by onnxruntime in float, and by the executor's run of int8.onnx in integers.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import operator_suite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metadata_graphs import told_and_seen
from onnx import TensorProto, helper, numpy_helper
from operator_suite import Drawn, small_graphs
from raw_graphs import Raw, pixels, run

from edgeskin.errors import GraphError, TargetError
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.load import load
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve, weights_only
from edgeskin.graph.write import Opset, to_onnx
from edgeskin.shipped import default_release
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.layers import walk
from edgeskin.targets.tensorrt.lift.sizes import INTEGER_KINDS
from edgeskin.targets.tensorrt.settle import settle

pytestmark = pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing()))
OPSETS: tuple[Opset, ...] = (21, 17)


def parsed(model: onnx.ModelProto) -> Network:
    """What TensorRT makes of a model, as our network."""
    return settle(parser.lifted(parser.define_model(model)))


def demand_the_same(network: Network) -> None:
    """That TensorRT holds the very network, of either file."""
    expected = settle(read(to_onnx(network)))
    for opset in OPSETS:
        assert parsed(to_onnx(network, opset=opset)) == expected


def demand_the_same_in_float16(network: Network) -> None:
    """That TensorRT holds the halved network, of either file, and computes all of it in float16."""
    expected = settle(halve(read(to_onnx(network))))
    for opset in OPSETS:
        definition = parser.define_model(to_onnx(network, half=True, opset=opset))
        assert settle(parser.lifted(definition)) == expected
        layers = walk(definition.network)
        kinds = {each.output.kind for each in layers.layers if each.output.name not in layers.outputs}
        assert kinds - set(INTEGER_KINDS) == {"HALF"}


@pytest.mark.parametrize("quantized", [True, False], ids=["int8", "float"])
@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone(kind: str, quantized: bool) -> None:
    @settings(max_examples=20, deadline=None)
    @given(operator_suite.alone(kind, quantized=quantized))
    def judge(drawn: Drawn) -> None:
        demand_the_same(drawn.network)

    judge()


@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone_in_float16(kind: str) -> None:
    @settings(max_examples=10, deadline=None)
    @given(operator_suite.alone(kind, quantized=False))
    def judge(drawn: Drawn) -> None:
        demand_the_same_in_float16(drawn.network)

    judge()


@settings(max_examples=20, deadline=None)
@given(small_graphs(quantized=False))
def test_a_small_graph_in_float16(drawn: Drawn) -> None:
    demand_the_same_in_float16(drawn.network)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_small_graph(data: st.DataObject) -> None:
    demand_the_same(data.draw(small_graphs(quantized=data.draw(st.booleans()))).network)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_settling_changes_nothing_that_is_computed(data: st.DataObject) -> None:
    """Otherwise the comparison would excuse what it hides."""
    drawn = data.draw(operator_suite.alone(data.draw(st.sampled_from(["conv_transpose", "pad"])), quantized=True))
    one, other = (execute.outputs(each, drawn.feeds)["out"] for each in (drawn.network, settle(drawn.network)))
    np.testing.assert_array_equal(one, other)


def test_a_network_with_metadata() -> None:
    for quantized in (True, False):
        demand_the_same(told_and_seen(quantized=quantized))
    demand_the_same_in_float16(told_and_seen(quantized=False))


def test_the_released_float_network_computes_what_onnxruntime_computes() -> None:
    """Within 1e-5, as issue 6 asks."""
    path = default_release() / "fp32.onnx"
    found = parser.read(path)
    assert settle(found) == settle(read(path))
    image = pixels(size=int(found.tensors["image"].shape[2]), count=1)
    expected = run(load(path), {"image": image})
    ours = execute.outputs(found, {"image": image})
    for name, values in zip(found.outputs, expected, strict=True):
        np.testing.assert_allclose(ours[name], values, atol=1e-5, rtol=0)


def test_the_released_integer_network_computes_the_integers_of_int8_onnx() -> None:
    path = default_release() / "int8.onnx"
    found, network = parser.read(path), read(path)
    assert settle(found) == settle(network)
    feeds = {"image": pixels(size=int(found.tensors["image"].shape[2]), count=1)}
    ours, theirs = execute.run(network, feeds), execute.run(found, feeds)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(theirs[name], values)


def test_the_released_network_in_float16_is_the_halved_one() -> None:
    demand_the_same_in_float16(read(default_release() / "fp32.onnx"))


def test_integer_weights_between_float_values_are_the_same_to_tensorrt() -> None:
    network = weights_only(read(default_release() / "int8.onnx"))
    assert parsed(to_onnx(network)) == settle(network)


def test_the_released_network_in_opset_17_is_the_same_to_tensorrt() -> None:
    network = read(default_release() / "int8.onnx")
    assert parsed(to_onnx(network, opset=17)) == settle(network)


# --- mistakes between our network and TensorRT's ---


def edit(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the numbers of an initializer."""
    (stored,) = [each for each in model.graph.initializer if each.name == name]
    stored.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(stored)), name))


def set_attribute(model: onnx.ModelProto, which: str, name: str, value: object) -> None:
    """Set an attribute of the first node of that name or kind."""
    node = next(node for node in model.graph.node if which in (node.name, node.op_type))
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def one_step(data: np.ndarray) -> np.ndarray:
    changed = data.copy()
    changed.reshape(-1)[0] += 1 if changed.reshape(-1)[0] < 100 else -1
    return changed


def along_the_inputs(model: onnx.ModelProto, weight: str) -> None:
    """As many scales as a weight has inputs, along that axis."""
    (stored,) = [each for each in model.graph.initializer if each.name == weight]
    edit(model, f"{weight}_scale", lambda _: np.full(stored.dims[1], 0.01, np.float32))
    edit(model, f"{weight}_zero_point", lambda _: np.zeros(stored.dims[1], np.int8))
    set_attribute(model, f"{weight}_dequantized", "axis", 1)


def for_each_channel(model: onnx.ModelProto, tensor: str) -> None:
    """The scale of a map, once for each of its eight channels."""
    edit(model, f"{tensor}_scale", lambda x: np.full(8, x, np.float32))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.int8), "zero_points"))
    for node in model.graph.node:
        if node.name in (f"{tensor}_quantized", f"{tensor}_dequantized"):
            node.input[2] = "zero_points"


MISTAKES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "a scale off by a thousandth": lambda model: edit(model, "encoder.deep_scale", lambda x: x * np.float32(1.001)),
    "the scale of one channel": lambda model: edit(model, "encoder.stem.weight_scale", lambda x: x[::-1].copy()),
    "a weight one step off": lambda model: edit(model, "encoder.stem.weight", one_step),
    "a bias": lambda model: edit(model, "encoder.excite.bias", lambda x: x * np.float32(1.01)),
    "a pad at the other end": lambda model: set_attribute(model, "Conv", "pads", [1, 1, 0, 0]),
    "the axes of a mean": lambda model: edit(model, "mean_1.axes", lambda x: x - 1),
    "the axis of a softmax": lambda model: set_attribute(model, "Softmax", "axis", 0),
    "the axis of a scale": lambda model: set_attribute(model, "encoder.stem.weight_dequantized", "axis", 1),
    "scales along the wrong axis": lambda model: along_the_inputs(model, "encoder.stem.weight"),
    "a scale for each channel of a map": lambda model: for_each_channel(model, "encoder.stem"),
    "an infinite scale": lambda model: edit(model, "encoder.stem_scale", lambda x: x * np.float32(np.inf)),
    "nearest instead of linear": lambda model: set_attribute(model, "Resize", "mode", "nearest"),
    "corners aligned": lambda model: set_attribute(model, "Resize", "coordinate_transformation_mode", "align_corners"),
    "the middle of the pixels": lambda model: edit(model, "pixel_zero", lambda x: x - 1),
    "the step of the pixels": lambda model: edit(model, "pixel_scale", lambda x: x * np.float32(128 / 127.5)),
    "the bound of a clip": lambda model: edit(model, "relu6_high", lambda x: x + 1),
    "the slope of a gate": lambda model: set_attribute(model, "HardSigmoid", "alpha", 0.2),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_seen(mistake: str, graph: Graph) -> None:
    model = load(graph.int8)
    expected = settle(read(graph.int8))
    assert parsed(model) == expected
    MISTAKES[mistake](model)
    try:
        found = parsed(model)
    except (GraphError, TargetError) as error:
        assert re.search(r"\S+ \(\w+\): ", str(error))
    else:
        assert found != expected


def as_float32(model: onnx.ModelProto, weight: str) -> None:
    """A weight that was rounded to float16, stored as float32."""
    edit(model, weight, lambda x: x.astype(np.float32))


def once_wide(model: onnx.ModelProto, node: str) -> None:
    """What a node computes, cast to float32 and back behind it."""
    place = next(place for place, each in enumerate(model.graph.node) if each.name == node)
    (output,) = model.graph.node[place].output
    model.graph.node[place].output[0] = "narrow"
    for name, value, made, kind in (
        ("widen", "narrow", "wide", TensorProto.FLOAT),
        ("narrow_again", "wide", output, TensorProto.FLOAT16),
    ):
        place += 1
        model.graph.node.insert(place, helper.make_node("Cast", [value], [made], name=name, to=kind))


IN_PART: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "a weight": (lambda model: as_float32(model, "encoder.stem.weight"), r"encoder\.stem \(Conv\)"),
    "a value": (lambda model: once_wide(model, "encoder.deep"), r"widen \(CAST\): casts to FLOAT within the network"),
}


@pytest.mark.parametrize("what", IN_PART)
def test_float32_within_a_network_in_float16_is_refused(what: str, graph: Graph) -> None:
    model = to_onnx(read(graph.fp32), half=True)
    change, told = IN_PART[what]
    change(model)
    with pytest.raises((GraphError, TargetError), match=told):
        parsed(model)


def test_a_weight_that_was_rounded_to_the_next_float16_is_seen(graph: Graph) -> None:
    network = read(graph.fp32)
    model = to_onnx(network, half=True)
    assert parsed(model) == settle(halve(network))
    edit(model, "encoder.stem.weight", lambda x: np.nextafter(x, np.float16(np.inf)))
    assert parsed(model) != settle(halve(network))


# --- what the parser refuses ---


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "an activation zero point": (
        lambda model: edit(model, "zero_point", lambda x: x + np.int8(3)),
        r"pixels_1_quantized \(QuantizeLinear\): .*Non-zero zero point",
    ),
    "a scale of zero": (
        lambda model: edit(model, "encoder.stem_scale", lambda x: x * np.float32(0)),
        r"encoder\.stem_quantized \(QuantizeLinear\): .*must all be positive",
    ),
    "a float16 scale": (
        lambda model: edit(model, "encoder.stem_scale", lambda x: x.astype(np.float16)),
        r"encoder\.deep \(Conv\): .*\n.*must be of same type",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_parser_refuses_is_told_by_the_name_of_a_node_in_its_own_words(what: str, graph: Graph) -> None:
    model = load(graph.int8)
    change, told = REFUSED[what]
    change(model)
    with pytest.raises(TargetError, match=rf"parser refuses it:\n  {told}") as refusal:
        parser.define_model(model)
    assert "cudaError" not in str(refusal.value)


def test_the_twin_for_onnxruntime_is_refused(graph: Graph) -> None:
    with pytest.raises(TargetError, match=r"parser refuses it:\n  pixels_1 \(DequantizeLinear\): .*UINT8"):
        parser.define_model(to_onnx(read(graph.int8), activations="uint8"))


def test_an_int32_bias_is_refused_by_the_name_of_its_node(tmp_path: Path, graph: Graph) -> None:
    model = load(graph.int8)
    conv = next(node for node in model.graph.node if node.name == "encoder.deep")
    size = next(each for each in model.graph.initializer if each.name == conv.input[2]).dims[0]
    for name, data in (("whole", np.ones(size, np.int32)), ("step", np.ones(size, np.float32))):
        model.graph.initializer.append(numpy_helper.from_array(data, name))
    place = list(model.graph.node).index(conv)
    model.graph.node.insert(place, helper.make_node("DequantizeLinear", ["whole", "step"], ["b"], name="bias", axis=0))
    model.graph.node[place + 1].input[2] = "b"
    path = tmp_path / "bias.onnx"
    onnx.save(model, path)
    with pytest.raises(TargetError, match=r"(?s)bias\.onnx: .*\n  bias \(DequantizeLinear\): "):
        parser.define(path)


def test_an_operator_that_no_network_of_ours_has_is_an_error_with_the_layers_name() -> None:
    raw = Raw(quantized=False)
    raw.outputs.append(raw.op("Sigmoid", raw.op("Exp", raw.door(), output="grown"), output="mask"))
    with pytest.raises(GraphError, match=r"node_grown \(UNARY\): "):
        parsed(raw.model())


def test_a_file_that_is_no_onnx_is_an_error_before_tensorrt_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(GraphError, match="not an ONNX file"):
        parser.define(path)


def test_a_definition_can_be_walked_twice_and_outlives_the_model(graph: Graph) -> None:
    definition = parser.define(graph.int8)
    one, other = parser.lifted(definition), parser.lifted(definition)
    assert one == other
    assert definition.network.get_input(0).dtype.name == TensorProto.DataType.Name(TensorProto.UINT8)
