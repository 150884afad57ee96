"""Lift a definition back to a network: what its layers compute, under the names that the ONNX file has for them.

Each layer is read by TensorRT's own meaning, not by what our file says, so a wrong scale, pad or axis anywhere between
our network and TensorRT's gives another network. What no network of ours computes is an error naming the layer.

What the parser changes (tensorrt-rtx 1.7.1): a Gemm becomes a product and a sum, a HardSwish a hard sigmoid and a
product; a constant that meets a map is reshaped to its rank; a Softmax ends in a reshape to its own shape; a Slice, a
Pad, and a Resize to a size compute that size by a dozen layers of integers; a Pad of nothing disappears. The output
padding of a ConvTranspose is taken from its pads; where these are too small, zeros are filled in behind it, and its
bias is added behind them. `normalise`, which reading an ONNX file ends with too, puts most of it together again.

A definition in float16 gives the network whose float constants are rounded so (`rewrite.halve`). That it computes in
float16 throughout follows: a strongly typed layer reads one type, and a cast within the network is refused.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Add,
    ConvTranspose,
    Network,
    Node,
    Pad,
    Pixels,
    Quantization,
    Requantize,
    Tensor,
)
from edgeskin.graph.rewrite import normalise
from edgeskin.targets.tensorrt.layers import Layer, Layers, Value
from edgeskin.targets.tensorrt.lift.rules import RULES
from edgeskin.targets.tensorrt.lift.site import FLOATS, Read, Site, opened
from edgeskin.targets.tensorrt.lift.sizes import INTEGER_KINDS, Sizes
from edgeskin.targets.tensorrt.names import Names

_PART = "#"
"""Between an ONNX node's name and a number, where it became several layers."""
_STRANGE = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)
"""What reading raises where a layer's settings are of another form than the parser gives them."""


def lift(layers: Layers, names: Names) -> Network:
    """The network that a definition computes. Raises: GraphError that names the layer it cannot read."""
    return _Lifting(layers, names).network()


class _Lifting:
    """One definition on its way back into a network."""

    def __init__(self, layers: Layers, names: Names) -> None:
        self.layers = layers
        self.names = names
        self.sizes = Sizes(layers)
        self.values: dict[str, Tensor] = {}
        """TensorRT's name of a value -> the tensor that it is."""
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.integers: set[str] = set()
        """Values that are int8, not yet dequantized."""
        self.pixels: dict[str, tuple[Fraction, Fraction]] = {}
        """Values on their way through the input door: the factor and summand that make them of a pixel."""

    def network(self) -> Network:
        """Walk the layers in an order in which they can run."""
        inputs = tuple(self._enter(value) for value in self.layers.inputs)
        for layer in _in_order(self.layers):
            if layer.output.kind in INTEGER_KINDS:
                continue
            try:
                self._read(layer)
            except _STRANGE as error:
                raise layer.refuse(f"is set to what the parser does not set it to ({error})") from error
        outputs = tuple(self._leave(name) for name in self.layers.outputs)
        return _named(normalise(Network(inputs, outputs, tuple(self.nodes), self.tensors)))

    # --- inputs and outputs ---

    def _enter(self, value: Value) -> str:
        """An image of bytes, or of floats that are bytes; or metadata."""
        image = len(value.shape) == 4
        shape = opened(Layer("INPUT", value.name, None, (), value, {}), value.shape)
        if value.kind != "FLOAT" and not (image and value.kind == "UINT8"):
            raise GraphError(f"{value.name}: enters as {value.kind}; an image is UINT8 or FLOAT, metadata FLOAT")
        self.tensors[value.name] = Tensor(value.name, shape)
        if image:
            self.pixels[value.name] = Fraction(1), Fraction(0)
        else:
            self.values[value.name] = self.tensors[value.name]
        return value.name

    def _leave(self, name: str) -> str:
        """The tensor behind an output takes the output's name; a quantized one is dequantized under it."""
        tensor = self.values.get(name)
        if tensor is None or name in self.integers:
            raise GraphError(f"{name}: is an output, and no layer computes it as floats")
        if tensor.quantization is not None or (tensor.name in self.layers.outputs and tensor.name != name):
            self._append(self.names.writers.get(name, name), Read(Requantize(), (tensor,)), Tensor(name, tensor.shape))
        elif tensor.name != name:
            self._rename(tensor.name, name)
        return name

    def _rename(self, old: str, new: str) -> None:
        renamed = self.tensors[new] = replace(self.tensors.pop(old), name=new)
        self.values = {value: renamed if each.name == old else each for value, each in self.values.items()}
        self.nodes = [
            replace(
                node,
                inputs=tuple(new if name == old else name for name in node.inputs),
                output=new if node.output == old else node.output,
            )
            for node in self.nodes
        ]

    # --- layers ---

    def _read(self, layer: Layer) -> None:
        if layer.inputs and layer.inputs[0] in self.pixels:
            self._read_door(layer, str(layer.inputs[0]))
        elif layer.kind == "CONSTANT":
            self._store(layer)
        elif layer.kind == "QUANTIZE":
            self._quantize(layer)
        elif layer.kind == "DEQUANTIZE":
            self._dequantize(layer)
        elif layer.kind == "SHUFFLE" and self._operand(layer, 0).is_constant:
            self._reshape_constant(layer)
        elif not self.integers.isdisjoint(name for name in layer.inputs if name):
            raise layer.refuse("computes on integers that were not dequantized")
        elif layer.kind == "CAST":
            self._cast(layer)
        else:
            self._compute(layer)

    def _compute(self, layer: Layer) -> None:
        if layer.kind not in RULES:
            raise layer.refuse("handles shapes, and computes values here; no network of ours has one that does")
        operands = tuple(None if name is None else self.values.get(name) for name in layer.inputs)
        read = RULES[layer.kind](Site(layer, operands, self.sizes, self.names))
        if read.operator is None:
            self._pass_on(layer, read.inputs[0])
        elif not self._joins_transposed(layer, read):
            output = Tensor(layer.output.name, opened(layer, layer.output.shape))
            self._append(self._node(layer), read, output)
            self.values[layer.output.name] = output

    def _cast(self, layer: Layer) -> None:
        """To float16 where something enters, to float32 where it leaves; between, one of them holds throughout."""
        to = str(layer.settings["to_type"])
        enters = layer.inputs[0] in {value.name for value in self.layers.inputs}
        leaves = layer.output.name in self.layers.outputs
        if (to, enters) != ("HALF", True) and (to, leaves) != ("FLOAT", True):
            raise layer.refuse(f"casts to {to} within the network")
        self._pass_on(layer, self._operand(layer, 0))

    def _pass_on(self, layer: Layer, tensor: Tensor) -> None:
        """A layer that changes nothing; one that the parser put behind a node computes that node's own output."""
        self.values[layer.output.name] = tensor
        if layer.node is None and layer.output.name in self.names.writers and tensor.name not in self.names.writers:
            self._rename(tensor.name, layer.output.name)

    def _node(self, layer: Layer) -> str:
        return layer.node or self.names.writers.get(layer.output.name, layer.name)

    def _append(self, name: str, read: Read, output: Tensor) -> None:
        """Add a node, numbered where its name is taken; a constant that is read in another form is stored twice."""
        assert read.operator is not None
        taken = {node.name for node in self.nodes}
        unique = next(each for each in (name, *(f"{name}{_PART}{n}" for n in range(2, 9))) if each not in taken)
        inputs = tuple(self._stored(tensor) for tensor in read.inputs)
        self.tensors[output.name] = output
        self.nodes.append(Node(unique, read.operator, inputs, output.name, read.activation))

    def _stored(self, tensor: Tensor) -> str:
        while tensor.is_constant and self.tensors.get(tensor.name, tensor) != tensor:
            tensor = replace(tensor, name=f"{tensor.name}_")
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _operand(self, layer: Layer, place: int) -> Tensor:
        name = layer.inputs[place] if place < len(layer.inputs) else None
        if name is None or name not in self.values:
            raise layer.refuse(f"reads {name}, which no layer before it computes")
        return self.values[name]

    # --- the input door ---

    def _read_door(self, layer: Layer, name: str) -> None:
        """One layer of cast, −128, ×1/128 in any exact spelling; the last makes Pixels."""
        factor, summand = self.pixels[name]
        if layer.kind == "ELEMENTWISE":
            other = self._operand(layer, 1).real()
            number = Fraction(float(other.reshape(-1)[0]))
            changed = {
                "SUM": (factor, summand + number),
                "SUB": (factor, summand - number),
                "PROD": (factor * number, summand * number),
            }
            op = str(layer.settings["op"])
            if other.size != 1 or op not in changed:
                raise layer.refuse(f"changes pixels by {op} of {other.size} numbers")
            factor, summand = changed[op]
        elif layer.kind != "CAST" or layer.settings["to_type"] not in FLOATS:
            raise layer.refuse("reads pixels that are not yet −1 to 1: cast, −128, ×1/128 must come first")
        if (factor, summand) != (Fraction(PIXEL_SCALE), Fraction(-1)):
            self.pixels[layer.output.name] = factor, summand
            return
        image = self.tensors[self.layers.inputs[0].name]
        output = Tensor(layer.output.name, opened(layer, layer.output.shape))
        self._append(self._node(layer), Read(Pixels(), (image,)), output)
        self.values[layer.output.name] = output

    # --- constants ---

    def _store(self, layer: Layer) -> None:
        weights, shape = layer.settings["weights"], layer.settings["shape"]
        assert isinstance(weights, np.ndarray), "weights that are no array"
        assert isinstance(shape, tuple), "a constant without a shape"
        sizes = tuple(int(size) for size in shape)
        data = weights.reshape(sizes)
        if data.dtype == np.int8:
            self.integers.add(layer.output.name)
        elif layer.output.kind in FLOATS:
            data = data.astype(np.float32)
        self.values[layer.output.name] = Tensor(layer.name, sizes, None, data)

    def _reshape_constant(self, layer: Layer) -> None:
        tensor = self._operand(layer, 0)
        shape = tuple(int(size) for size in opened(layer, layer.output.shape))
        RULES["SHUFFLE"](Site(layer, (replace(tensor, shape=shape),), self.sizes, self.names))  # refuses moved axes
        assert tensor.data is not None
        if tensor.quantization is not None and tensor.quantization.axis is not None:
            raise layer.refuse("reshapes a constant that has a scale for each channel")
        self.values[layer.output.name] = replace(tensor, shape=shape, data=tensor.data.reshape(shape))
        if layer.inputs[0] in self.integers:
            self.integers.add(layer.output.name)

    # --- quantization ---

    def _quantization(self, layer: Layer, tensor: Tensor) -> Quantization:
        """Raises: GraphError unless it is symmetric, of one scale, or for a constant one for each channel."""
        scale, zero = self._operand(layer, 1), self._operand(layer, 2)
        if not scale.is_constant or not zero.is_constant or zero.real().any():
            raise layer.refuse("its scale and zero point are not a stored number and zero")
        if layer.settings["block_shape"] is not None:
            raise layer.refuse("quantizes by blocks")
        steps, axis = scale.real(), layer.settings["axis"]
        if steps.size == 1:
            return Quantization(steps.reshape(()))
        if not tensor.is_constant or not isinstance(axis, int) or steps.shape != tensor.shape[axis : axis + 1]:
            raise layer.refuse(f"has {steps.size} scales along axis {axis} of {tensor.shape}")
        return Quantization(steps, axis)

    def _quantize(self, layer: Layer) -> None:
        x, name = self._operand(layer, 0), layer.output.name
        if layer.settings["to_type"] != "INT8" or x.is_constant:
            raise layer.refuse(f"quantizes to {layer.settings['to_type']}, or what is stored")
        output = Tensor(name, x.shape, self._quantization(layer, x))
        self._append(self._node(layer), Read(Requantize(), (x,)), output)
        self.values[name] = output
        self.integers.add(name)

    def _dequantize(self, layer: Layer) -> None:
        x = self._operand(layer, 0)
        quantization = self._quantization(layer, x)
        if layer.settings["to_type"] != "FLOAT" or layer.inputs[0] not in self.integers:
            raise layer.refuse(f"makes {layer.settings['to_type']} of what is no INT8")
        if x.is_constant:
            x = replace(x, quantization=quantization)
        elif x.quantization != quantization:
            raise layer.refuse("has another scale than the layer that quantized what it reads")
        self.values[layer.output.name] = x

    # --- what follows a transposed convolution ---

    def _joins_transposed(self, layer: Layer, read: Read) -> bool:
        """Whether a layer is part of the ONNX node whose transposed convolution stands before it.

        Zeros behind one without bias, where its pads cut nothing, are what it computes there: output padding. A row of
        numbers added to its channels is its bias.
        """
        before = next((node for node in self.nodes if node.output == read.inputs[0].name), None)
        if before is None or not isinstance(before.operator, ConvTranspose) or self._node(layer) != before.name:
            return False
        operator, inputs = before.operator, before.inputs
        match read.operator:
            case Pad(pads=(0, 0, bottom, right), value=0.0) if len(inputs) == 2:
                if (bottom and operator.pads[2]) or (right and operator.pads[3]):
                    raise layer.refuse("fills with zeros what the transposed convolution before it would compute")
                operator = replace(operator, output_padding=(bottom, right))
            case Add() if len(inputs) == 2 and _is_row(read.inputs[1], read.inputs[0]):
                row = read.inputs[1].real().reshape(-1)
                name = self.names.operand(before.name, 2, read.inputs[1].name)
                inputs = (*inputs, self._stored(Tensor(name, row.shape, None, row)))
            case _:
                return False
        output = Tensor(layer.output.name, opened(layer, layer.output.shape))
        changed = replace(before, operator=operator, inputs=inputs, output=output.name)
        self.nodes = [changed if node is before else node for node in self.nodes]
        del self.tensors[before.output]
        self.tensors[output.name] = self.values[output.name] = output
        return True


def _in_order(layers: Layers) -> Iterator[Layer]:
    """The definition's own order, but that what a layer reads stands before it."""
    waiting = {layer.output.name: layer for layer in layers.layers}

    def settled(layer: Layer) -> Iterator[Layer]:
        for name in layer.inputs:
            if name in waiting:
                yield from settled(waiting.pop(name))
        yield layer

    for layer in layers.layers:
        if waiting.pop(layer.output.name, None) is not None:
            yield from settled(layer)


def _is_row(tensor: Tensor, of: Tensor) -> bool:
    return tensor.is_constant and tensor.quantization is None and tensor.shape == (1, of.shape[1], 1, 1)


def _named(network: Network) -> Network:
    """Without the numbers of a node's parts, of which normalising leaves one."""
    names = [node.name.partition(_PART)[0] for node in network.nodes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GraphError(f"{twice}: became several layers that do not make one node of ours")
    nodes = (replace(node, name=name) for node, name in zip(network.nodes, names, strict=True))
    return replace(network, nodes=tuple(nodes))
