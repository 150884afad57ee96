"""What each kind of layer computes, by TensorRT's own meaning of its settings."""

import math
from collections.abc import Callable, Mapping

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
    Linear,
    Max,
    MaxPool,
    Mean,
    Mul,
    Operator,
    Pad,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.operators import transposed
from edgeskin.targets.tensorrt.lift.site import Read, Site, per_channel

_UNBOUNDED = float(np.finfo(np.float32).max)
"""What the parser writes for a bound that the file leaves out."""


def _activation(site: Site) -> Read:
    x, kind = site.operand(0), site.word("type")
    alpha, beta = site.number("alpha"), site.number("beta")
    if kind == "SIGMOID":
        return Read(Sigmoid(), (x,))
    if kind == "HARD_SIGMOID":  # clip(alpha·x + beta, 0, 1)
        site.demand(np.float32(alpha) == np.float32(1 / 6) and beta == 0.5, f"has the slope {alpha}, the middle {beta}")
        return Read(HardSigmoid(), (x,))
    clips: Mapping[tuple[str, float, float], Activation] = {
        ("CLIP", 0.0, 6.0): "relu6",
        ("CLIP", 0.0, math.inf): "relu",
        ("CLIP", 0.0, _UNBOUNDED): "relu",
    }
    known = "relu" if kind == "RELU" else clips.get((kind, alpha, beta))
    if known is None:
        raise site.refuse(f"is {kind} with {alpha:g} and {beta:g}; only ReLU, ReLU6 and sigmoids are known")
    return Read(Activate(), (x,), known)


def _convolution(site: Site) -> Read:
    x = site.operand(0)
    site.image()
    groups = int(site.number("num_groups"))
    shape = (int(site.number("num_output_maps")), int(x.shape[1]) // groups, *site.pair("kernel_size_nd"))
    operator = Conv(site.pair("stride_nd"), site.pads(), site.pair("dilation_nd"), groups)
    return Read(operator, (x, site.weight(0, shape), *site.bias()))


def _deconvolution(site: Site) -> Read:
    """Its pads cut the output, so those at the end are smaller by what ONNX calls output padding."""
    x = site.operand(0)
    site.image()
    groups = int(site.number("num_groups"))
    shape = (int(x.shape[1]), int(site.number("num_output_maps")) // groups, *site.pair("kernel_size_nd"))
    operator = ConvTranspose(site.pair("stride_nd"), site.pads(), (0, 0), site.pair("dilation_nd"), groups)
    return Read(operator, (x, site.weight(1, shape), *site.bias()))


def _matrix_multiply(site: Site) -> Read:
    x, weight = site.operand(0), site.operand(1)
    site.demand(
        len(x.shape) == len(weight.shape) == 2 and weight.is_constant and not x.is_constant,
        "is no product of rows with a stored matrix",
    )
    site.demand(site.word("op0") == "NONE", f"its rows are {site.word('op0')}")
    turned = site.word("op1")
    site.demand(turned in ("NONE", "TRANSPOSE"), f"its matrix is {turned}")
    return Read(Linear(), (x, per_channel(weight if turned == "TRANSPOSE" else transposed(weight), 0)))


def _elementwise(site: Site) -> Read:
    left, right = site.operand(0), site.operand(1)
    op = site.word("op")
    if op == "SUB" and right.is_constant:
        return Read(Add(), (left, Tensor(right.name, right.shape, None, -right.real())))
    operators: Mapping[str, Operator] = {"SUM": Add(), "PROD": Mul()}
    if op not in operators:
        raise site.refuse(f"computes {op} of two tensors; only sums and products are known")
    site.demand(len(left.shape) == len(right.shape), f"broadcasts {left.shape} and {right.shape}")
    return Read(operators[op], (left, right))


def _concatenation(site: Site) -> Read:
    axis = int(site.number("axis"))
    site.demand(axis != 0, "works along the batch")
    return Read(Concat(axis), tuple(site.operand(place) for place in range(len(site.operands))))


def _resize(site: Site) -> Read:
    """To the size that TensorRT infers; factors, where it has any, must be those of the sizes."""
    before, after = site.image(), (int(site.output[2]), int(site.output[3]))
    site.demand(site.output[:2] == site.operand(0).shape[:2], "resizes batch or channels")
    scales = site.layer.settings["scales"]
    if isinstance(scales, tuple) and scales:
        same = [
            np.float32(new / old) == np.float32(scale)
            for new, old, scale in zip(after, before, scales[2:], strict=True)
        ]
        site.demand(all(same), f"has the factors {scales[2:]} from {before} to {after}")
    if after == before:
        return Read(None, (site.operand(0),))
    centres = site.word("coordinate_transformation")
    mode = (site.word("resize_mode"), centres)
    if mode == ("LINEAR", "HALF_PIXEL"):
        selector = site.word("selector_for_single_pixel")
        site.demand(min(after) > 1 or selector == "FORMULA", f"takes a single pixel by {selector}")
        return Read(Resize(after, "linear"), (site.operand(0),))
    nearest = (*mode, site.word("nearest_rounding"))
    site.demand(nearest == ("NEAREST", "ASYMMETRIC", "FLOOR"), f"resizes by {', '.join(nearest)}")
    return Read(Resize(after, "nearest"), (site.operand(0),))


def _pooling(site: Site) -> Read:
    site.image()
    kernel, strides, pads, kind = site.pair("window_size_nd"), site.pair("stride_nd"), site.pads(), site.word("type")
    if kind == "MAX":
        return Read(MaxPool(kernel, strides, pads), (site.operand(0),))
    site.demand(kind == "AVERAGE", f"pools by {kind}")
    excluded = bool(site.number("average_count_excludes_padding"))
    site.demand(excluded or not any(pads), "what is padded counts in its average")
    return Read(AveragePool(kernel, strides, pads), (site.operand(0),))


def _reduce(site: Site) -> Read:
    kinds: Mapping[str, type[Mean] | type[Max]] = {"AVG": Mean, "MAX": Max}
    op = site.word("op")
    site.demand(op in kinds, f"reduces by {op}")
    return Read(kinds[op](site.axes(), bool(site.number("keep_dims"))), (site.operand(0),))


def _softmax(site: Site) -> Read:
    axes = site.axes()
    site.demand(len(axes) == 1, f"works along the axes {axes}")
    return Read(Softmax(axes[0]), (site.operand(0),))


def _shuffle(site: Site) -> Read:
    """A new shape for the same values in the same order."""
    x, rank = site.operand(0), len(site.operand(0).shape)
    for setting in ("first_transpose", "second_transpose"):
        order = site.layer.settings[setting]
        still = isinstance(order, tuple) and order[:rank] == tuple(range(rank))
        site.demand(still, f"moves axes by {order}")
    after = site.output
    if x.shape == after:
        return Read(None, (x,))
    site.demand(after[:1] == x.shape[:1], f"makes {after} of {x.shape}, and the batch is not alone any more")
    return Read(Reshape(after), (x,))


def _slice(site: Site) -> Read:
    """A part of one axis; or, filling what lies outside, padding."""
    x = site.operand(0)
    starts, sizes = site.cut()
    mode = site.word("mode")
    if mode == "FILL":
        return _padding(site, x, starts, sizes)
    site.demand(mode == "STRICT_BOUNDS", f"takes what lies outside by {mode}")
    cut = [axis for axis, size in enumerate(sizes) if (starts[axis], size) != (0, x.shape[axis])]
    if not cut:
        return Read(None, (x,))
    site.demand(len(cut) == 1, f"cuts {len(cut)} axes")
    (axis,) = cut
    return Read(Slice(axis, starts[axis], starts[axis] + int(sizes[axis])), (x,))


def _padding(site: Site, x: Tensor, starts: tuple[int, ...], sizes: tuple[int | str, ...]) -> Read:
    height, width = site.image()
    pads = (-starts[2], -starts[3], starts[2] + int(sizes[2]) - height, starts[3] + int(sizes[3]) - width)
    whole = (starts[1], sizes[1]) == (0, x.shape[1])
    site.demand(whole and min(pads) >= 0, f"pads {x.shape} from {starts} to {sizes}")
    value = 0.0
    if len(site.operands) > 4 and site.layer.inputs[4] is not None:
        filling = site.operand(4)
        site.demand(filling.is_constant and filling.real().size == 1, "fills with what is no stored number")
        value = float(filling.real().reshape(-1)[0])
    return Read(Pad(pads, value), (x,))


RULES: Mapping[str, Callable[[Site], Read]] = {
    "ACTIVATION": _activation,
    "CONCATENATION": _concatenation,
    "CONVOLUTION": _convolution,
    "DECONVOLUTION": _deconvolution,
    "ELEMENTWISE": _elementwise,
    "IDENTITY": lambda site: Read(None, (site.operand(0),)),
    "MATRIX_MULTIPLY": _matrix_multiply,
    "POOLING": _pooling,
    "REDUCE": _reduce,
    "RESIZE": _resize,
    "SHUFFLE": _shuffle,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
}
"""By kind; constants, quantization and the input door belong to the lifting itself."""
