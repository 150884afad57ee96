"""What each ONNX operator means in the network's own words; what has no exact counterpart is refused by name."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgeskin.graph.ir import (
    Activate,
    Activation,
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
    Pads,
    Pair,
    Quantization,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.site import Site, Translation


def _same(site: Site) -> Translation:
    return Translation(None, (site.operand(0),))


def _spatial(site: Site) -> tuple[int, int]:
    """Height and width of an operator's input, which must be an image [N, C, H, W]."""
    shape = site.operand(0).shape
    if len(shape) != 4:
        raise site.refuse(f"its input has rank {len(shape)}; only 2-D images [N, C, H, W] are supported")
    return int(shape[2]), int(shape[3])


def _weighted(site: Site) -> tuple[Tensor, ...]:
    x, weight = site.operand(0), site.operand(1)
    if weight.data is None:
        raise site.refuse(f"its weight {weight.name!r} is computed; only stored weights are supported")
    if weight.data.dtype != np.float32 and weight.quantization is None:
        raise site.refuse(f"its weight {weight.name!r} has no scale; put a DequantizeLinear between")
    if len(site.inputs) < 3 or site.inputs[2] is None:
        return x, weight
    bias = site.operand(2)
    if bias.data is None:
        raise site.refuse(f"its bias {bias.name!r} is computed; only stored biases are supported")
    row = bias.real().reshape(-1)
    return x, weight, Tensor(bias.name, row.shape, None, row)


def _conv(site: Site) -> Translation:
    _spatial(site)
    operator = Conv(site.pair("strides"), site.pads(), site.pair("dilations"), site.whole("group", 1))
    return Translation(operator, _weighted(site))


def _conv_transpose(site: Site) -> Translation:
    _spatial(site)
    if "output_shape" in site.attributes:
        raise site.refuse("output_shape is not supported; export pads and output_padding")
    operator = ConvTranspose(
        site.pair("strides"),
        site.pads(),
        site.pair("output_padding", (0, 0)),
        site.pair("dilations"),
        site.whole("group", 1),
    )
    return Translation(operator, _weighted(site))


def transposed(tensor: Tensor) -> Tensor:
    """A stored matrix with rows and columns exchanged, its per-channel axis too."""
    assert tensor.data is not None
    data = np.ascontiguousarray(tensor.data.T)
    quantization = tensor.quantization
    if quantization is not None and quantization.axis is not None:
        quantization = Quantization(quantization.scale, 1 - quantization.axis)
    return Tensor(tensor.name, data.shape, quantization, data)


def _gemm(site: Site) -> Translation:
    for name, value in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        site.demand(name, value)
    x, weight, *bias = _weighted(site)
    return Translation(Linear(), (x, weight if site.whole("transB", 0) else transposed(weight), *bias))


def _matmul(site: Site) -> Translation:
    x, weight = site.operand(0), site.operand(1)
    if len(x.shape) != 2 or weight.data is None or weight.data.ndim != 2:
        raise site.refuse("only [N, I] × a stored [I, O] matrix is supported")
    return Translation(Linear(), (x, transposed(weight)))


def _transpose(site: Site) -> Translation:
    matrix = site.operand(0)
    if matrix.data is None or matrix.data.ndim != 2:
        raise site.refuse("only a stored matrix can be transposed; keep images in [N, C, H, W]")
    return Translation(None, (transposed(matrix),))


def _elementwise(site: Site) -> tuple[Tensor, ...]:
    """Both operands, constants brought to the output's rank; other broadcasts than Add's are refused."""
    operands = []
    for tensor in (site.operand(0), site.operand(1)):
        if tensor.data is not None and (tensor.quantization is None or tensor.quantization.axis is None):
            data = tensor.data.reshape((1,) * (len(site.output) - tensor.data.ndim) + tensor.data.shape)
            operands.append(Tensor(tensor.name, data.shape, tensor.quantization, data))
        else:
            operands.append(tensor)
    for tensor in operands:
        if len(tensor.shape) != len(site.output):
            raise site.refuse(
                f"{tensor.name!r} {tensor.shape} broadcasts over ranks; reshape it to rank {len(site.output)}"
            )
    return tuple(operands)


def _add(site: Site) -> Translation:
    return Translation(Add(), _elementwise(site))


def _mul(site: Site) -> Translation:
    return Translation(Mul(), _elementwise(site))


def _sub(site: Site) -> Translation:
    left, right = _elementwise(site)
    if right.data is None:
        raise site.refuse("subtracts a computed tensor; only constants can be subtracted")
    negative = -right.real()
    return Translation(Add(), (left, Tensor(right.name, negative.shape, None, negative)))


def _div(site: Site) -> Translation:
    """Division by a power of two, which is a product exactly; any other divisor would round twice."""
    left, right = _elementwise(site)
    if right.data is None or not np.all(np.abs(np.frexp(right.real())[0]) == 0.5):
        raise site.refuse("divides by something else than a stored power of two; multiply by the reciprocal instead")
    reciprocal = (1 / right.real()).astype(np.float32)
    return Translation(Mul(), (left, Tensor(right.name, reciprocal.shape, None, reciprocal)))


def _concat(site: Site) -> Translation:
    inputs = tuple(site.operand(position) for position in range(len(site.inputs)))
    return Translation(Concat(site.axis(site.whole("axis", 1), len(site.output))), inputs)


def _resize(site: Site) -> Translation:
    before = _spatial(site)
    after = int(site.output[2]), int(site.output[3])
    if site.output[:2] != site.operand(0).shape[:2]:
        raise site.refuse("resizes batch or channels; only height and width can be resized")
    for name in ("antialias", "exclude_outside"):
        site.demand(name, 0)
    site.demand("keep_aspect_ratio_policy", "stretch")
    mode = site.word("mode", "nearest")
    centres = site.word("coordinate_transformation_mode", "half_pixel")
    scales = site.inputs[2] if len(site.inputs) > 2 else None
    if scales is not None and scales.data is not None and scales.data.size:
        given = scales.real()[-2:]
        if any(abs(scale * old - new) > 1e-3 for scale, old, new in zip(given, before, after, strict=True)):
            raise site.refuse(f"scales {given} do not lead from {before} to {after} exactly; give sizes instead")
    if after == before:
        return _same(site)
    if mode == "linear":
        if centres != "half_pixel" and not (centres == "pytorch_half_pixel" and min(after) > 1):
            raise site.refuse(
                f"{centres} is not supported for linear resizing; use half-pixel centres (align_corners=False)"
            )
        return Translation(Resize(after, "linear"), (site.operand(0),))
    if (mode, centres, site.word("nearest_mode", "round_prefer_floor")) != ("nearest", "asymmetric", "floor"):
        raise site.refuse(f"mode {mode} with {centres} is not supported; use linear, or nearest (asymmetric, floor)")
    return Translation(Resize(after, "nearest"), (site.operand(0),))


def _window(site: Site) -> tuple[Pair, Pair, Pads]:
    """Kernel, strides, and pads with what ceil mode adds at the end, so that floor mode gives the same output."""
    before, after = _spatial(site), site.output[2:]
    kernel, strides, pads = site.pair("kernel_shape", None), site.pair("strides"), site.pads()
    site.demand("dilations", (1, 1))
    site.demand("storage_order", 0)
    ends = [
        max(pads[2 + side], (int(after[side]) - 1) * strides[side] + kernel[side] - before[side] - pads[side])
        for side in (0, 1)
    ]
    if any(end >= size for end, size in zip(ends, kernel, strict=True)):
        raise site.refuse(
            f"its last window lies wholly in the padding (pads {pads}, kernel {kernel}); use smaller pads"
        )
    return kernel, strides, (pads[0], pads[1], ends[0], ends[1])


def _max_pool(site: Site) -> Translation:
    if len([name for name in site.node.output if name]) > 1:
        raise site.refuse("its indices are used; only the maximum itself is supported")
    return Translation(MaxPool(*_window(site)), (site.operand(0),))


def _average_pool(site: Site) -> Translation:
    if any(site.pads()):
        site.demand("count_include_pad", 0)
    return Translation(AveragePool(*_window(site)), (site.operand(0),))


def _reduced(site: Site) -> tuple[tuple[int, ...], bool]:
    rank = len(site.operand(0).shape)
    given = site.constant(1)
    axes = site.attributes.get("axes") if given is None else tuple(int(axis) for axis in given.reshape(-1))
    if not isinstance(axes, tuple) or not axes:
        raise site.refuse("reduces every axis; name the axes")
    return tuple(sorted(site.axis(int(axis), rank) for axis in axes)), bool(site.whole("keepdims", 1))


def _global(site: Site, operator: Operator) -> Translation:
    _spatial(site)
    return Translation(operator, (site.operand(0),))


def _number(site: Site, position: int, default: float) -> float:
    """A stored number that may be left out."""
    stored = site.constant(position)
    if stored is not None and stored.size != 1:
        raise site.refuse(f"input {position} holds {stored.size} values where one number belongs")
    return default if stored is None else float(stored.reshape(-1)[0])


def _clip(site: Site) -> Translation:
    low, high = _number(site, 1, -math.inf), _number(site, 2, math.inf)
    activations: Mapping[tuple[float, float], Activation] = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}
    if (low, high) not in activations:
        raise site.refuse(f"clips to [{low:g}, {high:g}]; only ReLU [0, inf] and ReLU6 [0, 6] are supported")
    return Translation(Activate(), (site.operand(0),), activations[low, high])


def _hard_sigmoid(site: Site) -> Translation:
    slope, offset = site.real("alpha", 0.2), site.real("beta", 0.5)
    if np.float32(slope) != np.float32(1 / 6) or offset != 0.5:
        raise site.refuse(f"alpha {slope:g}, beta {offset:g} is not supported; only x/6 + 1/2 is")
    return Translation(HardSigmoid(), (site.operand(0),))


def _pad(site: Site) -> Translation:
    site.demand("mode", "constant")
    rank = len(site.output)
    amounts, axes = site.constant(1), site.constant(3)
    if amounts is None or rank != 4:
        raise site.refuse("only constant padding of images [N, C, H, W] is supported")
    where = range(rank) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(where):
        begin[axis], end[axis] = int(amounts[position]), int(amounts[len(where) + position])
    if any(begin[:2] + end[:2]) or min(begin + end) < 0:
        raise site.refuse(f"pads {begin} and {end}; only height and width can be padded, by zero or more")
    return Translation(Pad((begin[2], begin[3], end[2], end[3]), _number(site, 2, 0.0)), (site.operand(0),))


def _reshape(site: Site) -> Translation:
    x = site.operand(0)
    sizes = [math.prod(int(size) for size in shape[1:]) for shape in (x.shape, site.output)]
    if site.output[0] != x.shape[0] or sizes[0] != sizes[1]:
        raise site.refuse(f"reshapes {x.shape} to {site.output}; the batch must stay first and alone")
    return _same(site) if x.shape == site.output else Translation(Reshape(site.output), (x,))


def _slice(site: Site) -> Translation:
    x = site.operand(0)
    starts, ends, axes, steps = (site.constant(position) for position in (1, 2, 3, 4))
    if starts is None or ends is None or starts.size != 1 or (steps is not None and int(steps[0]) != 1):
        raise site.refuse("only a slice of one axis with step 1 is supported")
    axis = site.axis(0 if axes is None else int(axes[0]), len(x.shape))
    start, end, _ = slice(int(starts[0]), int(ends[0])).indices(int(x.shape[axis]))
    return Translation(Slice(axis, start, end), (x,))


def _softmax(site: Site) -> Translation:
    return Translation(Softmax(site.axis(site.whole("axis", -1), len(site.output))), (site.operand(0),))


TRANSLATIONS: Mapping[str, Callable[[Site], Translation]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Cast": _same,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Dropout": _same,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda site: _global(site, Mean((2, 3), True)),
    "GlobalMaxPool": lambda site: _global(site, Max((2, 3), True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda site: Translation(HardSwish(), (site.operand(0),)),
    "Identity": _same,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _mul,
    "Pad": _pad,
    "ReduceMax": lambda site: Translation(Max(*_reduced(site)), (site.operand(0),)),
    "ReduceMean": lambda site: Translation(Mean(*_reduced(site)), (site.operand(0),)),
    "Relu": lambda site: Translation(Activate(), (site.operand(0),), "relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda site: Translation(Sigmoid(), (site.operand(0),)),
    "Slice": _slice,
    "Softmax": _softmax,
    "Squeeze": _reshape,
    "Sub": _sub,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
"""By ONNX operator; QuantizeLinear and DequantizeLinear belong to the reader."""

SHAPE_INPUTS: Mapping[str, Sequence[int]] = {
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that only say which shape comes out; the inferred shape says the same, so they may be computed."""
