"""One layer in its place, and how a rule may ask about it."""

from dataclasses import dataclass

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import BATCH, Activation, Operator, Pads, Pair, Quantization, Shape, Tensor
from edgeskin.targets.tensorrt.layers import Layer
from edgeskin.targets.tensorrt.lift.sizes import Sizes
from edgeskin.targets.tensorrt.names import Names

FLOATS = ("FLOAT", "HALF")
"""What a network may compute in, one of them throughout."""


@dataclass(frozen=True)
class Read:
    """What a layer computes. operator: None where it changes nothing, and its first input is its output."""

    operator: Operator | None
    inputs: tuple[Tensor, ...]
    activation: Activation | None = None


@dataclass(frozen=True)
class Site:
    """A layer that computes values of the network.

    operands: the tensors it reads, None for a shape or for what is absent.
    """

    layer: Layer
    operands: tuple[Tensor | None, ...]
    sizes: Sizes
    names: Names

    def refuse(self, reason: str) -> GraphError:
        """The error for a layer that computes what no network of ours does."""
        return self.layer.refuse(reason)

    def demand(self, holds: bool, reason: str) -> None:
        """Raises: GraphError with the reason unless it holds."""
        if not holds:
            raise self.refuse(reason)

    @property
    def output(self) -> Shape:
        """The shape of what it computes, as TensorRT infers it; all but the batch is known."""
        return opened(self.layer, self.layer.output.shape)

    def operand(self, place: int) -> Tensor:
        """What it reads at a place."""
        tensor = self.operands[place] if place < len(self.operands) else None
        if tensor is None:
            raise self.refuse(f"reads nothing at place {place}")
        return tensor

    def image(self) -> tuple[int, int]:
        """Height and width of what it reads, which must be a map [N, C, H, W]."""
        shape = self.operand(0).shape
        self.demand(len(shape) == 4, f"reads rank {len(shape)}, not a map")
        return int(shape[2]), int(shape[3])

    # --- settings ---

    def word(self, setting: str) -> str:
        """A setting that is a word of an enumeration."""
        value = self.layer.settings[setting]
        assert isinstance(value, str), setting
        return value

    def number(self, setting: str) -> float:
        """A setting that is a number or a truth value."""
        value = self.layer.settings[setting]
        assert isinstance(value, (bool, int, float)), setting
        return value

    def pair(self, setting: str) -> Pair:
        """Height and width."""
        value = self.layer.settings[setting]
        if not isinstance(value, tuple) or len(value) != 2:
            raise self.refuse(f"{setting} {value} is not a height and a width")
        return int(value[0]), int(value[1])

    def pads(self) -> Pads:
        """top, left, bottom, right. Raises: GraphError where they follow from a rule, or windows hang over the end."""
        mode = self.word("padding_mode")
        self.demand(mode == "EXPLICIT_ROUND_DOWN", f"pads by {mode}")
        return (*self.pair("pre_padding"), *self.pair("post_padding"))

    def axes(self) -> tuple[int, ...]:
        """The axes whose bits are set; never the batch."""
        bits = int(self.number("axes"))
        axes = tuple(axis for axis in range(bits.bit_length()) if bits >> axis & 1)
        self.demand(0 not in axes, "works along the batch")
        return axes

    # --- weights ---

    def weight(self, axis: int, shape: tuple[int, ...]) -> Tensor:
        """What is stored as the layer's kernel, or read at place 1; its channels lie along `axis`."""
        stored = self._stored("kernel", 1)
        if stored is None:
            weight = self.operand(1)
            right = weight.is_constant and weight.shape == shape
            self.demand(right, f"its weight is {weight.shape}, not a stored {shape}")
            return per_channel(weight, axis)
        assert stored.data is not None
        self.demand(stored.data.size == np.prod(shape), f"holds {stored.data.size} numbers for a weight {shape}")
        return Tensor(stored.name, shape, None, stored.data.reshape(shape))

    def bias(self) -> tuple[Tensor, ...]:
        """What is stored as the layer's bias, if there is one."""
        stored = self._stored("bias", 2)
        self.demand(not any(self.operands[2:]), "its bias is computed")
        return () if stored is None else (stored,)

    def _stored(self, setting: str, place: int) -> Tensor | None:
        """Numbers inside the layer, under the name that the file has for them."""
        value = self.layer.settings[setting]
        if not isinstance(value, np.ndarray) or value.size == 0:
            return None
        self.demand(value.dtype in (np.float32, np.float16), f"its {setting} is {value.dtype}")
        name = self.names.operand(self.layer.node, place, f"{self.layer.name}.{setting}")
        return Tensor(name, (value.size,), None, value.reshape(-1).astype(np.float32))

    # --- cuts ---

    def cut(self) -> tuple[tuple[int, ...], tuple[int | str, ...]]:
        """Where a slice begins on each axis, and how many it takes; its step is one everywhere.

        Each is a setting or, at places 1, 2 and 3, computed; with axes, at place 5 or set, for those alone.
        """
        shape = self.operand(0).shape
        axes = self._parameter(5, "axes") or tuple(range(len(shape)))
        start, size, step = (
            self._parameter(place, setting) for place, setting in ((1, "start"), (2, "shape"), (3, "stride"))
        )
        self.demand(set(step) == {1}, f"takes every {step}")
        starts, sizes = [0] * len(shape), list(shape)
        for axis, first, many in zip(axes, start, size, strict=True):
            self.demand(isinstance(first, int), "begins where the batch says")
            starts[int(axis)], sizes[int(axis)] = int(first), many
        self.demand((starts[0], sizes[0]) == (0, BATCH), "cuts the batch")
        return tuple(starts), tuple(sizes)

    def _parameter(self, place: int, setting: str) -> tuple[int | str, ...]:
        inputs = self.layer.inputs
        if place < len(inputs) and inputs[place] is not None:
            return self.sizes.of(str(inputs[place]))
        value = self.layer.settings[setting]
        return tuple(int(each) for each in value) if isinstance(value, tuple) else ()


def opened(layer: Layer, shape: tuple[int, ...]) -> Shape:
    """A shape whose batch is a symbol. Raises: GraphError where more than the batch is unknown."""
    if -1 in shape[1:]:
        raise layer.refuse(f"has the shape {shape}, of which more than the batch is unknown")
    return tuple(BATCH if size == -1 else size for size in shape)


def per_channel(weight: Tensor, axis: int) -> Tensor:
    """A weight of a single channel whose only scale is that channel's.

    TensorRT's parser takes a single scale for one of the whole tensor and forgets the axis: it says 1.
    """
    quantization = weight.quantization
    if quantization is None or quantization.scale.size > 1 or weight.shape[axis] != 1:
        return weight
    return Tensor(weight.name, weight.shape, Quantization(quantization.scale.reshape(1), axis), weight.data)
