"""What the operators of one node mean, by MIL's own meaning of each."""

from collections.abc import Callable, Mapping

from edgeskin.graph.ir import (
    BATCH,
    PIXEL_SCALE,
    Add,
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
    Operator,
    Pad,
    Pair,
    Pixels,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
)
from edgeskin.targets.coreml.lift.group import Group, Inputs, Read
from edgeskin.targets.coreml.lower.site import ROLE
from edgeskin.targets.coreml.program import Operation


def _pixels(group: Group) -> Read:
    scaled, biased = group.operations
    _demand_behind(group, biased, scaled, "x")
    scale, bias = group.array(scaled, "y"), group.array(biased, "y")
    right = (
        scale.shape == () and float(scale) == PIXEL_SCALE and bias.shape == (1, 3, 1, 1) and bool((bias == -1).all())
    )
    group.demand(right, f"its scale {scale.reshape(-1)} and bias {bias.reshape(-1)} are not those of a pixel")
    return Read(Pixels(), (group.name(scaled, "x"),))


def _demand_behind(group: Group, second: Operation, first: Operation, word: str) -> None:
    right = group.name(second, word) == first.output.name and second.output.shape == first.output.shape
    group.demand(right, f"its {second.kind} does not read its {first.kind} as {word}")


def _conv(group: Group) -> Read:
    (operation,) = group.operations
    operator = Conv(
        strides=group.pair(operation, "strides"),
        pads=group.pads(operation),
        dilations=group.pair(operation, "dilations"),
        groups=int(group.number(operation, "groups")),
    )
    return Read(operator, _weighted(group, operation))


def _conv_transpose(group: Group) -> Read:
    (operation,) = group.operations
    strides, dilations = group.pair(operation, "strides"), group.pair(operation, "dilations")
    pads = top, left, bottom, right = group.pads(operation)
    kernel = _shape_of_weight(group, operation)[2:]
    before, after = group.shape(operation)[2:], group.numbers(operation, "output_shape")[2:]
    group.demand(operation.output.shape[2:] == after, "its output has another shape than it says")
    more = [
        end - ((n - 1) * stride + (k - 1) * dilation + 1 - cut)
        for end, n, stride, k, dilation, cut in zip(
            after, before, strides, kernel, dilations, (top + bottom, left + right), strict=True
        )
    ]
    group.demand(all(0 <= each < stride for each, stride in zip(more, strides, strict=True)), "its output is too large")
    groups = int(group.number(operation, "groups"))
    return Read(ConvTranspose(strides, pads, (more[0], more[1]), dilations, groups), _weighted(group, operation))


def _shape_of_weight(group: Group, operation: Operation) -> tuple[int, ...]:
    name = group.name(operation, "weight")
    stored = group.program.integers.get(name)
    return stored.data.shape if stored is not None else group.array(operation, "weight").shape


def _linear(group: Group) -> Read:
    (operation,) = group.operations
    return Read(Linear(), _weighted(group, operation))


def _weighted(group: Group, operation: Operation) -> Inputs:
    read = tuple(group.name(operation, word) for word in ("x", "weight"))
    if "bias" not in operation.inputs:
        return read
    bias = group.name(operation, "bias")
    if ROLE in bias:  # not the network's: MIL gives a linear layer without a bias one of zeros
        group.demand(not group.array(operation, "bias").any(), "its absent bias is not zero")
        return read
    return (*read, bias)


def _pair(operator: Operator) -> Callable[[Group], Read]:
    def read(group: Group) -> Read:
        (operation,) = group.operations
        return Read(operator, (group.name(operation, "x"), group.name(operation, "y")))

    return read


def _alone(operator: Operator) -> Callable[[Group], Read]:
    def read(group: Group) -> Read:
        (operation,) = group.operations
        return Read(operator, (group.name(operation, "x"),))

    return read


def _hard_sigmoid(group: Group) -> Read:
    (operation,) = group.operations
    _demand_sixth(group, operation)
    return Read(HardSigmoid(), (group.name(operation, "x"),))


def _hard_swish(group: Group) -> Read:
    gate, product = group.operations
    _demand_sixth(group, gate)
    _demand_behind(group, product, gate, "y")
    group.demand(group.name(product, "x") == group.name(gate, "x"), "its product is not that of one value and its gate")
    return Read(HardSwish(), (group.name(gate, "x"),))


def _demand_sixth(group: Group, operation: Operation) -> None:
    """clip(x/6 + 1/2, 0, 1), as far as the program's float tells."""
    alpha, beta = group.array(operation, "alpha"), group.array(operation, "beta")
    right = alpha == alpha.dtype.type(1 / 6) and beta == 0.5
    group.demand(right, f"its {operation.kind} has the slope {alpha} and the middle {beta}")


def _softmax(group: Group) -> Read:
    (operation,) = group.operations
    return Read(Softmax(_axis(group, operation)), (group.name(operation, "x"),))


def _axis(group: Group, operation: Operation) -> int:
    (axis,) = group.axes(operation, "axis", len(operation.output.shape))
    return axis


def _concat(group: Group) -> Read:
    (operation,) = group.operations
    group.demand(not group.truth(operation, "interleave"), "its parts are interleaved")
    return Read(Concat(_axis(group, operation)), operation.inputs.get("values", ()))


def _resize(group: Group) -> Read:
    (operation,) = group.operations
    if operation.kind == "resize_bilinear":
        mode = group.word(operation, "sampling_mode")
        group.demand(mode == "UNALIGN_CORNERS", f"it resizes by {mode!r}")
        height, width = (int(group.number(operation, f"target_size_{side}")) for side in ("height", "width"))
    else:
        linear = operation.kind == "upsample_bilinear"
        group.demand(not (linear and group.truth(operation, "align_corners")), "it resizes with aligned corners")
        group.demand(not linear or "align_corners" in operation.inputs, "it does not say that corners are not aligned")
        factors = [group.number(operation, f"scale_factor_{side}") for side in ("height", "width")]
        group.demand(all(factor == int(factor) >= 1 for factor in factors), f"it resizes by {factors}")
        height, width = (n * int(f) for n, f in zip(group.shape(operation)[2:], factors, strict=True))
    group.demand(operation.output.shape[2:] == (height, width), "its output has another size than it says")
    nearest = operation.kind == "upsample_nearest_neighbor"
    return Read(Resize((height, width), "nearest" if nearest else "linear"), (group.name(operation, "x"),))


def _max_pool(group: Group) -> Read:
    (operation,) = group.operations
    return Read(MaxPool(*_window(group, operation)), (group.name(operation, "x"),))


def _average_pool(group: Group) -> Read:
    (operation,) = group.operations
    kernel, strides, pads = _window(group, operation)
    counted = any(pads) and not group.truth(operation, "exclude_padding_from_average")
    group.demand(not counted, "what is padded counts in its average")
    return Read(AveragePool(kernel, strides, pads), (group.name(operation, "x"),))


def _window(group: Group, operation: Operation) -> tuple[Pair, Pair, tuple[int, int, int, int]]:
    group.demand(not group.truth(operation, "ceil_mode"), "its windows hang over the end")
    return group.pair(operation, "kernel_sizes"), group.pair(operation, "strides"), group.pads(operation)


def _reduce(kind: type[Mean] | type[Max]) -> Callable[[Group], Read]:
    def read(group: Group) -> Read:
        (operation,) = group.operations
        axes = group.axes(operation, "axes", len(group.shape(operation)))
        return Read(kind(axes, group.truth(operation, "keep_dims")), (group.name(operation, "x"),))

    return read


def _pad(group: Group) -> Read:
    (operation,) = group.operations
    numbers = group.numbers(operation, "pad")
    group.demand(group.word(operation, "mode") == "constant", "it pads with what is there")
    group.demand(len(numbers) == 8 and not any(numbers[:4]), f"its pads are {numbers}")
    *_, top, bottom, left, right = numbers
    value = group.number(operation, "constant_val")
    return Read(Pad((top, left, bottom, right), value), (group.name(operation, "x"),))


def _reshape(group: Group) -> Read:
    (operation,) = group.operations
    shape = group.numbers(operation, "shape")
    group.demand(shape == operation.output.shape and shape[:1] == (1,), "its output has another shape than it says")
    return Read(Reshape((BATCH, *shape[1:])), (group.name(operation, "x"),))


def _slice(group: Group) -> Read:
    (operation,) = group.operations
    before, begin, size = group.shape(operation), group.numbers(operation, "begin"), group.numbers(operation, "size")
    group.demand(len(before) == len(begin) == len(size), "its corners have another rank than what it cuts")
    cut = [axis for axis, part in enumerate(zip(begin, size, before, strict=True)) if part[:2] != (0, part[2])]
    group.demand(len(cut) == 1, f"it cuts {len(cut)} axes")
    (axis,) = cut
    group.demand(size[axis] > 0 and begin[axis] + size[axis] <= before[axis], "it cuts beyond the end")
    return Read(Slice(axis, begin[axis], begin[axis] + size[axis]), (group.name(operation, "x"),))


RULES: Mapping[tuple[str, ...], Callable[[Group], Read]] = {
    ("conv",): _conv,
    ("conv_transpose",): _conv_transpose,
    ("linear",): _linear,
    ("add",): _pair(Add()),
    ("mul",): _pair(Mul()),
    ("mul", "add"): _pixels,
    ("sigmoid_hard",): _hard_sigmoid,
    ("sigmoid_hard", "mul"): _hard_swish,
    ("sigmoid",): _alone(Sigmoid()),
    ("softmax",): _softmax,
    ("max_pool",): _max_pool,
    ("avg_pool",): _average_pool,
    ("reduce_mean",): _reduce(Mean),
    ("reduce_max",): _reduce(Max),
    ("concat",): _concat,
    ("upsample_bilinear",): _resize,
    ("resize_bilinear",): _resize,
    ("upsample_nearest_neighbor",): _resize,
    ("pad",): _pad,
    ("reshape",): _reshape,
    ("slice_by_size",): _slice,
}
"""What the operators of one node may be, without what turns them into floats and back, and without the activation."""
