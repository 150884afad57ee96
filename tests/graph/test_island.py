"""Layers of a quantized network go back to float with what has to follow them, and every target can be told."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quantized_graphs import quantized_pair
from raw_graphs import pixels

from edgeskin.graph import execute, island, lint
from edgeskin.graph.ir import Concat, Network, Requantize
from edgeskin.graph.island import Group, Way
from edgeskin.graph.read import read
from edgeskin.graph.write import write_onnx

WAYS: tuple[Way, ...] = ("weights", "output", "both")
JOINED = ("add_1", "resize_1", "decoder.lateral", "concat_1")
SIZE = 32


@pytest.fixture(scope="module")
def pair() -> tuple[Network, Network]:
    return quantized_pair()


def answers(network: Network) -> Mapping[str, np.ndarray]:
    return execute.outputs(network, {"image": pixels(SIZE)})


def distance(one: Network, other: Network) -> float:
    return max(float(np.abs(answers(one)[name] - answers(other)[name]).mean()) for name in one.outputs)


def test_what_shares_a_scale_goes_back_together_and_every_layer_is_in_one_group(pair: tuple[Network, Network]) -> None:
    found = island.groups(pair[0])
    assert JOINED in found
    names = [name for group in found for name in group]
    tail = {node.name for node in lint.float_tail(pair[0])}
    assert sorted(names) == sorted({node.name for node in pair[0].nodes} - tail - {"pixels_1"})


@pytest.mark.parametrize("way", WAYS)
def test_each_group_in_float_keeps_the_contract_once_it_is_declared(
    way: Way, pair: tuple[Network, Network], tmp_path: Path
) -> None:
    int8, fp32 = pair
    for group in island.groups(int8):
        network = island.keep_float(int8, {group: way}, fp32)
        assert lint.lint(network, frozenset(island.float_nodes(network))) == ()
        for activations in ("int8", "uint8"):
            write_onnx(network, tmp_path / "network.onnx", activations=activations)  # type: ignore[arg-type]
            assert read(tmp_path / "network.onnx") == network


def test_a_float_result_without_its_declaration_is_an_error(pair: tuple[Network, Network]) -> None:
    network = island.keep_float(pair[0], {("encoder.deep",): "output"}, pair[1])
    assert "activation-scale-missing" in {each.rule for each in lint.lint(network)}


def test_who_reads_a_float_result_computes_in_float_and_writes_integers_again(pair: tuple[Network, Network]) -> None:
    int8, fp32 = pair
    network = island.keep_float(int8, {("encoder.stem",): "output"}, fp32)
    assert island.float_nodes(network) == ("encoder.stem", "encoder.deep", "add_1")
    assert network.tensors["encoder.stem"].quantization is None
    weight = network.tensors["encoder.deep.weight"]
    assert weight.quantization is None
    np.testing.assert_array_equal(weight.real(), int8.tensors["encoder.deep.weight"].real())
    for name in ("encoder.deep", "add_1"):
        assert network.tensors[name].quantization == int8.tensors[name].quantization


def test_a_layer_with_float_weights_alone_leaves_its_neighbours_integers(pair: tuple[Network, Network]) -> None:
    int8, fp32 = pair
    network = island.keep_float(int8, {("encoder.deep",): "weights"}, fp32)
    assert island.float_nodes(network) == ("encoder.deep",)
    np.testing.assert_array_equal(
        network.tensors["encoder.deep.weight"].real(), fp32.tensors["encoder.deep.weight"].data
    )
    assert network.tensors["encoder.deep"].quantization == int8.tensors["encoder.deep"].quantization


def test_everything_in_float_with_float_weights_is_the_float_network(pair: tuple[Network, Network]) -> None:
    int8, fp32 = pair
    network = island.keep_float(int8, dict.fromkeys(island.groups(int8), "both"), fp32)
    assert distance(network, fp32) <= 1e-6
    assert distance(int8, fp32) > 1e-4


def test_a_layer_of_another_shape_under_the_same_name_lends_nothing(pair: tuple[Network, Network]) -> None:
    int8, fp32 = pair
    wide = fp32.tensors["encoder.deep.weight"]
    assert wide.data is not None
    other = replace(wide, shape=(8, 1, 5, 5), data=np.zeros((8, 1, 5, 5), np.float32))
    strange = replace(fp32, tensors={**fp32.tensors, wide.name: other})
    (node,) = (each for each in int8.nodes if each.name == "encoder.deep")
    assert island.same_layer(node, int8, fp32) is not None
    assert island.same_layer(node, int8, strange) is None
    network = island.keep_float(int8, {("encoder.deep",): "weights"}, strange)
    np.testing.assert_array_equal(network.tensors[wide.name].real(), int8.tensors[wide.name].real())


def test_a_weight_that_two_layers_read_stays_integer_for_the_other(pair: tuple[Network, Network]) -> None:
    int8, fp32 = pair
    shared = replace(
        int8,
        nodes=tuple(
            replace(node, inputs=(node.inputs[0], "heads.diagnosis.logits.weight", node.inputs[2]))
            if node.name == "heads.melanoma.logits"
            else node
            for node in int8.nodes
        ),
    )
    network = island.in_float(shared, ("heads.melanoma.logits",), "output", fp32)
    readers = {node.name: network.operands(node)[1] for node in network.nodes if node.name.startswith("heads.")}
    assert readers["heads.melanoma.logits"].quantization is None
    assert readers["heads.diagnosis.logits"].quantization is not None


def test_a_requantization_before_a_concatenation_in_float_is_gone(pair: tuple[Network, Network]) -> None:
    int8, fp32 = pair
    joined = next(node for node in int8.nodes if isinstance(node.operator, Concat))
    lateral = int8.tensors["decoder.lateral"]
    assert lateral.quantization is not None
    finer = replace(lateral.quantization, scale=np.asarray(lateral.quantization.scale / 2, np.float32))
    again = replace(lateral, name="requantize_1")
    nodes = []
    for node in int8.nodes:
        if node is joined:
            nodes.append(
                replace(node, name="requantize_1", operator=Requantize(), inputs=(lateral.name,), output=again.name)
            )
            nodes.append(replace(node, inputs=(node.inputs[0], again.name)))
        else:
            nodes.append(node)
    tensors = {**int8.tensors, lateral.name: replace(lateral, quantization=finer), again.name: again}
    network = replace(int8, nodes=tuple(nodes), tensors=tensors)
    group: Group = next(each for each in island.groups(network) if "concat_1" in each)
    assert "requantize_1" in group
    assert "decoder.lateral" not in group
    kept = island.keep_float(network, {group: "both"}, fp32)
    assert not [node for node in kept.nodes if isinstance(node.operator, Requantize)]
    assert lint.lint(kept, frozenset(island.float_nodes(kept))) == ()
