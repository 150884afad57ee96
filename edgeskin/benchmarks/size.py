"""Where the bytes of an artifact are: what its saved network holds, layer by layer."""

from typing import Annotated

from pydantic import Field

from edgeskin.benchmarks.measurements import Count
from edgeskin.contract.frozen import Frozen
from edgeskin.graph.ir import Network, Tensor
from edgeskin.targets.base import Precision

_HALVED: frozenset[Precision] = frozenset({"fp16", "w8a16"})
"""Precisions whose floats take two bytes; the network that is read back holds them in four."""


class LayerSize(Frozen):
    """What one layer stores. kind: of its operator. parameters: numbers; size_kib: what they take, without the frame of
    the file around them.
    """

    name: str
    kind: str
    parameters: Count
    size_kib: Annotated[float, Field(ge=0)]


def by_layer(network: Network, precision: Precision) -> tuple[LayerSize, ...]:
    """Every layer that stores something, in running order; what two layers share counts for the first."""
    seen: set[str] = set()
    layers = []
    for node in network.nodes:
        own = [one for one in network.operands(node) if one.is_constant and one.name not in seen]
        seen.update(tensor.name for tensor in own)
        if own:
            layers.append(
                LayerSize(
                    name=node.name,
                    kind=node.kind,
                    parameters=sum(_numbers(tensor) for tensor in own),
                    size_kib=sum(_numbers(tensor) * _width(tensor, precision) for tensor in own) / 1024,
                )
            )
    return tuple(layers)


def _numbers(tensor: Tensor) -> int:
    return 0 if tensor.data is None else int(tensor.data.size)


def _width(tensor: Tensor, precision: Precision) -> int:
    """Bytes a number; a bias of integers takes four, as its float does here."""
    if tensor.quantization is not None:
        return 1
    return 2 if precision in _HALVED else 4
