"""Writing: what stands in the two files, and that nothing else does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from raw_graphs import pixels, run, small

from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import rename, snap_biases
from edgeskin.graph.write import to_onnx, write_onnx


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_equal_networks_give_equal_bytes(network: Network, tmp_path: Path) -> None:
    again = rename(snap_biases(read(small().model())))
    for activations in ("int8", "uint8"):
        one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
        write_onnx(network, one, activations=activations, metadata={"b": "2", "a": "1"})
        write_onnx(again, other, activations=activations, metadata={"a": "1", "b": "2"})
        assert one.read_bytes() == other.read_bytes()
        assert read(one) == network


def test_both_files_are_valid_onnx_with_a_symbolic_batch(network: Network, float_network: Network) -> None:
    for model in (to_onnx(network), to_onnx(network, activations="uint8"), to_onnx(float_network)):
        onnx.checker.check_model(model, full_check=True)
        assert model.opset_import[0].version == 21
        (image,) = model.graph.input
        assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert image.type.tensor_type.shape.dim[0].dim_param == "N"
        assert [output.name for output in model.graph.output] == ["mask", "diagnosis", "melanoma"]
        assert model.producer_name == "edgeskin"


def test_the_canonical_file_is_what_tensorrt_takes(network: Network) -> None:
    model = to_onnx(network)
    values = stored(model)
    assert kinds(model)[:5] == ["Cast", "Sub", "Mul", "QuantizeLinear", "DequantizeLinear"]
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
        if node.op_type in ("Conv", "Gemm"):
            assert values[node.input[2]].dtype == np.float32


def test_the_uint8_file_is_what_onnxruntime_runs_as_integers(network: Network) -> None:
    model = to_onnx(network, activations="uint8")
    values = stored(model)
    assert kinds(model)[0] == "DequantizeLinear"
    assert "Cast" not in kinds(model)
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    assert len(clips) == 4
    # By hand: 6 / 0.03125 = 192 saturates at 127, and 127 + 128 = 255.
    assert values["encoder.deep_high"] == 255
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert (values[node.input[2]].dtype, int(values[node.input[2]])) == (np.uint8, 128)
    assert values["encoder.deep.bias"].dtype == np.int32


def test_a_bias_off_the_grid_stays_float_in_the_uint8_file_and_the_file_stays_exact() -> None:
    network = rename(read(small().model()))
    twin = to_onnx(network, activations="uint8")
    assert stored(twin)["encoder.deep.bias"].dtype == np.float32
    feeds = {"image": pixels()}
    for before, after in zip(run(to_onnx(network), feeds), run(twin, feeds), strict=True):
        np.testing.assert_array_equal(before, after)


def test_nothing_of_the_machine_that_exported_is_left(network: Network) -> None:
    text = to_onnx(network).SerializeToString()
    assert b".py" not in text
    assert b"pytorch" not in text
    assert all(not node.metadata_props and not node.doc_string for node in to_onnx(network).graph.node)


def test_metadata_goes_into_the_model(network: Network) -> None:
    model = to_onnx(network, metadata={"licence": "Apache-2.0"})
    assert {entry.key: entry.value for entry in model.metadata_props} == {"licence": "Apache-2.0"}


@pytest.mark.parametrize("activations", ["int8", "uint8"])
def test_a_float_network_writes_the_same_in_both_forms(float_network: Network, activations: str) -> None:
    model = to_onnx(float_network, activations=activations)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds(model))
    assert read(model) == float_network


def test_names_in_the_file_are_those_of_the_network(network: Network) -> None:
    for activations in ("int8", "uint8"):
        names = [node.name for node in to_onnx(network, activations=activations).graph.node]
        assert len(set(names)) == len(names)
        assert {node.name for node in network.nodes} <= set(names)
