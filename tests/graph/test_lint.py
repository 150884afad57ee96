"""The QAT contract: each rule is broken once, in a network that keeps all others."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from raw_graphs import Raw

from edgeskin.errors import ContractError
from edgeskin.graph.ir import Mean, Network, Node, Quantization, Requantize, Slice, Tensor
from edgeskin.graph.lint import COMMON, INTEGER, check, check_float, float_tail, lint, lint_float
from edgeskin.graph.read import read


def node(network: Network, name: str) -> Node:
    return next(node for node in network.nodes if node.name == name)


def changed(network: Network, *tensors: Tensor) -> Network:
    return replace(network, tensors={**network.tensors, **{tensor.name: tensor for tensor in tensors}})


def scaled(network: Network, name: str, scale: float | None) -> Network:
    quantization = None if scale is None else Quantization(np.float32(scale))
    return changed(network, replace(network.tensors[name], quantization=quantization))


def shaped(network: Network, name: str, *shape: int | str) -> Network:
    return changed(network, replace(network.tensors[name], shape=shape))


def with_data(network: Network, name: str, data: np.ndarray) -> Network:
    return changed(network, replace(network.tensors[name], data=data))


def renamed_image(network: Network) -> Network:
    nodes = (replace(network.nodes[0], inputs=("picture",)), *network.nodes[1:])
    tensors = {**network.tensors, "picture": replace(network.tensors["image"], name="picture")}
    return Network(("picture",), network.outputs, nodes, tensors)


def raw_logits(network: Network) -> Network:
    """The melanoma head without its sigmoid."""
    nodes = tuple(each for each in network.nodes if each.name != "melanoma.sigmoid")
    last = replace(node(network, "heads.melanoma.logits"), output="melanoma")
    return replace(network, nodes=tuple(last if each.name == last.name else each for each in nodes))


def quantized_tail(network: Network) -> Network:
    return scaled(network, "mask", 1 / 128)


def joint_logits(network: Network) -> Network:
    """Melanoma cut out of the logits of diagnosis."""
    logits = replace(
        node(network, "heads.melanoma.logits"),
        operator=Slice(1, 0, 1),
        inputs=("heads.diagnosis.logits",),
    )
    tensor = network.tensors["heads.melanoma.logits"]
    shared = replace(tensor, quantization=network.tensors["heads.diagnosis.logits"].quantization)
    nodes = [logits if each.name == logits.name else each for each in network.nodes]
    return changed(replace(network, nodes=tuple(nodes)), shared)


def requantized(network: Network) -> Network:
    """A second quantization between the stem and the layer behind it."""
    stem, deep = node(network, "encoder.stem"), node(network, "encoder.deep")
    again = Node("again", Requantize(), (stem.output,), "again")
    nodes: list[Node] = []
    for each in network.nodes:
        if each is deep:
            nodes += [again, replace(deep, inputs=("again", *deep.inputs[1:]))]
        else:
            nodes.append(each)
    quantization = network.tensors[stem.output].quantization
    extra = Tensor("again", network.tensors[stem.output].shape, quantization)
    return changed(replace(network, nodes=tuple(nodes)), extra)


def per_tensor_weight(network: Network) -> Network:
    weight = network.tensors["heads.mask.logits.weight"]
    scale = Quantization(weight.quantization.scale.reshape(()))
    return changed(network, replace(weight, quantization=scale))


def float_weight(network: Network) -> Network:
    weight = network.tensors["encoder.deep.weight"]
    return changed(network, Tensor(weight.name, weight.shape, None, weight.real()))


def lowest_weight(network: Network) -> Network:
    weight = network.tensors["encoder.deep.weight"].data.copy()
    weight[0, 0, 0, 0] = -128
    return with_data(network, "encoder.deep.weight", weight)


def bias(factor: float) -> Callable[[Network], Network]:
    def break_it(network: Network) -> Network:
        return with_data(network, "encoder.deep.bias", network.tensors["encoder.deep.bias"].data + np.float32(factor))

    return break_it


def mean_like_input(network: Network) -> Network:
    return scaled(network, "mean_1", float(network.tensors["encoder.deep"].quantization.scale))


BROKEN = [
    ("input-door", "picture", renamed_image),
    ("input-door", "image", lambda network: shaped(network, "image", "N", 3, 12, 16)),
    ("input-door", "image", lambda network: shaped(network, "image", "N", 1, 12, 12)),
    ("input-door", "pixels_1", lambda network: scaled(network, "pixels_1", 1 / 64)),
    ("batch-symbolic", "image", lambda network: shaped(network, "image", 1, 3, 12, 12)),
    ("batch-symbolic", "encoder.deep", lambda network: shaped(network, "encoder.deep", 2, 8, 6, 6)),
    ("static-shapes", "encoder.deep", lambda network: shaped(network, "encoder.deep", "N", 8, "h", 6)),
    ("activation-scale-missing", "add_1", lambda network: scaled(network, "add_1", None)),
    ("tail-only-float", "heads.melanoma.logits", raw_logits),
    ("tail-only-float", "mask.sigmoid", quantized_tail),
    ("logits-quantized", "melanoma.sigmoid", lambda network: scaled(network, "heads.melanoma.logits", None)),
    ("logits-quantized", "melanoma.sigmoid", joint_logits),
    ("gate-scale", "hard_sigmoid_1", lambda network: scaled(network, "hard_sigmoid_1", 1 / 64)),
    ("concat-shared-scale", "concat_1", lambda network: scaled(network, "decoder.lateral", 0.03125)),
    ("shared-scale", "resize_1", lambda network: scaled(network, "add_1", 0.03125)),
    ("mean-own-scale", "mean_1", mean_like_input),
    ("one-scale", "again", requantized),
    ("weight-per-channel", "heads.mask.logits", per_tensor_weight),
    ("weight-per-channel", "encoder.deep", float_weight),
    ("weight-per-channel", "encoder.deep", lowest_weight),
    ("bias-on-grid", "encoder.deep", bias(1e-4)),
    ("bias-on-grid", "encoder.deep", bias(1e9)),
    ("scales-fp16", "mul_1", lambda network: scaled(network, "mul_1", 0.04)),
    ("scales-fp16", "mul_1", lambda network: scaled(network, "mul_1", 2.0**-20)),
]


def test_a_network_that_keeps_the_contract_has_no_findings(network: Network, float_network: Network) -> None:
    assert lint(network) == ()
    assert lint_float(float_network) == ()
    check(network)
    check_float(float_network)


@pytest.mark.parametrize(("rule", "where", "break_it"), BROKEN, ids=[f"{rule}-{where}" for rule, where, _ in BROKEN])
def test_a_broken_rule_is_found_by_name_and_node(
    network: Network, rule: str, where: str, break_it: Callable[[Network], Network]
) -> None:
    found = lint(break_it(network))
    assert (rule, where) in {(finding.rule, finding.node) for finding in found}
    with pytest.raises(ContractError, match=f"{rule}: {where}: "):
        check(break_it(network))


def test_every_rule_is_broken_by_a_test() -> None:
    # input-scales reports as input-door: the scale is part of the door. kept_float has a test of its own below.
    tested = {rule for rule, _, _ in BROKEN} | {"input-scales", "kept-float-declared"}
    assert tested >= set(COMMON) | set(INTEGER)


def test_a_float_island_is_an_error_until_it_is_declared(network: Network) -> None:
    island = scaled(network, "add_1", None)
    assert ("activation-scale-missing", "add_1") in {(each.rule, each.node) for each in lint(island)}
    left = {each.rule for each in lint(island, frozenset({"add_1", "mean_2", "resize_1"}))}
    assert "activation-scale-missing" not in left


def test_a_layer_kept_in_float_may_have_float_weights(network: Network) -> None:
    assert lint(float_weight(network), frozenset({"encoder.deep"})) == ()


def test_kept_float_must_name_nodes_that_exist(network: Network) -> None:
    (finding,) = lint(network, frozenset({"encoder.depe"}))
    assert (finding.rule, finding.node) == ("kept-float-declared", "encoder.depe")


def with_input(network: Network, name: str, *shape: int | str) -> Network:
    return changed(replace(network, inputs=("image", name)), Tensor(name, shape))


def test_a_metadata_input_needs_its_scale(network: Network) -> None:
    more = with_input(network, "metadata", "N", 5)
    assert [(each.rule, each.node) for each in lint(more)] == [("activation-scale-missing", "metadata")]
    assert lint(scaled(more, "metadata", 1 / 64)) == ()
    (finding,) = lint(scaled(more, "metadata", 0.5))
    assert str(finding) == "input-door: metadata: has scale 0.5; metadata is quantized at exactly 1/64"


@pytest.mark.parametrize(("name", "shape"), [("age", ("N", 5)), ("metadata", ("N", 5, 1, 1))])
def test_a_second_input_is_metadata_or_nothing(float_network: Network, name: str, shape: tuple[int | str, ...]) -> None:
    (finding,) = lint_float(with_input(float_network, name, *shape))
    assert (finding.rule, finding.node) == ("input-door", name)


def joined_maps(mean_scale: float, max_scale: float) -> set[str]:
    """The findings on the mean and maximum over channels of a map at scale 0.5, joined and convolved."""
    raw = Raw()
    x = raw.q(raw.conv(raw.door(), 3, 4), 0.5)
    axes = raw.constant([1], np.int64)
    maps = raw.q(raw.op("ReduceMean", x, axes), mean_scale), raw.q(raw.op("ReduceMax", x, axes), max_scale)
    joined = raw.q(raw.op("Concat", *maps, axis=1), mean_scale)
    raw.outputs.append("y")
    raw.op("Sigmoid", raw.q(raw.conv(joined, 2, 1), 0.125), output="y")
    return {each.rule for each in lint(read(raw.model()))} - {"bias-on-grid"}


def test_a_maximum_keeps_its_scale_and_a_mean_joined_to_it_may_share_that() -> None:
    assert joined_maps(0.5, 0.5) == set()
    assert joined_maps(0.25, 0.25) == {"shared-scale"}


def test_a_mean_over_windows_has_a_scale_of_its_own() -> None:
    raw = Raw()
    x = raw.q(raw.conv(raw.door(), 3, 4), 0.5)
    pooled = raw.q(raw.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 0.5)
    raw.outputs.append("y")
    raw.op("Sigmoid", raw.q(raw.conv(pooled, 4, 1), 0.125), output="y")
    assert "mean-own-scale" in {each.rule for each in lint(read(raw.model()))}


def test_a_float_file_with_a_scale_is_not_a_baseline(network: Network) -> None:
    found = lint_float(network)
    assert {each.rule for each in found} == {"float-only"}
    assert "encoder.stem" in {each.node for each in found}


def test_the_float_tail_is_the_last_operator_of_each_head(network: Network) -> None:
    assert [each.name for each in float_tail(network)] == ["mask.sigmoid", "diagnosis.softmax", "melanoma.sigmoid"]


def test_all_findings_are_listed_at_once(network: Network) -> None:
    with pytest.raises(ContractError) as caught:
        check(scaled(scaled(network, "mul_1", 0.04), "hard_sigmoid_1", 1 / 64))
    assert "scales-fp16: mul_1" in str(caught.value)
    assert "gate-scale: hard_sigmoid_1" in str(caught.value)


def test_a_concat_may_bring_its_inputs_to_one_scale() -> None:
    raw = Raw()
    x = raw.q(raw.conv(raw.door(), 3, 4), 0.5)
    joined = raw.op("Concat", raw.q(x, 0.25), raw.q(raw.conv(x, 4, 4), 0.25), axis=1)
    raw.outputs.append("y")
    raw.op("Sigmoid", raw.q(raw.conv(raw.q(joined, 0.25), 8, 1), 0.125), output="y")
    network = read(raw.model())
    assert any(isinstance(each.operator, Requantize) for each in network.nodes)
    assert not any(isinstance(each.operator, Mean) for each in network.nodes)
    assert {each.rule for each in lint(network)} == {"bias-on-grid"}
