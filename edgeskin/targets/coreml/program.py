"""An ML program as data: what a package's specification says, its constants read from beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.graph.ir import Array

Constant: TypeAlias = Array | str
"""Numbers or truth values in the shape they have, or a word."""


@dataclass(frozen=True)
class Value:
    """A value that is computed or handed in. kind: `float32`, `float16`, `int8` and so on, as NumPy has it."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operator. inputs: names of values and constants by the operator's own word for each; several for a list."""

    kind: str
    inputs: Mapping[str, tuple[str, ...]]
    output: Value


@dataclass(frozen=True, eq=False)
class Integers:
    """Stored integers that stand for floats: scale × (integer − zero point).

    kind: of the floats. steps: () for all, or one for each place of `axis`; float32, as they are in the file.
    """

    data: Array
    kind: str
    steps: npt.NDArray[np.float32]
    axis: int
    zero_points: Array


@dataclass(frozen=True)
class Program:
    """A whole program, its operators in the order in which they run.

    features: its inputs and outputs as the model describes them to an app; a picture's kind is its order of colours,
    such as `rgb`, an array's that of its numbers. notes: the user's metadata of the model.
    """

    inputs: Mapping[str, Value]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    constants: Mapping[str, Constant]
    integers: Mapping[str, Integers]
    features: tuple[Value, ...]
    notes: Mapping[str, str]
