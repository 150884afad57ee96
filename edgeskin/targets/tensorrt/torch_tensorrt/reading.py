"""An exported program of ours back as a network: what each call of torch in it computes, read from its arguments.

Names are torch's own; a note that goes with the program has ours.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram

from edgeskin.errors import GraphError
from edgeskin.graph import ir
from edgeskin.graph.execute import ZERO_PIXEL
from edgeskin.graph.ir import BATCH, PIXEL_SCALE, Activation, Network, Node, Operator, Pads, Pair, Quantization, Shape
from edgeskin.graph.rewrite import normalise
from edgeskin.targets.tensorrt.torch_tensorrt.network import INT8, LOWEST, LOWEST_HALF

_LOWEST = (LOWEST, LOWEST_HALF)


@dataclass(frozen=True)
class Call:
    """One call of torch. target: as `aten.conv2d.default`. given: every argument by name, those left out too."""

    name: str
    target: str
    given: Mapping[str, Any]
    shape: Shape

    def refuse(self, told: str) -> NoReturn:
        """Raises: GraphError with the call's name."""
        raise GraphError(f"{self.name} ({self.target}): {told}; the program was not written by edgeskin")

    def demand(self, **wanted: object) -> None:
        """Raises: GraphError where an argument is another."""
        for name, value in wanted.items():
            if self.given[name] != value:
                self.refuse(f"{name} is {self.given[name]}, not {value}")

    def pair(self, name: str) -> Pair:
        """Two whole numbers, one for both where one is given; of strides, the kernel's where none are."""
        numbers = [int(each) for each in self.given[name]] or [int(each) for each in self.given["kernel_size"]]
        return numbers[0], numbers[-1]

    def pads(self) -> Pads:
        """The padding that is alike on both sides."""
        return (*self.pair("padding"), *self.pair("padding"))


def read(program: ExportedProgram) -> Network:
    """The network that a program computes, in normal form, under torch's names.

    Raises: GraphError that names the first call which no network of ours has.
    """
    return _Reader(program).network()


class _Reader:
    """One walk over one program. `values`: what each node of torch's graph stands for."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.values: dict[str, ir.Tensor] = {}
        self.tensors: dict[str, ir.Tensor] = {}
        self.nodes: list[Node] = []
        self.integers: set[str] = set()
        """Names of values that are integers, not yet dequantized."""
        self.pixels: dict[str, str] = {}
        """The steps of the door already taken on the image, by the value behind them."""

    def network(self) -> Network:
        inputs = list[str]()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                inputs += self._enter(node)
            elif node.op == "call_function":
                self._read(_call(node))
        (end,) = (node for node in self.program.graph.nodes if node.op == "output")
        outputs = tuple(self._leave(each) for each in end.args[0])
        return normalise(Network(tuple(inputs), outputs, tuple(self.nodes), self.tensors))

    def _enter(self, node: fx.Node) -> Iterator[str]:
        stored = self.program.graph_signature.inputs_to_buffers.get(node.name)
        if stored is None:
            self.values[node.name] = self.tensors[node.name] = ir.Tensor(node.name, _shape(node))
            if node.meta["val"].dtype == torch.uint8:
                self.pixels[node.name] = ""
            yield node.name
            return
        data = self.program.state_dict[stored].numpy()
        floating = np.issubdtype(data.dtype, np.floating)
        self.values[node.name] = ir.Tensor(stored, data.shape, None, data.astype(np.float32) if floating else data)
        if data.dtype == np.int8:
            self.integers.add(node.name)

    def _leave(self, node: fx.Node) -> str:
        """The tensor behind an output; a quantized one becomes a float."""
        tensor = self.values[node.name]
        if tensor.quantization is None:
            return tensor.name
        return self._append(f"{tensor.name}_out", ir.Requantize(), (tensor,), tensor.shape).name

    def _append(
        self,
        name: str,
        operator: Operator,
        inputs: tuple[ir.Tensor, ...],
        shape: Shape,
        *,
        activation: Activation | None = None,
        quantization: Quantization | None = None,
    ) -> ir.Tensor:
        for tensor in inputs:
            self.tensors[tensor.name] = tensor
        output = self.tensors[name] = self.values[name] = ir.Tensor(name, shape, quantization)
        self.nodes.append(Node(name, operator, tuple(tensor.name for tensor in inputs), name, activation))
        return output

    def _read(self, call: Call) -> None:
        first = next(iter(call.given.values()))
        source = first.name if isinstance(first, fx.Node) else ""
        if call.target == "aten._assert_tensor_metadata.default":
            return
        if source in self.pixels:
            self._read_door(call, source)
        elif call.target.startswith("quantized_decomposed.quantize"):
            self._quantize(call, self.values[source])
        elif call.target.startswith("quantized_decomposed.dequantize"):
            self._dequantize(call, source)
        elif call.target == "aten.to.dtype":
            call.demand(dtype=torch.float32)
            self.values[call.name] = self.values[source]
        elif call.target not in _RULES:
            call.refuse("is no call that edgeskin writes")
        else:
            self._compute(call)

    def _compute(self, call: Call) -> None:
        operator, activation = _RULES[call.target](call)
        parts = call.given["tensors"] if isinstance(operator, ir.Concat) else map(call.given.get, _OPERANDS)
        inputs = tuple(self._operand(call, part) for part in parts if isinstance(part, fx.Node))
        if isinstance(operator, ir.Add | ir.Mul) and len(inputs) != 2:
            call.refuse("has an operand that is no tensor")
        match self.nodes[-1]:
            case Node(operator=ir.Pad(pads, value)) as pad if isinstance(operator, ir.MaxPool) and value in _LOWEST:
                operator, inputs = replace(operator, pads=pads), (self.tensors[pad.inputs[0]],)
                self.nodes.remove(pad)
                del self.tensors[pad.output]
        self._append(call.name, operator, inputs, call.shape, activation=activation)

    def _operand(self, call: Call, given: fx.Node) -> ir.Tensor:
        if given.name in self.integers or given.name not in self.values:
            call.refuse(f"reads {given.name}, which is no number")
        return self.values[given.name]

    def _read_door(self, call: Call, source: str) -> None:
        """Cast, −128, ×1/128, in this order; the last makes Pixels."""
        steps = {
            "": ("aten.to.dtype", None),
            "to": ("aten.sub.Tensor", ZERO_PIXEL),
            "sub": ("aten.mul.Tensor", PIXEL_SCALE),
        }
        target, number = steps[self.pixels[source]]
        if call.target != target or (number is not None and call.given["other"] != number):
            call.refuse("changes pixels otherwise than by a cast, −128 and ×1/128")
        if target != "aten.mul.Tensor":
            self.pixels[call.name] = target.split(".")[1]
            return
        (image,) = (self.values[name] for name, steps in self.pixels.items() if not steps)
        self._append(call.name, ir.Pixels(), (image,), call.shape)

    # --- quantization ---

    def _quantize(self, call: Call, x: ir.Tensor) -> None:
        self._append(call.name, ir.Requantize(), (x,), call.shape, quantization=_quantization(call))
        self.integers.add(call.name)

    def _dequantize(self, call: Call, source: str) -> None:
        x = self.values[source]
        if call.target.endswith("per_channel.default"):
            scales, zeros = (self.values[call.given[name].name].data for name in ("scales", "zero_points"))
            if scales is None or zeros is None or zeros.any():
                call.refuse("its zero points are not all 0")
            quantization = Quantization(scales.astype(np.float32), int(call.given["axis"]))
        else:
            quantization = _quantization(call)
        if source not in self.integers or (x.data is None and x.quantization != quantization):
            call.refuse("has another scale than what quantized what it reads")
        self.values[call.name] = replace(x, quantization=quantization)


def _quantization(call: Call) -> Quantization:
    """Raises: GraphError unless it is int8 with zero point 0."""
    call.demand(zero_point=0, quant_min=INT8[0], quant_max=INT8[1], dtype=INT8[2])
    scale = float(call.given["scale"])
    if not math.isfinite(scale) or scale <= 0:
        call.refuse(f"its scale is {scale}")
    return Quantization(np.asarray(scale, np.float32))


def _call(node: fx.Node) -> Call:
    """Raises: GraphError where it is no operator of torch."""
    if not isinstance(node.target, torch._ops.OpOverload):
        raise GraphError(f"{node.name}: calls {node.target}; the program was not written by edgeskin")
    schema = node.target._schema.arguments
    given = {each.name: each.default_value for each in schema}
    given |= dict(zip((each.name for each in schema), node.args, strict=False)) | node.kwargs
    return Call(node.name, str(node.target), given, _shape(node))


def _shape(node: fx.Node) -> Shape:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return ()
    return tuple(size if isinstance(size, int) else BATCH for size in value.shape)


# --- rules: one line a call ---

_OPERANDS = ("input", "self", "weight", "bias", "other")
"""The arguments that are tensors, in the order of a node's inputs."""
_Read = tuple[Operator, Activation | None]


def _add(call: Call) -> _Read:
    call.demand(alpha=1)
    return ir.Add(), None


def _conv(call: Call) -> _Read:
    return ir.Conv(call.pair("stride"), call.pads(), call.pair("dilation"), int(call.given["groups"])), None


def _conv_transpose(call: Call) -> _Read:
    more, dilation = call.pair("output_padding"), call.pair("dilation")
    return ir.ConvTranspose(call.pair("stride"), call.pads(), more, dilation, int(call.given["groups"])), None


def _max_pool(call: Call) -> _Read:
    call.demand(ceil_mode=False)
    return ir.MaxPool(call.pair("kernel_size"), call.pair("stride"), call.pads()), None


def _average_pool(call: Call) -> _Read:
    call.demand(ceil_mode=False, count_include_pad=False, divisor_override=None)
    return ir.AveragePool(call.pair("kernel_size"), call.pair("stride"), call.pads()), None


def _resize(mode: str) -> Callable[[Call], _Read]:
    def read(call: Call) -> _Read:
        call.demand(scale_factors=None)
        if mode == "linear":
            call.demand(align_corners=False)
            return ir.Resize(call.pair("output_size"), "linear"), None
        return ir.Resize(call.pair("output_size"), "nearest"), None

    return read


def _pad(call: Call) -> _Read:
    call.demand(mode="constant")
    left, right, top, bottom = (int(each) for each in call.given["pad"])
    return ir.Pad((top, left, bottom, right), float(call.given["value"] or 0.0)), None


def _axes(call: Call) -> tuple[int, ...]:
    return tuple(int(axis) for axis in call.given["dim"])


_RULES: Mapping[str, Callable[[Call], _Read]] = {
    "aten.conv2d.default": _conv,
    "aten.conv_transpose2d.input": _conv_transpose,
    "aten.linear.default": lambda _: (ir.Linear(), None),
    "aten.add.Tensor": _add,
    "aten.mul.Tensor": lambda _: (ir.Mul(), None),
    "aten.cat.default": lambda call: (ir.Concat(int(call.given["dim"])), None),
    "aten.upsample_bilinear2d.vec": _resize("linear"),
    "aten.upsample_nearest2d.vec": _resize("nearest"),
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.mean.dim": lambda call: (ir.Mean(_axes(call), bool(call.given["keepdim"])), None),
    "aten.amax.default": lambda call: (ir.Max(_axes(call), bool(call.given["keepdim"])), None),
    "aten.sigmoid.default": lambda _: (ir.Sigmoid(), None),
    "aten.softmax.int": lambda call: (ir.Softmax(int(call.given["dim"])), None),
    "aten.hardsigmoid.default": lambda _: (ir.HardSigmoid(), None),
    "aten.hardswish.default": lambda _: (ir.HardSwish(), None),
    "aten.relu.default": lambda _: (ir.Activate(), "relu"),
    "aten.relu6.default": lambda _: (ir.Activate(), "relu6"),
    "aten.pad.default": _pad,
    "aten.reshape.default": lambda call: (ir.Reshape(call.shape), None),
    "aten.narrow.default": lambda call: (
        ir.Slice(int(call.given["dim"]), int(call.given["start"]), int(call.given["start"] + call.given["length"])),
        None,
    ),
}
