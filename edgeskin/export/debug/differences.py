"""What one network says of its nodes that another does not: by the tensors they write, in words."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from edgeskin.graph.ir import Network, Node, Quantization, Tensor

_ROLES = ("input", "weight", "bias")


def differences(before: Network, after: Network) -> Mapping[str, tuple[str, ...]]:
    """By tensor, what `after` says of the node behind it that `before` does not; equal nodes are left out.

    A scale belongs to the node that writes it. Networks without a difference compute the same.
    """
    found = {node.output: tuple(_of_node(before, after, node)) for node in after.nodes}
    found |= {node.output: ("is not there",) for node in before.nodes if after.producer(node.output) is None}
    return {name: sentences for name, sentences in found.items() if sentences}


def _of_node(before: Network, after: Network, node: Node) -> Iterator[str]:
    other = before.producer(node.output)
    if other is None:
        yield "stands there besides"
        return
    if other.kind != node.kind:
        yield f"is {node.kind}, not {other.kind}"
        return
    for field in dataclasses.fields(node.operator):
        now, was = getattr(node.operator, field.name), getattr(other.operator, field.name)
        if now != was:
            yield f"{field.name} {_word(now)}, not {_word(was)}"
    if node.activation != other.activation:
        yield f"activation {node.activation or 'none'}, not {other.activation or 'none'}"
    if len(node.inputs) != len(other.inputs):
        yield f"reads {len(node.inputs)} tensors, not {len(other.inputs)}"
        return
    for place, (now, was) in enumerate(zip(after.operands(node), before.operands(other), strict=True)):
        yield from _of_operand(_ROLES[place] if place < len(_ROLES) else f"input {place}", now, was)
    yield from _scales("scale", after.result(node).quantization, before.result(other).quantization)
    if after.result(node).shape != before.result(other).shape:
        yield f"shape {_word(after.result(node).shape)}, not {_word(before.result(other).shape)}"


def _of_operand(role: str, now: Tensor, was: Tensor) -> Iterator[str]:
    if now.data is None or was.data is None:
        if now.name != was.name:
            yield f"{role} {now.name}, not {was.name}"
        return
    if now.data.shape != was.data.shape or now.data.dtype != was.data.dtype:
        yield f"{role} {now.data.dtype} {_word(now.data.shape)}, not {was.data.dtype} {_word(was.data.shape)}"
        return
    apart = now.data != was.data
    if apart.any():
        by = np.abs(now.data.astype(np.float64) - was.data.astype(np.float64)).max()
        yield f"{role}: {_count(apart)} values differ, by up to {by:.4g}{_channels(apart, was)}"
    yield from _scales(f"{role} scale", now.quantization, was.quantization)


def _channels(apart: npt.NDArray[np.bool_], tensor: Tensor) -> str:
    """In which channels a weight differs, where they are few."""
    axis = 0 if tensor.quantization is None or tensor.quantization.axis is None else tensor.quantization.axis
    if apart.ndim < 2:
        return ""
    others = tuple(each for each in range(apart.ndim) if each != axis)
    (channels,) = np.nonzero(apart.any(axis=others))
    return f", in channel {', '.join(map(str, channels))}" if len(channels) <= 4 else ""


def _scales(role: str, now: Quantization | None, was: Quantization | None) -> Iterator[str]:
    if now == was:
        return
    if now is None or was is None:
        yield f"{role}: {'float' if now is None else 'quantized'}, not {'float' if was is None else 'quantized'}"
    elif now.axis != was.axis or now.scale.shape != was.scale.shape:
        yield f"{role}: along another axis"
    elif now.scale.size == 1:
        yield f"{role} {now.scale.item():.6g}, not {was.scale.item():.6g}"
    else:
        yield f"{role}: {_count(now.scale != was.scale)} channels differ"


def _count(apart: npt.NDArray[np.bool_]) -> str:
    return f"{int(apart.sum())} of {apart.size}"


def _word(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
