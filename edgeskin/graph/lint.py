"""The QAT contract as rules, each with a name, checked on the network itself.

A rule is a function from a network to findings; a finding names the rule, the node (or the tensor, for an input) and
what to do. `lint` judges int8.onnx, `lint_float` fp32.onnx.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeskin.contract.metadata import METADATA_SCALE
from edgeskin.errors import ContractError
from edgeskin.graph.ir import (
    BATCH,
    PIXEL_SCALE,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    HardSigmoid,
    Linear,
    Max,
    MaxPool,
    Mean,
    Network,
    Node,
    Pad,
    Pixels,
    Quantization,
    Requantize,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
)
from edgeskin.graph.rewrite import INT32, WEIGHTED, bias_integers, node_grid

SHARING = (Concat, Resize, Max, MaxPool, Reshape, Pad, Slice)
"""Operators that only move or select values: what comes out has the scale of what went in."""


@dataclass(frozen=True)
class Finding:
    """One broken rule of the contract.

    rule: its short name. node: the node, or the tensor where an input is at fault.
    """

    rule: str
    node: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.node}: {self.message}"


@dataclass(frozen=True)
class Subject:
    """What a rule looks at. kept_float: names of the nodes kept in float on purpose. tail: those of the float tail."""

    network: Network
    kept_float: frozenset[str]
    tail: frozenset[str]

    def integer_nodes(self) -> Iterator[Node]:
        """The nodes that the contract wants to run on integers."""
        return (node for node in self.network.nodes if node.name not in self.tail | self.kept_float)


Rule: TypeAlias = Callable[[Subject], Iterator[Finding]]


def lint(network: Network, kept_float: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """Judge a quantized network by the whole contract; nothing found means that it holds."""
    return _apply({**COMMON, **INTEGER}, network, kept_float)


def lint_float(network: Network) -> tuple[Finding, ...]:
    """Judge a float network by what it shares with the contract: door, shapes, tail, and no scale anywhere."""
    return _apply({**COMMON, "float-only": _float_only}, network, frozenset())


def check(network: Network, kept_float: frozenset[str] = frozenset()) -> None:
    """Raises: ContractError that lists every finding of `lint`."""
    _raise(lint(network, kept_float))


def check_float(network: Network) -> None:
    """Raises: ContractError that lists every finding of `lint_float`."""
    _raise(lint_float(network))


def _raise(findings: tuple[Finding, ...]) -> None:
    if findings:
        raise ContractError("the network breaks the QAT contract:\n" + "\n".join(f"  {each}" for each in findings))


def _apply(rules: Mapping[str, Rule], network: Network, kept_float: frozenset[str]) -> tuple[Finding, ...]:
    subject = Subject(network, kept_float, frozenset(node.name for node in float_tail(network)))
    return tuple(finding for rule in rules.values() for finding in rule(subject))


def float_tail(network: Network) -> tuple[Node, ...]:
    """The final sigmoid and softmax of every head, with the reshapes behind them; float in every target."""
    return tuple(node for output in network.outputs for node in _tail(network, output))


def _tail(network: Network, output: str) -> tuple[Node, ...]:
    """The tail of one output, from the output back to its sigmoid or softmax; empty where it has none."""
    found = []
    node = network.producer(output)
    while node is not None and isinstance(node.operator, Reshape) and network.result(node).quantization is None:
        found.append(node)
        node = network.producer(node.inputs[0])
    if node is None or not isinstance(node.operator, (Sigmoid, Softmax)):
        return ()
    return (*found, node)


# --- rules for both files ---


def _input_door(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    name = network.inputs[0] if network.inputs else ""
    if name != "image":
        yield Finding("input-door", name, "the first input must be called image")
        return
    shape = network.tensors[name].shape
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        yield Finding("input-door", name, f"is {shape}; a square RGB image is [N, 3, S, S]")
    readers = network.consumers(name)
    if len(readers) != 1 or not isinstance(readers[0].operator, Pixels):
        yield Finding("input-door", name, "must enter as uint8 through cast, −128, ×1/128 and nothing else")
    for second in network.inputs[1:]:
        shape = network.tensors[second].shape
        if (second, len(shape)) != ("metadata", 2):
            yield Finding("input-door", second, f"is {shape}; beside the image there is only metadata, [N, M]")


def _batch_symbolic(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for name in (*network.inputs, *(node.output for node in network.nodes)):
        shape = network.tensors[name].shape
        if not shape or shape[0] != BATCH:
            producer = network.producer(name)
            where = name if producer is None else producer.name
            yield Finding("batch-symbolic", where, f"{name} is {shape}; its first dimension must be the symbol {BATCH}")


def _static_shapes(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for node in network.nodes:
        shape = network.result(node).shape
        if not all(isinstance(size, int) and size > 0 for size in shape[1:]):
            yield Finding(
                "static-shapes", node.name, f"{node.output} is {shape}; every size but the batch must be fixed"
            )


def _tail_only_float(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for output in network.outputs:
        producer = network.producer(output)
        where = output if producer is None else producer.name
        if not _tail(network, output):
            yield Finding(
                "tail-only-float", where, f"{output} must end in a sigmoid or softmax, nothing else behind logits"
            )
        elif network.tensors[output].quantization is not None:
            yield Finding("tail-only-float", where, f"{output} must be float32; quantization ends at the logits")
        elif any(len(network.consumers(node.output)) > (node.output != output) for node in _tail(network, output)):
            yield Finding("tail-only-float", where, f"{output} is read again inside the network")


def _float_only(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for node in network.nodes:
        if any(tensor.quantization is not None for tensor in (*network.operands(node), network.result(node))):
            yield Finding("float-only", node.name, "has a scale; fp32.onnx is the float baseline")


# --- rules for int8.onnx ---


def _input_scales(subject: Subject) -> Iterator[Finding]:
    for node in subject.network.nodes:
        quantization = subject.network.result(node).quantization
        if isinstance(node.operator, Pixels) and not _has_scale(quantization, PIXEL_SCALE):
            yield Finding("input-door", node.name, f"has {_words(quantization)}; pixels are quantized at exactly 1/128")
    for name in subject.network.inputs[1:]:
        quantization = subject.network.tensors[name].quantization
        if quantization is not None and not _has_scale(quantization, METADATA_SCALE):
            yield Finding("input-door", name, f"has {_words(quantization)}; metadata is quantized at exactly 1/64")


def _activation_scale_missing(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for name in network.inputs[1:]:
        if network.tensors[name].quantization is None:
            yield Finding("activation-scale-missing", name, "this input has no scale; quantize it where it enters")
    for node in subject.integer_nodes():
        if network.result(node).quantization is None:
            yield Finding(
                "activation-scale-missing",
                node.name,
                f"{node.kind} computes {node.output} in float; observe it in training, or declare it in kept_float",
            )
        data = () if isinstance(node.operator, WEIGHTED) else network.operands(node)
        for tensor in data:
            if tensor.is_constant and tensor.quantization is None:
                yield Finding("activation-scale-missing", node.name, f"the constant {tensor.name} has no scale")


def _logits_quantized(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    roots: dict[str, str] = {}
    for output in network.outputs:
        tail = _tail(network, output)
        if not tail:
            continue
        logits = network.tensors[tail[-1].inputs[0]]
        producer = network.producer(logits.name)
        declared = producer is not None and producer.name in subject.kept_float
        if logits.quantization is None and not declared:
            yield Finding("logits-quantized", tail[-1].name, f"the logits {logits.name} of {output} have no scale")
        root = _scale_root(network, logits.name)
        if root in roots:
            yield Finding(
                "logits-quantized", tail[-1].name, f"{output} shares the scale of its logits with {roots[root]}"
            )
        roots[root] = output


def _scale_root(network: Network, tensor: str) -> str:
    """The tensor from which `tensor` got its scale, back through operators that only move values."""
    node = network.producer(tensor)
    while node is not None and isinstance(node.operator, SHARING):
        tensor = node.inputs[0]
        node = network.producer(tensor)
    return tensor


def _gate_scale(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for node in network.nodes:
        quantization = network.result(node).quantization
        gate = isinstance(node.operator, (Sigmoid, HardSigmoid)) and node.name not in subject.tail
        if gate and quantization is not None and not _has_scale(quantization, PIXEL_SCALE):
            yield Finding("gate-scale", node.name, f"has {_words(quantization)}; a gate inside the network has 1/128")


def _shared_scale(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for node in subject.integer_nodes():
        if isinstance(node.operator, SHARING):
            rule = "concat-shared-scale" if isinstance(node.operator, Concat) else "shared-scale"
            result = network.result(node).quantization
            for tensor in network.operands(node):
                if tensor.quantization != result:
                    yield Finding(
                        rule,
                        node.name,
                        f"reads {tensor.name} at {_words(tensor.quantization)} but writes {_words(result)}; tie them",
                    )


def _mean_own_scale(subject: Subject) -> Iterator[Finding]:
    """Unless a concatenation reads it: with the maximum of the same map, a mean has to share the scale of both."""
    network = subject.network
    for node in subject.integer_nodes():
        result = network.result(node).quantization
        joined = any(isinstance(reader.operator, Concat) for reader in network.consumers(node.output))
        if (
            isinstance(node.operator, (Mean, AveragePool))
            and not joined
            and result is not None
            and result == network.operands(node)[0].quantization
        ):
            yield Finding("mean-own-scale", node.name, f"has {_words(result)} of its input; a mean needs its own")


def _one_scale(subject: Subject) -> Iterator[Finding]:
    """A second quantization costs a rounding; only what meets in a concat may need one."""
    network = subject.network
    for node in subject.integer_nodes():
        readers = network.consumers(node.output)
        if isinstance(node.operator, Requantize) and not all(isinstance(each.operator, Concat) for each in readers):
            before, after = network.operands(node)[0], network.result(node)
            yield Finding(
                "one-scale",
                node.name,
                f"{before.name} has {_words(before.quantization)}, then {_words(after.quantization)}; observe it once",
            )


def _weight_per_channel(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for node in subject.integer_nodes():
        if not isinstance(node.operator, (Conv, ConvTranspose, Linear)):
            continue
        weight = network.operands(node)[1]
        axis = 1 if isinstance(node.operator, ConvTranspose) else 0
        if weight.quantization is None or weight.data is None or weight.data.dtype != np.int8:
            yield Finding(
                "weight-per-channel", node.name, f"{weight.name} is not int8; quantize it, or declare kept_float"
            )
        elif weight.quantization.axis != axis:
            yield Finding(
                "weight-per-channel",
                node.name,
                f"{weight.name} has {_words(weight.quantization)}; one scale along axis {axis}",
            )
        elif weight.data.size and int(weight.data.min()) < -127:
            yield Finding("weight-per-channel", node.name, f"{weight.name} holds −128; symmetric weights end at ±127")


def _bias_on_grid(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    for node in network.nodes:
        grid = node_grid(network, node)
        if grid is None or len(node.inputs) < 3:
            continue
        bias = network.operands(node)[2]
        integers = bias_integers(bias, grid)
        if np.abs(integers).max(initial=0) > INT32.max:
            yield Finding("bias-on-grid", node.name, f"{bias.name} leaves int32 in steps of s_in·s_w")
        elif not np.array_equal(integers.astype(np.float32) * grid, bias.real()):
            yield Finding(
                "bias-on-grid", node.name, f"{bias.name} is not a multiple of s_in·s_w; snap it (snap_biases)"
            )


def _scales_fp16(subject: Subject) -> Iterator[Finding]:
    network = subject.network
    limits = np.finfo(np.float16)
    for name in (*network.inputs, *(node.output for node in network.nodes)):
        quantization = network.tensors[name].quantization
        if quantization is None:
            continue
        scale = float(quantization.scale)
        normal = float(limits.tiny) <= scale <= float(limits.max)
        if not normal or float(np.float16(scale)) != scale:
            producer = network.producer(name)
            where = name if producer is None else producer.name
            yield Finding(
                "scales-fp16", where, f"{name} has scale {scale!r}, which float16 cannot hold; round it when frozen"
            )


def _kept_float_declared(subject: Subject) -> Iterator[Finding]:
    names = {node.name for node in subject.network.nodes}
    for name in sorted(subject.kept_float - names):
        yield Finding("kept-float-declared", name, "declared in kept_float, but the network has no node of that name")


def _has_scale(quantization: Quantization | None, scale: float) -> bool:
    return quantization is not None and quantization.axis is None and float(quantization.scale) == scale


def _words(quantization: Quantization | None) -> str:
    if quantization is None:
        return "no scale"
    if quantization.axis is not None:
        return f"{quantization.scale.size} scales along axis {quantization.axis}"
    return f"scale {float(quantization.scale):.6g}"


COMMON: Mapping[str, Rule] = {
    "input-door": _input_door,
    "batch-symbolic": _batch_symbolic,
    "static-shapes": _static_shapes,
    "tail-only-float": _tail_only_float,
}

INTEGER: Mapping[str, Rule] = {
    "input-scales": _input_scales,
    "activation-scale-missing": _activation_scale_missing,
    "logits-quantized": _logits_quantized,
    "gate-scale": _gate_scale,
    "shared-scale": _shared_scale,
    "mean-own-scale": _mean_own_scale,
    "one-scale": _one_scale,
    "weight-per-channel": _weight_per_channel,
    "bias-on-grid": _bias_on_grid,
    "scales-fp16": _scales_fp16,
    "kept-float-declared": _kept_float_declared,
}
