"""Whether the types of a program fit together, as Core ML's compiler demands it, and are those of a program of ours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.targets.base import Compute
from edgeskin.targets.coreml.program import Operation, Program, Value

_FLOATS: Mapping[str, str] = {"fp16": "float16", "fp32": "float32"}
"""The types of a program's floats, by MIL's word for each."""
_FACTORS = ("scale_factor_height", "scale_factor_width")
"""What is float and sets an operator up; it is float32 whatever the program computes in."""
_AT_THE_DOOR = ("mul", "add")
"""The operators that compute in the float32 of a picture."""
_KEEPS_SHAPE = ("quantize", "dequantize", "cast", "relu", "relu6")

_WINDOW = "x strides pad_type pad"
_SAYS: Mapping[str, frozenset[str]] = {
    kind: frozenset(words.split())
    for kind, words in {
        "conv": f"{_WINDOW} weight bias dilations groups",
        "conv_transpose": f"{_WINDOW} weight bias dilations groups output_shape",
        "linear": "x weight bias",
        "max_pool": f"{_WINDOW} kernel_sizes ceil_mode",
        "avg_pool": f"{_WINDOW} kernel_sizes ceil_mode exclude_padding_from_average",
        "add": "x y",
        "mul": "x y",
        "relu": "x",
        "relu6": "x",
        "sigmoid": "x",
        "sigmoid_hard": "x alpha beta",
        "softmax": "x axis",
        "reduce_mean": "x axes keep_dims",
        "reduce_max": "x axes keep_dims",
        "concat": "values axis interleave",
        "upsample_bilinear": "x scale_factor_height scale_factor_width align_corners",
        "upsample_nearest_neighbor": "x scale_factor_height scale_factor_width",
        "resize_bilinear": "x target_size_height target_size_width sampling_mode",
        "pad": "x pad mode constant_val",
        "reshape": "x shape",
        "slice_by_size": "x begin size",
        "cast": "x dtype",
        "quantize": "input scale output_dtype",
        "dequantize": "input scale",
    }.items()
}
"""All that an operator of ours may say, by its kind: what else MIL lets it say might change what it computes."""


@dataclass(frozen=True)
class Types:
    """What there is in a program, and the float that it computes in. values: what was computed so far, or handed in."""

    program: Program
    values: Mapping[str, Value]
    compute: Compute

    def demand(self, operation: Operation) -> None:
        """Raises: GraphError unless an operator reads what there is already, in one float, and makes that.

        It is the program's float, but at the door; `quantize` and `cast` make what they say.
        """
        output, kind = operation.output, operation.kind
        more = set(operation.inputs) - _SAYS.get(kind, frozenset())
        if more:
            words = ", ".join(sorted(map(repr, more)))
            raise GraphError(f"{output.name}: a {kind} says {words}, which no program of ours says; export it again")
        read = {name: self._type(name, output.name) for name in _names(operation)}
        for name, found in read.items():
            if found == "int8" and name in self.values and kind != "dequantize":
                raise GraphError(f"{output.name}: computes on the integers of {name}; export it again")
        floats = {found for found in read.values() if found in _FLOATS.values()}
        if kind == "cast":
            right = output.kind == self._said(operation, "dtype") and output.kind in _FLOATS.values()
        elif kind == "quantize":
            right = output.kind == self._said(operation, "output_dtype") == "int8" and floats == {self.compute}
        else:
            right = floats == {output.kind} and (output.kind == self.compute or kind in _AT_THE_DOOR)
        if not right:
            raise GraphError(f"{output.name}: makes {output.kind} of {', '.join(sorted(floats))}; export it again")
        if kind in _KEEPS_SHAPE and output.shape not in {
            self.values[name].shape for name in read if name in self.values
        }:
            raise GraphError(f"{output.name}: has another shape than what it reads; export it again")

    def _type(self, name: str, reader: str) -> str:
        if name in self.values:
            return self.values[name].kind
        if name in self.program.integers:
            return self.program.integers[name].kind
        if name not in self.program.constants:
            raise GraphError(f"{reader}: reads {name}, which nothing computes; export it again")
        constant = self.program.constants[name]
        return str(constant.dtype) if isinstance(constant, np.ndarray) else "word"

    def _said(self, operation: Operation, word: str) -> str:
        """The type that an operator says it makes."""
        (name,) = operation.inputs[word]
        said = str(self.program.constants[name])
        return _FLOATS.get(said, said)

    def demand_features(self) -> None:
        """Raises: GraphError unless an app is told the program's own inputs and outputs, in float32, a picture as RGB.

        The program has been read to its end.
        """
        inputs = tuple(self.program.inputs.values())
        ends = (*inputs, *(self.values[name] for name in self.program.outputs))
        pictures = {value.name for value in inputs if len(value.shape) == 4}
        told = tuple(replace(end, kind="rgb") if end.name in pictures else end for end in ends)
        if self.program.features != told or {end.kind for end in ends} != {"float32"}:
            raise GraphError("tells an app of other inputs or outputs than its program has; export it again")


def _names(operation: Operation) -> tuple[str, ...]:
    """What an operator reads to compute with, or to know what it makes."""
    return tuple(name for word, given in operation.inputs.items() if word not in _FACTORS for name in given)
