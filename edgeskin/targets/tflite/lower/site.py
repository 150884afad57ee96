"""A program that grows, and one node in its place: what a rule of lowering may ask and write."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeskin.errors import TargetError
from edgeskin.graph.ir import (
    Add,
    Array,
    AveragePool,
    Conv,
    ConvTranspose,
    HardSwish,
    Linear,
    Network,
    Node,
    Pads,
    Pair,
    Quantization,
    Resize,
    Sigmoid,
    Softmax,
    Tensor,
)
from edgeskin.graph.rewrite import bias_grid, bias_integers
from edgeskin.targets.tflite.program import Operation, Option, Program, Scale, Value, nhwc
from edgeskin.targets.tflite.schema import ACTIVATIONS, SAME, VALID
from edgeskin.targets.tflite.window import same_pads


def own_name(owner: str, role: str) -> str:
    """The name of a tensor that is the program's own and not the network's: by what it serves, and as what."""
    return f"{owner}:{role}"


def scale(quantization: Quantization | None) -> Scale | None:
    """A scale of the network as the program has it."""
    return None if quantization is None else Scale(quantization.scale.reshape(-1).astype(np.float32))


class Draft:
    """A program that grows: tensors by name, operators in order, each for the node whose turn it is (`owner`)."""

    def __init__(self, network: Network, half: bool) -> None:
        self.network = network
        self.half = half
        self.tensors: list[Value] = []
        self.operations: list[Operation] = []
        self.places: dict[str, int] = {}
        """Where each tensor stands, by name."""
        self.owner = ""

    def program(self, outputs: Mapping[str, str]) -> Program:
        """What has grown. outputs: the tensors that are outputs, by the outputs' names."""
        return Program(
            tuple(self.tensors),
            tuple(self.operations),
            {name: self.places[name] for name in self.network.inputs},
            {name: self.places[tensor] for name, tensor in outputs.items()},
        )

    def put(self, value: Value) -> int:
        """The place of a tensor; one of that name that is there already must be the same one.

        Raises: TargetError where it is not: two nodes read one constant, each in a form of its own.
        """
        found = self.places.get(value.name)
        if found is None:
            self.tensors.append(value)
            found = self.places[value.name] = len(self.tensors) - 1
        elif self.tensors[found] != value:
            raise TargetError(f"{self.owner}: reads {value.name} in another form than a node before it; untie the two")
        return found

    def computed(self, name: str, shape: tuple[int, ...], scale: Scale | None) -> int:
        """A tensor that an operator writes."""
        return self.put(Value(name, shape, "float32" if scale is None else "int8", scale))

    def constant(self, name: str, data: Array, scale: Scale | None = None) -> int:
        """A tensor that the file holds."""
        return self.put(Value(name, data.shape, str(data.dtype), scale, data))

    def own(self, role: str) -> str:
        """The name of a tensor that is the node's own and not the network's."""
        return own_name(self.owner, role)

    def emit(self, kind: str, inputs: tuple[int, ...], output: int, **options: Option) -> int:
        """Append an operator; its output."""
        self.operations.append(Operation(kind, inputs, (output,), options, self.owner))
        return output


@dataclass(frozen=True)
class Site:
    """One node in its place: the tensors it reads and writes, and how to write operators for it."""

    draft: Draft
    node: Node
    tensors: tuple[Tensor, ...]
    result: Tensor

    @property
    def integer(self) -> bool:
        """Whether it computes on integers alone.

        Never, where the format's integers are not those of the network. LOGISTIC and SOFTMAX end at scale 1/256 by its
        own rule, and to round that again to a gate's 1/128 would change a quarter of them. HARD_SWISH of integers is
        taken by no delegate, and a gate and a product in its place round twice (0.8 % of a trained network's were off).
        XNNPACK rounds every tie of a sum or a linear resize up, which shifts what many layers behind it add up: 0.01 %
        of the sums moved a MobileNetV2's heads by three times as much as onnxruntime differs from itself. In float32
        all of these are exact but for ties that fall either way, in almost the same time. An average over padded
        windows counts otherwise in integers.
        """
        node, operator = self.node, self.node.operator
        if isinstance(operator, (Add, HardSwish, Sigmoid, Softmax)):
            return False
        if isinstance(operator, Resize) and operator.mode == "linear":
            return False
        if isinstance(operator, AveragePool) and any(operator.pads):
            return False
        weighted = isinstance(node.operator, (Conv, ConvTranspose, Linear))
        needed = (*(self.tensors[:2] if weighted else self.tensors), self.result)
        return all(tensor.quantization is not None for tensor in needed)

    def refuse(self, reason: str) -> TargetError:
        """The error for what this node asks and the format cannot hold; the reason says what to do."""
        return TargetError(f"{self.node.name} ({self.node.kind}): {reason}")

    def here(self, position: int) -> int:
        """An input as it stands in the program, at its own scale."""
        tensor = self.tensors[position]
        if tensor.data is not None:
            data = tensor.data.transpose(0, 2, 3, 1) if tensor.data.ndim == 4 else tensor.data
            return self.draft.constant(tensor.name, data, scale(tensor.quantization))
        return self.draft.places.get(own_name(tensor.name, "quantized"), self.draft.places[tensor.name])

    def x(self, position: int = 0) -> int:
        """An input as the operator reads it: integers, or float32 dequantized where they are not all integers."""
        tensor, here = self.tensors[position], self.here(position)
        if self.integer or tensor.quantization is None:
            return here
        name = own_name(f"{self.node.name}:{tensor.name}", "float")
        if name in self.draft.places:
            return self.draft.places[name]
        return self.emit("DEQUANTIZE", (here,), self.draft.computed(name, nhwc(tensor.shape), None))

    def y(self) -> int:
        """The output."""
        return self.draft.computed(self.result.name, nhwc(self.result.shape), scale(self.result.quantization))

    def emit(self, kind: str, inputs: tuple[int, ...], output: int, **options: Option) -> int:
        """Append an operator; its output."""
        return self.draft.emit(kind, inputs, output, **options)

    def inner(self, role: str, shape: tuple[int, ...], scale: Scale | None) -> int:
        """A tensor inside this node."""
        return self.draft.computed(self.draft.own(role), shape, scale)

    def constant(self, role: str, data: Array, scale: Scale | None = None) -> int:
        """A constant of this node."""
        return self.draft.constant(self.draft.own(role), data, scale)

    def numbers(self, role: str, *values: int) -> int:
        """An int32 constant of this node."""
        return self.constant(role, np.asarray(values, np.int32))

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of a tensor of the program."""
        return self.draft.tensors[index].shape

    def scale_of(self, index: int) -> Scale | None:
        """The scale of a tensor of the program."""
        return self.draft.tensors[index].scale

    @property
    def activation(self) -> int:
        """The schema's word for the fused activation."""
        return ACTIVATIONS[self.node.activation]

    def weight(self, axes: tuple[int, ...], channel: int) -> int:
        """The weight with its axes in that order; `channel` is where the output channels then stand."""
        tensor = self.tensors[1]
        assert tensor.data is not None
        if self.integer:
            assert tensor.quantization is not None
            steps = tensor.quantization.scale.reshape(-1)
            return self.draft.constant(
                tensor.name, np.ascontiguousarray(tensor.data.transpose(axes)), Scale(steps, 0, channel)
            )
        if tensor.quantization is not None:
            raise self.refuse(
                f"reads float32, but its weight {tensor.name} is int8; quantize both, or declare the node in kept_float"
            )
        data = np.ascontiguousarray(tensor.data.transpose(axes))
        if not self.draft.half:
            return self.draft.constant(tensor.name, data)
        return self._halved(tensor.name, data)

    def _halved(self, name: str, data: Array) -> int:
        """A float16 constant behind a DEQUANTIZE, which every interpreter folds or a GPU reads as it is."""
        if name in self.draft.places:
            return self.draft.places[name]
        largest = np.abs(data).max(initial=0)
        if largest > np.finfo(np.float16).max:
            raise self.refuse(f"{name} holds {largest:g}, beyond float16; build it as fp32")
        stored = self.draft.constant(own_name(name, "float16"), data.astype(np.float16))
        return self.emit("DEQUANTIZE", (stored,), self.draft.computed(name, data.shape, None))

    def bias(self, outputs: int) -> int:
        """The bias, int32 in steps of s_in·s_w or float32; zeros where the layer has none, as kernels want one."""
        given = self.tensors[2] if len(self.tensors) > 2 else None
        x, weight = (tensor.quantization for tensor in self.tensors[:2])
        if not self.integer:
            if given is None:
                return self.constant("no_bias", np.zeros(outputs, np.float32))
            return self.draft.constant(given.name, given.real())
        assert x is not None
        assert weight is not None
        grid = np.broadcast_to(bias_grid(x, weight), outputs).astype(np.float32)
        if given is None:
            return self.constant("no_bias", np.zeros(outputs, np.int32), Scale(grid))
        integers = bias_integers(given, grid).astype(np.int32)
        return self.draft.constant(given.name, integers, Scale(grid))

    def pads(self, pads: Pads) -> int:
        """Pads of height and width as the schema wants them: before and behind, axis by axis."""
        top, left, bottom, right = pads
        return self.constant("pads", np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))

    def pad(self, x: int, pads: Pads, lowest: bool = False) -> int:
        """`x` with explicit pads: zeros, or the lowest value there is."""
        _, height, width, channels = self.shape(x)
        top, left, bottom, right = pads
        shape = (1, height + top + bottom, width + left + right, channels)
        scale = self.scale_of(x)
        inputs = (x, self.pads(pads))
        if lowest:
            value = np.asarray(np.finfo(np.float32).min if scale is None else -128)
            filler = self.constant("lowest", value.reshape(1).astype("float32" if scale is None else "int8"), scale)
            return self.emit("PADV2", (*inputs, filler), self.inner("padded", shape, scale))
        return self.emit("PAD", inputs, self.inner("padded", shape, scale))

    def window(self, x: int, kernel: Pair, strides: Pair, pads: Pads, dilations: Pair = (1, 1)) -> int | None:
        """The schema's padding that means exactly these pads, or None where they must be explicit."""
        if not any(pads):
            return VALID
        _, height, width, _ = self.shape(x)
        return SAME if pads == same_pads((height, width), kernel, strides, dilations) else None
