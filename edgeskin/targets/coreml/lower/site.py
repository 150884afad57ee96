"""A program that grows, and one node in its place: what a rule of lowering may ask and write.

The builder of MIL has no types, so its values are `Any` here: a `Var` with `name`, `shape` and `dtype`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeskin.errors import TargetError
from edgeskin.graph.ir import Array, Network, Node, Pads, Quantization, Tensor
from edgeskin.optional import require

ROLE = "__"
"""What stands before the role in the name of a value that is the program's own; no identifier holds it."""
NUMBER = "number"
"""The role of a constant of rank 0, which is stored as one of rank 1: nothing smaller can be dequantized."""


def builder() -> Any:
    """The package's builder of MIL operators."""
    return require("coremltools.converters.mil").Builder


def fixed(tensor: Tensor) -> tuple[int, ...]:
    """The shape in the program, which takes one picture at a time."""
    return (1, *(int(size) for size in tensor.shape[1:]))


def own_name(identifier: str, role: str) -> str:
    """The name of a value that is the program's own: by what it serves, and as what."""
    return f"{identifier}{ROLE}{role}"


def identifiers(names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """An identifier of MIL for each name, all different: itself where it is one, else with other characters replaced.

    taken: names that must stay as they are.
    """
    found = {name: name for name in taken}
    used = {name.lower() for name in found}
    for name in names:
        if name in found:
            continue
        plain = re.sub(r"_{2,}", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_")
        stem = plain if plain[:1].isalpha() else f"v_{plain}".rstrip("_")
        candidate, number = stem, 1
        while candidate.lower() in used:
            number += 1
            candidate = f"{stem}_{number}"
        used.add(candidate.lower())
        found[name] = candidate
    return found


class Draft:
    """A program that grows: values by the network's names, each as the network stores it.

    half: what is float is float16. identifiers: of every tensor of the network.
    """

    def __init__(self, network: Network, half: bool) -> None:
        self.network = network
        self.half = half
        self.kind: type[np.float16] | type[np.float32] = np.float16 if half else np.float32
        self.build = builder()
        self.values: dict[str, Any] = {}
        self.identifiers = identifiers(network.tensors, (*network.inputs, *network.outputs))
        self._reals: dict[str, Any] = {}

    def real(self, tensor: Tensor) -> Any:
        """A computed tensor as floats: dequantized, once for all who read it, where it is integers."""
        if tensor.quantization is None:
            return self.values[tensor.name]
        if tensor.name not in self._reals:
            name = own_name(self.identifiers[tensor.name], "real")
            self._reals[tensor.name] = self.dequantize(tensor, name)
        return self._reals[tensor.name]

    def dequantize(self, tensor: Tensor, name: str) -> Any:
        """Its integers as floats."""
        assert tensor.quantization is not None
        return self.build.dequantize(input=self.values[tensor.name], scale=self.scale(tensor.quantization), name=name)

    def quantize(self, value: Any, quantization: Quantization, name: str) -> Any:
        """Floats as integers."""
        return self.build.quantize(input=value, scale=self.scale(quantization), output_dtype="int8", name=name)

    def scale(self, quantization: Quantization) -> Any:
        """One scale for a whole tensor, in the program's float."""
        return self.floats(quantization.scale.reshape(()), "a scale")

    def constant(self, tensor: Tensor) -> Any:
        """A tensor that the file holds: floats, or integers with their scale."""
        if tensor.name not in self.values:
            assert tensor.data is not None
            name = self.identifiers[tensor.name]
            if tensor.quantization is None:
                self.values[tensor.name] = self.build.const(val=self.floats(tensor.data, tensor.name), name=name)
            else:
                self.values[tensor.name] = self._integers(tensor.data, tensor.quantization, name)
        return self.values[tensor.name]

    def _integers(self, data: Array, quantization: Quantization, name: str) -> Any:
        axis = quantization.axis
        if not self.floats(quantization.scale, name).all():
            raise TargetError(
                f"{name}: has a scale of {quantization.scale.min():g}, below float16; build it in float32"
            )
        return self.build.constexpr_affine_dequantize(
            quantized_data=data.reshape(1) if data.ndim == 0 else data,
            zero_point=np.int8(0),
            scale=self.floats(quantization.scale if axis is not None else quantization.scale.reshape(()), name),
            axis=np.int32(axis or 0),
            name=own_name(name, NUMBER) if data.ndim == 0 else name,
        )

    def floats(self, data: Array, name: str) -> Any:
        """Numbers in the program's float. Raises: TargetError where float16 cannot hold them."""
        with np.errstate(over="ignore"):
            found = data.astype(self.kind)
        if not np.isfinite(found).all():
            raise TargetError(f"{name}: holds {np.abs(data).max():g}, beyond float16; build it in float32")
        return found


@dataclass(frozen=True)
class Site:
    """One node in its place: the tensors it reads and writes, and how to write operators for it."""

    draft: Draft
    node: Node
    tensors: tuple[Tensor, ...]
    result: Tensor

    @property
    def build(self) -> Any:
        """The builder of operators."""
        return self.draft.build

    def refuse(self, reason: str) -> TargetError:
        """The error for what this node asks and the format cannot hold; the reason says what to do."""
        return TargetError(f"{self.node.name} ({self.node.kind}): {reason}")

    def x(self, position: int = 0) -> Any:
        """An input as floats."""
        tensor = self.tensors[position]
        return self.draft.real(tensor) if tensor.data is None else self.draft.constant(tensor)

    def name(self, role: str) -> str:
        """The name of a value inside this node."""
        return own_name(self.draft.identifiers[self.result.name], role)

    def number(self, value: float) -> Any:
        """A number in the program's float."""
        return self.draft.kind(value)


def pad_pairs(pads: Pads) -> list[int]:
    """Pads as MIL orders them: before and behind, axis by axis."""
    top, left, bottom, right = pads
    return [top, bottom, left, right]
