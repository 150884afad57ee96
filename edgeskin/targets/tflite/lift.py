"""Lift a program of ours back to a network: what its operators really say, under the names that its note remembers.

Every operator is read by the format's own meaning, not by what lowering would have written: a wrong padding, scale,
axis or weight in the file gives another network. What is not one of the known forms is an error with its node's name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    BATCH,
    PIXEL_SCALE,
    Activate,
    Activation,
    Add,
    Array,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    HardSigmoid,
    HardSwish,
    Linear,
    Max,
    MaxPool,
    Mean,
    Mul,
    Network,
    Node,
    Operator,
    Pad,
    Pads,
    Pair,
    Pixels,
    Quantization,
    Requantize,
    Reshape,
    Resize,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.targets.tflite.lower import HARD_SIGMOID_WEIGHT, INNER_GATE, ROLES, SIXTH
from edgeskin.targets.tflite.note import Note
from edgeskin.targets.tflite.program import AXES, Operation, Program, Scale, Value
from edgeskin.targets.tflite.schema import ACTIVATIONS, SAME
from edgeskin.targets.tflite.window import same_pads

_NCHW = (0, 3, 1, 2)
"""The axes of an NHWC array in the network's order."""


def lift(program: Program, note: Note) -> Network:
    """The network that a program of ours computes. Raises: GraphError that names the node it cannot read."""
    return _Lifting(program, note).network()


@dataclass(frozen=True)
class _Read:
    """What a node's operators were read as: its operator, and the tensors it reads, by index or as constants."""

    operator: Operator
    inputs: tuple["int | Tensor", ...]
    activation: Activation | None = None


class _Lifting:
    """One program on its way back into a network."""

    def __init__(self, program: Program, note: Note) -> None:
        self.program = program
        self.note = note
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.widened: dict[int, int] = {}
        """float16 constants by the float32 tensor that a DEQUANTIZE makes of them."""
        self.entered: dict[int, int] = {}
        """Quantized inputs -> the inputs themselves, which alone have a name in the network."""

    def network(self) -> Network:
        program = self.program
        for name, index in program.inputs.items():
            self.tensors[name] = Tensor(name, _shape(program.tensors[index].shape))
        for owner, group in groupby(program.operations, key=lambda operation: operation.owner):
            operations = [operation for operation in group if not self._widens(operation)]
            if owner in program.inputs:
                self._enter(owner, operations)
            elif operations:
                self._append(owner, operations)
        outputs = tuple(self._outputs())
        return Network(tuple(program.inputs), outputs, tuple(self.nodes), self.tensors)

    def _outputs(self) -> Iterator[str]:
        """The outputs; behind integer logits stands what the note says an app computes."""
        tails = {tail.output: tail for tail in self.note.tails}
        for name, index in self.program.outputs.items():
            tail = tails.get(name)
            if tail is not None:
                logits = self._tensor(index)
                operator = {"sigmoid": Sigmoid(), "softmax": Softmax(len(logits.shape) - 1)}.get(tail.kind)
                if operator is None:
                    raise GraphError(f"{tail.node}: its note says {tail.kind!r}, which is neither sigmoid nor softmax")
                self.tensors[name] = Tensor(name, logits.shape)
                self.nodes.append(Node(tail.node, operator, (logits.name,), name))
            yield name

    def _widens(self, operation: Operation) -> bool:
        source = self.program.tensors[operation.inputs[0]]
        if operation.kind != "DEQUANTIZE" or source.kind != "float16" or source.data is None:
            return False
        self.widened[operation.outputs[0]] = operation.inputs[0]
        return True

    def _enter(self, name: str, operations: list[Operation]) -> None:
        if [operation.kind for operation in operations] != ["QUANTIZE"]:
            raise GraphError(f"{name}: an input is quantized and nothing else; export the file again")
        inside = operations[0].outputs[0]
        self.entered[inside] = self.program.inputs[name]
        value = self.program.tensors[inside]
        self.tensors[name] = Tensor(name, _shape(value.shape), _quantization(value))

    # --- nodes ---

    def _append(self, owner: str, operations: list[Operation]) -> None:
        for operation in operations:
            if len(operation.outputs) != 1:
                raise GraphError(f"{owner}: an operator has {len(operation.outputs)} outputs; export the file again")
        output = operations[-1].outputs[0]
        group = _Group(self, owner, operations)
        read = group.read()
        inputs = tuple(self._input(given) for given in read.inputs)
        result = self._tensor(output)
        self.nodes.append(Node(owner, read.operator, inputs, result.name, read.activation))

    def _input(self, given: "int | Tensor") -> str:
        tensor = self._tensor(given) if isinstance(given, int) else given
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _tensor(self, index: int) -> Tensor:
        """A tensor of the program as the network has it."""
        index = self.entered.get(index, index)
        value = self.program.tensors[index]
        if value.name in self.program.inputs:
            return self.tensors[value.name]
        data = None if value.data is None else _nchw(value.data)
        tensor = Tensor(
            value.name, _shape(value.shape) if data is None else data.shape, _quantization(value), data
        )
        self.tensors[tensor.name] = tensor
        return tensor


class _Group:
    """The operators that carry out one node."""

    def __init__(self, lifting: _Lifting, owner: str, operations: list[Operation]) -> None:
        self.lifting = lifting
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

    def read(self) -> _Read:
        """What they say together."""
        rule = _FORMS.get(self.kinds)
        if rule is None:
            raise self.refuse(f"{', '.join(self.kinds)} is no form that edgeskin writes")
        return rule(self)

    def refuse(self, reason: str) -> GraphError:
        """The error for a group that says something the network cannot hold."""
        return GraphError(f"{self.owner}: {reason}; export the file again, or compare it with the one you exported")

    def demand(self, holds: object, reason: str) -> None:
        """Raises: GraphError unless it holds."""
        if not holds:
            raise self.refuse(reason)

    def value(self, operation: Operation, position: int) -> Value:
        """An input of an operator."""
        return self.lifting.program.tensors[operation.inputs[position]]

    def output(self, operation: Operation) -> Value:
        """Its output."""
        return self.lifting.program.tensors[operation.outputs[0]]

    def source(self, index: int) -> int:
        """The tensor of the network behind an input of an operator."""
        return self.sources.get(index, index)

    def stored(self, operation: Operation, position: int) -> Value:
        """A constant input, in float32 where the file holds float16."""
        index = operation.inputs[position]
        value = self.lifting.program.tensors[index]
        narrow = self.lifting.widened.get(index)
        if narrow is not None:
            data = self.lifting.program.tensors[narrow].data
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

    def is_own(self, value: Value, role: str) -> bool:
        """Whether a constant is one that lowering adds for that purpose."""
        return value.name == ROLES[role].format(self.owner)

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
        _, height, width, _ = self.lifting.program.tensors[x].shape
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


# --- one rule a form ---


def _door(group: _Group) -> _Read | None:
    operation = group.operations[0]
    image = group.value(operation, 0)
    if image.kind != "uint8":
        return None
    expected = Scale(np.asarray([PIXEL_SCALE], np.float32), 128)
    group.demand(image.scale == expected, "pixels are not at scale 1/128 with zero point 128")
    return _Read(Pixels(), (operation.inputs[0],))


def _quantize(group: _Group) -> _Read:
    return _door(group) or _Read(Requantize(), (group.operations[0].inputs[0],))


def _conv(group: _Group) -> _Read:
    operation = group.operations[-1]
    weight = group.weight(operation, 1, _NCHW, 0)
    if weight.name == ROLES["ones"].format(group.owner):
        return _mean_of_channels(group, operation, weight)
    return _convolution(group, operation, weight, int(group.value(operation, 0).shape[3]) // weight.shape[1])


def _depthwise(group: _Group) -> _Read:
    operation = group.operations[-1]
    weight = group.weight(operation, 1, (3, 0, 1, 2), 0)
    if weight.name == ROLES["ones"].format(group.owner):
        return _average(group, operation, weight)
    channels = int(group.value(operation, 0).shape[3])
    if weight.name == ROLES["sixth"].format(group.owner):
        _demand_gate(group, operation, ACTIVATIONS["relu"])
        return _Read(HardSigmoid(), (group.source(operation.inputs[0]),))
    multiplier = group.whole(operation, "DepthMultiplier")
    group.demand(channels * multiplier == weight.shape[0], f"its multiplier is {multiplier}")
    return _convolution(group, operation, weight, channels)


def _convolution(group: _Group, operation: Operation, weight: Tensor, groups: int) -> _Read:
    kernel: Pair = (int(weight.shape[2]), int(weight.shape[3]))
    strides = group.pair(operation, "StrideH", "StrideW")
    dilations = group.pair(operation, "DilationHFactor", "DilationWFactor")
    pads = group.pads(operation, kernel, strides, dilations)
    _, x = group.padded(operation)
    bias = group.bias(operation, 2, group.value(operation, 0), weight)
    inputs = (group.source(x), weight, *bias)
    return _Read(Conv(strides, pads, dilations, groups), inputs, group.activation(operation))


def _demand_ones(group: _Group, operation: Operation, weight: Tensor, count: int) -> None:
    assert weight.data is not None
    assert weight.quantization is not None
    right = np.all(weight.data == 1) and np.all(weight.quantization.scale == np.float32(1 / count))
    group.demand(right, f"its weights do not make the mean of {count} values")
    group.bias(operation, 2, group.value(operation, 0), weight)


def _mean_of_channels(group: _Group, operation: Operation, weight: Tensor) -> _Read:
    group.demand(weight.shape[0] == 1 and weight.shape[2:] == (1, 1), "its weights reach beyond one pixel")
    _demand_ones(group, operation, weight, int(weight.shape[1]))
    return _Read(Mean((1,), True), (operation.inputs[0],))


def _average(group: _Group, operation: Operation, weight: Tensor) -> _Read:
    kernel: Pair = (int(weight.shape[2]), int(weight.shape[3]))
    _demand_ones(group, operation, weight, kernel[0] * kernel[1])
    strides = group.pair(operation, "StrideH", "StrideW")
    return _Read(AveragePool(kernel, strides, group.pads(operation, kernel, strides)), (operation.inputs[0],))


def _conv_transpose(group: _Group) -> _Read:
    operation = group.operations[0]
    x = group.value(operation, 2)
    weight = group.weight(operation, 1, (3, 0, 1, 2), 1)
    strides = group.pair(operation, "StrideH", "StrideW")
    group.demand(group.whole(operation, "Padding") != SAME, "pads as SAME")
    _, *full, _ = group.output(operation).shape
    group.demand(group.numbers(operation, 0) == group.output(operation).shape, "writes another shape than it says")
    more = tuple(
        there - ((size - 1) * stride + int(k))
        for there, size, stride, k in zip(full, x.shape[1:3], strides, weight.shape[2:], strict=True)
    )
    pads: Pads = (0, 0, 0, 0)
    if len(group.operations) == 2:
        part = group.operations[1]
        _, top, left, _ = group.numbers(part, 1)
        _, height, width, _ = group.numbers(part, 2)
        pads = (top, left, full[0] - top - height, full[1] - left - width)
    bias = group.bias(operation, 3, x, weight)
    transposed = ConvTranspose(strides, pads, (more[0], more[1]), (1, 1), 1)
    return _Read(transposed, (group.source(operation.inputs[2]), weight, *bias), group.activation(operation))


def _linear(group: _Group) -> _Read:
    operation = group.operations[0]
    weight = group.weight(operation, 1, (0, 1), 0)
    bias = group.bias(operation, 2, group.value(operation, 0), weight)
    inputs = (group.source(operation.inputs[0]), weight, *bias)
    return _Read(Linear(), inputs, group.activation(operation))


def _pair(operator: Add | Mul) -> Callable[[_Group], _Read]:
    def rule(group: _Group) -> _Read:
        operation = group.operations[0]
        inputs = tuple(group.source(index) for index in operation.inputs)
        return _Read(operator, inputs, group.activation(operation))

    return rule


def _demand_gate(group: _Group, operation: Operation, activation: int) -> None:
    """That a depthwise convolution is x/6 + 1/2."""
    x, weight, half = (group.value(operation, position) for position in range(3))
    assert weight.data is not None
    assert weight.scale is not None
    assert half.data is not None
    assert x.scale is not None
    right = np.all(weight.data == HARD_SIGMOID_WEIGHT) and np.all(weight.scale.steps == SIXTH)
    right = right and np.all(half.data == np.rint(0.5 / np.float64(np.float32(x.scale.steps[0] * SIXTH))))
    group.demand(right, "its gate is not x/6 + 1/2")
    group.demand(group.whole(operation, "FusedActivationFunction") == activation, "its gate is cut off otherwise")


def _hard_swish_of_integers(group: _Group) -> _Read:
    gate, product = group.operations[-2:] if group.kinds[-1] == "MUL" else group.operations[1:3]
    _demand_gate(group, gate, ACTIVATIONS[None])
    group.demand(group.output(gate).scale == INNER_GATE, "its gate has another scale")
    reads = product.inputs == (gate.inputs[0], gate.outputs[0])
    group.demand(reads and group.activation(product) is None, "its product is of other tensors")
    return _Read(HardSwish(), (group.operations[0].inputs[0],))


def _hard_sigmoid_of_a_row(group: _Group) -> _Read:
    _demand_gate(group, group.operations[1], ACTIVATIONS["relu"])
    return _Read(HardSigmoid(), (group.operations[0].inputs[0],))


def _hard_sigmoid_of_floats(group: _Group) -> _Read:
    lift, scale = group.operations
    three, sixth = (group.stored(operation, 1).data for operation in (lift, scale))
    assert three is not None
    assert sixth is not None
    right = float(three[0]) == 3 and sixth[0] == np.float32(1 / 6) and group.activation(lift) == "relu6"
    group.demand(right and group.activation(scale) is None, "its gate is not clip(x/6 + 1/2, 0, 1)")
    return _Read(HardSigmoid(), (group.source(lift.inputs[0]),))


def _alone(operator: Operator, activation: Activation | None = None) -> Callable[[_Group], _Read]:
    return lambda group: _Read(operator, (group.source(group.operations[0].inputs[0]),), activation)


def _softmax(group: _Group) -> _Read:
    operation = group.operations[0]
    group.demand(operation.options.get("Beta") == 1.0, f"its beta is {operation.options.get('Beta')}")
    rank = len(group.output(operation).shape)
    return _Read(Softmax(_axis(rank - 1, rank)), (group.source(operation.inputs[0]),))


def _pool(kind: type[MaxPool] | type[AveragePool]) -> Callable[[_Group], _Read]:
    def rule(group: _Group) -> _Read:
        operation = group.operations[-1]
        kernel = group.pair(operation, "FilterHeight", "FilterWidth")
        strides = group.pair(operation, "StrideH", "StrideW")
        explicit, x = group.padded(operation)
        if explicit is not None:
            filler = group.stored(explicit, 2)
            assert filler.data is not None
            lowest = -128 if filler.kind == "int8" else np.finfo(np.float32).min
            group.demand(filler.data.reshape(-1)[0] == lowest, "pads a maximum with other than the lowest value")
        return _Read(kind(kernel, strides, group.pads(operation, kernel, strides)), (group.source(x),))

    return rule


def _reduce(kind: type[Mean] | type[Max]) -> Callable[[_Group], _Read]:
    def rule(group: _Group) -> _Read:
        operation = group.operations[0]
        rank = len(group.value(operation, 0).shape)
        axes = tuple(_axis(axis, rank) for axis in group.numbers(operation, 1))
        return _Read(kind(axes, bool(operation.options["KeepDims"])), (group.source(operation.inputs[0]),))

    return rule


def _concat(group: _Group) -> _Read:
    operation = group.operations[0]
    axis = _axis(group.whole(operation, "Axis"), len(group.output(operation).shape))
    return _Read(Concat(axis), tuple(group.source(index) for index in operation.inputs))


def _resize(group: _Group) -> _Read:
    operation = group.operations[0]
    linear = group.kinds == ("RESIZE_BILINEAR",)
    group.demand(not operation.options["AlignCorners"], "aligns corners")
    group.demand(bool(operation.options["HalfPixelCenters"]) == linear, "has its pixels' centres elsewhere")
    height, width = group.numbers(operation, 1)
    inputs = (group.source(operation.inputs[0]),)
    return _Read(Resize((height, width), "linear" if linear else "nearest"), inputs)


def _pad(group: _Group) -> _Read:
    operation = group.operations[0]
    value = 0.0
    if operation.kind == "PADV2":
        filler = group.stored(operation, 2)
        assert filler.data is not None
        step = 1.0 if filler.scale is None else float(filler.scale.steps[0])
        value = float(filler.data[0]) * step
    return _Read(Pad(group.explicit(operation), value), (group.source(operation.inputs[0]),))


def _reshape(group: _Group) -> _Read:
    operation = group.operations[0]
    shape = group.output(operation).shape
    group.demand(group.numbers(operation, 1) == shape, "writes another shape than it says")
    return _Read(Reshape(_shape(shape)), (group.source(operation.inputs[0]),))


def _slice(group: _Group) -> _Read:
    operation = group.operations[0]
    before = group.value(operation, 0).shape
    begin, size = group.numbers(operation, 1), group.numbers(operation, 2)
    cut = [axis for axis, n in enumerate(before) if (begin[axis], size[axis]) != (0, n)]
    group.demand(len(cut) == 1, f"cuts along {len(cut)} axes")
    axis = cut[0]
    end = begin[axis] + size[axis]
    return _Read(Slice(_axis(axis, len(before)), begin[axis], end), (group.source(operation.inputs[0]),))


_FORMS: Mapping[tuple[str, ...], Callable[[_Group], _Read]] = {
    ("QUANTIZE",): _quantize,
    ("DEQUANTIZE",): _quantize,
    ("CONV_2D",): _conv,
    ("PAD", "CONV_2D"): _conv,
    ("DEPTHWISE_CONV_2D",): _depthwise,
    ("PAD", "DEPTHWISE_CONV_2D"): _depthwise,
    ("TRANSPOSE_CONV",): _conv_transpose,
    ("TRANSPOSE_CONV", "SLICE"): _conv_transpose,
    ("FULLY_CONNECTED",): _linear,
    ("ADD",): _pair(Add()),
    ("MUL",): _pair(Mul()),
    ("ADD", "MUL"): _hard_sigmoid_of_floats,
    ("DEPTHWISE_CONV_2D", "MUL"): _hard_swish_of_integers,
    ("RESHAPE", "DEPTHWISE_CONV_2D", "MUL", "RESHAPE"): _hard_swish_of_integers,
    ("RESHAPE", "DEPTHWISE_CONV_2D", "RESHAPE"): _hard_sigmoid_of_a_row,
    ("HARD_SWISH",): _alone(HardSwish()),
    ("LOGISTIC",): _alone(Sigmoid()),
    ("SOFTMAX",): _softmax,
    ("RELU",): _alone(Activate(), "relu"),
    ("RELU6",): _alone(Activate(), "relu6"),
    ("MAX_POOL_2D",): _pool(MaxPool),
    ("PADV2", "MAX_POOL_2D"): _pool(MaxPool),
    ("AVERAGE_POOL_2D",): _pool(AveragePool),
    ("MEAN",): _reduce(Mean),
    ("REDUCE_MAX",): _reduce(Max),
    ("CONCATENATION",): _concat,
    ("RESIZE_BILINEAR",): _resize,
    ("RESIZE_NEAREST_NEIGHBOR",): _resize,
    ("PAD",): _pad,
    ("PADV2",): _pad,
    ("RESHAPE",): _reshape,
    ("SLICE",): _slice,
}
"""What the operators of one node may be, without what turns them into floats and back."""


def _axis(axis: int, rank: int) -> int:
    """Where an axis of the program's tensor stands in the network's."""
    return AXES.index(axis) if rank == 4 else axis


def _shape(shape: tuple[int, ...]) -> Shape:
    """The network's shape of a computed tensor."""
    return (BATCH, shape[3], *shape[1:3]) if len(shape) == 4 else (BATCH, *shape[1:])


def _nchw(data: Array) -> Array:
    return np.ascontiguousarray(data.transpose(_NCHW)) if data.ndim == 4 else data


def _quantization(value: Value) -> Quantization | None:
    if value.scale is None:
        return None
    if value.kind != "int8" or value.scale.zero_point != 0 or value.scale.steps.size != 1:
        raise GraphError(f"{value.name}: is {value.kind} with zero point {value.scale.zero_point}, not symmetric int8")
    return Quantization(value.scale.steps.reshape(()))
