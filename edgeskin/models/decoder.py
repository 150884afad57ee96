"""The light decoder: bilinear upsampling, lateral 1×1 convolutions, depthwise-separable mixing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.models.blocks import ConvNormAct, separable


class LightDecoder(nn.Module):
    """From an encoder's feature maps to one map at stride `stride`.

    Both sides of every concatenation end in ReLU6, so the one scale that they must share under the QAT contract suits
    both. Shapes: maps (N, C_i, S/2^i, S/2^i), i = 1…5 -> (N, widths[-1], S/stride, S/stride).

    widths: channels after each level from stride 16 down to `stride`: 2 of them for stride 8, 3 for 4, 4 for 2.
    """

    def __init__(self, encoder_channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.entry = ConvNormAct(encoder_channels[-1], widths[0])
        self.laterals = nn.ModuleList()
        self.mixes = nn.ModuleList()
        above = widths[0]
        for level, width in enumerate(widths):
            self.laterals.append(ConvNormAct(encoder_channels[-2 - level], width))
            self.mixes.append(separable(above + width, width))
            above = width
        self.channels = above
        self.stride = 16 >> (len(widths) - 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode."""
        x: Tensor = self.entry(maps[-1])
        for level, (lateral, mix) in enumerate(zip(self.laterals, self.mixes, strict=True)):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = mix(torch.cat([x, lateral(maps[-2 - level])], 1))
        return x
