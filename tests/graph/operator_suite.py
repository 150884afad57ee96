"""One suite of operators for everything that runs a network: hypothesis draws them, alone and in small graphs.

The executor is judged on it, and every target. `computed` tells what onnxruntime makes of each tensor, so that a judge
can feed each operator onnxruntime's own integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from onnx import TensorProto, helper
from raw_graphs import run

from edgeskin.graph import execute
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
    Network,
    Node,
    Operator,
    Pad,
    Pads,
    Pair,
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
from edgeskin.graph.rewrite import normalise, snap_biases
from edgeskin.graph.write import to_onnx

Values = Mapping[str, npt.NDArray[np.generic]]

SCALES = st.sampled_from([2.0**-5, 0.0234375, 0.0283203125, 0.05078125])
"""Which float16 holds, as the contract demands."""
ACTIVATIONS = st.sampled_from([None, "relu", "relu6"])
SIZES = st.integers(4, 13)


def scale(value: float) -> Quantization:
    """One scale for a whole tensor."""
    return Quantization(np.asarray(value, np.float32))


@dataclass(frozen=True)
class Drawn:
    """A network, and an image for it."""

    network: Network
    feeds: Values

    def __repr__(self) -> str:
        """The nodes alone: hypothesis prints what fails."""
        shapes = {name: tensor.shape for name, tensor in self.network.tensors.items()}
        return "\n".join(f"{node} on {[shapes[name] for name in node.inputs]}" for node in self.network.nodes)


def computed(network: Network, feeds: Values) -> dict[str, npt.NDArray[np.generic]]:
    """What onnxruntime, every operator as written, computes for every tensor: integers where it is quantized."""
    model = to_onnx(network)
    made = {name for node in model.graph.node for name in node.output}
    places = {}
    for name in (*network.inputs, *(node.output for node in network.nodes)):
        quantized = network.tensors[name].quantization is not None
        places[name] = f"{name}_quantized" if quantized and f"{name}_quantized" in made else name
        if places[name] not in network.outputs and places[name] in made:
            kind = TensorProto.INT8 if quantized else TensorProto.FLOAT
            model.graph.output.append(helper.make_tensor_value_info(places[name], kind, None))
    found = dict(zip([output.name for output in model.graph.output], run(model, dict(feeds)), strict=True))
    return {name: found[place] for name, place in places.items() if place in found} | {
        name: feeds[name] for name in network.inputs if places[name] not in found
    }


HALFWAY = 1e-4
"""How exactly the executor's float32 tells where between two integers a result lies."""


def exactly(network: Network, node: Node, values: Values) -> npt.NDArray[np.float64]:
    """What a node computes, in steps of its result, before it is rounded."""
    result = network.result(node)
    assert result.quantization is not None
    tensors = {**network.tensors, result.name: replace(result, quantization=None)}
    real = execute.apply(replace(network, tensors=tensors), node, values)
    return real.astype(np.float64) / float(result.quantization.scale)


def demand_same(
    network: Network,
    node: Node,
    values: Values,
    one: npt.NDArray[np.generic],
    other: npt.NDArray[np.generic],
    allowed: float = HALFWAY,
) -> None:
    """That two engines agree on a node, each alone on the same values.

    Floats are within 1e-5. Integers are equal, but where the exact result lies halfway between two, up to `allowed` of
    a step: there engines round as they like, and end one step apart (further only where `allowed` is more than that).
    """
    assert (one.shape, one.dtype) == (other.shape, other.dtype), node
    if network.result(node).quantization is None:
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=1e-5, err_msg=str(node))
        return
    steps = np.abs(one.astype(int) - other.astype(int))
    assert steps.max(initial=0) <= max(1, np.ceil(allowed)), node
    exact = exactly(network, node, values)
    from_halfway = np.abs(exact - np.floor(exact) - 0.5)
    assert from_halfway[steps > 0].max(initial=0) <= allowed, node


class Sketch:
    """A network that grows node by node; `x` is what the next one reads."""

    def __init__(self, draw: st.DrawFn, *, quantized: bool) -> None:
        self.draw = draw
        self.quantized = quantized
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        height, width = draw(SIZES), draw(SIZES)
        self._tensor("image", ("N", 3, height, width), None)
        self.x = self._append(Pixels(), ("image",), (3, height, width), scale(1 / 128))
        self.feeds = {"image": self.random.integers(0, 256, (2, 3, height, width), dtype=np.uint8)}
        self.conv(kernel=(1, 1), channels=draw(st.sampled_from([1, 2, 4, 6, 9])))

    # --- what there is ---

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `x`, without the batch."""
        return tuple(int(size) for size in self.x.shape[1:])

    def drawn(self) -> Drawn:
        """The network so far: its last tensor, as float32, is the output."""
        network = self.x
        ending: Operator = Requantize() if network.quantization is not None else Sigmoid()
        nodes = (*self.nodes, Node("end", ending, (network.name,), "out"))
        tensors = {**self.tensors, "out": Tensor("out", network.shape)}
        return Drawn(normalise(snap_biases(Network(("image",), ("out",), nodes, tensors))), self.feeds)

    def _tensor(self, name: str, shape: Shape, quantization: Quantization | None) -> Tensor:
        found = self.tensors[name] = Tensor(name, shape, quantization if self.quantized else None)
        return found

    def _append(
        self,
        operator: Operator,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        quantization: Quantization | None,
        activation: Activation | None = None,
    ) -> Tensor:
        name = f"{type(operator).__name__.lower()}_{len(self.nodes)}"
        result = self._tensor(name, ("N", *shape), quantization)
        self.nodes.append(Node(name, operator, inputs, name, activation))
        return result

    def _own(self) -> Quantization:
        return scale(self.draw(SCALES))

    def _weights(self, shape: tuple[int, ...], axis: int, outputs: int) -> tuple[str, ...]:
        """A weight, and perhaps a bias."""
        name = f"weight_{len(self.nodes)}"
        data = self.random.integers(-127, 128, shape).astype(np.int8)
        fan_in = max(1, data.size // outputs)
        steps = (self.random.uniform(0.5, 1.5, shape[axis]) / 64 / np.sqrt(fan_in)).astype(np.float32)
        weight = Tensor(name, shape, Quantization(steps, axis), data)
        self.tensors[name] = weight if self.quantized else Tensor(name, shape, None, weight.real())
        if not self.draw(st.booleans()):
            return (name,)
        bias = f"bias_{len(self.nodes)}"
        self.tensors[bias] = Tensor(bias, (outputs,), None, self.random.normal(0, 0.3, outputs).astype(np.float32))
        return name, bias

    # --- layers ---

    def conv(self, kernel: Pair | None = None, channels: int | None = None) -> None:
        """A convolution: plain, grouped or depthwise, its windows of any kind."""
        inputs, height, width = self.shape
        draw = self.draw
        groups = 1 if channels else draw(st.sampled_from([n for n in (1, 2, 3, inputs) if inputs % n == 0]))
        outputs = channels or groups * draw(st.integers(1, 3))
        kernel = kernel or draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 2), (2, 2)]))
        strides = (1, 1) if channels else draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
        dilations = (1, 1) if strides != (1, 1) or channels else draw(st.sampled_from([(1, 1), (2, 1), (2, 2)]))
        spans = [(k - 1) * dilation + 1 for k, dilation in zip(kernel, dilations, strict=True)]
        pads = (0, 0, 0, 0) if channels else self._pads(spans, (height, width))
        top, left, bottom, right = pads
        size = [
            (n - span) // stride + 1
            for n, span, stride in zip((height + top + bottom, width + left + right), spans, strides, strict=True)
        ]
        weights = self._weights((outputs, inputs // groups, *kernel), 0, outputs)
        operator = Conv(strides, pads, dilations, groups)
        activation = None if channels else draw(ACTIVATIONS)
        self.x = self._append(operator, (self.x.name, *weights), (outputs, *size), self._own(), activation)

    def _pads(self, spans: list[int], size: Pair) -> Pads:
        """Small ones, at least so many that a window fits."""
        draw = self.draw
        ends = []
        for span, n in zip(spans, size, strict=True):
            least = max(0, span - n)
            first = draw(st.integers(0, 2))
            ends.append((first, max(draw(st.integers(0, 2)), least - first)))
        (top, bottom), (left, right) = ends
        return top, left, bottom, right

    def conv_transpose(self) -> None:
        """A transposed convolution."""
        inputs, height, width = self.shape
        draw = self.draw
        kernel: Pair = draw(st.sampled_from([(2, 2), (3, 3), (4, 4), (2, 3)]))
        strides: Pair = draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
        pads: Pads = draw(st.tuples(*[st.integers(0, 1)] * 4))
        more: Pair = (draw(st.integers(0, strides[0] - 1)), 0)
        outputs = draw(st.integers(1, 4))
        size = [
            (n - 1) * strides[i] + kernel[i] + more[i] - pads[i] - pads[i + 2] for i, n in enumerate((height, width))
        ]
        weights = self._weights((inputs, outputs, *kernel), 1, outputs)
        operator = ConvTranspose(strides, pads, more, (1, 1), 1)
        self.x = self._append(operator, (self.x.name, *weights), (outputs, *size), self._own(), draw(ACTIVATIONS))

    def linear(self) -> None:
        """A fully connected layer, behind the mean of its map."""
        if len(self.shape) == 3:
            self.x = self._append(Mean((2, 3), False), (self.x.name,), self.shape[:1], self._own())
        outputs = self.draw(st.integers(1, 5))
        weights = self._weights((outputs, self.shape[0]), 0, outputs)
        self.x = self._append(Linear(), (self.x.name, *weights), (outputs,), self._own(), self.draw(ACTIVATIONS))

    # --- elementwise ---

    def pair(self) -> None:
        """A sum or product: with itself, with one value a channel or a pixel, with a constant."""
        channels, height, width = self.shape
        draw = self.draw
        other = draw(st.sampled_from(["itself", "channels", "pixels", "constant", "number"]))
        operator = draw(st.sampled_from([Add(), Mul()]))
        x = self.x
        if other == "channels":
            name = self._append(Mean((2, 3), True), (x.name,), (channels, 1, 1), self._own()).name
        elif other == "pixels":
            name = self._append(Mean((1,), True), (x.name,), (1, height, width), self._own()).name
        elif other == "itself":
            name = x.name
        else:
            shape = (1, channels, 1, 1) if other == "constant" else ()
            name = f"constant_{len(self.nodes)}"
            data = np.asarray(self.random.integers(-127, 128, shape), np.int8)
            constant = Tensor(name, shape, scale(0.0078125), data)
            self.tensors[name] = constant if self.quantized else Tensor(name, shape, None, constant.real())
        inputs = (x.name, name) if draw(st.booleans()) else (name, x.name)
        self.x = self._append(operator, inputs, self.shape, self._own(), draw(ACTIVATIONS))

    def curve(self) -> None:
        """A function of single values."""
        operator = self.draw(st.sampled_from([Sigmoid(), HardSigmoid(), HardSwish(), Activate()]))
        activation: Activation | None = self.draw(st.sampled_from(["relu", "relu6"]))
        gate = isinstance(operator, (Sigmoid, HardSigmoid))
        quantization = scale(1 / 128) if gate else self._own()
        self.x = self._append(
            operator, (self.x.name,), self.shape, quantization, activation if isinstance(operator, Activate) else None
        )

    def softmax(self) -> None:
        """Over the channels."""
        self.x = self._append(Softmax(1), (self.x.name,), self.shape, scale(1 / 128))

    def requantize(self) -> None:
        """The same values at another scale."""
        if self.quantized:
            self.x = self._append(Requantize(), (self.x.name,), self.shape, self._own())

    # --- windows and moves ---

    def pool(self) -> None:
        """A maximum or a mean over windows; in ceil mode the last may hang over the end."""
        channels, height, width = self.shape
        draw = self.draw
        kernel: Pair = draw(st.sampled_from([(2, 2), (3, 3), (3, 2)]))
        strides: Pair = draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
        ends, size = [], []
        for n, k, stride in zip((height, width), kernel, strides, strict=True):
            steps = -(-max(n - k, 0) // stride) if draw(st.booleans()) else max(n - k, 0) // stride
            size.append(steps + 1)
            ends.append(max(steps * stride + k - n, 0))
        largest = draw(st.booleans())
        kind = MaxPool if largest else AveragePool
        operator = kind(kernel, strides, (0, 0, ends[0], ends[1]))
        quantization = self.x.quantization if largest else self._own()
        self.x = self._append(operator, (self.x.name,), (channels, *size), quantization)

    def reduce(self) -> None:
        """The mean or maximum of each channel or each pixel."""
        channels, height, width = self.shape
        largest, across = self.draw(st.booleans()), self.draw(st.booleans())
        keep = across or self.draw(st.booleans())
        shape = (1, height, width) if across else (channels, 1, 1) if keep else (channels,)
        operator = (Max if largest else Mean)((1,) if across else (2, 3), keep)
        self.x = self._append(operator, (self.x.name,), shape, self.x.quantization if largest else self._own())

    def concat(self) -> None:
        """Twice the same channels."""
        channels, *size = self.shape
        self.x = self._append(Concat(1), (self.x.name, self.x.name), (2 * channels, *size), self.x.quantization)

    def resize(self) -> None:
        """To a larger or smaller map."""
        channels, height, width = self.shape
        draw = self.draw
        operator: Operator
        if draw(st.booleans()):
            operator = Resize((draw(st.integers(3, 20)), draw(st.integers(3, 20))), "linear")
        else:
            operator = Resize((height * draw(st.integers(1, 3)), width * draw(st.integers(1, 3))), "nearest")
        self.x = self._append(operator, (self.x.name,), (channels, *operator.size), self.x.quantization)

    def pad(self) -> None:
        """With zeros, or with another value that every scale holds."""
        channels, height, width = self.shape
        pads: Pads = self.draw(st.tuples(*[st.integers(0, 2)] * 4))
        step = 1.0 if self.x.quantization is None else float(self.x.quantization.scale)
        value = self.draw(st.sampled_from([0.0, -16.0])) * step
        top, left, bottom, right = pads
        shape = (channels, height + top + bottom, width + left + right)
        self.x = self._append(Pad(pads, value), (self.x.name,), shape, self.x.quantization)

    def reshape(self) -> None:
        """One value a channel, as a row and as a map again."""
        mean = self._append(Mean((2, 3), True), (self.x.name,), (self.shape[0], 1, 1), self._own())
        shape = mean.shape[:2] if self.draw(st.booleans()) else ("N", 1, 1, self.shape[0])
        sizes = tuple(int(size) for size in shape[1:])
        self.x = self._append(Reshape(shape), (mean.name,), sizes, mean.quantization)

    def slice(self) -> None:
        """A part of any axis."""
        axis = self.draw(st.sampled_from([axis for axis in (1, 2, 3) if self.shape[axis - 1] > 1]))
        size = self.shape[axis - 1]
        start = self.draw(st.integers(0, size - 1))
        end = self.draw(st.integers(start + (start == 0 and size > 1 and 0) + 1, size))
        if end - start == size:
            end -= 1
        shape = [end - start if place == axis - 1 else n for place, n in enumerate(self.shape)]
        self.x = self._append(Slice(axis, start, end), (self.x.name,), tuple(shape), self.x.quantization)


KINDS: Mapping[str, Callable[[Sketch], None]] = {
    "conv": Sketch.conv,
    "conv_transpose": Sketch.conv_transpose,
    "linear": Sketch.linear,
    "pair": Sketch.pair,
    "curve": Sketch.curve,
    "softmax": Sketch.softmax,
    "requantize": Sketch.requantize,
    "pool": Sketch.pool,
    "reduce": Sketch.reduce,
    "concat": Sketch.concat,
    "resize": Sketch.resize,
    "pad": Sketch.pad,
    "reshape": Sketch.reshape,
    "slice": Sketch.slice,
}
"""Every step a sketch can take, by name."""


@st.composite
def alone(draw: st.DrawFn, kind: str, *, quantized: bool) -> Drawn:
    """The door, a 1×1 convolution, and one operator of that kind."""
    sketch = Sketch(draw, quantized=quantized)
    KINDS[kind](sketch)
    return sketch.drawn()


_KEEP_A_MAP = ("conv", "conv_transpose", "pair", "curve", "pool", "concat", "resize", "pad", "slice")


@st.composite
def small_graphs(draw: st.DrawFn, *, quantized: bool) -> Drawn:
    """Up to four operators on maps, one behind the other, then anything."""
    sketch = Sketch(draw, quantized=quantized)
    for _ in range(draw(st.integers(1, 4))):
        if min(sketch.shape) < 3 or max(sketch.shape) > 40:
            break
        KINDS[draw(st.sampled_from(_KEEP_A_MAP))](sketch)
    KINDS[draw(st.sampled_from([*KINDS]))](sketch)
    return sketch.drawn()
