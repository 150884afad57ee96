"""Layers with a weight, and the means that are written as one."""

import numpy as np

from edgeskin.graph.ir import AveragePool, Conv, ConvTranspose, Linear, Mean, Pads, Pair, Tensor
from edgeskin.targets.tflite.lift.group import NCHW, Group, Inputs, Read
from edgeskin.targets.tflite.program import Operation
from edgeskin.targets.tflite.schema import SAME


def conv(group: Group) -> Read:
    """A convolution, or the mean over channels."""
    operation = group.operations[-1]
    weight = group.weight(operation, 1, NCHW, 0)
    if group.is_own(weight, "ones"):
        return _mean_of_channels(group, operation, weight)
    return _convolution(group, operation, weight, group.value(operation, 0).shape[3] // int(weight.shape[1]))


def depthwise(group: Group) -> Read:
    """A depthwise convolution, or the mean over windows."""
    operation = group.operations[-1]
    weight = group.weight(operation, 1, (3, 0, 1, 2), 0)
    if group.is_own(weight, "ones"):
        return _average(group, operation, weight)
    channels = int(group.value(operation, 0).shape[3])
    multiplier = group.whole(operation, "DepthMultiplier")
    group.demand(channels * multiplier == weight.shape[0], f"its multiplier is {multiplier}")
    return _convolution(group, operation, weight, channels)


def _convolution(group: Group, operation: Operation, weight: Tensor, groups: int) -> Read:
    kernel: Pair = (int(weight.shape[2]), int(weight.shape[3]))
    strides = group.pair(operation, "StrideH", "StrideW")
    dilations = group.pair(operation, "DilationHFactor", "DilationWFactor")
    pads = group.pads(operation, kernel, strides, dilations)
    _, x = group.padded(operation)
    bias = group.bias(operation, 2, group.value(operation, 0), weight)
    inputs: Inputs = (group.source(x), weight, *bias)
    return Read(Conv(strides, pads, dilations, groups), inputs, group.activation(operation))


def _demand_ones(group: Group, operation: Operation, weight: Tensor, count: int) -> None:
    assert weight.data is not None
    assert weight.quantization is not None
    right = np.all(weight.data == 1) and np.all(weight.quantization.scale == np.float32(1 / count))
    group.demand(right, f"its weights do not make the mean of {count} values")
    group.bias(operation, 2, group.value(operation, 0), weight)


def _mean_of_channels(group: Group, operation: Operation, weight: Tensor) -> Read:
    group.demand(weight.shape[0] == 1 and weight.shape[2:] == (1, 1), "its weights reach beyond one pixel")
    _demand_ones(group, operation, weight, int(weight.shape[1]))
    return Read(Mean((1,), True), (operation.inputs[0],))


def _average(group: Group, operation: Operation, weight: Tensor) -> Read:
    kernel: Pair = (int(weight.shape[2]), int(weight.shape[3]))
    _demand_ones(group, operation, weight, kernel[0] * kernel[1])
    strides = group.pair(operation, "StrideH", "StrideW")
    return Read(AveragePool(kernel, strides, group.pads(operation, kernel, strides)), (operation.inputs[0],))


def conv_transpose(group: Group) -> Read:
    """In full, or a part of it."""
    operation = group.operations[0]
    x = group.value(operation, 2)
    weight = group.weight(operation, 1, (3, 0, 1, 2), 1)
    strides = group.pair(operation, "StrideH", "StrideW")
    group.demand(group.whole(operation, "Padding") != SAME, "pads as SAME")
    _, *full, _ = group.output(operation).shape
    group.demand(group.numbers(operation, 0) == group.output(operation).shape, "writes another shape than it says")
    more = tuple(
        there - ((size - 1) * stride + int(k))
        for there, size, stride, k in zip(full, x.shape[1:3], strides, weight.shape[2:], strict=True)
    )
    pads: Pads = (0, 0, 0, 0)
    if len(group.operations) == 2:
        part = group.operations[1]
        _, top, left, _ = group.numbers(part, 1)
        _, height, width, _ = group.numbers(part, 2)
        pads = (top, left, full[0] - top - height, full[1] - left - width)
    bias = group.bias(operation, 3, x, weight)
    transposed = ConvTranspose(strides, pads, (more[0], more[1]), (1, 1), 1)
    return Read(transposed, (group.source(operation.inputs[2]), weight, *bias), group.activation(operation))


def linear(group: Group) -> Read:
    """A fully connected layer."""
    operation = group.operations[0]
    weight = group.weight(operation, 1, (0, 1), 0)
    bias = group.bias(operation, 2, group.value(operation, 0), weight)
    inputs: Inputs = (group.source(operation.inputs[0]), weight, *bias)
    return Read(Linear(), inputs, group.activation(operation))
