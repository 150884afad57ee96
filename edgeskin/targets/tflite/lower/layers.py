"""How layers with a weight are said in operators of TensorFlow Lite, and a mean as one of them."""

import numpy as np

from edgeskin.graph.ir import Conv, ConvTranspose, Pair
from edgeskin.targets.tflite.lower.site import Site, scale
from edgeskin.targets.tflite.program import Option, Scale, nhwc
from edgeskin.targets.tflite.schema import VALID


def conv(site: Site) -> None:
    """A convolution, or a depthwise one where each group has one input channel."""
    operator = site.node.operator
    assert isinstance(operator, Conv)
    outputs, per_group, *kernel = (int(size) for size in site.tensors[1].shape)
    window: Pair = (kernel[0], kernel[1])
    x = site.x()
    padding = site.window(x, window, operator.strides, operator.pads, operator.dilations)
    if padding is None:
        x, padding = site.pad(x, operator.pads), VALID
    options: dict[str, Option] = {
        "Padding": padding,
        "StrideW": operator.strides[1],
        "StrideH": operator.strides[0],
        "FusedActivationFunction": site.activation,
        "DilationWFactor": operator.dilations[1],
        "DilationHFactor": operator.dilations[0],
    }
    if operator.groups > 1 and per_group == 1:
        weight = site.weight((1, 2, 3, 0), 3)
        options["DepthMultiplier"] = outputs // operator.groups
        site.emit("DEPTHWISE_CONV_2D", (x, weight, site.bias(outputs)), site.y(), **options)
    else:
        weight = site.weight((0, 2, 3, 1), 0)
        site.emit("CONV_2D", (x, weight, site.bias(outputs)), site.y(), **options)


def conv_transpose(site: Site) -> None:
    """In full, without pads; a part of it is then cut out where the network asks for pads or more output."""
    operator = site.node.operator
    assert isinstance(operator, ConvTranspose)
    if operator.groups != 1 or operator.dilations != (1, 1):
        raise site.refuse("groups and dilations of a transposed convolution have no words here; use neither")
    _, outputs, *kernel = (int(size) for size in site.tensors[1].shape)
    x = site.x()
    _, height, width, _ = site.shape(x)
    rows, columns = (
        (size - 1) * stride + k + more
        for size, stride, k, more in zip(
            (height, width), operator.strides, kernel, operator.output_padding, strict=True
        )
    )
    own = scale(site.result.quantization)
    full_shape = (1, rows, columns, outputs)
    cut = any(operator.pads)
    y = site.inner("full", full_shape, own) if cut else site.y()
    site.emit(
        "TRANSPOSE_CONV",
        (site.numbers("shape", *full_shape), site.weight((1, 2, 3, 0), 0), x, site.bias(outputs)),
        y,
        Padding=VALID,
        StrideW=operator.strides[1],
        StrideH=operator.strides[0],
        FusedActivationFunction=site.activation,
    )
    if cut:
        top, left, _, _ = operator.pads
        begin = site.numbers("begin", 0, top, left, 0)
        site.emit("SLICE", (y, begin, site.numbers("size", *nhwc(site.result.shape))), site.y())


def linear(site: Site) -> None:
    """A fully connected layer."""
    outputs = int(site.tensors[1].shape[0])
    inputs = (site.x(), site.weight((0, 1), 0), site.bias(outputs))
    site.emit("FULLY_CONNECTED", inputs, site.y(), FusedActivationFunction=site.activation)


def weigh_all(site: Site, kind: str, shape: tuple[int, ...], count: int, axis: int, **options: Option) -> None:
    """A mean as a convolution with ones: the sum of whole numbers, divided and rounded once."""
    x = site.x()
    scale = site.scale_of(x)
    assert scale is not None
    outputs = shape[axis]
    step = np.full(outputs, np.float32(1 / count), np.float32)
    ones = site.constant("ones", np.ones(shape, np.int8), Scale(step, 0, axis))
    grid = np.asarray(scale.steps[0] * step, np.float32)
    nothing = site.constant("no_bias", np.zeros(outputs, np.int32), Scale(grid))
    plain = {"FusedActivationFunction": 0, "DilationWFactor": 1, "DilationHFactor": 1}
    site.emit(kind, (x, ones, nothing), site.y(), **{"Padding": VALID, "StrideW": 1, "StrideH": 1} | plain | options)
