"""Lift a program of ours back to a network: what its operators really say, under the names that its note remembers.

Every operator is read by MIL's own meaning, not by what lowering would have written: a wrong padding, scale, axis or
weight in the package gives another network, and so does a pass that changed one. What is not one of the known forms is
an error with its node's name.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    BATCH,
    Activate,
    Activation,
    Network,
    Node,
    Quantization,
    Requantize,
    Shape,
    Tensor,
)
from edgeskin.targets.coreml.lift.group import Group, Read
from edgeskin.targets.coreml.lift.rules import RULES
from edgeskin.targets.coreml.lift.types import Types
from edgeskin.targets.coreml.lower.site import NUMBER, own_name
from edgeskin.targets.coreml.note import Note
from edgeskin.targets.coreml.program import Operation, Program, Value

_DAMAGE = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)
"""What reading raises where a damaged file says anything of itself."""
_ACTIVATIONS: Mapping[str, Activation] = {"relu": "relu", "relu6": "relu6"}


def lift(program: Program, note: Note) -> Network:
    """The network that a program of ours computes. Raises: GraphError that names the node it cannot read."""
    try:
        return _Lifting(program, note).network()
    except _DAMAGE as error:
        raise GraphError("says what no program of ours says; copy or export the package again") from error


class _Lifting:
    """One program on its way back into a network."""

    def __init__(self, program: Program, note: Note) -> None:
        self.program = program
        self.note = note
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = dict(program.inputs)
        self.types = Types(program, self.values, note.compute)
        self.same: dict[str, str] = {}
        """Values that are another value in another form -> that value: what was cast, and floats of stored integers."""
        self.scales: dict[str, float] = {}
        """The scale at which a value's integers were made."""

    def network(self) -> Network:
        program, note = self.program, self.note
        for name, value in program.inputs.items():
            self.tensors[name] = Tensor(name, _open(value.shape))
        for owner, operations in self._groups():
            self._append(owner, operations)
        self.types.demand_features()
        outputs = tuple(note.tensor(name) for name in program.outputs)
        return Network(tuple(program.inputs), outputs, tuple(self.nodes), self.tensors)

    def _groups(self) -> Iterator[tuple[str, list[Operation]]]:
        """The operators of each node, in order; those that hand in metadata are read here and now."""
        waiting: list[Operation] = []
        for operation in self.program.operations:
            self.types.demand(operation)
            self.values[operation.output.name] = operation.output
            if not waiting and self._enters(operation):
                continue
            waiting.append(operation)
            owner = self.note.nodes.get(operation.output.name)
            if owner is not None:
                yield owner, waiting
                waiting = []
        if waiting:
            raise GraphError(f"{waiting[-1].output.name}: belongs to no node; export it again")

    def _enters(self, operation: Operation) -> bool:
        """Whether it takes in metadata: casts it to the program's float, or quantizes it."""
        read = self._source(next(iter(operation.inputs.get("x", operation.inputs.get("input", ()))), ""))
        if len(self.program.inputs.get(read, Value("", "", (0,) * 4)).shape) != 2:
            return False
        if operation.kind == "cast":
            self.same[operation.output.name] = read
            return True
        if operation.kind == "quantize" and operation.output.name == own_name(read, "quantized"):
            self.same[operation.output.name] = read
            self.tensors[read] = Tensor(read, self.tensors[read].shape, self._quantization(operation))
            self.scales[read] = self._scale(operation)
            return True
        return False

    # --- nodes ---

    def _append(self, owner: str, operations: list[Operation]) -> None:
        end = operations[-1]
        core = [each for each in operations if not self._is_a_view(owner, each, end)]
        quantization = None
        if core and core[-1].kind == "quantize":
            quantization = self._quantization(self._pop(owner, core))
        if core and core[-1].kind == "cast":
            self.same.setdefault(self._read_by(self._pop(owner, core)), end.output.name)
        name = self.note.tensor(end.output.name)
        read = self._read(owner, core, end)
        inputs = tuple(self._tensor(given).name for given in read.inputs)
        self.tensors[name] = Tensor(name, _open(end.output.shape), quantization)
        if quantization is not None:
            self.scales[end.output.name] = float(quantization.scale)
        self.nodes.append(Node(owner, read.operator, inputs, name, read.activation))

    def _pop(self, owner: str, core: list[Operation]) -> Operation:
        """The last operator, which reads what the one before it computes, be it cast."""
        last = core.pop()
        if core and self._source(self._read_by(last)) != core[-1].output.name:
            raise GraphError(f"{owner}: its {last.kind} does not read its {core[-1].kind}; export it again")
        return last

    def _is_a_view(self, owner: str, operation: Operation, end: Operation) -> bool:
        """Whether an operator only hands integers, or an input's float32, on as the program's floats."""
        if operation is end:
            return False
        if operation.kind == "dequantize":
            self.same[operation.output.name] = self._dequantized(owner, operation)
            return True
        if operation.kind == "cast" and self.note.compute == operation.output.kind:
            self.same[operation.output.name] = self._read_by(operation)
            return True
        return False

    def _dequantized(self, owner: str, operation: Operation) -> str:
        """What a `dequantize` reads, which it must do at the scale of those integers."""
        source = self._read_by(operation)
        if self.scales.get(self._source(source)) != self._scale(operation):
            raise GraphError(f"{owner}: reads {source} at another scale than it was written with; export it again")
        return source

    def _read(self, owner: str, core: list[Operation], end: Operation) -> Read:
        """What the operators say between integers and integers."""
        if [each.kind for each in core] == ["dequantize"]:
            return Read(Requantize(), (self._dequantized(owner, core[0]),))
        if not core:
            source = self._read_by(end)
            if end.kind != "quantize" and self._source(source) not in self.scales:
                raise GraphError(f"{owner}: computes nothing; export it again")
            return Read(Requantize(), (source,))
        activation = _ACTIVATIONS.get(core[-1].kind)
        if activation is not None:
            last = self._pop(owner, core)
            if not core:
                return Read(Activate(), (self._read_by(last),), activation)
        group = Group(self.program, self.values, owner, core)
        rule = RULES.get(group.kinds)
        if rule is None:
            raise group.refuse(f"{', '.join(group.kinds)} is no form that edgeskin writes")
        read = rule(group)
        return Read(read.operator, read.inputs, activation)

    def _read_by(self, operation: Operation) -> str:
        """What an operator of one input reads."""
        (name,) = operation.inputs["input" if operation.kind in ("quantize", "dequantize") else "x"]
        return name

    # --- tensors ---

    def _source(self, name: str) -> str:
        """The value that another is a form of."""
        seen = {name}
        while name in self.same:
            name = self.same[name]
            if name in seen:
                raise GraphError(f"{name}: is made of itself; export it again")
            seen.add(name)
        return name

    def _tensor(self, identifier: str) -> Tensor:
        """What a node reads, as the network has it."""
        identifier = self._source(identifier)
        name = self.note.tensor(identifier.removesuffix(own_name("", NUMBER)))
        if name not in self.tensors:
            self.tensors[name] = self._constant(identifier, name)
        return self.tensors[name]

    def _constant(self, identifier: str, name: str) -> Tensor:
        stored = self.program.integers.get(identifier)
        if stored is None:
            data = self.program.constants.get(identifier)
            if not isinstance(data, np.ndarray) or str(data.dtype) != self.note.compute:
                raise GraphError(f"{name}: is no constant of {self.note.compute}; export it again")
            return Tensor(name, data.shape, None, data.astype(np.float32))
        if str(stored.data.dtype) != "int8" or stored.zero_points.any() or stored.kind != self.note.compute:
            raise GraphError(f"{name}: is not symmetric int8 that stands for {self.note.compute}; export it again")
        data = stored.data.reshape(()) if identifier.endswith(own_name("", NUMBER)) else stored.data
        axis = stored.axis if stored.steps.ndim else None
        return Tensor(name, data.shape, Quantization(stored.steps, axis), data)

    def _quantization(self, operation: Operation) -> Quantization:
        return Quantization(np.asarray(self._scale(operation), np.float32))

    def _scale(self, operation: Operation) -> float:
        """The one scale of a `quantize` or `dequantize`, whose zero point is 0."""
        name = operation.output.name
        (given,) = operation.inputs["scale"]
        scale = self.program.constants[given]
        zero = [self.program.constants[each] for each in operation.inputs.get("zero_point", ())]
        if not isinstance(scale, np.ndarray) or scale.size != 1 or any(np.any(each) for each in zero):
            raise GraphError(f"{name}: is not quantized symmetrically by one scale; export it again")
        return float(scale.reshape(-1)[0])


def _open(shape: tuple[int, ...]) -> Shape:
    """The network's shape of a computed value, whose first axis is the batch, one picture in a program."""
    if shape[0] != 1:
        raise GraphError(f"takes {shape[0]} pictures at a time, not one; export it again")
    return (BATCH, *shape[1:])
