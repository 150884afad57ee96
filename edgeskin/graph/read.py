"""Read an ONNX file, float or with QuantizeLinear/DequantizeLinear pairs, into a network in normal form.

What the network cannot hold exactly is an error that names the ONNX node; nothing falls back silently.
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    BATCH,
    PIXEL_SCALE,
    Activate,
    Activation,
    Array,
    Network,
    Node,
    Operator,
    Pixels,
    Quantization,
    Requantize,
    Shape,
    Tensor,
)
from edgeskin.graph.load import load, needed_nodes, prepare
from edgeskin.graph.operators import TRANSLATIONS
from edgeskin.graph.rewrite import normalise, saturated
from edgeskin.graph.site import Site, attributes, refusal
from edgeskin.optional import require

if TYPE_CHECKING:
    import onnx

UINT8_ZERO = 128
"""The zero point of the uint8 form that onnxruntime wants: the same scale, each integer 128 higher."""


def read(source: "Path | onnx.ModelProto") -> Network:
    """Read an ONNX file or a model in memory.

    Raises: GraphError that names the file, or the ONNX node and its operator, and says what to do.
    """
    if not isinstance(source, Path):
        return _Reader(prepare(source)).network()
    model = load(source)
    try:
        return _Reader(prepare(model)).network()
    except GraphError as error:
        raise GraphError(f"{source}: {error}") from error


class _Reader:
    """One walk over one model. `values`: ONNX value name -> tensor; `tensors`: those that nodes read or compute."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self.onnx = require("onnx")
        self.graph = model.graph
        self.infos = {info.name: info for info in (*self.graph.value_info, *self.graph.input, *self.graph.output)}
        self.values: dict[str, Tensor] = {}
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.integers: set[str] = set()
        """Names of values that are raw integers, not yet dequantized."""

    def network(self) -> Network:
        """Walk the nodes that the outputs need, in the order of the file."""
        for stored in self.graph.initializer:
            self._store(stored.name, self._contents(stored))
        for node in self.graph.node:
            if node.op_type == "Constant":
                self._store(node.output[0], self._constant(node))
        inputs = tuple(info.name for info in self.graph.input if info.name not in self.values)
        for name in inputs:
            self._read_input(name)
        for node in needed_nodes(self.graph):
            if node.output[0] not in self.values:
                self._translate(node)
        outputs = tuple(self._output(info.name) for info in self.graph.output)
        return normalise(Network(inputs, outputs, tuple(self.nodes), self.tensors))

    # --- constants, inputs and outputs ---

    def _store(self, name: str, data: Array) -> None:
        self.values[name] = Tensor(name, data.shape, None, data)

    def _contents(self, stored: "onnx.TensorProto") -> Array:
        try:
            return np.asarray(self.onnx.numpy_helper.to_array(stored))
        except (ValueError, TypeError, KeyError) as error:  # by shape, by kind of data, by a type that ONNX lacks
            raise GraphError(f"{stored.name}: its contents do not fit its shape and type: {error}") from error

    def _constant(self, node: "onnx.NodeProto") -> Array:
        name, value = next(iter(attributes(node).items()))
        if isinstance(value, (np.ndarray, str)):
            return np.asarray(value)
        return np.asarray(value, np.float32 if "float" in name else np.int64)

    def _shape(self, name: str) -> Shape:
        """The static shape of a value; a symbolic or unnamed first dimension is the batch."""
        info = self.infos.get(name)
        if info is None or not info.type.tensor_type.HasField("shape"):
            raise GraphError(f"{name}: its shape cannot be inferred; export with static sizes")
        shape: list[int | str] = []
        for position, dimension in enumerate(info.type.tensor_type.shape.dim):
            if dimension.HasField("dim_value"):
                shape.append(int(dimension.dim_value))
            elif position == 0:
                shape.append(BATCH)
            else:
                raise GraphError(
                    f"{name}: dimension {position} is dynamic ({dimension.dim_param or 'unknown'}); "
                    "only the batch may be, export with a fixed image size"
                )
        return tuple(shape)

    def _read_input(self, name: str) -> None:
        kind = self.infos[name].type.tensor_type.elem_type
        tensor = self.tensors[name] = Tensor(name, self._shape(name))
        if kind == self.onnx.TensorProto.FLOAT:
            self.values[name] = tensor
        elif kind == self.onnx.TensorProto.UINT8:
            self._read_door(tensor)
        else:
            raise GraphError(
                f"input {name}: is {self.onnx.TensorProto.DataType.Name(kind)}; use uint8 images, float32 metadata"
            )

    def _output(self, name: str) -> str:
        """The tensor behind an output takes the output's name; a quantized one is dequantized under that name."""
        tensor = self.values.get(name)
        if tensor is None:
            raise GraphError(f"output {name}: is not the first output of its node; only that one is supported")
        if name in self.integers:
            raise GraphError(f"output {name}: is integers; end the graph with float32 values")
        if tensor.quantization is not None or tensor.name not in {node.output for node in self.nodes}:
            writer = next((node.name for node in self.graph.node if name in node.output), name)
            self._append(writer, Requantize(), (tensor,), Tensor(name, tensor.shape))
        elif tensor.name != name:
            self._rename(tensor.name, name)
        return name

    def _rename(self, old: str, new: str) -> None:
        if old in {info.name for info in self.graph.output}:
            raise GraphError(f"outputs {old} and {new} are the same value; give each head its own")
        self.tensors[new] = replace(self.tensors.pop(old), name=new)
        self.nodes = [
            replace(
                node,
                inputs=tuple(new if name == old else name for name in node.inputs),
                output=new if node.output == old else node.output,
            )
            for node in self.nodes
        ]

    # --- the input door ---

    def _read_door(self, image: Tensor) -> None:
        """Put Pixels in place of cast, −128, ×1/128 in any exact spelling; one DequantizeLinear can say the same."""
        scale, offset, value, path = Fraction(1), Fraction(0), image.name, list[str]()
        quantization = None
        while (scale, offset) != (Fraction(PIXEL_SCALE), Fraction(-1)):
            readers = [node for node in needed_nodes(self.graph) if value in node.input]
            step = None
            if len(readers) == 1 and len(path) < 4:
                step = self._affine(readers[0], value) if path else self._first_step(readers[0])
            if step is None:
                found = ", ".join(node.op_type for node in readers) or "nothing"
                raise GraphError(
                    f"input {image.name}: a uint8 image must be cast to float32, lowered by 128 and multiplied by "
                    f"1/128 before anything else; found {found} behind {value}"
                )
            scale, offset = scale * step[0], offset * step[0] + step[1]
            if readers[0].op_type == "DequantizeLinear":
                quantization = Quantization(np.asarray(PIXEL_SCALE, np.float32))
            value = readers[0].output[0]
            path.append(value)
        self._append(readers[0].name, Pixels(), (image,), Tensor(value, self._shape(value), quantization))
        for passed in path:
            self.values[passed] = self.tensors[value]

    def _first_step(self, node: "onnx.NodeProto") -> tuple[Fraction, Fraction] | None:
        """The factor and summand of what reads the uint8 image itself: a cast, or a DequantizeLinear."""
        if node.op_type == "Cast" and node.attribute[0].i == self.onnx.TensorProto.FLOAT:
            return Fraction(1), Fraction(0)
        if node.op_type == "DequantizeLinear" and self._zero_point(node) == UINT8_ZERO:
            step = Fraction(float(self._scale(node).reshape(-1)[0]))
            return step, -UINT8_ZERO * step
        return None

    def _affine(self, node: "onnx.NodeProto", value: str) -> tuple[Fraction, Fraction] | None:
        """The factor and summand by which one node of the door changes a pixel, exactly; None if it is no such node."""
        other = self.values.get(next((name for name in node.input if name != value), ""))
        if other is None or other.data is None or other.data.size != 1:
            return None
        constant = Fraction(float(other.real().reshape(-1)[0]))
        first = node.input[0] == value
        steps = {"Add": (Fraction(1), constant), "Mul": (constant, Fraction(0))}
        if first and constant:
            steps |= {"Sub": (Fraction(1), -constant), "Div": (1 / constant, Fraction(0))}
        return steps.get(node.op_type)

    # --- the nodes ---

    def _append(
        self,
        name: str,
        operator: Operator,
        inputs: tuple[Tensor, ...],
        output: Tensor,
        activation: Activation | None = None,
    ) -> None:
        """Add a node under a name of its own; a constant that another node reads in another form is stored twice."""
        taken = {node.name for node in self.nodes}
        unique = name = name or output.name
        while unique in taken:
            unique = f"{unique}_"
        names = []
        for tensor in inputs:
            stored = tensor
            if stored.data is not None and not np.isfinite(stored.data).all():
                raise GraphError(
                    f"{name}: its constant {stored.name!r} holds values that are not finite; train it again"
                )
            while stored.is_constant and self.tensors.get(stored.name, stored) != stored:
                stored = replace(stored, name=f"{stored.name}_")
            self.tensors[stored.name] = stored
            names.append(stored.name)
        self.tensors[output.name] = output
        self.nodes.append(Node(unique, operator, tuple(names), output.name, activation))

    def _translate(self, node: "onnx.NodeProto") -> None:
        if node.op_type == "QuantizeLinear":
            self._quantize(node)
            return
        if node.op_type == "DequantizeLinear":
            self._dequantize(node)
            return
        if node.op_type == "Clip" and node.input[0] in self.integers:
            self._clip_integers(node)
            return
        if not self.integers.isdisjoint(node.input):
            raise refusal(node, "reads integers; put a DequantizeLinear before it")
        if node.op_type == "Cast" and node.attribute[0].i != self.onnx.TensorProto.FLOAT:
            raise refusal(node, "casts to another type than float32; the network is float or quantized to int8")
        inputs = tuple(self.values.get(name) if name else None for name in node.input)
        site = Site(node, attributes(node), inputs, self._shape(node.output[0]))
        translation = TRANSLATIONS[node.op_type](site)
        if translation.operator is None:
            self.values[node.output[0]] = translation.inputs[0]
            return
        for tensor in translation.inputs:
            if tensor.data is not None and tensor.quantization is None and tensor.data.dtype != np.float32:
                raise refusal(node, f"its constant {tensor.name!r} is {tensor.data.dtype}; only float32 is supported")
        output = self.values[node.output[0]] = Tensor(node.output[0], site.output)
        self._append(node.name, translation.operator, translation.inputs, output, translation.activation)

    # --- quantization ---

    def _scale(self, node: "onnx.NodeProto") -> npt.NDArray[np.float32]:
        stored = self.values.get(node.input[1])
        if stored is None or stored.data is None:
            raise refusal(
                node, f"its scale {node.input[1]!r} is not stored in the file; dynamic quantization is not supported"
            )
        scale = stored.data.astype(np.float32)
        if stored.data.dtype != np.float32 or not np.all(np.isfinite(scale) & (scale > 0)):
            raise refusal(node, "its scale must be float32, finite and above zero")
        return scale

    def _zero_point(self, node: "onnx.NodeProto") -> int | None:
        """The value that stands for 0 if it is one and the same for every channel, else None."""
        stored = self.values.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if stored is None:
            return 0
        values = np.unique(stored.data) if stored.data is not None else np.zeros(0)
        return int(values[0]) if values.size == 1 else None

    def _symmetric(self, node: "onnx.NodeProto", name: str, tensor: Tensor) -> Quantization:
        """The quantization of a Q or DQ node, whose integers are the value `name`.

        Raises: GraphError unless it is int8 with zero point 0, or its twin uint8 with zero point 128.
        """
        if attributes(node).get("block_size", 0):
            raise refusal(node, "blocked quantization is not supported; quantize per tensor or per channel")
        kind = self.infos[name].type.tensor_type.elem_type if name in self.infos else 0
        stored = self.values.get(name)
        if stored is not None and stored.data is not None:
            kind = self.onnx.helper.np_dtype_to_tensor_dtype(stored.data.dtype)
        zero = {self.onnx.TensorProto.INT8: 0, self.onnx.TensorProto.INT32: 0, self.onnx.TensorProto.UINT8: UINT8_ZERO}
        if kind not in zero or self._zero_point(node) != zero[kind]:
            raise refusal(
                node,
                f"zero point {self._zero_point(node)} of {self.onnx.TensorProto.DataType.Name(kind)}: only symmetric "
                "int8 (zero point 0, or uint8 at 128) is supported; quantize symmetrically",
            )
        scale = self._scale(node)
        axis = attributes(node).get("axis", 1)
        assert isinstance(axis, int)
        axis = axis % max(len(tensor.shape), 1)
        if tensor.is_constant and scale.ndim == 1 and scale.shape == tensor.shape[axis : axis + 1]:
            return Quantization(scale, axis)
        if scale.size != 1:
            raise refusal(
                node,
                f"{scale.size} scales along axis {axis} of {tensor.name} {tensor.shape}; "
                "only constants may have one for each channel, activations are quantized per tensor",
            )
        return Quantization(scale.reshape(()))

    def _value(self, node: "onnx.NodeProto") -> Tensor:
        tensor = self.values.get(node.input[0])
        if tensor is None:
            raise refusal(node, f"reads {node.input[0]!r}, which is not the first output of its node")
        return tensor

    def _quantize(self, node: "onnx.NodeProto") -> None:
        x, name = self._value(node), node.output[0]
        quantization = self._symmetric(node, name, x)
        self.integers.add(name)
        if x.data is not None:
            steps = np.clip(np.rint(x.real() / quantization.along(x.data.ndim)), -128, 127)
            self.values[name] = Tensor(x.name, x.shape, quantization, steps.astype(np.int8))
            return
        output = self.values[name] = Tensor(name, x.shape, quantization)
        self._append(node.name, Requantize(), (x,), output)

    def _dequantize(self, node: "onnx.NodeProto") -> None:
        name = node.input[0]
        x = self._value(node)
        quantization = self._symmetric(node, name, x)
        data = x.data
        if data is not None and x.quantization is None:
            if data.dtype == np.int32:
                x = Tensor(x.name, x.shape, None, data.astype(np.float32) * quantization.along(data.ndim))
            else:
                zero = UINT8_ZERO if data.dtype == np.uint8 else 0
                x = Tensor(x.name, x.shape, quantization, (data.astype(np.int16) - zero).astype(np.int8))
        elif x.quantization != quantization:
            raise refusal(node, "its scale differs from that of the QuantizeLinear before it; export them as a pair")
        self.values[node.output[0]] = x

    def _clip_integers(self, node: "onnx.NodeProto") -> None:
        """A clip of the integers themselves, as the uint8 form writes an activation behind a QuantizeLinear."""
        x = self.values[node.input[0]]
        zero = UINT8_ZERO if self.infos[node.input[0]].type.tensor_type.elem_type == self.onnx.TensorProto.UINT8 else 0
        bounds = [self.values[name].real() if name else None for name in (*node.input[1:], "", "")[:2]]
        low, high = (None if bound is None else int(bound.reshape(-1)[0]) - zero for bound in bounds)
        assert x.quantization is not None
        choices: dict[int | None, Activation] = {None: "relu", saturated(6.0, x.quantization): "relu6"}
        if low != 0 or high not in choices:
            raise refusal(node, f"clips integers to [{low}, {high}]; only ReLU and ReLU6 are supported")
        output = self.values[node.output[0]] = replace(x, name=node.output[0])
        self.integers.add(node.output[0])
        self._append(node.name, Activate(), (x,), output, choices[high])
