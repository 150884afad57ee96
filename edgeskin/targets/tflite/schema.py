"""What the published schema says of each operator that edgeskin writes or reads: its options table, and its versions.

A version tells an interpreter which form of an operator the file uses; the lowest that has the form is written, so that
an old interpreter opens the file. Source: `op_version.cc` of TensorFlow Lite.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_POOL = ("Padding", "StrideW", "StrideH", "FilterWidth", "FilterHeight", "FusedActivationFunction")
_CONV = ("Padding", "StrideW", "StrideH", "FusedActivationFunction", "DilationWFactor", "DilationHFactor")


@dataclass(frozen=True)
class Form:
    """table, fields: the options table and those of its fields that carry meaning. version: of the float form.
    int8: of the integer form.
    """

    table: str | None
    fields: tuple[str, ...] = ()
    version: int = 1
    int8: int = 2


FORMS: Mapping[str, Form] = {
    "ADD": Form("AddOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": Form("Pool2DOptions", _POOL),
    "CONCATENATION": Form("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "CONV_2D": Form("Conv2DOptions", _CONV, int8=3),
    "DEPTHWISE_CONV_2D": Form("DepthwiseConv2DOptions", (*_CONV, "DepthMultiplier"), version=2, int8=3),
    "DEQUANTIZE": Form("DequantizeOptions"),
    "FULLY_CONNECTED": Form("FullyConnectedOptions", ("FusedActivationFunction",), int8=4),
    "HARD_SWISH": Form("HardSwishOptions", int8=1),
    "LOGISTIC": Form(None),
    "MAX_POOL_2D": Form("Pool2DOptions", _POOL),
    "MEAN": Form("ReducerOptions", ("KeepDims",)),
    "MUL": Form("MulOptions", ("FusedActivationFunction",)),
    "PAD": Form("PadOptions"),
    "PADV2": Form("PadV2Options"),
    "QUANTIZE": Form("QuantizeOptions"),
    "REDUCE_MAX": Form("ReducerOptions", ("KeepDims",)),
    "RELU": Form(None),
    "RELU6": Form(None),
    "RESHAPE": Form("ReshapeOptions", ("NewShape",), int8=1),
    "RESIZE_BILINEAR": Form("ResizeBilinearOptions", ("AlignCorners", "HalfPixelCenters"), version=3, int8=3),
    "RESIZE_NEAREST_NEIGHBOR": Form("ResizeNearestNeighborOptions", ("AlignCorners", "HalfPixelCenters")),
    "SLICE": Form("SliceOptions"),
    "SOFTMAX": Form("SoftmaxOptions", ("Beta",)),
    "TRANSPOSE_CONV": Form(
        "TransposeConvOptions", ("Padding", "StrideW", "StrideH", "FusedActivationFunction"), version=3, int8=3
    ),
}
"""By the schema's word. What is not here can be shown by name (`edgeskin inspect`), but not read into a network."""

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
WEIGHTED = CONVOLUTIONS | {"FULLY_CONNECTED"}

_FLOAT16 = {"DEQUANTIZE": 3}
_GROUPED_CONVOLUTION = 6
_ACTIVATED_TRANSPOSE_CONV = 4


def version(kind: str, kinds: frozenset[str], *, activated: bool = False, grouped: bool = False) -> int:
    """The version to write. kinds: the NumPy types of its tensors; activated: it has a fused activation."""
    form = FORMS[kind]
    found = form.int8 if kinds & {"int8"} else form.version
    if "float16" in kinds:
        found = _FLOAT16.get(kind, found)
    if kind == "CONV_2D" and grouped:
        found = _GROUPED_CONVOLUTION
    if kind == "TRANSPOSE_CONV" and activated:
        found = _ACTIVATED_TRANSPOSE_CONV
    return found


SAME, VALID = 0, 1
"""The schema's two paddings."""

ACTIVATIONS: Mapping[str | None, int] = {None: 0, "relu": 1, "relu6": 3}
"""The schema's fused activations, by ours."""

TYPES: Mapping[str, int] = {
    "float32": 0,
    "float16": 1,
    "int32": 2,
    "uint8": 3,
    "int64": 4,
    "bool": 6,
    "int16": 7,
    "int8": 9,
}
"""The schema's tensor types that NumPy has, by NumPy's word."""
