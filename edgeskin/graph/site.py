"""One ONNX node in its place, and how a translation may ask about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Activation, Array, Operator, Pads, Pair, Shape, Tensor
from edgeskin.optional import require

if TYPE_CHECKING:
    import onnx

Value: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | Array


def attributes(node: "onnx.NodeProto") -> dict[str, Value]:
    """The attributes of an ONNX node as plain values."""
    onnx = require("onnx")
    found: dict[str, Value] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        elif isinstance(value, list):
            value = tuple(value)
        if not isinstance(value, (int, float, str, tuple, np.ndarray)):
            raise refusal(node, f"attribute {attribute.name} is a {type(value).__name__}, which is not supported")
        found[attribute.name] = value
    return found


@dataclass(frozen=True)
class Site:
    """One ONNX node in its place: all that a translation may look at.

    inputs: the network's tensors, None for an absent optional input or a computed shape. output: its static shape.
    """

    node: "onnx.NodeProto"
    attributes: Mapping[str, Value]
    inputs: tuple[Tensor | None, ...]
    output: Shape

    def refuse(self, reason: str) -> GraphError:
        """The error for what this node asks and the network cannot hold; the reason says what to do."""
        return refusal(self.node, reason)

    def operand(self, position: int) -> Tensor:
        """A required input."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise self.refuse(f"input {position} is missing or is a computed shape; export with static shapes")
        return tensor

    def constant(self, position: int) -> Array | None:
        """The stored contents of an optional input; None where it is absent."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            if position < len(self.node.input) and self.node.input[position]:
                raise self.refuse(f"input {self.node.input[position]!r} must be a constant; export with static shapes")
            return None
        if tensor.data is None:
            raise self.refuse(f"input {tensor.name!r} must be a constant")
        return tensor.data

    def whole(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attributes.get(name, default)
        assert isinstance(value, int)
        return value

    def real(self, name: str, default: float) -> float:
        """A float attribute."""
        value = self.attributes.get(name, default)
        assert isinstance(value, (int, float))
        return float(value)

    def word(self, name: str, default: str) -> str:
        """A string attribute."""
        return str(self.attributes.get(name, default))

    def pair(self, name: str, default: Pair | None = (1, 1)) -> Pair:
        """A height-width attribute; anything but two numbers is refused (1-D and 3-D operators)."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple) or len(value) != 2:
            raise self.refuse(f"{name} {value} is not a height and a width; only 2-D images are supported")
        return int(value[0]), int(value[1])

    def pads(self) -> Pads:
        """top, left, bottom, right."""
        if self.word("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise self.refuse(f"auto_pad {self.word('auto_pad', '')} is not supported; export explicit pads")
        value = self.attributes.get("pads", (0, 0, 0, 0))
        if not isinstance(value, tuple) or len(value) != 4:
            raise self.refuse(f"pads {value} are not top, left, bottom and right; only 2-D images are supported")
        return int(value[0]), int(value[1]), int(value[2]), int(value[3])

    def demand(self, name: str, *allowed: Value) -> None:
        """Refuse an attribute that is there with a value the network has no words for."""
        value = self.attributes.get(name, allowed[0])
        if value not in allowed:
            raise self.refuse(f"{name} = {value} is not supported; supported: {', '.join(map(str, allowed))}")

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front, which must not be the batch."""
        if value % rank == 0:
            raise self.refuse("works along the batch axis; keep images independent of each other")
        return value % rank


def refusal(node: "onnx.NodeProto", reason: str) -> GraphError:
    """An error that names an ONNX node and its operator."""
    return GraphError(f"{node.name or node.output[0]} ({node.op_type}): {reason}")


@dataclass(frozen=True)
class Translation:
    """An operator and the tensors it reads; no operator where the node changes nothing and its input is its output."""

    operator: Operator | None
    inputs: tuple[Tensor, ...]
    activation: Activation | None = None
