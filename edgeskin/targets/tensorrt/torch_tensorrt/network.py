"""A network as a module of torch: its nodes in their order, with trained scales as torch itself writes them.

The module is what `torch.export` keeps and torch_tensorrt converts, so a node has only forms that both take: pairs of
`quantized_decomposed` around every tensor with a scale, weights stored as their integers, padding spelled out where
pooling would need torch's ceil_mode (torch_tensorrt 2.13: "ceil_mode is not yet supported!").
"""

from collections.abc import Callable, Mapping

import torch
import torch.ao.quantization.fx._decomposed  # defines torch.ops.quantized_decomposed
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.errors import TargetError
from edgeskin.graph import ir
from edgeskin.graph.execute import ZERO_PIXEL
from edgeskin.graph.ir import PIXEL_SCALE, Network, Node, Pads

QDQ = torch.ops.quantized_decomposed
INT8 = (-128, 127, torch.int8)
LOWEST, LOWEST_HALF = -3e38, -65504.0
"""What is less than any number of ours, and finite; a maximum pads with it."""


class NetworkModule(nn.Module):
    """A network in torch. half: what is float is float16 from the door to the outputs.

    Raises: TargetError that names a node which has no form here.
    """

    def __init__(self, network: Network, *, half: bool = False) -> None:
        super().__init__()
        self.network = network
        self._half = half
        self._float = torch.float16 if half else torch.float32
        self._stored: dict[str, str] = {}
        for node in network.nodes:
            _demand_form(node)
        for name, tensor in network.tensors.items():
            if tensor.data is not None:
                self._store(name, tensor)

    def _store(self, name: str, tensor: ir.Tensor) -> None:
        key = self._stored[name] = f"constant_{len(self._stored)}"
        data = torch.from_numpy(tensor.data.copy()) if tensor.data is not None else torch.zeros(0)
        self.register_buffer(key, data if tensor.quantization is not None else data.to(self._float))
        if tensor.quantization is not None and tensor.quantization.axis is not None:
            scale = tensor.quantization.scale
            self.register_buffer(f"{key}_scale", torch.from_numpy(scale.copy()))
            self.register_buffer(f"{key}_zero", torch.zeros(scale.shape, dtype=torch.int64))

    def _operand(self, tensor: ir.Tensor, values: Mapping[str, Tensor]) -> Tensor:
        if tensor.data is None:
            return values[tensor.name]
        key = self._stored[tensor.name]
        stored, quantization = self.get_buffer(key), tensor.quantization
        if quantization is None:
            return stored
        if quantization.axis is None:
            real: Tensor = QDQ.dequantize_per_tensor(stored, float(quantization.scale), 0, *INT8)
        else:
            steps = self.get_buffer(f"{key}_scale"), self.get_buffer(f"{key}_zero"), quantization.axis
            real = QDQ.dequantize_per_channel(stored, *steps, *INT8)
        return real

    def _rounded(self, tensor: ir.Tensor, value: Tensor) -> Tensor:
        """As the tensor holds a value."""
        if tensor.quantization is None:
            return value
        grid = (float(tensor.quantization.scale), 0, *INT8)
        real: Tensor = QDQ.dequantize_per_tensor(QDQ.quantize_per_tensor(value, *grid), *grid)
        return real

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, ...]:
        """Shapes: image uint8 (N, 3, S, S), metadata float32 (N, M) -> one float32 tensor of probabilities a head."""
        network = self.network
        values = {network.inputs[0]: image}
        if metadata is not None:
            entry = network.tensors[network.inputs[1]]
            values[entry.name] = self._rounded(entry, metadata.half() if self._half else metadata)
        for node in network.nodes:
            values[node.output] = self.step(node, values)
        found = (values[name] for name in network.outputs)
        return tuple(each.float() if self._half else each for each in found)

    def step(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        """What one node computes from the values of its operands; constants need not be among them."""
        operands = [self._operand(tensor, values) for tensor in self.network.operands(node)]
        if isinstance(node.operator, ir.Pixels):
            result = (operands[0].to(self._float) - ZERO_PIXEL) * PIXEL_SCALE
        else:
            result = _FORMS[type(node.operator)](node.operator, *operands)
        if node.activation is not None:
            result = functional.relu(result) if node.activation == "relu" else functional.relu6(result)
        return self._rounded(self.network.result(node), result)


def zeros(network: Network, rows: int, device: str = "cpu") -> tuple[Tensor, ...]:
    """Inputs of that many rows, all zero."""
    shapes = [(rows, *(int(size) for size in network.tensors[name].shape[1:])) for name in network.inputs]
    image = torch.zeros(shapes[0], dtype=torch.uint8, device=device)
    return (image, *(torch.zeros(shape, device=device) for shape in shapes[1:]))


def _demand_form(node: Node) -> None:
    """Raises: TargetError where torch, or what torch_tensorrt converts of it, has no form of a node."""
    match node.operator:
        case ir.ConvTranspose() if _sides(node.operator.pads) is None:
            told = f"pads {node.operator.pads}, unlike on both sides"
        case ir.AveragePool() if _own_padding(node.operator) is None:
            told = f"pads {node.operator.pads}, which are not alike on both sides and at most half a window"
        case _:
            return
    raise TargetError(f"{node.name} ({node.kind}): {told}; torch-tensorrt has no form of it. Build another target")


# --- forms: one line a kind ---


def _padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value)


def _sides(pads: Pads) -> tuple[int, int] | None:
    """What is padded above and below, left and right, where these are alike."""
    return (pads[0], pads[1]) if pads[:2] == pads[2:] else None


def _own_padding(operator: ir.MaxPool | ir.AveragePool) -> tuple[int, int] | None:
    """The padding that torch's pooling has itself: alike on both sides, and no more than half of a window."""
    sides = _sides(operator.pads)
    fits = sides is not None and all(2 * side <= size for side, size in zip(sides, operator.kernel, strict=True))
    return sides if fits else None


def _conv(operator: ir.Conv, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    sides = _sides(operator.pads)
    if sides is None:
        x, sides = _padded(x, operator.pads), (0, 0)
    return functional.conv2d(x, weight, bias, operator.strides, sides, operator.dilations, operator.groups)


def _conv_transpose(operator: ir.ConvTranspose, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    sides = _sides(operator.pads)
    assert sides is not None, "refused before"
    more, groups, dilations = operator.output_padding, operator.groups, operator.dilations
    return functional.conv_transpose2d(x, weight, bias, operator.strides, sides, more, groups, dilations)


def _max_pool(operator: ir.MaxPool, x: Tensor) -> Tensor:
    sides = _own_padding(operator)
    if sides is None:
        x, sides = _padded(x, operator.pads, LOWEST if x.dtype == torch.float32 else LOWEST_HALF), (0, 0)
    return functional.max_pool2d(x, operator.kernel, operator.strides, sides)


def _average_pool(operator: ir.AveragePool, x: Tensor) -> Tensor:
    sides = _own_padding(operator)
    assert sides is not None, "refused before"
    return functional.avg_pool2d(x, operator.kernel, operator.strides, sides, count_include_pad=False)


def _resize(operator: ir.Resize, x: Tensor) -> Tensor:
    if operator.mode == "nearest":
        return functional.interpolate(x, operator.size, mode="nearest")
    return functional.interpolate(x, operator.size, mode="bilinear", align_corners=False)


_FORMS: Mapping[type, Callable[..., Tensor]] = {
    ir.Conv: _conv,
    ir.ConvTranspose: _conv_transpose,
    ir.Linear: lambda _, x, weight, bias=None: functional.linear(x, weight, bias),
    ir.Add: lambda _, a, b: a + b,
    ir.Mul: lambda _, a, b: a * b,
    ir.Concat: lambda operator, *parts: torch.cat(parts, operator.axis),
    ir.Resize: _resize,
    ir.MaxPool: _max_pool,
    ir.AveragePool: _average_pool,
    ir.Mean: lambda operator, x: x.mean(operator.axes, keepdim=operator.keepdims),
    ir.Max: lambda operator, x: x.amax(operator.axes, keepdim=operator.keepdims),
    ir.Sigmoid: lambda _, x: torch.sigmoid(x),
    ir.Softmax: lambda operator, x: torch.softmax(x, operator.axis),
    ir.HardSigmoid: lambda _, x: functional.hardsigmoid(x),
    ir.HardSwish: lambda _, x: functional.hardswish(x),
    ir.Activate: lambda _, x: x,
    ir.Pad: lambda operator, x: _padded(x, operator.pads, operator.value),
    ir.Reshape: lambda operator, x: x.reshape(-1, *operator.shape[1:]),
    ir.Slice: lambda operator, x: x.narrow(operator.axis, operator.start, operator.end - operator.start),
    ir.Requantize: lambda _, x: x,
}
"""What each kind of node is in torch; `Pixels` is the door, and has its own."""
