"""What the ONNX file calls things; TensorRT keeps no names for weights inside a layer, and makes up others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Names:
    """inputs: what each ONNX node reads, by the node's name. writers: the node that computes each ONNX value."""

    inputs: Mapping[str, tuple[str, ...]]
    writers: Mapping[str, str]

    @staticmethod
    def of(model: "onnx.ModelProto") -> "Names":
        """Those of a model, whose nodes have names of their own."""
        nodes = model.graph.node
        return Names(
            {node.name: tuple(node.input) for node in nodes},
            {output: node.name for node in nodes for output in node.output},
        )

    def operand(self, node: str | None, place: int, otherwise: str) -> str:
        """The name of what a node reads at a place."""
        read = self.inputs.get(node or "", ())
        return read[place] if place < len(read) and read[place] else otherwise
