"""MobileNetV2 (Sandler et al. 2018, table 2) as an encoder that gives a feature map at every stride."""

from typing import NamedTuple

from torch import Tensor, nn

from edgeskin.models.blocks import ConvNormAct, InvertedResidual, Padding, Variant, scaled
from edgeskin.models.spec import EncoderName


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


class MobileNetV2(nn.Module):
    """The encoder: (N, 3, S, S) -> five feature maps at strides 2, 4, 8, 16 and 32, every activation ReLU6.

    channels: of those five maps; the last is the 1280-channel layer that ImageNet's classifier read.

    Sums are where width 1.0 has them, within a stage. Below 0.28 rounding makes the stem and the first stage equally
    wide; a sum there would make a network of which no wider one holds the weights.
    """

    def __init__(self, width: float = 1.0, padding: Padding = "end") -> None:
        super().__init__()
        self.name: EncoderName = "mobilenet_v2"
        self.padding: Padding = padding
        self.activation: Variant = "native"
        inputs = scaled(32, width)
        self.stem = ConvNormAct(3, inputs, 3, stride=2, padding=padding)
        self.stages = nn.ModuleList()
        levels = []
        for index, stage in enumerate(STAGES):
            outputs = scaled(stage.channels, width)
            blocks = []
            for repeat in range(stage.repeats):
                blocks.append(
                    InvertedResidual(
                        inputs,
                        inputs * stage.expansion,
                        outputs,
                        residual=repeat > 0,
                        stride=stage.stride if repeat == 0 else 1,
                        padding=padding,
                    )
                )
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
            if index in LEVEL_ENDS:
                levels.append(outputs)
        last = scaled(1280, max(1.0, width))
        self.last = ConvNormAct(inputs, last)
        self.channels = (levels[0], levels[1], levels[2], levels[3], last)

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

    def blocks(self) -> list[InvertedResidual]:
        """Every block in the order in which it runs."""
        return [module for module in self.modules() if isinstance(module, InvertedResidual)]
