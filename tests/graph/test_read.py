"""Reading: the door, quantization patterns, leftovers, and files that are broken."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from raw_graphs import PIXEL, Raw, small

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Network, Pixels, Quantization, Requantize
from edgeskin.graph.read import read
from edgeskin.graph.write import write_onnx


def finished(raw: Raw, value: str) -> onnx.ModelProto:
    raw.outputs.append("y")
    raw.op("Sigmoid", value, output="y")
    return raw.model()


def door(*steps: tuple[str, float]) -> Raw:
    raw = Raw(quantized=False)
    value = raw.op("Cast", "image", to=TensorProto.FLOAT)
    for kind, number in steps:
        value = raw.op(kind, value, raw.constant(number))
    raw.outputs.append("y")
    raw.op("Sigmoid", value, output="y")
    return raw


@pytest.mark.parametrize(
    "steps",
    [
        [("Sub", 128.0), ("Mul", 1 / 128)],
        [("Add", -128.0), ("Div", 128.0)],
        [("Mul", 1 / 128), ("Sub", 1.0)],
        [("Div", 64.0), ("Sub", 2.0), ("Mul", 0.5)],
    ],
)
def test_every_exact_spelling_of_the_door_becomes_pixels(steps: list[tuple[str, float]]) -> None:
    network = read(door(*steps).model())
    assert [node.kind for node in network.nodes] == ["Pixels", "Sigmoid"]
    assert network.nodes[0].inputs == ("image",)


@pytest.mark.parametrize("steps", [[], [("Div", 255.0)], [("Sub", 127.5), ("Div", 127.5)], [("Sub", 128.0)]])
def test_any_other_arithmetic_on_pixels_is_refused(steps: list[tuple[str, float]]) -> None:
    with pytest.raises(GraphError, match="input image: a uint8 image must be cast to float32, lowered by 128"):
        read(door(*steps).model())


def test_quantize_dequantize_pairs_become_scales_of_tensors(network) -> None:
    kinds = {node.kind for node in network.nodes}
    assert "Requantize" not in kinds
    assert "Pad" not in kinds
    stem = next(node for node in network.nodes if node.name == "encoder.stem")
    assert stem.operator.pads == (0, 0, 1, 1)
    assert stem.activation == "relu6"
    assert network.tensors["encoder.stem"].quantization == Quantization(np.float32(0.046875))
    weight = network.tensors["encoder.stem.weight"]
    assert weight.data.dtype == np.int8
    assert weight.quantization.axis == 0
    assert weight.quantization.scale.shape == (8,)


def test_the_float_and_the_quantized_export_have_the_same_nodes_and_names(network, float_network) -> None:
    assert [node.name for node in network.nodes] == [node.name for node in float_network.nodes]
    assert all(tensor.quantization is None for tensor in float_network.tensors.values())


def test_two_different_scales_in_a_row_stay_a_requantize() -> None:
    raw = Raw()
    first = raw.q(raw.conv(raw.door(), 3, 4), 0.5)
    network = read(finished(raw, raw.q(first, 0.25)))
    (node,) = (node for node in network.nodes if isinstance(node.operator, Requantize))
    assert network.operands(node)[0].quantization == Quantization(np.float32(0.5))
    assert network.result(node).quantization == Quantization(np.float32(0.25))


def test_a_quantized_tensor_that_is_also_read_raw_stays_float() -> None:
    raw = Raw()
    both = raw.conv(raw.door(), 3, 4)
    network = read(finished(raw, raw.op("Add", both, raw.q(both, 0.5))))
    assert [node.kind for node in network.nodes] == ["Pixels", "Conv", "Requantize", "Add", "Sigmoid"]
    assert network.result(network.nodes[1]).quantization is None


def test_an_activation_is_not_fused_across_two_scales() -> None:
    raw = Raw()
    before = raw.q(raw.conv(raw.door(), 3, 4), 0.5)
    network = read(finished(raw, raw.q(raw.op("Relu", before), 0.25)))
    assert [(node.kind, node.activation) for node in network.nodes] == [
        ("Pixels", None),
        ("Conv", None),
        ("Activate", "relu"),
        ("Sigmoid", None),
    ]


def test_padding_with_another_value_or_another_reader_stays_a_node() -> None:
    raw = Raw(quantized=False)
    pads = raw.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    filled = raw.op("Pad", raw.door(), pads, raw.constant(0.5))
    assert [node.kind for node in read(finished(raw, raw.conv(filled, 3, 4))).nodes][1] == "Pad"
    raw = Raw(quantized=False)
    zero = raw.op("Pad", raw.door(), raw.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    shared = raw.op("Concat", raw.conv(zero, 3, 4, kernel=1), zero, axis=1)
    assert [node.kind for node in read(finished(raw, shared)).nodes][1] == "Pad"


def test_ceil_mode_is_written_into_the_pads() -> None:
    # By hand: 11 rows, window 3, stride 2: floor ends at row 10 exactly, so 5 rows; 12 rows need one more at the end.
    raw = Raw(quantized=False, size=12)
    pooled = raw.op("MaxPool", raw.door(), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    network = read(finished(raw, pooled))
    assert network.nodes[1].operator.pads == (0, 0, 1, 1)
    assert network.result(network.nodes[1]).shape == ("N", 3, 6, 6)


def test_a_constant_is_quantized_where_the_file_quantizes_it() -> None:
    raw = Raw()
    factor = raw.q(raw.constant([[[[0.25]], [[-1.0]], [[0.5]]]]), PIXEL)
    network = read(finished(raw, raw.q(raw.op("Mul", raw.door(), factor), PIXEL)))
    constant = network.operands(network.nodes[1])[1]
    # By hand: 0.25, -1 and 0.5 in steps of 1/128.
    np.testing.assert_array_equal(constant.data.reshape(-1), [32, -128, 64])


def test_an_output_behind_an_identity_keeps_its_name() -> None:
    raw = Raw(quantized=False)
    raw.op("Identity", raw.op("Sigmoid", raw.door()), output="y")
    raw.outputs.append("y")
    network = read(raw.model())
    assert network.outputs == ("y",)
    assert network.nodes[-1].kind == "Sigmoid"


def test_the_batch_may_be_fixed_and_is_kept_so() -> None:
    assert read(small().model()).tensors["image"].shape[0] == "N"
    raw = Raw(quantized=False, batch=1)
    assert read(finished(raw, raw.door())).tensors["image"].shape == (1, 3, 12, 12)


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("dtype", "zero", "words"),
    [
        (np.uint8, 7, "zero point 7 of UINT8"),
        (np.int8, 3, "zero point 3 of INT8"),
        (np.uint8, 0, "zero point 0 of UINT8"),
    ],
)
def test_an_asymmetric_zero_point_is_refused(dtype: type, zero: int, words: str) -> None:
    raw = Raw()
    value = raw.q(raw.conv(raw.door(), 3, 4), 0.5, dtype, zero)
    with pytest.raises(GraphError, match=rf"\(QuantizeLinear\): {words}.*quantize symmetrically"):
        read(finished(raw, value))


def test_a_scale_for_each_channel_of_an_activation_is_refused() -> None:
    raw = Raw()
    scales = raw.constant([0.1, 0.2, 0.3, 0.4]), raw.constant(np.zeros(4), np.int8)
    integers = raw.op("QuantizeLinear", raw.conv(raw.door(), 3, 4), *scales, axis=1)
    with pytest.raises(GraphError, match="activations are quantized per tensor"):
        read(finished(raw, raw.op("DequantizeLinear", integers, *scales, axis=1)))


def test_a_dequantization_at_another_scale_is_refused() -> None:
    raw = Raw()
    zero = raw.constant(0, np.int8)
    integers = raw.op("QuantizeLinear", raw.door(), raw.constant(0.5), zero)
    value = raw.op("DequantizeLinear", integers, raw.constant(0.25), zero, output="other")
    with pytest.raises(GraphError, match=r"node_other \(DequantizeLinear\): its scale differs"):
        read(finished(raw, value))


def test_a_computed_scale_is_refused() -> None:
    raw = Raw()
    x = raw.door()
    scale = raw.op("ReduceMax", x, keepdims=0)
    integers = raw.op("QuantizeLinear", x, scale, raw.constant(0, np.int8), output="dynamic")
    value = raw.op("DequantizeLinear", integers, scale, raw.constant(0, np.int8))
    with pytest.raises(GraphError, match=r"\((QuantizeLinear|ReduceMax)\)"):
        read(finished(raw, value))


def test_a_dimension_other_than_the_batch_must_not_be_dynamic() -> None:
    model = small(quantized=False).model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    del model.graph.value_info[:]
    with pytest.raises(GraphError, match=r"image: dimension 2 is dynamic \(height\); only the batch may be"):
        read(model)


def test_an_old_opset_is_refused() -> None:
    model = small(quantized=False).model()
    model.opset_import[0].version = 11
    with pytest.raises(GraphError, match="opset 11 is older than 13; export with opset 21"):
        read(model)


def test_an_operator_of_another_domain_is_refused() -> None:
    model = small(quantized=False).model()
    model.graph.node[3].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(GraphError, match="unsupported operator"):
        read(model)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.onnx"
    onnx.save(small().model(), path)
    return path


def test_a_file_that_is_absent_empty_or_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"absent\.onnx: no such file"):
        read(tmp_path / "absent.onnx")
    for content in (b"", b"PK\x03\x04 a zip, not a network", b"<html></html>", bytes(1000)):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(GraphError, match=r"bad\.onnx: not an ONNX file"):
            read(tmp_path / "bad.onnx")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read"):
        read(tmp_path)


def test_every_truncation_of_a_file_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in range(1, len(content), 97):
        file.write_bytes(content[:length])
        with pytest.raises(GraphError, match=r"network\.onnx: "):
            read(file)


def test_external_data_that_is_absent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(small().model(), path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    assert read(path).outputs == ("mask", "diagnosis", "melanoma")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(GraphError, match=r"network\.onnx: .*external data"):
        read(path)


def test_a_pixel_door_reads_as_one_node(network) -> None:
    assert isinstance(network.nodes[0].operator, Pixels)


def test_a_damaged_file_is_read_or_refused_but_never_ends_in_a_traceback(network: Network, tmp_path: Path) -> None:
    """Bits flipped, bytes lost: of 200 such files the checker alone choked on a dozen."""
    path = tmp_path / "network.onnx"
    write_onnx(network, path)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        place = int(random.integers(len(whole)))
        damaged[place] ^= 1 << int(random.integers(8))
        if random.random() < 0.3:
            del damaged[place : place + 5]
        path.write_bytes(damaged)
        try:
            read(path)
        except GraphError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 100
