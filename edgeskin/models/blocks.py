"""The layers that encoders and decoders are made of."""

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

Padding: TypeAlias = Literal["end", "symmetric"]
"""Where a stride-2 convolution pads an even input: `end` is TensorFlow's SAME (the odd row and column at the end; on
TFLite native, in ONNX an asymmetric attribute); `symmetric` is torchvision's (the same on every side)."""

Activation: TypeAlias = Literal["relu", "relu6", "hard_swish"]
Variant: TypeAlias = Literal["native", "relu6"]
"""An encoder's activations: those of its paper, or ReLU6 for all of them. Gates are the same in both."""


def activation_layer(name: Activation) -> nn.Module:
    """The module of an activation."""
    match name:
        case "relu":
            return nn.ReLU()
        case "relu6":
            return nn.ReLU6()
        case "hard_swish":
            return nn.Hardswish()


class ConvNormAct(nn.Module):
    """Convolution, batch norm, and an activation, or none where `activation` is None.

    Shapes: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride), H and W even where stride is 2; kernel is odd.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = "relu6",
        padding: Padding = "end",
    ) -> None:
        super().__init__()
        before, after = (kernel - 2) // 2, (kernel - 1) // 2  # of an even size at stride 2: kernel − 2 in all
        self.pads = (before, after, before, after) if stride == 2 and kernel > 1 and padding == "end" else None
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2 if self.pads is None else 0, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = None if activation is None else activation_layer(activation)

    def forward(self, x: Tensor, norm: nn.BatchNorm2d | None = None) -> Tensor:
        """Apply the layer, with another batch norm than its own where it runs again on other inputs."""
        if self.pads is not None:
            x = functional.pad(x, self.pads)
        x = (norm or self.norm)(self.conv(x))
        return x if self.activation is None else self.activation(x)


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3×3 then pointwise 1×1, each with batch norm and ReLU6: (N, inputs, H, W) -> (N, outputs, H, W)."""
    return nn.Sequential(ConvNormAct(inputs, inputs, 3, groups=inputs), ConvNormAct(inputs, outputs))


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier: a multiple of 8, never below 8 nor more than 10 % under the exact product."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


class Gate(nn.Module):
    """Squeeze-and-excite: each channel times a number in [0, 1] that depends on the means of all channels.

    The hidden layer has a quarter of the channels, rounded to a multiple of 8; the last activation is a hard sigmoid.
    Shapes: (N, channels, H, W) -> the same. Source: Howard et al. 2019 (MobileNetV3), sections 4 and 5.3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = scaled(channels // 4, 1.0)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.hidden = nn.ReLU()
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Re-weigh the channels."""
        gate: Tensor = self.gate(self.expand(self.hidden(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * gate


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise, gate where there is one, project 1×1 without activation; `residual` adds the input.

    There is no expansion where `hidden` equals `inputs`. Shapes: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride).
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        residual: bool,
        padding: Padding,
        stride: int = 1,
        kernel: int = 3,
        gated: bool = False,
        activation: Activation = "relu6",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(ConvNormAct(inputs, hidden, activation=activation))
        layers.append(
            ConvNormAct(hidden, hidden, kernel, stride=stride, groups=hidden, activation=activation, padding=padding)
        )
        if gated:
            layers.append(Gate(hidden))
        layers.append(ConvNormAct(hidden, outputs, activation=None))
        self.layers = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y
