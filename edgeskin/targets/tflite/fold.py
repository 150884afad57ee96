"""Neighbouring pixels as one, where a convolution has fewer outputs than a kernel computes at a time.

XNNPACK multiplies pixels by blocks of 8 output channels or more, whatever is asked for. A 1×1 convolution to one
channel, as a mask's logits are, throws away seven eighths of that. n neighbours in a row are n·C channels of one pixel
by a RESHAPE, which moves nothing in NHWC; a weight with n copies along its diagonal gives n·O outputs, which a RESHAPE
takes apart again. The sums are the same, and so is every integer: 0.23 ms became 0.05 ms for 16 → 1 at 112² (AVX-512).
"""

import re
from dataclasses import replace

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Array
from edgeskin.targets.tflite.program import Operation, Program, Scale, Value, compact

OUTPUTS = 8
"""As many as every kernel computes at once: with so few no multiplication is added, on a phone neither."""
PIXELS = 1024
"""Smaller maps take no time worth a RESHAPE."""
_FOLDED = re.compile(r"(.*):folded_(\d+)")


def fold(program: Program) -> Program:
    """The same integers with narrow 1×1 convolutions folded."""
    return _Folding(program).folded()


def unfold(program: Program) -> Program:
    """The program before `fold`. Raises: GraphError where a folded convolution is not what it is folded from."""
    folding = _Folding(program)
    before = folding.unfolded()
    again = _says(fold(before))
    for owner, words in _says(program).items():
        if owner in folding.owners and again[owner] != words:
            raise GraphError(f"{owner}: its folded weight is not the same convolution for each pixel")
    return before


def _says(program: Program) -> dict[str, list[object]]:
    """What the operators of each node say, whatever the order of tensors."""
    words: dict[str, list[object]] = {}
    for operation in program.operations:
        tensors = [program.tensors[index] for index in (*operation.inputs, *operation.outputs)]
        words.setdefault(operation.owner, []).append((operation.kind, operation.options, tensors))
    return words


def pixels_of(weight: str) -> int:
    """How many pixels a weight of that name takes at once: 1, where it is not folded."""
    named = _FOLDED.fullmatch(weight)
    return 1 if named is None else int(named[2])


class _Folding:
    """A program whose operators are written anew, with the tensors that they need besides."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tensors = list(program.tensors)
        self.places = {value.name: place for place, value in enumerate(program.tensors)}
        self.operations: list[Operation] = []
        self.owners: set[str] = set()
        """The nodes whose convolutions were unfolded."""

    def _finished(self) -> Program:
        return compact(replace(self.program, tensors=tuple(self.tensors), operations=tuple(self.operations)))

    def _put(self, value: Value) -> int:
        if value.name not in self.places:
            self.tensors.append(value)
            self.places[value.name] = len(self.tensors) - 1
        return self.places[value.name]

    # --- there ---

    def folded(self) -> Program:
        """Every convolution that is worth it."""
        for operation in self.program.operations:
            together = self._together(operation)
            if together == 1:
                self.operations.append(operation)
            else:
                self._fold(operation, together)
        return self._finished()

    def _together(self, operation: Operation) -> int:
        """How many pixels become one: 1 where it is no narrow 1×1 convolution of integers on a large map."""
        if operation.kind != "CONV_2D":
            return 1
        x, weight = (self.tensors[index] for index in operation.inputs[:2])
        outputs, *kernel, inputs = weight.shape
        _, height, width, channels = x.shape
        plain = (operation.options["StrideH"], operation.options["StrideW"]) == (1, 1) and inputs == channels
        if x.kind != "int8" or kernel != [1, 1] or not plain or height * width < PIXELS:
            return 1
        return next(n for n in (8, 4, 2, 1) if (n * outputs <= OUTPUTS and width % n == 0) or n == 1)

    def _fold(self, operation: Operation, n: int) -> None:
        x, y = operation.inputs[0], operation.outputs[0]
        weight, bias = (self.tensors[index] for index in operation.inputs[1:])
        assert weight.data is not None
        outputs, _, _, inputs = weight.shape
        diagonal = np.zeros((n * outputs, 1, 1, n * inputs), np.int8)
        for block in range(n):
            rows, columns = (slice(block * size, (block + 1) * size) for size in (outputs, inputs))
            diagonal[rows, :, :, columns] = weight.data
        constants = (_copies(weight, n, diagonal), _copies(bias, n, np.tile(_data(bias), n)))
        wide = self._put(_row(self.tensors[x], n, f"{operation.owner}:folded"))
        many = self._put(_row(self.tensors[y], n, f"{operation.owner}:not_unfolded"))
        self._move(operation.owner, x, wide)
        places = (self._put(constant) for constant in constants)
        self.operations.append(replace(operation, inputs=(wide, *places), outputs=(many,)))
        self._move(operation.owner, many, y)

    def _move(self, owner: str, source: int, target: int) -> None:
        shape = self.tensors[target].shape
        sizes = self._put(Value(f"{self.tensors[target].name}:shape", (4,), "int32", None, np.asarray(shape, np.int32)))
        self.operations.append(Operation("RESHAPE", (source, sizes), (target,), {"NewShape": shape}, owner))

    # --- and back ---

    def unfolded(self) -> Program:
        """Every folded convolution as it was."""
        operations = iter(self.program.operations)
        for operation in operations:
            weight = self.tensors[operation.inputs[-2]] if operation.kind == "CONV_2D" else None
            named = None if weight is None else _FOLDED.fullmatch(weight.name)
            if named is None:
                self.operations.append(operation)
                continue
            before = self.operations.pop() if self.operations else operation
            behind = next(operations, operation)
            if (before.kind, behind.kind) != ("RESHAPE", "RESHAPE"):
                raise GraphError(f"{operation.owner}: its folded weight stands between no two RESHAPEs")
            self.owners.add(operation.owner)
            constants = (self._put(self._single(index, int(named[2]))) for index in operation.inputs[1:])
            self.operations.append(replace(operation, inputs=(before.inputs[0], *constants), outputs=behind.outputs))
        return self._finished()

    def _single(self, index: int, n: int) -> Value:
        """The constant of which a folded one holds n copies."""
        value = self.tensors[index]
        assert value.scale is not None
        rows = value.shape[0]
        data = _data(value)[: rows // n]
        if data.ndim == 4:
            data = data[..., : data.shape[3] // n]
        scale = replace(value.scale, steps=value.scale.steps[: rows // n])
        return Value(value.name.removesuffix(f":folded_{n}"), data.shape, value.kind, scale, data)


def _row(value: Value, n: int, name: str) -> Value:
    """A map whose pixels are n neighbours each."""
    _, height, width, channels = value.shape
    return replace(value, name=name, shape=(1, height, width // n, n * channels))


def _data(value: Value) -> Array:
    assert value.data is not None, f"{value.name} is stored"
    return value.data


def _copies(value: Value, n: int, data: Array) -> Value:
    """A constant of a folded convolution, its scales n times over."""
    assert value.scale is not None
    steps = value.scale.steps
    many = Scale(np.tile(steps, n) if steps.size > 1 or value.shape[0] == 1 else steps, 0, value.scale.axis)
    return Value(f"{value.name}:folded_{n}", data.shape, value.kind, many, data)
