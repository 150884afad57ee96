"""MobileNetV3 large and small (Howard et al. 2019, tables 1 and 2) as encoders with a feature map at every stride."""

from typing import Literal, NamedTuple

from torch import Tensor, nn

from edgeskin.models.blocks import Activation, ConvNormAct, InvertedResidual, Padding, Variant, scaled
from edgeskin.models.spec import EncoderName


class Row(NamedTuple):
    """One row of the paper's tables: kernel, expansion size, channels out, SE, NL, stride."""

    kernel: int
    hidden: int
    channels: int
    gated: bool
    activation: Activation
    stride: int


LARGE = (
    Row(3, 16, 16, False, "relu", 1),
    Row(3, 64, 24, False, "relu", 2),
    Row(3, 72, 24, False, "relu", 1),
    Row(5, 72, 40, True, "relu", 2),
    Row(5, 120, 40, True, "relu", 1),
    Row(5, 120, 40, True, "relu", 1),
    Row(3, 240, 80, False, "hard_swish", 2),
    Row(3, 200, 80, False, "hard_swish", 1),
    Row(3, 184, 80, False, "hard_swish", 1),
    Row(3, 184, 80, False, "hard_swish", 1),
    Row(3, 480, 112, True, "hard_swish", 1),
    Row(3, 672, 112, True, "hard_swish", 1),
    Row(5, 672, 160, True, "hard_swish", 2),
    Row(5, 960, 160, True, "hard_swish", 1),
    Row(5, 960, 160, True, "hard_swish", 1),
)
SMALL = (
    Row(3, 16, 16, True, "relu", 2),
    Row(3, 72, 24, False, "relu", 2),
    Row(3, 88, 24, False, "relu", 1),
    Row(5, 96, 40, True, "hard_swish", 2),
    Row(5, 240, 40, True, "hard_swish", 1),
    Row(5, 240, 40, True, "hard_swish", 1),
    Row(5, 120, 48, True, "hard_swish", 1),
    Row(5, 144, 48, True, "hard_swish", 1),
    Row(5, 288, 96, True, "hard_swish", 2),
    Row(5, 576, 96, True, "hard_swish", 1),
    Row(5, 576, 96, True, "hard_swish", 1),
)
ROWS = {"small": SMALL, "large": LARGE}
NAMES: dict[str, EncoderName] = {"small": "mobilenet_v3_small", "large": "mobilenet_v3_large"}
STEM_CHANNELS = 16
LAST_EXPANSION = 6
"""The last 1×1 convolution is six times as wide as what it reads: 576 and 960 channels at width 1.0."""


class MobileNetV3(nn.Module):
    """The encoder: (N, 3, S, S) -> five feature maps at strides 2, 4, 8, 16 and 32.

    channels: of those five maps; the last is the 1×1 convolution that ImageNet's classifier pooled, which narrows with
    `width` like all others, as torchvision's does.
    activation: `native` is hard-swish and plain ReLU as in the tables; `relu6` puts ReLU6 in the place of both.

    Sums are where width 1.0 has them: at stride 1 between equal channels of the table, not of what rounding makes of
    them. Batch norm's ε is 1e-5 and its momentum 0.1, where torchvision has 1e-3 and 0.01: torchao fuses with these two
    numbers whatever a layer says, so any others would make the quantization-aware phase start from another function. A
    start from torchvision moves the difference into the gain (models/start/load.py).
    """

    def __init__(
        self,
        size: Literal["small", "large"],
        width: float = 1.0,
        padding: Padding = "end",
        activation: Variant = "native",
    ) -> None:
        super().__init__()
        self.name: EncoderName = NAMES[size]
        self.padding: Padding = padding
        self.activation: Variant = activation
        rows = ROWS[size]
        inputs = scaled(STEM_CHANNELS, width)
        outer: Activation = "hard_swish" if activation == "native" else "relu6"
        self.stem = ConvNormAct(3, inputs, 3, stride=2, activation=outer, padding=padding)
        self.rows = nn.ModuleList()
        self.level_ends: list[int] = []
        """How many rows have run at the end of each level up to stride 16."""
        before, levels = STEM_CHANNELS, []
        for index, row in enumerate(rows):
            if row.stride == 2:
                self.level_ends.append(index)
                levels.append(inputs)
            outputs = scaled(row.channels, width)
            self.rows.append(
                InvertedResidual(
                    inputs,
                    scaled(row.hidden, width),
                    outputs,
                    residual=row.stride == 1 and before == row.channels,
                    stride=row.stride,
                    kernel=row.kernel,
                    gated=row.gated,
                    activation=row.activation if activation == "native" else "relu6",
                    padding=padding,
                )
            )
            before, inputs = row.channels, outputs
        self.last = ConvNormAct(inputs, LAST_EXPANSION * inputs, activation=outer)
        self.channels = (levels[0], levels[1], levels[2], levels[3], LAST_EXPANSION * inputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode an image in [−1, 1)."""
        x = self.stem(x)
        levels = []
        for index, row in enumerate(self.rows):
            if index in self.level_ends:
                levels.append(x)
            x = row(x)
        return (*levels, self.last(x))

    def convolutions(self) -> list[ConvNormAct]:
        """Every convolution with batch norm in the order in which it runs; those inside gates have none."""
        return [module for module in self.modules() if isinstance(module, ConvNormAct)]

    def blocks(self) -> list[InvertedResidual]:
        """Every block in the order in which it runs."""
        return [module for module in self.modules() if isinstance(module, InvertedResidual)]
