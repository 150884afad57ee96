"""Float islands: layers of a quantized network that compute in float, and what has to follow them.

A layer is returned to float in one of three ways. By its weights: those of the float network, and what it computes is
still rounded to its scale. By its output: nothing is rounded any more, the weights are the very numbers that its
integers stand for. Or by both.

Where a result is float, its readers compute in float too: no target multiplies integers with floats. Their weights are
the numbers that their integers stand for, and what they write has its scale, so the integers go on behind them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from edgeskin.graph.ir import Network, Node, Pixels, Requantize, Tensor
from edgeskin.graph.lint import SHARING, float_tail
from edgeskin.graph.rewrite import WEIGHTED, normalise, without

Way: TypeAlias = Literal["weights", "output", "both"]
"""How a layer is returned to float: with the float network's weights, without a scale on what it writes, or both."""

Group: TypeAlias = tuple[str, ...]
"""Names of nodes that share one scale, and so can only be returned to float together, in running order."""


def groups(network: Network) -> tuple[Group, ...]:
    """The nodes that can be returned to float, by the scale that they share: what is resized or joined, and by what.

    The pixels' door and the float tail are in none. A requantization belongs to the concatenation that asks for it.
    """
    tail = {node.name for node in float_tail(network)}
    leader: dict[str, str] = {}

    def first(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    nodes = [node for node in network.nodes if node.name not in tail and not isinstance(node.operator, Pixels)]
    for node in nodes:
        leader[node.name] = node.name
        for sharer in _sharers(network, node):
            if sharer.name in leader:
                one, other = first(sharer.name), first(node.name)
                leader[other] = one
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(first(node.name), []).append(node.name)
    return tuple(tuple(names) for names in found.values() if _has_scale(network, names))


def _sharers(network: Network, node: Node) -> Iterator[Node]:
    """The nodes before this one whose scale it has by contract."""
    if isinstance(node.operator, SHARING):
        for name in node.inputs:
            producer = network.producer(name)
            if producer is not None:
                yield producer


def _has_scale(network: Network, names: Collection[str]) -> bool:
    return any(network.result(node).quantization is not None for node in network.nodes if node.name in names)


def in_float(network: Network, nodes: Collection[str], way: Way, source: Network) -> Network:
    """The network with some nodes in float, their neighbours as they are: what it would compute, not yet what a target
    can be told (`closed`).

    source: the float network, whose weights are taken where it has the same layer.
    """
    changed: dict[str, Tensor] = {}
    rebuilt = []
    for node in network.nodes:
        if node.name in nodes:
            if way != "weights":
                changed[node.output] = replace(network.result(node), quantization=None)
            if isinstance(node.operator, WEIGHTED):
                lent = same_layer(node, network, source) if way != "output" else None
                node = _with_constants(network, node, nodes, lent, changed)  # noqa: PLW2901
        rebuilt.append(node)
    return _used(replace(network, nodes=tuple(rebuilt), tensors={**network.tensors, **changed}))


def same_layer(node: Node, network: Network, source: Network) -> tuple[Tensor, ...] | None:
    """Weight and bias of the same layer in the float network; None where it has none, or another one by that name."""
    other = next((each for each in source.nodes if each.name == node.name), None)
    if other is None or (other.operator, other.activation) != (node.operator, node.activation):
        return None
    own, lent = network.operands(node)[1:], source.operands(other)[1:]
    fits = [tensor.shape for tensor in own] == [tensor.shape for tensor in lent]
    return lent if fits and all(tensor.is_constant for tensor in lent) else None


def _with_constants(
    network: Network,
    node: Node,
    nodes: Collection[str],
    lent: tuple[Tensor, ...] | None,
    changed: dict[str, Tensor],
) -> Node:
    """The node with float weight and bias, under their names where no other reads them, else under its own."""
    inputs = [node.inputs[0]]
    for position, tensor in enumerate(network.operands(node)[1:]):
        values = tensor.real() if lent is None else lent[position].real()
        others = [reader.name for reader in network.consumers(tensor.name) if reader.name not in nodes]
        name = f"{node.name}.float_{('weight', 'bias')[position]}" if others else tensor.name
        changed[name] = Tensor(name, tensor.shape, None, values)
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))


def closed(network: Network) -> Network:
    """What a target can be told: whoever reads floats has float weights, and no requantization ends in float."""
    network = without(
        network,
        lambda node: isinstance(node.operator, Requantize) and network.result(node).quantization is None,
    )
    readers = [
        node.name
        for node in network.nodes
        if isinstance(node.operator, WEIGHTED)
        and network.operands(node)[0].quantization is None
        and network.operands(node)[1].quantization is not None
    ]
    changed: dict[str, Tensor] = {}
    nodes = tuple(
        _with_constants(network, node, readers, None, changed) if node.name in readers else node
        for node in network.nodes
    )
    return _used(replace(network, nodes=nodes, tensors={**network.tensors, **changed}))


def keep_float(network: Network, ways: Mapping[Group, Way], source: Network) -> Network:
    """The same network with these groups of layers in float, each in its way, and what has to follow them.

    source: the float network. Declare `float_nodes` of it in the model card.
    """
    for group, way in ways.items():
        network = in_float(network, group, way, source)
    return normalise(closed(network))


def float_nodes(network: Network) -> tuple[str, ...]:
    """The nodes outside the float tail that read, hold or write floats: what a model card has to declare kept_float."""
    tail = {node.name for node in float_tail(network)}
    return tuple(node.name for node in network.nodes if node.name not in tail and _is_float(network, node))


def _is_float(network: Network, node: Node) -> bool:
    if isinstance(node.operator, Pixels):
        return False
    operands = network.operands(node)
    read = operands[:2] if isinstance(node.operator, WEIGHTED) else operands
    return any(tensor.quantization is None for tensor in (*read, network.result(node)))


def _used(network: Network) -> Network:
    """Without the tensors that nobody reads any more."""
    names = {name for node in network.nodes for name in (*node.inputs, node.output)}
    names.update(network.inputs, network.outputs)
    return replace(network, tensors={name: tensor for name, tensor in network.tensors.items() if name in names})
