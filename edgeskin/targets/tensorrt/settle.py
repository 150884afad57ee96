"""The one form of a network that TensorRT's parser can give back: output padding taken from pads, and no idle pads.

Both sides of a comparison are brought to it.
"""

from dataclasses import replace

from edgeskin.graph.ir import ConvTranspose, Network, Node, Pad
from edgeskin.graph.rewrite import normalise, without


def settle(network: Network) -> Network:
    """The same function; equal for two networks that TensorRT's layers cannot tell apart."""
    settled = without(network, lambda node: _is_idle(network, node))
    return normalise(replace(settled, nodes=tuple(map(_unpadded, settled.nodes))))


def _is_idle(network: Network, node: Node) -> bool:
    """Whether a node pads nothing, and its result is stored as what it reads."""
    same = network.result(node).quantization == network.operands(node)[0].quantization
    return isinstance(node.operator, Pad) and not any(node.operator.pads) and same


def _unpadded(node: Node) -> Node:
    """A transposed convolution whose pads at the end are smaller, as far as its output padding goes."""
    operator = node.operator
    if not isinstance(operator, ConvTranspose):
        return node
    top, left, *ends = operator.pads
    taken = [min(end, more) for end, more in zip(ends, operator.output_padding, strict=True)]
    bottom, right = (end - each for end, each in zip(ends, taken, strict=True))
    height, width = (more - each for more, each in zip(operator.output_padding, taken, strict=True))
    return replace(node, operator=replace(operator, pads=(top, left, bottom, right), output_padding=(height, width)))
