"""The light decoder: bilinear upsampling, lateral 1×1 convolutions, depthwise-separable mixing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.models.blocks import ConvNormAct, separable


@dataclass(frozen=True)
class Decoded:
    """One run of the decoder.

    entered: what its first level upsamples. laterals: the encoder's side of each level. levels: what each level gives,
    coarse to fine; strides: of those.
    """

    entered: Tensor
    laterals: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    strides: tuple[int, ...]

    def at(self, stride: int) -> Tensor:
        """The level of that stride."""
        return self.levels[self.strides.index(stride)]


class LightDecoder(nn.Module):
    """From an encoder's feature maps to one map at stride `stride`.

    Both sides of every concatenation end in ReLU6, so the one scale that they must share under the QAT contract suits
    both. Shapes: maps (N, C_i, S/2^i, S/2^i), i = 1…5 -> last level (N, widths[-1], S/stride, S/stride).

    widths: channels after each level from stride 16 down to `stride`: 2 of them for stride 8, 3 for 4, 4 for 2.
    """

    def __init__(self, encoder_channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.entry = ConvNormAct(encoder_channels[-1], widths[0])
        self.laterals = nn.ModuleList()
        self.mixes = nn.ModuleList()
        above = widths[0]
        mixed = []
        for level, width in enumerate(widths):
            self.laterals.append(ConvNormAct(encoder_channels[-2 - level], width))
            self.mixes.append(separable(above + width, width))
            mixed.append(above + width)
            above = width
        self.mixed = tuple(mixed)
        """Channels that each level mixes."""
        self.widths = tuple(widths)
        self.strides = tuple(16 >> level for level in range(len(widths)))
        self.stride = self.strides[-1]

    def forward(self, maps: Sequence[Tensor]) -> Decoded:
        """Decode."""
        x: Tensor = self.entry(maps[-1])
        entered, laterals, levels = x, [], []
        for level, (lateral, mix) in enumerate(zip(self.laterals, self.mixes, strict=True)):
            laterals.append(lateral(maps[-2 - level]))
            x = mix(merge(x, laterals[-1]))
            levels.append(x)
        return Decoded(entered, tuple(laterals), tuple(levels), self.strides)


def merge(x: Tensor, lateral: Tensor) -> Tensor:
    """What a level mixes: the map from below it at twice its size, and the encoder's."""
    x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.cat([x, lateral], 1)


class ReverseDecoder(nn.Module):
    """Joint reverse learning: the last decoder levels run again, their inputs re-weighted by the classifier.

    The paper multiplies a level's input by "FC weights associated with the classification pathway, which corresponds to
    the same number of features" (papers/joint_reverse_mtl_2024.txt, equation 2). Weights do not depend on the image,
    and their number is not a level's. Our reading: the per-image activations of the classifier's hidden layer,
    projected to the level's channels, as a gate. Convolutions are those of the first run; batch norm is the second
    run's own, because gated inputs have other statistics.
    """

    def __init__(self, decoder: LightDecoder, hidden: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        mixed, widths = decoder.mixed[-levels:], decoder.widths[-levels:]
        self.projections = nn.ModuleList(nn.Linear(hidden, channels) for channels in mixed)
        self.gate = nn.Hardsigmoid()
        self.depthwise_norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in mixed)
        self.pointwise_norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in widths)

    def forward(self, decoder: LightDecoder, first: Decoded, hidden: Tensor) -> Tensor:
        """The finest map after the second run; hidden (N, H) are the classifier's activations."""
        before = len(first.levels) - self.levels
        x = first.levels[before - 1] if before else first.entered
        for level, projection in enumerate(self.projections):
            depthwise, pointwise = decoder.mixes[before + level].children()
            gate = self.gate(projection(hidden))
            x = merge(x, first.laterals[before + level]) * as_map(gate)
            x = pointwise(depthwise(x, self.depthwise_norms[level]), self.pointwise_norms[level])
        return x


def as_map(vector: Tensor) -> Tensor:
    """(N, C) -> (N, C, 1, 1)."""
    return vector.unsqueeze(-1).unsqueeze(-1)
