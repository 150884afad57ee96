"""Run a network in NumPy, exactly: the judge that no engine's rounding can lead astray.

A quantized tensor is its int8 integers. An operator on quantized tensors computes the real number that its integers
stand for without rounding (sums of products as whole numbers, scales in float64) and rounds once, half to even, into
the scale of its result. That is what every target approximates, each in its own arithmetic.

What is float in the network is float32 between operators and float64 within one; or float16 between operators, where a
device computes so (`half`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

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
    Linear,
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
from edgeskin.graph.rewrite import INT32, bias_integers, node_grid

Real: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = Mapping[str, Array]
"""By tensor name: int8 where the tensor is quantized, float32 where it is not, uint8 for an image."""

ZERO_PIXEL = 128
"""The pixel that stands for 0."""


def run(network: Network, feeds: Values, *, half: bool = False) -> dict[str, Array]:
    """Every value of the network for the inputs given: uint8 `image` [N, 3, S, S], float32 `metadata` [N, M].

    A quantized input is quantized where it enters. half: every operator reads float16, what its integers stand for
    included, and writes float16, from which a quantized result is rounded.

    Raises: GraphError for an input that is missing, not the network's, or of another type or shape.
    """
    values = {name: _enter(network.tensors[name], feeds.get(name)) for name in network.inputs}
    for name in feeds:
        if name not in network.inputs:
            raise GraphError(f"{name} is no input of the network; its inputs are {', '.join(network.inputs)}")
    for node in network.nodes:
        values[node.output] = apply(network, node, values, half=half)
    return values


def outputs(network: Network, feeds: Values, *, half: bool = False) -> dict[str, npt.NDArray[np.float32]]:
    """The network's outputs by name, as probabilities. Raises: GraphError as `run`."""
    values = run(network, feeds, half=half)
    return {name: real(network.tensors[name], values[name]).astype(np.float32) for name in network.outputs}


def apply(network: Network, node: Node, values: Values, *, half: bool = False) -> Array:
    """What one node computes from the values of its operands; constants need not be among them. half: as `run`.

    Raises: GraphError where its accumulator leaves int32, in which no device could hold it.
    """
    tensors = network.operands(node)
    operands = [values[tensor.name] if tensor.data is None else tensor.data for tensor in tensors]
    grid = None if half else node_grid(network, node)
    if half:
        reals = [_halved(real(tensor, value)) for tensor, value in zip(tensors, operands, strict=True)]
        exact = _halved(_RULES[type(node.operator)](node.operator, reals))
    elif grid is not None:
        exact = _weighted(node, tensors, operands, grid)
    else:
        reals = [real(tensor, value) for tensor, value in zip(tensors, operands, strict=True)]
        exact = _RULES[type(node.operator)](node.operator, reals)
    return stored(network.result(node), _activated(exact, node.activation))


def real(tensor: Tensor, value: Array) -> Real:
    """The real numbers that a stored value stands for."""
    if tensor.quantization is None:
        return value.astype(np.float64)
    return value.astype(np.float64) * tensor.quantization.along(value.ndim).astype(np.float64)


def _halved(exact: Real) -> Real:
    """The nearest float16; beyond its range, infinity, as on a device."""
    with np.errstate(over="ignore"):
        return exact.astype(np.float16).astype(np.float64)


def stored(tensor: Tensor, exact: Real) -> Array:
    """Real numbers as the tensor stores them: rounded half to even and saturated to int8, or float32."""
    if tensor.quantization is None:
        return exact.astype(np.float32)
    return _rounded(exact, tensor.quantization)


def _rounded(exact: Real, quantization: Quantization) -> npt.NDArray[np.int8]:
    steps = np.rint(exact / quantization.along(exact.ndim).astype(np.float64))
    return np.clip(steps, -128, 127).astype(np.int8)


def _enter(tensor: Tensor, given: Array | None) -> Array:
    """An input as the network holds it."""
    if given is None:
        raise GraphError(f"the input {tensor.name} is missing")
    wanted = "uint8" if len(tensor.shape) == 4 else "float32"
    if given.dtype != wanted or given.shape[1:] != tensor.shape[1:] or given.ndim != len(tensor.shape):
        shape = ", ".join(map(str, tensor.shape))
        raise GraphError(f"{tensor.name} is {wanted} [{shape}], not {given.dtype} {list(given.shape)}")
    return given if tensor.quantization is None else _rounded(given.astype(np.float64), tensor.quantization)


def _activated(exact: Real, activation: Activation | None) -> Real:
    if activation is None:
        return exact
    return np.clip(exact, 0.0, 6.0 if activation == "relu6" else None)


# --- convolutions and linear layers ---


def _weighted(node: Node, tensors: Sequence[Tensor], operands: Sequence[Array], grid: npt.NDArray[np.float32]) -> Real:
    """A quantized layer: whole numbers summed in steps of the bias grid s_in·s_w, then the real number of each sum.

    The integers are float64 here, which holds sums of their products exactly and multiplies matrices fast.
    """
    x, weight = tensors[:2]
    sums = _linear_map(node.operator, operands[0].astype(np.float64), operands[1].astype(np.float64))
    if len(tensors) > 2:
        sums = sums + _along(bias_integers(tensors[2], grid), 1, sums.ndim)
    if np.abs(sums).max(initial=0) > INT32.max:
        raise GraphError(f"{node.name} ({node.kind}): its sums leave int32; no device can hold them")
    assert x.quantization is not None
    assert weight.quantization is not None
    step = x.quantization.scale.astype(np.float64) * weight.quantization.scale.astype(np.float64)
    return sums * _along(step, 1, sums.ndim)


def _float_weighted(operator: Operator, operands: Sequence[Real]) -> Real:
    sums = _linear_map(operator, *operands[:2])
    return sums if len(operands) < 3 else sums + _along(operands[2], 1, sums.ndim)


def _along(values: Real, axis: int, rank: int) -> Real:
    """Values, one for each place of an axis or one for all, in a shape that multiplies a tensor of that rank."""
    return values.reshape([-1 if each == axis else 1 for each in range(rank)])


def _linear_map(operator: Operator, x: Real, weight: Real) -> Real:
    """Without bias: x [N, I, …] and a weight as its operator has it -> [N, O, …]."""
    match operator:
        case Conv():
            return _convolve(operator, x, weight)
        case ConvTranspose():
            return _convolve_transposed(operator, x, weight)
    return np.asarray(x @ weight.T)


def _offsets(kernel: Pair, dilations: Pair) -> Iterator[tuple[Pair, Pair]]:
    """Every place in a kernel, and how far it lies from the first in pixels."""
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            yield (row, column), (row * dilations[0], column * dilations[1])


def _every(start: Pair, strides: Pair, size: Pair) -> tuple[slice, slice]:
    """Rows and columns from `start` in steps of `strides`, as many as `size`."""
    rows, columns = (slice(a, a + (n - 1) * s + 1, s) for a, s, n in zip(start, strides, size, strict=True))
    return rows, columns


def _grouped(weight: Real, patch: Real, groups: int) -> Real:
    """Product of weight [groups, O/groups, I/groups] and patch [N, I, H, W] -> [N, O, H, W]."""
    n, _, height, width = patch.shape
    if weight.shape[1:] == (1, 1):  # depthwise: a matrix product of single numbers would take many times as long
        return patch * weight.reshape(1, -1, 1, 1)
    product = weight @ patch.reshape(n, groups, -1, height * width)
    return np.asarray(product).reshape(n, -1, height, width)


def _convolve(operator: Conv, x: Real, weight: Real) -> Real:
    padded = _padded(x, operator.pads, 0.0)
    outputs, per_group, *kernel = weight.shape
    window: Pair = (kernel[0], kernel[1])
    size = _windows(padded, window, operator.strides, operator.dilations)
    sums = np.zeros((x.shape[0], outputs, *size))
    for (row, column), start in _offsets(window, operator.dilations):
        part = weight[:, :, row, column].reshape(operator.groups, -1, per_group)
        rows, columns = _every(start, operator.strides, size)
        sums += _grouped(part, padded[:, :, rows, columns], operator.groups)
    return sums


def _convolve_transposed(operator: ConvTranspose, x: Real, weight: Real) -> Real:
    inputs, per_group, *kernel = weight.shape
    window: Pair = (kernel[0], kernel[1])
    top, left, bottom, right = operator.pads
    here: Pair = (x.shape[2], x.shape[3])
    spread = [
        (n - 1) * stride + (k - 1) * dilation + 1 + more
        for n, stride, k, dilation, more in zip(
            here, operator.strides, window, operator.dilations, operator.output_padding, strict=True
        )
    ]
    sums = np.zeros((x.shape[0], per_group * operator.groups, *spread))
    for (row, column), start in _offsets(window, operator.dilations):
        part = weight[:, :, row, column].reshape(operator.groups, inputs // operator.groups, per_group)
        rows, columns = _every(start, operator.strides, here)
        sums[:, :, rows, columns] += _grouped(part.transpose(0, 2, 1), x, operator.groups)
    return sums[:, :, top : spread[0] - bottom, left : spread[1] - right]


# --- windows ---


def _padded(x: Real, pads: Pads, value: float) -> Real:
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _windows(padded: Real, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> Pair:
    """How many windows fit, down and across."""
    height, width = (
        (n - (k - 1) * dilation - 1) // stride + 1
        for n, k, stride, dilation in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    )
    return height, width


def _pooled(x: Real, operator: MaxPool | AveragePool, empty: float, join: Callable[[Real, Real], Real]) -> Real:
    """Everything in each window joined; what is padded counts as `empty`."""
    padded = _padded(x, operator.pads, empty)
    size = _windows(padded, operator.kernel, operator.strides)
    pooled = np.full((*x.shape[:2], *size), empty)
    for _, start in _offsets(operator.kernel, (1, 1)):
        rows, columns = _every(start, operator.strides, size)
        pooled = join(pooled, padded[:, :, rows, columns])
    return pooled


def _average_pool(operator: AveragePool, x: Real) -> Real:
    counts = _pooled(np.ones_like(x[:1, :1]), operator, 0.0, np.add)
    return _pooled(x, operator, 0.0, np.add) / counts


# --- resizing ---


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
    return np.asarray(np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share)


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
    Conv: _float_weighted,
    ConvTranspose: _float_weighted,
    Linear: _float_weighted,
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
"""What each kind computes from the real numbers of its operands, before activation and rounding."""
