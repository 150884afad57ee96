"""What TensorRT's parser demands of an ONNX file as rules, each with a name, for a machine that has no parser.

It also finds what the parser lets pass and should not: scales along another axis, a scale for each channel of an
activation, an infinite scale, any opset. Where the parser is at hand, tests hold both against each other: what a rule
of `REFUSED` finds, it refuses, and what any other rule finds, it takes (tensorrt-rtx 1.7.1).

Sources: onnx-tensorrt, docs/operators.md (`x_zero_point must be zero`, `y_zero_point` must be 0, DequantizeLinear of
INT8); NVIDIA TensorRT documentation, Working with Quantized Types: an activation has one scale, a weight one for each
of its output channels. That is axis 0 of a convolution, 1 of a transposed one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeskin.errors import ContractError
from edgeskin.graph.ir import Array
from edgeskin.graph.lint import Finding
from edgeskin.graph.load import load
from edgeskin.optional import require
from edgeskin.targets.tensorrt.generations import Generation

if TYPE_CHECKING:
    import onnx

QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class _Subject:
    """What a rule looks at: a model, and the generation that it is meant for."""

    model: "onnx.ModelProto"
    generation: Generation

    @property
    def nodes(self) -> "tuple[onnx.NodeProto, ...]":
        return tuple(self.model.graph.node)

    @cached_property
    def constants(self) -> Mapping[str, Array]:
        """Every stored value by name, also what a Constant node holds."""
        numpy_helper = require("onnx.numpy_helper")
        found = {each.name: numpy_helper.to_array(each) for each in self.model.graph.initializer}
        for node in self.nodes:
            held = next((each for each in node.attribute if each.name == "value"), None)
            if node.op_type == "Constant" and held is not None:
                found[node.output[0]] = numpy_helper.to_array(held.t)
        return found

    @cached_property
    def opset(self) -> int:
        return max((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), default=0)

    def quantizing(self) -> "Iterator[onnx.NodeProto]":
        return (node for node in self.nodes if node.op_type in QUANTIZING)

    def scales(self) -> "Iterator[tuple[onnx.NodeProto, Array]]":
        """Every node that quantizes or dequantizes by stored scales, and these."""
        return ((node, self.constants[node.input[1]]) for node in self.quantizing() if node.input[1] in self.constants)

    def axis(self, node: "onnx.NodeProto", rank: int) -> int:
        """The axis along which a node has its scales; 1 where it does not say. Source: ONNX, Operators.md."""
        said = next((int(each.i) for each in node.attribute if each.name == "axis"), 1)
        return said + rank if said < 0 else said

    def weight_axes(self, node: "onnx.NodeProto") -> set[int]:
        """The axes of the output channels in all that reads a node's result as its weight; none for no weight."""
        readers = (each for each in self.nodes if each.input[1:2] == [node.output[0]])
        return {axis for each in readers if (axis := _output_axis(each)) is not None}


def _output_axis(node: "onnx.NodeProto") -> int | None:
    """The axis of the output channels in a node's weight, None for a node without one."""
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1, "MatMul": 1}.get(node.op_type)


_Broken: TypeAlias = tuple[str, str]
"""The name of a node, or of the input at fault, and what to do about it."""
_Rule: TypeAlias = Callable[[_Subject], Iterator[_Broken]]


def lint(model: "onnx.ModelProto", generation: Generation) -> tuple[Finding, ...]:
    """Judge a model by every rule of a generation; nothing found means that its parser should take it as we mean it."""
    subject = _Subject(model, generation)
    return tuple(Finding(name, node, message) for name, rule in RULES.items() for node, message in rule(subject))


def check(path: Path, generation: Generation) -> None:
    """Raises: ContractError that lists every finding in a file; GraphError where it cannot be read."""
    findings = lint(load(path), generation)
    if findings:
        told = "\n".join(f"  {each}" for each in findings)
        raise ContractError(f"{path}: is not for TensorRT {generation.name}:\n{told}")


# --- what the parser refuses ---


def _zero_point(subject: _Subject) -> Iterator[_Broken]:
    for node in subject.quantizing():
        zeros = subject.constants.get(node.input[2]) if len(node.input) > 2 else None
        if zeros is not None and np.any(zeros):
            yield node.name, f"has the zero point {zeros.flat[np.flatnonzero(zeros)[0]]}; TensorRT knows 0 alone"


def _int8_stored(subject: _Subject) -> Iterator[_Broken]:
    for node in subject.quantizing():
        stored = subject.constants.get(node.input[0])
        if node.op_type == "DequantizeLinear" and stored is not None and stored.dtype != np.int8:
            advice = "; store a bias as float32 on the integer grid" if stored.dtype == np.int32 else ""
            yield node.name, f"holds {stored.dtype}; TensorRT dequantizes int8{advice}"


def _float32_scale(subject: _Subject) -> Iterator[_Broken]:
    for node, scale in subject.scales():
        if scale.dtype != np.float32:
            yield node.name, f"has a scale of {scale.dtype}; what it meets is float32, and so must be the scale"


def _positive_scale(subject: _Subject) -> Iterator[_Broken]:
    for node, scale in subject.scales():
        wrong = scale[~np.greater(scale, 0)]  # also what is no number
        if wrong.size:
            yield node.name, f"has the scale {float(wrong.flat[0])}; scales are above 0"


# --- what the parser lets pass ---


def _int8_activation(subject: _Subject) -> Iterator[_Broken]:
    """The parser takes a uint8 zero point of 0 and quantizes to int8: what is above 127 is then saturated there."""
    for node in subject.quantizing():
        zeros = subject.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
        if zeros is not None and zeros.dtype != np.int8 and node.input[0] not in subject.constants:
            yield node.name, f"quantizes to {zeros.dtype}; TensorRT makes int8 of it. Give it a zero point of int8"


def _finite_scale(subject: _Subject) -> Iterator[_Broken]:
    for node, scale in subject.scales():
        if np.any(scale == np.inf):
            yield node.name, "has an infinite scale; what it gives is no number"


def _stored_scale(subject: _Subject) -> Iterator[_Broken]:
    for node in subject.quantizing():
        if node.input[1] not in subject.constants:
            yield node.name, f"computes its scale {node.input[1]}; store it in the file"


def _weight_axis(subject: _Subject) -> Iterator[_Broken]:
    for node, scale in subject.scales():
        weight = subject.constants.get(node.input[0])
        expected = subject.weight_axes(node)
        if weight is None or not expected or scale.size < 2:
            continue
        axis = subject.axis(node, weight.ndim)
        if {axis} != expected or scale.shape != weight.shape[axis : axis + 1]:
            wanted = " and ".join(f"{weight.shape[each]} along axis {each}" for each in sorted(expected))
            yield node.name, f"has {scale.size} scales along axis {axis}; what reads this weight has {wanted}"


def _activation_scale(subject: _Subject) -> Iterator[_Broken]:
    for node, scale in subject.scales():
        if scale.size > 1 and not (node.input[0] in subject.constants and subject.weight_axes(node)):
            yield node.name, f"has {scale.size} scales; an activation has one for the whole tensor"


def _opset(subject: _Subject) -> Iterator[_Broken]:
    generation = subject.generation
    if subject.opset > generation.largest_opset:
        told = f"TensorRT {generation.name} reads up to {generation.highest_opset} ({generation.opset_source})"
        if generation.highest_opset is None:
            told = f"no source says what TensorRT {generation.name} reads"
        yield "the file", f"is opset {subject.opset}; {told}. Write it with opset {generation.opset}"


def _uint8_image(subject: _Subject) -> Iterator[_Broken]:
    """8.5 learned to take uint8 (onnx-tensorrt, Changelog.md), but its table lists no uint8 for Cast, nor for Sub."""
    uint8 = require("onnx").TensorProto.UINT8
    if subject.generation.typing == "flags":
        for each in subject.model.graph.input:
            if each.type.tensor_type.elem_type == uint8:
                yield (
                    each.name,
                    f"is uint8, which nothing of TensorRT {subject.generation.name} computes with; hand it float32",
                )


REFUSED: Mapping[str, _Rule] = {
    "zero-point": _zero_point,
    "int8-stored": _int8_stored,
    "float32-scale": _float32_scale,
    "positive-scale": _positive_scale,
}
"""What the parser refuses as well."""

PASSED: Mapping[str, _Rule] = {
    "int8-activation": _int8_activation,
    "finite-scale": _finite_scale,
    "stored-scale": _stored_scale,
    "weight-axis": _weight_axis,
    "activation-scale": _activation_scale,
    "opset": _opset,
    "uint8-image": _uint8_image,
}
"""What it lets pass, at least in a newer version."""

RULES: Mapping[str, _Rule] = {**REFUSED, **PASSED}
