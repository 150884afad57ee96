"""Rewrites that keep the function: the bias grid and the names. The normal form is tested with reading."""

from dataclasses import replace

import numpy as np
import pytest
from raw_graphs import Raw, pixels, run, small

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Quantization, Tensor
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import rename, saturated, snap_biases
from edgeskin.graph.write import to_onnx


def test_snapped_biases_are_whole_steps_of_the_accumulator() -> None:
    network = read(small().model())
    snapped = snap_biases(network)
    for before, after in ((network.tensors[name], snapped.tensors[name]) for name in network.tensors if "bias" in name):
        node = snapped.consumers(after.name)[0]
        x, weight = snapped.operands(node)[:2]
        grid = (x.quantization.scale * weight.quantization.scale).astype(np.float32)
        steps = np.rint(before.data.astype(np.float64) / grid)
        np.testing.assert_array_equal(after.data, steps.astype(np.float32) * grid)
        assert np.all(np.abs(after.data - before.data) <= grid / 2 * (1 + 1e-6))


def test_snapping_biases_moves_the_answers_by_little_and_only_once() -> None:
    network = read(small().model())
    snapped = snap_biases(network)
    assert snap_biases(snapped) == snapped
    feeds = {"image": pixels()}
    # A bias moves by half an accumulator step, some 1e-5: single roundings downstream may flip, nothing more.
    for before, after in zip(run(to_onnx(network), feeds), run(to_onnx(snapped), feeds), strict=True):
        assert np.abs(before - after).mean() < 0.01


def test_a_bias_beyond_int32_names_its_layer() -> None:
    network = rename(read(small().model()))
    weight = network.tensors["encoder.deep.weight"]
    tiny = Quantization(np.full(8, 1e-12, np.float32), 0)
    broken = replace(network, tensors={**network.tensors, weight.name: replace(weight, quantization=tiny)})
    with pytest.raises(GraphError, match=r"encoder\.deep \(Conv\): bias .* leaves int32"):
        snap_biases(broken)


def test_float_biases_are_left_alone() -> None:
    network = read(small(quantized=False).model())
    assert snap_biases(network) == network


def test_names_come_from_modules_or_from_kind_and_number(network) -> None:
    names = [node.name for node in network.nodes]
    assert names[:4] == ["pixels_1", "encoder.stem", "encoder.deep", "mean_1"]
    assert "heads.mask.logits" in names
    assert names[-1] == "melanoma.sigmoid"
    assert network.outputs == ("mask", "diagnosis", "melanoma")
    assert "encoder.stem.weight" in network.tensors
    assert len(set(names)) == len(names)


def test_a_module_called_like_a_head_does_not_take_its_name() -> None:
    raw = Raw(quantized=False)
    value = raw.conv(raw.conv(raw.door(), 3, 4, name="network.y"), 4, 1, name="network.other")
    raw.outputs.append("y")
    raw.op("Sigmoid", value, output="y")
    network = rename(read(raw.model()))
    assert network.outputs == ("y",)
    assert [node.name for node in network.nodes] == ["pixels_1", "y_2", "other", "y.sigmoid"]


def test_a_second_run_of_a_layer_is_named_after_its_module_too() -> None:
    raw = Raw(quantized=False)
    value = raw.door()
    for number, bias in enumerate(("level.bias", "level.bias_2", "level.weight_bias", "level.weight_2_bias")):
        weight = raw.weight(3, 3, 1, 1, name=f"weight_of_{number}")
        value = raw.op("Conv", value, weight, raw.bias(3, bias), kernel_shape=[1, 1])
    raw.conv(value, 3, 3, name="other")
    raw.outputs.append("y")
    raw.op("Sigmoid", value, output="y")
    names = [node.name for node in rename(read(raw.model())).nodes if node.kind == "Conv"]
    assert names == ["level", "level_2", "level_3", "level_4"]


def test_an_output_that_is_read_inside_too_is_computed_once_for_each() -> None:
    raw = Raw()
    x = raw.q(raw.conv(raw.door(), 3, 4), 0.5)
    raw.outputs.append("y")
    raw.op("Sigmoid", raw.q(raw.conv(x, 4, 1), 0.125), output="y")
    gated = raw.q(raw.op("Mul", x, raw.q("y", 1 / 128)), 0.25)
    raw.outputs.append("z")
    raw.op("Sigmoid", raw.q(raw.conv(gated, 4, 1), 0.5), output="z")
    network = read(raw.model())
    assert [node.kind for node in network.nodes] == [
        "Pixels",
        "Conv",
        "Conv",
        "Sigmoid",
        "Sigmoid",
        "Mul",
        "Conv",
        "Sigmoid",
    ]
    tail, gate = (node for node in network.nodes[:-1] if node.kind == "Sigmoid")
    assert (tail.output, network.result(tail).quantization) == ("y", None)
    assert network.result(gate).quantization == Quantization(np.float32(1 / 128))
    assert [node.kind for node in network.consumers(gate.output)] == ["Mul"]
    for before, after in zip(
        run(raw.model(), {"image": pixels()}), run(to_onnx(network), {"image": pixels()}), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_renaming_keeps_the_function() -> None:
    network = read(small().model())
    feeds = {"image": pixels()}
    for before, after in zip(run(to_onnx(network), feeds), run(to_onnx(rename(network)), feeds), strict=True):
        np.testing.assert_array_equal(before, after)


def test_saturation_rounds_half_to_even_and_stops_at_int8() -> None:
    # By hand: 6/0.046875 = 128 saturates, 0.5/0.2 = 2.5 goes to 2, 0.7/0.2 = 3.5 goes to 4.
    assert saturated(6.0, Quantization(np.float32(0.046875))) == 127
    assert saturated(0.5, Quantization(np.float32(0.2))) == 2
    assert saturated(0.7, Quantization(np.float32(0.2))) == 4
    assert saturated(-100.0, Quantization(np.float32(0.2))) == -128


def test_networks_are_equal_by_content() -> None:
    one, other = read(small().model()), read(small().model())
    assert one == other
    name = next(name for name in other.tensors if name.endswith("weight"))
    tensor = other.tensors[name]
    data = tensor.data.copy()
    data.flat[0] ^= 1
    changed = replace(other, tensors={**other.tensors, name: Tensor(name, tensor.shape, tensor.quantization, data)})
    assert one != changed
