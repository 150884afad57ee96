"""A network definition of TensorRT as data: every layer, what it is set to, and the numbers it holds.

A definition is memory of TensorRT's: its layers and weights live as long as it does. What stands here is a copy.

What its Python API asks of a reader (tensorrt-rtx 1.7.1): `get_layer` returns every layer as the plain `ILayer`, which
shows its settings once its class is set to that of its kind; two of them, activations and poolings, have a setting
`type` that hides the kind. A setting that is computed or absent is None, raises, or logs an error, each its own way.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Array

Setting: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | Array | None
"""Words are those of TensorRT's enumerations, in capitals; None is what the layer does not have, or computes."""


@dataclass(frozen=True)
class Value:
    """A value that is computed or handed in. kind: `FLOAT`, `INT8` and so on. shape: −1 for what an input decides."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer. node: the ONNX node that it was made for, None for what the parser put between."""

    kind: str
    name: str
    node: str | None
    inputs: tuple[str | None, ...]
    output: Value
    settings: Mapping[str, Setting]

    def refuse(self, reason: str) -> GraphError:
        """The error for a layer that is not understood; it names the layer as TensorRT does."""
        return GraphError(f"{self.name} ({self.kind}): {reason}")


@dataclass(frozen=True)
class Layers:
    """A whole definition, in its own order; there a shape may be computed behind its use."""

    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]


_WINDOW = ("kernel_size_nd", "stride_nd", "dilation_nd", "pre_padding", "post_padding", "padding_mode")
_WEIGHTED = (*_WINDOW, "num_output_maps", "num_groups", "kernel", "bias")
_SCALED = ("axis", "block_shape", "to_type")
_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ACTIVATION": ("IActivationLayer", ("type", "alpha", "beta")),
    "CAST": ("ICastLayer", ("to_type",)),
    "CONCATENATION": ("IConcatenationLayer", ("axis",)),
    "CONSTANT": ("IConstantLayer", ("weights", "shape")),
    "CONVOLUTION": ("IConvolutionLayer", _WEIGHTED),
    "DECONVOLUTION": ("IDeconvolutionLayer", _WEIGHTED),
    "DEQUANTIZE": ("IDequantizeLayer", _SCALED),
    "ELEMENTWISE": ("IElementWiseLayer", ("op",)),
    "GATHER": ("IGatherLayer", ("axis", "mode", "num_elementwise_dims")),
    "IDENTITY": ("IIdentityLayer", ()),
    "MATRIX_MULTIPLY": ("IMatrixMultiplyLayer", ("op0", "op1")),
    "POOLING": (
        "IPoolingLayer",
        ("type", "window_size_nd", "average_count_excludes_padding", *_WINDOW[1:2], *_WINDOW[3:]),
    ),
    "QUANTIZE": ("IQuantizeLayer", _SCALED),
    "REDUCE": ("IReduceLayer", ("op", "axes", "keep_dims")),
    "RESIZE": (
        "IResizeLayer",
        ("resize_mode", "coordinate_transformation", "nearest_rounding", "selector_for_single_pixel", "scales"),
    ),
    "SHAPE": ("IShapeLayer", ()),
    "SHUFFLE": ("IShuffleLayer", ("first_transpose", "second_transpose")),
    "SLICE": ("ISliceLayer", ("start", "shape", "stride", "mode", "axes")),
    "SOFTMAX": ("ISoftMaxLayer", ("axes",)),
}
"""By kind: the class that shows a layer's settings, and those that decide what it computes."""

_COMPUTED = {("RESIZE", "scales")}
"""Settings that log an error when they are read from a layer that computes them."""


def walk(definition: Any) -> Layers:
    """Copy an `INetworkDefinition`.

    Raises: GraphError that names a layer of a kind, or with a number of outputs, that no network of ours has.
    """
    library = _module(definition)
    inputs = tuple(_value(definition.get_input(place)) for place in range(definition.num_inputs))
    outputs = tuple(definition.get_output(place).name for place in range(definition.num_outputs))
    layers = tuple(_layer(library, definition.get_layer(place)) for place in range(definition.num_layers))
    return Layers(inputs, outputs, layers)


def _module(definition: Any) -> Any:
    """The module that a definition is of: `tensorrt_rtx` or `tensorrt`, whose classes have the same names."""
    return sys.modules[type(definition).__module__]


def _layer(library: Any, layer: Any) -> Layer:
    kind = layer.type.name
    node = re.fullmatch(r"\[ONNX Layer: (.+)\]", layer.metadata)
    inputs = [layer.get_input(place) for place in range(layer.num_inputs)]
    head = Layer(
        kind,
        layer.name,
        node[1] if node else None,
        tuple(None if each is None else each.name for each in inputs),
        _value(layer.get_output(0)),
        {},
    )
    if kind not in _KINDS or layer.num_outputs != 1:
        raise head.refuse("is no layer that the parser makes of a network of ours")
    shown, names = _KINDS[kind]
    layer.__class__ = getattr(library, shown)
    dynamic = len(inputs) > 1
    settings = {name: None if dynamic and (kind, name) in _COMPUTED else _setting(layer, name) for name in names}
    return Layer(kind, head.name, head.node, head.inputs, head.output, settings)


def _value(tensor: Any) -> Value:
    return Value(tensor.name, tensor.dtype.name, tuple(int(size) for size in tensor.shape))


def _setting(layer: Any, name: str) -> Setting:
    """A setting as plain data."""
    try:
        value = getattr(layer, name, None)  # what a version does not have, a layer of it is not set to
    except RuntimeError:  # "Could not get block_shape.", where there is none
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "name"):
        return str(value.name)
    if isinstance(value, np.ndarray):
        return np.array(value)
    if name in ("kernel", "bias", "weights"):  # in a type that NumPy lacks
        raise GraphError(f"{layer.name}: holds weights of a type that no network of ours has")
    try:
        return tuple(value)
    except ValueError:  # dimensions that are computed have no length
        return None
