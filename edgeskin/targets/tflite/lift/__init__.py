"""Lift a program of ours back to a network: what its operators really say, under the names that its note remembers.

Every operator is read by the format's own meaning, not by what lowering would have written: a wrong padding, scale,
axis or weight in the file gives another network. What is not one of the known forms is an error with its node's name.
"""

from collections.abc import Callable, Mapping
from itertools import groupby

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    Activate,
    Add,
    Array,
    AveragePool,
    HardSwish,
    Max,
    MaxPool,
    Mean,
    Mul,
    Network,
    Node,
    Operator,
    Quantization,
    Sigmoid,
    Softmax,
    Tensor,
)
from edgeskin.targets.tflite.fold import unfold
from edgeskin.targets.tflite.lift.elementwise import (
    alone,
    hard_sigmoid_of_floats,
    hard_sigmoid_of_integers,
    pair,
    quantize,
    softmax,
)
from edgeskin.targets.tflite.lift.group import NCHW, Group, Read, network_shape
from edgeskin.targets.tflite.lift.layers import conv, conv_transpose, depthwise, linear
from edgeskin.targets.tflite.lift.moves import concat, pad, pool, reduce, reshape, resize, slice_
from edgeskin.targets.tflite.note import Note, Tail
from edgeskin.targets.tflite.program import Operation, Program, Value

_DAMAGE = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)
"""What reading raises where a damaged file says anything of itself."""


def lift(program: Program, note: Note) -> Network:
    """The network that a program of ours computes. Raises: GraphError that names the node it cannot read."""
    try:
        return _Lifting(unfold(program), note).network()
    except _DAMAGE as error:
        raise GraphError("says what no program of ours says; copy or export the file again") from error


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
            self.tensors[name] = Tensor(name, network_shape(program.tensors[index].shape))
        for owner, group in groupby(program.operations, key=lambda operation: operation.owner):
            operations = [operation for operation in group if not self._widens(operation)]
            if owner in program.inputs:
                self._enter(owner, operations)
            elif operations:
                self._append(owner, operations)
        for tail in self.note.tails:
            self._append_tail(tail)
        return Network(tuple(program.inputs), tuple(program.outputs), tuple(self.nodes), self.tensors)

    def _append_tail(self, tail: Tail) -> None:
        """Behind integer logits stands what the note says an app computes."""
        functions: Mapping[str, Operator] = {"sigmoid": Sigmoid(), "softmax": Softmax(1)}
        logits = self._tensor(self.program.outputs[tail.output])
        self.tensors[tail.output] = Tensor(tail.output, logits.shape)
        self.nodes.insert(tail.place, Node(tail.node, functions[tail.kind], (logits.name,), tail.output))

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
        self.tensors[name] = Tensor(name, network_shape(value.shape), _quantization(value))

    # --- nodes ---

    def _append(self, owner: str, operations: list[Operation]) -> None:
        for operation in operations:
            if len(operation.outputs) != 1:
                raise GraphError(f"{owner}: an operator has {len(operation.outputs)} outputs; export the file again")
        output = operations[-1].outputs[0]
        group = Group(self.program, self.widened, owner, operations)
        rule = _FORMS.get(group.kinds)
        if rule is None:
            raise group.refuse(f"{', '.join(group.kinds)} is no form that edgeskin writes")
        read = rule(group)
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
        if value.data is None:
            tensor = Tensor(value.name, network_shape(value.shape), _quantization(value))
        else:
            data = _nchw(value.data)
            tensor = Tensor(value.name, data.shape, _quantization(value), data)
        self.tensors[tensor.name] = tensor
        return tensor


_FORMS: Mapping[tuple[str, ...], Callable[[Group], Read]] = {
    ("QUANTIZE",): quantize,
    ("DEQUANTIZE",): quantize,
    ("CONV_2D",): conv,
    ("PAD", "CONV_2D"): conv,
    ("DEPTHWISE_CONV_2D",): depthwise,
    ("PAD", "DEPTHWISE_CONV_2D"): depthwise,
    ("TRANSPOSE_CONV",): conv_transpose,
    ("TRANSPOSE_CONV", "SLICE"): conv_transpose,
    ("FULLY_CONNECTED",): linear,
    ("ADD",): pair(Add()),
    ("MUL",): pair(Mul()),
    ("ADD", "MUL"): hard_sigmoid_of_floats,
    ("MUL", "ADD"): hard_sigmoid_of_integers,
    ("HARD_SWISH",): alone(HardSwish()),
    ("LOGISTIC",): alone(Sigmoid()),
    ("SOFTMAX",): softmax,
    ("RELU",): alone(Activate(), "relu"),
    ("RELU6",): alone(Activate(), "relu6"),
    ("MAX_POOL_2D",): pool(MaxPool),
    ("PADV2", "MAX_POOL_2D"): pool(MaxPool),
    ("AVERAGE_POOL_2D",): pool(AveragePool),
    ("MEAN",): reduce(Mean),
    ("REDUCE_MAX",): reduce(Max),
    ("CONCATENATION",): concat,
    ("RESIZE_BILINEAR",): resize,
    ("RESIZE_NEAREST_NEIGHBOR",): resize,
    ("PAD",): pad,
    ("PADV2",): pad,
    ("RESHAPE",): reshape,
    ("SLICE",): slice_,
}
"""What the operators of one node may be, without what turns them into floats and back."""


def _nchw(data: Array) -> Array:
    return data.transpose(NCHW) if data.ndim == 4 else data


def _quantization(value: Value) -> Quantization | None:
    if value.scale is None:
        return None
    if value.kind != "int8" or value.scale.zero_point != 0 or value.scale.steps.size != 1:
        raise GraphError(f"{value.name}: is {value.kind} with zero point {value.scale.zero_point}, not symmetric int8")
    return Quantization(value.scale.steps.reshape(()))
