"""What one node becomes: the operators of MIL that compute it in floats, without activation and quantization."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Activate,
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
    Pixels,
    Requantize,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
)
from edgeskin.targets.coreml.lower.site import Site, fixed, pad_pairs

FLOAT16 = "fp16"


def _pixels(site: Site) -> Any:
    """(pixel − 128) / 128 as the scale and bias of an image input, in float32 as the system hands it over."""
    image = site.draft.values[site.node.inputs[0]]
    scaled = site.build.mul(x=image, y=np.float32(PIXEL_SCALE), name=site.name("scaled"))
    biased = site.build.add(x=scaled, y=np.full((1, 3, 1, 1), -1, np.float32), name=site.name("biased"))
    return site.build.cast(x=biased, dtype=FLOAT16, name=site.name("half")) if site.draft.half else biased


def _conv(site: Site, operator: Conv) -> Any:
    return site.build.conv(
        x=site.x(),
        weight=site.x(1),
        **_bias(site),
        strides=list(operator.strides),
        pad_type="custom",
        pad=pad_pairs(operator.pads),
        dilations=list(operator.dilations),
        groups=operator.groups,
        name=site.name("conv"),
    )


def _conv_transpose(site: Site, operator: ConvTranspose) -> Any:
    return site.build.conv_transpose(
        x=site.x(),
        weight=site.x(1),
        **_bias(site),
        strides=list(operator.strides),
        pad_type="custom",
        pad=pad_pairs(operator.pads),
        # Pads and strides leave open how many rows come out; the shape says so, and with it the output padding.
        output_shape=list(fixed(site.result)),
        dilations=list(operator.dilations),
        groups=operator.groups,
        name=site.name("conv"),
    )


def _linear(site: Site, _: Linear) -> Any:
    return site.build.linear(x=site.x(), weight=site.x(1), **_bias(site), name=site.name("linear"))


def _bias(site: Site) -> dict[str, Any]:
    return {"bias": site.x(2)} if len(site.tensors) > 2 else {}


def _add(site: Site, _: Add) -> Any:
    return site.build.add(x=site.x(), y=site.x(1), name=site.name("sum"))


def _mul(site: Site, _: Mul) -> Any:
    return site.build.mul(x=site.x(), y=site.x(1), name=site.name("product"))


def _concat(site: Site, operator: Concat) -> Any:
    values = [site.x(position) for position in range(len(site.tensors))]
    return site.build.concat(values=values, axis=operator.axis, name=site.name("joined"))


def _resize(site: Site, operator: Resize) -> Any:
    before, after = fixed(site.tensors[0])[2:], operator.size
    factors = [float(new) / old for old, new in zip(before, after, strict=True)]
    whole = all(new % old == 0 for old, new in zip(before, after, strict=True))
    name = site.name("resized")
    if operator.mode == "nearest":
        if not whole:
            raise site.refuse(
                f"resizes {before} to {after}; nearest can only repeat whole pixels here, resize linearly"
            )
        height, width = map(int, factors)
        return site.build.upsample_nearest_neighbor(
            x=site.x(), scale_factor_height=height, scale_factor_width=width, name=name
        )
    if whole:
        return site.build.upsample_bilinear(
            x=site.x(),
            scale_factor_height=factors[0],
            scale_factor_width=factors[1],
            align_corners=False,
            name=name,
        )
    return site.build.resize_bilinear(
        x=site.x(),
        target_size_height=after[0],
        target_size_width=after[1],
        sampling_mode="UNALIGN_CORNERS",
        name=name,
    )


def _max_pool(site: Site, operator: MaxPool) -> Any:
    return site.build.max_pool(**_window(site, operator), name=site.name("pooled"))


def _average_pool(site: Site, operator: AveragePool) -> Any:
    return site.build.avg_pool(**_window(site, operator), exclude_padding_from_average=True, name=site.name("pooled"))


def _window(site: Site, operator: MaxPool | AveragePool) -> dict[str, Any]:
    return {
        "x": site.x(),
        "kernel_sizes": list(operator.kernel),
        "strides": list(operator.strides),
        "pad_type": "custom",
        "pad": pad_pairs(operator.pads),
    }


def _mean(site: Site, operator: Mean) -> Any:
    return site.build.reduce_mean(
        x=site.x(), axes=list(operator.axes), keep_dims=operator.keepdims, name=site.name("mean")
    )


def _max(site: Site, operator: Max) -> Any:
    return site.build.reduce_max(
        x=site.x(), axes=list(operator.axes), keep_dims=operator.keepdims, name=site.name("maximum")
    )


def _sigmoid(site: Site, _: Sigmoid) -> Any:
    return site.build.sigmoid(x=site.x(), name=site.name("sigmoid"))


def _softmax(site: Site, operator: Softmax) -> Any:
    return site.build.softmax(x=site.x(), axis=operator.axis, name=site.name("softmax"))


def _hard_sigmoid(site: Site, _: HardSigmoid) -> Any:
    return site.build.sigmoid_hard(x=site.x(), alpha=site.number(1 / 6), beta=site.number(0.5), name=site.name("gate"))


def _hard_swish(site: Site, _: HardSwish) -> Any:
    return site.build.mul(x=site.x(), y=_hard_sigmoid(site, HardSigmoid()), name=site.name("product"))


def _activate(site: Site, _: Activate) -> Any:
    return site.x()


def _pad(site: Site, operator: Pad) -> Any:
    return site.build.pad(
        x=site.x(),
        pad=[0, 0, 0, 0, *pad_pairs(operator.pads)],
        mode="constant",
        constant_val=site.number(operator.value),
        name=site.name("padded"),
    )


def _reshape(site: Site, _: Reshape) -> Any:
    return site.build.reshape(x=site.x(), shape=list(fixed(site.result)), name=site.name("reshaped"))


def _slice(site: Site, operator: Slice) -> Any:
    begin, size = [0] * len(site.result.shape), list(fixed(site.tensors[0]))
    begin[operator.axis], size[operator.axis] = operator.start, operator.end - operator.start
    return site.build.slice_by_size(x=site.x(), begin=begin, size=size, name=site.name("part"))


def _requantize(site: Site, _: Requantize) -> Any:
    tensor = site.tensors[0]
    if site.result.quantization is None:
        if tensor.quantization is None:
            raise site.refuse("changes nothing; export the graph again")
        return site.draft.dequantize(tensor, site.name("real"))
    return site.x()


_RULES: Mapping[type, Callable[..., Any]] = {
    Pixels: lambda site, _: _pixels(site),
    Conv: _conv,
    ConvTranspose: _conv_transpose,
    Linear: _linear,
    Add: _add,
    Mul: _mul,
    Concat: _concat,
    Resize: _resize,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Mean: _mean,
    Max: _max,
    Sigmoid: _sigmoid,
    Softmax: _softmax,
    HardSigmoid: _hard_sigmoid,
    HardSwish: _hard_swish,
    Activate: _activate,
    Pad: _pad,
    Reshape: _reshape,
    Slice: _slice,
    Requantize: _requantize,
}
"""How each kind is said in MIL."""


def rule_of(operator: Operator) -> Callable[[Site], Any]:
    """How an operator is said at its site."""
    rule = _RULES[type(operator)]
    return lambda site: cast("Any", rule(site, operator))
