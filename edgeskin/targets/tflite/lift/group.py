"""The operators that carry out one node: what a rule of lifting may ask of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import BATCH, Activation, Operator, Pads, Pair, Quantization, Shape, Tensor
from edgeskin.targets.tflite.lower.site import own_name
from edgeskin.targets.tflite.program import AXES, Operation, Program, Value
from edgeskin.targets.tflite.schema import ACTIVATIONS, SAME
from edgeskin.targets.tflite.window import same_pads

NCHW = (0, 3, 1, 2)
"""The axes of an NHWC array in the network's order."""


Inputs: TypeAlias = tuple[int | Tensor, ...]
"""What a node reads: tensors of the program by index, or constants of the network."""


@dataclass(frozen=True)
class Read:
    """What a node's operators were read as: its operator, and the tensors it reads, by index or as constants."""

    operator: Operator
    inputs: Inputs
    activation: Activation | None = None


class Group:
    """The operators that carry out one node."""

    def __init__(self, program: Program, widened: Mapping[int, int], owner: str, operations: list[Operation]) -> None:
        self.program = program
        self.widened = widened
        """float16 constants by the float32 tensor that a DEQUANTIZE makes of them."""
        self.owner = owner
        self.sources: dict[int, int] = {}
        """Float copies of quantized tensors -> what they are copies of."""
        self.operations = self._core(operations)
        self.kinds = tuple(operation.kind for operation in self.operations)

    def _core(self, operations: list[Operation]) -> list[Operation]:
        """Without the DEQUANTIZE and QUANTIZE around what runs in float."""
        if len(operations) == 1:
            return operations
        core = list(operations)
        while core[0].kind == "DEQUANTIZE":
            first = core.pop(0)
            self.sources[first.outputs[0]] = first.inputs[0]
        if core[-1].kind == "QUANTIZE" and len(core) > 1:
            core.pop()
        return core

    def refuse(self, reason: str) -> GraphError:
        """The error for a group that says something the network cannot hold."""
        return GraphError(f"{self.owner}: {reason}; export the file again, or compare it with the one you exported")

    def demand(self, holds: object, reason: str) -> None:
        """Raises: GraphError unless it holds."""
        if not holds:
            raise self.refuse(reason)

    def value(self, operation: Operation, position: int) -> Value:
        """An input of an operator."""
        return self.program.tensors[operation.inputs[position]]

    def output(self, operation: Operation) -> Value:
        """Its output."""
        return self.program.tensors[operation.outputs[0]]

    def source(self, index: int) -> int:
        """The tensor of the network behind an input of an operator."""
        return self.sources.get(index, index)

    def stored(self, operation: Operation, position: int) -> Value:
        """A constant input, in float32 where the file holds float16."""
        index = operation.inputs[position]
        value = self.program.tensors[index]
        narrow = self.widened.get(index)
        if narrow is not None:
            data = self.program.tensors[narrow].data
            assert data is not None
            return Value(value.name, value.shape, "float32", None, data.astype(np.float32))
        self.demand(value.data is not None, f"{value.name} is not stored in the file")
        return value

    def numbers(self, operation: Operation, position: int) -> tuple[int, ...]:
        """A constant input of whole numbers."""
        data = self.stored(operation, position).data
        assert data is not None
        return tuple(int(number) for number in data.reshape(-1))

    def whole(self, operation: Operation, name: str) -> int:
        """A field of the options."""
        value = operation.options.get(name, 0)
        assert not isinstance(value, tuple)
        return int(value)

    def activation(self, operation: Operation) -> Activation | None:
        """The fused activation."""
        words: dict[int, Activation | None] = {0: None, ACTIVATIONS["relu"]: "relu", ACTIVATIONS["relu6"]: "relu6"}
        number = self.whole(operation, "FusedActivationFunction")
        self.demand(number in words, f"its fused activation {number} is unknown")
        return words[number]

    def is_own(self, value: Value | Tensor, role: str) -> bool:
        """Whether a constant is one that lowering adds for that purpose."""
        return value.name == own_name(self.owner, role)

    # --- constants of layers ---

    def weight(self, operation: Operation, position: int, axes: tuple[int, ...], channel: int) -> Tensor:
        """The weight, its axes put into the network's order. channel: where its output channels stand there."""
        value = self.stored(operation, position)
        assert value.data is not None
        data = np.ascontiguousarray(value.data.transpose(axes))
        quantization = None
        if value.scale is not None:
            self.demand(value.scale.zero_point == 0, f"{value.name} has the zero point {value.scale.zero_point}")
            self.demand(
                value.scale.steps.size == 1 or axes[channel] == value.scale.axis,
                f"{value.name} has its scales along axis {value.scale.axis}",
            )
            quantization = Quantization(value.scale.steps, channel)
        return Tensor(value.name, data.shape, quantization, data)

    def bias(self, operation: Operation, position: int, x: Value, weight: Tensor) -> tuple[Tensor, ...]:
        """The bias as real numbers; none where it is the zeros that a layer without one is given."""
        value = self.stored(operation, position)
        assert value.data is not None
        if self.is_own(value, "no_bias"):
            self.demand(not value.data.any(), "its absent bias is not zero")
            return ()
        if value.scale is None:
            return (Tensor(value.name, value.shape, None, value.data),)
        assert weight.quantization is not None
        assert x.scale is not None
        grid = np.asarray(x.scale.steps[0] * weight.quantization.scale, np.float32)
        self.demand(np.array_equal(grid, value.scale.steps), f"{value.name} is not in steps of s_in·s_w")
        return (Tensor(value.name, value.shape, None, (value.data.astype(np.float32) * grid).astype(np.float32)),)

    # --- windows ---

    def padded(self, operation: Operation) -> tuple[Operation | None, int]:
        """The padding before the last operator, if there is one, and the tensor behind it."""
        first = self.operations[0]
        if first is operation:
            return None, operation.inputs[0]
        self.demand(operation.inputs[0] == first.outputs[0], f"its {operation.kind} does not read its {first.kind}")
        return first, first.inputs[0]

    def pads(self, operation: Operation, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> Pads:
        """All of a window's pads, explicit ones and those of SAME."""
        explicit, x = self.padded(operation)
        same = self.whole(operation, "Padding") == SAME
        if explicit is not None:
            self.demand(not same, "is padded twice")
            return self.explicit(explicit)
        _, height, width, _ = self.program.tensors[x].shape
        return same_pads((height, width), kernel, strides, dilations) if same else (0, 0, 0, 0)

    def explicit(self, padding: Operation) -> Pads:
        """The pads of a PAD or PADV2."""
        numbers = self.numbers(padding, 1)
        self.demand(len(numbers) == 8 and not any((*numbers[:2], *numbers[6:])), "pads batch or channels")
        _, _, top, bottom, left, right, _, _ = numbers
        return top, left, bottom, right

    def pair(self, operation: Operation, height: str, width: str) -> Pair:
        """Two fields of the options."""
        return self.whole(operation, height), self.whole(operation, width)


def network_axis(axis: int, rank: int) -> int:
    """Where an axis of the program's tensor stands in the network's."""
    return AXES.index(axis) if rank == 4 else axis


def network_shape(shape: tuple[int, ...]) -> Shape:
    """The network's shape of a computed tensor."""
    return (BATCH, shape[3], *shape[1:3]) if len(shape) == 4 else (BATCH, *shape[1:])
