"""The file for TensorRT 8: opset 17 and float32 pixels, and the same numbers as the file of opset 21.

Judges: onnx's checker, which has the text of every opset; onnxruntime, every operator as written.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import operator_suite
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from metadata_graphs import SIZE, SPEC, told_and_seen
from onnx import TensorProto, helper, numpy_helper
from operator_suite import Drawn, small_graphs
from raw_graphs import Raw, pixels, run

from edgeskin.graph.ir import AveragePool, Network
from edgeskin.graph.read import read
from edgeskin.graph.write import to_onnx
from edgeskin.shipped import default_release

Image: TypeAlias = npt.NDArray[np.uint8]


def with_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same file with the door of the contract: a uint8 image and a cast. That is all that opset 17 lacks."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    (image,) = [each for each in changed.graph.input if each.name == "image"]
    image.type.tensor_type.elem_type = TensorProto.UINT8
    for node in changed.graph.node:
        node.input[:] = ["floats" if name == "image" else name for name in node.input]
    changed.graph.node.insert(0, helper.make_node("Cast", ["image"], ["floats"], name="cast", to=TensorProto.FLOAT))
    return changed


def with_every_integer(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that puts out what every QuantizeLinear makes, behind its own outputs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        if node.op_type == "QuantizeLinear":
            changed.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.INT8, None))
    return changed


def averages(network: Network) -> bool:
    return any(isinstance(node.operator, AveragePool) for node in network.nodes)


def widest_step(network: Network) -> float:
    """The largest scale of what the network computes; 0 in a float network."""
    scales = [network.result(node).quantization for node in network.nodes]
    return max((float(each.scale) for each in scales if each is not None), default=0.0)


def demand_the_same(
    network: Network, image: Image, older: onnx.ModelProto | None = None, **more: npt.NDArray[np.float32]
) -> None:
    """That both files hold one network, and compute every integer and every output of it to the bit.

    A mean over windows may be one step off: from opset 19 on, onnxruntime sums it in another order (1.31).
    """
    newest, older = to_onnx(network), older or to_onnx(network, opset=17)
    onnx.checker.check_model(older, full_check=True)
    one = run(with_every_integer(newest), {"image": image, **more})
    other = run(with_every_integer(older), {"image": image.astype(np.float32), **more})
    for before, after in zip(one, other, strict=True):
        assert before.dtype == after.dtype
        if not averages(network):
            np.testing.assert_array_equal(before, after)
        elif before.dtype == np.int8:
            assert np.abs(before.astype(int) - after).max() <= 1
        else:
            np.testing.assert_allclose(before, after, rtol=1e-6, atol=widest_step(network) + 1e-6)
    assert read(with_bytes(older)) == read(newest)


@pytest.mark.parametrize("quantized", [True, False], ids=["int8", "float"])
@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone_computes_the_same(kind: str, quantized: bool) -> None:
    @settings(max_examples=12, deadline=None)
    @given(operator_suite.alone(kind, quantized=quantized))
    def judge(drawn: Drawn) -> None:
        demand_the_same(drawn.network, np.asarray(drawn.feeds["image"], np.uint8))

    judge()


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_small_graph_computes_the_same(data: st.DataObject) -> None:
    drawn = data.draw(small_graphs(quantized=data.draw(st.booleans())))
    assume(not averages(drawn.network))  # what is one step off here may be many steps off behind it
    demand_the_same(drawn.network, np.asarray(drawn.feeds["image"], np.uint8))


@pytest.mark.parametrize("name", ["int8.onnx", "fp32.onnx"])
def test_the_released_network_computes_the_same(name: str) -> None:
    network = read(default_release() / name)
    demand_the_same(network, pixels(size=int(network.tensors["image"].shape[2])))


def test_a_network_with_three_heads_computes_the_same(network: Network, float_network: Network) -> None:
    for each in (network, float_network):
        demand_the_same(each, pixels())


def test_metadata_enters_as_it_did() -> None:
    """It was float32 before; the image alone changes its type."""
    network = told_and_seen(quantized=True)
    rows = np.random.default_rng(0).uniform(-1, 1, (2, SPEC.width)).astype(np.float32)
    demand_the_same(network, pixels(size=SIZE), metadata=rows)


def test_the_file_is_what_tensorrt_8_takes(network: Network) -> None:
    """Source of every rule: onnx-tensorrt, docs/operators.md at 8.5; its types are FLOAT32, FLOAT16, INT8 and BOOL."""
    model = to_onnx(network, opset=17)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (opset,) = model.opset_import
    assert (opset.domain, opset.version) == ("", 17)  # "up to Opset 17"
    assert model.ir_version == 8  # onnx, docs/Versioning.md: opset 17 came with IR version 8
    assert [info.type.tensor_type.elem_type for info in model.graph.input] == [TensorProto.FLOAT]
    assert "Cast" not in {node.op_type for node in model.graph.node}
    reductions = [node for node in model.graph.node if node.op_type.startswith("Reduce")]
    assert reductions
    assert all(len(node.input) == 1 for node in reductions)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):  # "zero_point must be zero"
            zero = stored[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


def test_a_size_that_no_factor_gives_is_named_without_what_opset_15_brought() -> None:
    """From 12 to 20 rows: 5/3 has no end in binary."""
    raw = Raw(quantized=False)
    sizes = raw.constant([20, 20], np.int64)
    resized = raw.op(
        "Resize", raw.door(), "", "", sizes, mode="linear", axes=[2, 3], keep_aspect_ratio_policy="stretch"
    )
    raw.outputs.append(raw.op("Sigmoid", resized, output="mask"))
    network = read(raw.model())
    model = to_onnx(network, opset=17)
    nodes = {node.op_type: node for node in model.graph.node}
    assert not nodes["Shape"].attribute
    assert {"Slice", "Concat"} <= set(nodes)
    demand_the_same(network, pixels())


def test_the_uint8_twin_has_no_older_opset(network: Network) -> None:
    with pytest.raises(AssertionError, match="onnxruntime"):
        to_onnx(network, opset=17, activations="uint8")


def test_a_scale_that_is_off_by_a_thousandth_would_be_seen(network: Network) -> None:
    """The comparison is no formality."""
    model = to_onnx(network, opset=17)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "encoder.deep_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.001), scale.name))
    with pytest.raises(AssertionError):
        demand_the_same(network, pixels(), model)
