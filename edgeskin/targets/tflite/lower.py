"""Lower a network to a TensorFlow Lite program: the same integers, in NHWC, without a transpose left inside.

A node whose tensors are all quantized becomes integer operators; any other runs in float32 between DEQUANTIZE and
QUANTIZE. Three kinds have no exact integer operator there and run so too: a LOGISTIC or SOFTMAX of integers ends at
scale 1/256 by the format's own rule, twice as fine as the contract's gates, and rounding a second time would change a
quarter of them; an average over padded windows counts differently in each.

Source of the rules: the quantization specification of TensorFlow Lite, and what its kernels demand.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeskin.errors import TargetError
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Activate,
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
    Pad,
    Pads,
    Pair,
    Pixels,
    Quantization,
    Requantize,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.rewrite import bias_grid, bias_integers
from edgeskin.targets.tflite.note import Tail
from edgeskin.targets.tflite.program import Operation, Option, Program, Scale, Value, nhwc, place
from edgeskin.targets.tflite.schema import ACTIVATIONS, SAME, VALID
from edgeskin.targets.tflite.window import same_pads

ROLES = {
    "float": "{}:float",
    "linear": "{}:before_quantization",
    "padded": "{}:padded",
    "pads": "{}:pads",
    "lowest": "{}:lowest",
    "no_bias": "{}:no_bias",
    "gate": "{}:gate",
    "sixth": "{}:sixth",
    "half": "{}:half",
    "three": "{}:three",
    "ones": "{}:ones",
    "axes": "{}:axes",
    "size": "{}:size",
    "begin": "{}:begin",
    "full": "{}:full",
    "shape": "{}:shape",
    "wide": "{}:4d",
    "half_precision": "{}:float16",
}
"""Names of the tensors that are the program's own and not the network's, by the node or tensor they serve."""

HARD_SIGMOID_WEIGHT = 127
"""A gate's depthwise weight, x/6 at the full range of int8."""
SIXTH = np.float32(1 / 6 / HARD_SIGMOID_WEIGHT)
"""Its scale."""
INNER_GATE = Scale(np.asarray([1 / 255], np.float32), -128)
"""0 to 1 in all 256 steps: the gate inside a hard swish, clipped at both ends by saturation."""
_FLOAT_ONLY = (Sigmoid, Softmax)


def lower(network: Network, *, half: bool = False, raw_outputs: bool = False) -> Program:
    """The program that computes `network`, its outputs under their own names.

    half: weights of float layers are stored as float16. raw_outputs: every output ends at its integer logits. Raises:
    TargetError that names the node which the format has no exact words for, and says what to do.
    """
    logits: Mapping[str, str] = {}
    if raw_outputs:
        behind = {tail.node for tail in logits_of(network)}
        nodes = [node for node in network.nodes if node.name in behind]
        logits = {node.output: node.inputs[0] for node in nodes}
        network = replace(network, nodes=tuple(node for node in network.nodes if node.name not in behind))
    return _Lowering(network, half).program(logits)


def logits_of(network: Network) -> Iterator[Tail]:
    """What stands behind the integer logits of every output.

    Raises: TargetError where an output's logits are float, or more than a sigmoid or softmax stands behind them.
    """
    for output in network.outputs:
        node = network.producer(output)
        if node is None or not isinstance(node.operator, (Sigmoid, Softmax)):
            raise TargetError(f"{output}: does not end in a sigmoid or softmax; export it without raw outputs")
        if network.operands(node)[0].quantization is None:
            raise TargetError(f"{output}: its logits are kept in float; export it without raw outputs")
        yield Tail(output, node.name, "softmax" if isinstance(node.operator, Softmax) else "sigmoid")


class _Lowering:
    """One network on its way into one program."""

    def __init__(self, network: Network, half: bool) -> None:
        self.network = network
        self.half = half
        self.tensors: list[Value] = []
        self.operations: list[Operation] = []
        self.places: dict[str, int] = {}
        """Where each tensor stands, by name."""
        self.owner = ""

    def program(self, logits: Mapping[str, str]) -> Program:
        """logits: outputs that stand for another tensor, by name."""
        for name in self.network.inputs:
            self._enter(name)
        for node in self.network.nodes:
            self.owner = node.name
            self._lower(node)
        return Program(
            tuple(self.tensors),
            tuple(self.operations),
            {name: self.places[name] for name in self.network.inputs},
            {name: self.places[logits.get(name, name)] for name in self.network.outputs},
        )

    # --- tensors ---

    def _put(self, value: Value) -> int:
        """The place of a tensor of that name; one that is there already is the same one."""
        found = self.places.get(value.name)
        if found is None:
            self.tensors.append(value)
            found = self.places[value.name] = len(self.tensors) - 1
        return found

    def _computed(self, name: str, shape: tuple[int, ...], scale: Scale | None) -> int:
        return self._put(Value(name, shape, "float32" if scale is None else "int8", scale))

    def _constant(self, name: str, data: Array, scale: Scale | None = None) -> int:
        return self._put(Value(name, data.shape, str(data.dtype), scale, data))

    def _numbers(self, role: str, *values: int) -> int:
        return self._constant(ROLES[role].format(self.owner), np.asarray(values, np.int32))

    def _own(self, role: str) -> str:
        return ROLES[role].format(self.owner)

    def _emit(self, kind: str, inputs: tuple[int, ...], output: int, **options: Option) -> int:
        self.operations.append(Operation(kind, inputs, (output,), options, self.owner))
        return output

    # --- the door ---

    def _enter(self, name: str) -> None:
        tensor = self.network.tensors[name]
        if len(tensor.shape) == 4:
            pixels = Scale(np.asarray([PIXEL_SCALE], np.float32), 128)
            self._put(Value(name, nhwc(tensor.shape), "uint8", pixels))
        else:
            self._put(Value(name, nhwc(tensor.shape), "float32"))

    # --- nodes ---

    def _lower(self, node: Node) -> None:
        tensors, result = self.network.operands(node), self.network.result(node)
        if isinstance(node.operator, Pixels):
            kind = "DEQUANTIZE" if result.quantization is None else "QUANTIZE"
            self._emit(kind, (self.places[node.inputs[0]],), self._result(result))
            return
        if isinstance(node.operator, Requantize):
            self._requantize(node, tensors[0], result)
            return
        site = _Site(self, node, tensors, result)
        if not site.integer and result.quantization is not None:
            inner = replace(result, name=self._own("linear"), quantization=None)
            _RULES[type(node.operator)](_Site(self, node, tensors, inner))
            self._emit("QUANTIZE", (self.places[inner.name],), self._result(result))
        else:
            _RULES[type(node.operator)](site)

    def _requantize(self, node: Node, source: Tensor, result: Tensor) -> None:
        if source.quantization is None and result.quantization is None:
            raise TargetError(f"{node.name} (Requantize): changes nothing; export the graph again")
        x = self._activation(source)
        self._emit("DEQUANTIZE" if result.quantization is None else "QUANTIZE", (x,), self._result(result))

    def _result(self, tensor: Tensor) -> int:
        return self._computed(tensor.name, nhwc(tensor.shape), _scale(tensor.quantization))

    def _activation(self, tensor: Tensor) -> int:
        """A computed tensor or a constant operand as the program holds it, at its own scale."""
        if tensor.data is not None:
            data = tensor.data.transpose(0, 2, 3, 1) if tensor.data.ndim == 4 else tensor.data
            return self._constant(tensor.name, np.ascontiguousarray(data), _scale(tensor.quantization))
        if tensor.name in self.network.inputs and tensor.quantization is not None:
            inside = f"{tensor.name}:quantized"
            if inside not in self.places:
                owner, self.owner = self.owner, tensor.name
                self._emit(
                    "QUANTIZE",
                    (self.places[tensor.name],),
                    self._computed(inside, nhwc(tensor.shape), _scale(tensor.quantization)),
                )
                self.owner = owner
            return self.places[inside]
        return self.places[tensor.name]


@dataclass(frozen=True)
class _Site:
    """One node in its place: the tensors it reads and writes, and how to write operators for it."""

    lowering: _Lowering
    node: Node
    tensors: tuple[Tensor, ...]
    result: Tensor

    @property
    def integer(self) -> bool:
        """Whether it computes on integers alone."""
        node = self.node
        if isinstance(node.operator, _FLOAT_ONLY):
            return False
        if isinstance(node.operator, AveragePool) and any(node.operator.pads):
            return False
        weighted = isinstance(node.operator, (Conv, ConvTranspose, Linear))
        needed = (*(self.tensors[:2] if weighted else self.tensors), self.result)
        return all(tensor.quantization is not None for tensor in needed)

    def refuse(self, reason: str) -> TargetError:
        """The error for what this node asks and the format cannot hold; the reason says what to do."""
        return TargetError(f"{self.node.name} ({self.node.kind}): {reason}")

    def x(self, position: int = 0) -> int:
        """An input as the operator reads it: integers, or float32 dequantized where they are not all integers."""
        tensor = self.tensors[position]
        here = self.lowering._activation(tensor)
        if self.integer or tensor.quantization is None:
            return here
        name = f"{self.node.name}:{tensor.name}:float"
        if name in self.lowering.places:
            return self.lowering.places[name]
        return self.emit("DEQUANTIZE", (here,), self.lowering._computed(name, nhwc(tensor.shape), None))

    def y(self) -> int:
        """The output."""
        return self.lowering._result(self.result)

    def emit(self, kind: str, inputs: tuple[int, ...], output: int, **options: Option) -> int:
        """Append an operator; its output."""
        return self.lowering._emit(kind, inputs, output, **options)

    def inner(self, role: str, shape: tuple[int, ...], scale: Scale | None) -> int:
        """A tensor inside this node."""
        return self.lowering._computed(self.lowering._own(role), shape, scale)

    def constant(self, role: str, data: Array, scale: Scale | None = None) -> int:
        """A constant of this node."""
        return self.lowering._constant(self.lowering._own(role), data, scale)

    def numbers(self, role: str, *values: int) -> int:
        """An int32 constant of this node."""
        return self.lowering._numbers(role, *values)

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of a tensor of the program."""
        return self.lowering.tensors[index].shape

    def scale(self, index: int) -> Scale | None:
        """The scale of a tensor of the program."""
        return self.lowering.tensors[index].scale

    @property
    def activation(self) -> int:
        """The schema's word for the fused activation."""
        return ACTIVATIONS[self.node.activation]

    def weight(self, axes: tuple[int, ...], channel: int) -> int:
        """The weight with its axes in that order; `channel` is where the output channels then stand."""
        tensor = self.tensors[1]
        assert tensor.data is not None
        if self.integer:
            assert tensor.quantization is not None
            steps = tensor.quantization.scale.reshape(-1)
            return self.lowering._constant(
                tensor.name, np.ascontiguousarray(tensor.data.transpose(axes)), Scale(steps, 0, channel)
            )
        if tensor.quantization is not None:
            raise self.refuse(
                f"reads float32, but its weight {tensor.name} is int8; quantize both, or declare the node in kept_float"
            )
        data = np.ascontiguousarray(tensor.data.transpose(axes))
        if not self.lowering.half:
            return self.lowering._constant(tensor.name, data)
        return self._halved(tensor.name, data)

    def _halved(self, name: str, data: Array) -> int:
        """A float16 constant behind a DEQUANTIZE, which every interpreter folds or a GPU reads as it is."""
        if name in self.lowering.places:
            return self.lowering.places[name]
        largest = np.abs(data).max(initial=0)
        if largest > np.finfo(np.float16).max:
            raise self.refuse(f"{name} holds {largest:g}, beyond float16; build it as fp32")
        stored = self.lowering._constant(ROLES["half_precision"].format(name), data.astype(np.float16))
        return self.emit("DEQUANTIZE", (stored,), self.lowering._computed(name, data.shape, None))

    def bias(self, outputs: int) -> int:
        """The bias, int32 in steps of s_in·s_w or float32; zeros where the layer has none, as kernels want one."""
        given = self.tensors[2] if len(self.tensors) > 2 else None
        x, weight = (tensor.quantization for tensor in self.tensors[:2])
        if not self.integer:
            if given is None:
                return self.constant("no_bias", np.zeros(outputs, np.float32))
            return self.lowering._constant(given.name, given.real())
        assert x is not None
        assert weight is not None
        grid = np.broadcast_to(bias_grid(x, weight), outputs).astype(np.float32)
        if given is None:
            return self.constant("no_bias", np.zeros(outputs, np.int32), Scale(grid))
        integers = bias_integers(given, grid).astype(np.int32)
        return self.lowering._constant(given.name, integers, Scale(grid))

    def pad(self, x: int, pads: Pads, lowest: bool = False) -> int:
        """`x` with explicit pads: zeros, or the lowest value there is."""
        _, height, width, channels = self.shape(x)
        top, left, bottom, right = pads
        shape = (1, height + top + bottom, width + left + right, channels)
        scale = self.scale(x)
        rows = np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs = (x, self.constant("pads", rows))
        if lowest:
            value = np.asarray(np.finfo(np.float32).min if scale is None else -128)
            filler = self.constant("lowest", value.reshape(1).astype("float32" if scale is None else "int8"), scale)
            return self.emit("PADV2", (*inputs, filler), self.inner("padded", shape, scale))
        return self.emit("PAD", inputs, self.inner("padded", shape, scale))

    def window(self, x: int, kernel: Pair, strides: Pair, pads: Pads, dilations: Pair = (1, 1)) -> int | None:
        """The schema's padding that means exactly these pads, or None where they must be explicit."""
        if not any(pads):
            return VALID
        _, height, width, _ = self.shape(x)
        return SAME if pads == same_pads((height, width), kernel, strides, dilations) else None


# --- layers with a weight ---


def _conv(site: _Site) -> None:
    operator = site.node.operator
    assert isinstance(operator, Conv)
    outputs, per_group, *kernel = (int(size) for size in site.tensors[1].shape)
    window: Pair = (kernel[0], kernel[1])
    x = site.x()
    padding = site.window(x, window, operator.strides, operator.pads, operator.dilations)
    if padding is None:
        x, padding = site.pad(x, operator.pads), VALID
    options: dict[str, Option] = {
        "Padding": padding,
        "StrideW": operator.strides[1],
        "StrideH": operator.strides[0],
        "FusedActivationFunction": site.activation,
        "DilationWFactor": operator.dilations[1],
        "DilationHFactor": operator.dilations[0],
    }
    if operator.groups > 1 and per_group == 1:
        weight = site.weight((1, 2, 3, 0), 3)
        options["DepthMultiplier"] = outputs // operator.groups
        site.emit("DEPTHWISE_CONV_2D", (x, weight, site.bias(outputs)), site.y(), **options)
    else:
        weight = site.weight((0, 2, 3, 1), 0)
        site.emit("CONV_2D", (x, weight, site.bias(outputs)), site.y(), **options)


def _conv_transpose(site: _Site) -> None:
    """In full, without pads; a part of it is then cut out where the network asks for pads or more output."""
    operator = site.node.operator
    assert isinstance(operator, ConvTranspose)
    if operator.groups != 1 or operator.dilations != (1, 1):
        raise site.refuse("groups and dilations of a transposed convolution have no words here; use neither")
    _, outputs, *kernel = (int(size) for size in site.tensors[1].shape)
    x = site.x()
    _, height, width, _ = site.shape(x)
    rows, columns = (
        (size - 1) * stride + k + more
        for size, stride, k, more in zip(
            (height, width), operator.strides, kernel, operator.output_padding, strict=True
        )
    )
    scale = _scale(site.result.quantization)
    full_shape = (1, rows, columns, outputs)
    cut = any(operator.pads)
    y = site.inner("full", full_shape, scale) if cut else site.y()
    site.emit(
        "TRANSPOSE_CONV",
        (site.numbers("shape", *full_shape), site.weight((1, 2, 3, 0), 0), x, site.bias(outputs)),
        y,
        Padding=VALID,
        StrideW=operator.strides[1],
        StrideH=operator.strides[0],
        FusedActivationFunction=site.activation,
    )
    if cut:
        top, left, _, _ = operator.pads
        begin = site.numbers("begin", 0, top, left, 0)
        site.emit("SLICE", (y, begin, site.numbers("size", *nhwc(site.result.shape))), site.y())


def _linear(site: _Site) -> None:
    outputs = int(site.tensors[1].shape[0])
    inputs = (site.x(), site.weight((0, 1), 0), site.bias(outputs))
    site.emit("FULLY_CONNECTED", inputs, site.y(), FusedActivationFunction=site.activation)


def _weigh_all(site: _Site, kind: str, shape: tuple[int, ...], count: int, axis: int, **options: Option) -> None:
    """A mean as a convolution with ones: the sum of whole numbers, divided and rounded once."""
    x = site.x()
    scale = site.scale(x)
    assert scale is not None
    outputs = shape[axis]
    step = np.full(outputs, np.float32(1 / count), np.float32)
    ones = site.constant("ones", np.ones(shape, np.int8), Scale(step, 0, axis))
    grid = np.asarray(scale.steps[0] * step, np.float32)
    nothing = site.constant("no_bias", np.zeros(outputs, np.int32), Scale(grid))
    plain = {"FusedActivationFunction": 0, "DilationWFactor": 1, "DilationHFactor": 1}
    site.emit(kind, (x, ones, nothing), site.y(), **{"Padding": VALID, "StrideW": 1, "StrideH": 1} | plain | options)


# --- elementwise ---


def _pair(site: _Site) -> None:
    kind = "ADD" if isinstance(site.node.operator, Add) else "MUL"
    rank = len(site.result.shape)
    for tensor in site.tensors:
        if len(tensor.shape) not in (0, rank):
            raise site.refuse(
                f"{tensor.name} of rank {len(tensor.shape)} meets rank {rank}, which broadcasts along another axis "
                "where channels stand last; export it as [N, C, 1, 1] or [N, 1, H, W]"
            )
    site.emit(kind, (site.x(0), site.x(1)), site.y(), FusedActivationFunction=site.activation)


def _on_a_map(site: _Site, compute: Callable[[int, int], int]) -> None:
    """Apply what needs an image [1, H, W, C] to any rank; `compute` takes the input and the place of its result."""
    x, y = site.x(), nhwc(site.result.shape)
    if len(y) == 4:
        compute(x, site.y())
        return
    wide = (1, 1, 1, int(np.prod(y)))
    x = site.emit("RESHAPE", (x, site.numbers("shape", *wide)), site.inner("wide", wide, site.scale(x)), NewShape=wide)
    value = compute(x, site.inner("full", wide, _scale(site.result.quantization)))
    site.emit("RESHAPE", (value, site.numbers("size", *y)), site.y(), NewShape=y)


def _gate(site: _Site, x: int, y: int, *, clipped: bool) -> int:
    """x/6 + 1/2 of integers as a depthwise convolution; below 0 and above 1 it saturates, or a ReLU cuts it."""
    channels = site.shape(x)[3]
    scale = site.scale(x)
    assert scale is not None
    steps = np.full(channels, SIXTH, np.float32)
    weights = np.full((1, 1, 1, channels), HARD_SIGMOID_WEIGHT, np.int8)
    grid = np.asarray(scale.steps[0] * steps, np.float32)
    half = np.rint(0.5 / grid.astype(np.float64)).astype(np.int32)
    return site.emit(
        "DEPTHWISE_CONV_2D",
        (x, site.constant("sixth", weights, Scale(steps, 0, 3)), site.constant("half", half, Scale(grid))),
        y,
        Padding=VALID,
        StrideW=1,
        StrideH=1,
        DepthMultiplier=1,
        FusedActivationFunction=ACTIVATIONS["relu" if clipped else None],
        DilationWFactor=1,
        DilationHFactor=1,
    )


def _hard_sigmoid(site: _Site) -> None:
    if site.integer:
        quantization = site.result.quantization
        assert quantization is not None
        if float(quantization.scale) * 127 > 1 + float(quantization.scale) / 2:
            raise site.refuse(f"its scale {float(quantization.scale):g} reaches beyond 1; a gate has 1/128")
        _on_a_map(site, lambda x, y: _gate(site, x, y, clipped=True))
        return
    x = site.x()
    three = site.constant("three", np.asarray([3], np.float32))
    lifted = site.inner("gate", site.shape(x), None)
    site.emit("ADD", (x, three), lifted, FusedActivationFunction=ACTIVATIONS["relu6"])
    sixth = site.constant("sixth", np.asarray([1 / 6], np.float32))
    site.emit("MUL", (lifted, sixth), site.y(), FusedActivationFunction=0)


def _hard_swish(site: _Site) -> None:
    """Of integers as a gate and a product: HARD_SWISH is one operator, but slow, as no delegate takes its integers."""
    if not site.integer:
        site.emit("HARD_SWISH", (site.x(),), site.y())
        return

    def compute(x: int, y: int) -> int:
        gate = _gate(site, x, site.inner("gate", site.shape(x), INNER_GATE), clipped=False)
        return site.emit("MUL", (x, gate), y, FusedActivationFunction=0)

    _on_a_map(site, compute)


def _sigmoid(site: _Site) -> None:
    site.emit("LOGISTIC", (site.x(),), site.y())


def _softmax(site: _Site) -> None:
    assert isinstance(site.node.operator, Softmax)
    rank = len(site.result.shape)
    if place(site.node.operator.axis, rank) != rank - 1:
        raise site.refuse(f"along axis {site.node.operator.axis}; only along the channels is possible here")
    site.emit("SOFTMAX", (site.x(),), site.y(), Beta=1.0)


def _activate(site: _Site) -> None:
    assert site.node.activation is not None
    site.emit(site.node.activation.upper(), (site.x(),), site.y())


# --- windows, moves ---


def _shares_its_scale(site: _Site) -> None:
    for tensor in site.tensors:
        if site.integer and tensor.quantization != site.result.quantization:
            raise site.refuse(f"moves {tensor.name} to another scale; tie the two, as the contract asks")


def _pool(site: _Site) -> None:
    operator = site.node.operator
    assert isinstance(operator, (MaxPool, AveragePool))
    if isinstance(operator, AveragePool) and site.integer:
        channels = int(site.result.shape[1])
        kernel = operator.kernel
        options: dict[str, Option] = {"StrideW": operator.strides[1], "StrideH": operator.strides[0]}
        shape = (1, *kernel, channels)
        _weigh_all(site, "DEPTHWISE_CONV_2D", shape, kernel[0] * kernel[1], 3, **options, DepthMultiplier=1)
        return
    _shares_its_scale(site)
    x = site.x()
    padding = site.window(x, operator.kernel, operator.strides, operator.pads)
    if padding is None:
        if isinstance(operator, AveragePool):
            raise site.refuse(f"pads {operator.pads} of an average are not those of SAME; pool without padding")
        x, padding = site.pad(x, operator.pads, lowest=True), VALID
    site.emit(
        "MAX_POOL_2D" if isinstance(operator, MaxPool) else "AVERAGE_POOL_2D",
        (x,),
        site.y(),
        Padding=padding,
        StrideW=operator.strides[1],
        StrideH=operator.strides[0],
        FilterWidth=operator.kernel[1],
        FilterHeight=operator.kernel[0],
        FusedActivationFunction=0,
    )


def _reduce(site: _Site) -> None:
    operator = site.node.operator
    assert isinstance(operator, (Mean, Max))
    rank = len(site.tensors[0].shape)
    if rank == 4 and not operator.keepdims and set(operator.axes) not in ({2, 3}, {1}):
        raise site.refuse(f"over axes {operator.axes} without keepdims, which would reorder the rest; keep the dims")
    if isinstance(operator, Max):
        _shares_its_scale(site)
    elif site.integer and rank == 4 and operator.axes == (1,) and operator.keepdims:
        channels = int(site.tensors[0].shape[1])
        _weigh_all(site, "CONV_2D", (1, 1, 1, channels), channels, 0)
        return
    axes = site.numbers("axes", *(place(axis, rank) for axis in operator.axes))
    kind = "MEAN" if isinstance(operator, Mean) else "REDUCE_MAX"
    site.emit(kind, (site.x(), axes), site.y(), KeepDims=operator.keepdims)


def _concat(site: _Site) -> None:
    assert isinstance(site.node.operator, Concat)
    _shares_its_scale(site)
    inputs = tuple(site.x(position) for position in range(len(site.tensors)))
    axis = place(site.node.operator.axis, len(site.result.shape))
    site.emit("CONCATENATION", inputs, site.y(), Axis=axis, FusedActivationFunction=0)


def _resize(site: _Site) -> None:
    operator = site.node.operator
    assert isinstance(operator, Resize)
    _shares_its_scale(site)
    linear = operator.mode == "linear"
    kind = "RESIZE_BILINEAR" if linear else "RESIZE_NEAREST_NEIGHBOR"
    inputs = (site.x(), site.numbers("size", *operator.size))
    site.emit(kind, inputs, site.y(), AlignCorners=False, HalfPixelCenters=linear)


def _pad(site: _Site) -> None:
    operator = site.node.operator
    assert isinstance(operator, Pad)
    _shares_its_scale(site)
    if min(operator.pads) < 0:
        raise site.refuse(f"pads {operator.pads} cut off; slice instead")
    x = site.x()
    top, left, bottom, right = operator.pads
    pads = site.constant("pads", np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
    if operator.value == 0:
        site.emit("PAD", (x, pads), site.y())
        return
    filler: npt.NDArray[np.generic] = np.asarray([operator.value], np.float32)
    scale = site.scale(x)
    if scale is not None:
        steps = np.rint(operator.value / np.float64(scale.steps[0]))
        if steps * np.float64(scale.steps[0]) != operator.value or not -128 <= steps <= 127:
            raise site.refuse(f"pads with {operator.value:g}, which its scale {scale.steps[0]:g} does not hold")
        filler = np.asarray([steps], np.int8)
    site.emit("PADV2", (x, pads, site.constant("lowest", filler, scale)), site.y())


def _reshape(site: _Site) -> None:
    before, after = site.tensors[0].shape, site.result.shape
    if before != after and not (_keeps_order(before) and _keeps_order(after)):
        raise site.refuse(
            f"{list(before)} to {list(after)} reorders values where channels stand last; pool to one pixel first"
        )
    _shares_its_scale(site)
    shape = nhwc(after)
    site.emit("RESHAPE", (site.x(), site.numbers("shape", *shape)), site.y(), NewShape=shape)


def _keeps_order(shape: tuple[int | str, ...]) -> bool:
    """Whether values stand in the same order with channels first and last."""
    return len(shape) != 4 or shape[2:] == (1, 1) or shape[1] == 1


def _slice(site: _Site) -> None:
    operator = site.node.operator
    assert isinstance(operator, Slice)
    _shares_its_scale(site)
    shape = nhwc(site.result.shape)
    begin = [0] * len(shape)
    begin[place(operator.axis, len(shape))] = operator.start
    site.emit("SLICE", (site.x(), site.numbers("begin", *begin), site.numbers("size", *shape)), site.y())


_RULES: Mapping[type, Callable[[_Site], None]] = {
    Conv: _conv,
    ConvTranspose: _conv_transpose,
    Linear: _linear,
    Add: _pair,
    Mul: _pair,
    Concat: _concat,
    Resize: _resize,
    MaxPool: _pool,
    AveragePool: _pool,
    Mean: _reduce,
    Max: _reduce,
    Sigmoid: _sigmoid,
    Softmax: _softmax,
    HardSigmoid: _hard_sigmoid,
    HardSwish: _hard_swish,
    Activate: _activate,
    Pad: _pad,
    Reshape: _reshape,
    Slice: _slice,
}
"""How each kind is said in operators of TensorFlow Lite; Pixels and Requantize are said by `_Lowering` itself."""


def _scale(quantization: Quantization | None) -> Scale | None:
    return None if quantization is None else Scale(quantization.scale.reshape(-1).astype(np.float32))
