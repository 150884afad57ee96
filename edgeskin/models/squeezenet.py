"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016, table 1, and its release 1.1) as encoders with a map at every stride."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from edgeskin.models.blocks import Activation, ConvNormAct, Padding, Variant, scaled
from edgeskin.models.spec import EncoderName


class FireRow(NamedTuple):
    """A Fire module of the paper's table: s1x1, and e1x1 = e3x3."""

    squeezed: int
    expanded: int


class Layout(NamedTuple):
    """The stem, and the Fire modules of strides 4, 8 and 16."""

    name: EncoderName
    stem: int
    kernel: int
    stages: tuple[tuple[FireRow, ...], tuple[FireRow, ...], tuple[FireRow, ...]]


_16, _32, _48, _64 = FireRow(16, 64), FireRow(32, 128), FireRow(48, 192), FireRow(64, 256)
LAYOUTS = {
    "1.0": Layout("squeezenet_1_0", 96, 7, ((_16, _16, _32), (_32, _48, _48, _64), (_64,))),
    "1.1": Layout("squeezenet_1_1", 64, 3, ((_16, _16), (_32, _32), (_48, _48, _64, _64))),
}


class Fire(nn.Module):
    """Squeeze 1×1, then expand 1×1 and 3×3 side by side: (N, inputs, H, W) -> (N, 2·expanded, H, W).

    Both halves end in the same activation, so the one scale that they share under the QAT contract suits both.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int, activation: Activation) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(inputs, squeezed, activation=activation)
        self.expand_1x1 = ConvNormAct(squeezed, expanded, activation=activation)
        self.expand_3x3 = ConvNormAct(squeezed, expanded, 3, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module."""
        x = self.squeeze(x)
        return torch.cat([self.expand_1x1(x), self.expand_3x3(x)], 1)


class SqueezeNet(nn.Module):
    """The encoder: (N, 3, S, S), S a multiple of 32 -> five feature maps at strides 2, 4, 8, 16 and 32.

    channels: of those five maps. activation: `native` is ReLU, `relu6` ReLU6.

    Three things differ from the paper, none of them a weight:
    - The stem pads, where the paper's does not, so that every map has exactly S/stride pixels and decoders can add them
      up; the later 3×3 pools in ceil mode then halve even sizes exactly. What padding `end` computes is what the
      published network computes on the same image in a mid-grey frame.
    - The published network ends at stride 16, and its last map is ours there. The map at stride 32 is one more of its
      3×3 pools over that, without a parameter: a convolution there would have no ImageNet weights, and a pool before
      the last Fire module would change what its weights see.
    - Batch norm stands behind every convolution in the place of its bias: training with fake quantization from one
      learning rate for all layers needs it, and folded it is a bias again. A start recreates it (models/start).
    """

    def __init__(
        self,
        version: Literal["1.0", "1.1"],
        width: float = 1.0,
        padding: Padding = "end",
        activation: Variant = "native",
    ) -> None:
        super().__init__()
        layout = LAYOUTS[version]
        self.name: EncoderName = layout.name
        self.padding: Padding = padding
        self.activation: Variant = activation
        kind: Activation = "relu" if activation == "native" else "relu6"
        inputs = scaled(layout.stem, width)
        self.stem = ConvNormAct(3, inputs, layout.kernel, stride=2, activation=kind, padding=padding)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.stages = nn.ModuleList()
        levels = [inputs]
        for stage in layout.stages:
            fires = []
            for row in stage:
                expanded = scaled(row.expanded, width)
                fires.append(Fire(inputs, scaled(row.squeezed, width), expanded, kind))
                inputs = 2 * expanded
            self.stages.append(nn.Sequential(*fires))
            levels.append(inputs)
        self.channels = (levels[0], levels[1], levels[2], levels[3], levels[3])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode an image in [−1, 1)."""
        x = self.stem(x)
        levels = [x]
        for stage in self.stages:
            x = stage(self.pool(x))
            levels.append(x)
        return (*levels, self.pool(x))

    def convolutions(self) -> list[ConvNormAct]:
        """Every convolution in the order of ImageNet weight files; the halves of a Fire module run side by side."""
        return [module for module in self.modules() if isinstance(module, ConvNormAct)]

    def fires(self) -> list[Fire]:
        """Every Fire module in the order in which it runs."""
        return [module for module in self.modules() if isinstance(module, Fire)]
