"""The exported network as data: about 25 operator kinds, quantization on tensors, activations fused, batch norm gone.

Every tensor that the QAT contract quantizes carries a `Quantization`; one without is float. An operator whose inputs
and output are all quantized is an integer operator; a declared float island is simply a run of nodes whose tensors are
not. The dtype of what flows is therefore never stored twice.

Layout is NCHW throughout; the batch is the symbol "N". Lint, rewrites, the executor and every target work on this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
Shape: TypeAlias = tuple[int | str, ...]
Pair: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[int, int, int, int]
"""top, left, bottom, right, as ONNX orders them."""

BATCH = "N"

PIXEL_SCALE = 1 / 128
"""The scale of the input door and of every gate inside the network; exact in float32 and float16."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Symmetric int8: real = scale × integer, zero point 0.

    scale: float32, shape () for a whole tensor or (C,) along `axis`.
    """

    scale: npt.NDArray[np.float32]
    axis: int | None = None

    def along(self, rank: int) -> npt.NDArray[np.float32]:
        """The scale in a shape that multiplies a tensor of that rank."""
        if self.axis is None:
            return self.scale
        return self.scale.reshape([-1 if axis == self.axis else 1 for axis in range(rank)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantization) and self.axis == other.axis and np.array_equal(self.scale, other.scale)

    def __hash__(self) -> int:
        return hash((self.axis, self.scale.tobytes()))


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value in the network.

    data: for a constant its contents, int8 where `quantization` is set, else float32; None for what is computed.
    """

    name: str
    shape: Shape
    quantization: Quantization | None = None
    data: Array | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tensor) or (self.data is None) != (other.data is None):
            return False
        same = (self.name, self.shape, self.quantization) == (other.name, other.shape, other.quantization)
        if self.data is None or other.data is None:
            return same
        return same and self.data.dtype == other.data.dtype and np.array_equal(self.data, other.data)

    def __hash__(self) -> int:
        return hash((self.name, self.shape, self.quantization))

    @property
    def is_constant(self) -> bool:
        """Whether the value is stored in the file."""
        return self.data is not None

    def real(self) -> npt.NDArray[np.float32]:
        """The contents of a constant as float32, dequantized where it is stored as integers."""
        assert self.data is not None, f"{self.name} is computed, it has no contents"
        if self.quantization is None:
            return self.data.astype(np.float32)
        return np.asarray(self.data.astype(np.float32) * self.quantization.along(self.data.ndim), np.float32)


# --- operators: one frozen dataclass a kind, holding its attributes and nothing else ---


@dataclass(frozen=True)
class Pixels:
    """The input door: uint8 RGB [N, 3, S, S] -> (pixel − 128) / 128. The pixel minus 128 is the quantized value."""


@dataclass(frozen=True)
class Conv:
    """Convolution; inputs: x, weight [O, I/groups, kh, kw], optional bias [O] (float32 on the grid s_in·s_w)."""

    strides: Pair
    pads: Pads
    dilations: Pair
    groups: int


@dataclass(frozen=True)
class ConvTranspose:
    """Transposed convolution; inputs: x, weight [I, O/groups, kh, kw], optional bias [O]."""

    strides: Pair
    pads: Pads
    output_padding: Pair
    dilations: Pair
    groups: int


@dataclass(frozen=True)
class Linear:
    """Fully connected; inputs: x [N, I], weight [O, I], optional bias [O]."""


@dataclass(frozen=True)
class Add:
    """Elementwise sum of two tensors, broadcasting [N, C, 1, 1] and [N, 1, H, W]."""


@dataclass(frozen=True)
class Mul:
    """Elementwise product of two tensors, broadcasting as Add."""


@dataclass(frozen=True)
class Concat:
    """Joins tensors along `axis`."""

    axis: int


@dataclass(frozen=True)
class Resize:
    """Resamples height and width to `size`: `linear` with half-pixel centres, or `nearest` (asymmetric, floor)."""

    size: Pair
    mode: Literal["linear", "nearest"]


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows; `pads` already include what ceil mode adds."""

    kernel: Pair
    strides: Pair
    pads: Pads


@dataclass(frozen=True)
class AveragePool:
    """Mean over windows, padding not counted; `pads` already include what ceil mode adds."""

    kernel: Pair
    strides: Pair
    pads: Pads


@dataclass(frozen=True)
class Mean:
    """Mean over `axes`; keepdims as given."""

    axes: tuple[int, ...]
    keepdims: bool


@dataclass(frozen=True)
class Max:
    """Maximum over `axes`; keepdims as given."""

    axes: tuple[int, ...]
    keepdims: bool


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + e^−x)."""


@dataclass(frozen=True)
class Softmax:
    """Softmax along `axis`."""

    axis: int


@dataclass(frozen=True)
class HardSigmoid:
    """clip(x/6 + 1/2, 0, 1)."""


@dataclass(frozen=True)
class HardSwish:
    """x · clip(x/6 + 1/2, 0, 1)."""


@dataclass(frozen=True)
class Activate:
    """A clip that no operator before it could absorb; `Node.activation` says which."""


@dataclass(frozen=True)
class Pad:
    """Constant padding of height and width with the real value `value`."""

    pads: Pads
    value: float


@dataclass(frozen=True)
class Reshape:
    """Same values in the order of memory, another shape; the batch stays first."""

    shape: Shape


@dataclass(frozen=True)
class Slice:
    """Part of one axis, from `start` up to `end`."""

    axis: int
    start: int
    end: int


@dataclass(frozen=True)
class Requantize:
    """The same real value at another scale; between two quantizations, or from a quantized tensor to float and back."""


Operator: TypeAlias = (
    Pixels | Conv | ConvTranspose | Linear | Add | Mul | Concat | Resize | MaxPool | AveragePool | Mean | Max | Sigmoid
    | Softmax | HardSigmoid | HardSwish | Activate | Pad | Reshape | Slice | Requantize
)  # fmt: skip

Activation: TypeAlias = Literal["relu", "relu6"]


@dataclass(frozen=True)
class Node:
    """One operator applied: names of its input tensors, of its one output, and the activation fused behind it.

    The output's quantization stands after the activation.
    """

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    output: str
    activation: Activation | None = None

    @property
    def kind(self) -> str:
        """The operator's name, for messages and tables."""
        return type(self.operator).__name__


@dataclass(frozen=True)
class Network:
    """A whole network, its nodes in an order in which they can run. Equal networks compute the same by the same names.

    inputs: names, `image` first. outputs: names, in the order of the model card's heads. tensors: every input, constant
    and computed value by name.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor] = field(repr=False)

    @cached_property
    def _producers(self) -> Mapping[str, Node]:
        return {node.output: node for node in self.nodes}

    @cached_property
    def _consumers(self) -> Mapping[str, tuple[Node, ...]]:
        found: dict[str, tuple[Node, ...]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name] = (*found.get(name, ()), node)
        return found

    def producer(self, tensor: str) -> Node | None:
        """The node that computes `tensor`, or None for an input or constant."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """The nodes that read `tensor`, in running order."""
        return self._consumers.get(tensor, ())

    def operands(self, node: Node) -> tuple[Tensor, ...]:
        """The input tensors of `node`, in its order."""
        return tuple(self.tensors[name] for name in node.inputs)

    def result(self, node: Node) -> Tensor:
        """The output tensor of `node`."""
        return self.tensors[node.output]
