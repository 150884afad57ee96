"""How windows, reductions, and what only moves values are said."""

import numpy as np
import numpy.typing as npt

from edgeskin.graph.ir import AveragePool, Concat, Max, MaxPool, Mean, Pad, Resize, Slice
from edgeskin.targets.tflite.lower.layers import weigh_all
from edgeskin.targets.tflite.lower.site import Site
from edgeskin.targets.tflite.program import Option, nhwc, place
from edgeskin.targets.tflite.schema import VALID


def shares_its_scale(site: Site) -> None:
    """Refuse integers that move to another scale, which no operator of the format does on the way."""
    for tensor in site.tensors:
        if site.integer and tensor.quantization != site.result.quantization:
            raise site.refuse(f"moves {tensor.name} to another scale; tie the two, as the contract asks")


def pool(site: Site) -> None:
    """A maximum over windows; a mean of integers as a depthwise convolution with ones."""
    operator = site.node.operator
    assert isinstance(operator, (MaxPool, AveragePool))
    if isinstance(operator, AveragePool) and site.integer:
        channels = int(site.result.shape[1])
        kernel = operator.kernel
        options: dict[str, Option] = {"StrideW": operator.strides[1], "StrideH": operator.strides[0]}
        shape = (1, *kernel, channels)
        weigh_all(site, "DEPTHWISE_CONV_2D", shape, kernel[0] * kernel[1], 3, **options, DepthMultiplier=1)
        return
    shares_its_scale(site)
    x = site.x()
    padding = site.window(x, operator.kernel, operator.strides, operator.pads)
    if padding is None:
        if isinstance(operator, AveragePool):
            raise site.refuse(f"pads {operator.pads} of an average are not those of SAME; pool without padding")
        x, padding = site.pad(x, operator.pads, lowest=True), VALID
    site.emit(
        "MAX_POOL_2D" if isinstance(operator, MaxPool) else "AVERAGE_POOL_2D",
        (x,),
        site.y(),
        Padding=padding,
        StrideW=operator.strides[1],
        StrideH=operator.strides[0],
        FilterWidth=operator.kernel[1],
        FilterHeight=operator.kernel[0],
        FusedActivationFunction=0,
    )


def reduce(site: Site) -> None:
    """A mean or maximum over axes; the mean of integers over channels as a convolution with ones."""
    operator = site.node.operator
    assert isinstance(operator, (Mean, Max))
    rank = len(site.tensors[0].shape)
    if rank == 4 and not operator.keepdims and set(operator.axes) not in ({2, 3}, {1}):
        raise site.refuse(f"over axes {operator.axes} without keepdims, which would reorder the rest; keep the dims")
    if isinstance(operator, Max):
        shares_its_scale(site)
    elif site.integer and rank == 4 and operator.axes == (1,) and operator.keepdims:
        channels = int(site.tensors[0].shape[1])
        weigh_all(site, "CONV_2D", (1, 1, 1, channels), channels, 0)
        return
    axes = site.numbers("axes", *(place(axis, rank) for axis in operator.axes))
    kind = "MEAN" if isinstance(operator, Mean) else "REDUCE_MAX"
    site.emit(kind, (site.x(), axes), site.y(), KeepDims=operator.keepdims)


def concat(site: Site) -> None:
    """Joined along an axis."""
    assert isinstance(site.node.operator, Concat)
    shares_its_scale(site)
    inputs = tuple(site.x(position) for position in range(len(site.tensors)))
    axis = place(site.node.operator.axis, len(site.result.shape))
    site.emit("CONCATENATION", inputs, site.y(), Axis=axis, FusedActivationFunction=0)


def resize(site: Site) -> None:
    """Another size."""
    operator = site.node.operator
    assert isinstance(operator, Resize)
    shares_its_scale(site)
    linear = operator.mode == "linear"
    kind = "RESIZE_BILINEAR" if linear else "RESIZE_NEAREST_NEIGHBOR"
    inputs = (site.x(), site.numbers("size", *operator.size))
    site.emit(kind, inputs, site.y(), AlignCorners=False, HalfPixelCenters=linear)


def pad(site: Site) -> None:
    """Zeros or another value around a map."""
    operator = site.node.operator
    assert isinstance(operator, Pad)
    shares_its_scale(site)
    if min(operator.pads) < 0:
        raise site.refuse(f"pads {operator.pads} cut off; slice instead")
    x = site.x()
    pads = site.pads(operator.pads)
    if operator.value == 0:
        site.emit("PAD", (x, pads), site.y())
        return
    filler: npt.NDArray[np.generic] = np.asarray([operator.value], np.float32)
    scale = site.scale_of(x)
    if scale is not None:
        steps = np.rint(operator.value / np.float64(scale.steps[0]))
        if steps * np.float64(scale.steps[0]) != operator.value or not -128 <= steps <= 127:
            raise site.refuse(f"pads with {operator.value:g}, which its scale {scale.steps[0]:g} does not hold")
        filler = np.asarray([steps], np.int8)
    site.emit("PADV2", (x, pads, site.constant("lowest", filler, scale)), site.y())


def reshape(site: Site) -> None:
    """Another shape, where the order of values stays."""
    before, after = site.tensors[0].shape, site.result.shape
    if before != after and not (_keeps_order(before) and _keeps_order(after)):
        raise site.refuse(
            f"{list(before)} to {list(after)} reorders values where channels stand last; pool to one pixel first"
        )
    shares_its_scale(site)
    shape = nhwc(after)
    site.emit("RESHAPE", (site.x(), site.numbers("shape", *shape)), site.y(), NewShape=shape)


def _keeps_order(shape: tuple[int | str, ...]) -> bool:
    """Whether values stand in the same order with channels first and last."""
    return len(shape) != 4 or shape[2:] == (1, 1) or shape[1] == 1


def slice_(site: Site) -> None:
    """A part of one axis."""
    operator = site.node.operator
    assert isinstance(operator, Slice)
    shares_its_scale(site)
    if site.result.shape == site.tensors[0].shape:
        raise site.refuse("takes the whole of its input; leave it out of the network")
    shape = nhwc(site.result.shape)
    begin = [0] * len(shape)
    begin[place(operator.axis, len(shape))] = operator.start
    site.emit("SLICE", (site.x(), site.numbers("begin", *begin), site.numbers("size", *shape)), site.y())
