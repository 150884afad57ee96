"""MobileNetV2 (Sandler et al. 2018, table 2) as an encoder that gives a feature map at every stride."""

from typing import NamedTuple

from torch import Tensor, nn

from edgeskin.models.blocks import ConvNormAct, Padding


class Stage(NamedTuple):
    """One row of the paper's table: expansion t, channels c, repeats n, stride s."""

    expansion: int
    channels: int
    repeats: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
LEVEL_ENDS = (0, 1, 2, 4)
"""The stages whose output is the last at strides 2, 4, 8 and 16."""


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier: a multiple of 8, never below 8 nor more than 10 % under the exact product."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise 3×3, project 1×1 without activation; the input is added where the shape allows.

    Shapes: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, padding: Padding) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [ConvNormAct(inputs, hidden)] if expansion > 1 else []
        layers += [
            ConvNormAct(hidden, hidden, 3, stride=stride, groups=hidden, padding=padding),
            ConvNormAct(hidden, outputs, activation=False),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """The encoder: (N, 3, S, S) -> five feature maps at strides 2, 4, 8, 16 and 32.

    channels: of those five maps; the last is the 1280-channel layer that ImageNet's classifier read.
    """

    def __init__(self, width: float = 1.0, padding: Padding = "end") -> None:
        super().__init__()
        inputs = scaled(32, width)
        self.stem = ConvNormAct(3, inputs, 3, stride=2, padding=padding)
        self.stages = nn.ModuleList()
        levels = []
        for index, stage in enumerate(STAGES):
            outputs = scaled(stage.channels, width)
            blocks = []
            for repeat in range(stage.repeats):
                blocks.append(
                    InvertedResidual(inputs, outputs, stage.stride if repeat == 0 else 1, stage.expansion, padding)
                )
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
            if index in LEVEL_ENDS:
                levels.append(outputs)
        last = scaled(1280, max(1.0, width))
        self.last = ConvNormAct(inputs, last)
        self.channels = (*levels, last)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode an image in [−1, 1)."""
        x = self.stem(x)
        levels = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in LEVEL_ENDS:
                levels.append(x)
        return (*levels, self.last(x))

    def convolutions(self) -> list[ConvNormAct]:
        """Every convolution in the order in which it runs: the order of ImageNet weight files."""
        return [module for module in self.modules() if isinstance(module, ConvNormAct)]
