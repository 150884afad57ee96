"""From a fake-quantized network to one with real integers, still in torch."""

from collections import Counter

import numpy as np
import torch
from torch import fx, nn
from torchao.quantization.pt2e import FakeQuantizeBase
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgeskin.errors import GraphError

aten = torch.ops.aten
WEIGHTED = (aten.conv2d.default, aten.linear.default, aten.conv_transpose2d.input)


def convert(prepared: fx.GraphModule) -> fx.GraphModule:
    """Replace fake quantization by quantize and dequantize operators, and fold batch norm away.

    prepared: in eval mode, ranges frozen; it is consumed.

    Raises: GraphError where batch norm or a float weight is left. torchao reports neither: every silent failure seen
    was a graph with too few quantize operators.
    """
    expected = Counter(node.target for node in prepared.graph.nodes if node.target in WEIGHTED)
    untie(prepared)
    converted: fx.GraphModule = convert_pt2e(prepared)
    found = Counter(node.target for node in converted.graph.nodes)
    problems = [
        f"{expected[operator]} {operator} became {found[operator]}"
        for operator in WEIGHTED
        if found[operator] != expected[operator]
    ]
    problems += [
        f"{node.name}: batch norm was not folded"
        for node in converted.graph.nodes
        if node.target == aten.batch_norm.default
    ]
    problems += [
        f"{node.name}: its weight is not quantized"
        for node in converted.graph.nodes
        if node.target in WEIGHTED and not _has_integer_weight(node)
    ]
    problems += [
        f"{name}: fake quantization is left"
        for name, module in converted.named_modules()
        if isinstance(module, FakeQuantizeBase)
    ]
    if problems:
        raise GraphError("the network was not converted as a whole: " + "; ".join(problems))
    return converted


def untie(module: fx.GraphModule) -> bool:
    """Give every layer that runs more than once a weight and a bias for each run; say whether there was one.

    torchao folds batch norm into a stored weight in place: into a shared one as often as it is read. And a bias lies on
    the grid of its input's scale, which is another one in every run.
    """
    readers: dict[str, dict[fx.Node, fx.Node]] = {}
    for node in module.graph.nodes:
        if node.target in WEIGHTED:
            for argument in node.args[1:3]:
                reader, stored = _stored(node, argument)
                if stored is not None and isinstance(_attribute(module, stored), nn.Parameter):
                    readers.setdefault(str(stored.target), {})[reader] = stored
    for name, found in readers.items():
        for number, (reader, stored) in enumerate(list(found.items())[1:], 2):
            owner, _, attribute = name.rpartition(".")
            copy = nn.Parameter(_attribute(module, stored).detach().clone())
            module.get_submodule(owner).register_parameter(f"{attribute}_{number}", copy)
            with module.graph.inserting_before(stored):
                own = module.graph.get_attr(f"{name}_{number}")
            own.meta = dict(stored.meta)
            reader.replace_input_with(stored, own)
    module.recompile()
    return any(len(found) > 1 for found in readers.values())


def _stored(node: fx.Node, argument: object) -> tuple[fx.Node, fx.Node | None]:
    """The stored parameter behind an argument, and the node that reads it: the scaling by batch norm, or `node`."""
    reader = node
    while isinstance(argument, fx.Node) and argument.op != "get_attr":
        reader, argument = argument, argument.args[0]
    return reader, argument if isinstance(argument, fx.Node) else None


def _has_integer_weight(node: fx.Node) -> bool:
    weight = node.args[1]
    return (
        isinstance(weight, fx.Node) and weight.target == torch.ops.quantized_decomposed.dequantize_per_channel.default
    )


def snap_biases(converted: fx.GraphModule) -> None:
    """Round every bias to its integer grid s_in·s_w in place, as the exported file holds it.

    It is a step of its own so that the chain shows what it changes: single roundings, which snowball.
    """
    for node in converted.graph.nodes:
        if node.target not in WEIGHTED or len(node.args) < 3 or not isinstance(node.args[2], fx.Node):
            continue
        bias = converted.get_parameter(str(node.args[2].target)) if node.args[2].op == "get_attr" else None
        assert bias is not None, f"{node.name}: its bias is computed"
        weight = node.args[1]
        grid = np.float32(_input_scale(node)) * _attribute(converted, weight.args[1]).numpy().astype(np.float32)
        integers = np.rint(bias.detach().numpy().astype(np.float64) / grid.astype(np.float64))
        with torch.no_grad():
            bias.copy_(torch.from_numpy((integers.astype(np.float32) * grid).astype(np.float32)))


def _input_scale(node: fx.Node) -> float:
    """The scale of what a weighted operator reads, found behind operators that keep it (dropout, padding)."""
    source = node.args[0]
    while isinstance(source, fx.Node) and source.target != torch.ops.quantized_decomposed.dequantize_per_tensor.default:
        source = source.args[0]
    assert isinstance(source, fx.Node), f"{node.name}: its input is not quantized"
    scale = source.args[1]
    assert isinstance(scale, float)
    return scale


def _attribute(module: fx.GraphModule, node: object) -> torch.Tensor:
    assert isinstance(node, fx.Node)
    value = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor)
    return value
