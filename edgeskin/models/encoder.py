"""What every encoder is to a decoder and to heads, and the table of those there are."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from torch import Tensor, nn

from edgeskin.models.blocks import ConvNormAct, Padding, Variant
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.mobilenet_v3 import MobileNetV3
from edgeskin.models.spec import EncoderName
from edgeskin.models.squeezenet import SqueezeNet


class Encoder(Protocol):
    """A torch module that gives five feature maps.

    Shapes: (N, 3, S, S) in [−1, 1), S a multiple of 32 -> (N, C_i, S/2^i, S/2^i), i = 1…5.

    name, padding, activation: what it was built with. channels: C_1…C_5.
    """

    name: EncoderName
    padding: Padding
    activation: Variant
    channels: tuple[int, int, int, int, int]
    training: bool

    def __call__(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Encode."""

    def convolutions(self) -> list[ConvNormAct]:
        """Every convolution with batch norm in the order of ImageNet weight files, which is that of execution."""

    def modules(self) -> Iterator[nn.Module]:
        """Itself and every module in it."""

    def train(self, mode: bool = True) -> nn.Module:
        """Switch training mode on or off."""


BUILT: Mapping[EncoderName, Callable[[float, Padding, Variant], Encoder]] = MappingProxyType(
    {
        "mobilenet_v2": lambda width, padding, _: MobileNetV2(width, padding),
        "mobilenet_v3_small": lambda width, padding, activation: MobileNetV3("small", width, padding, activation),
        "mobilenet_v3_large": lambda width, padding, activation: MobileNetV3("large", width, padding, activation),
        "squeezenet_1_0": lambda width, padding, activation: SqueezeNet("1.0", width, padding, activation),
        "squeezenet_1_1": lambda width, padding, activation: SqueezeNet("1.1", width, padding, activation),
    }
)


def encoder(name: EncoderName, width: float = 1.0, padding: Padding = "end", activation: Variant = "native") -> Encoder:
    """A randomly initialised encoder. MobileNetV2's own activations are ReLU6, so both variants of it are one."""
    return BUILT[name](width, padding, activation)
