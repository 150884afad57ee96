"""Run a network in NumPy, exactly: the judge that no engine's rounding can lead astray.

A quantized tensor is its int8 integers. An operator on quantized tensors computes the real number that its integers
stand for without rounding (sums of products as whole numbers, scales in float64) and rounds once, half to even, into
the scale of its result. That is what every target approximates, each in its own arithmetic.

What is float in the network is float32 between operators and float64 within one; or float16 between operators, where a
device computes so (`half`).

What makes it fast: a convolution is one product of matrices, its windows laid out in columns; integers are multiplied
as float32 where no sum can reach 2²⁴; and what follows on a sum is done piece by piece, within the processor's cache.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Activate,
    Activation,
    Add,
    Array,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    HardSigmoid,
    HardSwish,
    Max,
    MaxPool,
    Mean,
    Mul,
    Network,
    Node,
    Operator,
    Pad,
    Pads,
    Pair,
    Pixels,
    Quantization,
    Requantize,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.rewrite import INT32, WEIGHTED, bias_integers, node_grid

Real: TypeAlias = npt.NDArray[np.floating[Any]]
"""Real numbers in float64, or whole ones in float32 that holds them exactly."""
Values: TypeAlias = Mapping[str, Array]
"""By tensor name: int8 where the tensor is quantized, float32 where it is not, uint8 for an image."""

ZERO_PIXEL = 128
"""The pixel that stands for 0."""


_PIECE = 2**16
"""How many float64 are worked on at a time, so that they stay in the cache."""

_ALONE = 2**18
"""The most multiplications in a product of matrices that OpenBLAS does not hand to all its threads.

It waits for each of them. Where other programs have the processor, a product of 0.2 ms then takes 8 or 16, and a
network seven times as long (two cores, NumPy 2.3). Source: OpenBLAS, interface/gemm.c, SMP_THRESHOLD_MIN ·
GEMM_MULTITHREAD_THRESHOLD: 65536 · 4.
"""


class Executor:
    """A network ready to run: the constants of its layers are converted once.

    half: every operator reads float16, what its integers stand for included, and writes float16, from which a quantized
    result is rounded.
    """

    def __init__(self, network: Network, *, half: bool = False) -> None:
        self._network = network
        self._half = half
        self._layers = {
            node.output: _layer(network, node, half) for node in network.nodes if isinstance(node.operator, WEIGHTED)
        }

    def run(self, feeds: Values) -> dict[str, Array]:
        """Every value of the network; see the function `run`."""
        network = self._network
        values = {name: _enter(network.tensors[name], feeds.get(name)) for name in network.inputs}
        for name in feeds:
            if name not in network.inputs:
                raise GraphError(f"{name} is no input of the network; its inputs are {', '.join(network.inputs)}")
        for node in network.nodes:
            layer = self._layers.get(node.output)
            values[node.output] = layer.apply(values) if layer else _apply(network, node, values, self._half)
        return values

    def outputs(self, feeds: Values) -> dict[str, npt.NDArray[np.float32]]:
        """The network's outputs by name, as probabilities. Raises: GraphError as `run`."""
        values, tensors = self.run(feeds), self._network.tensors
        return {name: real(tensors[name], values[name]).astype(np.float32) for name in self._network.outputs}


def run(network: Network, feeds: Values, *, half: bool = False) -> dict[str, Array]:
    """Every value of the network for the inputs given: uint8 `image` [N, 3, S, S], float32 `metadata` [N, M].

    A quantized input is quantized where it enters. half: as `Executor`.

    Raises: GraphError for an input that is missing, not the network's, or of another type or shape.
    """
    return Executor(network, half=half).run(feeds)


def outputs(network: Network, feeds: Values, *, half: bool = False) -> dict[str, npt.NDArray[np.float32]]:
    """The network's outputs by name, as probabilities. Raises: GraphError as `run`."""
    return Executor(network, half=half).outputs(feeds)


def apply(network: Network, node: Node, values: Values, *, half: bool = False) -> Array:
    """What one node computes from the values of its operands; constants need not be among them. half: as `Executor`.

    Raises: GraphError where its accumulator leaves int32, in which no device could hold it.
    """
    if isinstance(node.operator, WEIGHTED):
        return _layer(network, node, half).apply(values)
    return _apply(network, node, values, half)


def _apply(network: Network, node: Node, values: Values, half: bool) -> Array:
    tensors, result, rule = network.operands(node), network.result(node), _RULES[type(node.operator)]
    if isinstance(node.operator, _MOVING) and not half and all(x.quantization == result.quantization for x in tensors):
        return np.asarray(rule(node.operator, [_value(tensor, values) for tensor in tensors]))
    exact = rule(node.operator, [_read(tensor, _value(tensor, values), half) for tensor in tensors])
    return _written(result, exact, node.activation, half)


_MOVING = (Concat, Reshape, Slice)
"""These move what is stored, and compute nothing."""


def real(tensor: Tensor, value: Array) -> Real:
    """The real numbers that a stored value stands for."""
    if tensor.quantization is None:
        return value.astype(np.float64)
    return value.astype(np.float64) * tensor.quantization.along(value.ndim).astype(np.float64)


def stored(tensor: Tensor, exact: Real) -> Array:
    """Real numbers as the tensor stores them: rounded half to even and saturated to int8, or float32."""
    if tensor.quantization is None:
        return exact.astype(np.float32)
    return _rounded(exact, tensor.quantization)


def _value(tensor: Tensor, values: Values) -> Array:
    return values[tensor.name] if tensor.data is None else tensor.data


def _read(tensor: Tensor, value: Array, half: bool) -> Real:
    """What an operator reads, in an array of its own."""
    exact = real(tensor, value)
    return _halved(exact) if half else exact


def _written(tensor: Tensor, exact: Real, activation: Activation | None, half: bool) -> Array:
    """What an operator writes; the array of its exact result is used up."""
    if half:
        exact = _halved(exact)
    low, high = _BOUNDS[activation]
    if tensor.quantization is not None:
        return _rounded(exact, tensor.quantization, low, high)
    return (exact if activation is None else np.clip(exact, low, high, out=exact)).astype(np.float32)


_BOUNDS: Mapping[Activation | None, tuple[float, float]] = {
    None: (-np.inf, np.inf),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
}


def _halved(exact: Real) -> Real:
    """The nearest float16, half to even, in the same array where it can be; beyond its range infinity, as on a device.

    Added to 1.5 · 2⁴² times its own power of two, a number is rounded to eleven bits, for there float64 ends.
    """
    flat = np.ascontiguousarray(exact).reshape(-1)
    for part in _parts(flat.size, _PIECE):
        piece = flat[part]
        power = (piece.view(np.int64) & _EXPONENT).view(np.float64)
        if power.max() < 2.0**15:
            np.maximum(power, 2.0**-14, out=power)  # below, float16 has fewer bits in steps of one size
            power *= 1.5 * 2.0**42
            piece += power
            piece -= power
        else:
            with np.errstate(over="ignore"):
                piece[:] = piece.astype(np.float16)
    return flat.reshape(exact.shape)


_EXPONENT = np.int64(0x7FF0_0000_0000_0000)
"""The bits of a float64 that hold its power of two."""


def _parts(size: int, most: int) -> Iterator[slice]:
    """From 0 to `size` in parts of `most`, or of one where that is less."""
    step = max(1, most)
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _rounded(
    exact: Real, quantization: Quantization, low: float = -np.inf, high: float = np.inf
) -> npt.NDArray[np.int8]:
    """Clipped from `low` to `high` where they stand on the integers, which is the same: rounding is monotonic."""
    scale = quantization.along(exact.ndim).astype(np.float64)
    steps = np.asarray(exact / scale)
    np.rint(steps, out=steps)
    least, most = np.maximum(np.rint(low / scale), -128), np.minimum(np.rint(high / scale), 127)
    return np.clip(steps, least, most, out=steps).astype(np.int8)


def _enter(tensor: Tensor, given: Array | None) -> Array:
    """An input as the network holds it."""
    if given is None:
        raise GraphError(f"the input {tensor.name} is missing")
    wanted = "uint8" if len(tensor.shape) == 4 else "float32"
    if given.dtype != wanted or given.shape[1:] != tensor.shape[1:] or given.ndim != len(tensor.shape):
        shape = ", ".join(map(str, tensor.shape))
        raise GraphError(f"{tensor.name} is {wanted} [{shape}], not {given.dtype} {list(given.shape)}")
    return given if tensor.quantization is None else _rounded(given.astype(np.float64), tensor.quantization)


# --- convolutions and linear layers ---


@dataclass(frozen=True, eq=False)
class _Layer:
    """A convolution or linear layer, its constants as NumPy computes with them.

    x, result: the tensors it reads and writes. weight: as the operator has it. bias: (O,). step: (O,), the s_in · s_w
    that a whole sum counts; None where sums are real numbers. may_leave: whether a sum could leave int32.
    """

    node: Node
    x: Tensor
    result: Tensor
    weight: Real
    bias: Real
    step: Real | None
    may_leave: bool
    half: bool

    def apply(self, values: Values) -> Array:
        """What the layer stores. Raises: GraphError as the function `apply`."""
        given = _value(self.x, values)
        match self.node.operator:
            case Conv() as operator:
                return self._convolve(operator, given)
            case ConvTranspose() as operator:
                return self._finished(_spread(operator, self._operand(given), self.weight), (-1, 1, 1))
        return self._finished(_product(self._operand(given), self.weight.T), (-1,))

    def _operand(self, given: Array) -> Real:
        return _read(self.x, given, self.half) if self.step is None else given.astype(self.weight.dtype)

    def _finished(self, sums: Real, along: tuple[int, ...], some: slice = slice(None)) -> Array:
        """Sums without bias, which are used up -> what is stored. along: how (O,) lies beside them; some: of that."""
        sums += self.bias.reshape(along)[some]
        if self.may_leave and np.abs(sums).max(initial=0) > INT32.max:
            raise GraphError(f"{self.node.name} ({self.node.kind}): its sums leave int32; no device can hold them")
        exact = sums if self.step is None else np.multiply(sums, self.step.reshape(along)[some], dtype=np.float64)
        return _written(self.result, exact, self.node.activation, self.half)

    def _convolve(self, operator: Conv, given: Array) -> Array:
        """Weights [G, O/G, I/G·kh·kw] times columns [G, I/G·kh·kw, H·W], a few groups and pixels at a time."""
        outputs, inputs, *kernel = self.weight.shape
        groups, window = operator.groups, (kernel[0], kernel[1])
        size = (int(self.result.shape[2]), int(self.result.shape[3]))
        weight, pixels = self.weight.reshape(groups, outputs // groups, -1), size[0] * size[1]
        kind = np.float32 if self.result.quantization is None else np.int8
        result = np.empty((len(given), groups, outputs // groups, pixels), kind)
        for row, image in enumerate(given):
            x = _padded(self._operand(image[None]), operator.pads, 0.0)
            for some in _parts(groups, 4 * _PIECE // (weight.shape[2] * pixels)):
                columns = _columns(operator, x[:, some.start * inputs : some.stop * inputs], window, size)
                columns = columns.reshape(some.stop - some.start, -1, pixels)
                for few in _parts(pixels, _PIECE // (weight.shape[1] * len(columns))):
                    sums = _product(weight[some], columns[:, :, few])
                    result[row, some, :, few] = self._finished(sums, (groups, -1, 1), some)
        return result.reshape(len(given), outputs, *size)


def _layer(network: Network, node: Node, half: bool) -> _Layer:
    """A node's layer: of whole numbers where all that it reads is quantized, and no float16 is asked for.

    float32 holds every whole number up to 2²⁴, so it adds whole numbers exactly, in any order, where their magnitudes
    sum to less. Where they do not, float64 does so up to 2⁵³.
    """
    x, weight, *rest = network.operands(node)
    result, grid = network.result(node), None if half else node_grid(network, node)
    outputs = int(result.shape[1])
    assert weight.data is not None, f"{weight.name} is computed, which no layer's weight is"
    if grid is None:
        bias = _read(rest[0], _value(rest[0], {}), half) if rest else np.zeros(outputs)
        return _Layer(node, x, result, _read(weight, weight.data, half), bias, None, False, half)
    assert x.quantization is not None
    assert weight.quantization is not None
    whole = weight.data.astype(np.float64)
    bias = bias_integers(rest[0], grid) if rest else np.zeros(outputs)
    reach = 128 * _by_output(node.operator, np.abs(whole)).sum(axis=1) + np.abs(bias)
    kind = np.float32 if reach.max() < 2**24 else np.float64
    step = x.quantization.scale.astype(np.float64) * weight.quantization.scale.astype(np.float64)
    return _Layer(
        node,
        x,
        result,
        whole.astype(kind),
        bias.astype(kind),
        np.broadcast_to(step, (outputs,)),
        bool(reach.max() > INT32.max),
        half,
    )


def _by_output(operator: Operator, weight: Real) -> Real:
    """A weight with one row for all that meets in one output channel."""
    if not isinstance(operator, ConvTranspose):
        return weight.reshape(len(weight), -1)
    inputs, per_group, *kernel = weight.shape
    grouped = weight.reshape(operator.groups, inputs // operator.groups, per_group, *kernel)
    return grouped.swapaxes(1, 2).reshape(operator.groups * per_group, -1)


def _product(left: Real, right: Real) -> Real:
    """The matrices […, M, K] times [K, P] or […, K, P], by parts of at most `_ALONE` multiplications."""
    rows, inner, columns = *left.shape[-2:], right.shape[-1]
    product = np.empty((*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), rows, columns), left.dtype)
    high = min(rows, max(16, _ALONE // (64 * inner)))
    for some in _parts(rows, high):
        for few in _parts(columns, _ALONE // (high * inner)):
            np.matmul(left[..., some, :], right[..., few], out=product[..., some, few])
    return product


def _columns(operator: Conv, padded: Real, window: Pair, size: Pair) -> Real:
    """All that each place of a kernel meets: [N, I, H, W] -> [N, I, kh·kw, H', W']."""
    if window == operator.strides == (1, 1):
        return padded[:, :, None]
    columns = np.empty((*padded.shape[:2], window[0] * window[1], *size), padded.dtype)
    for place, start in enumerate(_offsets(window, operator.dilations)):
        rows, across = _every(start, operator.strides, size)
        columns[:, :, place] = padded[:, :, rows, across]
    return columns


def _spread(operator: ConvTranspose, x: Real, weight: Real) -> Real:
    """Every pixel times the kernel, added where the kernel's places lie: x [N, I, H, W] -> [N, O, H', W']."""
    inputs, per_group, *kernel = weight.shape
    window, here = (kernel[0], kernel[1]), (x.shape[2], x.shape[3])
    top, left, bottom, right = operator.pads
    spread = [
        (n - 1) * stride + (k - 1) * dilation + 1 + more
        for n, stride, k, dilation, more in zip(
            here, operator.strides, window, operator.dilations, operator.output_padding, strict=True
        )
    ]
    matrix = weight.reshape(operator.groups, inputs // operator.groups, -1).transpose(0, 2, 1)
    products = _product(matrix, x.reshape(len(x), operator.groups, -1, here[0] * here[1]))
    products = products.reshape(len(x), operator.groups * per_group, -1, *here)
    sums = np.zeros((len(x), operator.groups * per_group, *spread), x.dtype)
    for place, start in enumerate(_offsets(window, operator.dilations)):
        rows, columns = _every(start, operator.strides, here)
        sums[:, :, rows, columns] += products[:, :, place]
    return sums[:, :, top : spread[0] - bottom, left : spread[1] - right]


def _offsets(kernel: Pair, dilations: Pair = (1, 1)) -> Iterator[Pair]:
    """How far each place of a kernel lies from the first, in pixels."""
    return ((row * dilations[0], column * dilations[1]) for row in range(kernel[0]) for column in range(kernel[1]))


def _every(start: Pair, strides: Pair, size: Pair) -> tuple[slice, slice]:
    """Rows and columns from `start` in steps of `strides`, as many as `size`."""
    rows, columns = (slice(a, a + (n - 1) * s + 1, s) for a, s, n in zip(start, strides, size, strict=True))
    return rows, columns


# --- windows ---


def _padded(x: Real, pads: Pads, value: float) -> Real:
    if not any(pads):
        return x
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _windows(padded: Real, kernel: Pair, strides: Pair) -> Pair:
    """How many windows fit, down and across."""
    height, width = ((n - k) // stride + 1 for n, k, stride in zip(padded.shape[2:], kernel, strides, strict=True))
    return height, width


def _pooled(x: Real, operator: MaxPool | AveragePool, empty: float, join: Callable[[Real, Real], Real]) -> Real:
    """Everything in each window joined; what is padded counts as `empty`."""
    padded = _padded(x, operator.pads, empty)
    size = _windows(padded, operator.kernel, operator.strides)
    pooled = np.full((*x.shape[:2], *size), empty)
    for start in _offsets(operator.kernel):
        rows, columns = _every(start, operator.strides, size)
        pooled = join(pooled, padded[:, :, rows, columns])
    return pooled


def _average_pool(operator: AveragePool, x: Real) -> Real:
    counts = _pooled(np.ones_like(x[:1, :1]), operator, 0.0, np.add)
    return _pooled(x, operator, 0.0, np.add) / counts


# --- resizing ---


def _along(values: Real, axis: int, rank: int) -> Real:
    """Values for each place of an axis, in a shape that multiplies a tensor of that rank."""
    return values.reshape([-1 if each == axis else 1 for each in range(rank)])


def _resize(operator: Resize, x: Real) -> Real:
    for axis, size in zip((2, 3), operator.size, strict=True):
        x = _resampled(x, axis, size, operator.mode)
    return x


def _resampled(x: Real, axis: int, size: int, mode: str) -> Real:
    """One axis: `nearest` is the floor of the place, `linear` weighs two neighbours by half-pixel centres."""
    before = x.shape[axis]
    places = np.arange(size)
    if mode == "nearest":
        return np.asarray(np.take(x, places * before // size, axis))
    centres = np.clip((places + 0.5) * before / size - 0.5, 0, before - 1)
    low = np.floor(centres).astype(np.intp)
    high = np.minimum(low + 1, before - 1)
    share = _along(centres - low, axis, x.ndim)
    below, above = np.take(x, low, axis), np.take(x, high, axis)
    below *= 1 - share
    above *= share
    below += above
    return np.asarray(below)


# --- the rest: one line a kind ---


def _hard_sigmoid(x: Real) -> Real:
    return np.clip(x / 6 + 0.5, 0.0, 1.0)


def _sigmoid(x: Real) -> Real:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))  # unlike 1 / (1 + exp(−x)), this overflows nowhere


def _softmax(operator: Softmax, x: Real) -> Real:
    powers = np.exp(x - x.max(operator.axis, keepdims=True))
    return np.asarray(powers / powers.sum(operator.axis, keepdims=True))


def _slice(operator: Slice, x: Real) -> Real:
    return np.take(x, np.arange(operator.start, operator.end), operator.axis)


def _reshape(operator: Reshape, x: Real) -> Real:
    return x.reshape(x.shape[0], *(int(size) for size in operator.shape[1:]))


_RULES: Mapping[type, Callable[..., Real]] = {
    Pixels: lambda _, given: (given[0] - ZERO_PIXEL) * PIXEL_SCALE,
    Add: lambda _, given: given[0] + given[1],
    Mul: lambda _, given: given[0] * given[1],
    Concat: lambda operator, given: np.concatenate(given, operator.axis),
    Resize: lambda operator, given: _resize(operator, given[0]),
    MaxPool: lambda operator, given: _pooled(given[0], operator, -np.inf, np.maximum),
    AveragePool: lambda operator, given: _average_pool(operator, given[0]),
    Mean: lambda operator, given: given[0].mean(operator.axes, keepdims=operator.keepdims),
    Max: lambda operator, given: given[0].max(operator.axes, keepdims=operator.keepdims),
    Sigmoid: lambda _, given: _sigmoid(given[0]),
    Softmax: lambda operator, given: _softmax(operator, given[0]),
    HardSigmoid: lambda _, given: _hard_sigmoid(given[0]),
    HardSwish: lambda _, given: given[0] * _hard_sigmoid(given[0]),
    Activate: lambda _, given: given[0],
    Pad: lambda operator, given: _padded(given[0], operator.pads, operator.value),
    Reshape: lambda operator, given: _reshape(operator, given[0]),
    Slice: lambda operator, given: _slice(operator, given[0]),
    Requantize: lambda _, given: given[0],
}
"""What each kind without a weight computes from the real numbers of its operands, before activation and rounding."""
