"""Write a network as ONNX: the canonical file, and its exact uint8 twin for onnxruntime.

The file is a function of the network alone: equal networks give equal bytes, and reading it gives the network back.

Canonical (`int8`): every quantized tensor passes QuantizeLinear and DequantizeLinear as int8 at zero point 0, weights
are int8 for each channel, biases stay float32 (TensorRT refuses an int32 DequantizeLinear).

The twin (`uint8`) holds the same integers plus 128, at the same scales. Three things are spelled the way onnxruntime's
integer kernels want them: the door is one DequantizeLinear (a pixel is its own quantized value), biases are int32, and
an activation is a clip of the integers behind QuantizeLinear, because onnxruntime cannot see past a float Relu between
a convolution and a quantization at zero point 128. Rounding is monotonic and keeps 0, so
quantize(clip(x)) = clip(quantize(x)).

At opset 17 the canonical file is spelled for TensorRT 8.5 and 8.6 (JetPack 5 and 6.0), which read nothing newer: the
axes of a reduction are an attribute, and the image enters as float32, each pixel as it is, because uint8 is not among
the types of that parser, nor of its Cast. Zero points are zero, as it demands. Source: onnx-tensorrt,
docs/operators.md at 8.5.
Reading that file gives the network back behind a cast from uint8: a float image is no door of the contract.

Of a float network there is a file in float16 too (`half`), for engines that compute in what the file says: constants
and all that is computed are float16. What enters is cast, a pixel without loss, and what leaves is cast to float32.
The last sigmoid or softmax is float16 as well: on clinic-1's golden cases that moves a probability by 1e-4 on average
at most, where float16 before it moves it by 5e-4 to 2e-3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edgeskin import __version__, files
from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Activate,
    Activation,
    Add,
    Array,
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
    Network,
    Node,
    Operator,
    Pad,
    Pixels,
    Quantization,
    Requantize,
    Reshape,
    Resize,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.rewrite import INT32, bias_integers, node_grid, saturated, untie_weights
from edgeskin.optional import require

if TYPE_CHECKING:
    import onnx

Activations: TypeAlias = Literal["int8", "uint8"]
Opset: TypeAlias = Literal[17, 21]
Attribute: TypeAlias = "int | float | str | tuple[int, ...]"

OPSET: Opset = 21
IR_VERSIONS: Mapping[Opset, int] = {17: 8, 21: 10}
"""The file format that came with each opset. Source: onnx, docs/Versioning.md."""


def write_onnx(
    network: Network,
    path: Path,
    *,
    activations: Activations = "int8",
    opset: Opset = OPSET,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network to a file; see `to_onnx`."""
    model = to_onnx(network, activations=activations, opset=opset, half=half, metadata=metadata)
    files.write_bytes(path, model.SerializeToString(deterministic=True))


def to_onnx(
    network: Network,
    *,
    activations: Activations = "int8",
    opset: Opset = OPSET,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> "onnx.ModelProto":
    """The ONNX model of a network.

    activations: how quantized activations are stored. opset: 17 only with int8, and `image` is float32 there, each
    pixel as a whole number. half: in float16, of a float network alone. metadata: goes into the model's metadata_props.

    Raises: GraphError that names a constant which float16 cannot hold.
    """
    library = require("onnx")
    uint8 = activations == "uint8"
    assert not (uint8 and opset != OPSET), "the uint8 twin is for onnxruntime, which reads the newest opset"
    assert not (half and any(each.quantization for each in network.tensors.values())), "float16 between integers"
    writer = _Writer(untie_weights(network) if uint8 else network, uint8, opset, half)
    writer.write()
    graph = library.helper.make_graph(
        writer.nodes,
        "edgeskin",
        [writer.info(name) for name in network.inputs],
        [writer.info(name) for name in network.outputs],
        list(writer.initializers.values()),
    )
    model: onnx.ModelProto = library.helper.make_model(
        graph,
        producer_name="edgeskin",
        producer_version=__version__,
        ir_version=IR_VERSIONS[opset],
        opset_imports=[library.helper.make_opsetid("", opset)],
    )
    library.helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    return model


@dataclass(frozen=True)
class _Spelling:
    """How ONNX spells an operator: its name, attributes, and constants behind the tensors it reads (None: left out)."""

    name: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    constants: Mapping[str, Array | None] = field(default_factory=dict)


def _whole(*values: int) -> Array:
    return np.asarray(values, np.int64)


def _spell(operator: Operator, shapes: tuple[Shape, ...], opset: Opset) -> _Spelling:
    """The ONNX operator that computes the same. shapes: of the tensors it reads."""
    kind = type(operator).__name__
    match operator:
        case Conv() | ConvTranspose():
            spelling = _Spelling(kind, _window(operator, shapes[1]))
        case Linear():
            spelling = _Spelling("Gemm", {"transB": 1})
        case MaxPool() | AveragePool():
            window = {"kernel_shape": operator.kernel, "strides": operator.strides, "pads": operator.pads}
            spelling = _Spelling(kind, window)
        case Mean() | Max():
            spelling = _spell_reduction(operator, opset)
        case Concat() | Softmax():
            spelling = _Spelling(kind, {"axis": operator.axis})
        case Resize():
            spelling = _spell_resize(operator, shapes[0])
        case HardSigmoid():
            spelling = _Spelling(kind, {"alpha": 1 / 6, "beta": 0.5})
        case Pad():
            top, left, bottom, right = operator.pads
            pads, value = _whole(0, 0, top, left, 0, 0, bottom, right), np.asarray(operator.value, np.float32)
            spelling = _Spelling(kind, {}, {"pads": pads, "value": value})
        case Reshape():
            # 0 copies the batch from the input.
            sizes = _whole(0, *(int(size) for size in operator.shape[1:]))
            spelling = _Spelling(kind, {}, {"shape": sizes})
        case Slice():
            bounds = {"starts": operator.start, "ends": operator.end, "axes": operator.axis}
            spelling = _Spelling(kind, {}, {name: _whole(value) for name, value in bounds.items()})
        case Add() | Mul() | Sigmoid() | HardSwish():
            spelling = _Spelling(kind)
        case _:
            raise AssertionError(f"{kind} is more or less than one ONNX operator")
    return spelling


def _window(operator: Conv | ConvTranspose, weight: Shape) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {
        "kernel_shape": tuple(int(size) for size in weight[2:]),
        "strides": operator.strides,
        "pads": operator.pads,
        "dilations": operator.dilations,
        "group": operator.groups,
    }
    if isinstance(operator, ConvTranspose):
        attributes["output_padding"] = operator.output_padding
    return attributes


def _spell_resize(operator: Resize, shape: Shape) -> _Spelling:
    """By scales where float32 holds them exactly, as every parser reads them; else by sizes."""
    attributes: dict[str, Attribute] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if operator.mode == "nearest":
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    ratios = [Fraction(new, int(old)) for new, old in zip(operator.size, shape[2:], strict=True)]
    scales = np.asarray([1, 1, *(float(ratio) for ratio in ratios)], np.float32)
    if all(Fraction(float(scale)) == ratio for scale, ratio in zip(scales[2:], ratios, strict=True)):
        return _Spelling("Resize", attributes, {"roi": None, "scales": scales})
    return _Spelling("Resize", attributes, {"roi": None, "scales": None, "sizes": _whole(*operator.size)})


def _spell_reduction(operator: Mean | Max, opset: Opset) -> _Spelling:
    """Axes are an input from opset 18 on, an attribute before."""
    name, keep = f"Reduce{type(operator).__name__}", {"keepdims": int(operator.keepdims)}
    if opset < 18:
        return _Spelling(name, {**keep, "axes": operator.axes})
    return _Spelling(name, keep, {"axes": _whole(*operator.axes)})


class _Writer:
    """One network on its way into one ONNX graph."""

    def __init__(self, network: Network, uint8: bool, opset: Opset, half: bool) -> None:
        self.library = require("onnx")
        self.network = network
        self.uint8 = uint8
        self.opset = opset
        self.half = half
        self.takes_bytes = opset == OPSET
        self.zero = np.asarray(128, np.uint8) if uint8 else np.asarray(0, np.int8)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.real: dict[str, str] = {}
        """Tensor name -> name of the ONNX value that holds it as a float."""

    def write(self) -> None:
        """Write everything, in running order."""
        for name in self.network.inputs:
            enters = self.half and not self._is_image(name)
            value = self._cast(name, f"{name}_half", f"{name}_cast") if enters else name
            self._settle(self.network.tensors[name], value)
        for node in self.network.nodes:
            match node.operator:
                case Pixels():
                    self._write_door(node)
                case Requantize():
                    self._write_requantize(node)
                case _:
                    self._write_operator(node)
        if self.half:
            for name in self.network.outputs:
                self._widen(name)

    def info(self, name: str) -> "onnx.ValueInfoProto":
        """The declaration of an input or output."""
        types = self.library.TensorProto
        kind = types.UINT8 if self._is_image(name) and self.takes_bytes else types.FLOAT
        return self.library.helper.make_tensor_value_info(name, kind, self.network.tensors[name].shape)

    # --- pieces ---

    def _is_image(self, name: str) -> bool:
        return any(isinstance(reader.operator, Pixels) for reader in self.network.consumers(name))

    def _cast(self, value: str, output: str, name: str) -> str:
        """What enters, in the float that the network computes in."""
        types = self.library.TensorProto
        return self._emit("Cast", [value], output, name, to=types.FLOAT16 if self.half else types.FLOAT)

    def _widen(self, output: str) -> None:
        """Let an output leave as float32; whatever wrote or read it has it as `<output>_half`."""
        inside = f"{output}_half"
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [inside if name == output else name for name in names]
        self._emit("Cast", [inside], output, f"{output}_cast", to=self.library.TensorProto.FLOAT)

    def _emit(self, kind: str, inputs: list[str], output: str, name: str, **attributes: Attribute) -> str:
        self.nodes.append(self.library.helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def _store(self, name: str, data: Array) -> str:
        self.initializers.setdefault(name, self.library.numpy_helper.from_array(np.array(data, order="C"), name))
        return name

    def _store_float(self, name: str, data: Array) -> str:
        """Store in the float that the network computes in."""
        if not self.half:
            return self._store(name, data)
        with np.errstate(over="ignore"):
            halved = data.astype(np.float16)
        if np.isinf(halved).any():
            raise GraphError(f"{name}: holds {np.abs(data).max():g}, and float16 ends at 65504; train it again")
        return self._store(name, halved)

    def _scale(self, tensor: Tensor) -> list[str]:
        """The scale and zero point inputs of a computed tensor's Q and DQ."""
        assert tensor.quantization is not None
        return [self._store(f"{tensor.name}_scale", tensor.quantization.scale), self._store("zero_point", self.zero)]

    def _quantize(self, tensor: Tensor, value: str, output: str, name: str) -> str:
        return self._emit("QuantizeLinear", [value, *self._scale(tensor)], output, name)

    def _dequantize(self, tensor: Tensor, integers: str) -> None:
        name = f"{tensor.name}_dequantized"
        self.real[tensor.name] = self._emit("DequantizeLinear", [integers, *self._scale(tensor)], name, name)

    def _settle(self, tensor: Tensor, value: str) -> None:
        """Let readers find a float value, through Q and DQ where the tensor is quantized."""
        if tensor.quantization is None:
            self.real[tensor.name] = value
        else:
            name = f"{tensor.name}_quantized"
            self._dequantize(tensor, self._quantize(tensor, value, name, name))

    def _operand(self, name: str) -> str:
        """The float value of an input of a node; constants are stored on first use."""
        tensor = self.network.tensors[name]
        if tensor.data is not None and name not in self.real:
            if tensor.quantization is None:
                self.real[name] = self._store_float(name, tensor.data)
            else:
                # onnxruntime's integer Add and Mul want both operands of one type; weights have an axis and stay int8.
                shifted = self.uint8 and tensor.quantization.axis is None
                data = (tensor.data.astype(np.int16) + 128).astype(np.uint8) if shifted else tensor.data
                zero = np.full(tensor.quantization.scale.shape, 128 if shifted else 0, data.dtype)
                self._store_quantized(tensor, data, tensor.quantization, zero)
        return self.real[name]

    def _store_quantized(self, tensor: Tensor, data: Array, quantization: Quantization, zero: Array) -> None:
        name = tensor.name
        inputs = [
            self._store(name, data),
            self._store(f"{name}_scale", quantization.scale),
            self._store(f"{name}_zero_point", zero),
        ]
        axis: dict[str, Attribute] = {} if quantization.axis is None else {"axis": quantization.axis}
        dequantized = f"{name}_dequantized"
        self.real[name] = self._emit("DequantizeLinear", inputs, dequantized, dequantized, **axis)

    def _store_integer_bias(self, node: Node) -> None:
        """An int32 bias with its grid as scale, if that says exactly the same."""
        grid = node_grid(self.network, node)
        bias = self.network.tensors[node.inputs[2]]
        if grid is None or bias.name in self.real:
            return
        integers = bias_integers(bias, grid)
        exact = np.array_equal(integers.astype(np.float32) * grid, bias.real())
        if exact and np.abs(integers).max(initial=0) <= INT32.max:
            quantization = Quantization(grid, 0 if grid.ndim else None)
            self._store_quantized(bias, integers.astype(np.int32), quantization, np.zeros(grid.shape, np.int32))

    # --- operators ---

    def _write_door(self, node: Node) -> None:
        tensor, image = self.network.result(node), node.inputs[0]
        if self.uint8 and tensor.quantization is not None:
            inputs = [image, *self._scale(tensor)]
            self.real[tensor.name] = self._emit("DequantizeLinear", inputs, tensor.name, node.name)
            return
        value = image
        if self.takes_bytes or self.half:
            value = self._cast(image, f"{tensor.name}_cast", f"{node.name}_cast")
        middle = self._store_float("pixel_zero", np.asarray(128, np.float32))
        step = self._store_float("pixel_scale", np.asarray(PIXEL_SCALE, np.float32))
        shifted = self._emit("Sub", [value, middle], f"{tensor.name}_shifted", f"{node.name}_shift")
        self._settle(tensor, self._emit("Mul", [shifted, step], tensor.name, node.name))

    def _write_requantize(self, node: Node) -> None:
        source, tensor = self.network.operands(node)[0], self.network.result(node)
        if tensor.quantization is not None:
            self._dequantize(tensor, self._quantize(tensor, self._operand(source.name), tensor.name, node.name))
        else:
            self.real[tensor.name] = self._emit("Identity", [self._operand(source.name)], tensor.name, node.name)

    def _write_operator(self, node: Node) -> None:
        tensor = self.network.result(node)
        if self.uint8 and isinstance(node.operator, (Conv, ConvTranspose, Linear)) and len(node.inputs) > 2:
            self._store_integer_bias(node)
        inputs = [self._operand(name) for name in node.inputs]
        if isinstance(node.operator, Activate):
            assert node.activation is not None
            self._settle(tensor, self._clip(node.activation, inputs[0], tensor.name, node.name))
            return
        spelling = _spell(node.operator, tuple(operand.shape for operand in self.network.operands(node)), self.opset)
        for role, constant in spelling.constants.items():
            store = self._store_float if role == "value" else self._store  # the factors of a Resize stay float32
            stored = "" if constant is None else store(f"{node.name}.{role}", constant)
            inputs.append(self._with_batch(node, inputs[0], stored) if role == "sizes" else stored)
        if self.uint8 and tensor.quantization is not None and isinstance(node.operator, Resize):
            inputs[1] = self._unread_region(node.operator)
        linear = tensor.name if node.activation is None else f"{tensor.name}_linear"
        value = self._emit(spelling.name, inputs, linear, node.name, **spelling.attributes)
        if node.activation is None:
            self._settle(tensor, value)
        elif self.uint8 and tensor.quantization is not None:
            saturating = f"{tensor.name}_saturated"
            integers = self._quantize(tensor, value, saturating, saturating)
            self._dequantize(tensor, self._clip_integers(node, tensor, integers))
        else:
            self._settle(tensor, self._clip(node.activation, value, tensor.name, f"{node.name}_{node.activation}"))

    def _with_batch(self, node: Node, value: str, size: str) -> str:
        """All four sizes of a Resize; with `axes` two would do, but onnxruntime's transpose optimiser trips over it."""
        name = f"{node.name}.batch"
        if self.opset == OPSET:
            batch = self._emit("Shape", [value], name, name, start=0, end=2)
        else:  # `start` and `end` are of opset 15; no source says that TensorRT 8 heeds them, and older ones did not
            shape = self._emit("Shape", [value], f"{node.name}.shape", f"{node.name}.shape")
            ends = [self._store(f"{node.name}.{role}", _whole(place)) for role, place in (("from", 0), ("to", 2))]
            batch = self._emit("Slice", [shape, *ends], name, name)
        return self._emit("Concat", [batch, size], f"{node.name}.full_size", f"{node.name}.full_size", axis=0)

    def _unread_region(self, operator: Resize) -> str:
        """A dequantized `roi`, which no mode of ours reads: it keeps onnxruntime from resizing the integers themselves.

        Its linear resize of uint8 truncates instead of rounding, half a step too low everywhere; 1.23, the last for
        Python 3.10, takes that path, 1.31 no longer does. Nearest only copies, so it may.
        """
        if operator.mode == "nearest":
            return ""
        if "roi" not in self.initializers:
            scale = self._store("roi_scale", np.ones((), np.float32))
            inputs = [self._store("roi", np.full(8, 128, np.uint8)), scale, self._store("zero_point", self.zero)]
            self._emit("DequantizeLinear", inputs, "roi_dequantized", "roi_dequantized")
        return "roi_dequantized"

    def _clip(self, activation: Activation, value: str, output: str, name: str) -> str:
        if activation == "relu":
            return self._emit("Relu", [value], output, name)
        bounds = [
            self._store_float("relu6_low", np.zeros((), np.float32)),
            self._store_float("relu6_high", np.asarray(6, np.float32)),
        ]
        return self._emit("Clip", [value, *bounds], output, name)

    def _clip_integers(self, node: Node, tensor: Tensor, integers: str) -> str:
        """The activation as a clip of uint8 values; a ReLU6 always names its upper bound, a ReLU never does."""
        assert tensor.quantization is not None
        inputs = [integers, "zero_point"]
        if node.activation == "relu6":
            high = saturated(6.0, tensor.quantization) + 128
            inputs.append(self._store(f"{tensor.name}_high", np.asarray(high, np.uint8)))
        return self._emit("Clip", inputs, tensor.name, f"{node.name}_{node.activation}")
