"""A TensorFlow Lite program as data: what stands in the flatbuffer, without the flatbuffer.

Layout is NHWC, the batch is 1. Lowering writes this, the serializer turns it into bytes, the parser reads it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.graph.ir import Array

Option: TypeAlias = int | float | bool | tuple[int, ...]

ABSENT = -1
"""The index of an optional input that is left out."""


@dataclass(frozen=True, eq=False)
class Scale:
    """real = steps × (integer − zero_point).

    steps: float32 [1] for a whole tensor or [C] along `axis`.
    """

    steps: npt.NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scale)
            and (self.zero_point, self.axis) == (other.zero_point, other.axis)
            and np.array_equal(self.steps, other.steps)
        )

    def __hash__(self) -> int:
        return hash((self.steps.tobytes(), self.zero_point, self.axis))


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the program. kind: its NumPy type by name. data: its contents, None for what is computed."""

    name: str
    shape: tuple[int, ...]
    kind: str
    scale: Scale | None = None
    data: Array | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or (self.data is None) != (other.data is None):
            return False
        same = (self.name, self.shape, self.kind, self.scale) == (other.name, other.shape, other.kind, other.scale)
        return same and (self.data is None or other.data is None or np.array_equal(self.data, other.data))

    def __hash__(self) -> int:
        return hash((self.name, self.shape, self.kind, self.scale))


@dataclass(frozen=True)
class Operation:
    """One operator of the program.

    kind: TensorFlow Lite's word for it. inputs, outputs: indices of tensors. options: the fields of its options table.
    owner: the node of the network that it carries out, or part of it; empty where nobody knows.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Option] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True)
class Program:
    """A whole program, its operators in running order.

    inputs, outputs: indices of tensors by the names under which a caller finds them. notes: the entries of the file's
    own table of metadata.
    """

    tensors: tuple[Value, ...]
    operations: tuple[Operation, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    notes: Mapping[str, bytes] = field(default_factory=dict)


def compact(program: Program) -> Program:
    """Without the tensors that nothing reads or writes."""
    ends = (*program.inputs.values(), *program.outputs.values())
    inside = (index for each in program.operations for index in (*each.inputs, *each.outputs))
    used = sorted({index for index in (*ends, *inside) if index != ABSENT})
    new = {ABSENT: ABSENT} | {old: place for place, old in enumerate(used)}
    operations = (
        replace(each, inputs=tuple(new[i] for i in each.inputs), outputs=tuple(new[i] for i in each.outputs))
        for each in program.operations
    )
    return replace(
        program,
        tensors=tuple(program.tensors[index] for index in used),
        operations=tuple(operations),
        inputs={name: new[index] for name, index in program.inputs.items()},
        outputs={name: new[index] for name, index in program.outputs.items()},
    )


def nhwc(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    """The shape of a tensor of the network as the program has it: the batch is 1, channels stand last."""
    sizes = (1, *(int(size) for size in shape[1:]))
    return (sizes[0], *sizes[2:], sizes[1]) if len(sizes) == 4 else sizes


AXES = (0, 3, 1, 2)
"""Where each axis of [N, C, H, W] stands in [N, H, W, C]."""


def place(axis: int, rank: int) -> int:
    """Where an axis of the network's tensor stands in the program's."""
    return AXES[axis] if rank == 4 else axis
