"""The operators that carry out one node: what a rule of lifting may ask of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Activation, Array, Operator, Pads, Pair
from edgeskin.targets.coreml.program import Operation, Program, Value

Inputs: TypeAlias = tuple[str, ...]
"""What a node reads: values and constants by identifier."""


@dataclass(frozen=True)
class Read:
    """What a node's operators were read as: its operator, what it reads, and the activation behind it."""

    operator: Operator
    inputs: Inputs
    activation: Activation | None = None


class Group:
    """The operators that carry out one node, without what turns integers into floats and back.

    values: everything computed so far, by identifier.
    """

    def __init__(self, program: Program, values: Mapping[str, Value], owner: str, operations: list[Operation]) -> None:
        self.program = program
        self.values = values
        self.owner = owner
        self.operations = operations
        self.kinds = tuple(operation.kind for operation in operations)

    def refuse(self, reason: str) -> GraphError:
        """The error for a group that says something the network cannot hold."""
        return GraphError(f"{self.owner}: {reason}; export it again, or compare it with the one you exported")

    def demand(self, holds: object, reason: str) -> None:
        """Raises: GraphError unless it holds."""
        if not holds:
            raise self.refuse(reason)

    def name(self, operation: Operation, word: str) -> str:
        """The one thing that an operator reads by that word."""
        given = operation.inputs.get(word, ())
        self.demand(len(given) == 1, f"its {operation.kind} has {len(given)} values for {word}")
        return given[0]

    def shape(self, operation: Operation, word: str = "x") -> tuple[int, ...]:
        """The shape of a computed value that it reads."""
        name = self.name(operation, word)
        self.demand(name in self.values, f"its {operation.kind} reads {name}, which nothing computes")
        return self.values[name].shape

    def array(self, operation: Operation, word: str) -> Array:
        """A constant of numbers."""
        found = self.program.constants.get(self.name(operation, word))
        if not isinstance(found, np.ndarray):
            raise self.refuse(f"{word} of its {operation.kind} is no constant of numbers")
        return found

    def numbers(self, operation: Operation, word: str) -> tuple[int, ...]:
        """A constant of whole numbers."""
        found = self.array(operation, word)
        self.demand(found.dtype == np.int32, f"{word} of its {operation.kind} is {found.dtype}, not whole numbers")
        return tuple(int(number) for number in found.reshape(-1))

    def number(self, operation: Operation, word: str) -> float:
        """A constant of one number."""
        found = self.array(operation, word)
        self.demand(found.size == 1, f"{word} of its {operation.kind} is {found.size} numbers, not one")
        return float(found.reshape(-1)[0])

    def truth(self, operation: Operation, word: str) -> bool:
        """A constant that is true or false; false where it is not said."""
        if word not in operation.inputs:
            return False
        found = self.array(operation, word)
        self.demand(found.dtype == np.bool_ and found.size == 1, f"{word} of its {operation.kind} is no truth value")
        return bool(found.reshape(-1)[0])

    def axes(self, operation: Operation, word: str, rank: int) -> tuple[int, ...]:
        """A constant of axes, none of them counted from the end."""
        found = self.numbers(operation, word)
        self.demand(all(-rank <= axis < rank for axis in found), f"{word} of its {operation.kind} is {found}")
        return tuple(axis % rank for axis in found)

    def word(self, operation: Operation, word: str) -> str:
        """A constant that is a word."""
        found = self.program.constants.get(self.name(operation, word))
        if not isinstance(found, str):
            raise self.refuse(f"{word} of its {operation.kind} is no word")
        return found

    def pair(self, operation: Operation, word: str) -> Pair:
        """A constant of two whole numbers, down and across."""
        found = self.numbers(operation, word)
        self.demand(len(found) == 2, f"{word} of its {operation.kind} has {len(found)} numbers, not two")
        return found[0], found[1]

    def pads(self, operation: Operation) -> Pads:
        """The pads of a window, which are explicit in every program of ours."""
        kind = self.word(operation, "pad_type")
        self.demand(kind == "custom", f"its {operation.kind} pads by the rule {kind!r}")
        numbers = self.numbers(operation, "pad")
        self.demand(len(numbers) == 4, f"its {operation.kind} has {len(numbers)} pads")
        top, bottom, left, right = numbers
        return top, left, bottom, right
