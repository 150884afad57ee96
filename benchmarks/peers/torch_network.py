"""An exported network as a torch program, which is where a peer that takes torch begins.

Rebuilt from `fp32.onnx` or `int8.onnx`, so that a peer converts the very numbers that our converters do, and written as
a `torch.export` program, which needs nothing of edgeskin to be read. The program takes pixels float32 [1, S, S, 3] in
[−1, 1), channels last as a phone holds them, and answers a tensor of probabilities for each head.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torchao.quantization.pt2e  # noqa: F401 -- defines torch.ops.quantized_decomposed
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the name that torch's own documentation gives it

from edgeskin.graph import ir

_QDQ = torch.ops.quantized_decomposed
_INT8 = (-128, 127, torch.int8)


def write(network: ir.Network, path: Path, *, scales: bool) -> None:
    """Write `network` as a `torch.export` program.

    scales: keep the trained quantization, as the pairs that torchao's own conversion leaves; otherwise every tensor is
    float, weights of a quantized network too.
    """
    size = network.tensors[network.inputs[0]].shape[-1]
    assert isinstance(size, int)
    with torch.no_grad():
        module = _Module(network, scales=scales).eval()
        torch.export.save(torch.export.export(module, (torch.zeros(1, size, size, 3),)), path)


class _Module(nn.Module):
    """Runs the nodes of a network in their order, on its first and only input."""

    def __init__(self, network: ir.Network, *, scales: bool) -> None:
        super().__init__()
        if len(network.inputs) != 1:
            raise ValueError(f"takes {', '.join(network.inputs)}; the peers are compared on networks of an image alone")
        self.network = network
        self.scales = scales
        self._stored: dict[str, str] = {}
        for name, tensor in network.tensors.items():
            if tensor.data is not None:
                self._store(name, tensor)

    def _store(self, name: str, tensor: ir.Tensor) -> None:
        """A constant as a float buffer; for one with scales along an axis, those and their zero points beside it.

        litert-torch looks scales and zero points up among the buffers, and refuses a weight that is stored as int8.
        """
        key = self._stored[name] = f"constant_{len(self._stored)}"
        self.register_buffer(key, torch.from_numpy(tensor.real().copy()))
        if tensor.quantization is not None and tensor.quantization.axis is not None:
            scale = tensor.quantization.scale
            self.register_buffer(f"{key}_scale", torch.from_numpy(scale.copy()))
            self.register_buffer(f"{key}_zero", torch.zeros(scale.shape, dtype=torch.int64))

    def _constant(self, tensor: ir.Tensor) -> Tensor:
        key = self._stored[tensor.name]
        stored = self.get_buffer(key)
        if not self.scales or tensor.quantization is None or tensor.quantization.axis is None:
            return self._quantized(tensor, stored)
        grid = (self.get_buffer(f"{key}_scale"), self.get_buffer(f"{key}_zero"), tensor.quantization.axis, *_INT8)
        restored: Tensor = _QDQ.dequantize_per_channel(_QDQ.quantize_per_channel(stored, *grid), *grid)
        return restored

    def _quantized(self, tensor: ir.Tensor, value: Tensor) -> Tensor:
        if tensor.quantization is None or not self.scales:
            return value
        scale = float(tensor.quantization.scale)
        grid = (scale, 0, *_INT8)
        restored: Tensor = _QDQ.dequantize_per_tensor(_QDQ.quantize_per_tensor(value, *grid), *grid)
        return restored

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Shapes: image float32 (1, S, S, 3) -> one tensor of probabilities a head."""
        values = {self.network.inputs[0]: image.permute(0, 3, 1, 2)}
        for node in self.network.nodes:
            operands = [
                values[each.name] if each.data is None else self._constant(each) for each in self.network.operands(node)
            ]
            result = _RULES[type(node.operator)](node.operator, *operands)
            if node.activation is not None:
                result = F.relu(result) if node.activation == "relu" else F.relu6(result)
            values[node.output] = self._quantized(self.network.result(node), result)
        return tuple(values[name] for name in self.network.outputs)


def _padded(x: Tensor, pads: ir.Pads, value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _conv(operator: ir.Conv, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution pads by itself where both sides are alike; other padding goes before it."""
    top, left, bottom, right = operator.pads
    alike = (top, left) == (bottom, right)
    padded = x if alike else _padded(x, operator.pads)
    inner = (top, left) if alike else (0, 0)
    return F.conv2d(padded, weight, bias, operator.strides, inner, operator.dilations, operator.groups)


def _max_pool(operator: ir.MaxPool, x: Tensor) -> Tensor:
    """Padding that only rounds the number of windows up is written so: litert-torch transposes around any other."""
    top, left, bottom, right = operator.pads
    rounds_up = all(
        end < stride and (size + end - kernel) % stride == 0
        for size, end, kernel, stride in zip(
            x.shape[2:], (bottom, right), operator.kernel, operator.strides, strict=True
        )
    )
    if (top, left) == (0, 0) and rounds_up:
        return F.max_pool2d(x, operator.kernel, operator.strides, ceil_mode=True)
    padded = _padded(x, operator.pads, float(torch.finfo(torch.float32).min)) if any(operator.pads) else x
    return F.max_pool2d(padded, operator.kernel, operator.strides)


def _mean(operator: ir.Mean, x: Tensor) -> Tensor:
    """In rank 4 at first: of a mean that drops its axes litert-torch makes a transposition there and one back."""
    kept = x.mean(operator.axes, keepdim=True)
    return (
        kept if operator.keepdims else kept.reshape([n for axis, n in enumerate(x.shape) if axis not in operator.axes])
    )


_RULES: Mapping[type, Callable[..., Tensor]] = {
    ir.Pixels: lambda _, x: x,
    ir.Conv: _conv,
    ir.Linear: lambda _, x, weight, bias=None: F.linear(x, weight, bias),
    ir.Add: lambda _, a, b: a + b,
    ir.Mul: lambda _, a, b: a * b,
    ir.Concat: lambda operator, *parts: torch.cat(parts, operator.axis),
    ir.Resize: lambda operator, x: (
        F.interpolate(x, operator.size, mode="bilinear", align_corners=False)
        if operator.mode == "linear"
        else F.interpolate(x, operator.size, mode="nearest")
    ),
    ir.MaxPool: _max_pool,
    ir.Mean: _mean,
    ir.Max: lambda operator, x: x.amax(operator.axes, keepdim=operator.keepdims),
    ir.Sigmoid: lambda _, x: torch.sigmoid(x),
    ir.Softmax: lambda operator, x: torch.softmax(x, operator.axis),
    ir.HardSigmoid: lambda _, x: F.hardsigmoid(x),
    ir.HardSwish: lambda _, x: F.hardswish(x),
    ir.Activate: lambda _, x: x,
    ir.Pad: lambda operator, x: _padded(x, operator.pads, operator.value),
    ir.Reshape: lambda operator, x: x.reshape(1, *operator.shape[1:]),
    ir.Slice: lambda operator, x: x.narrow(operator.axis, operator.start, operator.end - operator.start),
    ir.Requantize: lambda _, x: x,
}
"""What each kind of node is in torch; pixels are scaled outside, as a caller of a float file has to."""
