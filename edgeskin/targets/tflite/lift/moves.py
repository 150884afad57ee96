"""Windows, reductions, and what only moves values."""

from collections.abc import Callable

import numpy as np

from edgeskin.graph.ir import AveragePool, Concat, Max, MaxPool, Mean, Pad, Reshape, Resize, Slice
from edgeskin.targets.tflite.lift.group import Group, Read, network_axis, network_shape


def pool(kind: type[MaxPool] | type[AveragePool]) -> Callable[[Group], Read]:
    """A maximum or mean over windows."""

    def rule(group: Group) -> Read:
        operation = group.operations[-1]
        kernel = group.pair(operation, "FilterHeight", "FilterWidth")
        strides = group.pair(operation, "StrideH", "StrideW")
        explicit, x = group.padded(operation)
        if explicit is not None:
            filler = group.stored(explicit, 2)
            assert filler.data is not None
            lowest = -128 if filler.kind == "int8" else np.finfo(np.float32).min
            group.demand(filler.data.reshape(-1)[0] == lowest, "pads a maximum with other than the lowest value")
        return Read(kind(kernel, strides, group.pads(operation, kernel, strides)), (group.source(x),))

    return rule


def reduce(kind: type[Mean] | type[Max]) -> Callable[[Group], Read]:
    """A mean or maximum over axes."""

    def rule(group: Group) -> Read:
        operation = group.operations[0]
        rank = len(group.value(operation, 0).shape)
        axes = tuple(network_axis(axis, rank) for axis in group.numbers(operation, 1))
        return Read(kind(axes, bool(operation.options["KeepDims"])), (group.source(operation.inputs[0]),))

    return rule


def concat(group: Group) -> Read:
    """Joined along an axis."""
    operation = group.operations[0]
    rank = len(group.output(operation).shape)
    axis = network_axis(group.whole(operation, "Axis"), rank)
    return Read(Concat(axis), tuple(group.source(index) for index in operation.inputs))


def resize(group: Group) -> Read:
    """Another size."""
    operation = group.operations[0]
    linear = group.kinds == ("RESIZE_BILINEAR",)
    group.demand(not operation.options["AlignCorners"], "aligns corners")
    group.demand(bool(operation.options["HalfPixelCenters"]) == linear, "has its pixels' centres elsewhere")
    height, width = group.numbers(operation, 1)
    inputs = (group.source(operation.inputs[0]),)
    return Read(Resize((height, width), "linear" if linear else "nearest"), inputs)


def pad(group: Group) -> Read:
    """Zeros or another value around a map."""
    operation = group.operations[0]
    value = 0.0
    if operation.kind == "PADV2":
        filler = group.stored(operation, 2)
        assert filler.data is not None
        step = 1.0 if filler.scale is None else float(filler.scale.steps[0])
        value = float(filler.data[0]) * step
    return Read(Pad(group.explicit(operation), value), (group.source(operation.inputs[0]),))


def reshape(group: Group) -> Read:
    """Another shape."""
    operation = group.operations[0]
    shape = group.output(operation).shape
    group.demand(group.numbers(operation, 1) == shape, "writes another shape than it says")
    return Read(Reshape(network_shape(shape)), (group.source(operation.inputs[0]),))


def slice_(group: Group) -> Read:
    """A part of one axis."""
    operation = group.operations[0]
    before = group.value(operation, 0).shape
    begin, size = group.numbers(operation, 1), group.numbers(operation, 2)
    cut = [axis for axis, n in enumerate(before) if (begin[axis], size[axis]) != (0, n)]
    group.demand(len(cut) == 1, f"cuts along {len(cut)} axes")
    axis = cut[0]
    end = begin[axis] + size[axis]
    return Read(Slice(network_axis(axis, len(before)), begin[axis], end), (group.source(operation.inputs[0]),))
