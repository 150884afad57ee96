"""The rules of TensorRT's parser, each broken alone, and held against the parser itself where it is at hand."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from metadata_graphs import told_and_seen
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeskin.errors import ContractError, TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.load import load
from edgeskin.graph.read import read
from edgeskin.graph.write import to_onnx, write_onnx
from edgeskin.shipped import default_release
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.generations import GENERATIONS, RTX, Generation, of
from edgeskin.targets.tensorrt.layers import walk
from edgeskin.targets.tensorrt.lint import PASSED, REFUSED, RULES, check, lint

each_generation = pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.name)
JETPACK_5, NEWEST = GENERATIONS[0], GENERATIONS[-2]


# --- our own files ---


@each_generation
@pytest.mark.parametrize("name", ["int8.onnx", "fp32.onnx"])
def test_our_own_file_for_a_generation_keeps_all_its_rules(generation: Generation, name: str) -> None:
    network = read(default_release() / name)
    assert lint(to_onnx(network, opset=generation.opset), generation) == ()


@each_generation
def test_our_own_file_in_float16_keeps_all_its_rules(generation: Generation) -> None:
    network = read(default_release() / "fp32.onnx")
    assert lint(to_onnx(network, opset=generation.opset, half=True), generation) == ()


@each_generation
def test_a_network_with_metadata_keeps_all_rules(generation: Generation) -> None:
    assert lint(to_onnx(told_and_seen(quantized=True), opset=generation.opset), generation) == ()


# --- each rule broken alone ---


def edit(model: onnx.ModelProto, name: str, change: Callable[[NDArray[np.generic]], NDArray[np.generic]]) -> None:
    """Change a stored value."""
    stored = next(each for each in model.graph.initializer if each.name == name)
    stored.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(stored)), name))


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(each for each in model.graph.node if each.name == name)


def quantize_to_uint8(model: onnx.ModelProto) -> None:
    """The last quantization of all, whose zero point is its own, as onnxruntime would like it."""
    for kind in ("quantized", "dequantized"):
        node_of(model, f"encoder.stem_{kind}").input[2] = "uint8_zero"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.uint8), "uint8_zero"))


def store_a_weight_as_uint8(model: onnx.ModelProto) -> None:
    edit(model, "encoder.stem.weight", lambda weight: weight.view(np.uint8))
    node = node_of(model, "encoder.stem.weight_dequantized")
    del node.input[2:]


def store_the_bias_as_int32(model: onnx.ModelProto) -> None:
    conv = node_of(model, "encoder.deep")
    size = next(each for each in model.graph.initializer if each.name == conv.input[2]).dims[0]
    for name, data in (("whole", np.ones(size, np.int32)), ("step", np.ones((), np.float32))):
        model.graph.initializer.append(numpy_helper.from_array(data, name))
    place = list(model.graph.node).index(conv)
    model.graph.node.insert(place, helper.make_node("DequantizeLinear", ["whole", "step"], ["b"], name="bias"))
    model.graph.node[place + 1].input[2] = "b"


def scale_along_the_inputs(model: onnx.ModelProto) -> None:
    """One scale for each input channel of a weight, zero points to match."""
    weight = next(each for each in model.graph.initializer if each.name == "encoder.stem.weight")
    inputs = weight.dims[1]
    assert inputs > 1
    edit(model, "encoder.stem.weight_scale", lambda scale: np.resize(scale, inputs))
    node = node_of(model, "encoder.stem.weight_dequantized")
    next(each for each in node.attribute if each.name == "axis").i = 1
    if len(node.input) > 2:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(inputs, np.int8), "zeros"))
        node.input[2] = "zeros"


def scale_for_each_channel(model: onnx.ModelProto) -> None:
    """Of an activation."""
    channels = next(each for each in model.graph.initializer if each.name == "encoder.stem.weight").dims[0]
    edit(model, "encoder.stem_scale", lambda scale: np.full(channels, scale))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(channels, np.int8), "zero_points"))
    for kind in ("quantized", "dequantized"):
        node = node_of(model, f"encoder.stem_{kind}")
        node.attribute.append(helper.make_attribute("axis", 1))
        node.input[2] = "zero_points"


def compute_a_scale(model: onnx.ModelProto) -> None:
    model.graph.node.insert(
        0, helper.make_node("Add", ["encoder.stem_scale", "encoder.stem_scale"], ["twice"], name="double")
    )
    for kind in ("quantized", "dequantized"):
        node_of(model, f"encoder.stem_{kind}").input[1] = "twice"


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 26


BROKEN: dict[str, tuple[str, Callable[[onnx.ModelProto], None], str]] = {
    "a zero point of 3": (
        "zero-point",
        lambda model: edit(model, "zero_point", lambda zero: zero + np.int8(3)),
        "pixels_1_quantized: has the zero point 3; ",
    ),
    "an activation as uint8": ("int8-activation", quantize_to_uint8, "encoder.stem_quantized: quantizes to uint8; "),
    "a weight as uint8": ("int8-stored", store_a_weight_as_uint8, "encoder.stem.weight_dequantized: holds uint8; "),
    "a bias as int32": ("int8-stored", store_the_bias_as_int32, "bias: holds int32; .*store a bias as float32"),
    "a scale as float16": (
        "float32-scale",
        lambda model: edit(model, "encoder.stem_scale", lambda scale: scale.astype(np.float16)),
        "encoder.stem_quantized: has a scale of float16; ",
    ),
    "a scale of zero": (
        "positive-scale",
        lambda model: edit(model, "encoder.stem_scale", lambda scale: scale * np.float32(0)),
        "encoder.stem_quantized: has the scale 0.0; ",
    ),
    "a scale below zero": (
        "positive-scale",
        lambda model: edit(model, "encoder.stem_scale", lambda scale: -scale),
        "encoder.stem_quantized: has the scale -0",
    ),
    "a scale that is no number": (
        "positive-scale",
        lambda model: edit(model, "encoder.stem_scale", lambda scale: scale * np.float32(np.nan)),
        "encoder.stem_quantized: has the scale nan; ",
    ),
    "an infinite scale": (
        "finite-scale",
        lambda model: edit(model, "encoder.stem_scale", lambda scale: scale * np.float32(np.inf)),
        "encoder.stem_quantized: has an infinite scale; ",
    ),
    "a computed scale": ("stored-scale", compute_a_scale, "encoder.stem_quantized: computes its scale twice; "),
    "scales along the inputs of a weight": (
        "weight-axis",
        scale_along_the_inputs,
        r"encoder.stem.weight_dequantized: has \d+ scales along axis 1; what reads this weight has \d+ along axis 0",
    ),
    "a scale for each channel of a map": (
        "activation-scale",
        scale_for_each_channel,
        r"encoder.stem_quantized: has \d+ scales; an activation has one",
    ),
    "an opset that nobody reads": (
        "opset",
        newer_opset,
        r"the file: is opset 26; TensorRT 11.0 reads up to 24 \(onnx-tensorrt.*\)\. Write it with opset 21",
    ),
}
each_broken = pytest.mark.parametrize("what", BROKEN)


@each_broken
def test_a_file_that_breaks_one_rule_is_found_by_that_rule_alone(what: str, graph: Graph) -> None:
    rule, change, told = BROKEN[what]
    model = load(graph.int8)
    assert lint(model, NEWEST) == ()
    change(model)
    findings = lint(model, NEWEST)
    assert {each.rule for each in findings} == {rule}
    assert any(re.match(rf"{rule}: {told}", str(each)) for each in findings), findings


def test_every_rule_is_broken_somewhere() -> None:
    assert {rule for rule, _, _ in BROKEN.values()} | {"uint8-image"} == set(RULES)


def test_jetpack_5_takes_neither_the_opset_nor_the_pixels_of_the_file_for_newer_ones(graph: Graph) -> None:
    findings = lint(load(graph.int8), JETPACK_5)
    assert [(each.rule, each.node) for each in findings] == [("opset", "the file"), ("uint8-image", "image")]


def test_uint8_pixels_alone_are_found_for_jetpack_5(graph: Graph) -> None:
    model = load(graph.fp32)
    model.opset_import[0].version = 17
    assert [each.rule for each in lint(model, JETPACK_5)] == ["uint8-image"]


def test_an_unpinned_generation_is_trusted_with_no_more_than_its_own_file(graph: Graph) -> None:
    assert RTX.highest_opset is None
    model = load(graph.int8)
    assert lint(model, RTX) == ()
    model.opset_import[0].version = 22
    (finding,) = lint(model, RTX)
    assert str(finding) == (
        "opset: the file: is opset 22; no source says what TensorRT RTX 1 reads. Write it with opset 21"
    )


def test_a_jetson_of_jetpack_6_does_not_take_the_opset_of_the_file_for_newer_ones(graph: Graph) -> None:
    (finding,) = lint(load(graph.int8), of((10, 3, 0)))
    assert str(finding) == (
        "opset: the file: is opset 21; TensorRT 10.0 reads up to 20 (onnx-tensorrt, docs/operators.md at 10.0). "
        "Write it with opset 17"
    )


def test_a_file_that_breaks_rules_is_an_error_with_all_of_them(tmp_path: Path, graph: Graph) -> None:
    path = tmp_path / "broken.onnx"
    model = load(graph.int8)
    for what in ("an infinite scale", "a bias as int32"):
        BROKEN[what][1](model)
    onnx.save(model, path)
    with pytest.raises(
        ContractError, match=r"(?s)broken\.onnx: is not for TensorRT 11\.0:.*int8-stored: .*finite-scale: "
    ):
        check(path, NEWEST)


def test_a_file_that_keeps_them_is_no_error(tmp_path: Path, graph: Graph) -> None:
    path = tmp_path / "small.onnx"
    write_onnx(read(graph.int8), path, opset=17)
    check(path, JETPACK_5)


# --- the parser's own word ---


@pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing()))
@each_broken
def test_the_parser_refuses_what_the_lint_says_it_refuses_and_nothing_else(what: str, graph: Graph) -> None:
    rule, change, _ = BROKEN[what]
    assert (rule in REFUSED) != (rule in PASSED)
    model = load(graph.int8)
    change(model)
    if rule in REFUSED:
        with pytest.raises(TargetError, match="parser refuses it"):
            parser.define_model(model)
    else:
        parser.define_model(model)


@pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing()))
def test_a_uint8_activation_is_int8_to_the_parser_without_a_word(graph: Graph) -> None:
    """Why the rule `int8-activation` stands although the parser takes the file."""
    model = load(graph.int8)
    quantize_to_uint8(model)
    layers = walk(parser.define_model(model).network).layers
    assert next(each.output.kind for each in layers if each.name == "encoder.stem_quantized") == "INT8"
